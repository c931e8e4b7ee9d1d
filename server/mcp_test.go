package server

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/router"
)

// carryWith makes a carrier's answer out of a function.
func carryWith(f func(w http.ResponseWriter) error) func(context.Context, http.ResponseWriter, router.Request) error {
	return func(_ context.Context, w http.ResponseWriter, _ router.Request) error { return f(w) }
}

func TestGoodRequestsGetThroughUnchanged(t *testing.T) {
	r := newRig(t, global, nil)
	const odd = `{ "jsonrpc":"2.0", "id":9007199254740993 , "method":"x/y", "extra":1.0 }` + "\n"
	tests := []struct {
		path, scope string
		headers     []string
	}{
		{"/mcp", "", nil},
		{"/mcp/", "", nil},
		{"/mcp/everything", "everything", nil},
		{"/mcp/%65verything", "everything", nil}, // another spelling of the same path
		{"/mcp/everything?api_key=x", "everything", nil},
		{"/mcp/everything", "everything", []string{"Accept", "application/json, text/event-stream"}},
		{"/mcp/everything", "everything", []string{"Accept", "*/*"}},
		{"/mcp/everything", "everything", []string{"Accept", "text/event-stream;q=0.5"}},
		{"/mcp/everything", "everything", []string{"Content-Type", "Application/JSON; charset=UTF-8"}},
		{"/mcp/everything", "everything", []string{wire.HeaderVersion, "2025-03-26"}},
		{"/mcp/everything", "everything", []string{wire.HeaderVersion, "2026-07-28"}}, // the router refuses it, with the id
		{"/mcp/everything", "everything", []string{"Origin", r.url}},
		{"/mcp/everything", "everything", []string{"Origin", "http://localhost:6274"}},
		{"/mcp/everything", "everything", []string{"X_Custom_Header", "is somebody else's"}},
		{"/mcp/not-known-yet", "not-known-yet", []string{wire.HeaderSession, "a-session-knows-more"}},
	}
	for _, tt := range tests {
		p := r.do(t, "POST", tt.path, odd, tt.headers...)
		if got := r.carrier.last(); p.status != 200 || p.body != odd || got.Scope != tt.scope || got.HTTPMethod != "POST" || got.Subject != "" {
			t.Errorf("POST %s %v = %d %q with scope %q, want 200, the body and scope %q", tt.path, tt.headers, p.status, p.body, got.Scope, tt.scope)
		}
	}
	p := r.raw(t, request("DELETE", "/mcp/everything", "", "Mcp-Session-Id: abc", "Mcp-Protocol-Version: 2025-11-25"))
	if got := r.carrier.last(); p.status != 200 || got.HTTPMethod != "DELETE" || got.SessionID != "abc" || len(got.Body) != 0 {
		t.Errorf("DELETE = %d, carried %+v", p.status, got)
	}
}

func TestBodiesUpToTheLimit(t *testing.T) {
	r := newRig(t, global, nil)
	for _, n := range []int{1, 100, maxPromise, maxPromise + 1, maxScratch + 1, 4 << 20} {
		body := strings.Repeat("x", n)
		if p := r.do(t, "POST", "/mcp/everything", body); p.status != 200 || p.body != body {
			t.Errorf("a body of %d bytes = %d, %d bytes", n, p.status, len(p.body))
		}
		chunked := post("/mcp/everything", chunks(body), "Transfer-Encoding: chunked")
		if p := r.raw(t, chunked); p.status != 200 || p.body != body {
			t.Errorf("a chunked body of %d bytes = %d, %d bytes", n, p.status, len(p.body))
		}
	}
	if p := r.raw(t, post("/mcp/everything", chunks(strings.Repeat("x", 4<<20+1)), "Transfer-Encoding: chunked")); p.status != 413 {
		t.Errorf("a chunked body of 4 MiB and a byte = %d, want 413", p.status)
	}
	if n := r.held.Load(); n != 0 {
		t.Errorf("%d bytes of bodies are still counted", n)
	}
}

func chunks(body string) string {
	var b strings.Builder
	for len(body) > 0 {
		n := min(len(body), 30000)
		b.WriteString(strings.ToLower(hex(n)) + "\r\n" + body[:n] + "\r\n")
		body = body[n:]
	}
	return b.String() + "0\r\n\r\n"
}

func hex(n int) string {
	const digits = "0123456789abcdef"
	if n < 16 {
		return digits[n : n+1]
	}
	return hex(n/16) + digits[n%16:n%16+1]
}

