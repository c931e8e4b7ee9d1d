package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// A standalone process shows both halves at one address, and its spans reach a receiver: one
// trace from the client's request to the server.
func TestStandaloneIsMeasuredAndTraced(t *testing.T) {
	const trace = "0af7651916cd43dd8448eb211c80319c"
	var mu sync.Mutex
	var sent strings.Builder
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = io.Copy(&sent, r.Body)
	}))
	defer receiver.Close()
	file := writeSettings(t, "{"+childServers(t)+`, "systemConfig": {"tracing": {"endpoint": "`+receiver.URL+`"}}}`)
	r := start(t, nil, "--config", file, "--port", "0")
	url := r.url(t)
	r.ready(t, url, 1)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/mcp/child", strings.NewReader(
		`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Traceparent", "00-"+trace+"-b7ad6b7169203331-01")
	if status, body := fetch(t, req); status != http.StatusOK {
		t.Fatalf("initialize = %d %s", status, body)
	}
	callPID(t, url)
	req, err = http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, text := fetch(t, req)
	for _, want := range []string{
		`mcphub_requests_total{code="200",method_kind="initialize",scope_kind="server"} 1`, `mcphub_nodes{state="active"} 1`,
		`mcphub_replicas{server="child",status="ready"} 1`, `mcphub_redis_up 1`, `mcphub_ready 1`, `mcphub_node_server_up{server="child"} 1`,
		`mcphub_node_calls_total{outcome="ok",server="child"} 1`, `mcphub_upstream_seconds_count{server="child"}`, `mcphub_node_processes{server="child"} 1`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("/metrics does not show %s", want)
		}
	}
	if code := r.stop(t); code != exitOK {
		t.Errorf("exit %d", code)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, want := range []string{"mcphub-standalone", "POST /mcp/:server", "POST node"} {
		if !strings.Contains(sent.String(), want) {
			t.Errorf("no span tells of %q", want)
		}
	}
}

func TestTracingToNowhereIsRefusedOrSaid(t *testing.T) {
	got := command(t, nil, "", "--config", writeSettings(t, `{"systemConfig": {"tracing": {"endpoint": "localhost:4318"}}}`))
	if got.code != exitUsage || !strings.Contains(got.stderr, "http") {
		t.Errorf("a bad endpoint = %+v", got)
	}
}
