package router

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// Blocks of a node's streams. The call is one of the request with the id 7.
const (
	primed0   = "id: aaaaaaaa.g0.0\ndata: \n\n"
	event1    = "event: message\nid: aaaaaaaa.g0.1\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"n\":1}}\n\n"
	event2    = "id: aaaaaaaa.g0.2\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"n\":2}}\n\n"
	elsewhere = "id: bbbbbbbb.g0.0\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"n\":3}}\n\n"
	comment   = ": alive\n\n"

	callPrimed = "id: aaaaaaaa.c4.0.Nw\ndata: \n\n"
	callNews   = "id: aaaaaaaa.c4.1.Nw\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{}}\n\n"
	callFinal  = "id: aaaaaaaa.c4.2.Nw\ndata: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"ok\":true}}\n\n"
)

// listen opens a stream at a front.
func listen(ctx context.Context, t testing.TB, srv *httptest.Server, session, last string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(wire.HeaderSession, session)
	if last != "" {
		req.Header.Set(wire.HeaderLastEventID, last)
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// reads checks what comes next on a stream, byte for byte.
func reads(t testing.TB, resp *http.Response, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(resp.Body, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v, want %q", got[:n], err, want)
	}
}

// ends checks what is left of a stream, and that it ends well.
func ends(t testing.TB, resp *http.Response, want string) {
	t.Helper()
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != want {
		t.Fatalf("the stream ended with %q, %v, want %q", rest, err, want)
	}
}

// scripts answers each GET with the next of some scripts; the last one is used for all that follow.
func scripts(all ...func(w http.ResponseWriter, req *http.Request)) func(http.ResponseWriter, *http.Request, int) {
	return func(w http.ResponseWriter, req *http.Request, nth int) { all[min(nth, len(all)-1)](w, req) }
}

// script is a stream of chunks and what becomes of it then.
func script(end func(http.ResponseWriter), chunks ...string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { writeChunks(w, sent(chunks...), end) }
}

// openEnded is a stream that stays open until its reader leaves.
func openEnded(chunks ...string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, req *http.Request) {
		writeChunks(w, sent(chunks...), func(http.ResponseWriter) { <-req.Context().Done() })
	}
}

// newListeners is a world whose taps do not wait long.
func newListeners(t testing.TB, nodes, routers int) *world {
	w := newWorld(t, nodes, routers)
	for _, r := range w.rs {
		r.tapPause = 2 * time.Millisecond
	}
	return w
}

// On an endpoint over one server the stream is the node's, byte for byte, comments too.
func TestGetIsTheNodesStream(t *testing.T) {
	for _, c := range []struct{ last, passed string }{
		{"", ""}, {"aaaaaaaa.g0.7", "aaaaaaaa.g0.7"}, {"aaaaaaaa.c1.7.Nw", "aaaaaaaa.c1.7.Nw"},
		{"made-up", ""}, {callEventID("memory", "aaaaaaaa.c1.7"), ""}, {mergedID(positions{}, 1), ""},
	} {
		t.Run(c.last, func(t *testing.T) {
			w := newListeners(t, 1, 1)
			session, _ := begin(t, w.rs[0], testServer)
			w.nodes[0].setStream(scripts(openEnded(primed0, event1, comment, "retry: 5\n\n", event2)))
			resp := listen(t.Context(), t, front(t, w.rs[0], testServer), session, c.last)
			reads(t, resp, primed0+event1+comment+"retry: 5\n\n"+event2)
			for name, want := range map[string]string{
				"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no",
			} {
				if got := resp.Header.Get(name); got != want {
					t.Errorf("%s = %q, want %q", name, got, want)
				}
			}
			head := w.nodes[0].gets[0]
			if head.Get(wire.HeaderLastEventID) != c.passed || head.Get("Accept") != wire.TypeEventStream || head.Get(wire.HeaderSession) != session {
				t.Errorf("the node was asked with %v", head)
			}
			if s := w.rs[0].Stats(); s.OpenStreams != 1 || s.InFlight != 0 {
				t.Errorf("stats = %+v", s)
			}
		})
	}
}

// A stream that breaks off is taken up at its node where it broke, as often as it breaks.
func TestGetIsTakenUp(t *testing.T) {
	w := newListeners(t, 2, 1)
	session, home := begin(t, w.rs[0], testServer)
	w.node(home).setStream(scripts(
		script(breakOff, primed0, event1, event2[:20]), script(nil, event2, "retry: 10\n\n"), openEnded(comment)))
	resp := listen(t.Context(), t, front(t, w.rs[0], testServer), session, "")
	reads(t, resp, primed0+event1+event2+"retry: 10\n\n"+comment)
	if got := w.node(home).asked(); !slices.Equal(got, []string{"", "aaaaaaaa.g0.1", "aaaaaaaa.g0.2"}) {
		t.Errorf("asked for %q", got)
	}
	if s := w.rs[0].Stats(); s.Moved != 0 {
		t.Errorf("stats = %+v", s)
	}
}

// A stream that is silent for too long is none: a node sends comments.
func TestGetSilenceIsABreak(t *testing.T) {
	w := newListeners(t, 1, 0)
	r := w.router(w.store, func(c *Config) { c.StreamIdle = 30 * time.Millisecond })
	session, _ := begin(t, r, testServer)
	w.nodes[0].setStream(scripts(openEnded(event1), openEnded(event2)))
	resp := listen(t.Context(), t, front(t, r, testServer), session, "")
	reads(t, resp, event1+event2)
}

// When the node dies its sessions move, those that only listen too.
func TestGetMovesWithItsSession(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		nodes := 2
		if restarted {
			nodes = 1 // another would be as good a place while it is gone
		}
		w := newListeners(t, nodes, 1)
		session, home := begin(t, w.rs[0], testServer)
		w.node(home).setStream(scripts(openEnded(primed0, event1)))
		resp := listen(t.Context(), t, front(t, w.rs[0], testServer), session, "")
		reads(t, resp, primed0+event1)
		to := w.node(home)
		if restarted {
			to.setStream(scripts(openEnded(elsewhere)))
			to.restart()
			w.show()
		} else {
			to = w.other(home)
			to.setStream(scripts(openEnded(elsewhere)))
			w.node(home).kill()
		}
		reads(t, resp, elsewhere)
		if got := to.asked(); got[len(got)-1] != "aaaaaaaa.g0.1" {
			t.Errorf("asked for %q", got)
		}
		if sessions, _ := to.held(); sessions != 1 || to.count("initialize") == 0 {
			t.Errorf("restarted %t: the session was not opened where its stream went", restarted)
		}
	}
}