func TestTooMuchInHand(t *testing.T) {
	cfg := global
	cfg.MaxHeld = 1000
	r := newRig(t, cfg, nil)
	inside, release := make(chan struct{}), make(chan struct{})
	r.carrier.carry = carryWith(func(http.ResponseWriter) error { inside <- struct{}{}; <-release; return nil })
	done := make(chan reply, 1)
	go func() { done <- r.do(t, "POST", "/mcp/everything", strings.Repeat("x", 900)) }()
	<-inside
	p := r.do(t, "POST", "/mcp/everything", strings.Repeat("x", 200))
	if p.status != 503 || p.header.Get("Retry-After") == "" {
		t.Errorf("over MaxHeld = %d, Retry-After %q, want 503 with one", p.status, p.header.Get("Retry-After"))
	}
	close(release)
	if p := <-done; p.status != 200 {
		t.Errorf("the first request = %d", p.status)
	}
	if n := r.held.Load(); n != 0 {
		t.Errorf("%d bytes are still counted", n)
	}
}

func TestBearerKeys(t *testing.T) {
	cfg := global
	cfg.RequireKey, cfg.Keys = true, []Key{{Key: "first-key", All: true}, {Name: "second", Key: "second-key", All: true}}
	r := newRig(t, cfg, nil)
	for auth, want := range map[string]int{
		"": 401, "Bearer": 401, "Bearer ": 401, "Bearer wrong": 401, "Bearer first-ke": 401, "Bearer first-key2": 401,
		"first-key": 401, "Basic first-key": 401, "Bearer first-key,second-key": 401,
		"Bearer first-key": 200, "bearer second-key": 200, "Bearer  first-key": 200,
	} {
		var headers []string
		if auth != "" {
			headers = []string{"Authorization", auth}
		}
		p := r.do(t, "POST", "/mcp/everything", ping, headers...)
		if p.status != want {
			t.Errorf("Authorization %q = %d, want %d", auth, p.status, want)
		}
		if want == 401 {
			if p.header.Get("WWW-Authenticate") == "" || strings.Contains(p.body, "first") {
				t.Errorf("401 with challenge %q and body %s", p.header.Get("WWW-Authenticate"), p.body)
			}
		} else if got, want := r.carrier.last().Subject, map[bool]string{true: subjectKey, false: "key/second"}[strings.Contains(auth, "first")]; got != want {
			t.Errorf("subject %q, want %q", got, want)
		}
	}
	// Who has no key learns nothing of what is there.
	for _, path := range []string{"/mcp/no-such", "/mcp/a%20b", "/mcp"} {
		if p := r.do(t, "POST", path, ping); p.status != 401 {
			t.Errorf("POST %s without a key = %d, want 401", path, p.status)
		}
	}
}

func TestGlobalRouteCanBeOff(t *testing.T) {
	r := newRig(t, Config{}, nil)
	p := r.do(t, "POST", "/mcp", ping)
	if p.status != 404 || !strings.Contains(p.sentence(t), "enableGlobalRoute") {
		t.Errorf("POST /mcp = %d %s, want 404 with the reason", p.status, p.body)
	}
	if p := r.do(t, "POST", "/mcp/everything", ping); p.status != 200 {
		t.Errorf("POST /mcp/everything = %d, want 200", p.status)
	}
}

