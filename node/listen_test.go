package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// stageServer is a server for which a test speaks: each tools/call is one act.
type stageServer struct{ acts chan *act }

// act is a call that the server works on.
type act struct {
	emit   func([]byte)
	answer chan string // the result
}

func newStage() *stageServer { return &stageServer{acts: make(chan *act, 16)} }

func (s *stageServer) Forget(string) {}

func (s *stageServer) Handle(ctx context.Context, _ string, frame []byte, emit func([]byte)) []byte {
	f, err := wire.Scan(frame, wire.ServerLimits)
	if err != nil {
		panic(err)
	}
	switch f.Method {
	case "initialize":
		return wire.Result(f.IDBytes(), []byte(`{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"stage","version":"1"}}`))
	case "tools/list":
		return wire.Result(f.IDBytes(), []byte(`{"tools":[]}`))
	case "tools/call":
		a := &act{emit: emit, answer: make(chan string, 1)}
		s.acts <- a
		select {
		case result := <-a.answer:
			return wire.Result(f.IDBytes(), []byte(result))
		case <-ctx.Done():
			return nil
		}
	}
	return wire.Result(f.IDBytes(), []byte(`{}`))
}

func (a *act) say(what string) {
	a.emit([]byte(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"` + what + `"}}`))
}

// stageRig is a rig with one such server and a session s1 with it.
func stageRig(t *testing.T, change func(*Config)) (*rig, *stageServer) {
	s := newStage()
	r := startRig(t, change, ServerConfig{Name: "stage", Builtin: s, Enabled: true})
	r.open("stage", "s1")
	return r, s
}

func (s *stageServer) next(t *testing.T) *act {
	t.Helper()
	select {
	case a := <-s.acts:
		return a
	case <-time.After(10 * time.Second):
		t.Fatal("the server was not called in 10 s")
		return nil
	}
}

// follower reads a stream as it comes.
type follower struct {
	t      *testing.T
	res    *http.Response
	events *wire.EventReader
	cancel context.CancelFunc
	last   string // event id
}

// following sends a request and reads the stream that comes of it.
func (r *rig) following(t *testing.T, method, session, body string, headers ...string) *follower {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	q := r.request(ctx, method, "stage", session, body)
	for i := 0; i < len(headers); i += 2 {
		q.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != wire.TypeEventStream || res.Header.Get("X-Accel-Buffering") != "no" {
		b, _ := io.ReadAll(res.Body)
		t.Fatalf("%s: %d %v %s, want a stream", method, res.StatusCode, res.Header, b)
	}
	return &follower{t: t, res: res, events: wire.NewEventReader(res.Body, 1<<20), cancel: cancel}
}

// next is what the next event says: the data of a log message, "-" for an event that primes,
// "retry …", the message itself for any other, and "." for the end.
func (f *follower) next() string {
	f.t.Helper()
	for {
		ev, err := f.events.Next()
		if errors.Is(err, io.EOF) {
			return "."
		}
		if err != nil {
			f.t.Fatalf("event stream: %v", err)
		}
		if ev.HasID {
			f.last = ev.ID
		}
		switch {
		case ev.Retry > 0:
			return "retry " + ev.Retry.String()
		case ev.Data == nil:
			continue
		case len(ev.Data) == 0:
			return "-"
		}
		if at, ok := wire.Lookup(ev.Data, "params", "data"); ok {
			s, _ := wire.Unquote(at.Of(ev.Data))
			return s
		}
		return string(ev.Data)
	}
}

// says fails if the next events are others.
func (f *follower) says(want ...string) {
	f.t.Helper()
	for i, w := range want {
		if got := f.next(); got != w {
			f.t.Fatalf("event %d: %s, want %s", i, got, w)
		}
	}
}

// drop breaks the connection, and waits until the node has noticed.
func (r *rig) drop(f *follower, left int32) {
	r.t.Helper()
	f.cancel()
	r.attached(left)
}

// attached waits until so many streams of the session have readers.
func (r *rig) attached(n int32) {
	r.t.Helper()
	_, ses := r.session()
	eventually(r.t, fmt.Sprint(n, " streams with readers"), func() bool { return ses.streams.attached.Load() == n })
}

func (r *rig) session() (*link, *session) {
	r.t.Helper()
	l, ses, err := r.node.named("stage").find(r.t.Context(), "s1")
	if err != nil {
		r.t.Fatal(err)
	}
	return l, ses
}

func note(what string) []byte {
	return []byte(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"` + what + `"}}`)
}

