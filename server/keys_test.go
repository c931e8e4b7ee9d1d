package server

import (
	"strings"
	"testing"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/store"
)

// limited is a hub with one key of each kind, and two groups of three servers.
func limited(t *testing.T) *rig {
	t.Helper()
	cfg := global
	cfg.EnableGroupNameRoute, cfg.RequireKey = true, true
	cfg.Keys = []Key{
		{Key: "all", All: true},
		{Name: "ops", Key: "ops", All: true},
		{Name: "g", Key: "of-groups", Groups: []string{"team", "no-such-group"}},
		{Name: "s", Key: "of-servers", Servers: []string{"everything", "no-such-server"}},
		{Name: "both", Key: "custom", Groups: []string{"part"}, Servers: []string{"memory"}},
		{Name: "none", Key: "nothing"},
	}
	r := newServer(t, cfg, nil)
	r.groups.set(
		store.Group{Name: "team", Servers: []store.GroupServer{{Name: "everything"}, {Name: "memory", Tools: []string{"read_graph"}}}},
		store.Group{Name: "part", Servers: []store.GroupServer{{Name: "broken"}, {Name: "everything", Tools: []string{}}}},
		store.Group{Name: "solo", Servers: []store.GroupServer{{Name: "everything"}}},
		store.Group{Name: "empty", Servers: []store.GroupServer{}},
	)
	return r.run(t)
}

func bearerOf(key string) []string { return []string{"Authorization", "Bearer " + key} }

func TestKeysOpenWhatTheyName(t *testing.T) {
	r := limited(t)
	for key, may := range map[string]string{
		"all":        "everything memory broken team part solo empty",
		"ops":        "everything memory broken team part solo empty",
		"of-groups":  "team",
		"of-servers": "everything solo", // not team: it would get the rest of team as well
		"custom":     "memory part",
		"nothing":    "",
	} {
		for _, name := range strings.Fields("everything memory broken team part solo empty no-such") {
			open := strings.Contains(" "+may+" ", " "+name+" ")
			p := r.do(t, "POST", "/mcp/"+name, ping, bearerOf(key)...)
			scope := name
			if _, ok := r.groups.Group(name); ok {
				scope = "group/" + name
			}
			switch got := r.carrier.last(); {
			case open && (p.status != 200 || got.Scope != scope || got.Limit != nil):
				t.Errorf("key %s at %s = %d with scope %q and limit %v, want 200, %q and none", key, name, p.status, got.Scope, got.Limit, scope)
			case !open && p.status != 404:
				t.Errorf("key %s at %s = %d %s, want 404", key, name, p.status, p.body)
			}
			if unknown := r.do(t, "POST", "/mcp/x-x-x", ping, bearerOf(key)...); !open && p.body != strings.ReplaceAll(unknown.body, "x-x-x", name) {
				t.Errorf("key %s at %s is told %s, want what is said of no such name: %s", key, name, p.body, unknown.body)
			}
		}
	}
}

// A session id does not open what the key does not, and the answer is that of an unknown session.
func TestKeysLimitSessionsToo(t *testing.T) {
	r := limited(t)
	r.carrier.judge = true
	for _, name := range []string{"everything", "team"} {
		scope := name
		if name == "team" {
			scope = "group/team"
		}
		tok, err := r.carrier.keys.Mint(scope, "key/both", "", 0, noon)
		if err != nil {
			t.Fatal(err)
		}
		made := r.do(t, "POST", "/mcp/"+name, ping, append(bearerOf("custom"), wire.HeaderSession, "made-up")...)
		got := r.do(t, "POST", "/mcp/"+name, ping, append(bearerOf("custom"), wire.HeaderSession, tok.String())...)
		if got.status != 404 || got.body != made.body {
			t.Errorf("a session at %s = %d %s, want what a made-up one gets: %d %s", name, got.status, got.body, made.status, made.body)
		}
	}
}

func TestLimitOverAllServers(t *testing.T) {
	r := limited(t)
	at := func(key string) *router.Limit {
		t.Helper()
		if p := r.do(t, "POST", "/mcp", ping, bearerOf(key)...); p.status != 200 {
			t.Fatalf("POST /mcp with %s = %d %s", key, p.status, p.body)
		}
		return r.carrier.last().Limit
	}
	if l := at("all"); l != nil {
		t.Errorf("the limit of a key to everything is %v", l)
	}
	for key, may := range map[string]string{
		"of-groups":  "everything", // team offers a part of memory, which /mcp/team shows
		"of-servers": "everything no-such-server",
		"custom":     "broken memory",
		"nothing":    "",
	} {
		l := at(key)
		if l == nil || len(l.Servers) != len(strings.Fields(may)) {
			t.Fatalf("the limit of %s is %+v, want %s", key, l, may)
		}
		for _, id := range strings.Fields(may) {
			if !l.Servers[store.ServerID(id)] {
				t.Errorf("the limit of %s is %v, want %s", key, l.Servers, may)
			}
		}
		if again := at(key); again != l {
			t.Errorf("the limit of %s is made anew with each request", key)
		}
	}
	before := at("of-groups")
	r.groups.set(store.Group{Name: "team", Servers: []store.GroupServer{{Name: "memory"}}})
	if l := at("of-groups"); l.Name == before.Name || len(l.Servers) != 1 || !l.Servers["memory"] {
		t.Errorf("after the group has changed the limit is %+v", l)
	}
	r.groups.set(store.Group{Name: "team", Servers: []store.GroupServer{{Name: "everything"}}})
	if l := at("of-groups"); l.Name != before.Name {
		t.Errorf("two limits to the same servers are called %s and %s", l.Name, before.Name)
	}
}