func TestRouterErrors(t *testing.T) {
	r := newRig(t, global, nil)
	tests := []struct {
		err    error
		status int
	}{
		{router.ErrUnknownSession, 404}, {router.ErrMissingSession, 400}, {router.ErrBadRequest, 400}, {router.ErrUnknownServer, 404},
		{router.ErrNoReplica, 503}, {router.ErrTooManySessions, 429}, {router.ErrUnavailable, 503}, {router.ErrBadGateway, 502}, {router.ErrMethod, 405},
	}
	for _, tt := range tests {
		r.carrier.carry = carryWith(func(http.ResponseWriter) error {
			return &router.Error{Err: tt.err, ID: []byte("9007199254740993"), Code: 1002, Message: "three plain words", RetryAfter: 3 * time.Second, Cause: errors.New("10.0.0.1 is secret")}
		})
		p := r.do(t, "POST", "/mcp/everything", ping)
		if p.status != tt.status || !strings.Contains(p.body, `"id":9007199254740993`) || !strings.Contains(p.body, "1002") || strings.Contains(p.body, "secret") {
			t.Errorf("%v = %d %s, want %d with the router's frame", tt.err, p.status, p.body, tt.status)
		}
		if (tt.status == 503 || tt.status == 429) && p.header.Get("Retry-After") != "3" {
			t.Errorf("%v: Retry-After %q, want 3", tt.err, p.header.Get("Retry-After"))
		}
	}
	r.carrier.carry = carryWith(func(http.ResponseWriter) error { return errors.New("password is hunter2") })
	if p := r.do(t, "POST", "/mcp/everything", ping); p.status != 500 || !strings.Contains(p.body, "internal error") || strings.Contains(p.body, "hunter2") {
		t.Errorf("an unknown error = %d %s, want 500 and no detail", p.status, p.body)
	}
	// Something was cancelled that was not the client: an empty 200 would be a lie.
	r.carrier.carry = carryWith(func(http.ResponseWriter) error { return context.Canceled })
	if p := r.do(t, "POST", "/mcp/everything", ping); p.status != 500 || p.sentence(t) == "" {
		t.Errorf("cancelled by itself = %d %s, want 500", p.status, p.body)
	}
	_ = r.stop()
	if !strings.Contains(r.log.String(), "hunter2") || !strings.Contains(r.log.String(), "10.0.0.1 is secret") {
		t.Error("the detail is not in the log")
	}
}

// Every sentinel of the router has a status: a new one must not become a 500 unseen.
func TestNoRouterErrorIsInternal(t *testing.T) {
	for _, c := range routed {
		p, known := outside(&router.Error{Err: c.err, Message: "m"})
		if p.status == 500 || !known {
			t.Errorf("%v = %d", c.err, p.status)
		}
	}
}

func TestPanicEndsItsRequestOnly(t *testing.T) {
	r := newRig(t, global, nil)
	r.carrier.carry = carryWith(func(http.ResponseWriter) error { panic("oh dear") })
	if p := r.do(t, "POST", "/mcp/everything", ping); p.status != 500 || p.sentence(t) == "" || strings.Contains(p.body, "oh dear") {
		t.Errorf("a panic = %d %s, want 500 without detail", p.status, p.body)
	}
	// Half an answer must not look like a whole one.
	r.carrier.carry = carryWith(func(w http.ResponseWriter) error {
		_, _ = w.Write([]byte("half"))
		http.NewResponseController(w).Flush()
		panic("oh dear")
	})
	resp, err := http.Post(r.url+"/mcp/everything", "application/json", strings.NewReader(ping))
	if err == nil {
		_, err = new(bytes.Buffer).ReadFrom(resp.Body)
		resp.Body.Close()
	}
	if err == nil {
		t.Error("an answer that a panic cut off looks whole")
	}
	r.carrier.carry = nil
	if p := r.do(t, "POST", "/mcp/everything", ping); p.status != 200 {
		t.Errorf("the next request = %d", p.status)
	}
	_ = r.stop()
	if strings.Count(r.log.String(), "panic in a request") != 2 {
		t.Error("want both panics in the log")
	}
}