func answerOf(id string) string { return `{"jsonrpc":"2.0","id":` + id + `,"result":{}}` }

func TestStreamsArePrimedForTheNewestRevision(t *testing.T) {
	r, s := stageRig(t, nil)
	old := r.post("stage", "s2", initBody(wire.Version20250618))
	if old.status != 200 {
		t.Fatalf("initialize: %d %s", old.status, old.body)
	}
	for _, tc := range []struct {
		session, version string
		primed           bool
	}{
		{"s1", "", true}, {"s1", wire.Version20251125, true}, {"s1", wire.Version20250618, false},
		{"s2", "", false}, {"s2", wire.Version20251125, true},
	} {
		q := r.request(t.Context(), http.MethodPost, "stage", tc.session, tool("1", "x", ""))
		if tc.version != "" {
			q.Header.Set(wire.HeaderVersion, tc.version)
		}
		done := make(chan *answer, 1)
		go func() { done <- do(t, q) }()
		a := s.next(t)
		a.say("one")
		a.answer <- "{}"
		got := within(t, 10*time.Second, done)
		want := 2
		if tc.primed {
			want = 3
		}
		if len(got.events) != 2 || len(got.ids) != want {
			t.Errorf("session %s, version %q: %d messages with ids %q, want 2 with %d", tc.session, tc.version, len(got.events), got.ids, want)
			continue
		}
		for i, text := range got.ids {
			if id, ok := parseEventID(text); !ok || id.seq != uint64(i) || id.stream.kind != callStream || string(id.request) != "1" {
				t.Errorf("event %d has the id %s", i, text)
			}
		}
	}
}

func TestACallIsResumedWhereItsStreamBroke(t *testing.T) {
	r, s := stageRig(t, func(c *Config) { c.StreamAfter = time.Millisecond })
	f := r.following(t, http.MethodPost, "s1", tool(`"a"`, "x", ""))
	f.says("-")
	a := s.next(t)
	a.say("one")
	f.says("one")
	r.drop(f, 0)
	a.say("two")
	a.say("three")
	g := r.following(t, http.MethodGet, "s1", "", wire.HeaderLastEventID, f.last)
	g.says("two")
	r.drop(g, 0)
	h := r.following(t, http.MethodGet, "s1", "", wire.HeaderLastEventID, g.last)
	h.says("three")
	a.say("four")
	h.says("four")
	a.answer <- "{}"
	h.says(answerOf(`"a"`), ".")
	// It is over, and can still be had.
	r.following(t, http.MethodGet, "s1", "", wire.HeaderLastEventID, f.last).says("two", "three", "four", answerOf(`"a"`), ".")
	r.following(t, http.MethodGet, "s1", "", wire.HeaderLastEventID, h.last).says(".")
}

func TestTheNewestReaderOfACallWins(t *testing.T) {
	r, s := stageRig(t, nil)
	f := r.following(t, http.MethodPost, "s1", tool("1", "x", ""), wire.HeaderStream, wire.StreamNow)
	f.says("-")
	g := r.following(t, http.MethodGet, "s1", "", wire.HeaderLastEventID, f.last)
	if ev, err := f.events.Next(); err != nil || string(ev.Raw) != wire.StreamTaken {
		t.Errorf("the first reader got %q, %v, want to hear that another has come", ev.Raw, err)
	}
	f.says(".")
	a := s.next(t)
	a.say("one")
	a.answer <- "{}"
	g.says("one", answerOf("1"), ".")
}