// A stream that its node has ended without a word of coming back belongs to somebody else now, or
// to nobody: to take it up would take it away.
func TestGetEndedByItsNode(t *testing.T) {
	w := newListeners(t, 1, 1)
	session, _ := begin(t, w.rs[0], testServer)
	w.nodes[0].setStream(scripts(script(nil, event1)))
	ends(t, listen(t.Context(), t, front(t, w.rs[0], testServer), session, ""), event1)
	if got := w.nodes[0].asked(); len(got) != 1 {
		t.Errorf("asked %d times", len(got))
	}
}

// A node that breaks off again and again is not asked for ever; the client's stream ends well, and
// the client decides.
func TestGetGivesUp(t *testing.T) {
	w := newListeners(t, 1, 1)
	session, _ := begin(t, w.rs[0], testServer)
	w.nodes[0].setStream(scripts(script(breakOff, event1), script(breakOff)))
	ends(t, listen(t.Context(), t, front(t, w.rs[0], testServer), session, ""), event1)
	if got := w.nodes[0].asked(); len(got) != maxTapFailures {
		t.Errorf("asked %d times", len(got))
	}
}

func TestGetRefused(t *testing.T) {
	w := newListeners(t, 1, 1)
	session, home := begin(t, w.rs[0], testServer)
	r := w.rs[0]
	for name, c := range map[string]struct {
		req  Request
		want error
	}{
		"no session":       {Request{Scope: testServer}, ErrMissingSession},
		"unknown session":  {Request{Scope: testServer, SessionID: "x"}, ErrUnknownSession},
		"another scope":    {Request{Scope: "other", SessionID: session}, ErrUnknownSession},
		"another subject":  {Request{Scope: testServer, SessionID: session, Subject: "eve"}, ErrUnknownSession},
		"another key":      {Request{Scope: testServer, SessionID: session, Limit: &Limit{}}, ErrUnknownServer},
		"unknown revision": {Request{Scope: testServer, SessionID: session, Header: http.Header{wire.HeaderVersion: {"1999-01-01"}}}, ErrBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			c.req.HTTPMethod = http.MethodGet
			w.fleet.snap.Load().Taken = time.Unix(1, 0) // a snapshot that was read
			fails(t, do(r, c.req), c.want)
		})
	}
	t.Run("one too many", func(t *testing.T) { // in the node's own words
		w.nodes[0].setStream(func(w http.ResponseWriter, _ *http.Request, _ int) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Retry-After", "3")
			w.WriteHeader(http.StatusConflict)
			_, _ = io.WriteString(w, "maxStreams")
		})
		p := do(r, Request{Scope: testServer, SessionID: session, HTTPMethod: http.MethodGet})
		if p.err != nil || p.Code != http.StatusConflict || p.Body.String() != "maxStreams" || p.Header().Get("Retry-After") != "3" {
			t.Errorf("status %d, %v %q, %v", p.Code, p.Header(), p.Body, p.err)
		}
	})
	t.Run("no node", func(t *testing.T) {
		w.node(home).kill()
		w.fleet.set()
		fails(t, do(r, Request{Scope: testServer, SessionID: session, HTTPMethod: http.MethodGet}), ErrNoReplica)
	})
}

