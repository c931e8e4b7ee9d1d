package router

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

const nodesID = `"aaaaaaaa.r1"`

func answerTo(id string) string {
	return `{"jsonrpc":"2.0", "id": ` + id + `, "result":{"action":"accept"}}`
}

// answersOf counts the answers that a node gets and keeps the last.
func answersOf(n *fakeNode, first func(http.ResponseWriter)) (count *atomic.Int32, last *atomic.Value) {
	count, last = new(atomic.Int32), new(atomic.Value)
	n.setHook(func(w http.ResponseWriter, _ *http.Request, f *wire.Frame) bool {
		if f.Kind != wire.Response {
			return false
		}
		last.Store(string(f.Raw))
		if count.Add(1) == 1 && first != nil {
			first(w)
			return true
		}
		w.WriteHeader(http.StatusAccepted)
		return true
	})
	return count, last
}

// The answer of a client comes to the server that asked, on any replica, with the id it asked
// under.
func TestAnswerOverSeveralServers(t *testing.T) {
	w := newWideWorld(t, 2)
	session, s, at := wideSession(t, w, "a")
	_, last := answersOf(at, nil)
	signed := string(w.rs[0].cfg.Keys.signRequestID(s.tok.random, "a", []byte(nodesID)))
	for _, r := range w.rs {
		last.Store("")
		if p := post(t, r, "", session, answerTo(signed)); p.Code != http.StatusAccepted || last.Load() != answerTo(nodesID) {
			t.Errorf("status %d; the node got %s", p.Code, last.Load())
		}
	}
	other, _ := begin(t, w.rs[0], "")
	for name, c := range map[string]struct{ session, id string }{
		"of another session": {other, signed}, "the node's own": {session, nodesID}, "made up": {session, `"a~x~y"`}, "a number": {session, "7"},
		"another server": {session, strings.Replace(signed, `"a~`, `"b~`, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			fails(t, do(w.rs[0], Request{SessionID: c.session, Body: []byte(answerTo(c.id))}), ErrBadRequest)
		})
	}
	t.Run("for a server outside of the key", func(t *testing.T) {
		last.Store("")
		p := do(w.rs[0], Request{SessionID: session, Body: []byte(answerTo(signed)), Limit: &Limit{}})
		if p.err != nil || p.Code != http.StatusAccepted || last.Load() != "" || w.rs[0].Stats().Unanswerable != 1 {
			t.Errorf("status %d, %v; the node got %s", p.Code, p.err, last.Load())
		}
	})
}

// An answer goes to the node that asked or to none.
func TestAnswerIsNotMoved(t *testing.T) {
	for _, scope := range []string{testServer, ""} {
		for name, lose := range map[string]func(w *world, n *fakeNode){
			"killed":          func(_ *world, n *fakeNode) { n.kill() },
			"out of the snap": func(w *world, n *fakeNode) { w.fleet.set() },
			"forgotten":       func(_ *world, n *fakeNode) { n.mu.Lock(); clear(n.sessions); n.mu.Unlock() },
		} {
			t.Run(scope+"/"+name, func(t *testing.T) {
				var w *world
				var session string
				var at *fakeNode
				id := nodesID
				if scope == "" {
					var s *wideState
					w = newWideWorld(t, 1)
					session, s, at = wideSession(t, w, "a")
					id = string(w.rs[0].cfg.Keys.signRequestID(s.tok.random, "a", []byte(nodesID)))
				} else {
					w = newWorld(t, 2, 1)
					s, home := begin(t, w.rs[0], scope)
					session, at = s, w.node(home)
				}
				opened := w.rs[0].Stats().Opened
				lose(w, at)
				p := post(t, w.rs[0], scope, session, answerTo(id))
				if s := w.rs[0].Stats(); p.Code != http.StatusAccepted || s.Unanswerable != 1 || s.Opened != opened || s.Moved != 0 {
					t.Errorf("status %d, stats %+v", p.Code, s)
				}
			})
		}
	}
}

// A replica with an old place finds the node where the session sits now.
func TestAnswerFollowsItsSession(t *testing.T) {
	w := newWorld(t, 2, 2)
	session, home := begin(t, w.rs[0], testServer)
	invoke(t, w.rs[1], session)
	w.node(home).kill()
	invoke(t, w.rs[0], session) // moves it
	count, _ := answersOf(w.other(home), nil)
	if p := post(t, w.rs[1], testServer, session, answerTo(nodesID)); p.Code != http.StatusAccepted || count.Load() != 1 {
		t.Errorf("status %d, the node got %d answers", p.Code, count.Load())
	}
}

