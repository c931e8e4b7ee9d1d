package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// canary is planted wherever a secret may stand.
const canary = "c4n4ry-secret-value"

// secretFile has a canary in each place, plain or through a variable.
func secretFile() string {
	return `{
  "mcpServers": {
    "a": {"command": "x", "args": ["--key=${KEY}", "` + canary + `"], "env": {"K": "` + canary + `", "L": "${KEY}"}},
    "b": {"url": "https://h/` + canary + `?key=${KEY}", "headers": {"Authorization": "Bearer ` + canary + `"}}
  },
  "users": [{"username": "u", "password": "$2b$10$c4n4ry` + strings.Repeat(".", 47) + `"}],
  "bearerKeys": [{"name": "k", "token": "` + canary + `-of-the-list"}],
  "systemConfig": {
    "tracing": {"endpoint": "http://h", "headers": {"Authorization": "` + canary + `"}},
    "cluster": {"secret": "` + canary + `", "adminToken": "${KEY}", "redis": {"url": "redis://u:` + canary + `@h"}},
    "routing": {"bearerAuthKey": "` + canary + `"}
  }
}`
}

func TestSecretsAreNeverPrinted(t *testing.T) {
	s, err := Parse("f.json", []byte(secretFile()), env("KEY", canary))
	if err != nil {
		t.Fatal(err)
	}
	if s.Cluster.Secret.Reveal() != canary || s.Cluster.AdminToken.Reveal() != canary || s.Servers[0].Env["L"] != canary {
		t.Fatal("the canaries did not arrive, so the rest of this test would show nothing")
	}
	var out bytes.Buffer
	for _, v := range []any{*s, s, s.Servers, s.Servers[0], &s.Servers[1], s.Users, s.Users[0], s.BearerKeys, &s.BearerKeys[0], s.Tracing, s.Tracing.Headers, s.Cluster, &s.Cluster.Redis, s.Routing,
		s.Cluster.Secret, &s.Cluster.Secret, s.Users[0].PasswordHash, []Secret{canary}, map[string]Secret{"k": canary}, s.Warnings} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%e", "%c", "%U", "%o", "%-50v", "%.3s", "%j"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		fmt.Fprintln(&out, v)
		text, err := json.MarshalIndent(v, "", " ")
		if err != nil {
			t.Fatalf("json of %T: %v", v, err)
		}
		out.Write(text)
		options := &slog.HandlerOptions{Level: slog.LevelDebug}
		slog.New(slog.NewTextHandler(&out, options)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&out, options)).Info("m", "v", v, slog.Any("group", []any{v}))
	}
	text := out.String()
	hexed := fmt.Sprintf("%x", "c4n4ry")
	for _, leak := range []string{"c4n4ry", hexed, strings.ToUpper(hexed), "[99 52 110"} {
		if i := strings.Index(text, leak); i >= 0 {
			t.Errorf("%q was printed: …%s…", leak, text[max(0, i-200):min(len(text), i+50)])
		}
	}
	if !strings.Contains(text, redacted) {
		t.Error("nothing was redacted: was anything printed?")
	}
}

// TestUnsetSecretsShow holds that a set secret can be told from an unset one.
func TestUnsetSecretsShow(t *testing.T) {
	for _, c := range []struct{ format, unset, set string }{
		{"%v", "", "[redacted]"},
		{"%q", `""`, `"[redacted]"`},
		{"%#v", `config.Secret("")`, `config.Secret("[redacted]")`},
	} {
		if got := fmt.Sprintf(c.format, Secret("")); got != c.unset {
			t.Errorf("%s of no secret = %s, want %s", c.format, got, c.unset)
		}
		if got := fmt.Sprintf(c.format, Secret("x")); got != c.set {
			t.Errorf("%s of a secret = %s, want %s", c.format, got, c.set)
		}
	}
	text, err := json.Marshal([]Secret{"", "x"})
	if err != nil || string(text) != `["","[redacted]"]` {
		t.Errorf("json = %s, %v", text, err)
	}
	if text, err = Secret("x").MarshalText(); err != nil || string(text) != redacted {
		t.Errorf("text = %s, %v", text, err)
	}
}

func TestServerShowsWhatIsNotSecret(t *testing.T) {
	s := Server{Name: "b", Type: StreamableHTTP, URL: "https://h:1/p?key=1", Headers: map[string]string{"B": "1", "A": "2"}, Enabled: true}
	text, err := json.Marshal(s)
	want := `{"Name":"b","Type":"streamable-http","Enabled":true,"URL":"https://h:1","Headers":["A","B"]}`
	if err != nil || string(text) != want {
		t.Errorf("json = %s, %v; want %s", text, err, want)
	}
}

