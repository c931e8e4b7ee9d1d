package web

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

var update = flag.Bool("update", false, "rewrite testdata/*.golden")

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// fakeReader is a fleet written down.
type fakeReader struct {
	snapshot *store.Snapshot
	redis    Redis
	sessions []store.Session
	total    int
	events   []store.Event
	err      error
	asked    atomic.Int32
}

func (f *fakeReader) Snapshot() *store.Snapshot { return f.snapshot }
func (f *fakeReader) Redis() Redis              { return f.redis }
func (f *fakeReader) Sessions(_ context.Context, limit int) ([]store.Session, int, error) {
	f.asked.Add(1)
	return f.sessions[:min(limit, len(f.sessions))], f.total, f.err
}
func (f *fakeReader) Events(_ context.Context, limit int) ([]store.Event, error) {
	return f.events[:min(limit, len(f.events))], f.err
}

// fleet is one node that is well, one that is gone and one with a server that failed.
func fleet() *fakeReader {
	ready := func(id string, sessions int) store.Server {
		return store.Server{ID: store.ServerID(id), Status: store.ServerReady, Transport: "stdio", Tools: 3, Sessions: sessions, Weight: 1}
	}
	return &fakeReader{
		redis: Redis{OK: true, State: "ok"},
		snapshot: &store.Snapshot{Revision: 9, Taken: noon, Nodes: []store.Node{
			{
				ID: "node-1", Name: "Worker Node 1", URL: "http://10.0.0.1:3001", Version: "0.1.0", Epoch: 4, State: store.NodeActive,
				LastHeartbeat: noon.Add(-2 * time.Second), Servers: []store.Server{ready("notes", 2), ready("counter", 5)},
			},
			{
				ID: "node-2", Name: "node-2", URL: "http://10.0.0.2:3001", Version: "0.1.0", Epoch: 1, State: store.NodeUnhealthy,
				LastHeartbeat: noon.Add(-3 * time.Minute), Servers: []store.Server{ready("counter", 1), ready("lost", 0)},
			},
			{
				ID: "node-3", Name: "node-3", URL: "http://10.0.0.3:3001", Version: "0.1.0", Epoch: 2, State: store.NodeDraining,
				LastHeartbeat: noon, Servers: []store.Server{
					{
						ID: "notes", Status: store.ServerFailed, Transport: "stdio", Error: "exited with status 1 before the handshake",
						Stderr: []string{"loading", "Error: no such database"}, Restarts: 3, Weight: 1,
					},
					{ID: "old", Status: store.ServerDisabled, Transport: "stdio", Weight: 1},
				},
			},
		}},
		total: 2,
		sessions: []store.Session{
			{
				ID: "00112233445566778899aabbccddeeff", Scope: "counter", Era: "2025-11-25", Created: noon.Add(-26 * time.Hour), Seen: noon.Add(-time.Minute),
				Bindings: map[store.ServerID]store.Binding{"counter": {Node: "node-1", Epoch: 4}},
			},
			{
				ID: "ffeeddccbbaa99887766554433221100", Scope: store.ScopeAll, Era: "2025-06-18", Created: noon.Add(-90 * time.Minute), Seen: noon,
				Bindings: map[store.ServerID]store.Binding{"notes": {Node: "node-1", Epoch: 4}, "counter": {Node: "node-1", Epoch: 4}},
			},
		},
		events: []store.Event{
			{ID: "2-0", Time: noon.Add(-170 * time.Second), Kind: store.EventNodeUnhealthy, Node: "node-2", Text: "Marking node node-2 as unhealthy"},
			{ID: "1-0", Time: noon.Add(-time.Hour), Kind: store.EventNodeRegistered, Node: "node-1", Text: "Node registered: Worker Node 1 (node-1) with 2 servers"},
		},
	}
}

func newPage(r Reader) *Page {
	p := New(Config{Version: "0.1.0", CoordinatorID: "host-abc123", Mode: "coordinator"}, r, slog.New(slog.NewTextHandler(io.Discard, nil)))
	p.now = func() time.Time { return noon.Add(time.Hour) } // ages must not be counted on this clock
	return p
}

func get(t *testing.T, h http.Handler, path string, header ...string) *http.Response {
	t.Helper()
	req := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	return rec.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file) //nolint:gosec // a name of this test
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs from the page; look at the change with -update and git diff\n%s", file, got)
	}
}

func TestPagesLookAsReviewed(t *testing.T) {
	full := fleet()
	away := fleet()
	away.redis = Redis{State: "down", Err: "connection refused", Since: noon.Add(time.Hour - 42*time.Second)}
	away.err = errors.New("redis unavailable")
	for name, tc := range map[string]struct {
		reader *fakeReader
		path   string
	}{
		"page":           {full, "/"},
		"fragment":       {full, "/fragment"},
		"fragment_away":  {away, "/fragment"},
		"fragment_empty": {&fakeReader{snapshot: &store.Snapshot{Taken: noon}, redis: Redis{OK: true, State: "ok", Embedded: true}}, "/fragment"},
		"fragment_blind": {&fakeReader{redis: Redis{State: "down"}}, "/fragment"},
	} {
		t.Run(name, func(t *testing.T) {
			resp := get(t, newPage(tc.reader), tc.path)
			if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/html; charset=utf-8" {
				t.Fatalf("GET %s = %d %s", tc.path, resp.StatusCode, resp.Header.Get("Content-Type"))
			}
			// The digests of assets are not what this test is about.
			golden(t, name, regexp.MustCompile(`\?v=[0-9a-f]{16}`).ReplaceAllString(body(t, resp), "?v=DIGEST"))
		})
	}
}

// What MCP servers and nodes call themselves is text of strangers, wherever it is shown.
func TestHostileNamesStayText(t *testing.T) {
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(2)>`
	f := &fakeReader{
		redis: Redis{State: evil, Err: evil},
		snapshot: &store.Snapshot{Taken: noon, Nodes: []store.Node{{
			ID: evil, Name: evil + "!", URL: `javascript:alert(1)` + evil, Version: evil, State: evil,
			Servers: []store.Server{{ID: evil, Status: evil, Transport: evil, Error: evil, Stderr: []string{evil, "</pre>" + evil}}},
		}}},
		total:    1,
		sessions: []store.Session{{ID: evil, Scope: evil, Era: evil, Bindings: map[store.ServerID]store.Binding{evil: {Node: evil}}}},
		events:   []store.Event{{Kind: evil, Text: evil}},
	}
	p := newPage(f)
	p.cfg.CoordinatorID, p.cfg.Mode, p.cfg.Version = evil, evil, evil
	for _, path := range []string{"/", "/fragment"} {
		got := body(t, get(t, p, path))
		if strings.Contains(got, "<script>alert") || strings.Contains(got, "<img src=x") {
			t.Errorf("GET %s lets markup of strangers through:\n%s", path, got)
		}
		if n := strings.Count(got, "&lt;script&gt;alert(1)"); n < 15 {
			t.Errorf("GET %s shows the hostile name %d times as text, want at least 15", path, n)
		}
		if strings.Contains(got, `href="javascript`) {
			t.Errorf("GET %s links to an address of a stranger", path)
		}
	}
}

func TestPageAndFragmentAgree(t *testing.T) {
	p := newPage(fleet())
	page, fragment := body(t, get(t, p, "/")), body(t, get(t, p, "/fragment"))
	if !strings.Contains(page, fragment) {
		t.Error("the page does not hold the fragment that the script will put in its place")
	}
}

// inline finds what the policy would block or what would need an exception to it.
var inline = regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=|<script(?:\s[^>]*)?>[^<]|https?://[^1]`)

func TestPolicyIsStrictAndThePageKeepsIt(t *testing.T) {
	p := newPage(fleet())
	for _, path := range []string{"/", "/fragment", "/static/app.js", "/nowhere"} {
		resp := get(t, p, path)
		if csp := resp.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'self';") || strings.Contains(csp, "unsafe") {
			t.Errorf("GET %s: policy %q", path, csp)
		}
		if resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("GET %s may be sniffed", path)
		}
	}
	if found := inline.FindString(body(t, get(t, p, "/"))); found != "" {
		t.Errorf("the page holds %q, which the policy is meant to forbid", found)
	}
}

func TestAssetsAreKeptByDigestAndAskedForWithout(t *testing.T) {
	p := newPage(fleet())
	for name := range p.assets {
		versioned := get(t, p, "/"+p.assets.url(name))
		if cc := versioned.Header.Get("Cache-Control"); !strings.Contains(cc, "immutable") {
			t.Errorf("%s by digest: Cache-Control %q", name, cc)
		}
		plain := get(t, p, "/static/"+name)
		if cc := plain.Header.Get("Cache-Control"); cc != "no-cache" {
			t.Errorf("%s without digest: Cache-Control %q, want no-cache", name, cc)
		}
		stale := get(t, p, "/static/"+name+"?v=0000000000000000")
		if cc := stale.Header.Get("Cache-Control"); cc != "no-cache" {
			t.Errorf("%s by an old digest: Cache-Control %q, want no-cache", name, cc)
		}
		again := get(t, p, "/static/"+name, "If-None-Match", plain.Header.Get("ETag"))
		if again.StatusCode != http.StatusNotModified || body(t, again) != "" {
			t.Errorf("%s with its ETag: %d, want 304", name, again.StatusCode)
		}
		if strings.Contains(plain.Header.Get("Content-Type"), "text/plain") {
			t.Errorf("%s is served as %s", name, plain.Header.Get("Content-Type"))
		}
	}
	if cc := get(t, p, "/").Header.Get("Cache-Control"); cc != "no-store" {
		t.Errorf("the page: Cache-Control %q, want no-store", cc)
	}
}

func TestOnlyReadingAndOnlyItsPaths(t *testing.T) {
	p := newPage(fleet())
	for path, want := range map[string]int{
		"/": 200, "/fragment": 200, "/static/app.css": 200, "/favicon.ico": 302,
		"/other": 404, "/static/": 404, "/static/../page.go": 404, "/static/none.css": 404, "/fragment/x": 404,
	} {
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.URL.Path = path
		rec := httptest.NewRecorder()
		p.ServeHTTP(rec, req)
		// The multiplexer answers an unclean path with a redirect to the clean one.
		if got := rec.Code; got != want && (want != 404 || got/100 != 3) {
			t.Errorf("GET %s = %d, want %d", path, got, want)
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodDelete, http.MethodPut, "BREW"} {
		rec := httptest.NewRecorder()
		p.ServeHTTP(rec, httptest.NewRequest(method, "/", nil))
		if rec.Code != http.StatusMethodNotAllowed || rec.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s / = %d, Allow %q", method, rec.Code, rec.Header().Get("Allow"))
		}
	}
	rec := httptest.NewRecorder()
	newPage(fleet()).ServeHTTP(rec, httptest.NewRequest(http.MethodHead, "/", nil))
	if rec.Code != http.StatusOK || rec.Header().Get("Content-Length") == "" {
		t.Errorf("HEAD / = %d, Content-Length %q", rec.Code, rec.Header().Get("Content-Length"))
	}
}

// A hundred open tabs cost the fleet what one costs.
func TestManyBrowsersLookOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fleet()
		p := newPage(f)
		p.now = time.Now
		ask := func() {
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() { get(t, p, "/fragment") })
			}
			wg.Wait()
		}
		ask()
		if n := f.asked.Load(); n != 1 {
			t.Errorf("100 browsers at once asked %d times, want 1", n)
		}
		time.Sleep(time.Second)
		ask()
		if n := f.asked.Load(); n != 2 {
			t.Errorf("a second later it had been asked %d times, want 2", n)
		}
	})
}

// The browser that starts a look may leave; the others must still get what it read.
func TestLookOutlivesTheRequestThatStartedIt(t *testing.T) {
	seen := make(chan error, 1)
	p := newPage(&ctxReader{fakeReader: fleet(), seen: seen})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	rec := httptest.NewRecorder()
	p.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/fragment", nil).WithContext(ctx))
	if err := <-seen; err != nil {
		t.Errorf("the reader was asked under a context that had ended: %v", err)
	}
}

type ctxReader struct {
	*fakeReader
	seen chan error
}

func (c *ctxReader) Sessions(ctx context.Context, limit int) ([]store.Session, int, error) {
	if _, ok := ctx.Deadline(); !ok {
		c.seen <- errors.New("no deadline")
	} else {
		c.seen <- ctx.Err()
	}
	return c.fakeReader.Sessions(ctx, limit)
}

func TestNewestSessionsAreShown(t *testing.T) {
	f := &fakeReader{snapshot: &store.Snapshot{Taken: noon}, redis: Redis{OK: true, State: "ok"}, total: 1200}
	for i := range sessionsRead {
		f.sessions = append(f.sessions, store.Session{ID: store.SessionID(fmt.Sprintf("%08d-rest", i)), Created: noon.Add(time.Duration(i-500) * time.Second)})
	}
	got := body(t, get(t, newPage(f), "/fragment"))
	if !strings.Contains(got, "50 of 1200") {
		t.Error("the page does not say that it shows 50 of 1200")
	}
	if !strings.Contains(got, ">00000199<") || strings.Contains(got, ">00000149<") || !strings.Contains(got, ">00000150<") {
		t.Error("the 50 shown are not the newest of those read")
	}
}

// While Redis is away the snapshot stands still; what it says of heartbeats grows old all the
// same.
func TestAgesGrowWhileTheSnapshotStands(t *testing.T) {
	p := newPage(fleet())
	clock := noon
	p.now = func() time.Time { return clock }
	if got := body(t, get(t, p, "/fragment")); !strings.Contains(got, ">2 s</td>") {
		t.Error("node-1 was heard of 2 s before the snapshot, and the page does not say so")
	}
	clock = clock.Add(58 * time.Second)
	if got := body(t, get(t, p, "/fragment")); !strings.Contains(got, ">1 min</td>") || strings.Contains(got, ">2 s</td>") {
		t.Error("58 s later with the same snapshot the page does not say 1 min")
	}
}

func TestServerOnItsWayIsNoProblem(t *testing.T) {
	f := &fakeReader{redis: Redis{OK: true, State: "ok"}, snapshot: &store.Snapshot{Taken: noon, Nodes: []store.Node{{
		ID: "n", State: store.NodeActive, Servers: []store.Server{{ID: "slow", Status: store.ServerStarting}},
	}}}}
	got := body(t, get(t, newPage(f), "/fragment"))
	if strings.Contains(got, "callable on no node") || !strings.Contains(got, `"state warn">0 of 1 ready`) {
		t.Errorf("a server that is starting is shown as a problem:\n%s", got)
	}
	if !strings.Contains(got, "<strong>0<small> / 1</small></strong><span>servers callable") {
		t.Error("a server that is starting is counted as callable")
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "now", 0: "now", 999 * time.Millisecond: "now", time.Second: "1 s", 59*time.Second + 999*time.Millisecond: "59 s",
		time.Minute: "1 min", 59 * time.Minute: "59 min", time.Hour: "1 h", 192 * time.Minute: "3 h 12 min",
		24 * time.Hour: "1 d", 98 * time.Hour: "4 d 2 h",
	} {
		if got := age(noon, noon.Add(-d)); got != want {
			t.Errorf("age(%s) = %q, want %q", d, got, want)
		}
	}
	if got := age(noon, time.Time{}); got != "–" {
		t.Errorf("age of no time = %q", got)
	}
}
