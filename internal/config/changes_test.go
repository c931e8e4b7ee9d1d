package config

import (
	"reflect"
	"testing"
)

func TestChanges(t *testing.T) {
	const old = `{
  "mcpServers": {"s": {"command": "x", "env": {"A": "1"}}},
  "groups": [{"name": "g", "servers": ["s"]}],
  "bearerKeys": [{"name": "k", "token": "0123456789abcdef"}],
  "users": [{"username": "u", "password": "$2b$10$Vt7krIvjNgyN67LXqly0uOcTpN0LI55cYRbcKC71pUDAP0nJ7RPa."}],
  "systemConfig": {"nameSeparator": "-", "cluster": {"secret": "0123456789abcdef"}}
}`
	parse := func(text string) *Settings {
		s, err := Parse("f.json", []byte(text), env())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, c := range []struct {
		name, from, to string
		want           Changes
	}{
		{"nothing", ``, ``, Changes{}},
		{"an environment entry", `"1"`, `"2"`, Changes{Servers: true}},
		{"tools of a group", `["s"]`, `[{"name": "s", "tools": []}]`, Changes{Groups: true}},
		{"a key", `"token": "0123456789abcdef"`, `"token": "fedcba9876543210"`, Changes{Keys: true}},
		{"a key switched off", `"name": "k"`, `"name": "k", "enabled": false`, Changes{Keys: true, Warnings: true}},
		{"a single key more", `"nameSeparator"`, `"routing": {"enableBearerAuth": true, "bearerAuthKey": "abcdefghijklmnop"}, "nameSeparator"`,
			Changes{Keys: true, Warnings: true}},
		{"a user", `"username": "u"`, `"username": "v"`, Changes{Users: true}},
		{"what needs a restart", `"nameSeparator": "-", "cluster": {"secret": "0123456789abcdef"}`,
			`"nameSeparator": "_", "cluster": {"secret": "fedcba9876543210", "node": {"weight": 2}}, "limits": {"maxBody": 2048}, "tracing": {"endpoint": "http://h"}`,
			Changes{Restart: []string{"systemConfig.nameSeparator", "systemConfig.cluster.secret", "systemConfig.cluster.node.weight",
				"systemConfig.limits.maxBody", "systemConfig.tracing.endpoint"}}},
		{"the mode", `"cluster": {`, `"cluster": {"enabled": true, "mode": "coordinator", `,
			Changes{Restart: []string{"systemConfig.cluster.enabled", "systemConfig.cluster.mode"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, after := parse(old), parse(replaceOnce(t, old, c.from, c.to))
			if got := before.Changes(after); !reflect.DeepEqual(got, c.want) {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

// TestEveryOptionIsNoticed walks the table: a change of any option shows up in Changes.
func TestEveryOptionIsNoticed(t *testing.T) {
	for _, k := range leaves() {
		example, ok := examples[k.path]
		if !ok {
			continue
		}
		before, err1 := Parse("f.json", []byte(without(example.file)), env())
		after, err2 := Parse("f.json", []byte(option(example.file, k.name, example.value)), env())
		if err1 != nil || err2 != nil {
			continue // an option that is needed, or one that does not go with the rest
		}
		got := before.Changes(after)
		got.Warnings = false
		if reflect.DeepEqual(got, Changes{}) {
			t.Errorf("%s: %s: nothing has changed", k.path, example.value)
		}
		if live := k.reload || !k.fixed(); live != (got.Restart == nil) {
			t.Errorf("%s: %+v; may change without a restart: %v", k.path, got, live)
		}
	}
}
