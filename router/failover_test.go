package router

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// hangUp breaks the connection after the whole request was read: the message may have run.
func hangUp(methods ...string) func(http.ResponseWriter, *http.Request, *wire.Frame) bool {
	return func(w http.ResponseWriter, _ *http.Request, f *wire.Frame) bool {
		if !slices.Contains(methods, f.Method) {
			return false
		}
		nc, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		_ = nc.Close()
		return true
	}
}

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

// Each refusal is proof that nothing ran, so the call goes elsewhere, once.
func TestRefusedCallGoesElsewhere(t *testing.T) {
	for why, status := range map[string]int{
		wire.RefusedEpoch: 409, wire.RefusedLease: 503, wire.RefusedServer: 503, wire.RefusedCredential: 401, wire.RefusedDraining: 503,
	} {
		t.Run(why, func(t *testing.T) {
			w := newWorld(t, 2, 1)
			session, home := begin(t, w.rs[0], testServer)
			w.node(home).setHook(func(w http.ResponseWriter, _ *http.Request, f *wire.Frame) bool {
				if f.Method == "tools/call" {
					refuseAs(w, status, why)
				}
				return f.Method == "tools/call"
			})
			if got := invoke(t, w.rs[0], session).get("result", "node"); got != string(w.other(home).id) {
				t.Errorf("the call ran on %q, want the other node", got)
			}
			if s := w.rs[0].Stats(); s.Retried != 1 || s.Moved != 1 {
				t.Errorf("stats = %+v, want one retry and one move", s)
			}
			// Both refuse: told, not tried on and on.
			other := w.other(home)
			other.setHook(w.node(home).hook)
			e := fails(t, do(w.rs[0], Request{Scope: testServer, SessionID: session, Body: []byte(message("9", "tools/call", `{"name":"inc"}`))}), ErrNoReplica)
			if e.Code != wire.CodeNotExecuted || string(e.ID) != "9" || e.RetryAfter <= 0 {
				t.Errorf("error = %+v, want 1002 with Retry-After", e)
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

// At most once: what may have run is never sent twice unless it only reads.
func TestPossiblyReceived(t *testing.T) {
	for _, c := range []struct {
		method  string
		repeats bool
	}{
		{"tools/call", false}, {"logging/setLevel", false}, {"tasks/get", false}, {"x/unknown", false},
		{"tools/list", true}, {"ping", true}, {"resources/read", true}, {"prompts/get", true}, {"completion/complete", true},
		{"resources/list", true}, {"resources/templates/list", true}, {"prompts/list", true},
	} {
		t.Run(c.method, func(t *testing.T) {
			w := newWorld(t, 2, 1)
			session, home := begin(t, w.rs[0], testServer)
			broken := hangUp(c.method)
			var seen atomic.Int32
			for _, n := range w.nodes {
				n.setHook(func(w http.ResponseWriter, req *http.Request, f *wire.Frame) bool {
					if f.Method == c.method && seen.Add(1) > 1 {
						return false
					}
					return broken(w, req, f)
				})
			}
			p := do(w.rs[0], Request{
				Scope: testServer, SessionID: session, Body: []byte(message(`"a"`, c.method, `{"name":"inc"}`)),
				Header: http.Header{"Idempotency-Key": {"1"}, "Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}},
			})
			if p.err != nil {
				t.Fatal(p.err)
			}
			if c.repeats {
				// The node is alive, so the session stays where it is.
				if seen.Load() != 2 || p.get("result", "node") != string(home) {
					t.Errorf("%s reached nodes %d times, answer %s; want twice, on %s", c.method, seen.Load(), p.Body, home)
				}
				return
			}
			if seen.Load() != 1 {
				t.Errorf("%s reached nodes %d times, want once", c.method, seen.Load())
			}
			want := fmt.Sprintf(`{"jsonrpc":"2.0","id":"a","error":{"code":1001,"message":"Outcome unknown: the call may or may not have run",`+
				`"data":{"outcome":"unknown","reason":"node_lost","node":%q,"dispatchState":"D3","retryable":false,"traceId":"0af7651916cd43dd8448eb211c80319c"}}}`, home)
			if p.Code != http.StatusOK || p.Body.String() != want || p.Header().Get("Content-Type") != "application/json" {
				t.Errorf("status %d, %s\nwant 200, %s", p.Code, p.Body, want)
			}
			if p := invokeQuietly(w.rs[0], session); p.err != nil || p.get("result", "node") == "" {
				t.Errorf("the session is not usable after an unknown outcome: %v %s", p.err, p.Body)
			}
		})
	}
}

// One second chance, whatever happens to it.
func TestReadIsRepeatedOnce(t *testing.T) {
	w := newWorld(t, 3, 1)
	session, _ := begin(t, w.rs[0], testServer)
	var seen atomic.Int32
	broken := hangUp("tools/list")
	for _, n := range w.nodes {
		n.setHook(func(w http.ResponseWriter, req *http.Request, f *wire.Frame) bool {
			if f.Method == "tools/list" {
				seen.Add(1)
			}
			return broken(w, req, f)
		})
	}
	p := post(t, w.rs[0], testServer, session, message("7", "tools/list", ""))
	if seen.Load() != 2 || p.get("error", "code") != "1001" {
		t.Errorf("sent %d times, then %s; want twice, then 1001", seen.Load(), p.Body)
	}
}

// Of two requests that found the same place failing, the second does not move again.
func TestMoveFromAnOldPlaceIsNoMove(t *testing.T) {
	w := newWorld(t, 3, 1)
	r := w.rs[0]
	session, home := begin(t, r, testServer)
	w.node(home).kill()
	s, _ := r.cache.Peek(mustToken(t, r, session).random)
	old, _ := s.place(testServer)
	not := exclusion(nil).add(home, 1, "dead")
	first, err := r.move(t.Context(), s, old, not, "test")
	if err != nil {
		t.Fatal(err)
	}
	second, err := r.move(t.Context(), s, old, not, "test")
	if err != nil || second != first {
		t.Errorf("second move = %+v, %v; want what the first found, %+v", second, err, first)
	}
	if n := w.node(first.Node).count("initialize"); n != 1 {
		t.Errorf("opened %d times, want once", n)
	}
}

// A place chosen while the store was away is not undone by what the store still believes.
func TestUnsavedPlaceStands(t *testing.T) {
	w := newWorld(t, 3, 1)
	r := w.rs[0]
	session, home := begin(t, r, testServer)
	w.store.setDown(true)
	w.node(home).kill()
	at := invoke(t, r, session).get("result", "node")
	w.store.setDown(false)
	s, _ := r.cache.Peek(mustToken(t, r, session).random)
	if !r.reload(t.Context(), s) { // a hint about the session comes before the write-back
		t.Fatal("the store is back")
	}
	if b, _ := s.place(testServer); string(b.Node) != at {
		t.Errorf("place = %s, want %s", b.Node, at)
	}
	r.catchUp(t.Context())
	if rec, _ := w.store.get(s.tok.SessionID()); string(rec.Bindings[testServer].Node) != at {
		t.Errorf("stored = %v, want %s", rec.Bindings, at)
	}
	if b, _ := s.place(testServer); b.unsaved {
		t.Error("the place is still thought to be unsaved")
	}
}

func invokeQuietly(r *Router, session string) reply {
	return do(r, Request{Scope: testServer, SessionID: session, Body: []byte(message("8", "ping", ""))})
}

// A node that dies while it runs a call: the read goes to another, the write is reported.
func TestNodeDiesWithCallInFlight(t *testing.T) {
	for _, c := range []struct{ method, want string }{{"tools/call", "1001"}, {"tools/list", ""}} {
		t.Run(c.method, func(t *testing.T) {
			w := newWorld(t, 2, 1)
			session, home := begin(t, w.rs[0], testServer)
			running := make(chan struct{})
			w.node(home).setHook(func(_ http.ResponseWriter, req *http.Request, f *wire.Frame) bool {
				if f.Method != c.method {
					return false
				}
				close(running)
				<-req.Context().Done()
				return true
			})
			go func() {
				<-running
				_ = w.node(home).srv.Close()
			}()
			p := post(t, w.rs[0], testServer, session, message("7", c.method, "{}"))
			if got := p.get("error", "code"); got != c.want {
				t.Errorf("error code %q in %s, want %q", got, p.Body, c.want)
			}
			if c.want == "" && p.get("result", "node") != string(w.other(home).id) {
				t.Errorf("%s: want it from the other node", p.Body)
			}
		})
	}
}

func TestNotificationWithUnknownOutcome(t *testing.T) {
	w := newWorld(t, 2, 1)
	session, home := begin(t, w.rs[0], testServer)
	w.node(home).setHook(hangUp("notifications/x"))
	e := fails(t, do(w.rs[0], Request{Scope: testServer, SessionID: session, Body: []byte(message("", "notifications/x", ""))}), ErrBadGateway)
	if e.ID != nil || e.Code != wire.CodeOutcomeUnknown {
		t.Errorf("error = %+v, want 1001 without an id", e)
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	w := newWorld(t, 2, 1)
	session, home := begin(t, w.rs[0], testServer)
	other := w.other(home)
	w.node(home).setHook(func(rw http.ResponseWriter, req *http.Request, _ *wire.Frame) bool {
		http.Redirect(rw, req, "http://"+other.addr+req.URL.Path, http.StatusTemporaryRedirect)
		return true
	})
	e := fails(t, do(w.rs[0], Request{Scope: testServer, SessionID: session, Body: []byte(message("7", "tools/call", "{}"))}), ErrBadGateway)
	if e.Code != wire.CodeOutcomeUnknown || string(e.ID) != "7" {
		t.Errorf("error = %+v", e)
	}
	if other.posts != 0 {
		t.Error("a redirect was followed")
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
				r.loads.begin(&left[i], s)
				r.loads.end(&left[i], s, -1, true)
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
		for _, c := range w.rs[0].Candidates(store.SessionID(strings.Repeat("0", 32)), testServer) {
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
// nobody can replay it, so the client must start anew, and is told at once.
func TestLostSession(t *testing.T) {
	w := newWorld(t, 2, 2)
	session, home := begin(t, w.rs[0], testServer)
	w.store.wipe()
	if got := invoke(t, w.rs[1], session).get("result", "node"); got != string(home) {
		t.Errorf("with its node alive the session was served by %q", got)
	}
	w.node(home).kill()
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
