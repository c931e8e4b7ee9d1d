package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// fakeSSE is an HTTP+SSE server whose behaviour a test sets: GET /sse?key=k is the stream, and
// POST /messages?sid=n takes messages for stream n.
type fakeSSE struct {
	*httptest.Server
	mu       sync.Mutex // guards the rest
	streams  map[string]*fakeStream
	made     int // streams opened
	seen     []seenHTTP
	tools    int
	endpoint func(sid string) string // the block that names the endpoint; nil is the usual
	post     http.HandlerFunc        // for tools/call; nil answers 202 and then on the stream
	status   int                     // for every POST; 0 means as it should be
	silent   bool                    // leaves pings unanswered
	stream   http.HandlerFunc        // for GET; nil is as it should be
}

// fakeStream is one open stream.
type fakeStream struct {
	blocks chan string
	hangUp chan struct{} // closed to end it
	gone   chan struct{} // closed when it has ended
}

func newFakeSSE(t testing.TB) *fakeSSE {
	f := &fakeSSE{tools: 1, streams: map[string]*fakeStream{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(func() {
		f.CloseClientConnections()
		f.Close()
	})
	return f
}

func (f *fakeSSE) config(headers map[string]string) ServerConfig {
	return ServerConfig{Name: "web", Type: "sse", URL: f.URL + "/sse?key=k", Enabled: true, Headers: headers}
}

func (f *fakeSSE) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// got returns what has come with one JSON-RPC method, or HTTP method if none.
func (f *fakeSSE) got(method string) []seenHTTP {
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

// current is the stream opened last.
func (f *fakeSSE) current() *fakeStream {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.streams[fmt.Sprint(f.made)]
}

// say puts a message on the stream opened last.
func (f *fakeSSE) say(data string) { f.current().say(data) }

func (s *fakeStream) say(data string) {
	select {
	case s.blocks <- "event: message\ndata: " + data + "\n\n":
	case <-s.gone:
	}
}

func (f *fakeSSE) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var m fakeMessage
	_ = json.Unmarshal(body, &m)
	f.mu.Lock()
	f.seen = append(f.seen, seenHTTP{r.Method, m.Method, r.Header.Clone(), string(body)})
	stream, status, post, silent, tools := f.stream, f.status, f.post, f.silent, f.tools
	s := f.streams[r.URL.Query().Get("sid")]
	f.mu.Unlock()
	r.Body = io.NopCloser(bytes.NewReader(body))
	switch {
	case r.Method == http.MethodGet && stream != nil:
		stream(w, r)
	case r.Method == http.MethodGet && r.URL.Path == "/sse" && r.URL.Query().Get("key") == "k":
		f.serveStream(w, r)
	case r.Method != http.MethodPost || r.URL.Path != "/messages":
		w.WriteHeader(http.StatusMethodNotAllowed)
	case status != 0:
		w.WriteHeader(status)
	case s == nil:
		http.Error(w, "Could not find session", http.StatusNotFound)
	case m.Method == "tools/call" && post != nil:
		post(w, r)
	default:
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprint(w, "Accepted")
		if m.ID == nil || m.Method == "" || silent && m.Method == "ping" {
			return
		}
		s.say(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, (&fakeHTTP{}).result(&m, tools)))
	}
}

func (f *fakeSSE) serveStream(w http.ResponseWriter, r *http.Request) {
	s := &fakeStream{blocks: make(chan string), hangUp: make(chan struct{}), gone: make(chan struct{})}
	defer close(s.gone)
	f.mu.Lock()
	f.made++
	sid, name := fmt.Sprint(f.made), f.endpoint
	f.streams[sid] = s
	f.mu.Unlock()
	defer f.set(func() { delete(f.streams, sid) })
	if name == nil {
		name = func(sid string) string { return "event: endpoint\ndata: /messages?sid=" + sid + "\n\n" }
	}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	block := name(sid)
	for {
		if _, err := io.WriteString(w, block); err != nil {
			return
		}
		w.(http.Flusher).Flush()
		select {
		case block = <-s.blocks:
		case <-s.hangUp:
			return
		case <-r.Context().Done():
			return
		}
	}
}

func TestSSEServerIsSharedAndSeesOnlyWhatIsMeantForIt(t *testing.T) {
	f := newFakeSSE(t)
	r := startRig(t, nil, f.config(map[string]string{"Authorization": "Bearer upstream", "X-Own": "1", "Idempotency-Key": "k"}))
	if s := r.server("web"); s.Status != store.ServerReady || s.Transport != "sse" || s.Tools != 1 {
		t.Fatalf("described as %+v", s)
	}
	var all sync.WaitGroup
	for i := range 10 { // each under the same id
		id := fmt.Sprintf("s%d", i)
		r.open("web", id)
		all.Go(func() {
			if a := r.post("web", id, tool("1", "echo", id)); !strings.HasPrefix(a.body, `{"jsonrpc":"2.0","id":1,`) || textOf(t, a.body) != id {
				t.Errorf("%s got %d %s", id, a.status, a.body)
			}
		})
	}
	all.Wait()
	if n := len(f.got("GET")); n != 1 {
		t.Errorf("%d streams were opened for ten sessions, want 1", n)
	}
	want := map[string]string{"Authorization": "Bearer upstream", "X-Own": "1", "Idempotency-Key": "", "User-Agent": "mcphub/test", wire.HeaderSession: ""}
	for _, seen := range append(f.got("GET"), f.got("tools/call")[0]) {
		want["Accept"], want["Content-Type"], want[wire.HeaderVersion] = "text/event-stream", "", ""
		if seen.method == "POST" {
			want["Accept"], want["Content-Type"], want[wire.HeaderVersion] = bothForms, "application/json", "2025-06-18"
		}
		for k, v := range want {
			if got := seen.header.Get(k); got != v {
				t.Errorf("%s carried %s: %q, want %q", seen.method, k, got, v)
			}
		}
	}
	last := f.current()
	r.close()
	select {
	case <-last.gone:
	case <-time.After(10 * time.Second):
		t.Error("the stream outlives the node")
	}
}

func TestSSEProgressReachesTheCallItIsAbout(t *testing.T) {
	f := newFakeSSE(t)
	f.post = func(w http.ResponseWriter, r *http.Request) {
		m := messageOf(t, r)
		w.WriteHeader(http.StatusAccepted)
		f.say(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1}}`, m.Params.Meta.Token))
		f.say(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, text(m.Params.Arguments.Text)))
	}
	r := startRig(t, nil, f.config(nil))
	r.open("web", "s1")
	a := r.post("web", "s1", `{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"_meta":{"progressToken":"mine"},"name":"echo","arguments":{"text":"x"}}}`)
	if len(a.events) != 2 || !strings.Contains(a.events[0], `"progressToken":"mine"`) || textOf(t, a.last()) != "x" {
		t.Errorf("events %q", a.events)
	}
}

func TestSSEEndpointIsReadInAllItsForms(t *testing.T) {
	for name, block := range map[string]func(f *fakeSSE, sid string) string{
		"CRLF": func(_ *fakeSSE, sid string) string {
			return "event: endpoint\r\ndata: /messages?sid=" + sid + "\r\n\r\n"
		},
		"mixed ends": func(_ *fakeSSE, sid string) string { return "event: endpoint\ndata: /messages?sid=" + sid + "\r\n\r\n" },
		"after comment": func(_ *fakeSSE, sid string) string {
			return ": hello\n\nretry: 10\n\nevent:endpoint\ndata:/messages?sid=" + sid + "\n\n"
		},
		"relative": func(_ *fakeSSE, sid string) string { return "event: endpoint\ndata: messages?sid=" + sid + "\n\n" },
		"absolute": func(f *fakeSSE, sid string) string {
			return "event: endpoint\ndata: " + f.URL + "/messages?sid=" + sid + "#x\n\n"
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeSSE(t)
			f.endpoint = func(sid string) string { return block(f, sid) }
			r := startRig(t, nil, f.config(nil))
			r.open("web", "s1")
			if a := r.post("web", "s1", tool("1", "echo", "x")); textOf(t, a.last()) != "x" {
				t.Errorf("echo: %d %s", a.status, a.body)
			}
			r.close()
		})
	}
}

func TestEndpointFrom(t *testing.T) {
	for _, tc := range []struct{ base, named, want string }{
		{"http://h:1/a/sse", "/m?s=1", "http://h:1/m?s=1"},
		{"http://h:1/a/sse", "m?s=1", "http://h:1/a/m?s=1"},
		{"http://h:1/a/sse?key=k", "?s=1", "http://h:1/a/sse?s=1"},
		{"http://h/sse", "http://h:80/m", "http://h:80/m"},
		{"https://h:443/sse", " https://H/m \n", "https://H/m"},
		{"http://u:p@h/sse", "/m", "http://u:p@h/m"},
		{"http://u:p@h/sse", "http://other:pass@h/m", "http://u:p@h/m"},
		{"http://[::1]:3/sse", "http://[::1]:3/m", "http://[::1]:3/m"},
		{"http://h/sse", "", ""},
		{"http://h/sse", "//evil/m", ""},
		{"http://h/sse", "http://evil/m", ""},
		{"http://h/sse", "https://h/m", ""},
		{"http://h/sse", "http://h:81/m", ""},
		{"http://h/sse", "http://h@evil/m", ""},
		{"http://h/sse", `http:\\evil\m`, "http://h/" + url.PathEscape(`http:\\evil\m`)},
		{"http://h/sse", "file:///etc/passwd", ""},
		{"http://h/sse", "http:m", ""},
		{"http://h/sse", "/" + strings.Repeat("m", maxEndpoint), ""},
	} {
		got, err := endpointFrom(tc.base, tc.named)
		if tc.named == `http:\\evil\m` && err != nil {
			continue // an opaque address is refused, or read as a path: either way it stays here
		}
		if (err == nil) != (tc.want != "") || got != tc.want {
			t.Errorf("endpointFrom(%q, %.40q) = %q, %v, want %q", tc.base, tc.named, got, err, tc.want)
		}
	}
}

func TestSSEEndpointOnAnotherOriginIsRefused(t *testing.T) {
	asked := make(chan struct{}, 9)
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- struct{}{} }))
	defer other.Close()
	f := newFakeSSE(t)
	f.endpoint = func(string) string { return "event: endpoint\ndata: " + other.URL + "/messages?sid=hidden\n\n" }
	r := startRig(t, nil, f.config(map[string]string{"Authorization": "Bearer hidden"}))
	s := r.awaitStatus("web", store.ServerFailed)
	if !strings.Contains(s.Error, "another origin: "+other.URL) || strings.Contains(s.Error, "hidden") {
		t.Errorf("error %q, want the origin that was named and nothing secret", s.Error)
	}
	r.close()
	if len(asked) > 0 {
		t.Error("a request went to the other origin")
	}
}

func TestSSEStreamThatEndsIsTheLossOfTheServer(t *testing.T) {
	f := newFakeSSE(t)
	arrived := make(chan struct{}, 1)
	f.post = func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		arrived <- struct{}{}
	}
	r := startRig(t, nil, f.config(nil))
	r.open("web", "s1")
	call := r.async("web", "s1", tool("1", "echo", "x"))
	<-arrived
	close(f.current().hangUp)
	if a := within(t, 10*time.Second, call); errorCode(t, a.last()) != wire.CodeOutcomeUnknown || !strings.Contains(a.last(), "server_lost") {
		t.Errorf("the call in flight got %s", a.last())
	}
	eventually(t, "ready again", func() bool { s := r.server("web"); return s.Status == store.ServerReady && s.Restarts == 1 })
	if a := r.post("web", "s1", tool("2", "echo", "x")); a.status != 404 || a.header.Get(wire.HeaderRefused) != wire.RefusedSession {
		t.Errorf("a session of the lost stream: %d %s, want it unknown", a.status, a.body)
	}
	f.set(func() { f.post = nil })
	r.open("web", "s1")
	if a := r.post("web", "s1", tool("3", "echo", "back")); textOf(t, a.last()) != "back" {
		t.Errorf("after opening it again: %s", a.body)
	}
}

func TestSSEPostMayBeAnsweredInAnyWay(t *testing.T) {
	f := newFakeSSE(t)
	r := startRig(t, nil, f.config(nil))
	r.open("web", "s1")
	onStream := func(m *fakeMessage) {
		f.say(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, text("stream")))
	}
	answered := make(chan struct{}) // closed once the client has its answer
	for name, tc := range map[string]struct {
		post func(w http.ResponseWriter, m *fakeMessage)
		want string // the text of the answer, or what stands in the error
	}{
		"200 empty":           {func(_ http.ResponseWriter, m *fakeMessage) { onStream(m) }, "stream"},
		"200 with words":      {func(w http.ResponseWriter, m *fakeMessage) { fmt.Fprint(w, "OK"); onStream(m) }, "stream"},
		"200 with other JSON": {func(w http.ResponseWriter, m *fakeMessage) { fmt.Fprint(w, `{"ok":true}`); onStream(m) }, "stream"},
		"204":                 {func(w http.ResponseWriter, m *fakeMessage) { w.WriteHeader(204); onStream(m) }, "stream"},
		"answered after all is done": {func(w http.ResponseWriter, m *fakeMessage) {
			onStream(m)
			<-answered // otherwise either may be read first
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, text("late"))
		}, "stream"},
		"answer in the body": {func(w http.ResponseWriter, m *fakeMessage) {
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, text("body"))
		}, "body"},
		"400":             {func(w http.ResponseWriter, _ *fakeMessage) { w.WriteHeader(400) }, "HTTP 400 Bad Request"},
		"400 with a word": {func(w http.ResponseWriter, _ *fakeMessage) { http.Error(w, "no such session_id", 400) }, "HTTP 400 Bad Request"},
		"413 as JSON-RPC": {func(w http.ResponseWriter, _ *fakeMessage) {
			w.WriteHeader(413)
			fmt.Fprint(w, `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"too large for me"}}`)
		}, "too large for me"},
		"redirect": {func(w http.ResponseWriter, _ *fakeMessage) {
			w.Header().Set("Location", f.URL+"/elsewhere")
			w.WriteHeader(307)
		}, "HTTP 307"},
		"500":        {func(w http.ResponseWriter, _ *fakeMessage) { w.WriteHeader(500) }, `"reason":"server_error"`},
		"broken off": {func(http.ResponseWriter, *fakeMessage) { panic(http.ErrAbortHandler) }, `"reason":"stream_broken"`},
	} {
		t.Run(name, func(t *testing.T) {
			f.set(func() {
				f.post = func(w http.ResponseWriter, r *http.Request) { m := messageOf(t, r); tc.post(w, &m) }
			})
			a := r.post("web", "s1", tool("1", "echo", "x"))
			if name == "answered after all is done" {
				close(answered)
			}
			if got := a.last(); !strings.Contains(got, tc.want) {
				t.Errorf("%d %s, want %s", a.status, got, tc.want)
			}
		})
	}
	if n := len(f.got("GET")); n != 1 {
		t.Errorf("%d streams were opened: what one POST is answered concerns that call only", n)
	}
}

func TestSSEServerThatForgotTheStreamIsMetAnew(t *testing.T) {
	f := newFakeSSE(t)
	r := startRig(t, nil, f.config(nil))
	r.open("web", "s1")
	f.set(func() { f.status = 404 })
	if a := r.post("web", "s1", tool("1", "echo", "x")); !strings.Contains(a.last(), "HTTP 404") {
		t.Errorf("the call that was turned away got %s", a.last())
	}
	s := r.awaitStatus("web", store.ServerFailed) // long before three pings are missed
	if !strings.Contains(s.Error, "takes no more messages") {
		t.Errorf("error %q", s.Error)
	}
	f.set(func() { f.status = 0 })
	r.awaitStatus("web", store.ServerReady)
}

func TestSSEServerThatCannotBeReachedIsFailedUntilItCan(t *testing.T) {
	f := newFakeSSE(t)
	r := startRig(t, nil, f.config(nil))
	r.open("web", "s1")
	f.Config.SetKeepAlivesEnabled(false)
	if err := f.Listener.Close(); err != nil { // the stream stays, as with a server that drains
		t.Fatal(err)
	}
	eventually(t, "refused", func() bool { // with the connections that were open at first
		a := r.post("web", "s1", tool("1", "echo", "x"))
		return a.header.Get(wire.HeaderRefused) == wire.RefusedServer
	})
	if s := r.awaitStatus("web", store.ServerFailed); !strings.Contains(s.Error, "connection refused") {
		t.Errorf("error %q", s.Error)
	}
}

func TestSSEServerThatAnswersNoPingIsFailed(t *testing.T) {
	f := newFakeSSE(t)
	f.silent = true
	r := startRig(t, func(c *Config) { c.PingInterval = 20 * time.Millisecond }, f.config(nil))
	eventually(t, "found unresponsive", func() bool {
		s := r.server("web")
		return s.Restarts > 0 || strings.Contains(s.Error, "answers no ping")
	})
}

func TestSSEEventThatIsTooLargeIsTheLossOfTheServer(t *testing.T) {
	f := newFakeSSE(t)
	f.post = func(w http.ResponseWriter, r *http.Request) {
		m := messageOf(t, r)
		w.WriteHeader(http.StatusAccepted)
		f.say(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"x":"%s"}}`, m.ID, strings.Repeat("x", maxLine)))
	}
	r := startRig(t, nil, f.config(nil))
	r.open("web", "s1")
	if a := r.post("web", "s1", tool("1", "echo", "x")); errorCode(t, a.last()) != wire.CodeOutcomeUnknown {
		t.Errorf("the call got %.200s", a.last())
	}
	eventually(t, "lost and back", func() bool { return len(f.got("GET")) == 2 })
}

