package router

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

func TestKilledNodeSessionGoesOn(t *testing.T) {
	w := newWorld(t, 3, 3)
	running(t, w.rs[0])
	session, home := begin(t, w.rs[0], testServer)
	invoke(t, w.rs[1], session)
	w.node(home).kill()

	p := invoke(t, w.rs[0], session)
	at := p.get("result", "node")
	if at == string(home) || at == "" {
		t.Fatalf("the call ran on %q", at)
	}
	if p.get("result", "initialized") != "true" {
		t.Error("the call ran before notifications/initialized was replayed")
	}
	moved := w.node(store.NodeID(at))
	moved.mu.Lock()
	replayed := moved.sessions[testServer+" "+session]
	moved.mu.Unlock()
	if replayed == nil || replayed.init != initParams {
		t.Errorf("replayed initialize = %+v, want the client's own params under its own id", replayed)
	}
	id := mustToken(t, w.rs[0], session).SessionID()
	if rec, _ := w.store.get(id); rec.Bindings[testServer].Node != store.NodeID(at) {
		t.Errorf("stored binding = %v, want %s", rec.Bindings, at)
	}
	// The others have the old place in their caches, or have never heard of the session.
	for i, r := range w.rs {
		if got := invoke(t, r, session).get("result", "node"); got != at {
			t.Errorf("replica %d carried the next call to %q, want %q", i, got, at)
		}
	}
	if n := moved.count("initialize"); n != 1 {
		t.Errorf("the session was opened %d times on its new node, want once for the fleet", n)
	}
	if s := w.rs[0].Stats(); s.Moved != 1 || s.OutcomeUnknown != 0 {
		t.Errorf("stats = %+v, want one move and no unknown outcome", s)
	}
	eventually(t, "the move is an event", func() bool { return slices.Contains(w.store.kinds(), store.EventSessionMoved) })
}

func TestRestartedNodeGetsItsSessionAgain(t *testing.T) {
	for _, c := range []struct {
		name string
		show bool // the snapshot has the new epoch already
	}{{"known", true}, {"not known yet", false}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, 0)
			r := w.router(w.store, func(cfg *Config) { cfg.PlaceWait = 10 * time.Second })
			session, _ := begin(t, r, testServer)
			w.nodes[0].restart()
			if c.show {
				w.show()
			} else {
				time.AfterFunc(50*time.Millisecond, w.show)
			}
			p := invoke(t, r, session)
			if p.get("result", "calls") != "1" || p.get("result", "initialized") != "true" {
				t.Errorf("%s", p.Body)
			}
			rec, _ := w.store.get(mustToken(t, r, session).SessionID())
			if got := rec.Bindings[testServer]; got != (store.Binding{Node: "node-1", Epoch: 2}) {
				t.Errorf("stored binding = %v, want node-1#2", got)
			}
		})
	}
}

func TestNodeGoneFromSnapshot(t *testing.T) {
	w := newWorld(t, 2, 1)
	session, home := begin(t, w.rs[0], testServer)
	other := w.other(home)
	w.fleet.set(other.record(testServer))
	if got := invoke(t, w.rs[0], session).get("result", "node"); got != string(other.id) {
		t.Errorf("the call ran on %q, want %q", got, other.id)
	}
}

// Two coordinators fail one session over at the same moment: one binding stands, and whoever
// lost closes what it had opened and follows.
func TestConcurrentFailoverAgrees(t *testing.T) {
	for round := range 20 {
		w := newWorld(t, 3, 2)
		session, home := begin(t, w.rs[0], testServer)
		invoke(t, w.rs[1], session)
		dead := w.node(home)
		dead.kill()
		// Each coordinator prefers another survivor, by what it believes of their loads.
		var left []store.Node
		for _, n := range w.fleet.Snapshot().Nodes {
			if n.ID != home {
				left = append(left, n)
			}
		}
		for i, r := range w.rs {
			s, _ := left[i].Server(testServer)
			for range 50 {
				r.loads.begin(&left[i], &s)
				r.loads.end(&left[i], &s, -1, true)
			}
		}
		// Both have opened the session before either binds it.
		var opened sync.WaitGroup
		opened.Add(2)
		var once [2]sync.Once
		var calls atomic.Int32
		w.store.mu.Lock()
		w.store.onBind = func() {
			if n := calls.Add(1); n <= 2 {
				once[n-1].Do(opened.Done)
				opened.Wait()
			}
		}
		w.store.mu.Unlock()
		answers := make([]reply, 2)
		var all sync.WaitGroup
		for i := range answers {
			all.Go(func() {
				answers[i] = do(w.rs[i], Request{Scope: testServer, SessionID: session, Body: []byte(message("1", "tools/call", "{}"))})
			})
		}
		all.Wait()
		rec, _ := w.store.get(mustToken(t, w.rs[0], session).SessionID())
		winner := rec.Bindings[testServer].Node
		for i, p := range answers {
			if p.err != nil || p.get("result", "node") != string(winner) {
				t.Fatalf("round %d: replica %d: %v %s, want an answer of %s", round, i, p.err, p.Body, winner)
			}
		}
		held, deletes := 0, 0
		for _, n := range left {
			h, d := w.node(n.ID).held()
			held, deletes = held+h, deletes+d
			if h > 0 != (n.ID == winner) {
				t.Errorf("round %d: %s holds %d sessions, the winner is %s", round, n.ID, h, winner)
			}
		}
		if held != 1 || deletes != 1 {
			t.Errorf("round %d: %d sessions left open and %d closed, want 1 and 1", round, held, deletes)
		}
		if f := w.rs[0].Stats().Followed + w.rs[1].Stats().Followed; f != 1 {
			t.Errorf("round %d: %d replicas followed, want 1", round, f)
		}
	}
}