// TestSecretsAreNotInErrors breaks each place in every way and looks for the canary.
func TestSecretsAreNotInErrors(t *testing.T) {
	c := func(s string) string { return strings.ReplaceAll(s, "§", canary) }
	for _, file := range []string{
		`{"systemConfig": {"cluster": {"secret": "§ §"}}}`,
		`{"systemConfig": {"cluster": {"secret": §}}}`,
		`{"systemConfig": {"cluster": {"secret": "§`,
		"{\"systemConfig\": {\"cluster\": {\"secret\": \"§\n\"}}}",
		`{"systemConfig": {"cluster": {"secret": ["§"]}}}`,
		`{"systemConfig": {"cluster": {"redis": {"url": "§"}}}}`,
		`{"systemConfig": {"cluster": {"redis": {"url": "redis://§:§@:x"}}}}`,
		`{"systemConfig": {"cluster": {"node": {"url": "http://u:§@h"}}}}`,
		`{"systemConfig": {"cluster": {"node": {"url": "http://u:§@h:§"}}}}`,
		`{"systemConfig": {"cluster": {"mode": "${KEY}"}}}`,
		`{"systemConfig": {"cluster": {"node": {"id": "${KEY} "}}}}`,
		`{"systemConfig": {"cluster": {"redis": {"keyPrefix": "{${KEY}}"}}}}`,
		`{"systemConfig": {"routing": {"allowedHosts": ["${KEY}/"]}}}`,
		`{"mcpServers": {"a": {"command": "x", "args": ["§\u0000"]}}}`,
		`{"mcpServers": {"a": {"command": "x", "args": "§"}}}`,
		`{"mcpServers": {"a": {"command": "x", "env": {"K=§": ""}}}}`,
		`{"mcpServers": {"a": {"command": "x", "env": {"K": "§\u0000"}}}}`,
		`{"mcpServers": {"a": {"command": "x", "env": ["K=§"]}}}`,
		`{"mcpServers": {"a": {"command": "\u0000${KEY}"}}}`,
		`{"mcpServers": {"a": {"url": "§"}}}`,
		`{"mcpServers": {"a": {"url": "http://u:§@h"}}}`,
		`{"mcpServers": {"a": {"url": "http://h", "headers": {"A: §": ""}}}}`,
		`{"mcpServers": {"a": {"url": "http://h", "headers": {"A": "§\n"}}}}`,
		`{"mcpServers": {"a": {"url": "http://h", "type": "${KEY}"}}}`,
		`{"users": [{"username": "u", "password": "§"}]}`,
		`{"bearerKeys": ["§"]}`,
		`{"bearerKeys": [{"name": "k", "token": "§ §"}]}`,
		`{"bearerKeys": [{"name": "k", "token": "§"}, {"name": "l", "token": "§"}]}`,
		`{"bearerKeys": {"§": 1}}`,
		`{"bearerKeys": [{"name": "${KEY}\n", "token": "§", "allowedGroups": ["${KEY}"], "accessType": "${KEY}", "id": "${KEY} "}]}`,
		`{"groups": [{"name": "${KEY}"}, {"name": "${KEY}", "servers": ["${KEY}", "${KEY}", {"name": "a", "tools": "${KEY}"}]}]}`,
		`{"mcpServers": {"c4n4-near": {"command": "x"}}, "groups": [{"name": "g", "servers": ["${KEY}"]}]}`,
		`{"systemConfig": {"tracing": {"endpoint": "http://u:§@h"}}}`,
		`{"systemConfig": {"tracing": {"endpoint": "http://h", "headers": {"A: §": ""}}}}`,
		`{"users": [{"username": "${KEY}\n", "password": 1}]}`,
	} {
		s, err := Parse("f.json", []byte(c(file)), env("KEY", canary))
		if err == nil {
			t.Errorf("%s: accepted as %v; want an error", file, s)
		} else if strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("%s: %v", file, err)
		}
	}
	for _, name := range []string{"REDIS_URL", "MCPHUB_CLUSTER_SECRET", "MCPHUB_ADMIN_TOKEN"} {
		if _, err := Parse("f.json", []byte("{}"), env(name, "é"+canary)); err == nil || strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