// The session is over: its streams are too, and no node is asked again.
func TestGetEndsWithItsSession(t *testing.T) {
	w := newListeners(t, 2, 1)
	session, home := begin(t, w.rs[0], testServer)
	over := make(chan struct{})
	w.node(home).setStream(func(rw http.ResponseWriter, _ *http.Request, _ int) {
		writeChunks(rw, sent(event1), func(http.ResponseWriter) { <-over; breakOff(rw) })
	})
	resp := listen(t.Context(), t, front(t, w.rs[0], testServer), session, "")
	reads(t, resp, event1)
	if p := do(w.rs[0], Request{Scope: testServer, SessionID: session, HTTPMethod: http.MethodDelete}); p.err != nil {
		t.Fatal(p.err)
	}
	close(over)
	ends(t, resp, "")
	if w.other(home).asked() != nil {
		t.Error("the stream of a session that is over was taken up elsewhere")
	}
}

// A client that leaves frees the node's connection at once.
func TestGetClientLeaves(t *testing.T) {
	w := newListeners(t, 1, 1)
	session, _ := begin(t, w.rs[0], testServer)
	dropped := make(chan struct{})
	w.nodes[0].setStream(func(rw http.ResponseWriter, req *http.Request, _ int) {
		openEnded(event1)(rw, req)
		close(dropped)
	})
	ctx, leave := context.WithCancel(t.Context())
	resp := listen(ctx, t, front(t, w.rs[0], testServer), session, "")
	reads(t, resp, event1)
	leave()
	<-dropped
	eventually(t, "the stream is over", func() bool { return w.rs[0].Stats().OpenStreams == 0 })
}

// Open streams keep their session alive though nothing is said.
func TestGetKeepsItsSession(t *testing.T) {
	w := newListeners(t, 1, 1)
	r := w.rs[0]
	session, _ := begin(t, r, testServer)
	w.nodes[0].setStream(scripts(openEnded(event1)))
	reads(t, listen(t.Context(), t, front(t, r, testServer), session, ""), event1)
	tok, err := r.ParseToken(session)
	if err != nil {
		t.Fatal(err)
	}
	r.renew(t.Context())
	s, _ := r.cache.Get(tok.random)
	s.mu.Lock()
	s.seen = time.Now().Add(-2 * r.cfg.SessionTimeout)
	s.mu.Unlock()
	w.store.mu.Lock()
	w.store.touched = nil
	w.store.mu.Unlock()
	r.renew(t.Context())
	w.store.mu.Lock()
	touched := len(w.store.touched)
	w.store.mu.Unlock()
	if touched != 1 || r.idleTooLong(s) {
		t.Error("a session that listens was not renewed")
	}
}