// However many requests of one session meet the dead node in one replica, one moves it.
func TestConcurrentRequestsMoveOnce(t *testing.T) {
	w := newWorld(t, 3, 1)
	session, home := begin(t, w.rs[0], testServer)
	w.node(home).kill()
	var all sync.WaitGroup
	var failed atomic.Int32
	for range 30 {
		all.Go(func() {
			if p := do(w.rs[0], Request{Scope: testServer, SessionID: session, Body: []byte(message("1", "tools/call", "{}"))}); p.err != nil || p.get("result", "node") == "" {
				failed.Add(1)
			}
		})
	}
	all.Wait()
	opens := 0
	for _, n := range w.nodes {
		if n.id != home {
			opens += n.count("initialize")
		}
	}
	if opens != 1 || failed.Load() != 0 {
		t.Errorf("the session was opened %d times, %d of 30 calls failed; want once and none", opens, failed.Load())
	}
}

// The lease has lapsed, but the node answers: two witnesses are needed, so nothing moves.
func TestLapsedNodeThatAnswersKeepsItsSessions(t *testing.T) {
	w := newWorld(t, 2, 1)
	session, home := begin(t, w.rs[0], testServer)
	w.fleet.change(home, func(n *store.Node) { n.State = store.NodeUnhealthy })
	if got := invoke(t, w.rs[0], session).get("result", "node"); got != string(home) {
		t.Errorf("the call ran on %q, want %q", got, home)
	}
	if _, at := begin(t, w.rs[0], testServer); at == home {
		t.Error("a lapsed node got a new session")
	}
}

