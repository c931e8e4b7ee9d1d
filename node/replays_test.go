package node

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// Asked for the rest of one call's stream, the server sends what another session was told, too.
// It stays with that one.
func TestServerThatReplaysOtherStreamsTellsNobodyElse(t *testing.T) {
	f := newFakeHTTP(t)
	told, polled, end := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var polling fakeMessage
	const secret = `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"for ann only"}}`
	const later = `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"for ann too"}}`
	f.tool = func(w http.ResponseWriter, r *http.Request) {
		m := messageOf(t, r)
		if m.Params.Arguments.Text == "poll" { // to be taken up again once ann was told
			polling = m
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "id: b1\nretry: 1\ndata:\n\n")
			close(polled)
			return
		}
		sendEvent(t, w, "a1", secret)
		<-end
		sendEvent(t, w, "a3", fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, text("done")))
	}
	f.stream = func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(wire.HeaderLastEventID) != "b1" {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		<-told
		sendEvent(t, w, "a1", secret)
		sendEvent(t, w, "a2", later) // which was not on ann's stream yet
		sendEvent(t, w, "b2", fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, polling.ID, text("polled")))
	}
	r := startRig(t, nil, f.config(nil))
	r.open("web", "ann")
	r.open("web", "bob")
	answer := make(chan string, 1)
	go func() { answer <- r.post("web", "bob", tool("1", "echo", "poll")).body }()
	<-polled
	ann := r.begin(http.MethodPost, "web", "ann", tool("1", "echo", "talk"))
	if got := ann.next(); got != secret {
		t.Errorf("ann was told %s", got)
	}
	close(told)
	if got := <-answer; strings.Contains(got, "for ann") || !strings.Contains(got, "polled") {
		t.Errorf("bob was answered %s", got)
	}
	close(end)
	if got := ann.next(); textOf(t, got) != "done" {
		t.Errorf("then ann was told %s", got)
	}
	r.close()
}

// Taking up its own stream, the server sends a question that is on a call's stream once more. It is
// not asked twice, and not refused as nobody's.
func TestQuestionThatIsReplayedIsAskedOnce(t *testing.T) {
	f := newFakeHTTP(t)
	asked, replayed, answered := make(chan struct{}), make(chan struct{}), make(chan struct{})
	const question = `{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"who?","requestedSchema":{"type":"object"}}}`
	f.tool = func(w http.ResponseWriter, r *http.Request) {
		m := messageOf(t, r)
		if m.Params.Arguments.Text == "ask" {
			sendEvent(t, w, "a1", question)
		}
		<-answered
		sendEvent(t, w, "a2", fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, text("done")))
	}
	f.stream = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		switch r.Header.Get(wire.HeaderLastEventID) {
		case "":
			_, _ = io.WriteString(w, "id: g1\nretry: 1\ndata:\n\n")
			w.(http.Flusher).Flush()
			<-asked
		case "g1":
			sendEvent(t, w, "a1", question)
			sendEvent(t, w, "g2", `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
			close(replayed)
			<-r.Context().Done()
		}
	}
	r := startRig(t, nil, f.config(nil))
	r.openAs("web", "ann", `{"elicitation":{}}`)
	r.openAs("web", "bob", `{"elicitation":{}}`)
	f.set(func() { f.tools = 5 })
	other := make(chan struct{})
	go func() {
		defer close(other)
		r.post("web", "bob", tool("1", "echo", "work"))
	}()
	eventually(t, "the other call", func() bool { return len(f.got("tools/call")) == 1 })
	s := r.begin(http.MethodPost, "web", "ann", tool("1", "echo", "ask"))
	got := s.next()
	close(asked)
	<-replayed
	eventually(t, "what came after the question", func() bool { return r.server("web").Tools == 5 })
	if status := r.answered("web", "ann", got, `"result":{"action":"accept"}`); status != 202 {
		t.Errorf("the answer: status %d, want 202", status)
	}
	close(answered)
	<-other
	if got := s.next(); textOf(t, got) != "done" {
		t.Errorf("then ann was told %s", got)
	}
	var answers []string
	for _, m := range f.got(http.MethodPost) {
		if m.rpc == "" {
			answers = append(answers, m.body)
		}
	}
	if len(answers) != 1 || !strings.Contains(answers[0], `"accept"`) {
		t.Errorf("the server was answered %q, want once", answers)
	}
	r.close()
}

// A server that allows one stream may still count the one that broke.
func TestServerThatAllowsOneStreamIsAskedForItAgain(t *testing.T) {
	f := newFakeHTTP(t)
	n := 0
	f.stream = func(w http.ResponseWriter, r *http.Request) {
		switch n++; n {
		case 1:
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "id: g1\nretry: 1\ndata:\n\n")
		case 2:
			http.Error(w, `{"jsonrpc":"2.0","error":{"code":-32000,"message":"Conflict: Only one SSE stream is allowed per session"},"id":null}`, http.StatusConflict)
		default:
			f.set(func() { f.tools = 5 })
			sendEvent(t, w, "g2", `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
			<-r.Context().Done()
		}
	}
	r := startRig(t, nil, f.config(nil))
	eventually(t, "5 tools", func() bool { return r.server("web").Tools == 5 })
	r.close()
}

