package router

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mcphub-go/mcphub/internal/telemetry"
)

// The node is told of the span of the sending, in the caller's trace; without a tracer the
// caller's own headers pass.
func TestHopContinuesTheTrace(t *testing.T) {
	const (
		trace  = "0af7651916cd43dd8448eb211c80319c"
		parent = "00-" + trace + "-b7ad6b7169203331-00" // not sampled: nothing is exported
	)
	seen := make(chan http.Header, 1)
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header
		w.Header().Set("Content-Length", "0")
	}))
	defer node.Close()
	tracer, err := telemetry.NewTracer(t.Context(), telemetry.TraceConfig{Endpoint: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tracer.Close(context.Background()) })
	registry := telemetry.NewRegistry("test")
	for _, tc := range []struct {
		name   string
		tracer *telemetry.Tracer
	}{{"without", nil}, {"with", tracer}} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := func(c *hopConfig) { c.Tracer = tc.tracer }
			if tc.tracer != nil {
				meter := telemetry.NewFront(registry)
				cfg = func(c *hopConfig) { c.Tracer, c.Meter = tc.tracer, meter }
			}
			out := post1("{}")
			out.header = http.Header{"Traceparent": {parent}, "Tracestate": {"vendor=1"}, "Baggage": {"k=v"}}
			ctx, span := tc.tracer.Serve(t.Context(), "request", out.header)
			defer span.End()
			a, err := testHop(t, cfg).send(ctx, node.URL, out)
			if err != nil {
				t.Fatal(err)
			}
			a.drain()
			a.Close()
			got := <-seen
			if n := len(got["Traceparent"]); n != 1 || got.Get("Tracestate") != "vendor=1" || got.Get("Baggage") != "k=v" {
				t.Fatalf("the node got %v", got)
			}
			p := got.Get("Traceparent")
			if own := p != parent; own != (tc.tracer != nil) || !strings.HasPrefix(p, "00-"+trace+"-") {
				t.Errorf("traceparent %s", p)
			}
		})
	}
	w := httptest.NewRecorder()
	registry.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if !strings.Contains(w.Body.String(), `mcphub_upstream_seconds_count{server="s"} 1`+"\n") {
		t.Error("the answer was not measured")
	}
}

// How long a session took to be open again is measured once for each move, and not for a first use.
func TestRecoveryIsMeasured(t *testing.T) {
	registry := telemetry.NewRegistry("test")
	w := newWorld(t, 2, 0)
	r := w.router(w.store, func(c *Config) { c.Meter = telemetry.NewFront(registry) })
	session, home := begin(t, r, testServer)
	invoke(t, r, session)
	count := func() string {
		rec := httptest.NewRecorder()
		registry.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		_, rest, _ := strings.Cut(rec.Body.String(), "\nmcphub_session_recovery_seconds_count ")
		n, _, _ := strings.Cut(rest, "\n")
		return n
	}
	if n := count(); n != "0" {
		t.Errorf("%s recoveries before anything was lost", n)
	}
	w.node(home).kill()
	invoke(t, r, session)
	invoke(t, r, session)
	if n := count(); n != "1" {
		t.Errorf("%s recoveries after one move", n)
	}
}
