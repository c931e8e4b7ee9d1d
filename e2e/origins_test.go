package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// asked is one plain HTTP request and what came of it.
type asked struct {
	status int
	header http.Header
	body   string
}

// ask makes a request. The header Host is the request's host.
func ask(t *testing.T, method, target string, header map[string]string, body string) asked {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // what should be refused may be a stream instead
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		if k == "Host" {
			req.Host = v
		} else {
			req.Header.Set(k, v)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		t.Errorf("%s %s: %v", method, target, err)
	}
	return asked{resp.StatusCode, resp.Header, string(b)}
}

// door is a path of a listener, and how it is asked so that it answers.
type door struct {
	method, path, body string
	header             map[string]string
	status             int // for whoever may come in
}

// with is the header of a request at the door, and more.
func (d door) with(name, value string) map[string]string {
	h := map[string]string{name: value}
	for k, v := range d.header {
		h[k] = v
	}
	return h
}

func (d door) String() string { return d.method + " " + d.path }

// mcpHeader is what a client of MCP sends with a first message.
var mcpHeader = map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}

// Strangers are what a page could come from whose name is made to point at this machine, and
// what a page of another site says of itself.
var (
	foreignHosts   = []string{"evil.example.com", "evil.example.com:3000", "localhost.evil.example.com", "127.0.0.1.nip.io"}
	foreignOrigins = []string{"http://evil.example.com", "https://evil.example.com:8443", "null", "http://localhost.evil.example.com", "file://"}
)

// Every listener looks at Host and Origin: a page of another site gets nowhere, by its own name
// or by one that was made to point here.
func TestForeignPagesAreKeptOut(t *testing.T) {
	long(t)
	f := harness.StartCluster(t, harness.Options{
		Coordinators: 2, Secret: "a-secret-of-the-tests", Nodes: []harness.NodeOptions{{ID: "node-1", Servers: harness.Servers{"plain": plain(t, "node-1")}}},
	})
	t.Run("coordinators", func(t *testing.T) {
		for _, co := range f.Coordinators {
			coordinatorKeepsOut(t, co)
		}
	})
	t.Run("coordinators that know other names", func(t *testing.T) { namesAreKnown(t, f) })
	t.Run("nodes", func(t *testing.T) { nodeKeepsOut(t, f.Nodes["node-1"]) })
	t.Run("nodes without a secret", lonerKeepsOut)
}

// coordinatorKeepsOut goes to all kinds of paths of a coordinator.
func coordinatorKeepsOut(t *testing.T, co *harness.Hub) {
	at, err := url.Parse(co.URL)
	if err != nil {
		t.Fatal(err)
	}
	port := at.Port()
	for _, d := range []door{
		{"POST", "/mcp", initialize, mcpHeader, 200},
		{"POST", "/mcp/plain", initialize, mcpHeader, 200},
		{"GET", "/api/cluster/status", "", nil, 200},
		{"GET", "/api/openapi.json", "", nil, 200},
		{"GET", "/api/groups", "", nil, 200},
		{"POST", "/api/groups", `{}`, mcpHeader, 400},
		{"POST", "/api/cluster/register", `{}`, mcpHeader, 401},
		{"GET", "/metrics", "", nil, 200},
		{"GET", "/health", "", nil, 200},
		{"GET", "/ready", "", nil, 200},
		{"GET", "/", "", nil, 200},
	} {
		for _, host := range foreignHosts {
			if got := ask(t, d.method, co.URL+d.path, d.with("Host", host), d.body); got.status != http.StatusForbidden || !strings.Contains(got.body, "allowedHosts") {
				t.Errorf("%v under the name %s = %d %.200s, want 403 that says allowedHosts", d, host, got.status, got.body)
			}
		}
		for _, origin := range foreignOrigins {
			got := ask(t, d.method, co.URL+d.path, d.with("Origin", origin), d.body)
			if got.status != http.StatusForbidden || !strings.Contains(got.body, "allowedOrigins") || got.header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%v from a page of %s = %d %v %.200s, want 403 that says allowedOrigins", d, origin, got.status, got.header, got.body)
			}
		}
		for _, host := range []string{"localhost:" + port, "127.0.0.1:" + port, "[::1]:" + port, "LOCALHOST"} {
			if got := ask(t, d.method, co.URL+d.path, d.with("Host", host), d.body); got.status != d.status {
				t.Errorf("%v under the name %s = %d %.200s, want %d", d, host, got.status, got.body, d.status)
			}
		}
		for _, origin := range []string{co.URL, "http://localhost:" + port, "http://localhost:1"} {
			if got := ask(t, d.method, co.URL+d.path, d.with("Origin", origin), d.body); got.status != d.status {
				t.Errorf("%v from a page of %s = %d %.200s, want %d", d, origin, got.status, got.body, d.status)
			}
		}
	}
}

