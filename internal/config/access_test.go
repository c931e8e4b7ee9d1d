package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// twoServers begins a file with the servers s and t; it goes on with a key.
const twoServers = `{"mcpServers": {"s": {"command": "x"}, "t": {"command": "x"}}, `

// key is an entry of bearerKeys with more in it.
func bearer(name, more string) string {
	return `{"name": "` + name + `", "token": "0123456789abcdef` + name + `"` + more + `}`
}

func TestGroups(t *testing.T) {
	whole := func(names ...string) (out []GroupServer) {
		for _, n := range names {
			out = append(out, GroupServer{Name: n})
		}
		return out
	}
	for _, c := range []struct {
		name, groups string
		want         []Group
	}{
		{"none", `[]`, nil},
		{"none by name", `{}`, nil},
		{"as MCPHub writes them", `[{"id": "5f2b8c1e-0000-4000-8000-000000000001", "name": "g", "description": "A note", "servers": ["s", "t"]}]`,
			[]Group{{Name: "g", ID: "5f2b8c1e-0000-4000-8000-000000000001", Description: "A note", Servers: whole("s", "t")}}},
		{"with choices", `[{"name": "g", "servers": [{"name": "t", "tools": ["b", "a"], "prompts": "all", "resources": "all"}, {"name": "s", "tools": "all"}]}]`,
			[]Group{{Name: "g", Servers: []GroupServer{{"t", []string{"b", "a"}}, {"s", nil}}}}},
		{"without tools", `[{"name": "g", "servers": [{"name": "s", "tools": []}]}]`, []Group{{Name: "g", Servers: []GroupServer{{"s", []string{}}}}}},
		{"sorted, and empty", `[{"name": "h"}, {"name": "G", "description": ""}]`, []Group{{Name: "G"}, {Name: "h"}}},
		{"by name", `{"g": {"servers": ["s"]}, "h": ["t", {"name": "s"}]}`, []Group{{Name: "g", Servers: whole("s")}, {Name: "h", Servers: whole("t", "s")}}},
		{"by name, with titles", `{"g": {"name": "The title", "description": "a note"}, "h": {"name": "Only"}, "i": {"name": "i", "description": "x"}}`,
			[]Group{{Name: "g", Description: "The title: a note"}, {Name: "h", Description: "Only"}, {Name: "i", Description: "x"}}},
		{"by variables", `[{"name": "${NAME}", "servers": ["${S}", {"name": "t", "tools": ["${NAME}"]}]}]`,
			[]Group{{Name: "given", Servers: []GroupServer{{"s", nil}, {"t", []string{"given"}}}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Parse("f.json", []byte(twoServers+`"groups": `+c.groups+`}`), env("NAME", "given", "S", "s"))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(s.Groups, c.want) || len(s.Warnings) > 0 {
				t.Errorf("groups %+v, want %+v; warnings %q", s.Groups, c.want, s.Warnings)
			}
		})
	}
}

func TestBearerKeys(t *testing.T) {
	const groups = `"groups": [{"id": "id-1", "name": "g"}, {"id": "h", "name": "i"}, {"id": "id-3", "name": "h"}], `
	for _, c := range []struct {
		name, more string
		want       BearerKey // of which name, key and Enabled are filled in
		warning    string
	}{
		{"as MCPHub writes them", `, "id": "0b1c", "enabled": true, "kind": "system", "accessType": "all", "allowedGroups": [], "allowedServers": []`,
			BearerKey{ID: "0b1c", AccessType: AccessAll}, ""},
		{"no access type", ``, BearerKey{AccessType: AccessAll}, ""},
		{"no access type, groups", `, "allowedGroups": ["g"]`, BearerKey{AccessType: AccessGroups, Groups: []string{"g"}}, ""},
		{"no access type, servers", `, "allowedServers": ["s"], "allowedGroups": []`, BearerKey{AccessType: AccessServers, Servers: []string{"s"}}, ""},
		{"no access type, both", `, "allowedServers": ["s"], "allowedGroups": ["h"]`, BearerKey{AccessType: AccessCustom, Groups: []string{"h"}, Servers: []string{"s"}}, ""},
		{"groups by id, once each", `, "accessType": "groups", "allowedGroups": ["id-1", "g", "id-3"]`, BearerKey{AccessType: AccessGroups, Groups: []string{"g", "h"}}, ""},
		{"a name goes before an id", `, "accessType": "groups", "allowedGroups": ["h"]`, BearerKey{AccessType: AccessGroups, Groups: []string{"h"}}, ""},
		{"servers, once each", `, "accessType": "servers", "allowedServers": ["t", "s", "t"]`, BearerKey{AccessType: AccessServers, Servers: []string{"t", "s"}}, ""},
		{"custom with one list", `, "accessType": "custom", "allowedServers": ["t"]`, BearerKey{AccessType: AccessCustom, Servers: []string{"t"}}, ""},
		{"a list left over", `, "accessType": "all", "allowedServers": ["t"]`, BearerKey{AccessType: AccessAll},
			`bearerKeys[0].allowedServers: is not used, because accessType is "all"`},
		{"the wrong list", `, "accessType": "groups", "allowedGroups": ["g"], "allowedServers": ["t"]`, BearerKey{AccessType: AccessGroups, Groups: []string{"g"}},
			`bearerKeys[0].allowedServers: is not used, because accessType is "groups"`},
		{"nothing allowed", `, "accessType": "servers", "allowedServers": []`, BearerKey{AccessType: AccessServers},
			`bearerKeys[0]: opens nothing: no group and no server is allowed to it`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Parse("f.json", []byte(twoServers+groups+`"bearerKeys": [`+bearer("k", c.more)+`]}`), env())
			if err != nil {
				t.Fatal(err)
			}
			c.want.Name, c.want.Key, c.want.Enabled = "k", "0123456789abcdefk", true
			if len(s.BearerKeys) != 1 || !reflect.DeepEqual(s.BearerKeys[0], c.want) {
				t.Errorf("got %#v\nwant %#v", s.BearerKeys, c.want)
			}
			if !s.Routing.EnableBearerAuth {
				t.Error("there are keys, and nobody is asked for one")
			}
			warned(t, s, c.warning)
		})
	}
}