// A coordinator that drains sends those who listen elsewhere; calls that were taken up go on until
// it stops, and are then left to the next one.
func TestEndStreams(t *testing.T) {
	w := newListeners(t, 1, 1)
	r := w.rs[0]
	session, _ := begin(t, r, testServer)
	w.nodes[0].setStream(func(w http.ResponseWriter, req *http.Request, _ int) {
		if strings.Contains(req.Header.Get(wire.HeaderLastEventID), "c") {
			openEnded(callNews)(w, req)
			return
		}
		openEnded(event1)(w, req)
	})
	srv := front(t, r, testServer)
	own, call := listen(t.Context(), t, srv, session, ""), listen(t.Context(), t, srv, session, "aaaaaaaa.c4.0.Nw")
	reads(t, own, event1)
	reads(t, call, callNews)
	r.EndStreams()
	ends(t, own, string(comeBack))
	e := fails(t, do(r, Request{Scope: testServer, SessionID: session, HTTPMethod: http.MethodGet}), ErrNoReplica)
	if v := e.Data.(*verdict); v.Reason != reasonShutdown || v.TraceID == "" || e.RetryAfter == 0 {
		t.Errorf("refused with %s", e.Frame())
	}
	if s := r.Stats(); s.OpenStreams != 1 {
		t.Errorf("stats = %+v", s)
	}
	r.Abandon()
	ends(t, call, string(comeBack))
	if s := r.Stats(); s.OpenStreams != 0 {
		t.Errorf("stats = %+v", s)
	}
}

// The answer to a call is gone on with on any replica, and ends with the response.
func TestResumeCall(t *testing.T) {
	w := newListeners(t, 2, 2)
	session, home := begin(t, w.rs[0], testServer)
	w.node(home).setStream(scripts(script(breakOff, callNews), script(nil, callFinal)))
	ends(t, listen(t.Context(), t, front(t, w.rs[1], testServer), session, "aaaaaaaa.c4.0.Nw"), callNews+callFinal)
	if got := w.node(home).asked(); !slices.Equal(got, []string{"aaaaaaaa.c4.0.Nw", "aaaaaaaa.c4.1.Nw"}) {
		t.Errorf("asked for %q", got)
	}
}

// What is left of a call whose node is gone cannot be had: the session is not moved for it.
func TestResumeCallOfALostNode(t *testing.T) {
	for _, c := range []struct {
		name, last string
		lose       func(w *world, n *fakeNode)
		want       bool // an error for the request
	}{
		{"killed", "aaaaaaaa.c4.0.Nw", func(_ *world, n *fakeNode) { n.kill() }, true},
		{"killed, no request named", "aaaaaaaa.c4.0", func(_ *world, n *fakeNode) { n.kill() }, false},
		{"out of the fleet", "aaaaaaaa.c4.0.Nw", func(w *world, n *fakeNode) { w.fleet.set(w.other(n.id).record(testServer)) }, true},
		{"forgotten", "aaaaaaaa.c4.0.Nw", func(w *world, n *fakeNode) { n.restart(); w.show() }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newListeners(t, 2, 1)
			session, home := begin(t, w.rs[0], testServer)
			c.lose(w, w.node(home))
			resp := listen(t.Context(), t, front(t, w.rs[0], testServer), session, c.last)
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != wire.TypeEventStream {
				t.Fatalf("status %d, %v, %q", resp.StatusCode, err, body)
			}
			ev, _ := wire.NewEventReader(strings.NewReader(string(body)), 1<<20).Next()
			p := parsed(ev.Data)
			if got := p.get("id") == "7" && p.get("error", "code") == "1001" && p.get("error", "data", "reason") == "stream_lost"; got != c.want {
				t.Errorf("got %q", body)
			}
			if sessions, _ := w.other(home).held(); sessions != 0 {
				t.Error("the session was moved for a call that cannot be taken up")
			}
		})
	}
}

// A replica that remembers an old place asks the store before it calls a stream lost.
func TestResumeCallAfterAMove(t *testing.T) {
	w := newListeners(t, 2, 2)
	session, home := begin(t, w.rs[0], testServer)
	invoke(t, w.rs[1], session) // it knows the place now
	w.node(home).kill()
	to := w.other(home)
	to.setStream(scripts(script(nil, callFinal)))
	if p := invoke(t, w.rs[0], session); p.get("result", "node") != string(to.id) {
		t.Fatalf("not moved: %s", p.Body)
	}
	ends(t, listen(t.Context(), t, front(t, w.rs[1], testServer), session, "aaaaaaaa.c4.1.Nw"), callFinal)
}

