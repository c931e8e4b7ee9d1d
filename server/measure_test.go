package server

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mcphub-go/mcphub/internal/telemetry"
)

// Every MCP request is counted once, refused ones too, under what it is; its trace is the
// caller's, and what carries it is told of the span here.
func TestRequestsAreMeasuredAndTraced(t *testing.T) {
	const (
		trace  = "0af7651916cd43dd8448eb211c80319c"
		parent = "00-" + trace + "-b7ad6b7169203331-00" // not sampled: nothing is exported
	)
	tracer, err := telemetry.NewTracer(t.Context(), telemetry.TraceConfig{Endpoint: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tracer.Close(t.Context()) }()
	registry := telemetry.NewRegistry("test")
	r := newServer(t, global, nil)
	r.deps.Meter, r.deps.Tracer = telemetry.NewFront(registry), tracer
	r.run(t)
	send := func(method, path, body string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, r.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Traceparent", parent)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	long := strings.Repeat("x", 2*peeked)
	send(http.MethodPost, "/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"method":"ping","x":"`+long+`"}}`)
	send(http.MethodPost, "/mcp", `{"jsonrpc":"2.0","params":{"x":"`+long+`"},"id":1,"method":"tools/call"}`)
	send(http.MethodPost, "/mcp", `{"jsonrpc":"2.0","id":1,"method":"initialize"}`)
	send(http.MethodPost, "/mcp/nobody", `{"jsonrpc":"2.0","id":1,"method":"initialize"}`)
	send(http.MethodDelete, "/mcp", "")

	w := httptest.NewRecorder()
	registry.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		`mcphub_requests_total{code="200",method_kind="call",scope_kind="all"} 1`,
		`mcphub_requests_total{code="200",method_kind="other",scope_kind="all"} 1`, // its method is not looked for so far
		`mcphub_requests_total{code="200",method_kind="initialize",scope_kind="all"} 1`,
		`mcphub_requests_total{code="404",method_kind="other",scope_kind="server"} 1`, // refused before its body was read
		`mcphub_requests_total{code="200",method_kind="end",scope_kind="all"} 1`,
		`mcphub_request_seconds_count{method_kind="call",scope_kind="all"} 1`,
	} {
		if !strings.Contains(w.Body.String(), want+"\n") {
			t.Errorf("not shown: %s", want)
		}
	}
	for _, req := range r.carrier.seen {
		got := req.Header.Get("Traceparent")
		if !strings.HasPrefix(got, "00-"+trace+"-") || got == parent {
			t.Errorf("traceparent of a request handed on: %q", got)
		}
	}
	if len(r.carrier.seen) != 4 {
		t.Errorf("%d requests were handed on", len(r.carrier.seen))
	}
}