// warned holds that the only warning ends with these words; none, if they are empty.
func warned(t *testing.T, s *Settings, want string) {
	t.Helper()
	if want == "" {
		if len(s.Warnings) > 0 {
			t.Errorf("warnings: %q", s.Warnings)
		}
		return
	}
	if len(s.Warnings) != 1 || !strings.HasSuffix(s.Warnings[0], ": "+want) {
		t.Errorf("warnings %q, want one: %s", s.Warnings, want)
	}
}

// TestWhoIsAsked goes through what can be said about keys, and what holds then.
func TestWhoIsAsked(t *testing.T) {
	const single = "0123456789abcdefk"
	for _, c := range []struct {
		name, routing, list string
		asked               bool
		single              Secret
		enabled             int
		warning             string
	}{
		{"nothing", ``, ``, false, "", 0, ""},
		{"one key", `"enableBearerAuth": true, "bearerAuthKey": "` + single + `"`, ``, true, single, 0, ""},
		{"a list", ``, `[` + bearer("k", "") + `]`, true, "", 1, ""},
		{"a list, asked for", `"enableBearerAuth": true`, `[` + bearer("k", "") + `]`, true, "", 1, ""},
		{"a list, and nobody asked", `"enableBearerAuth": false`, `[` + bearer("k", "") + `]`, false, "", 1,
			"systemConfig.routing.enableBearerAuth: is false, so clients come in without a key, and bearerKeys limits nobody"},
		{"an empty list", ``, `[]`, false, "", 0, ""},
		{"an empty list, asked for", `"enableBearerAuth": true`, `[]`, true, "", 0, "bearerKeys: has no enabled key, so no client can come in"},
		{"every key off", ``, `[` + bearer("k", `, "enabled": false`) + `]`, true, "", 0, "bearerKeys: has no enabled key, so no client can come in"},
		{"one key beside an empty list", `"enableBearerAuth": true, "bearerAuthKey": "` + single + `"`, `[]`, true, single, 0,
			"systemConfig.routing.bearerAuthKey: opens everything, beside bearerKeys; MCPHub itself does not read it where that list is: remove it if it is not wanted"},
		{"one key beside others", `"enableBearerAuth": true, "bearerAuthKey": "` + single + `"`, `[` + bearer("l", "") + `]`, true, single, 1,
			"systemConfig.routing.bearerAuthKey: opens everything, beside bearerKeys; MCPHub itself does not read it where that list is: remove it if it is not wanted"},
		{"one key that MCPHub has moved", `"enableBearerAuth": true, "bearerAuthKey": "` + single + `"`, `[` + bearer("k", "") + `]`, true, "", 1, ""},
		{"one key that is limited in the list", `"enableBearerAuth": true, "bearerAuthKey": "` + single + `"`, `[` + bearer("k", `, "accessType": "servers", "allowedServers": ["s"]`) + `]`,
			true, "", 1, "systemConfig.routing.bearerAuthKey: is the token of bearerKeys[0] too, and what is said there holds"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := twoServers + `"systemConfig": {"routing": {` + c.routing + `}}`
			if c.list != "" {
				file += `, "bearerKeys": ` + c.list
			}
			s, err := Parse("f.json", []byte(file+"}"), env())
			if err != nil {
				t.Fatal(err)
			}
			enabled := len(slices.DeleteFunc(slices.Clone(s.BearerKeys), func(b BearerKey) bool { return !b.Enabled }))
			if r := s.Routing; r.EnableBearerAuth != c.asked || r.BearerAuthKey != c.single || enabled != c.enabled {
				t.Errorf("asked %v, single %v, %d keys; want %v, %v, %d", r.EnableBearerAuth, r.BearerAuthKey != "", enabled, c.asked, c.single != "", c.enabled)
			}
			warned(t, s, c.warning)
		})
	}
}

