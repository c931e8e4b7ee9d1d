package server

import (
	"testing"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// What the client of an open stream may use follows its key and the groups.
func TestStreamsFollowKeysAndGroups(t *testing.T) {
	r := limited(t)
	open := func(path, key string) func() (map[store.ServerID]bool, bool) {
		t.Helper()
		p := r.do(t, "GET", path, "", append(bearerOf(key), wire.HeaderSession, "s1", "Accept", wire.TypeEventStream)...)
		if p.status != 200 || r.carrier.last().Relimit == nil {
			t.Fatalf("GET %s with %s = %d %s", path, key, p.status, p.body)
		}
		relimit := r.carrier.last().Relimit
		return func() (map[store.ServerID]bool, bool) {
			l, ok := relimit()
			if l == nil {
				return nil, ok
			}
			return l.Servers, ok
		}
	}
	global, team, server, all := open("/mcp", "of-groups"), open("/mcp/team", "of-groups"), open("/mcp/everything", "of-servers"), open("/mcp", "ops")
	if may, ok := global(); !ok || len(may) != 1 || !may["everything"] {
		t.Errorf("at first = %v, %t", may, ok)
	}
	for name, now := range map[string]func() (map[store.ServerID]bool, bool){"group": team, "server": server, "key to everything": all} {
		if may, ok := now(); !ok || may != nil {
			t.Errorf("%s: %v, %t, want no limit of its own", name, may, ok)
		}
	}
	r.groups.set(store.Group{Name: "solo", Servers: []store.GroupServer{{Name: "everything"}}})
	if may, ok := global(); !ok || len(may) != 0 {
		t.Errorf("without the group = %v, %t", may, ok)
	}
	if _, ok := team(); ok {
		t.Error("the stream of a group outlives it")
	}
	if err := r.SetAccess(Access{RequireKey: true, Keys: []Key{{Name: "s", Key: "of-servers", Servers: []string{"memory"}}, {Name: "other", Key: "ops", All: true}}}); err != nil {
		t.Fatal(err)
	}
	for name, now := range map[string]func() (map[store.ServerID]bool, bool){"key that is gone": global, "server that is not the key's any more": server, "key of another name": all} {
		if may, ok := now(); ok {
			t.Errorf("%s: %v may be used", name, may)
		}
	}
	if p := r.do(t, "POST", "/mcp/everything", ping, bearerOf("ops")...); p.status != 200 || r.carrier.last().Relimit != nil {
		t.Errorf("a POST = %d, with the limits of a stream", p.status)
	}
}
