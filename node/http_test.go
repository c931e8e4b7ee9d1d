package node

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// fakeHTTP is a streamable HTTP server whose behaviour a test sets.
type fakeHTTP struct {
	*httptest.Server
	mu       sync.Mutex // guards the rest
	sessions int        // number of the current session; 0 for none given yet
	seen     []seenHTTP
	tools    int
	tool     http.HandlerFunc // for tools/call; nil answers with JSON
	stream   http.HandlerFunc // for GET; nil is 405
	status   int              // for every POST but initialize; 0 means as it should be
	unknown  int              // status for an unknown session; 0 means 404
	silent   bool             // leaves pings unanswered
}

type seenHTTP struct {
	method, rpc string
	header      http.Header
	body        string
}

func newFakeHTTP(t testing.TB) *fakeHTTP {
	f := &fakeHTTP{tools: 1}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeHTTP) config(headers map[string]string) ServerConfig {
	return ServerConfig{Name: "web", URL: f.URL, Enabled: true, Headers: headers}
}

func (f *fakeHTTP) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// got returns what has come with one JSON-RPC method, or HTTP method if none.
func (f *fakeHTTP) got(method string) []seenHTTP {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []seenHTTP
	for _, s := range f.seen {
		if s.rpc == method || s.method == method {
			out = append(out, s)
		}
	}
	return out
}

func (f *fakeHTTP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var m fakeMessage
	_ = json.Unmarshal(body, &m)
	f.mu.Lock()
	f.seen = append(f.seen, seenHTTP{r.Method, m.Method, r.Header.Clone(), string(body)})
	if m.Method == "initialize" {
		f.sessions++
	}
	current := fmt.Sprintf("up-%d", f.sessions)
	tool, stream, status, unknown, tools, silent := f.tool, f.stream, f.status, f.unknown, f.tools, f.silent
	f.mu.Unlock()
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	if m.Method != "initialize" {
		if r.Header.Get(wire.HeaderSession) != current {
			if unknown == 0 {
				unknown = http.StatusNotFound
			}
			http.Error(w, `{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID provided"},"id":null}`, unknown)
			return
		}
		if status != 0 && r.Method == http.MethodPost {
			w.WriteHeader(status)
			return
		}
	}
	w.Header().Set(wire.HeaderSession, current)
	switch {
	case r.Method == http.MethodGet && stream != nil:
		stream(w, r)
	case r.Method == http.MethodGet:
		w.WriteHeader(http.StatusMethodNotAllowed)
	case r.Method == http.MethodDelete, m.ID == nil:
		w.WriteHeader(http.StatusAccepted)
	case m.Method == "ping" && silent:
		<-r.Context().Done()
	case m.Method == "tools/call" && tool != nil:
		tool(w, r)
	default:
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, f.result(&m, tools))
	}
}

func (f *fakeHTTP) result(m *fakeMessage, tools int) string {
	switch m.Method {
	case "initialize":
		return `{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true},"logging":{}},"serverInfo":{"name":"web","version":"1"}}`
	case "tools/list":
		var list []string
		for i := range tools {
			list = append(list, fmt.Sprintf(`{"name":"t%d"}`, i))
		}
		return `{"tools":[` + strings.Join(list, ",") + `]}`
	case "tools/call":
		return text(m.Params.Arguments.Text)
	}
	return `{}`
}

// messageOf reads the message of a request.
func messageOf(t testing.TB, r *http.Request) fakeMessage {
	var m fakeMessage
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		t.Error(err)
	}
	return m
}

func sendEvent(t testing.TB, w http.ResponseWriter, id, data string) {
	w.Header().Set("Content-Type", "text/event-stream")
	if err := wire.WriteEvent(w, wire.Event{ID: id, Data: []byte(data)}); err != nil {
		t.Error(err)
	}
	w.(http.Flusher).Flush()
}

