package node

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// openAs initializes a session whose client has declared capabilities.
func (r *rig) openAs(server, session, caps string) {
	r.t.Helper()
	body := strings.Replace(initBody("2025-11-25"), `"capabilities":{}`, `"capabilities":`+caps, 1)
	if a := r.post(server, session, body); a.status != 200 {
		r.t.Fatalf("initialize %s of %s: %d %s", session, server, a.status, a.body)
	}
}

// live is an answer that is still coming.
type live struct {
	t      testing.TB
	res    *http.Response
	events *wire.EventReader
}

// begin sends a request and returns its answer, which is a stream.
func (r *rig) begin(method, server, session, body string) *live {
	r.t.Helper()
	return r.beginAs(wire.Version20251125, method, server, session, body)
}

// beginAs is begin for a client of a revision.
func (r *rig) beginAs(revision, method, server, session, body string) *live {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	r.t.Cleanup(cancel)
	q := r.request(ctx, method, server, session, body)
	q.Header.Set("Accept", wire.TypeEventStream)
	q.Header.Set(wire.HeaderVersion, revision)
	res, err := http.DefaultClient.Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != 200 || !isStream(res) {
		b, _ := io.ReadAll(res.Body)
		r.t.Fatalf("%s: %d %s, want a stream", method, res.StatusCode, b)
	}
	return &live{t: r.t, res: res, events: wire.NewEventReader(res.Body, 1<<20)}
}

// next is the next message.
func (s *live) next() string {
	s.t.Helper()
	for {
		ev, err := s.events.Next()
		if err != nil {
			s.t.Errorf("stream: %v", err)
			return ""
		}
		if len(ev.Data) > 0 {
			return string(ev.Data)
		}
	}
}

// answered posts a client's answer and returns the status.
func (r *rig) answered(server, session, request, rest string) int {
	at, _ := wire.Lookup([]byte(request), "id")
	return r.post(server, session, `{"jsonrpc":"2.0","id":`+string(at.Of([]byte(request)))+`,`+rest+`}`).status
}