func TestAStreamThatIsNotKnownIsToldSo(t *testing.T) {
	r, _ := stageRig(t, nil)
	_, ses := r.session()
	request := tailOf([]byte(`"a"`))
	for _, id := range []string{"00000000.c0.1" + request, ses.inc + ".c99.1" + request, "00000000.c0.1"} {
		q := r.request(t.Context(), http.MethodGet, "stage", "s1", "")
		q.Header.Set(wire.HeaderLastEventID, id)
		if a := do(t, q); a.status != 404 || a.header.Get(wire.HeaderRefused) != wire.RefusedStream {
			t.Errorf("%s: %d %v, want it refused", id, a.status, a.header)
		}
	}
	for i, id := range []string{"00000000.g0.1", ses.inc + ".g99.0", "junk", ""} {
		f := r.following(t, http.MethodGet, "s1", "", wire.HeaderLastEventID, id)
		f.says("-")
		if now, ok := parseEventID(f.last); !ok || now.inc != ses.inc || now.stream.kind != ownStream {
			t.Errorf("%q: a new stream begins with the event id %s", id, f.last)
		}
		r.attached(int32(i + 1))
	}
	q := r.request(t.Context(), http.MethodGet, "stage", "unknown", "")
	if a := do(t, q); a.status != 404 || a.header.Get(wire.HeaderRefused) != wire.RefusedSession {
		t.Errorf("a session that is not known: %d %v", a.status, a.header)
	}
}

func TestOwnStreams(t *testing.T) {
	r, _ := stageRig(t, func(c *Config) { c.MaxStreams = 3 })
	l, ses := r.session()
	l.tell(ses, nil, note("early"))
	a := r.following(t, http.MethodGet, "s1", "")
	a.says("-", "early")
	b := r.following(t, http.MethodGet, "s1", "")
	b.says("-")
	c := r.following(t, http.MethodGet, "s1", "")
	c.says("-")
	q := r.request(t.Context(), http.MethodGet, "stage", "s1", "")
	if d := do(t, q); d.status != 409 || !strings.Contains(d.body, "3 streams") || d.header.Get(wire.HeaderRefused) != "" {
		t.Errorf("a fourth: %d %v %s, want 409 with the limit", d.status, d.header, d.body)
	}
	l.tell(ses, nil, note("one"))
	c.says("one")
	r.drop(c, 2)
	l.tell(ses, nil, note("two"))
	b.says("two")
	r.drop(b, 1)
	r.drop(a, 0)
	l.tell(ses, nil, note("three"))
	b2 := r.following(t, http.MethodGet, "s1", "", wire.HeaderLastEventID, b.last)
	b2.says("three")
	c2 := r.following(t, http.MethodGet, "s1", "", wire.HeaderLastEventID, strings.TrimSuffix(c.last, ".1")+".0")
	c2.says("one")
	l.tell(ses, nil, note("four"))
	c2.says("four")
	if a := r.end("stage", "s1"); a.status != 204 {
		t.Fatalf("DELETE: %d", a.status)
	}
	b2.says(".")
	c2.says(".")
}

func TestStreamAtOnce(t *testing.T) {
	r, s := stageRig(t, nil)
	for _, accept := range []string{bothForms, "application/json"} {
		q := r.request(t.Context(), http.MethodPost, "stage", "s1", tool("1", "x", ""))
		q.Header.Set(wire.HeaderStream, wire.StreamNow)
		q.Header.Set("Accept", accept)
		done := make(chan *answer, 1)
		go func() { done <- do(t, q) }()
		s.next(t).answer <- "{}"
		a := within(t, 10*time.Second, done)
		if stream := len(a.ids) == 2; stream != (accept == bothForms) || a.last() != answerOf("1") {
			t.Errorf("Accept %s: %v %s", accept, a.ids, a.body)
		}
	}
}