func TestHTTPServerSeesOnlyWhatIsMeantForIt(t *testing.T) {
	f := newFakeHTTP(t)
	r := startRig(t, nil, f.config(map[string]string{"Authorization": "Bearer upstream", "X-Own": "1", "Idempotency-Key": "k"}))
	if s := r.server("web"); s.Status != store.ServerReady || s.Transport != "streamable-http" || s.Tools != 1 {
		t.Fatalf("described as %+v", s)
	}
	r.open("web", "s1")
	q := r.request(context.Background(), http.MethodPost, "web", "s1", tool("1", "echo", "x"))
	for k, v := range map[string]string{"Cookie": "a=b", "Idempotency-Key": "k", "X-Idempotency-Key": "k", "X-Client": "1", "Mcp-Protocol-Version": "2024-11-05"} {
		q.Header.Set(k, v)
	}
	if a := do(t, q); textOf(t, a.body) != "x" || !strings.HasPrefix(a.body, `{"jsonrpc":"2.0","id":1,`) {
		t.Errorf("echo: %s", a.body)
	}
	h := f.got("tools/call")[0].header
	for k, want := range map[string]string{
		"Authorization": "Bearer upstream", "X-Own": "1", "Idempotency-Key": "", "X-Idempotency-Key": "", "Cookie": "",
		"X-Client": "", wire.HeaderVersion: "2025-06-18", wire.HeaderSession: "up-1", "Accept": bothForms,
		"Content-Type": "application/json", wire.HeaderEpoch: "", "User-Agent": "mcphub/test",
	} {
		if got := h.Get(k); got != want {
			t.Errorf("the server got %s: %q, want %q", k, got, want)
		}
	}
	if first := f.got("initialize")[0].header; first.Get(wire.HeaderSession) != "" || first.Get(wire.HeaderVersion) != "" {
		t.Errorf("initialize carried %v", first)
	}
	if len(f.got("notifications/initialized")) != 1 {
		t.Error("the server was not told notifications/initialized")
	}
	r.close()
	if gone := f.got("DELETE"); len(gone) != 1 || gone[0].header.Get(wire.HeaderSession) != "up-1" {
		t.Errorf("at the end the server got %v, want DELETE of its session", gone)
	}
}

func TestHTTPAnswerAsStream(t *testing.T) {
	f := newFakeHTTP(t)
	f.tool = func(w http.ResponseWriter, r *http.Request) {
		m := messageOf(t, r)
		sendEvent(t, w, "", fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1}}`, m.Params.Meta.Token))
		sendEvent(t, w, "", `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"`+m.Params.Arguments.Text+`"}}`)
		sendEvent(t, w, "", fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, text(m.Params.Arguments.Text)))
	}
	r := startRig(t, nil, f.config(nil))
	var all sync.WaitGroup
	for i := range 10 { // all at once: on its own stream a log message is its call's
		id := fmt.Sprintf("s%d", i)
		r.open("web", id)
		all.Go(func() {
			a := r.post("web", id, `{"jsonrpc":"2.0","id":"i","method":"tools/call","params":{"_meta":{"progressToken":"`+id+`"},"name":"x","arguments":{"text":"`+id+`"}}}`)
			if len(a.events) != 3 || !strings.Contains(a.events[0], `"progressToken":"`+id+`"`) ||
				!strings.Contains(a.events[1], `"data":"`+id+`"`) || textOf(t, a.events[2]) != id {
				t.Errorf("%s got %q", id, a.events)
			}
		})
	}
	all.Wait()
}

func TestHTTPServerThatForgotTheSessionIsMetAnew(t *testing.T) {
	for _, status := range []int{http.StatusNotFound, http.StatusBadRequest} {
		f := newFakeHTTP(t)
		f.unknown = status
		r := startRig(t, nil, f.config(nil))
		r.open("web", "s1")
		r.post("web", "s1", setLevel("1", "debug"))
		f.set(func() { f.sessions = 40 }) // as after a restart
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				if a := r.post("web", "s1", tool(fmt.Sprint(i), "echo", "x")); a.status != 200 || textOf(t, a.body) != "x" {
					t.Errorf("%d: call %d: %d %s", status, i, a.status, a.body)
				}
			})
		}
		all.Wait()
		if n := len(f.got("initialize")); n != 2 {
			t.Errorf("%d: %d handshakes, want one more for all calls together", status, n)
		}
		levels := f.got("logging/setLevel")
		if len(levels) != 2 || !strings.Contains(levels[1].body, `"debug"`) {
			t.Errorf("%d: log levels set: %v, want the same again", status, levels)
		}
		if s := r.server("web"); s.Status != store.ServerReady || s.Sessions != 1 {
			t.Errorf("%d: web is %s with %d sessions, want ready with 1", status, s.Status, s.Sessions)
		}
		r.close()
	}
}

func TestHTTPServerThatRefusesIsQuotedByStatus(t *testing.T) {
	for status, code := range map[int]int{401: wire.CodeInternal, 302: wire.CodeInternal, 429: wire.CodeInternal, 500: wire.CodeOutcomeUnknown} {
		f := newFakeHTTP(t)
		r := startRig(t, nil, f.config(nil))
		r.open("web", "s1")
		f.set(func() { f.status = status })
		a := r.post("web", "s1", tool("1", "echo", "x"))
		if a.status != 200 || errorCode(t, a.body) != code {
			t.Errorf("%d: answered %d %s, want error %d", status, a.status, a.body, code)
		}
		if n := len(f.got("tools/call")); n != 1 {
			t.Errorf("%d: the server was asked %d times, want once", status, n)
		}
		r.close()
	}
}

// A notification gets no JSON-RPC answer, not even one that refuses it.
func TestNotificationThatTheHTTPServerRefusesIsAnHTTPError(t *testing.T) {
	f := newFakeHTTP(t)
	r := startRig(t, nil, f.config(nil))
	r.open("web", "s1")
	f.set(func() { f.status = 500 })
	a := r.post("web", "s1", `{"jsonrpc":"2.0","method":"notifications/odd"}`)
	if a.status != 502 || strings.Contains(a.body, "jsonrpc") {
		t.Errorf("answered %d %s, want 502 and no message", a.status, a.body)
	}
}

func TestHTTPErrorResponseWithAStatusIsTheAnswer(t *testing.T) {
	f := newFakeHTTP(t)
	f.tool = func(w http.ResponseWriter, r *http.Request) {
		m := messageOf(t, r)
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no such method"}}`, m.ID)
	}
	r := startRig(t, nil, f.config(nil))
	r.open("web", "s1")
	a := r.post("web", "s1", tool("1", "echo", "x"))
	if want := `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no such method"}}`; a.body != want {
		t.Errorf("answered %s, want %s", a.body, want)
	}
	if n := len(f.got("initialize")); n != 1 {
		t.Errorf("%d handshakes, want 1", n)
	}
}