func TestSSEServersRequestsAreAnswered(t *testing.T) {
	f := newFakeSSE(t)
	r := startRig(t, nil, f.config(nil))
	f.say(`{"jsonrpc":"2.0","id":"p","method":"ping"}`)
	f.say(`{"jsonrpc":"2.0","id":"q","method":"sampling/createMessage","params":{}}`)
	f.say(`{"jsonrpc":"2.0","id":"r","method":"roots/list"}`)
	eventually(t, "three answers", func() bool {
		n := 0
		for _, s := range f.got("POST") {
			for _, want := range []string{
				`{"jsonrpc":"2.0","id":"p","result":{}}`, `{"jsonrpc":"2.0","id":"q","error":{"code":-32603,`, `{"jsonrpc":"2.0","id":"r","error":{"code":-32603,`,
			} {
				if strings.HasPrefix(s.body, want) {
					n++
				}
			}
		}
		return n == 3
	})
	f.set(func() { f.tools = 3 })
	f.say(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
	eventually(t, "three tools", func() bool { return r.server("web").Tools == 3 })
}

func TestSSEPostThatIsNeverAnsweredHoldsNothing(t *testing.T) {
	f := newFakeSSE(t)
	ended := make(chan struct{}, 2)
	f.post = func(_ http.ResponseWriter, r *http.Request) {
		m := messageOf(t, r)
		if m.Params.Arguments.Text == "answer" {
			f.say(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, text("stream")))
		}
		<-r.Context().Done()
		ended <- struct{}{}
	}
	r := startRig(t, nil, f.config(nil))
	r.open("web", "s1")
	if a := r.post("web", "s1", tool("1", "echo", "answer")); textOf(t, a.last()) != "stream" {
		t.Errorf("answer %s", a.last())
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the request of an answered call stays open")
	}
	call := r.async("web", "s1", tool("2", "echo", "never"))
	eventually(t, "the second call", func() bool { return len(f.got("tools/call")) == 2 })
	r.node.cfg.DrainTimeout = time.Millisecond
	r.stop()
	within(t, 10*time.Second, call) // before its connection is closed
	r.close()
	<-ended
}

