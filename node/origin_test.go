package node

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/mcphub-go/mcphub/internal/telemetry"
)

const callersTrace = "0af7651916cd43dd8448eb211c80319c"

// Every request to a server is counted once, by how it ended; a tracer tells the server of its
// place in the caller's trace, and without one nothing in the message changes.
func TestRequestsAreCountedAndTraced(t *testing.T) {
	tracer, err := telemetry.NewTracer(t.Context(), telemetry.TraceConfig{Endpoint: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tracer.Close(context.Background()) }()
	for name, tr := range map[string]*telemetry.Tracer{"without tracer": nil, "with tracer": tracer} {
		t.Run(name, func(t *testing.T) {
			registry := telemetry.NewRegistry("test")
			r := startRig(t, func(c *Config) {
				c.Tracer, c.Meter, c.Metrics = tr, telemetry.NewWorker(registry), registry.Handler()
			}, fake("alpha"))
			r.open("alpha", "s1")
			post := func(body string) *answer {
				req := r.request(t.Context(), http.MethodPost, "alpha", "s1", body)
				req.Header.Set("Traceparent", "00-"+callersTrace+"-b7ad6b7169203331-00")
				return do(t, req)
			}
			echoed := post(`{"jsonrpc":"2.0","id":7,"method":"raw/echo","params":{"_meta":{"k":1}}}`).body
			if told := strings.Contains(echoed, "00-"+callersTrace+"-"); told != (tr != nil) || !strings.Contains(echoed, `k\":1`) && !strings.Contains(echoed, `"k":1`) {
				t.Errorf("the server got %s", echoed)
			}
			post(`{"jsonrpc":"2.0","id":8,"method":"prompts/list"}`)
			post(tool("9", "die", ""))
			eventually(t, "the outcomes", func() bool {
				text := r.metrics(t).body
				for _, want := range []string{
					`mcphub_node_calls_total{outcome="ok",server="alpha"} 1`, `mcphub_node_calls_total{outcome="error",server="alpha"} 1`,
					`mcphub_node_calls_total{outcome="lost",server="alpha"} 1`, `mcphub_node_call_seconds_count{server="alpha"} 3`,
				} {
					if !strings.Contains(text, want+"\n") {
						return false
					}
				}
				return true
			})
		})
	}
}

func (r *rig) health(t *testing.T) *answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.web.URL+"/health", nil)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, req)
}

func (r *rig) metrics(t *testing.T) *answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.web.URL+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, req)
}

func TestMetricsAreForProgramsNearby(t *testing.T) {
	r := startRig(t, nil, fake("alpha"))
	if a := r.metrics(t); a.status != http.StatusNotFound {
		t.Errorf("without metrics = %d %s", a.status, a.body)
	}
	r = startRig(t, func(c *Config) { c.Metrics, c.Host = telemetry.NewRegistry("test").Handler(), "node-1.mcp.example:443" }, fake("alpha"))
	if a := r.metrics(t); a.status != http.StatusOK || !strings.Contains(a.body, "mcphub_build_info") {
		t.Errorf("metrics = %d", a.status)
	}
	for addr, want := range map[string]int{"203.0.113.7:1": http.StatusForbidden, "10.0.0.7:1": http.StatusOK, "[::1]:1": http.StatusOK, "nonsense": http.StatusForbidden} {
		req := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		req.RemoteAddr, req.Host = addr, "localhost:3001"
		w := httptest.NewRecorder()
		r.node.Handler().ServeHTTP(w, req)
		if w.Code != want {
			t.Errorf("from %s = %d, want %d", addr, w.Code, want)
		}
	}
	machine, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]int{
		"10.0.0.7:3001": 200, "[fd00::1]:3001": 200, "localhost:3001": 200, "node-1:3001": 200, "node-1.mcp.svc.cluster.local": 200, "node-1.lan:3001": 200,
		machine + ":3001": 200, "rebound.example": 403, "rebound.example:3001": 403, "10.0.0.7.rebound.example:3001": 403, "127.0.0.1.example.": 403,
		"node-1.mcp.example": 200, "NODE-1.mcp.example:3001": 200, "node-2.mcp.example": 403, "": 200, // HTTP/1.0
	} {
		req := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		req.RemoteAddr, req.Host = "127.0.0.1:4000", host
		w := httptest.NewRecorder()
		r.node.Handler().ServeHTTP(w, req)
		if w.Code != want {
			t.Errorf("under the name %q = %d, want %d", host, w.Code, want)
		}
	}
}

// Whatever a page asks of a node is refused, before anything is looked at.
func TestNodeIsNotForPages(t *testing.T) {
	r := startRig(t, nil, fake("alpha"))
	for _, call := range []string{"GET /health", "GET /metrics", "POST /api/node/challenge", "POST /api/node/join", "POST /mcp/alpha", "DELETE /mcp/alpha", "GET /mcp/alpha"} {
		method, path, _ := strings.Cut(call, " ")
		req, err := http.NewRequestWithContext(t.Context(), method, r.web.URL+path, strings.NewReader(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", "http://evil.example")
		if a := do(t, req); a.status != http.StatusForbidden || !strings.Contains(a.body, "no web page") {
			t.Errorf("%s by a page = %d %s, want 403", call, a.status, a.body)
		}
	}
	if a := r.health(t); a.status != http.StatusOK {
		t.Errorf("GET /health by a program = %d %s", a.status, a.body)
	}
}
