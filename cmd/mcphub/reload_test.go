package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/mcphub-go/mcphub/internal/config"
)

// rewrite replaces a settings file at one stroke, as editors do.
func rewrite(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// toolsOf is the list of tools as the command prints it; empty while there is none.
func toolsOf(t *testing.T, url string) string {
	t.Helper()
	return command(t, nil, "", "tools", "--url", url).stdout
}

func TestANewServerStartsAndTheOthersKeepTheirProcesses(t *testing.T) {
	file := writeSettings(t, "{"+childServers(t)+"}")
	r := start(t, nil, "--config", file, "--port", "0")
	url := r.url(t)
	r.ready(t, url, 1)
	pid := callPID(t, url)

	second := strings.Replace(childServers(t), `"mcpServers": {`, `"mcpServers": {"second": `+childEntry(t)+`, `, 1)
	rewrite(t, file, "{"+second+"}")
	r.until(t, "the second server", func() bool { return strings.Contains(toolsOf(t, url), "second-pid") })
	if got := callPID(t, url); got != pid {
		t.Errorf("the first server runs as %d now, was %d: it was not touched", got, pid)
	}

	rewrite(t, file, `{"mcpServers": {"second": `+childEntry(t)+`}}`)
	r.until(t, "the end of the first server", func() bool {
		list := toolsOf(t, url)
		return strings.Contains(list, "second-pid") && !strings.Contains(list, "child-pid") && syscall.Kill(pid, 0) != nil
	})
}

// childEntry is the value of the one server in childServers.
func childEntry(t *testing.T) string {
	t.Helper()
	_, entry, _ := strings.Cut(childServers(t), `"child": `)
	return strings.TrimSuffix(entry, "}")
}

func TestTheFirstServerMayComeLater(t *testing.T) {
	file := writeSettings(t, "{}")
	r := start(t, nil, "--config", file, "--port", "0")
	url := r.url(t)
	r.until(t, "the hint", func() bool { return strings.Contains(r.stderr.String(), "mcpServers is empty") })
	rewrite(t, file, "{"+childServers(t)+"}")
	r.until(t, "the server", func() bool { return strings.Contains(toolsOf(t, url), "child-pid") })
	callPID(t, url)
}

// A coordinator that was started without servers gets its node with the first one, and keeps it.
func TestACoordinatorGetsItsFirstServer(t *testing.T) {
	const cluster = `"systemConfig": {"cluster": {"enabled": true, "mode": "coordinator"}}`
	file := writeSettings(t, "{"+cluster+"}")
	r := start(t, nil, "--config", file, "--host", "127.0.0.1", "--port", "0")
	url := r.url(t)
	rewrite(t, file, "{"+childServers(t)+", "+cluster+"}")
	r.until(t, "the server", func() bool { return strings.Contains(toolsOf(t, url), "child-pid") })
	pid := callPID(t, url)
	rewrite(t, file, "{"+cluster+"}")
	r.until(t, "the end of the server", func() bool { return toolsOf(t, url) == "" || syscall.Kill(pid, 0) != nil })
	rewrite(t, file, "{"+childServers(t)+", "+cluster+"}")
	r.until(t, "the server again", func() bool { return strings.Contains(toolsOf(t, url), "child-pid") })
	if n := strings.Count(r.stderr.String(), "starting servers"); n != 1 {
		t.Errorf("a node was started %d times, want once", n)
	}
}

func TestNewGroupsAndKeysHoldAtOnce(t *testing.T) {
	const settings = `{%s, "groups": [{"name": %q, "servers": ["child"]}],
		"systemConfig": {"routing": {"enableBearerAuth": true, "bearerAuthKey": %q}}}`
	file := writeSettings(t, fmt.Sprintf(settings, childServers(t), "first", "old-key"))
	r := start(t, nil, "--config", file, "--port", "0")
	url := r.url(t)
	status := func(group, key string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/mcp/"+group, strings.NewReader(
			`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+key)
		got, _ := fetch(t, req)
		return got
	}
	r.until(t, "the first group", func() bool { return status("first", "old-key") == http.StatusOK })
	rewrite(t, file, fmt.Sprintf(settings, childServers(t), "second", "new-key"))
	r.until(t, "the second group", func() bool { return status("second", "new-key") == http.StatusOK })
	if got := status("second", "old-key"); got != http.StatusUnauthorized {
		t.Errorf("the old key still gets %d", got)
	}
	if got := status("first", "new-key"); got != http.StatusNotFound {
		t.Errorf("the old group still gets %d", got)
	}
}

func TestWhatNeedsARestartIsSaidAndABadFileChangesNothing(t *testing.T) {
	file := writeSettings(t, "{"+childServers(t)+"}")
	r := start(t, nil, "--config", file, "--port", "0")
	url := r.url(t)
	r.ready(t, url, 1)
	pid := callPID(t, url)
	rewrite(t, file, "{"+childServers(t)+`, "systemConfig": {"nameSeparator": "__"}}`)
	r.until(t, "the warning", func() bool {
		return strings.Contains(r.stderr.String(), "NEED A RESTART") && strings.Contains(r.stderr.String(), "systemConfig.nameSeparator")
	})
	rewrite(t, file, `{"mcpServers": {"child": {"comand": "x"}}}`)
	r.until(t, "the mistake", func() bool { return strings.Contains(r.stderr.String(), "comand") })
	if got := callPID(t, url); got != pid {
		t.Errorf("the server runs as %d now, was %d: a bad file changes nothing", got, pid)
	}
}

// What was refused is not believed to hold: the next change of the file tries again.
func TestWhatWasRefusedIsTriedAgain(t *testing.T) {
	old := &config.Settings{}
	r := &reloader{
		service: &service{log: slog.New(slog.DiscardHandler), settings: old}, current: old,
		setServers: func([]config.Server) error { return errors.New("refused") },
	}
	next := &config.Settings{Servers: []config.Server{{Name: "a"}}, NameSeparator: "__"}
	r.apply(next)
	if len(r.current.Servers) != 0 || r.current.NameSeparator != "__" {
		t.Errorf("after a refusal %+v is believed to hold", r.current)
	}
	if !r.current.Changes(next).Servers {
		t.Error("the same servers would not be tried again")
	}
}

// That a restart is needed is said when that changes, and not once more when the key is given its
// running value again.
func TestARestartIsAskedForOnce(t *testing.T) {
	var log strings.Builder
	running := &config.Settings{NameSeparator: "-"}
	r := &reloader{
		service: &service{log: slog.New(slog.NewTextHandler(&log, nil)), settings: running}, current: running,
		setServers: func([]config.Server) error { return nil },
	}
	for _, step := range []struct {
		separator string
		servers   []config.Server
		says      string
	}{
		{"__", nil, "NEED A RESTART"},
		{"__", []config.Server{{Name: "a"}}, ""},
		{"-", nil, "no restart is needed any more"},
		{"-", []config.Server{{Name: "a"}}, ""},
		{".", nil, "NEED A RESTART"},
	} {
		log.Reset()
		r.apply(&config.Settings{NameSeparator: step.separator, Servers: step.servers})
		if got := log.String(); step.says != "" && !strings.Contains(got, step.says) || step.says == "" && strings.Contains(strings.ToLower(got), "restart") {
			t.Errorf("separator %q: the log says %q, want %q", step.separator, got, step.says)
		}
	}
}
