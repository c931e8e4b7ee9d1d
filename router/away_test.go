package router

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// With the store away every replica moves the session to the same node, and the store agrees
// later.
func TestFailoverWithStoreAway(t *testing.T) {
	w := newWorld(t, 4, 2)
	var sessions []string
	homes := map[string]store.NodeID{}
	for range 12 {
		s, at := begin(t, w.rs[0], testServer)
		sessions, homes[s] = append(sessions, s), at
		invoke(t, w.rs[1], s)
	}
	w.store.setDown(true)
	dead := w.node(homes[sessions[0]])
	dead.kill()
	moved := 0
	for _, s := range sessions {
		a, b := invoke(t, w.rs[0], s).get("result", "node"), invoke(t, w.rs[1], s).get("result", "node")
		if a != b {
			t.Errorf("replicas carried one session to %s and %s", a, b)
		}
		if homes[s] != dead.id && a != string(homes[s]) {
			t.Errorf("a session of %s was moved to %s", homes[s], a)
		}
		if homes[s] == dead.id {
			moved++
		}
	}
	if moved == 0 {
		t.Fatal("no session sat on the dead node")
	}
	w.store.setDown(false)
	for _, r := range w.rs {
		r.catchUp(context.Background())
	}
	for _, s := range sessions {
		at := invoke(t, w.rs[0], s).get("result", "node")
		rec, ok := w.store.get(mustToken(t, w.rs[0], s).SessionID())
		if !ok || string(rec.Bindings[testServer].Node) != at {
			t.Errorf("the store has %v, the session is served by %s", rec.Bindings, at)
		}
	}
}

func TestStoreAway(t *testing.T) {
	w := newWorld(t, 2, 2)
	before, home := begin(t, w.rs[0], testServer)
	w.store.setDown(true)
	// A replica that has never seen the session finds its node by the id alone.
	if got := invoke(t, w.rs[1], before).get("result", "node"); got != string(home) {
		t.Errorf("the call ran on %q, want %q", got, home)
	}
	during, at := begin(t, w.rs[0], testServer)
	if got := invoke(t, w.rs[1], during).get("result", "node"); got != string(at) {
		t.Errorf("a session begun with the store away: call ran on %q, want %q", got, at)
	}
	id := mustToken(t, w.rs[0], during).SessionID()
	if _, ok := w.store.get(id); ok {
		t.Fatal("the store was not away")
	}
	w.store.setDown(false)
	w.rs[0].catchUp(context.Background())
	if rec, ok := w.store.get(id); !ok || string(rec.Init) != initParams || rec.Bindings[testServer].Node != at {
		t.Errorf("written back: %+v, %t", rec, ok)
	}
	w.rs[1].catchUp(context.Background())
	if s, _ := w.rs[1].cache.Peek(mustToken(t, w.rs[1], during).random); s == nil || string(s.init) != initParams {
		t.Error("the other replica has not learned the session when the store was back")
	}
}

// DELETE with the store away is over here at once, and recorded when the store is back.
func TestDeleteWithStoreAway(t *testing.T) {
	w := newWorld(t, 1, 1)
	session, _ := begin(t, w.rs[0], testServer)
	w.store.setDown(true)
	fails(t, do(w.rs[0], Request{Scope: testServer, SessionID: session, HTTPMethod: "DELETE"}), ErrUnavailable)
	if held, _ := w.nodes[0].held(); held != 0 {
		t.Error("the node still holds the session")
	}
	fails(t, invokeQuietly(w.rs[0], session), ErrUnknownSession)
	w.store.setDown(false)
	w.rs[0].catchUp(context.Background())
	if !w.store.ended[mustToken(t, w.rs[0], session).SessionID()] {
		t.Error("the end was not recorded")
	}
}