func TestHTTPServerThatCannotBeReachedIsFailedUntilItCan(t *testing.T) {
	f := newFakeHTTP(t)
	r := startRig(t, nil, f.config(nil))
	r.open("web", "s1")
	addr := f.Listener.Addr().String()
	f.CloseClientConnections()
	f.Server.Close()
	a := r.post("web", "s1", tool("1", "echo", "x"))
	if a.status != 503 || a.header.Get(wire.HeaderRefused) != wire.RefusedServer {
		t.Errorf("with the server gone: %d %s, want 503 refused server", a.status, a.body)
	}
	if s := r.awaitStatus("web", store.ServerFailed); !strings.Contains(s.Error, "refused") {
		t.Errorf("error of the server = %q", s.Error)
	}
	again, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	back := &httptest.Server{Listener: again, Config: &http.Server{Handler: f, ReadHeaderTimeout: time.Second}}
	back.Start()
	defer back.Close()
	r.awaitStatus("web", store.ServerReady)
	r.open("web", "s1")
	if got := textOf(t, r.post("web", "s1", tool("2", "echo", "back")).body); got != "back" {
		t.Errorf("echo = %q", got)
	}
	r.close()
}

func TestCallThatMayHaveRunIsNeverPostedTwice(t *testing.T) {
	f := newFakeHTTP(t)
	f.tool = func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
	r := startRig(t, nil, f.config(map[string]string{"X-Idempotency-Key": "k"}))
	r.open("web", "s1")
	q := r.request(context.Background(), http.MethodPost, "web", "s1", tool("1", "echo", "x"))
	q.Header.Set("Idempotency-Key", "k")
	a := do(t, q)
	if errorCode(t, a.body) != wire.CodeOutcomeUnknown || !strings.Contains(a.body, "stream_broken") {
		t.Errorf("answered %d %s, want error 1001", a.status, a.body)
	}
	if n := len(f.got("tools/call")); n != 1 {
		t.Errorf("the server got the call %d times, want once", n)
	}
	if s := r.server("web"); s.Status != store.ServerReady {
		t.Errorf("web is %s after one broken connection, want ready", s.Status)
	}
}