func TestHostsAndOrigins(t *testing.T) {
	cfg := global
	cfg.AllowedHosts, cfg.AllowedOrigins = []string{"hub.example.com", "Other.example.com:3000"}, []string{"https://app.example.com"}
	r := newServer(t, cfg, nil)
	tests := []struct {
		local, host, origin string
		want                bool
	}{
		{"127.0.0.1:3000", "localhost:3000", "", true},
		{"127.0.0.1:3000", "127.0.0.1:3000", "", true},
		{"127.0.0.1:3000", "127.9.9.9", "", true},
		{"127.0.0.1:3000", "[::1]:3000", "", true},
		{"127.0.0.1:3000", "[::1]", "", true},
		{"127.0.0.1:3000", "LocalHost", "", true},
		{"127.0.0.1:3000", "hub.example.com", "", true},
		{"127.0.0.1:3000", "hub.example.com:8443", "", true},
		{"127.0.0.1:3000", "other.example.com:3000", "", true},
		{"127.0.0.1:3000", "other.example.com", "", false},
		{"127.0.0.1:3000", "evil.example.com", "", false},
		{"127.0.0.1:3000", "::1", "", true},
		{"[::1]:3000", "evil.example.com", "", false},
		{"10.0.0.5:3000", "anything.example.com", "", true},

		{"10.0.0.5:3000", "hub.example.com", "https://hub.example.com", true},
		{"10.0.0.5:3000", "hub.example.com:443", "https://hub.example.com", true},
		{"10.0.0.5:3000", "hub.example.com", "http://HUB.example.com:80", true},
		{"10.0.0.5:3000", "hub.example.com", "https://app.example.com", true},
		{"10.0.0.5:3000", "hub.example.com", "https://app.example.com:444", false},
		{"10.0.0.5:3000", "hub.example.com", "http://app.example.com", false},
		{"10.0.0.5:3000", "hub.example.com", "https://hub.example.com:8443", false},
		{"10.0.0.5:3000", "hub.example.com", "http://localhost:3000", false},
		{"127.0.0.1:3000", "localhost:3000", "http://127.0.0.1:6274", true},
		{"127.0.0.1:3000", "localhost:3000", "http://evil.example.com:3000", false},
	}
	for _, tt := range tests {
		ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, tcpAddr(t, tt.local))
		req := httptest.NewRequestWithContext(ctx, "POST", "/mcp/everything", strings.NewReader(ping))
		req.Host = tt.host
		req.Header.Set("Content-Type", "application/json")
		if tt.origin != "" {
			req.Header.Set("Origin", tt.origin)
		}
		w := httptest.NewRecorder()
		r.Handler().ServeHTTP(w, req)
		if got := w.Code == 200; got != tt.want || !got && w.Code != 403 {
			t.Errorf("on %s: Host %s, Origin %q = %d, want accepted %v", tt.local, tt.host, tt.origin, w.Code, tt.want)
		}
	}
}

// A name that a stranger can register may point anywhere, also here (DNS rebinding): pages
// under it are not served where nobody has to show credentials.
func TestHostsThatMayBeAnybodys(t *testing.T) {
	machine, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	const mcp, rest, page, beat = "POST /mcp/everything", "GET /api/cluster/sessions", "GET /", "POST /api/cluster/register"
	bare := global
	bare.AllowedHosts = []string{"hub.example.com"}
	keyed, admin, secret := bare, bare, bare
	keyed.RequireKey, admin.AdminToken, secret.ClusterSecret = true, "a", "s"
	tests := []struct {
		name   string
		cfg    Config
		call   string
		host   string
		origin bool // as a page of that host sends it
		want   bool // to get past the gate
	}{
		{"address", bare, rest, "192.168.1.10:3000", false, true},
		{"IPv6", bare, rest, "[fd00::1]:3000", false, true},
		{"one label", bare, rest, "hub:3000", false, true},
		{"one label with a dot", bare, rest, "hub.:3000", false, true},
		{"localhost", bare, rest, "localhost", false, true},
		{"this machine", bare, rest, machine + ":3000", false, true},
		{"mDNS", bare, rest, "Hub.local", false, true},
		{"Kubernetes", bare, rest, "mcphub.default.svc.cluster.local:3000", false, true},
		{"Kubernetes, short", bare, rest, "mcphub.default.svc", false, true},
		{"home network", bare, rest, "hub.home.arpa", false, true},
		{"listed", bare, rest, "hub.example.com:3000", false, true},
		{"looks local", bare, rest, "local.evil.example", false, false},
		{"ends like a local one", bare, rest, "evillocal.example", false, false},
		{"foreign name at REST", bare, rest, "evil.example:3000", false, false},
		{"foreign name at REST, as a page", bare, rest, "evil.example:3000", true, false},
		{"foreign name at the page", bare, page, "evil.example:3000", false, false},
		{"foreign name, admin configured", admin, rest, "evil.example:3000", true, true},
		{"foreign name at MCP, no page", bare, mcp, "evil.example:3000", false, true},
		{"foreign name at MCP, as a page", bare, mcp, "evil.example:3000", true, false},
		{"foreign name at MCP with a key", keyed, mcp, "evil.example:3000", true, true},
		{"listed name at MCP, as a page", bare, mcp, "hub.example.com", true, true},
		{"node through a balancer", bare, beat, "hub.example.org", false, true},
		{"page that registers a node", bare, beat, "evil.example", true, false},
		{"page that registers a node, secret", secret, beat, "evil.example", true, true},
		{"probe", bare, "GET /health", "evil.example", false, true},
	}
	for _, tt := range tests {
		r := newServer(t, tt.cfg, nil)
		method, path, _ := strings.Cut(tt.call, " ")
		ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, tcpAddr(t, "192.168.1.10:3000"))
		req := httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(ping))
		req.RemoteAddr, req.Host = "192.168.1.20:5555", tt.host
		req.Header.Set("Content-Type", "application/json")
		if tt.origin {
			req.Header.Set("Origin", "http://"+tt.host)
		}
		w := httptest.NewRecorder()
		r.Handler().ServeHTTP(w, req)
		if got := w.Code != 403; got != tt.want || !got && !strings.Contains(w.Body.String(), "routing.allowedHosts") {
			t.Errorf("%s: %s under %s = %d %s, want past the gate %v", tt.name, tt.call, tt.host, w.Code, w.Body, tt.want)
		}
	}
}