// A store that comes back empty gets back what is cached, used or not.
func TestEmptiedStoreIsFilledAgain(t *testing.T) {
	w := newWorld(t, 2, 1)
	r := w.rs[0]
	used, _ := begin(t, r, testServer)
	unused, _ := begin(t, r, testServer)
	ended, _ := begin(t, r, testServer)
	r.renew(context.Background())
	if p := do(r, Request{Scope: testServer, SessionID: ended, HTTPMethod: "DELETE"}); p.err != nil {
		t.Fatal(p.err)
	}
	w.store.wipe()
	invoke(t, r, used)
	for range 2 { // the first finds the loss, the second what else was lost
		r.renew(context.Background())
		r.catchUp(context.Background())
	}
	for name, s := range map[string]string{"used": used, "unused": unused} {
		if _, ok := w.store.get(mustToken(t, r, s).SessionID()); !ok {
			t.Errorf("the %s session was not written back", name)
		}
	}
	if _, ok := w.store.get(mustToken(t, r, ended).SessionID()); ok {
		t.Error("an ended session was written back")
	}
	if got := r.Stats().Recovered; got != 2 {
		t.Errorf("recovered = %d, want 2", got)
	}
}

// The store lost the session, its node is dead, and this replica never saw its initialize:
// unless somebody writes it back, nobody can replay it, and the client must start anew.
func TestLostSession(t *testing.T) {
	w := newWorld(t, 2, 2)
	session, home := begin(t, w.rs[0], testServer)
	w.store.wipe()
	if got := invoke(t, w.rs[1], session).get("result", "node"); got != string(home) {
		t.Errorf("with its node alive the session was served by %q", got)
	}
	w.node(home).kill()
	e := fails(t, invokeQuietly(w.rs[1], session), ErrUnavailable)
	if v, ok := e.Data.(*verdict); !ok || v.Outcome != "not_executed" || v.TraceID == "" || e.Code != wire.CodeNotExecuted || e.RetryAfter <= 0 {
		t.Errorf("while it may be written back: %+v, data %+v", e, e.Data)
	}
	waitedFor(t, w.rs[1], session)
	fails(t, invokeQuietly(w.rs[1], session), ErrUnknownSession)
	if got := w.rs[1].Stats().Lost; got != 1 {
		t.Errorf("lost = %d, want 1", got)
	}
	// The replica that has it cached moves it, and writes it back while it does.
	if p := invoke(t, w.rs[0], session); p.get("result", "node") != string(w.other(home).id) {
		t.Errorf("%s", p.Body)
	}
	if got := invoke(t, w.rs[1], session).get("result", "node"); got != string(w.other(home).id) {
		t.Errorf("after the write-back the other replica's call ran on %q", got)
	}
}

// Not lost but not to be had: the store may be back soon, so the client is asked to wait.
func TestUnreplayableWithStoreAway(t *testing.T) {
	w := newWorld(t, 2, 2)
	session, home := begin(t, w.rs[0], testServer)
	w.store.setDown(true)
	w.node(home).kill()
	e := fails(t, invokeQuietly(w.rs[1], session), ErrNoReplica)
	if e.RetryAfter <= 0 {
		t.Error("no Retry-After")
	}
	w.store.setDown(false)
	if got := invoke(t, w.rs[1], session).get("result", "node"); got != string(w.other(home).id) {
		t.Errorf("with the store back the call ran on %q", got)
	}
}

