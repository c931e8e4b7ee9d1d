package router

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// startAs sends an initialize as a client of a name.
func startAs(r *Router, subject, scope string) reply {
	return do(r, Request{Scope: scope, Subject: subject, Header: http.Header{}, Body: []byte(message("1", "initialize", initParams))})
}

// A client has a limited number of sessions in the fleet, whichever coordinators it goes to and
// whether they are with one server or with several.
func TestSessionsOfAClientAreLimited(t *testing.T) {
	w, _, stores := newRedisWorld(t, 1, 2)
	for i, s := range stores {
		w.rs[i] = w.router(s, func(c *Config) { c.MaxSessionsPerKey = 2 })
	}
	first := startAs(w.rs[0], "ann", testServer)
	if p := startAs(w.rs[1], "ann", ""); first.err != nil || p.err != nil {
		t.Fatalf("the sessions that she may have: %v, %v", first.err, p.err)
	}
	before := w.nodes[0].count("initialize")
	for i, scope := range []string{testServer, ""} {
		e := fails(t, startAs(w.rs[i], "ann", scope), ErrTooManySessions)
		if e.RetryAfter <= 0 || !strings.Contains(e.Message, "has 2 sessions") || !strings.Contains(e.Message, "systemConfig.limits.maxSessionsPerKey") || string(e.ID) != "1" {
			t.Errorf("the error is %+v", e)
		}
	}
	if n := w.nodes[0].count("initialize"); n != before {
		t.Errorf("the node heard of %d sessions that were refused", n-before)
	}
	for range 3 {
		if p := startAs(w.rs[0], "", testServer); p.err != nil {
			t.Errorf("a client without a name: %v", p.err)
		}
	}
	if p := startAs(w.rs[0], "bob", ""); p.err != nil {
		t.Errorf("another client: %v", p.err)
	}
	end := Request{HTTPMethod: http.MethodDelete, Scope: testServer, Subject: "ann", SessionID: first.session(), Header: http.Header{}}
	if p := do(w.rs[1], end); p.err != nil {
		t.Fatal(p.err)
	}
	if p := startAs(w.rs[1], "ann", testServer); p.err != nil {
		t.Errorf("in place of one that was ended: %v", p.err)
	}
}

// A session that could not be started takes nothing from its client.
func TestSessionsThatDoNotBeginAreNotCounted(t *testing.T) {
	w := newWorld(t, 1, 0)
	r := w.router(w.store, func(c *Config) { c.MaxSessionsPerKey = 1 })
	w.nodes[0].kill()
	for range 3 {
		fails(t, startAs(r, "ann", testServer), ErrNoReplica)
	}
	fails(t, startAs(r, "ann", "unknown"), ErrUnknownServer)
	if p := startAs(r, "ann", ""); p.err != nil {
		t.Errorf("the one session that she may have: %v", p.err)
	}
	fails(t, startAs(r, "ann", ""), ErrTooManySessions)
}

func TestSessionsAreNotLimitedWithoutTheStore(t *testing.T) {
	w := newWorld(t, 1, 0)
	r := w.router(w.store, func(c *Config) { c.MaxSessionsPerKey = 1 })
	w.store.setDown(true)
	for range 3 {
		if p := startAs(r, "ann", testServer); p.err != nil {
			t.Errorf("initialize: %v", p.err)
		}
	}
}

func TestSessionsAreNotCountedWithoutALimit(t *testing.T) {
	w := newWorld(t, 1, 1)
	startAs(w.rs[0], "ann", testServer)
	startAs(w.rs[0], "ann", "unknown")
	if n := w.store.ops["claim"] + w.store.ops["unclaim"]; n != 0 {
		t.Errorf("the store was asked %d times", n)
	}
}

// Clients that begin many sessions at once get no more than they may have.
func TestSessionsThatBeginAtOnceAreLimited(t *testing.T) {
	w, _, stores := newRedisWorld(t, 1, 2)
	r := w.router(stores[0], func(c *Config) { c.MaxSessionsPerKey = 3 })
	var begun atomic.Int32
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			if p := startAs(r, "ann", ""); p.err == nil {
				begun.Add(1)
			}
		})
	}
	all.Wait()
	if begun.Load() != 3 {
		t.Errorf("%d sessions have begun, want 3", begun.Load())
	}
}
