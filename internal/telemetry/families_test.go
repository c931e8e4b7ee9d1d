package telemetry

import (
	"maps"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// everything is a registry with all families and at least one sample of each.
func everything() (*Registry, *Front, *Worker) {
	r := NewRegistry("1.2.3")
	front, worker := NewFront(r), NewWorker(r)
	r.Coordinator(func() FrontFacts {
		return FrontFacts{
			Nodes: map[string]int{"active": 2}, Servers: map[string]int{"ready": 1}, Sessions: 7, Started: 9,
			Replicas: []ReplicaCount{{"memory", "ready", 2}}, Moved: map[string]int64{"failed": 3}, RedisUp: true, RedisState: "ok",
		}
	})
	r.Node(func() WorkerFacts {
		return WorkerFacts{Servers: []ServerFacts{{Server: "memory", Up: true, Sessions: 4}}, Lease: 1500 * time.Millisecond}
	})
	front.Upstream("memory", time.Millisecond)
	worker.Server("memory")
	return r, front, worker
}

func scrape(t *testing.T, r *Registry) string {
	t.Helper()
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("GET /metrics = %d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestFamiliesAreThoseOfTheDocument(t *testing.T) {
	doc, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(mcphub_[a-z_]+)` \\| ([a-z]+) \\|").FindAllStringSubmatch(string(doc), -1) {
		want[m[1]] = m[2]
	}
	r, _, _ := everything()
	got := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (mcphub_[a-z_]+) ([a-z]+)$`).FindAllStringSubmatch(scrape(t, r), -1) {
		got[m[1]] = m[2]
	}
	if len(want) < 30 {
		t.Fatalf("the document names %d families; is its form another one now?", len(want))
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("%s is a %q, the document says %q", name, got[name], want[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if want[name] == "" {
			t.Errorf("%s is not in docs/metrics.md", name)
		}
	}
}

func TestClosedListsAreThoseOfTheDocument(t *testing.T) {
	doc, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	kinds := func(n uint8, text func(uint8) string) (out []string) {
		for i := range n {
			out = append(out, text(i))
		}
		return out
	}
	for name, list := range map[string][]string{
		"mcphub_nodes": nodeStates, "mcphub_servers": serverStatuses, "mcphub_sessions_moved_total": moveReasons,
		"mcphub_streams_open": streamKinds, "mcphub_redis_state": redisStates,
		"mcphub_node_calls_total": kinds(uint8(outcomes), func(i uint8) string { return Outcome(i).String() }),
		"mcphub_requests_total": append(
			kinds(uint8(scopeKinds), func(i uint8) string { return ScopeKind(i).String() }),
			kinds(uint8(methodKinds), func(i uint8) string { return MethodKind(i).String() })...),
	} {
		row := regexp.MustCompile("(?m)^\\| `" + name + "` \\| [a-z]+ \\| (.*?) \\|").FindStringSubmatch(string(doc))
		if row == nil {
			t.Fatalf("no row for %s", name)
		}
		for _, value := range list {
			if !strings.Contains(row[1], "`"+value+"`") {
				t.Errorf("%s: %q is not in its row: %s", name, value, row[1])
			}
		}
	}
}

func TestWhatIsRecordedIsShown(t *testing.T) {
	r, front, worker := everything()
	front.Request(ScopeGroup, MethodCall, 200, 3*time.Millisecond)
	front.Request(ScopeServer, MethodEnd, 404, time.Millisecond)
	front.Recovered(time.Second)
	front.Redis(200 * time.Microsecond)
	worker.Call("memory", OutcomeLost, time.Second)
	worker.Call("memory", OutcomeRefused, 0)
	text := scrape(t, r)
	for _, want := range []string{
		`mcphub_requests_total{code="200",method_kind="call",scope_kind="group"} 1`,
		`mcphub_requests_total{code="404",method_kind="end",scope_kind="server"} 1`,
		`mcphub_requests_total{code="200",method_kind="initialize",scope_kind="all"} 0`, // there from the start
		`mcphub_request_seconds_bucket{method_kind="call",scope_kind="group",le="0.005"} 1`,
		`mcphub_request_seconds_bucket{method_kind="call",scope_kind="group",le="0.0025"} 0`,
		`mcphub_session_recovery_seconds_count 1`,
		`mcphub_redis_command_seconds_bucket{le="0.00025"} 1`,
		`mcphub_node_calls_total{outcome="lost",server="memory"} 1`,
		`mcphub_node_calls_total{outcome="ok",server="memory"} 0`,
		`mcphub_node_call_seconds_count{server="memory"} 1`, // not the refused one
		`mcphub_sessions_moved_total{reason="failed"} 3`, `mcphub_sessions_moved_total{reason="drain"} 0`,
		`mcphub_redis_state{state="ok"} 1`, `mcphub_redis_state{state="down"} 0`,
		`mcphub_node_lease_seconds 1.5`, `mcphub_nodes{state="draining"} 0`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("not shown: %s", want)
		}
	}
}

func TestNoRecorderRecordsNothing(*testing.T) {
	var f *Front
	var w *Worker
	f.Request(ScopeAll, MethodCall, 200, 0)
	f.Upstream("x", 0)
	f.Recovered(0)
	f.Redis(0)
	w.Call("x", OutcomeOK, 0)
	w.Server("x")
}

func TestKindOf(t *testing.T) {
	for method, want := range map[string]MethodKind{
		"": MethodOther, "ping": MethodOther, "initialize": MethodInitialize, "tools/call": MethodCall,
		"resources/templates/list": MethodList, "prompts/get": MethodGet, "resources/read": MethodRead,
		"notifications/cancelled": MethodNotification, "notifications/": MethodOther,
	} {
		if got := KindOf(method); got != want {
			t.Errorf("KindOf(%q) = %v, want %v", method, got, want)
		}
	}
}

func BenchmarkFrontRequest(b *testing.B) {
	_, front, _ := everything()
	b.ReportAllocs()
	for b.Loop() {
		front.Request(ScopeServer, MethodCall, 200, time.Millisecond)
		front.Upstream("memory", time.Millisecond)
	}
}
