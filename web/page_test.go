package web

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

var update = flag.Bool("update", false, "rewrite testdata/*.golden")

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

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
	well := Redis{OK: true, State: "ok", Embedded: true}
	for name, tc := range map[string]struct {
		reader *fakeReader
		path   string
	}{
		"page":           {full, "/"},
		"fragment":       {full, "/fragment"},
		"fragment_away":  {away, "/fragment"},
		"fragment_empty": {&fakeReader{snapshot: &store.Snapshot{Taken: noon}, redis: well}, "/fragment"},
		"fragment_blind": {&fakeReader{redis: Redis{State: "down"}}, "/fragment"},
		"server":         {full, "/server?name=notes"},
		"server_part":    {full, "/server?part&name=counter"},
		"server_away":    {away, "/server?part&name=notes"},
		"catalog":        {full, "/catalog?digest=" + notesDigest},
		"catalog_gone":   {full, "/catalog?digest=" + otherDigest},
		"catalog_away":   {away, "/catalog?digest=" + notesDigest},
		"sessions":       {full, "/sessions"},
		"sessions_part":  {full, "/sessions?part&cursor=1"},
		"sessions_past":  {full, "/sessions?part&cursor=2"},
		"explain":        {full, "/explain"},
		"explain_answer": {full, "/explain?session=ffeeddccbbaa99887766554433221100&server=counter&prefer=node-1&without=node-1&with=node-7"},
		"explain_none":   {&fakeReader{answer: Explanation{Server: "counter", Rule: "none", Reason: "no node can take the session; the candidates say why"}}, "/explain?session=trial&server=counter"},
		"explain_away":   {away, "/explain?session=trial&server=counter"},
	} {
		t.Run(name, func(t *testing.T) {
			resp := get(t, newPage(tc.reader), tc.path)
			want := map[string]int{"catalog_gone": http.StatusNotFound, "catalog_away": http.StatusServiceUnavailable}[name]
			if resp.StatusCode != cmp.Or(want, http.StatusOK) || resp.Header.Get("Content-Type") != "text/html; charset=utf-8" {
				t.Fatalf("GET %s = %d %s", tc.path, resp.StatusCode, resp.Header.Get("Content-Type"))
			}
			// The digests of assets are not what this test is about.
			golden(t, name, regexp.MustCompile(`\?v=[0-9a-f]{16}`).ReplaceAllString(body(t, resp), "?v=DIGEST"))
		})
	}
}

const evil = `"><script>alert(1)</script><img src=x onerror=alert(2)>`

// hostile is a fleet in which everything that strangers may choose is evil.
func hostile() *fakeReader {
	quoted := strings.ReplaceAll(evil, `"`, `\"`)
	item := `{"name":"` + quoted + `","title":"` + quoted + `","description":"` + quoted + `","uri":"javascript:` + quoted + `","mimeType":"` + quoted + `",
		"arguments":[{"name":"` + quoted + `","description":"` + quoted + `"}],
		"inputSchema":{"properties":{"` + quoted + `":{"type":"` + quoted + `","description":"` + quoted + `","default":"` + quoted + `"}}}}`
	return &fakeReader{
		redis: Redis{State: evil, Err: evil},
		snapshot: &store.Snapshot{Taken: noon, Nodes: []store.Node{{
			ID: evil, Name: evil + "!", URL: `javascript:alert(1)` + evil, Version: evil, State: evil,
			Servers: []store.Server{
				{ID: evil, Status: evil, Transport: evil, Error: evil, Stderr: []string{evil, "</pre>" + evil}},
				{ID: "bad", Status: store.ServerReady, Catalog: notesDigest},
			},
		}}},
		groups:       []store.Group{{Name: evil, Description: evil, Servers: []store.GroupServer{{Name: evil, Tools: []string{evil}}}}},
		total:        1,
		sessions:     []store.Session{{ID: evil, Scope: evil, Era: evil, Bindings: map[store.ServerID]store.Binding{evil: {Node: evil}}}},
		events:       []store.Event{{ID: evil, Kind: evil, Text: evil}},
		coordinators: []store.Coordinator{{ID: evil, Address: evil, Version: evil, Mode: evil}},
		conflicts:    []Conflict{{Name: "javascript:" + evil, Owner: evil, Others: []store.ServerID{evil}}},
		catalogs: map[store.Digest]string{notesDigest: `{"protocolVersion":"` + quoted + `","instructions":"` + quoted + `","serverInfo":{"name":"` + quoted + `","version":"` + quoted + `"},
			"tools":[` + item + `],"prompts":[` + item + `],"resources":[` + item + `],"resourceTemplates":[` + item + `]}`},
		answer: Explanation{
			Server: evil, Rule: evil, Choice: evil, Reason: evil, Candidates: []Candidate{{Node: evil, State: evil, Reason: evil}},
			Moves: []Move{{Node: evil, Change: evil, To: evil, Rule: evil, Reason: evil}},
		},
	}
}

// What MCP servers and nodes call themselves is text of strangers, wherever it is shown.
func TestHostileNamesStayText(t *testing.T) {
	p := newPage(hostile())
	p.cfg.CoordinatorID, p.cfg.Mode, p.cfg.Version = evil, evil, evil
	for path, least := range map[string]int{
		"/": 30, "/fragment": 30, "/server?name=" + url.QueryEscape(evil): 6, "/catalog?digest=" + notesDigest: 25, "/sessions": 5,
		"/explain?session=" + url.QueryEscape(evil): 12, "/explain?session=x&without=" + url.QueryEscape(evil): 4,
	} {
		resp := get(t, p, path)
		got := body(t, resp)
		if resp.StatusCode != http.StatusOK {
			t.Errorf("GET %s = %d", path, resp.StatusCode)
		}
		if strings.Contains(got, "<script>alert") || strings.Contains(got, "<img src=x") {
			t.Errorf("GET %s lets markup of strangers through:\n%s", path, got)
		}
		if n := strings.Count(got, "&lt;script&gt;alert(1)"); n < least {
			t.Errorf("GET %s shows the hostile name %d times as text, want at least %d", path, n, least)
		}
		if strings.Contains(got, `="javascript`) {
			t.Errorf("GET %s links to an address of a stranger", path)
		}
	}
}

func TestPageAndFragmentAgree(t *testing.T) {
	p := newPage(fleet())
	for page, part := range map[string]string{"/": "/fragment", "/server?name=old": "/server?part&name=old", "/sessions?cursor=1": "/sessions?part&cursor=1"} {
		// Not a space more: the script compares node by node.
		if want := `">` + body(t, get(t, p, part)) + "</div>"; !strings.Contains(body(t, get(t, p, page)), want) {
			t.Errorf("%s does not hold what the script will put in place of it, %s", page, part)
		}
	}
}

// inline finds what the policy would block or what would need an exception to it.
var inline = regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=|<script(?:\s[^>]*)?>[^<]|https?://[^1]`)

func TestPolicyIsStrictAndThePagesKeepIt(t *testing.T) {
	p := newPage(fleet())
	for path, form := range map[string]string{
		"/": "'self'", "/explain": "'self'", "/explain?session=x&server=counter": "'self'", "/fragment": "'none'", "/server?name=counter": "'none'",
		"/catalog?digest=" + notesDigest: "'none'", "/sessions": "'none'", "/static/app.js": "'none'", "/nowhere": "'none'",
	} {
		resp := get(t, p, path)
		csp := resp.Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(csp, "default-src 'none'; script-src 'self'; style-src 'self';") || strings.Contains(csp, "unsafe") || !strings.HasSuffix(csp, "; form-action "+form) {
			t.Errorf("GET %s: policy %q", path, csp)
		}
		if resp.Header.Get("X-Content-Type-Options") != "nosniff" || resp.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("GET %s may be sniffed, or tells others where it is", path)
		}
		if found := inline.FindString(body(t, resp)); found != "" && !strings.HasPrefix(path, "/static/") {
			t.Errorf("%s holds %q, which the policy is meant to forbid", path, found)
		}
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
		"/": 200, "/fragment": 200, "/sessions": 200, "/explain": 200, "/catalog": 404, "/server": 404, "/static/app.css": 200, "/favicon.ico": 302,
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

func (c *ctxReader) Sessions(ctx context.Context, cursor string, limit int) ([]store.Session, string, error) {
	if _, ok := ctx.Deadline(); !ok {
		c.seen <- errors.New("no deadline")
	} else {
		c.seen <- ctx.Err()
	}
	return c.fakeReader.Sessions(ctx, cursor, limit)
}