// deadConn is a connection on which nothing can be written any more once dead.
type deadConn struct {
	net.Conn
	dead atomic.Bool
}

func (c *deadConn) Write(b []byte) (int, error) {
	if c.dead.Load() {
		return 0, syscall.ECONNRESET
	}
	return c.Conn.Write(b)
}

func TestConnectionFoundDeadLosesNoCall(t *testing.T) {
	f := newFakeHTTP(t)
	r := newRig(t, nil, f.config(nil))
	var mu sync.Mutex
	var conns []*deadConn
	s := r.node.named("web")
	s.dial = func(l *link) (upstream, error) {
		h := openHTTP(l, &s.cfg)
		h.client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			mu.Lock()
			defer mu.Unlock()
			d := &deadConn{Conn: c}
			conns = append(conns, d)
			return &countingConn{Conn: d}, err
		}
		return h, nil
	}
	r.run()
	r.open("web", "s1")
	eventually(t, "the node asked for a stream", func() bool { return len(f.got("GET")) == 1 })
	r.post("web", "s1", tool("1", "echo", "x"))
	mu.Lock()
	if len(conns) == 0 {
		t.Fatal("no connection was pooled")
	}
	for _, c := range conns { // none in the pool is of any use, and nobody has noticed
		c.dead.Store(true)
	}
	mu.Unlock()
	if a := r.post("web", "s1", tool("2", "echo", "x")); a.status != 200 || textOf(t, a.body) != "x" {
		t.Errorf("answered %d %s, want the call to take another connection", a.status, a.body)
	}
	if n := len(f.got("tools/call")); n != 2 {
		t.Errorf("the server got %d calls, want 2", n)
	}
}

// A server that ends a call's stream before there is anything on it is asked for the rest. Its
// client comes back for it too, if it knows such ends.
func TestStreamClosedEarlyIsTakenUpAgain(t *testing.T) {
	for _, tt := range []struct {
		revision string
		ends     bool
	}{{wire.Version20250618, false}, {wire.Version20251125, true}} {
		t.Run(tt.revision, func(t *testing.T) {
			f := newFakeHTTP(t)
			asked := make(chan fakeMessage, 1)
			f.tool = func(w http.ResponseWriter, r *http.Request) {
				asked <- messageOf(t, r)
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = io.WriteString(w, "id: e1\nretry: 20\ndata:\n\n")
			}
			release := make(chan struct{})
			resume := sync.OnceFunc(func() { close(release) })
			f.stream = func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get(wire.HeaderLastEventID) != "e1" {
					w.WriteHeader(http.StatusMethodNotAllowed)
					return
				}
				<-release
				m := <-asked
				sendEvent(t, w, "e2", fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, text("resumed")))
			}
			r := startRig(t, func(c *Config) { c.StreamAfter = time.Hour }, f.config(nil))
			t.Cleanup(resume)
			r.open("web", "s1")
			if !tt.ends {
				resume()
			}
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			defer cancel()
			q := r.request(ctx, http.MethodPost, "web", "s1", tool("1", "echo", "x"))
			q.Header.Set(wire.HeaderVersion, tt.revision)
			a := do(t, q)
			if tt.ends {
				if len(a.events) != 0 || len(a.ids) != 1 || !strings.HasSuffix(a.body, "\n\nretry: 20\n\n") {
					t.Fatalf("answered %q, want an event that primes, and the server's time to wait", a.body)
				}
				resume()
				q = r.request(ctx, http.MethodGet, "web", "s1", "")
				q.Header.Set(wire.HeaderLastEventID, a.ids[0])
				a = do(t, q)
			}
			if textOf(t, a.last()) != "resumed" {
				t.Errorf("answered %s", a.body)
			}
			if n := len(f.got("tools/call")); n != 1 {
				t.Errorf("the server got the call %d times, want once", n)
			}
		})
	}
}

func TestStreamThatEndsWithoutAnAnswerIsUnknown(t *testing.T) {
	f := newFakeHTTP(t)
	f.tool = func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "text/event-stream") }
	r := startRig(t, nil, f.config(nil))
	r.open("web", "s1")
	if a := r.post("web", "s1", tool("1", "echo", "x")); errorCode(t, a.last()) != wire.CodeOutcomeUnknown {
		t.Errorf("answered %s, want error 1001", a.body)
	}
}