// What is said to a session while its call has a caller who takes no stream goes to its own.
func TestACallerThatTakesNoStreamGetsNoMessages(t *testing.T) {
	r, s := stageRig(t, nil)
	own := r.following(t, http.MethodGet, "s1", "")
	own.says("-")
	q := r.request(t.Context(), http.MethodPost, "stage", "s1", tool("1", "x", ""))
	q.Header.Set("Accept", "application/json")
	done := make(chan *answer, 1)
	go func() { done <- do(t, q) }()
	a := s.next(t)
	l, ses := r.session()
	l.mu.Lock()
	c := ses.calls["1"]
	l.mu.Unlock()
	if !l.tell(ses, c, note("one")) {
		t.Error("no room")
	}
	own.says("one")
	a.answer <- "{}"
	if got := within(t, 10*time.Second, done); got.body != answerOf("1") {
		t.Errorf("answered %s", got.body)
	}
}

// Nor does one whose answer has become a stream, who has left before there was anything to say:
// it was told no event id with which it could come back.
func TestACallerThatWasToldNoEventIDCannotComeBack(t *testing.T) {
	r, s := stageRig(t, nil)
	f := r.following(t, http.MethodPost, "s1", tool("1", "x", ""), wire.HeaderStream, wire.StreamNow, wire.HeaderVersion, wire.Version20250618)
	a := s.next(t)
	l, ses := r.session()
	l.mu.Lock()
	c := ses.calls["1"]
	l.mu.Unlock()
	r.drop(f, 0)
	l.tell(ses, c, note("one"))
	own := r.following(t, http.MethodGet, "s1", "", wire.HeaderVersion, wire.Version20250618)
	own.says("one")
	a.answer <- "{}"
	eventually(t, "the call's end", c.finished)
	ses.streams.mu.Lock()
	defer ses.streams.mu.Unlock()
	if n := len(ses.streams.all); n != 1 {
		t.Errorf("%d streams are kept, want the session's own", n)
	}
}

// A server that ends the stream of a call, to be asked for the rest later, ends the client's.
func TestClientsOfACallAreToldToComeBackLater(t *testing.T) {
	r, s := stageRig(t, nil)
	call := func(version string) (*follower, *act, *call) {
		f := r.following(t, http.MethodPost, "s1", tool("1", "x", ""), wire.HeaderStream, wire.StreamNow, wire.HeaderVersion, version)
		a := s.next(t)
		l, ses := r.session()
		l.mu.Lock()
		defer l.mu.Unlock()
		return f, a, ses.calls["1"]
	}
	f, a, c := call(wire.Version20251125)
	f.says("-")
	a.say("one")
	c.suggestRetry(1500 * time.Millisecond)
	f.says("one", "retry 1.5s", ".")
	a.answer <- "{}"
	r.following(t, http.MethodGet, "s1", "", wire.HeaderLastEventID, f.last).says(answerOf("1"), ".")

	f, a, c = call(wire.Version20250618) // which would not come back
	c.suggestRetry(1500 * time.Millisecond)
	a.say("one")
	a.answer <- "{}"
	f.says("one", answerOf("1"), ".")
}

func TestOwnStreamsEndWithTheNode(t *testing.T) {
	r, s := stageRig(t, nil)
	own := r.following(t, http.MethodGet, "s1", "")
	own.says("-")
	f := r.following(t, http.MethodPost, "s1", tool("1", "x", ""), wire.HeaderStream, wire.StreamNow)
	f.says("-")
	a := s.next(t)
	r.stop()
	own.says("retry 1s", ".")
	q := r.request(t.Context(), http.MethodGet, "stage", "s1", "")
	if a := do(t, q); a.status != 503 || a.header.Get(wire.HeaderRefused) != wire.RefusedServer {
		t.Errorf("another while calls finish: %d %v, want 503", a.status, a.header)
	}
	// The call has time to finish, even for a client that lost the stream meanwhile.
	g := r.following(t, http.MethodGet, "s1", "", wire.HeaderLastEventID, f.last)
	f.says(".")
	a.answer <- "{}"
	g.says(answerOf("1"), ".")
	r.close()
}

func TestStreamsEndWithTheConnectionToTheServer(t *testing.T) {
	r, s := stageRig(t, nil)
	own := r.following(t, http.MethodGet, "s1", "")
	own.says("-")
	f := r.following(t, http.MethodPost, "s1", tool("1", "x", ""), wire.HeaderStream, wire.StreamNow)
	f.says("-")
	s.next(t)
	l, _ := r.session()
	l.lose(errLost)
	own.says("retry 1s", ".") // whoever follows it can have the session opened again, and is to
	if got := f.next(); errorCode(t, got) != wire.CodeOutcomeUnknown {
		t.Errorf("the call was answered %s, want error 1001", got)
	}
	f.says(".")
}