// Before the nodes have been read nobody can say that a server does not exist.
func TestUnknownServerBeforeTheFirstPicture(t *testing.T) {
	r := newRig(t, global, nil)
	r.fleet.set(false, "no snapshot of the nodes yet")
	if p := r.do(t, "POST", "/mcp/nowhere", ping); p.status != 503 || p.header.Get("Retry-After") == "" {
		t.Errorf("status %d %s, want 503 with Retry-After", p.status, p.body)
	}
	r.fleet.set(true, "")
	if p := r.do(t, "POST", "/mcp/nowhere", ping); p.status != 404 {
		t.Errorf("status %d %s once the nodes are known, want 404", p.status, p.body)
	}
}

func TestPagesOfAllowedOriginsMayRead(t *testing.T) {
	cfg := global
	cfg.AllowedOrigins = []string{"https://app.example.com"}
	r := newRig(t, cfg, nil)
	p := r.do(t, "OPTIONS", "/mcp/everything", "", "Origin", "https://app.example.com", "Access-Control-Request-Method", "POST")
	if p.status != 204 || p.header.Get("Access-Control-Allow-Origin") != "https://app.example.com" || !strings.Contains(p.header.Get("Access-Control-Allow-Headers"), "Mcp-Session-Id") {
		t.Errorf("preflight = %d %v", p.status, p.header)
	}
	p = r.do(t, "POST", "/mcp/everything", ping, "Origin", "https://app.example.com")
	if p.header.Get("Access-Control-Allow-Origin") != "https://app.example.com" || !strings.Contains(p.header.Get("Access-Control-Expose-Headers"), "Mcp-Session-Id") {
		t.Errorf("POST = %d %v", p.status, p.header)
	}
	if p := r.do(t, "OPTIONS", "/mcp/everything", "", "Origin", "https://evil.example.com", "Access-Control-Request-Method", "POST"); p.status != 403 {
		t.Errorf("preflight of a foreign origin = %d, want 403", p.status)
	}
	if p := r.do(t, "POST", "/mcp/everything", ping); p.header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("a request without an Origin is answered with CORS headers")
	}
}

func BenchmarkPostMCP(b *testing.B) {
	for name, cfg := range map[string]Config{"open": global, "bearer": {EnableGlobalRoute: true, Access: Access{RequireKey: true, Keys: []Key{{Key: "key", All: true}}}}} {
		b.Run(name, func(b *testing.B) {
			r := newServer(b, cfg, nil)
			h := New(cfg, Deps{Carrier: idle{}, Fleet: r.fleet, Registrar: r.registrar, Store: r.store, Log: r.Server.deps.Log}).Handler()
			body := []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"message":"hello"}}}`)
			reader := bytes.NewReader(body)
			req := httptest.NewRequest("POST", "/mcp/everything", nil)
			req.ContentLength = int64(len(body))
			req.Host = "localhost:3000"
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Accept", "application/json, text/event-stream")
			req.Header.Set("Authorization", "Bearer key")
			req.Header.Set("User-Agent", "bench")
			req.Header.Set(wire.HeaderVersion, "2025-11-25")
			req.Header.Set(wire.HeaderSession, strings.Repeat("A", 140))
			req.Body = readCloser{reader}
			w := &discard{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				reader.Reset(body)
				w.status = 0
				h.ServeHTTP(w, req)
			}
			if w.status != 0 && w.status != 200 {
				b.Fatalf("status %d", w.status)
			}
		})
	}
}

// idle carries nothing.
type idle struct{ Carrier }

func (idle) Carry(_ context.Context, w http.ResponseWriter, _ router.Request) error {
	w.WriteHeader(http.StatusOK)
	return nil
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }
