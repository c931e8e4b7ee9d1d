package router

import (
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/mcphub-go/mcphub/internal/wire"
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
	first, err := r.move(t.Context(), s, old, not, "", "test")
	if err != nil {
		t.Fatal(err)
	}
	second, err := r.move(t.Context(), s, old, not, "", "test")
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
