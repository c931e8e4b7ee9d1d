package node

import (
	"context"
	"net/http"
	"net/http/httptest"
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
				text := r.metrics(t, "").body
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

func (r *rig) metrics(t *testing.T, origin string) *answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.web.URL+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	if origin != "" {
		req.Header.Set("Origin", origin)
	}
	return do(t, req)
}

func TestMetricsAreForProgramsNearby(t *testing.T) {
	r := startRig(t, nil, fake("alpha"))
	if a := r.metrics(t, ""); a.status != http.StatusNotFound {
		t.Errorf("without metrics = %d %s", a.status, a.body)
	}
	r = startRig(t, func(c *Config) { c.Metrics = telemetry.NewRegistry("test").Handler() }, fake("alpha"))
	if a := r.metrics(t, ""); a.status != http.StatusOK || !strings.Contains(a.body, "mcphub_build_info") {
		t.Errorf("metrics = %d", a.status)
	}
	if a := r.metrics(t, "http://evil.example"); a.status != http.StatusForbidden {
		t.Errorf("for a web page = %d, want 403", a.status)
	}
	for addr, want := range map[string]int{"203.0.113.7:1": http.StatusForbidden, "10.0.0.7:1": http.StatusOK, "[::1]:1": http.StatusOK, "nonsense": http.StatusForbidden} {
		req := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		req.RemoteAddr = addr
		w := httptest.NewRecorder()
		r.node.Handler().ServeHTTP(w, req)
		if w.Code != want {
			t.Errorf("from %s = %d, want %d", addr, w.Code, want)
		}
	}
}