// Fifty sessions of one process ask at once, under equal ids: each request goes to the session it
// is part of or is refused, and no answer to another.
func TestRequestsOfASharedProcessReachTheirSessionOrNobody(t *testing.T) {
	const sessions = 50
	r := startRig(t, nil, fake("alpha"))
	var all sync.WaitGroup
	var mu sync.Mutex
	asked, refused := 0, 0
	for i := range sessions {
		id := fmt.Sprintf("s%d", i)
		r.openAs("alpha", id, `{"elicitation":{}}`)
		all.Go(func() {
			for n := range 4 {
				word := fmt.Sprintf("%s/%d", id, n)
				s := r.begin(http.MethodPost, "alpha", id, tool(fmt.Sprint(n), "elicit", word))
				got := s.next()
				if strings.Contains(got, `"method"`) {
					if !strings.Contains(got, `"message":"`+word+`"`) {
						t.Errorf("%s was asked %s", word, got)
					}
					if status := r.answered("alpha", id, got, `"result":{"action":"accept","content":{"w":"`+word+`"}}`); status != 202 {
						t.Errorf("%s: answer: status %d, want 202", word, status)
					}
					got = s.next()
				}
				mu.Lock()
				if strings.Contains(got, "isolation: session") {
					refused++
				} else {
					asked++
					if !strings.Contains(got, `\"w\":\"`+word+`\"`) || !strings.HasPrefix(got, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,`, n)) {
						t.Errorf("%s ended in %s", word, got)
					}
				}
				mu.Unlock()
				_ = s.res.Body.Close()
			}
		})
	}
	all.Wait()
	if asked+refused != 4*sessions {
		t.Errorf("%d asked and %d refused of %d", asked, refused, 4*sessions)
	}
	word := "alone"
	s := r.begin(http.MethodPost, "alpha", "s0", tool("9", "elicit", word))
	if got := s.next(); !strings.Contains(got, `"message":"alone"`) {
		t.Errorf("alone at work: %s, want to be asked", got)
	}
	r.post("alpha", "s0", tool("10", "die", ""))
}

// Over HTTP each call has a stream of its own, so every session is asked, however many there are.
func TestRequestsOnTheStreamOfACall(t *testing.T) {
	f := newFakeHTTP(t)
	var mu sync.Mutex
	waiting := map[string]chan string{} // for answers, by id
	f.tool = func(w http.ResponseWriter, r *http.Request) {
		m := messageOf(t, r)
		answer := make(chan string, 1)
		mu.Lock()
		waiting[m.Params.Arguments.Text] = answer
		mu.Unlock()
		sendEvent(t, w, "", fmt.Sprintf(elicitation, `"`+m.Params.Arguments.Text+`"`))
		sendEvent(t, w, "", fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, text(<-answer)))
	}
	r := startRig(t, nil, f.config(nil))
	var all sync.WaitGroup
	for i := range 10 {
		id := fmt.Sprintf("s%d", i)
		r.openAs("web", id, `{"elicitation":{}}`)
		all.Go(func() {
			s := r.begin(http.MethodPost, "web", id, tool("1", "x", id))
			asked := s.next()
			if status := r.answered("web", id, asked, `"result":{"of":"`+id+`"}`); status != 202 {
				t.Errorf("%s: answer: status %d", id, status)
			}
			want := `{"jsonrpc":"2.0","id":"` + id + `","result":{"of":"` + id + `"}}`
			for _, seen := range f.got("") {
				if strings.TrimSpace(seen.body) == want {
					if seen.header.Get(wire.HeaderSession) != "up-1" || seen.header.Get(wire.HeaderVersion) == "" {
						t.Errorf("the answer was sent with %v", seen.header)
					}
					mu.Lock()
					waiting[id] <- "got " + id
					mu.Unlock()
				}
			}
			if got := s.next(); textOf(t, got) != "got "+id {
				t.Errorf("%s ended in %s", id, got)
			}
		})
	}
	all.Wait()
}

func TestRequestsOnTheStreamOfAnHTTPServer(t *testing.T) {
	f := newFakeHTTP(t)
	says := make(chan string)
	f.stream = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", wire.TypeEventStream)
		_, _ = io.WriteString(w, ": hello\n\n")
		w.(http.Flusher).Flush()
		for {
			select {
			case s := <-says:
				if s == "" {
					return
				}
				sendEvent(t, w, "", s)
			case <-r.Context().Done():
				return
			}
		}
	}
	r := startRig(t, nil, f.config(nil))
	r.openAs("web", "s1", `{"sampling":{}}`)
	s := r.begin(http.MethodGet, "web", "s1", "")
	says <- `{"jsonrpc":"2.0","id":3,"method":"sampling/createMessage"}`
	asked := s.next()
	f.set(func() { f.status = 422 })
	if status := r.answered("web", "s1", asked, `"result":{"role":"user"}`); status != 502 {
		t.Errorf("an answer that the server turns away: status %d, want 502", status)
	}
	if status := r.answered("web", "s1", asked, `"result":{"role":"user"}`); status != 202 {
		t.Errorf("and once more: status %d, want 202", status)
	}
	if status := r.answered("web", "s1", `{"id":"other"}`, `"result":{}`); status != 400 {
		t.Errorf("an answer to what was never asked: status %d, want 400", status)
	}
	// A server that has forgotten us has forgotten what it asked, and might ask anew under the same id.
	f.set(func() { f.status = 0 })
	says <- `{"jsonrpc":"2.0","id":4,"method":"sampling/createMessage"}`
	asked = s.next()
	f.set(func() { f.sessions = 40 })
	if status := r.answered("web", "s1", asked, `"result":{"role":"user"}`); status != 502 {
		t.Errorf("an answer that the server does not know: status %d, want 502", status)
	}
	n := 0
	for _, seen := range f.got("") {
		if strings.Contains(seen.body, `"id":4`) {
			n++
		}
	}
	if n != 1 {
		t.Errorf("the answer was sent %d times, want once", n)
	}
	if n := len(f.got("initialize")); n != 2 {
		t.Errorf("%d handshakes, want another", n)
	}
	says <- ""
	eventually(t, "stream open again", func() bool { return len(f.got("GET")) > 1 })
	says <- `{"jsonrpc":"2.0","id":5,"method":"sampling/createMessage"}`
	asked = s.next()
	f.set(func() { f.sessions = 50 })
	r.post("web", "s1", tool("1", "x", "x"))
	if got := s.next(); !strings.HasPrefix(got, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":`+requestOf(asked)+`,`) {
		t.Errorf("the client heard %s, want that nobody waits for its answer", got)
	}
}

func requestOf(frame string) string {
	at, _ := wire.Lookup([]byte(frame), "id")
	return string(at.Of([]byte(frame)))
}

// A server that ends a call's stream and is asked again later spares itself a connection; so does
// the client then.
func TestStreamThatTheServerEndsEarlyEndsForTheClientToo(t *testing.T) {
	f := newFakeHTTP(t)
	asked := make(chan fakeMessage, 1)
	f.tool = func(w http.ResponseWriter, r *http.Request) {
		asked <- messageOf(t, r)
		sendEvent(t, w, "e1", `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"one"}}`)
		_, _ = io.WriteString(w, "retry: 50\n\n")
	}
	release := make(chan struct{})
	f.stream = func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(wire.HeaderLastEventID) != "e1" {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		<-release
		m := <-asked
		sendEvent(t, w, "e2", fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, text("two")))
	}
	r := startRig(t, nil, f.config(nil))
	r.open("web", "s1")
	s := r.begin(http.MethodPost, "web", "s1", tool("1", "x", "x"))
	last, retry := "", time.Duration(0)
	for {
		ev, err := s.events.Next()
		if err != nil {
			break
		}
		if ev.ID != "" {
			last = ev.ID
		}
		retry = max(retry, ev.Retry)
	}
	if retry != 50*time.Millisecond || last == "" {
		t.Fatalf("the stream ended with retry %s after event %q, want the server's own", retry, last)
	}
	close(release)
	q := r.request(context.Background(), http.MethodGet, "web", "s1", "")
	q.Header.Set(wire.HeaderLastEventID, last)
	if a := do(t, q); textOf(t, a.last()) != "two" {
		t.Errorf("the rest of the answer: %s", a.body)
	}
}

// While people think, a server may end the stream it is asked on again and again.
func TestStreamThatEndsOftenWhileItsClientIsAsked(t *testing.T) {
	f := newFakeHTTP(t)
	asked := make(chan fakeMessage, 1)
	f.tool = func(w http.ResponseWriter, r *http.Request) {
		asked <- messageOf(t, r)
		sendEvent(t, w, "e1", fmt.Sprintf(elicitation, "1"))
		_, _ = io.WriteString(w, "retry: 5\n\n")
	}
	answered := make(chan struct{})
	f.stream = func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(wire.HeaderLastEventID) != "e1" {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		select {
		case <-answered:
			m := <-asked
			sendEvent(t, w, "", fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, text("thanks")))
		default:
		}
	}
	r := startRig(t, nil, f.config(nil))
	r.openAs("web", "s1", `{"elicitation":{}}`)
	s := r.beginAs(wire.Version20250618, http.MethodPost, "web", "s1", tool("1", "x", "x")) // which knows no such ends
	question := s.next()
	eventually(t, "many resumptions", func() bool { return len(f.got("GET")) > 2*maxResumes+1 })
	if status := r.answered("web", "s1", question, `"result":{}`); status != 202 {
		t.Errorf("answer: status %d", status)
	}
	close(answered)
	if got := s.next(); textOf(t, got) != "thanks" {
		t.Errorf("the call ended in %s", got)
	}
}

func TestRequestsOfAnOlderHTTPServer(t *testing.T) {
	f := newFakeSSE(t)
	f.post = func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		go f.say(fmt.Sprintf(elicitation, `"q"`))
	}
	r := startRig(t, nil, f.config(nil))
	r.openAs("web", "s1", `{"elicitation":{}}`)
	r.openAs("web", "s2", `{"elicitation":{}}`)
	s := r.begin(http.MethodPost, "web", "s1", tool("1", "x", "x"))
	if status := r.answered("web", "s1", s.next(), `"result":{"action":"cancel"}`); status != 202 {
		t.Errorf("answer: status %d", status)
	}
	n := 0
	for _, seen := range f.got("") {
		if strings.TrimSpace(seen.body) == `{"jsonrpc":"2.0","id":"q","result":{"action":"cancel"}}` {
			n++
		}
	}
	if n != 1 {
		t.Errorf("the server got the answer %d times, want once", n)
	}
}

// asker is a builtin whose tool asks its client, under the same id in each session.
type asker struct {
	mu      sync.Mutex // guards answers
	answers map[string]chan string
}

func (*asker) Forget(string) {}

func (b *asker) Handle(ctx context.Context, session string, frame []byte, emit func([]byte)) []byte {
	f, err := wire.Scan(frame, wire.ServerLimits)
	if err != nil {
		panic(err)
	}
	switch {
	case f.Kind == wire.Response:
		b.mu.Lock()
		b.answers[session] <- string(f.Raw)
		b.mu.Unlock()
	case f.Method == "initialize":
		return wire.Result(f.IDBytes(), []byte(`{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"asker","version":"1"}}`))
	case f.Method == "tools/call":
		answer := make(chan string, 1)
		b.mu.Lock()
		b.answers[session] = answer
		b.mu.Unlock()
		emit([]byte(strings.Replace(fmt.Sprintf(elicitation, "1"), "who?", session, 1)))
		select {
		case got := <-answer:
			return wire.Result(f.IDBytes(), []byte(text(got)))
		case <-ctx.Done():
		}
	}
	return nil
}

func TestRequestsOfABuiltin(t *testing.T) {
	b := &asker{answers: map[string]chan string{}}
	r := startRig(t, nil, ServerConfig{Name: "asker", Builtin: b, Enabled: true})
	var streams []*live
	for _, id := range []string{"s1", "s2", "s3"} {
		r.openAs("asker", id, map[string]string{"s1": `{"elicitation":{}}`, "s2": `{"elicitation":{}}`, "s3": `{}`}[id])
		if id == "s3" {
			if a := r.post("asker", id, tool("1", "x", "")); !strings.Contains(textOf(t, a.last()), "-32601") {
				t.Errorf("a client that cannot be asked: %s", a.body)
			}
			continue
		}
		streams = append(streams, r.begin(http.MethodPost, "asker", id, tool("1", "x", "")))
	}
	for i, s := range streams {
		id := fmt.Sprintf("s%d", i+1)
		question := s.next()
		if !strings.Contains(question, `"message":"`+id+`"`) {
			t.Errorf("%s was asked %s", id, question)
		}
		if status := r.answered("asker", id, question, `"result":{"of":"`+id+`"}`); status != 202 {
			t.Errorf("answer: status %d", status)
		}
		if got := textOf(t, s.next()); got != `{"jsonrpc":"2.0","id":1,"result":{"of":"`+id+`"}}` {
			t.Errorf("%s: the server was answered %s", id, got)
		}
	}
}

// A process that is started for a session may ask its client as soon as hands are shaken, which
// is before the client has its answer to initialize.
func TestProcessAsksItsClientAtOnce(t *testing.T) {
	for name, warm := range map[string]int{"started for it": 0, "a spare": 1} {
		t.Run(name, func(t *testing.T) {
			log := t.TempDir() + "/log"
			r := startRig(t, nil, isolatedFake("iso", 3, warm, "FAKE_ROOTS=1", "FAKE_LOG="+log))
			if warm > 0 {
				eventually(t, "a spare", func() bool { return r.server("iso").Spares == 1 })
			}
			r.openAs("iso", "s1", `{"roots":{"listChanged":true}}`)
			s := r.begin(http.MethodGet, "iso", "s1", "")
			question := s.next()
			if !strings.Contains(question, `"roots/list"`) {
				t.Fatalf("the client was asked %s", question)
			}
			if status := r.answered("iso", "s1", question, `"result":{"roots":[{"uri":"file:///mine"}]}`); status != 202 {
				t.Errorf("answer: status %d", status)
			}
			eventually(t, "the server has the roots", func() bool {
				return strings.Contains(strings.Join(lines(t, log), ""), `file:///mine`)
			})
		})
	}
}

func TestWhatServersAreToldThatClientsCan(t *testing.T) {
	for name, tc := range map[string]struct {
		sc   func(log string) ServerConfig
		want []string // in order of the handshakes
	}{
		"shared, no roots":         {func(log string) ServerConfig { return rootless(fake("alpha", "FAKE_LOG="+log)) }, []string{rootlessCapabilities}},
		"isolated, no roots":       {func(log string) ServerConfig { return rootless(isolatedFake("alpha", 2, 0, "FAKE_LOG="+log)) }, []string{rootlessCapabilities, `{"x":1.0}`}},
		"isolated, warm, no roots": {func(log string) ServerConfig { return rootless(isolatedFake("alpha", 2, 1, "FAKE_LOG="+log)) }, []string{rootlessCapabilities, rootlessCapabilities}},

		"shared":         {func(log string) ServerConfig { return fake("alpha", "FAKE_LOG="+log) }, []string{anyCapabilities}},
		"isolated":       {func(log string) ServerConfig { return isolatedFake("alpha", 2, 0, "FAKE_LOG="+log) }, []string{anyCapabilities, `{"roots":{},"x":1.0}`}},
		"isolated, warm": {func(log string) ServerConfig { return isolatedFake("alpha", 2, 1, "FAKE_LOG="+log) }, []string{anyCapabilities, anyCapabilities}},
	} {
		t.Run(name, func(t *testing.T) {
			log := t.TempDir() + "/log"
			r := startRig(t, nil, tc.sc(log))
			r.openAs("alpha", "s1", `{"roots":{},"x":1.0}`)
			var got []string
			eventually(t, "handshakes", func() bool {
				got = nil
				for _, line := range lines(t, log) {
					if at, ok := wire.Lookup([]byte(line), "params", "capabilities"); ok {
						got = append(got, string(at.Of([]byte(line))))
					}
				}
				return len(got) == len(tc.want)
			})
			if fmt.Sprint(got) != fmt.Sprint(tc.want) {
				t.Errorf("servers were told %q, want %q", got, tc.want)
			}
		})
	}
}

// The server may end the stream of a call before the node has made one of the client's answer.
func TestHintToComeBackIsKeptUntilThereIsAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, nil)
		a := p.user("a", `{}`)
		c, err := a.try(tool("1", "x", ""))
		if err != nil {
			t.Fatal(err)
		}
		c.suggestRetry(50 * time.Millisecond)
		if got := a.streams.take(c.unfold(true)); !got.over || got.retry != 50*time.Millisecond {
			t.Errorf("the reader is to end: %v, and to come back after %s", got.over, got.retry)
		}
	})
}