// A node that is about to stop still works on a call when its session has moved on. What its server
// asks in that call is answered there.
func TestAnswerGoesBackToTheNodeThatAsked(t *testing.T) {
	w := newWorld(t, 3, 1)
	r := w.rs[0]
	session, home := begin(t, r, testServer)
	refuse := func(w http.ResponseWriter, _ *http.Request, f *wire.Frame) bool {
		refuseAs(w, http.StatusNotFound, wire.RefusedAnswer)
		return true
	}
	for _, n := range w.nodes {
		n.setHook(refuse)
	}
	count, last := answersOf(w.node(home), nil)
	tok, err := r.cfg.Keys.Parse(session)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := r.cache.Get(tok.random)
	s.settle(bound{server: testServer, Binding: store.Binding{Node: w.other(home).id, Epoch: w.other(home).epoch}})
	if p := post(t, r, testServer, session, answerTo(nodesID)); p.Code != http.StatusAccepted || count.Load() != 1 || last.Load() != answerTo(nodesID) {
		t.Errorf("status %d; the node that asked got %d answers, the last %s", p.Code, count.Load(), last.Load())
	}
	if stats := r.Stats(); stats.Unanswerable != 0 || stats.Moved != 0 {
		t.Errorf("stats %+v", stats)
	}
	w.node(home).setHook(refuse)
	if p := post(t, r, testServer, session, answerTo(nodesID)); p.Code != http.StatusAccepted || r.Stats().Unanswerable != 1 {
		t.Errorf("of nobody: status %d, stats %+v", p.Code, r.Stats())
	}
}

// The connection broke and nobody knows whether the answer came through: it is sent again, to the
// same node, which drops one that it has.
func TestAnswerIsSentAgain(t *testing.T) {
	w := newWorld(t, 2, 1)
	session, home := begin(t, w.rs[0], testServer)
	count, last := answersOf(w.node(home), breakOff)
	if p := post(t, w.rs[0], testServer, session, answerTo(nodesID)); p.Code != http.StatusAccepted || count.Load() != 2 || last.Load() != answerTo(nodesID) {
		t.Errorf("status %d after %d", p.Code, count.Load())
	}
	t.Run("and again", func(t *testing.T) { // until it is time to say so
		w.node(home).setHook(func(http.ResponseWriter, *http.Request, *wire.Frame) bool { panic(http.ErrAbortHandler) })
		fails(t, do(w.rs[0], Request{Scope: testServer, SessionID: session, Body: []byte(answerTo(nodesID))}), ErrBadGateway)
	})
}

// What the node says of an answer is passed on.
func TestAnswerRefusedByItsNode(t *testing.T) {
	w := newWorld(t, 1, 1)
	session, _ := begin(t, w.rs[0], testServer)
	answersOf(w.nodes[0], func(w http.ResponseWriter) { http.Error(w, "none of ours", http.StatusBadRequest) })
	if p := post(t, w.rs[0], testServer, session, answerTo("7")); p.Code != http.StatusBadRequest || !strings.Contains(p.Body.String(), "none of ours") {
		t.Errorf("status %d, %s", p.Code, p.Body)
	}
}

// Without affinity nobody knows which replica asked.
func TestAnswerWithoutAffinity(t *testing.T) {
	w := newWorld(t, 2, 0)
	r := w.router(w.store, func(c *Config) { c.NoSticky = true })
	session, _ := begin(t, r, testServer)
	one, _ := answersOf(w.nodes[0], nil)
	two, _ := answersOf(w.nodes[1], nil)
	if p := post(t, r, testServer, session, answerTo(nodesID)); p.Code != http.StatusAccepted || one.Load() != 1 || two.Load() != 1 {
		t.Errorf("status %d; %d and %d", p.Code, one.Load(), two.Load())
	}
}

// The session was ended meanwhile.
func TestAnswerOfAnEndedSession(t *testing.T) {
	w := newWorld(t, 1, 2)
	session, _ := begin(t, w.rs[0], testServer)
	invoke(t, w.rs[1], session)
	if p := do(w.rs[0], Request{Scope: testServer, SessionID: session, HTTPMethod: http.MethodDelete}); p.err != nil {
		t.Fatal(p.err)
	}
	p := do(w.rs[1], Request{Scope: testServer, SessionID: session, Body: []byte(answerTo(nodesID))})
	if !errors.Is(p.err, ErrUnknownSession) {
		t.Errorf("status %d, %v", p.Code, p.err)
	}
}