// Without affinity any replica may have run the call: each is asked.
func TestResumeCallWithoutAffinity(t *testing.T) {
	w := newWorld(t, 3, 0)
	r := w.router(w.store, func(c *Config) { c.NoSticky = true })
	r.tapPause = time.Millisecond
	session, _ := begin(t, r, testServer)
	lost := func(w http.ResponseWriter, _ *http.Request) { refuseAs(w, http.StatusNotFound, wire.RefusedStream) }
	for i, n := range w.nodes {
		n.mu.Lock()
		n.sessions[testServer+" "+session] = &fakeSession{}
		n.mu.Unlock()
		n.setStream(scripts(lost))
		if i == 1 {
			n.setStream(scripts(script(breakOff, comment, callNews), script(nil, callFinal)))
		}
		if i == 2 {
			n.restart() // and has forgotten everything
		}
	}
	w.show()
	srv := front(t, r, testServer)
	ends(t, listen(t.Context(), t, srv, session, "aaaaaaaa.c4.0.Nw"), comment+callNews+callFinal)
	w.nodes[1].setStream(scripts(lost))
	if body, err := io.ReadAll(listen(t.Context(), t, srv, session, "aaaaaaaa.c4.0.Nw").Body); err != nil || !strings.Contains(string(body), "stream_lost") {
		t.Errorf("%q, %v", body, err)
	}
}

// A node that is about to stop still works on a call when its session has moved on, and has the
// stream of the call.
func TestResumeCallAtTheNodeThatRunsIt(t *testing.T) {
	w := newListeners(t, 3, 1)
	r := w.rs[0]
	session, home := begin(t, r, testServer)
	for _, n := range w.nodes {
		n.setStream(scripts(func(w http.ResponseWriter, _ *http.Request) { refuseAs(w, http.StatusNotFound, wire.RefusedStream) }))
	}
	w.node(home).setStream(scripts(script(nil, callNews, callFinal)))
	tok, err := r.cfg.Keys.Parse(session)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := r.cache.Get(tok.random)
	to := w.other(home)
	to.mu.Lock()
	to.sessions[testServer+" "+session] = &fakeSession{}
	to.mu.Unlock()
	s.settle(bound{server: testServer, Binding: store.Binding{Node: to.id, Epoch: to.epoch}})
	ends(t, listen(t.Context(), t, front(t, r, testServer), session, "aaaaaaaa.c4.0.Nw"), callNews+callFinal)
	if place, _ := s.place(testServer); place.Node != to.id {
		t.Errorf("the session sits at %s now", place.Node)
	}
}

// Without affinity a session listens where it was placed first, and is opened elsewhere if need be.
func TestGetWithoutAffinity(t *testing.T) {
	w := newWorld(t, 2, 0)
	r := w.router(w.store, func(c *Config) { c.NoSticky = true })
	r.tapPause = time.Millisecond
	session, home := begin(t, r, testServer)
	w.node(home).setStream(scripts(openEnded(event1)))
	w.other(home).setStream(scripts(openEnded(elsewhere)))
	resp := listen(t.Context(), t, front(t, r, testServer), session, "")
	reads(t, resp, event1)
	w.node(home).kill()
	reads(t, resp, elsewhere)
}

// A POST whose stream breaks off between its node and the coordinator loses nothing.
func TestBrokenCallIsTakenUp(t *testing.T) {
	for _, c := range []struct {
		name  string
		first []string
		end   func(http.ResponseWriter)
		then  func(http.ResponseWriter, *http.Request)
		want  string
		asked []string
	}{
		{"in an event", []string{callPrimed, callNews, callFinal[:20]}, breakOff, script(nil, callFinal), callPrimed + callNews + callFinal, []string{"aaaaaaaa.c4.1.Nw"}},
		{"for another reader", []string{callPrimed}, nil, nil, callPrimed, nil},
		{"for another reader later", []string{callPrimed}, breakOff, script(nil, callNews), callPrimed + callNews, []string{"aaaaaaaa.c4.0.Nw"}},
		{"behind its response", []string{callPrimed, callFinal}, breakOff, nil, callPrimed + callFinal, nil},
		{"told to come back", []string{callPrimed, "retry: 500\n\n"}, nil, nil, callPrimed + "retry: 500\n\n", nil},
		{"told to come back later", []string{callPrimed}, breakOff, script(nil, "retry: 500\n\n"), callPrimed + "retry: 500\n\n", []string{"aaaaaaaa.c4.0.Nw"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newListeners(t, 2, 1)
			session, home := begin(t, w.rs[0], testServer)
			w.node(home).setHook(streaming("tools/call", sent(c.first...), c.end))
			if c.then != nil {
				w.node(home).setStream(scripts(c.then))
			}
			ends(t, postTo(t, front(t, w.rs[0], testServer), session, message("7", "tools/call", "{}")), c.want)
			if got := w.node(home).asked(); !slices.Equal(got, c.asked) {
				t.Errorf("asked for %q, want %q", got, c.asked)
			}
			if s := w.rs[0].Stats(); s.OutcomeUnknown != 0 || s.Resumed != int64(len(c.asked)) {
				t.Errorf("stats = %+v", s)
			}
		})
	}
}

