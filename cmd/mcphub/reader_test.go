package main

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// page gets a page of the hub without following redirects.
func page(t *testing.T, address string) (status int, location, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Location"), string(raw)
}

// What the status page shows is what the coordinator has.
func TestPagesShowTheCoordinator(t *testing.T) {
	r, front := startDemo(t)
	_, session, _ := rpc(t, front+"/mcp/counter", "", initialize)
	if session == "" {
		t.Fatal("no session was begun")
	}
	for path, want := range map[string][]string{
		"/":                    {"demo-1", "demo-2", "demo-3", "coordinator-1", "coordinator-2", "answers", "node registered", "server counter"},
		"/server?name=counter": {"demo-3", "increment", "How much to add"},
		"/sessions":            {"server counter", "2025-11-25"},
		"/explain?session=somebody&server=counter": {"consistent-hash", "demo-1", "demo-2", "demo-3"},
		"/explain?session=somebody&server=nothing": {"No answer: "},
	} {
		// A replica looks at the fleet once a second.
		r.until(t, path, func() bool {
			status, _, body := page(t, front+path)
			for _, part := range want {
				if status != http.StatusOK || !strings.Contains(body, part) {
					return false
				}
			}
			return true
		})
	}
	status, location, _ := page(t, front+"/explain?session="+session)
	if status != http.StatusSeeOther || !regexp.MustCompile(`^explain\?session=[0-9a-f]{32}$`).MatchString(location) {
		t.Errorf("a whole session id: %d to %q, want 303 to the id that REST has", status, location)
	}
	if status, _, body := page(t, front+"/"+location); status != http.StatusOK || !strings.Contains(body, "binding") {
		t.Errorf("explain the session: %d\n%s", status, body)
	}
}
