package config

import (
	"bytes"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/tailscale/hujson"
)

// compiled is the schema, checked against the meta-schema by compiling it.
func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource(schemaID, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(schemaID)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// validate runs the schema over a settings file.
func validate(t *testing.T, s *jsonschema.Schema, text []byte) error {
	t.Helper()
	plain, err := hujson.Standardize(bytes.Clone(text))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(plain))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(doc)
}

func TestSchemaAcceptsTheGuide(t *testing.T) {
	s := compiled(t)
	files, err := filepath.Glob("testdata/guide/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no guide files: %v", err)
	}
	for _, f := range files {
		text, err := readFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(t, s, text); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// TestSchemaAgreesWithTheParser compares the two on every example of the table, and on
// mistakes that a schema can see.
func TestSchemaAgreesWithTheParser(t *testing.T) {
	s := compiled(t)
	files := []string{
		`{}`, `{"$schema": "x", "oauthClients": [], "systemConfig": {"install": {}}}`,
		`{"mcpServers": {"s": {"command": "${X}", "type": "${TYPE}"}}}`,
		`{"mcpServers": {"s": {}}}`,
		`{"mcpServers": {"s": {"command": "x", "url": "http://h"}}}`,
		`{"mcpServers": {"s": {"command": "x", "headers": {"A": "b"}}}}`,
		`{"mcpServers": {"s": {"command": "x", "type": "streamable-http"}}}`,
		`{"mcpServers": {"s": {"url": "http://h", "args": ["x"]}}}`,
		`{"mcpServers": {"s": {"url": "ftp://h"}}}`,
		`{"mcpServers": {"s": {"command": "x", "Enabled": true}}}`,
		`{"mcpServers": {"a b": {"command": "x"}}}`,
		`{"groups": [{}]}`,
		`{"groups": {"g": []}}`,
		`{"groups": {"g": {}}}`,
		`{"groups": {"g": {"name": "A title", "description": "x"}}}`,
		`{"groups": {"g": {"nme": "A title"}}}`,
		`{"groups": {"a b": []}}`,
		`{"groups": {"g": "s"}}`,
		`{"groups": "g"}`,
		`{"mcpServers": {"s": {"command": "x"}}, "groups": {"g": ["s"], "h": {"servers": [{"name": "s", "tools": "all"}]}}}`,
		`{"mcpServers": {"s": {"command": "x"}}, "groups": [{"name": "g", "servers": ["s"]}]}`,
		`{"mcpServers": {"s": {"command": "x"}}, "groups": [{"name": "g", "servers": [{"name": "s", "tools": []}]}]}`,
		`{"mcpServers": {"s": {"command": "x"}}, "groups": [{"name": "g", "servers": [{"name": "s", "tools": "some"}]}]}`,
		`{"mcpServers": {"s": {"command": "x"}}, "groups": [{"name": "g", "servers": [{"name": "s", "prompts": ["p"]}]}]}`,
		`{"mcpServers": {"s": {"command": "x"}}, "groups": [{"name": "g", "servers": [{"name": "s", "alias": "t"}]}]}`,
		`{"groups": [{"name": "g", "servers": ["a b"]}]}`,
		`{"bearerKeys": [{"name": "k"}]}`,
		`{"bearerKeys": [{"name": "k", "token": "a b"}]}`,
		`{"bearerKeys": {"k": "token"}}`,
		`{"mcpServers": {"s": {"command": "x", "isolation": "shared", "warm": 1}}}`,
		`{"mcpServers": {"s": {"command": "x", "warm": 1}}}`,
		`{"mcpServers": {"s": {"command": "x", "perSessionClient": true, "warm": 1}}}`,
		`{"mcpServers": {"s": {"command": "x", "isolation": "session", "idleTimeoutMs": 50}}}`,
		`{"mcpServers": {"s": {"command": "x", "isolation": "session", "idleTimeoutMs": 100}}}`,
		`{"mcpServers": {"s": {"command": "x", "isolation": "session", "maxProcesses": 0}}}`,
		`{"mcpServers": {"s": {"command": "x", "isolation": "session", "maxProcesses": 1.5}}}`,
		`{"mcpServers": {"s": {"url": "http://h", "isolation": "session"}}}`,
		`{"mcpServers": {"s": {"url": "http://h", "perSessionClient": true}}}`,
		`{"mcpServers": {"s": {"url": "http://h", "type": "sse"}}}`,
		`{"mcpServers": {"s": {"command": "x", "type": "sse"}}}`,
		`{"mcpServers": {"s": {"command": "x", "weight": 101}}}`,
		`{"systemConfig": {"tracing": {"sampleRatio": 1.5}}}`,
		`{"systemConfig": {"routing": {"enableBearerAuth": true}}, "bearerKeys": []}`,
		`{"users": [{"username": "a"}]}`,
		`{"users": [{"username": "a", "password": "plain"}]}`,
		`{"systemConfig": {"cluster": {"enabled": true, "mode": "node"}}}`,
		`{"systemConfig": {"cluster": {"enabled": true, "mode": "node", "node": {}}}}`,
		`{"systemConfig": {"cluster": {"mode": "nodes"}}}`,
		`{"systemConfig": {"cluster": {"enabled": "true"}}}`,
		`{"systemConfig": {"cluster": {"stickySession": {"strategy": "cookie"}}}}`,
		`{"systemConfig": {"cluster": {"stickySession": {"enabled": false}}}}`,
		`{"systemConfig": {"cluster": {"coordinator": {"nodeTimeout": 99}}}}`,
		`{"systemConfig": {"cluster": {"coordinator": {"nodeTimeout": 100.5}}}}`,
		`{"systemConfig": {"cluster": {"node": {"registerOnStartup": false}}}}`,
		`{"systemConfig": {"cluster": {"redis": {"url": "http://h"}}}}`,
		`{"systemConfig": {"routing": {"enableBearerAuth": true}}}`,
		`{"systemConfig": {"routing": {"skipAuth": true}}}`,
		`{"systemConfig": {"nameSeparator": "::"}}`,
	}
	for path, e := range examples {
		_, name := splitPath(path)
		files = append(files, strings.Replace(e.file, "%s", `"`+name+`": `+e.value, 1))
	}
	for _, f := range files {
		_, parser := Parse("f.json", []byte(f), env("X", "x", "TYPE", "stdio"))
		if schema := validate(t, s, []byte(f)); (schema == nil) != (parser == nil) {
			t.Errorf("%s\nschema: %v\nparser: %v", f, schema, parser)
		}
	}
}

var fenced = regexp.MustCompile("(?s)```jsonc\n(.*?)```")

// TestReferenceExamples holds that the examples in the document load without a warning.
func TestReferenceExamples(t *testing.T) {
	blocks := fenced.FindAllSubmatch(Reference(), -1)
	if len(blocks) != 4 {
		t.Fatalf("%d examples, want 4", len(blocks))
	}
	for _, b := range blocks {
		s, err := Parse("f.json", b[1], env("SEARCH_KEY", "key", "CLUSTER_SECRET", "0123456789abcdef",
			"STAFF_KEY", "0123456789abcdef", "GUEST_KEY", "0123456789abcdeg"))
		if err != nil || len(s.Warnings) > 0 {
			t.Errorf("%s\n%v %+v", b[1], err, s)
		}
	}
}

// TestReferenceNamesEverything holds that no option, variable or refusal is missing.
func TestReferenceNamesEverything(t *testing.T) {
	text := string(Reference())
	for _, k := range leaves() {
		switch {
		case k.path == "$schema":
		case k.laterItems != "" && !strings.Contains(text, "| `"+title(k.path)+": […]` | "):
			t.Errorf("%s: a list is not in the table of what is not yet supported", k.path)
		case k.later != "" && !strings.Contains(text, "| `"+title(k.path)+"` | "+k.doc+" | "+k.later+" |"):
			t.Errorf("%s is not in the table of what is not yet supported", k.path)
		case k.later == "" && !strings.Contains(text, "| `"+k.name+"` | "+k.typeName()+" | "+code(k.def)+" | "+k.doc):
			t.Errorf("%s is not in its section", k.path)
		}
	}
	for _, v := range variables {
		if !strings.Contains(text, "| `"+v.name+"` |") {
			t.Errorf("%s is not described", v.name)
		}
	}
}