// TestNamesThatOthersMayHave holds that a name is refused only where nobody else can have it.
func TestNamesThatOthersMayHave(t *testing.T) {
	const rest = `"groups": [{"name": "g", "servers": ["s", "far", "away"]}], "bearerKeys": [`
	keys := bearer("k", `, "allowedServers": ["far"], "allowedGroups": ["g", "later"]`) + "]"
	mode := func(mode, more string) string {
		return `, "systemConfig": {"cluster": {"enabled": true, "mode": "` + mode + `", "node": {"coordinatorUrl": "http://h"}` + more + `}}}`
	}
	server := `{"mcpServers": {"s": {"command": "x"}}, `
	for _, c := range []struct {
		name, file string
		want       []string // the ends of warnings
	}{
		{"a coordinator with servers", server + rest + keys + mode("coordinator", ""), []string{
			`groups[0].servers[1]: not in mcpServers, so they must be on nodes: "away", "far"`,
			`bearerKeys[0].allowedGroups[1]: not in groups, so they must be made by REST before their keys are of use: "later"`,
		}},
		{"a coordinator without servers", "{" + rest + keys + mode("coordinator", ""), []string{
			`bearerKeys[0].allowedGroups[1]: not in groups, so they must be made by REST before their keys are of use: "later"`,
		}},
		{"a coordinator without groups", `{"bearerKeys": [` + keys + mode("coordinator", ""), nil},
		{"a node", server + rest + keys + mode("node", ""), []string{
			"groups: is not used in mode node: clients come in at the coordinators",
			"bearerKeys: is not used in mode node: clients come in at the coordinators",
		}},
		{"standalone with a Redis that remembers groups", server + `"groups": [{"name": "g"}], "bearerKeys": [` + bearer("k", `, "allowedGroups": ["later"]`) + "]" +
			mode("standalone", `, "redis": {"url": "redis://h"}`), []string{
			`bearerKeys[0].allowedGroups[0]: not in groups, so they must be made by REST before their keys are of use: "later"`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Parse("f.json", []byte(c.file), env())
			if err != nil {
				t.Fatal(err)
			}
			ok := len(s.Warnings) == len(c.want)
			for i := range min(len(s.Warnings), len(c.want)) {
				ok = ok && strings.HasSuffix(s.Warnings[i], ": "+c.want[i])
			}
			if !ok {
				t.Errorf("warnings %q\nwant %q", s.Warnings, c.want)
			}
		})
	}
	embedded := server + `"bearerKeys": [` + bearer("k", `, "allowedGroups": ["later"]`) + "]}"
	if _, err := Parse("f.json", []byte(embedded), env()); err == nil {
		t.Error("standalone: a group that cannot be there was accepted")
	}
	if _, err := Parse("f.json", []byte(embedded), env("REDIS_URL", "redis://h")); err != nil {
		t.Errorf("standalone with REDIS_URL: %v", err)
	}
}
