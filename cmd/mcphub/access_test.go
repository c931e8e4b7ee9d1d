package main

import (
	"reflect"
	"testing"

	"github.com/mcphub-go/mcphub/internal/config"
	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/server"
	"github.com/mcphub-go/mcphub/store"
)

func TestAccessOfSettings(t *testing.T) {
	s := &config.Settings{
		Routing: config.Routing{EnableBearerAuth: true, BearerAuthKey: "single"},
		Cluster: config.Cluster{AdminToken: "adm1n"},
		Users:   []config.User{{Username: "ann", PasswordHash: "$2b$", IsAdmin: true}},
		BearerKeys: []config.BearerKey{
			{Name: "everything", Key: "k1", Enabled: true, AccessType: config.AccessAll},
			{Name: "off", Key: "k2", AccessType: config.AccessAll},
			{Name: "some", Key: "k3", Enabled: true, AccessType: config.AccessCustom, Groups: []string{"g"}, Servers: []string{"a", "b"}},
		},
	}
	want := server.Access{
		RequireKey: true, AdminToken: "adm1n", Users: []server.User{{Name: "ann", PasswordHash: "$2b$", IsAdmin: true}},
		Keys: []server.Key{
			{Key: "single", All: true},
			{Name: "everything", Key: "k1", All: true},
			{Name: "some", Key: "k3", Groups: []string{"g"}, Servers: []string{"a", "b"}},
		},
	}
	if got := accessOf(s); !reflect.DeepEqual(got, want) {
		t.Errorf("accessOf() = %+v, want %+v", got, want)
	}
	// With every key switched off nobody gets in; it does not open the door to all.
	s.Routing.BearerAuthKey, s.BearerKeys = "", s.BearerKeys[1:2]
	if got := accessOf(s); !got.RequireKey || len(got.Keys) != 0 {
		t.Errorf("with all keys switched off accessOf() = %+v", got)
	}
}

func TestGroupsOfSettings(t *testing.T) {
	s := &config.Settings{Groups: []config.Group{{ID: "1", Name: "g", Description: "d", Servers: []config.GroupServer{{Name: "a"}, {Name: "b", Tools: []string{"x"}}}}}}
	want := []store.Group{{Name: "g", Description: "d", Servers: []store.GroupServer{{Name: "a"}, {Name: "b", Tools: []string{"x"}}}}}
	if got := groupsOf(s); !reflect.DeepEqual(got, want) {
		t.Errorf("groupsOf() = %+v, want %+v", got, want)
	}
}

// Every strategy of the settings is one of the front doors; with affinity off clients name nothing.
func TestStrategyOfSettings(t *testing.T) {
	for _, name := range []string{config.ConsistentHash, config.ByCookie, config.ByHeader} {
		if got := strategyOf(config.Sticky{Enabled: true, Strategy: name}); string(got) != name || (server.Config{Strategy: got}).Validate() != nil {
			t.Errorf("strategyOf(%s) = %s", name, got)
		}
		if got := strategyOf(config.Sticky{Strategy: name}); got != router.StrategyHash {
			t.Errorf("without affinity strategyOf(%s) = %s", name, got)
		}
	}
}