func TestSSECancellationIsPassedOnUnderOurID(t *testing.T) {
	f := newFakeSSE(t)
	f.post = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }
	r := startRig(t, nil, f.config(nil))
	r.open("web", "s1")
	call := r.async("web", "s1", tool(`"a"`, "echo", "x"))
	eventually(t, "the call", func() bool { return len(f.got("tools/call")) == 1 })
	if a := r.post("web", "s1", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a"}}`); a.status != 202 {
		t.Fatalf("cancel: %d %s", a.status, a.body)
	}
	if a := within(t, 10*time.Second, call); !strings.Contains(a.last(), `"reason":"cancelled"`) {
		t.Errorf("cancelled call: %s", a.last())
	}
	m := struct{ ID json.RawMessage }{}
	if err := json.Unmarshal([]byte(f.got("tools/call")[0].body), &m); err != nil {
		t.Fatal(err)
	}
	if got := f.got("notifications/cancelled"); len(got) != 1 || !strings.Contains(got[0].body, `"requestId":`+string(m.ID)+"}") {
		t.Errorf("the server was told %v, want a cancellation of %s", got, m.ID)
	}
}

func TestSSEServerThatIsNoneSaysWhatItIs(t *testing.T) {
	for name, tc := range map[string]struct {
		stream http.HandlerFunc
		says   string
	}{
		"401":         {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, "HTTP 401 Unauthorized"},
		"redirect":    {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, "HTTP 302 Found"},
		"page":        {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, "Content-Type"},
		"ends":        {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "text/event-stream") }, "ended its event stream"},
		"no endpoint": {func(w http.ResponseWriter, r *http.Request) { sendEvent(t, w, "", `{}`); <-r.Context().Done() }, "named no address for messages"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeSSE(t)
			f.stream = tc.stream
			r := startRig(t, func(c *Config) { c.StartTimeout = 300 * time.Millisecond }, f.config(nil))
			if s := r.server("web"); s.Status != store.ServerFailed || !strings.Contains(s.Error, tc.says) || strings.Contains(s.Error, f.URL) {
				t.Errorf("%s: %q, want failed with %q and no address", s.Status, s.Error, tc.says)
			}
			r.close()
			if n := len(f.got("POST")); n != 0 {
				t.Errorf("%d messages were posted", n)
			}
		})
	}
}