func TestKeysAreReplacedAsAWhole(t *testing.T) {
	r := limited(t)
	ok := func(key string) bool { return r.do(t, "POST", "/mcp/everything", ping, bearerOf(key)...).status == 200 }
	if err := r.SetAccess(Access{RequireKey: true, Keys: []Key{{Name: "s", Key: "new", All: true}, {Name: "s", Key: "old", All: true}}}); err != nil {
		t.Fatal(err)
	}
	if !ok("new") || !ok("old") || ok("all") || ok("of-servers") {
		t.Error("after SetAccess the keys are not the new ones")
	}
	if got := r.carrier.last().Subject; got != "key/s" {
		t.Errorf("a key with another value has the subject %q, want that of its name", got)
	}
	if err := r.SetAccess(Access{RequireKey: true, Keys: []Key{{Name: "s", Key: ""}}}); err == nil || !ok("new") {
		t.Errorf("SetAccess with an empty key = %v, want an error and the keys as they were", err)
	}
	if p := r.do(t, "GET", "/api/cluster/status", ""); p.status != 200 {
		t.Errorf("status without an admin = %d", p.status)
	}
	if err := r.SetAccess(Access{RequireKey: true, AdminToken: "adm1n"}); err != nil {
		t.Fatal(err)
	}
	if p := r.do(t, "GET", "/api/cluster/status", ""); p.status != 401 || ok("new") {
		t.Errorf("status with an admin configured = %d; a key that is gone opens: %t", p.status, ok("new"))
	}
	if p := r.do(t, "GET", "/api/cluster/status", "", bearerOf("adm1n")...); p.status != 200 {
		t.Errorf("status with the new token = %d", p.status)
	}
	if err := r.SetAccess(Access{Keys: []Key{{Key: "k", All: true}}}); err != nil {
		t.Fatal(err)
	}
	if p := r.do(t, "POST", "/mcp/everything", ping); p.status != 200 || r.carrier.last().Subject != "" {
		t.Errorf("where no key is asked for = %d with subject %q, want 200 and none", p.status, r.carrier.last().Subject)
	}
}

// Whoever deletes the last key of the settings opens the hub to everyone.
func TestTheLastKeyIsMissed(t *testing.T) {
	keyed := Access{RequireKey: true, Keys: []Key{{Name: "a", Key: "k3y", All: true}}}
	r := newServer(t, Config{Access: keyed}, nil)
	for _, a := range []Access{keyed, {}, {}, keyed} {
		if err := r.SetAccess(a); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Count(r.log.String(), "without a bearer key"); got != 1 {
		t.Errorf("the log says %d times that clients come in without a key, want once:\n%s", got, r.log)
	}
}

// Whoever takes the last admin out of the settings opens management to the network around.
func TestTheLastAdminIsMissed(t *testing.T) {
	r := newServer(t, Config{Access: Access{AdminToken: "adm1n"}}, nil)
	const said = "no admin is configured"
	for _, a := range []Access{{AdminToken: "other"}, {}, {}, {AdminToken: "adm1n"}} {
		if err := r.SetAccess(a); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Count(r.log.String(), said); got != 1 {
		t.Errorf("the log says %d times that %s, want once:\n%s", got, said, r.log)
	}
}

func TestBadKeysAreRefused(t *testing.T) {
	const secret = "s3cret-value"
	for want, keys := range map[string][]Key{
		"is empty":            {{Name: "a", All: true}},
		"ends with a blank":   {{Name: "a", Key: secret + " "}},
		"limited as well":     {{Name: "a", Key: secret, All: true, Groups: []string{"g"}}},
		"not a valid name":    {{Name: "a", Key: secret, Servers: []string{"a b"}}},
		`same as that of "a"`: {{Name: "a", Key: secret}, {Name: "b", Key: secret}},
		"different limits":    {{Name: "a", Key: secret}, {Name: "a", Key: "other", Groups: []string{"g"}}},
	} {
		err := Config{Access: Access{Keys: keys}}.Validate()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) {
			t.Errorf("Validate(%d keys) = %v, want %q and no secret", len(keys), err, want)
		}
	}
	if err := (Access{Keys: []Key{{Name: "a", Key: "x", Groups: []string{"g", "h"}}, {Name: "a", Key: "y", Groups: []string{"h", "g"}}}}).Validate(); err != nil {
		t.Errorf("two keys of one name and limit: %v", err)
	}
}

// Keys come from clients and go nowhere: not to the carrier's log, not into answers.
func TestKeysAreNotToldToAnyone(t *testing.T) {
	r := limited(t)
	r.carrier.carry = nil
	for _, key := range []string{"of-servers", "wrong-key-4711"} {
		p := r.do(t, "POST", "/mcp/memory", ping, bearerOf(key)...)
		if strings.Contains(p.body, key) {
			t.Errorf("the answer repeats the key: %s", p.body)
		}
	}
	_ = r.stop()
	if log := r.log.String(); strings.Contains(log, "of-servers") || strings.Contains(log, "4711") {
		t.Errorf("the log holds a key: %s", log)
	}
}

func TestOneOfLooksAtAll(t *testing.T) {
	b := newBearer("a", "b", "c")
	for i := range b.sums {
		if got := oneOf(b.sums, b.sums[i]); got != i {
			t.Errorf("oneOf(sum %d) = %d", i, got)
		}
	}
	if got := oneOf(b.sums, newBearer("d").sums[0]); got != -1 {
		t.Errorf("oneOf(another sum) = %d, want -1", got)
	}
}