func TestReplaysAreToldFromEventsOfEqualIDs(t *testing.T) {
	var r replays
	for _, step := range []struct {
		id, data  string
		resumed   bool
		pass, own bool
	}{
		{"1", "a", false, true, true},
		{"1", "b", false, true, true}, // a server that counts each stream by itself
		{"1", "c", true, true, true},
		{"", "a", true, true, true},
		{"1", "a", true, false, false}, // this one sends others' events
		{"2", "d", true, true, false},
		{"", "e", true, true, false},
		{"3", "f", false, true, true},
	} {
		if pass, own := r.take(step.id, []byte(step.data), step.resumed); pass != step.pass || own != step.own {
			t.Errorf("take(%q, %q, %v) = %v, %v; want %v, %v", step.id, step.data, step.resumed, pass, own, step.pass, step.own)
		}
	}
	for i := range maxSeen {
		r.take(fmt.Sprint("n", i), nil, false)
	}
	if pass, _ := r.take("2", []byte("d"), true); !pass || len(r.seen) != maxSeen || len(r.order) != maxSeen {
		t.Errorf("the oldest event is remembered, or %d and %d are kept; want %d", len(r.seen), len(r.order), maxSeen)
	}
}

// A place in a stream says nothing to a server that has forgotten the session: its new stream is
// asked for from the start, and a call of the old one is over.
func TestEventIDsEndWithTheServersSession(t *testing.T) {
	f := newFakeHTTP(t)
	opened, broken := make(chan struct{}, 2), make(chan struct{})
	f.stream = func(w http.ResponseWriter, r *http.Request) {
		switch last := r.Header.Get(wire.HeaderLastEventID); {
		case last == "" && r.Header.Get(wire.HeaderSession) == "up-1":
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "id: g1\nretry: 1\ndata:\n\n")
			w.(http.Flusher).Flush()
			opened <- struct{}{}
			<-broken
		case last == "":
			w.Header().Set("Content-Type", "text/event-stream")
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			opened <- struct{}{}
			<-r.Context().Done()
		default:
			t.Errorf("session %s is asked for what comes after %s", r.Header.Get(wire.HeaderSession), last)
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
	}
	posted, renewed := make(chan struct{}), make(chan struct{})
	f.tool = func(w http.ResponseWriter, r *http.Request) {
		m := messageOf(t, r)
		if m.Params.Arguments.Text == "poll" {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "id: c1\nretry: 1\ndata:\n\n")
			w.(http.Flusher).Flush()
			close(posted)
			<-renewed
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, text("new"))
	}
	r := startRig(t, nil, f.config(nil))
	r.open("web", "s1")
	<-opened
	answer := make(chan string, 1)
	go func() { answer <- r.post("web", "s1", tool("1", "echo", "poll")).last() }()
	<-posted
	f.set(func() { f.sessions = 10 })
	if a := r.post("web", "s1", tool("2", "echo", "x")); textOf(t, a.last()) != "new" {
		t.Errorf("a call of the new session: %s", a.body)
	}
	close(broken)
	<-opened
	close(renewed)
	if got := <-answer; errorCode(t, got) != wire.CodeOutcomeUnknown {
		t.Errorf("a call of the old session: %s, want error 1001", got)
	}
	r.close()
}