// namesAreKnown has coordinators that are told of another name and another site.
func namesAreKnown(t *testing.T, f *harness.Cluster) {
	_, hubs := f.StartFront("named", 1, harness.Object{"systemConfig": harness.Object{"routing": harness.Object{
		"allowedHosts": []string{"hub.example.com"}, "allowedOrigins": []string{"https://page.example.com"},
	}}})
	for name, value := range map[string]string{"Host": "hub.example.com", "Origin": "https://page.example.com"} {
		got := ask(t, "POST", hubs[0].URL+"/mcp/plain", door{header: mcpHeader}.with(name, value), initialize)
		if got.status != http.StatusOK || name == "Origin" && got.header.Get("Access-Control-Allow-Origin") != value {
			t.Errorf("%s %s, which the settings allow = %d %v %.200s", name, value, got.status, got.header, got.body)
		}
	}
	for name, value := range map[string]string{"Host": "other.example.com", "Origin": "https://other.example.com"} {
		if got := ask(t, "POST", hubs[0].URL+"/mcp/plain", door{header: mcpHeader}.with(name, value), initialize); got.status != http.StatusForbidden {
			t.Errorf("%s %s, which the settings do not name = %d %.200s, want 403", name, value, got.status, got.body)
		}
	}
}

// nodeKeepsOut goes to all paths of a node: no page has business there, not even one of its own
// address, and what can be read without credentials is not told under names of strangers.
func nodeKeepsOut(t *testing.T, node *harness.Hub) {
	for _, d := range []door{
		{"POST", "/mcp/plain", initialize, mcpHeader, 401},
		{"DELETE", "/mcp/plain", "", nil, 401},
		{"GET", "/mcp/plain", "", nil, 401},
		{"POST", "/api/node/challenge", `{}`, mcpHeader, 400},
		{"POST", "/api/node/join", `{}`, mcpHeader, 401},
		{"GET", "/metrics", "", nil, 200},
		{"GET", "/health", "", nil, 200},
		{"GET", "/nowhere", "", nil, 404},
	} {
		for _, origin := range append([]string{node.URL, "http://localhost"}, foreignOrigins...) {
			if got := ask(t, d.method, node.URL+d.path, d.with("Origin", origin), d.body); got.status != http.StatusForbidden || !strings.Contains(got.body, "no web page") {
				t.Errorf("%v of a node from a page of %s = %d %.200s, want 403", d, origin, got.status, got.body)
			}
		}
		for _, host := range []string{"localhost", fmt.Sprint("127.0.0.1:", node.Port), "[::1]"} {
			if got := ask(t, d.method, node.URL+d.path, d.with("Host", host), d.body); got.status != d.status {
				t.Errorf("%v of a node under the name %s = %d %.200s, want %d", d, host, got.status, got.body, d.status)
			}
		}
		// By GET a page of such a name could read what asks for no credentials.
		for _, host := range foreignHosts {
			got := ask(t, d.method, node.URL+d.path, d.with("Host", host), d.body)
			if got.status != http.StatusForbidden || !strings.Contains(got.body, "node.url") {
				t.Errorf("%v of a node under the name %s = %d %.200s, want it refused", d, host, got.status, got.body)
			}
		}
	}
}

// lonerKeepsOut tells a node that has no secret to join: only a program of its own machine may.
func lonerKeepsOut(t *testing.T) {
	h := harness.StartHub(t, "loner", 0, harness.WriteSettings(t, harness.Object{
		"mcpServers": harness.Marked(harness.Servers{"plain": plain(t, "loner")}),
		"systemConfig": harness.Object{"cluster": harness.Object{"enabled": true, "mode": "node", "node": harness.Object{
			"id": "loner", "coordinatorUrl": "http://127.0.0.1:1", "registerOnStartup": false,
		}}},
	}), nil)
	h.WaitHealthy(t)
	for name, value := range map[string]string{"Host": "evil.example.com", "Origin": "http://localhost", "X-Forwarded-For": "127.0.0.1", "Sec-Fetch-Site": "none"} {
		got := ask(t, "POST", h.URL+"/api/node/join", door{header: mcpHeader}.with(name, value), `{}`)
		if got.status != http.StatusForbidden {
			t.Errorf("join with %s: %s = %d %.200s, want 403", name, value, got.status, got.body)
		}
	}
	if got := ask(t, "GET", h.URL+"/health", nil, ""); !strings.Contains(got.body, `"waiting to join"`) {
		t.Errorf("/health after all that = %s, want the node still to wait", got.body)
	}
	if got := ask(t, "POST", h.URL+"/api/node/join", mcpHeader, `{}`); got.status != http.StatusOK {
		t.Errorf("join by a program of this machine = %d %s", got.status, got.body)
	}
}