func TestQuietStreamsAreKeptAlive(t *testing.T) {
	r, _ := stageRig(t, func(c *Config) { c.KeepAlive = time.Millisecond })
	own := r.following(t, http.MethodGet, "s1", "")
	own.says("-")
	for range 3 {
		if ev, err := own.events.Next(); err != nil || string(ev.Raw) != ": working\n\n" {
			t.Fatalf("%q, %v, want a comment", ev.Raw, err)
		}
	}
}

func TestASessionWithAStreamDoesNotExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{}.withDefaults()
		l := newLink("n", "s", &cfg, discard(), &counters{}, always)
		l.up = deafEnd{}
		if _, err := l.openSession("s1", client{}); err != nil {
			t.Fatal(err)
		}
		ses := l.session("s1")
		r := ses.streams.mustOpen(t, true)
		time.Sleep(3 * time.Hour)
		if n := l.expire(time.Hour); n != 0 {
			t.Error("a session with a stream was ended as idle")
		}
		ses.seen.Store(int64(l.now()))
		ses.streams.detach(r)
		time.Sleep(time.Hour + time.Second)
		if n := l.expire(time.Hour); n != 1 {
			t.Error("a session without a stream was not ended as idle")
		}
		ses.streams.isEmpty(t)
	})
}

// A client that reads nothing is cut off when the node would have to keep too much for it. It
// comes back for what is left, and nobody else has noticed.
func TestAStalledClientIsCutOff(t *testing.T) {
	r, s := stageRig(t, func(c *Config) { c.LogBytes = 256 << 10 })
	stalled := r.following(t, http.MethodPost, "s1", tool("1", "x", ""), wire.HeaderStream, wire.StreamNow)
	a := s.next(t)
	other := r.following(t, http.MethodPost, "s1", tool("2", "x", ""), wire.HeaderStream, wire.StreamNow)
	other.says("-")
	b := s.next(t)
	chunk := strings.Repeat("x", 32<<10)
	deadline := time.Now().Add(20 * time.Second)
	for r.node.Stats().CutReaders == 0 {
		if time.Now().After(deadline) {
			t.Fatal("not cut off in 20 s")
		}
		a.say(chunk)
		b.say("tick")
		other.says("tick")
	}
	a.say("latest")
	a.answer <- "{}"
	stalled.says("-")
	for got := stalled.next(); got != "."; got = stalled.next() {
		if got != chunk {
			t.Fatalf("the stalled client got %q", got)
		}
	}
	again := r.following(t, http.MethodGet, "s1", "", wire.HeaderLastEventID, stalled.last)
	got := again.next()
	for got == chunk {
		got = again.next()
	}
	if got != "latest" {
		t.Errorf("it came back for %q, want the latest", got)
	}
	again.says(answerOf("1"), ".")
	b.answer <- "{}"
	other.says(answerOf("2"), ".")
	if n := r.node.Stats().CutReaders; n != 1 {
		t.Errorf("%d readers were cut off, want 1", n)
	}
}

func TestStreamsAreForgottenEarlyWhenTheNodeKeepsTooMuch(t *testing.T) {
	r, _ := stageRig(t, nil)
	own := r.following(t, http.MethodGet, "s1", "")
	own.says("-")
	r.drop(own, 0)
	_, ses := r.session()
	kept := func() int {
		ses.streams.mu.Lock()
		defer ses.streams.mu.Unlock()
		return len(ses.streams.all)
	}
	r.node.shed()
	if kept() != 1 {
		t.Error("a stream is forgotten though there is room")
	}
	r.node.stats.queued.Add(maxLogTotal)
	eventually(t, "the stream forgotten", func() bool { r.node.shed(); return kept() == 0 })
	r.node.stats.queued.Add(-maxLogTotal)
}