// Expired everywhere: the id alone does not bring a session back.
func TestExpiredSession(t *testing.T) {
	w := newWorld(t, 1, 1)
	r := w.rs[0]
	for _, scope := range []string{testServer, ""} {
		home, epoch, name := store.NodeID("node-1"), store.Epoch(1), testServer
		if scope == "" {
			home, epoch, name = "", 0, store.ScopeAll
		}
		tok, err := r.cfg.Keys.Mint(name, "", home, epoch, time.Now().Add(-2*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		fails(t, do(r, Request{Scope: scope, SessionID: tok.String(), Body: []byte(message("1", "ping", ""))}), ErrUnknownSession)
	}
}

// A cached session that was idle for its whole life is not taken on trust.
func TestIdleCacheEntryIsCheckedAgain(t *testing.T) {
	w := newWorld(t, 2, 1)
	r := w.rs[0]
	session, home := begin(t, r, testServer)
	s, _ := r.cache.Peek(mustToken(t, r, session).random)
	age := func() {
		s.mu.Lock()
		s.seen = time.Now().Add(-2 * time.Hour)
		s.mu.Unlock()
	}
	age()
	before := r.Stats().StoreReads
	invoke(t, r, session)
	if got := r.Stats().StoreReads - before; got != 1 {
		t.Errorf("%d reads for a session idle for too long, want 1", got)
	}
	age()
	w.store.wipe() // expired there
	w.node(home).restart()
	w.show()
	fails(t, invokeQuietly(r, session), ErrUnknownSession)
}

func TestRenewalIsBatched(t *testing.T) {
	w := newWorld(t, 1, 1)
	r := w.rs[0]
	a, _ := begin(t, r, testServer)
	b, _ := begin(t, r, testServer)
	for range 50 {
		invoke(t, r, a)
	}
	r.renew(context.Background())
	if w.store.ops["touch"] != 1 || len(w.store.touched) != 2 {
		t.Errorf("%d renewals of %d sessions, want one of both", w.store.ops["touch"], len(w.store.touched))
	}
	r.renew(context.Background())
	if w.store.ops["touch"] != 1 {
		t.Error("sessions that were not used were renewed")
	}
	w.store.setDown(true)
	invoke(t, r, b)
	r.renew(context.Background())
	w.store.setDown(false)
	w.store.touched = nil
	r.renew(context.Background())
	if want := mustToken(t, r, b).SessionID(); !slices.Contains(w.store.touched, want) {
		t.Error("a renewal that failed was not tried again")
	}
}

// A place that the store was never told of, because it had lost the session and this replica
// does not know how to write it back, gives way to the place that the store has later.
func TestUnsavedPlaceOfALostSessionGivesWay(t *testing.T) {
	w := newWorld(t, 2, 2)
	knows, guest := w.rs[0], w.rs[1]
	ctx := context.Background()
	session, home := begin(t, knows, testServer)
	w.store.setDown(true)
	n := w.node(home)
	n.mu.Lock()
	n.epoch = 2 // the same process under a new epoch: its sessions are there
	n.mu.Unlock()
	w.show()
	invoke(t, guest, session) // it knows the id only
	w.store.wipe()
	w.store.setDown(false)
	guest.catchUp(ctx)
	guest.catchUp(ctx)
	invoke(t, knows, session)
	knows.renew(ctx)
	knows.catchUp(ctx) // written back
	n.setHook(func(rw http.ResponseWriter, _ *http.Request, _ *wire.Frame) bool {
		refuseAs(rw, http.StatusServiceUnavailable, wire.RefusedLease)
		return true
	})
	at := invoke(t, knows, session).get("result", "node")
	n.setHook(nil)
	if at == string(home) {
		t.Fatal("the session did not move")
	}
	s, _ := guest.cache.Peek(mustToken(t, guest, session).random)
	guest.reload(ctx, s) // the hint of the move
	if got := invoke(t, guest, session).get("result", "node"); got != at {
		t.Errorf("the session was moved to %s, the other replica calls %s", at, got)
	}
}

// Requests that share one look at the store do not share the error that comes of it.
func TestSharedErrorsKeepTheirIDs(t *testing.T) {
	w := newWorld(t, 1, 1)
	r := w.rs[0]
	tok, err := r.cfg.Keys.Mint(store.ScopeAll, "", "", 0, time.Now().Add(-2*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	const requests = 8
	goOn := make(chan struct{})
	w.store.mu.Lock()
	w.store.onRead = func() { <-goOn }
	w.store.mu.Unlock()
	var all sync.WaitGroup
	for i := range requests {
		all.Go(func() {
			id := strconv.Itoa(100 + i)
			p := do(r, Request{SessionID: tok.String(), Body: []byte(message(id, "tools/list", ""))})
			if e := fails(t, p, ErrUnknownSession); string(e.ID) != id {
				t.Errorf("request %s was answered under the id %s", id, e.ID)
			}
		})
	}
	eventually(t, "all requests are under way", func() bool { return r.Stats().InFlight == requests })
	close(goOn)
	all.Wait()
}

// waitedFor lets the time pass that a lost session is waited for.
func waitedFor(t testing.TB, r *Router, session string) {
	t.Helper()
	s, ok := r.cache.Peek(mustToken(t, r, session).random)
	if !ok {
		t.Fatal("the session is not cached")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.missed.IsZero() {
		t.Fatal("the session was not missed")
	}
	s.missed = s.missed.Add(-lossGrace)
}

// A store that was away and is empty now gets everything back with the first look at it.
func TestOutageIsFollowedByAFullRenewal(t *testing.T) {
	w := newWorld(t, 1, 1)
	r := w.rs[0]
	session, _ := begin(t, r, testServer)
	r.renew(context.Background())
	w.store.setDown(true)
	r.catchUp(context.Background())
	w.store.wipe()
	w.store.setDown(false)
	r.catchUp(context.Background())
	if _, ok := w.store.get(mustToken(t, r, session).SessionID()); !ok {
		t.Error("the session was not written back")
	}
}

// A store that is emptied without ever being away is noticed, also while nobody asks anything.
func TestStoreEmptiedUnnoticedIsFilledAgain(t *testing.T) {
	w := newWorld(t, 1, 1)
	running(t, w.rs[0])
	var ids []store.SessionID
	for range 3 {
		session, _ := begin(t, w.rs[0], testServer)
		ids = append(ids, mustToken(t, w.rs[0], session).SessionID())
	}
	w.store.wipe()
	eventually(t, "all sessions are in the store again", func() bool {
		for _, id := range ids {
			if _, ok := w.store.get(id); !ok {
				return false
			}
		}
		return true
	})
}

// The replica that is asked does not know the session and the store has lost it: the one that
// knows it is found, and the client notices nothing.
func TestLostSessionIsSoughtAtOtherReplicas(t *testing.T) {
	for _, scope := range []string{testServer, ""} {
		w := newWorld(t, 2, 1)
		running(t, w.rs[0])
		asked := w.router(w.store, func(c *Config) { c.PlaceWait = 5 * time.Second })
		session, home := begin(t, w.rs[0], scope)
		call := message("7", "tools/call", `{"name":"inc"}`)
		if scope == "" {
			call = message("7", "tools/call", `{"name":"memory-inc"}`)
		} else {
			w.node(home).kill()
		}
		eventually(t, "hints are taken", func() bool {
			w.store.mu.Lock()
			defer w.store.mu.Unlock()
			return len(w.store.subs) > 0
		})
		w.rs[0].doubt.witness.Store(nil) // it does not notice by itself
		w.store.wipe()
		if p := do(asked, Request{Scope: scope, SessionID: session, Body: []byte(call)}); p.err != nil || p.get("result", "node") == "" {
			t.Errorf("scope %q: %v %s", scope, p.err, p.Body)
		}
	}
}

// The age of a session proves nothing while the store is in doubt.
func TestOldSessionWhileTheStoreIsInDoubt(t *testing.T) {
	w := newWorld(t, 1, 1)
	r := w.rs[0]
	tok, err := r.cfg.Keys.Mint(store.ScopeAll, "", "", 0, time.Now().Add(-2*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	other, _ := begin(t, r, "")
	w.store.setDown(true)
	s, _ := r.cache.Peek(mustToken(t, r, other).random)
	r.reload(context.Background(), s)
	w.store.wipe()
	w.store.setDown(false)
	req := Request{SessionID: tok.String(), Body: []byte(message("1", "tools/list", ""))}
	if e := fails(t, do(r, req), ErrUnavailable); e.RetryAfter <= 0 || string(e.ID) != "1" || e.Data.(*verdict).TraceID == "" {
		t.Errorf("%+v, data %+v", e, e.Data)
	}
	r.doubt.start = r.doubt.start.Add(-lossGrace) // that much time passes
	fails(t, do(r, req), ErrUnknownSession)
}

// What waits for the store is bounded, however many sessions begin while it is away.
func TestBacklogIsBounded(t *testing.T) {
	w := newWorld(t, 1, 0)
	r := w.router(w.store, func(c *Config) { c.CacheSize = 4 })
	w.store.setDown(true)
	for range 10 {
		begin(t, r, testServer)
	}
	if got := len(r.todo.creates); got != 4 {
		t.Errorf("%d sessions wait to be written, want 4", got)
	}
}
