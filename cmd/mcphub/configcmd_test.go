package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const guide = "../../internal/config/testdata/guide/"

func TestConfigCheckOnTheGuidesFiles(t *testing.T) {
	env := []string{"AMAP_MAPS_API_KEY=a-key-that-must-not-show"}
	for file, want := range map[string]string{
		"coordinator.json":         "fine. Mode coordinator, port 3000, 1 server: example.",
		"node.json":                "fine. Mode node, port 3000, 2 servers: amap, playwright; registers with http://coordinator:3000.",
		"minimal-coordinator.json": "fine. Mode coordinator, port 3000, no servers.",
		"minimal-node.json":        "fine. Mode node, port 3000, 1 server: server1; registers with http://192.168.1.100:3000.",
		"example-coordinator.json": "fine. Mode coordinator, port 3000, 1 server: fetch.",
		"example-worker-1.json":    "fine. Mode node, port 3000, 1 server: amap; registers with http://coordinator:3000.",
	} {
		got := command(t, env, "", "config", "check", guide+file)
		if got.code != exitOK || got.stdout != guide+file+": "+want+"\n" {
			t.Errorf("config check %s = %+v, want %s", file, got, want)
		}
		got = command(t, env, "", "config", "check", guide+file, "-o", "json")
		var answer struct {
			Valid    bool
			Problems []any
		}
		if err := json.Unmarshal([]byte(got.stdout), &answer); err != nil || !answer.Valid || answer.Problems == nil || len(answer.Problems) != 0 {
			t.Errorf("config check -o json %s: %v %+v", file, err, answer)
		}
		if strings.Contains(got.stdout+got.stderr, "must-not-show") {
			t.Errorf("config check %s shows what a variable holds", file)
		}
	}
}

func TestConfigCheckListsEveryProblem(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bad.json")
	const text = `{
  "systemConfig": { "cluster": { "enabled": true, "mod": "coordinator", "coordinator": { "nodeTimeout": "soon" } } }
}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := command(t, nil, "", "config", "check", file)
	if got.code != exitUsage || got.stdout != "" || strings.Count(got.stderr, file+":2:") != 2 || !strings.Contains(got.stderr, "mode") {
		t.Errorf("config check = %+v, want two problems with their places", got)
	}
	got = command(t, nil, "", "config", "check", file, "-o", "json")
	var answer struct {
		Valid    bool
		Problems []struct{ Line, Column int }
	}
	if err := json.Unmarshal([]byte(got.stdout), &answer); err != nil {
		t.Fatal(err)
	}
	if got.code != exitUsage || answer.Valid || len(answer.Problems) != 2 || answer.Problems[0].Line != 2 {
		t.Errorf("config check -o json = exit %d, %+v", got.code, answer)
	}
	if got := command(t, nil, "", "--config", file); got.code != exitUsage || strings.Count(got.stderr, file+":2:") != 2 {
		t.Errorf("serving with the same file = %+v", got)
	}
}

func TestConfigCheckTakesTheFileAsMcphubDoes(t *testing.T) {
	file := writeSettings(t, `{"mcpServers":{"a":{"comand":"x"}}}`)
	got := command(t, nil, "", "config", "check", "--config", file)
	if got.code != exitUsage || !strings.Contains(got.stderr, file+":1:") {
		t.Errorf("check --config = %+v", got)
	}
	if got := command(t, nil, "", "config", "check", file, "--config", file); got.code != exitUsage || !strings.Contains(got.stderr, "once") {
		t.Errorf("check with two files = %+v", got)
	}
}

func TestConfigCheckOfAFileThatIsNotThere(t *testing.T) {
	got := command(t, nil, "", "config", "check", filepath.Join(t.TempDir(), "none.json"))
	if got.code != exitUsage || !strings.HasPrefix(got.stderr, "mcphub: read settings: ") || strings.Count(got.stderr, "\n") != 1 {
		t.Errorf("config check of a missing file = %+v", got)
	}
	t.Chdir(t.TempDir())
	got = command(t, nil, "", "config", "check")
	if got.code != exitOK || got.stdout != "no settings file: fine. Mode standalone, port 3000, no servers.\n" {
		t.Errorf("config check without any file = %+v", got)
	}
}

func TestConfigCheckShowsWarnings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "weak.json")
	if err := os.WriteFile(file, []byte(`{"systemConfig":{"cluster":{"secret":"hunter2"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	got := command(t, nil, "", "config", "check", file)
	if got.code != exitOK || !strings.HasPrefix(got.stderr, "warning: ") || strings.Contains(got.stderr, "hunter2") {
		t.Errorf("config check of a weak secret = %+v", got)
	}
}

func TestConfigDocuments(t *testing.T) {
	got := command(t, nil, "", "config", "schema")
	var schema map[string]any
	if err := json.Unmarshal([]byte(got.stdout), &schema); err != nil || schema["$schema"] == nil {
		t.Errorf("config schema is no JSON Schema: %v", err)
	}
	if got := command(t, nil, "", "config", "reference"); !strings.Contains(got.stdout, "nodeTimeout") {
		t.Errorf("config reference = %.200q", got.stdout)
	}
	if got := command(t, nil, "", "config", "chek"); got.code != exitUsage {
		t.Errorf("config chek exits %d", got.code)
	}
}