func TestLapsedNodeThatIsSilentLosesThem(t *testing.T) {
	for name, health := range map[string]func(done <-chan struct{}) func(http.ResponseWriter){
		"hangs": func(done <-chan struct{}) func(http.ResponseWriter) { return func(http.ResponseWriter) { <-done } },
		"is another node": func(<-chan struct{}) func(http.ResponseWriter) {
			return func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"id":"node-9"}`) }
		},
		"says it is broken": func(<-chan struct{}) func(http.ResponseWriter) {
			return func(w http.ResponseWriter) { w.WriteHeader(500) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 2, 0)
			r := w.router(w.store, func(c *Config) { c.ProbeTimeout = 100 * time.Millisecond })
			session, home := begin(t, r, testServer)
			done := make(chan struct{})
			t.Cleanup(func() { close(done) })
			n := w.node(home)
			n.mu.Lock()
			n.health = health(done)
			n.mu.Unlock()
			w.fleet.change(home, func(n *store.Node) { n.State = store.NodeUnhealthy })
			if got := invoke(t, r, session).get("result", "node"); got != string(w.other(home).id) {
				t.Errorf("the call ran on %q, want the other node", got)
			}
		})
	}
}

// A frozen node accepts and never answers. Once its lease has lapsed and it is silent when
// asked, whoever waits for it is told.
func TestFrozenNodeIsGivenUp(t *testing.T) {
	w := newWorld(t, 2, 0)
	r := w.router(w.store, func(c *Config) { c.ProbeTimeout = 100 * time.Millisecond })
	running(t, r)
	session, home := begin(t, r, testServer)
	n := w.node(home)
	frozen, thaw := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(thaw) })
	var once sync.Once
	n.setHook(func(http.ResponseWriter, *http.Request, *wire.Frame) bool {
		once.Do(func() { close(frozen) })
		<-thaw
		return true
	})
	n.mu.Lock()
	n.health = func(http.ResponseWriter) { <-thaw }
	n.mu.Unlock()
	got := make(chan reply, 1)
	go func() {
		got <- do(r, Request{Scope: testServer, SessionID: session, Body: []byte(message("1", "tools/call", "{}"))})
	}()
	<-frozen
	w.fleet.change(home, func(n *store.Node) { n.State = store.NodeUnhealthy })
	select {
	case p := <-got:
		if p.get("error", "code") != "1001" || p.get("error", "data", "dispatchState") != "D3" {
			t.Errorf("%v %s, want 1001 at D3", p.err, p.Body)
		}
	case <-time.After(15 * time.Second):
		t.Fatal("the call waits for a node that was given up")
	}
	if got := invoke(t, r, session).get("result", "node"); got != string(w.other(home).id) {
		t.Errorf("the next call ran on %q, want the other node", got)
	}
}

func TestSuspicionEnds(t *testing.T) {
	w := newWorld(t, 2, 1)
	n := w.nodes[0]
	n.kill()
	for range 20 { // some of them try it
		begin(t, w.rs[0], testServer)
	}
	if got := w.rs[0].Stats().Suspects; got != 1 {
		t.Fatalf("suspects = %d, want the dead node", got)
	}
	reason := func() string {
		for _, c := range w.rs[0].candidates(w.fleet.Snapshot(), sid{}, testServer, nil) {
			if c.Node == n.id {
				return c.Reason
			}
		}
		return "absent"
	}
	if reason() == "" {
		t.Error("a suspect node is a candidate")
	}
	t.Run("by a newer heartbeat", func(t *testing.T) {
		old := w.fleet.Snapshot()
		defer w.fleet.snap.Store(old)
		w.fleet.change(n.id, func(n *store.Node) { n.LastHeartbeat = n.LastHeartbeat.Add(time.Second) })
		if got := reason(); got != "" {
			t.Errorf("still: %s", got)
		}
	})
	t.Run("by a newer epoch", func(t *testing.T) {
		old := w.fleet.Snapshot()
		defer w.fleet.snap.Store(old)
		w.fleet.change(n.id, func(n *store.Node) { n.Epoch++ })
		if got := reason(); got != "" {
			t.Errorf("still: %s", got)
		}
	})
	t.Run("by an answer", func(t *testing.T) {
		if reason() == "" {
			t.Fatal("it ended without cause")
		}
		n.listen(n.addr)
		running(t, w.rs[0])
		eventually(t, "a successful probe ends the suspicion", func() bool { return reason() == "" })
	})
}

// The client goes away in mid-call: the connection to the node is dropped and nothing else.
func TestClientDisconnects(t *testing.T) {
	w := newWorld(t, 2, 1)
	session, home := begin(t, w.rs[0], testServer)
	started, dropped := make(chan struct{}), make(chan struct{})
	w.node(home).setHook(func(_ http.ResponseWriter, req *http.Request, f *wire.Frame) bool {
		if f.Method != "tools/call" {
			return false
		}
		close(started)
		<-req.Context().Done()
		close(dropped)
		return true
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-started
		cancel()
	}()
	p := reply{ResponseRecorder: httptest.NewRecorder()}
	if err := w.rs[0].Carry(ctx, p, Request{Scope: testServer, SessionID: session, HTTPMethod: "POST", Body: []byte(message("1", "tools/call", "{}"))}); err != nil {
		t.Errorf("err = %v, want nil: there is nobody to tell", err)
	}
	<-dropped
	for _, n := range w.nodes {
		if n.count("notifications/cancelled") != 0 {
			t.Error("a disconnect was made a cancellation")
		}
	}
	if s := w.rs[0].Stats(); s.OutcomeUnknown != 0 || s.Suspects != 0 {
		t.Errorf("stats = %+v: the client's leaving was held against the node", s)
	}
}

// Dialling that fails for reasons of our own says nothing about the node.
func TestDialEvidence(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		ctx  context.Context
		err  error
		want bool
	}{
		{t.Context(), &net.OpError{Op: "dial", Err: fmt.Errorf("connect: %w", syscall.ECONNREFUSED)}, true},
		{t.Context(), context.DeadlineExceeded, true},
		{t.Context(), &net.OpError{Op: "dial", Err: syscall.EMFILE}, false},
		{gone, context.Canceled, false},
	} {
		if got := evidence(c.ctx, c.err); got != c.want {
			t.Errorf("evidence(%v) = %t, want %t", c.err, got, c.want)
		}
	}
}

// A record that was read before a session moved, and arrives after, does not send this replica
// back to the old node.
func TestOldReadDoesNotUndoAMove(t *testing.T) {
	w := newWorld(t, 2, 2)
	r, other := w.rs[0], w.rs[1]
	session, home := begin(t, r, testServer)
	invoke(t, other, session)
	s, _ := r.cache.Peek(mustToken(t, r, session).random)

	read, goOn, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	w.store.mu.Lock()
	w.store.onRead = func() { close(read); <-goOn }
	w.store.mu.Unlock()
	go func() { defer close(done); r.reload(context.Background(), s) }()
	<-read
	w.node(home).setHook(func(rw http.ResponseWriter, _ *http.Request, _ *wire.Frame) bool {
		refuseAs(rw, http.StatusServiceUnavailable, wire.RefusedLease)
		return true
	})
	at := invoke(t, r, session).get("result", "node")
	w.node(home).setHook(nil)
	close(goOn)
	<-done
	if at == string(home) {
		t.Fatal("the session did not move")
	}
	o, _ := other.cache.Peek(mustToken(t, other, session).random)
	other.reload(context.Background(), o) // the hint of the move
	for name, r := range map[string]*Router{"that moved it": r, "that was told": other} {
		if got := invoke(t, r, session).get("result", "node"); got != at {
			t.Errorf("the replica %s calls %s, and the session was moved to %s", name, got, at)
		}
	}
}