// Clients of older revisions do not come back for an answer: it is taken up for them as long as it
// goes.
func TestBrokenCallOfAnOlderClient(t *testing.T) {
	w := newListeners(t, 1, 1)
	session, home := begin(t, w.rs[0], testServer)
	w.node(home).setHook(streaming("tools/call", sent(callNews), nil))
	w.node(home).setStream(scripts(script(nil, callFinal)))
	p := do(w.rs[0], Request{
		Scope: testServer, SessionID: session, Body: []byte(message("7", "tools/call", "{}")),
		Header: http.Header{wire.HeaderVersion: {wire.Version20250618}},
	})
	if p.err != nil || p.Body.String() != callNews+callFinal {
		t.Errorf("%q, %v", p.Body, p.err)
	}
}

// One that has come back on another connection has the rest there, and nobody takes it away.
func TestCallThatAnotherReaderHasTaken(t *testing.T) {
	w := newListeners(t, 1, 1)
	session, home := begin(t, w.rs[0], testServer)
	w.node(home).setHook(streaming("tools/call", sent(callNews, wire.StreamTaken), nil))
	w.node(home).setStream(scripts(script(nil, callFinal)))
	p := do(w.rs[0], Request{
		Scope: testServer, SessionID: session, Body: []byte(message("7", "tools/call", "{}")),
		Header: http.Header{wire.HeaderVersion: {wire.Version20250618}},
	})
	if p.err != nil || p.Body.String() != callNews+wire.StreamTaken || len(w.node(home).asked()) != 0 {
		t.Errorf("%q, %v; asked for %q", p.Body, p.err, w.node(home).asked())
	}
}

// When the node is gone with it, the answer that broke off is said to be unknown, soon.
func TestBrokenCallOfADeadNode(t *testing.T) {
	w := newListeners(t, 2, 1)
	session, home := begin(t, w.rs[0], testServer)
	hold := make(chan string)
	t.Cleanup(func() { close(hold) })
	w.node(home).setHook(streaming("tools/call", hold, nil))
	resp := postTo(t, front(t, w.rs[0], testServer), session, message("7", "tools/call", "{}"))
	hold <- callPrimed
	reads(t, resp, callPrimed)
	began := time.Now()
	go w.node(home).kill()
	body, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(body), `"code":1001`) || strings.Count(string(body), "data:") != 1 {
		t.Errorf("got %q, %v", body, err)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
}

// A coordinator that stops leaves the calls of clients that can take up a stream to the next one.
func TestAbandonHandsCallsOver(t *testing.T) {
	for version, over := range map[string]bool{wire.Version20251125: true, wire.Version20250618: false} {
		w := newListeners(t, 1, 1)
		r := w.rs[0]
		session, _ := begin(t, r, testServer)
		hold := make(chan string)
		t.Cleanup(func() { close(hold) })
		w.nodes[0].setHook(streaming("tools/call", hold, nil))
		srv := front(t, r, testServer)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, strings.NewReader(message("7", "tools/call", "{}")))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(wire.HeaderSession, session)
		req.Header.Set(wire.HeaderVersion, version)
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		hold <- callPrimed
		reads(t, resp, callPrimed)
		r.Abandon()
		body, err := io.ReadAll(resp.Body)
		if err != nil || (string(body) == string(comeBack)) != over || strings.Contains(string(body), "1001") == over {
			t.Errorf("%s: %q, %v", version, body, err)
		}
	}
}

// The node is told when the answer has to be a stream from the start.
func TestStreamNow(t *testing.T) {
	w := newListeners(t, 1, 1)
	session, _ := begin(t, w.rs[0], testServer)
	for _, now := range []bool{true, false} {
		w.nodes[0].mu.Lock()
		w.nodes[0].heads = nil
		w.nodes[0].mu.Unlock()
		p := do(w.rs[0], Request{
			Scope: testServer, SessionID: session, Body: []byte(message("7", "tools/call", "{}")), StreamNow: now,
			Header: http.Header{wire.HeaderStream: {"never from a client"}},
		})
		want := ""
		if now {
			want = wire.StreamNow
		}
		if got := w.nodes[0].heads[0].Get(wire.HeaderStream); p.err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", wire.HeaderStream, got, p.err, want)
		}
	}
}
