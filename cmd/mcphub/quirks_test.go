package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// What clients do that they should not, at a real hub. Each is answered so that whoever reads the
// answer knows what to send instead, and none of them breaks the session of another.
func TestQuirksOfClients(t *testing.T) {
	a, b := twoCoordinators(t)
	begin := func(t *testing.T, path string, params ...string) string {
		t.Helper()
		message := initialize
		if len(params) > 0 {
			message = fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":%s}`, params[0])
		}
		got := ask(t, a+path, opsKey, "", message)
		if got.status != http.StatusOK || got.header.Get("Mcp-Session-Id") == "" {
			t.Fatalf("initialize = %d %s", got.status, got.body)
		}
		return got.header.Get("Mcp-Session-Id")
	}
	for _, path := range []string{"/mcp", "/mcp/child"} {
		name := func(what string) string { return what + " at " + path }
		t.Run(name("omits the session id after initialize"), func(t *testing.T) {
			begin(t, path)
			if got := ask(t, b+path, opsKey, "", listTools); got.status != http.StatusBadRequest || !strings.Contains(got.body, "Mcp-Session-Id") {
				t.Errorf("tools/list = %d %s", got.status, got.body)
			}
		})
		t.Run(name("never initializes again after 404"), func(t *testing.T) {
			for range 3 {
				if got := ask(t, b+path, opsKey, "stale", listTools); got.status != http.StatusNotFound || !strings.Contains(got.body, "send initialize without Mcp-Session-Id") {
					t.Errorf("tools/list = %d %s", got.status, got.body)
				}
			}
		})
		t.Run(name("initializes with a stale session id"), func(t *testing.T) {
			if got := ask(t, b+path, opsKey, "stale", initialize); got.status != http.StatusNotFound || !strings.Contains(got.body, "send initialize without Mcp-Session-Id") {
				t.Errorf("initialize = %d %s", got.status, got.body)
			}
		})
		t.Run(name("initializes twice"), func(t *testing.T) {
			session := begin(t, path)
			second := ask(t, b+path, opsKey, session, initialize)
			if second.status >= http.StatusInternalServerError {
				t.Errorf("the second initialize = %d %s", second.status, second.body)
			}
			if got := ask(t, b+path, opsKey, session, listTools); got.status != http.StatusOK || !strings.Contains(got.body, "pid") {
				t.Errorf("after it, tools/list = %d %s", got.status, got.body)
			}
		})
		t.Run(name("puts modern keys on legacy traffic"), func(t *testing.T) {
			session := begin(t, path)
			modern := `{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/clientCapabilities":{}}}}`
			if got := ask(t, b+path, opsKey, session, modern, "Mcp-Protocol-Version", "2025-11-25"); got.status != http.StatusOK || !strings.Contains(got.body, "pid") {
				t.Errorf("tools/list = %d %s", got.status, got.body)
			}
		})
	}
	t.Run("batches", func(t *testing.T) {
		session := begin(t, "/mcp/child", `{"protocolVersion":"2025-03-26","capabilities":{},"clientInfo":{"name":"old","version":"1"}}`)
		batch := "[" + listTools + `,{"jsonrpc":"2.0","method":"notifications/initialized"},{"jsonrpc":"2.0","id":"p","method":"ping"}]`
		got := ask(t, b+"/mcp/child", opsKey, session, batch)
		if got.status != http.StatusOK || !strings.HasPrefix(got.body, "[") || !strings.Contains(got.body, "pid") || !strings.Contains(got.body, `"id":"p"`) {
			t.Errorf("a batch = %d %s", got.status, got.body)
		}
		newer := begin(t, "/mcp/child")
		if got := ask(t, b+"/mcp/child", opsKey, newer, batch); got.status != http.StatusBadRequest || !strings.Contains(got.body, "2025-03-26") {
			t.Errorf("a batch in a session of 2025-11-25 = %d %s", got.status, got.body)
		}
	})
	for _, path := range []string{"/sse", "/sse/child", "/sse/desk"} {
		t.Run("HTTP+SSE at "+path, func(t *testing.T) { talksSSE(t, a, b, path) })
	}
}

// talksSSE has its stream at one coordinator and posts to the other.
func talksSSE(t *testing.T, a, b, path string) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Authorization", "Bearer "+opsKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	events := wire.NewEventReader(resp.Body, 1<<20)
	next := func() wire.Event {
		t.Helper()
		for {
			ev, err := events.Next()
			if err != nil {
				t.Fatalf("status %d: %v", resp.StatusCode, err)
			}
			if len(ev.Data) > 0 {
				return ev
			}
		}
	}
	endpoint := string(next().Data)
	say := func(message string) {
		t.Helper()
		if got := ask(t, b+endpoint, opsKey, "", message); got.status != http.StatusAccepted {
			t.Fatalf("POST = %d %s", got.status, got.body)
		}
	}
	say(initialize)
	if got := string(next().Data); !strings.Contains(got, "protocolVersion") {
		t.Fatalf("initialize = %s", got)
	}
	say(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	for i := range 20 {
		say(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/list"}`, i+10))
	}
	seen := map[string]bool{}
	for range 20 {
		ev := next()
		at, _ := wire.Lookup(ev.Data, "id")
		seen[string(at.Of(ev.Data))] = true
		if ev.Name != "message" || !strings.Contains(string(ev.Data), "pid") {
			t.Errorf("tools/list = %s", ev.Data)
		}
	}
	if len(seen) != 20 {
		t.Errorf("%d answers, want 20", len(seen))
	}
}