func TestServerOfNoTypeIsTriedOverHTTPAndThenSSE(t *testing.T) {
	for _, status := range []int{400, 404, 405} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			f := newFakeSSE(t)
			old := f.Config.Handler
			f.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost && r.URL.Path == "/sse" {
					w.WriteHeader(status)
					return
				}
				old.ServeHTTP(w, r)
			})
			untyped, typed := f.config(nil), f.config(nil)
			untyped.Type, typed.Type, typed.Name = "", TransportHTTP, "typed"
			r := startRig(t, nil, untyped, typed)
			if s := r.server("web"); s.Status != store.ServerReady || s.Transport != "sse" || s.Tools != 1 {
				t.Errorf("the server of no type is %s (%s), transport %s", s.Status, s.Error, s.Transport)
			}
			if s := r.server("typed"); s.Status != store.ServerFailed || s.Transport != TransportHTTP {
				t.Errorf("the server said to be streamable-http is %s, transport %s", s.Status, s.Transport)
			}
			r.open("web", "s1")
			if a := r.post("web", "s1", tool("1", "echo", "x")); textOf(t, a.last()) != "x" {
				t.Errorf("echo: %s", a.body)
			}
		})
	}
	t.Run("neither", func(t *testing.T) {
		f := newFakeSSE(t)
		cfg := f.config(nil)
		cfg.Type, cfg.URL = "", f.URL+"/nothing"
		r := startRig(t, nil, cfg)
		s := r.server("web")
		if s.Status != store.ServerFailed || strings.Count(s.Error, "HTTP 405") != 2 || s.Transport != TransportHTTP {
			t.Errorf("%s, transport %s, %q, want both answers", s.Status, s.Transport, s.Error)
		}
	})
}

func TestSSEOverTLS(t *testing.T) {
	f := newFakeSSE(t)
	web := httptest.NewTLSServer(f)
	t.Cleanup(func() { web.CloseClientConnections(); web.Close() })
	cfg := f.config(nil)
	cfg.URL = web.URL + "/sse?key=k"
	stranger := cfg
	stranger.Name = "stranger"
	r := newRig(t, nil, cfg, stranger)
	s := r.node.named("web")
	s.dial = func(l *link) (upstream, error) {
		up := openSSE(l, &s.cfg)
		roots := web.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
		up.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots}
		return up, nil
	}
	r.run()
	r.open("web", "s1")
	if a := r.post("web", "s1", tool("1", "echo", "x")); textOf(t, a.last()) != "x" {
		t.Errorf("echo: %s", a.body)
	}
	if s := r.server("stranger"); s.Status != store.ServerFailed || !strings.Contains(s.Error, "certificate") {
		t.Errorf("a server with a certificate nobody vouches for is %s (%s)", s.Status, s.Error)
	}
}

func TestSSECallUnderAStaleLeaseIsNotPosted(t *testing.T) {
	f := newFakeSSE(t)
	r := startRig(t, nil, f.config(nil))
	r.open("web", "s1")
	r.lease.lapseIn.Store(2) // the door is passed, the write is not
	if a := r.post("web", "s1", tool("1", "echo", "x")); a.header.Get(wire.HeaderRefused) != wire.RefusedLease {
		t.Errorf("%d %s, want it refused for the lease", a.status, a.body)
	}
	if n := len(f.got("tools/call")); n != 0 {
		t.Errorf("%d calls reached the server", n)
	}
}

func TestSSECallGoesOnWhenItsCallerIsGone(t *testing.T) {
	f := newFakeSSE(t)
	r := startRig(t, nil, f.config(nil))
	r.open("web", "s1")
	ctx, cancel := context.WithCancel(context.Background())
	f.set(func() {
		f.post = func(w http.ResponseWriter, r *http.Request) {
			m := messageOf(t, r)
			w.WriteHeader(http.StatusAccepted)
			cancel() // the caller goes; the call does not
			f.say(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, text("unheard")))
		}
	})
	if res, err := http.DefaultClient.Do(r.request(ctx, http.MethodPost, "web", "s1", tool("1", "echo", "x"))); err == nil {
		_ = res.Body.Close()
	}
	f.set(func() { f.post = nil })
	eventually(t, "nothing in flight", func() bool { return r.server("web").InFlight == 0 })
	if a := r.post("web", "s1", tool("1", "echo", "x")); textOf(t, a.last()) != "x" {
		t.Errorf("the same id again: %s", a.body)
	}
	if n := len(f.got("notifications/cancelled")); n != 0 {
		t.Errorf("%d cancellations, want none: to go away is not to cancel", n)
	}
}