func TestAnswerToSomethingElseIsUnknown(t *testing.T) {
	f := newFakeHTTP(t)
	for _, body := range []string{`{"jsonrpc":"2.0","id":999999,"result":{}}`, `[]`, ``, `<html>`} {
		f.set(func() {
			f.tool = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, body)
			}
		})
		r := startRig(t, nil, f.config(nil))
		r.open("web", "s1")
		if a := r.post("web", "s1", tool("1", "echo", "x")); errorCode(t, a.last()) != wire.CodeOutcomeUnknown {
			t.Errorf("to %q: answered %s, want error 1001", body, a.body)
		}
		r.close()
	}
}

func TestServersOwnStreamAnnouncesChanges(t *testing.T) {
	f := newFakeHTTP(t)
	announce := make(chan struct{})
	f.stream = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		select {
		case <-announce:
			sendEvent(t, w, "", `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
		case <-r.Context().Done():
		}
		<-r.Context().Done()
	}
	r := startRig(t, nil, f.config(nil))
	f.set(func() { f.tools = 5 })
	close(announce)
	eventually(t, "5 tools", func() bool { return r.server("web").Tools == 5 })
	r.close()
}

func TestListsAreReadAgainWhereNoStreamAnnouncesChanges(t *testing.T) {
	f := newFakeHTTP(t)
	r := startRig(t, func(c *Config) { c.RelistInterval = 20 * time.Millisecond }, f.config(nil))
	f.set(func() { f.tools = 5 })
	eventually(t, "5 tools", func() bool { return r.server("web").Tools == 5 })
}

func TestServerThatAnswersNoPingIsFailed(t *testing.T) {
	f := newFakeHTTP(t)
	r := startRig(t, func(c *Config) { c.PingInterval = 20 * time.Millisecond }, f.config(nil))
	r.open("web", "s1")
	f.set(func() { f.silent = true })
	if s := r.awaitStatus("web", store.ServerFailed); !strings.Contains(s.Error, "answers no ping") {
		t.Errorf("error of the server = %q", s.Error)
	}
	r.close()
}

func TestHTTPServerThatTurnsTheNodeAwayIsFailed(t *testing.T) {
	closed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	defer closed.Close()
	r := startRig(t, nil, ServerConfig{Name: "web", URL: closed.URL, Enabled: true})
	if s := r.server("web"); s.Status != store.ServerFailed || !strings.Contains(s.Error, "HTTP 401") {
		t.Errorf("web is %s (%q), want failed with the status", s.Status, s.Error)
	}
	r.close()
}

func TestKeysInAddressesAndHeadersAreNotShown(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	addr := gone.URL
	gone.Close()
	r := startRig(t, nil,
		ServerConfig{Name: "web", URL: addr + "/?key=canary", Headers: map[string]string{"Authorization": "canary"}, Enabled: true},
		fake("alpha", "FAKE_MODE=exit", "TOKEN=canary"))
	for _, s := range r.node.Describe().Servers {
		if b, _ := json.Marshal(s); s.Status != store.ServerFailed || strings.Contains(string(b), "canary") {
			t.Errorf("described as %s", b)
		}
	}
}

func TestServerThatEndsACancelledAnswerSaysSo(t *testing.T) {
	f := newFakeHTTP(t)
	entered, cancelled := make(chan struct{}), make(chan struct{})
	f.tool = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		close(entered)
		<-cancelled
	}
	r := startRig(t, nil, f.config(nil))
	r.open("web", "s1")
	call := r.async("web", "s1", tool("5", "echo", "x"))
	<-entered
	if a := r.post("web", "s1", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}}`); a.status != 202 {
		t.Errorf("cancel: %d %s", a.status, a.body)
	}
	note, callID := f.got("notifications/cancelled")[0].body, f.got("tools/call")[0].body
	ours, _ := wire.Lookup([]byte(callID), "id")
	if want := `"requestId":` + string(ours.Of([]byte(callID))) + `}`; !strings.Contains(note, want) {
		t.Errorf("the server was told %s, want it to name %s", note, want)
	}
	close(cancelled)
	if a := within(t, 5*time.Second, call); !strings.Contains(a.last(), `"reason":"cancelled"`) {
		t.Errorf("answered %s, want error 1001 for the cancellation", a.body)
	}
}
