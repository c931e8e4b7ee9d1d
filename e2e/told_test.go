package e2e

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// collector takes traces over HTTP and keeps them as they came.
type collector struct {
	url string

	mu   sync.Mutex
	got  bytes.Buffer // guarded by mu
	path string       // guarded by mu
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{url: "http://" + l.Addr().String()}
	srv := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.got.Write(b)
		c.path = r.URL.Path
	})}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return c
}

// clientTrace is the trace that a client begins.
const clientTrace = "4bf92f3577b34da6a3ce929d0e0e4736"

// tracesReachServers wants the client's trace to go on at a server over HTTP, by its header,
// and at one over stdio, by _meta, and its spans to reach the collector.
func (f *manyFronts) tracesReachServers(t *testing.T) {
	const trace, parent = clientTrace, "00-" + clientTrace + "-00f067aa0ba902b7-01"
	for _, path := range []string{"/mcp/fixture", "/mcp/local", "/mcp"} {
		s := harness.NewSession(f.Front.URL + path)
		s.Header.Set("Traceparent", parent)
		if err := s.Initialize(t.Context(), "2025-11-25"); err != nil {
			t.Fatal(err)
		}
		switch path {
		case "/mcp/fixture":
			text, err := s.Call(t.Context(), "headers", nil)
			checkTrace(t, path, text, err, trace, parent)
		case "/mcp/local":
			text, err := s.Call(t.Context(), toolEchoRaw, nil)
			checkTrace(t, path, text, err, trace, parent)
		default:
			text, err := s.Call(t.Context(), "fixture-headers", nil)
			checkTrace(t, path+", HTTP", text, err, trace, parent)
			text, err = s.Call(t.Context(), "local-"+toolEchoRaw, nil)
			checkTrace(t, path+", stdio", text, err, trace, parent)
		}
	}
	raw, err := hex.DecodeString(trace)
	if err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 15*time.Second, "spans of the trace reach the collector", func() error {
		f.traces.mu.Lock()
		defer f.traces.mu.Unlock()
		if n := bytes.Count(f.traces.got.Bytes(), raw); n < 8 || f.traces.path != "/v1/traces" {
			return fmt.Errorf("%d bytes at %q hold %d spans of it", f.traces.got.Len(), f.traces.path, n)
		}
		return nil
	})
	f.traces.mu.Lock()
	defer f.traces.mu.Unlock()
	for _, id := range f.Front.SessionIDs() {
		if bytes.Contains(f.traces.got.Bytes(), []byte(id)) {
			t.Errorf("a span holds the session id %s", id)
		}
	}
}

func checkTrace(t *testing.T, where, text string, err error, trace, parent string) {
	t.Helper()
	if err != nil || !strings.Contains(text, trace) || strings.Contains(text, parent) {
		t.Errorf("%s: the server got %q, %v, want trace %s under a span of the hub's", where, text, err, trace)
	}
}

// metricFamilies are the families in the sections of docs/metrics.md whose titles begin so.
func metricFamilies(t *testing.T, titles ...string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(harness.Root(), "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	in := false
	row := regexp.MustCompile("^\\| `(mcphub_[a-z_]+)` ")
	for line := range strings.Lines(string(b)) {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			in = slices.ContainsFunc(titles, func(want string) bool { return strings.HasPrefix(title, want) })
		}
		if m := row.FindStringSubmatch(line); in && m != nil {
			out = append(out, m[1])
		}
	}
	if len(out) < 5 {
		t.Fatalf("docs/metrics.md shows %v under %v", out, titles)
	}
	return out
}

// metricsAreThere wants every documented family on coordinators and nodes, and figures that
// fit what the tests before have done.
func (f *manyFronts) metricsAreThere(t *testing.T) {
	both := metricFamilies(t, "Coordinators", "Both")
	for _, co := range f.Coordinators {
		text := metricsText(t, co)
		checkFamilies(t, co.Name, text, both)
		for _, want := range []string{`mcphub_nodes{state="active"} 4`, `mcphub_redis_up 1`, `mcphub_ready 1`, `version="e2e"`} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: /metrics does not say %s", co.Name, want)
			}
		}
	}
	nodes := metricFamilies(t, "Nodes", "Both")
	for id, n := range f.Nodes {
		text := metricsText(t, n)
		checkFamilies(t, id, text, nodes)
		if id != "node-4" && !strings.Contains(text, `mcphub_node_server_up{server="fixture"} 1`) {
			t.Errorf("%s: /metrics does not say that the fixture is up", id)
		}
	}
}

func metricsText(t *testing.T, h *harness.Hub) string {
	t.Helper()
	status, body, err := harness.Get(t.Context(), h.URL+"/metrics")
	if err != nil || status != http.StatusOK {
		t.Errorf("%s: GET /metrics = %d %.200s %v", h.Name, status, body, err)
	}
	return string(body)
}

func checkFamilies(t *testing.T, who, text string, families []string) {
	t.Helper()
	for _, name := range append(families, "go_goroutines", "process_resident_memory_bytes") {
		if !strings.Contains(text, "# TYPE "+name+" ") {
			t.Errorf("%s: /metrics has no family %s", who, name)
		}
	}
}

// openAPI wants the document from every coordinator, the same, and the calls that it describes
// to be there.
func (f *manyFronts) openAPI(t *testing.T) {
	var first []byte
	for _, co := range f.Coordinators {
		status, body, err := harness.Get(t.Context(), co.URL+"/api/openapi.json")
		if err != nil || status != http.StatusOK || (first != nil && !bytes.Equal(first, body)) {
			t.Errorf("%s: GET /api/openapi.json = %d %.100s %v, want 200 and the same as the others", co.Name, status, body, err)
		}
		first = body
	}
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(first, &doc); err != nil || !strings.HasPrefix(doc.OpenAPI, "3.") || len(doc.Paths) < 15 {
		t.Fatalf("the document: %v, version %q, %d paths", err, doc.OpenAPI, len(doc.Paths))
	}
	for path, methods := range doc.Paths {
		if _, ok := methods["get"]; !ok || strings.Contains(path, "{") || path == "/api/cluster/explain" {
			continue // a POST changes something, and a name is needed
		}
		if status, body, err := harness.Get(t.Context(), f.Front.URL+path); err != nil || status != http.StatusOK {
			t.Errorf("GET %s, which the document describes, = %d %.200s %v", path, status, body, err)
		}
	}
}

// eventStream opens the events of a base URL after an id ("": those to come).
func eventStream(t *testing.T, base, last string) (*harness.Stream, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	s := harness.NewSession(base + "/api/cluster/events")
	s.Header.Set("Accept", "text/event-stream")
	if last != "" {
		s.Header.Set("Last-Event-ID", last)
	}
	st, err := s.Stream(ctx, http.MethodGet, nil)
	if err != nil || st.Status != http.StatusOK {
		cancel()
		t.Fatalf("GET events after %q: %+v, %v", last, st, err)
	}
	t.Cleanup(func() { cancel(); st.Close() })
	return st, cancel
}

// awaitEvent reads a stream up to an event whose text has part.
func awaitEvent(t *testing.T, st *harness.Stream, part string) harness.Event {
	t.Helper()
	for {
		ev, err := st.Next()
		if err != nil {
			t.Fatalf("no event with %q: %v", part, err)
		}
		if strings.Contains(string(ev.Data), part) {
			return ev
		}
	}
}

// eventsGoOn follows the events through the round robin, goes on at another coordinator after
// what was missed, and has the command do the same.
func (f *manyFronts) eventsGoOn(t *testing.T) {
	group := func(method, name string, want int) {
		t.Helper()
		url := f.Front.URL + "/api/groups"
		if method != http.MethodPost {
			url += "/" + name
		}
		admin(t, method, url, map[string]any{"name": name, "servers": []any{"local"}}, want)
	}
	st, stop := eventStream(t, f.Front.URL, "")
	group(http.MethodPost, "seen", http.StatusCreated)
	seen := awaitEvent(t, st, "seen")
	stop()
	group(http.MethodPost, "missed", http.StatusCreated)
	group(http.MethodDelete, "missed", http.StatusOK)
	for _, co := range f.Coordinators {
		st, stop := eventStream(t, co.URL, seen.ID)
		var kinds []string
		for range 2 {
			ev := awaitEvent(t, st, "missed")
			var e struct{ ID, Kind, Text string }
			if err := json.Unmarshal(ev.Data, &e); err != nil || e.ID != ev.ID {
				t.Errorf("%s: event %+v: %v", co.Name, ev, err)
			}
			kinds = append(kinds, e.Kind)
		}
		if !slices.Equal(kinds, []string{"group_changed", "group_changed"}) {
			t.Errorf("%s: after %s came %v", co.Name, seen.ID, kinds)
		}
		stop()
	}

	p := harness.Start(t, "events", nil, harness.HubBinary(t), "events", "-f", "-n", "0", "--url", f.Front.URL)
	harness.Eventually(t, 20*time.Second, "mcphub events -f tells what happens", func() error {
		group(http.MethodPut, "seen", http.StatusOK)
		if p.Log.Count("group_changed", "seen") == 0 {
			return fmt.Errorf("it has printed:\n%s", p.Log.String())
		}
		return nil
	})
	p.Signal(syscall.SIGINT)
	if _, err := p.Exit(10 * time.Second); err != nil {
		t.Error(err)
	}
	group(http.MethodDelete, "seen", http.StatusOK)
}

// logIsJSON wants every line of every log to be one object that says when, how bad and what.
func (f *manyFronts) logIsJSON(t *testing.T) {
	for _, h := range append(slices.Clone(f.Coordinators), slices.Collect(maps.Values(f.Nodes))...) {
		if h.Log.Count(`"mcphub has started"`) != 1 {
			t.Errorf("%s does not say once that it has started:\n%s", h.Name, h.Log.Tail(10))
		}
		for line := range strings.Lines(h.Log.String()) {
			var entry struct{ Time, Level, Msg string }
			if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Time == "" || entry.Level == "" || entry.Msg == "" {
				t.Errorf("%s: %v: %s", h.Name, err, line)
			}
		}
	}
}
