package router

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/mcphub-go/mcphub/store"
)

// placedHeader is where these tests have the node named in an answer.
const placedHeader = "X-Test-Node"

// ask sends one message with what a cookie or header would name, and has the node that answers
// named in the answer.
func ask(t testing.TB, r *Router, scope, session string, prefer store.NodeID, body string) reply {
	t.Helper()
	p := do(r, Request{Scope: scope, SessionID: session, Prefer: prefer, Body: []byte(body), Placed: func(h http.Header, n store.NodeID) {
		h.Add(placedHeader, string(n))
	}})
	if p.err != nil {
		t.Fatalf("%s: %v", body, p.err)
	}
	return p
}

// named is what the answer says of its node: exactly one name.
func (p reply) named(t testing.TB) store.NodeID {
	t.Helper()
	if got := p.Header()[placedHeader]; len(got) == 1 {
		return store.NodeID(got[0])
	}
	t.Fatalf("the answer names %q, want one node", p.Header()[placedHeader])
	return ""
}

func strategic(s Strategy) func(*Config) { return func(c *Config) { c.Strategy = s } }

var initBody = message("1", "initialize", initParams)

// The node that the client names is taken for each new session, whatever the hash and the loads
// say, and the answer names it.
func TestPreferDecidesNewSessions(t *testing.T) {
	for _, strategy := range []Strategy{StrategyCookie, StrategyHeader} {
		t.Run(string(strategy), func(t *testing.T) {
			w := newWorld(t, 3, 0)
			r := w.router(w.store, strategic(strategy))
			for range 12 {
				if got := ask(t, r, testServer, "", "node-2", initBody).named(t); got != "node-2" {
					t.Fatalf("a session that named node-2 was placed on %s", got)
				}
			}
		})
	}
}

// Without such a strategy the client's word is not looked at.
func TestPreferIsIgnored(t *testing.T) {
	for name, edit := range map[string]func(*Config){
		"consistent-hash": strategic(StrategyHash), "default": nil,
		"not sticky": func(c *Config) { c.Strategy, c.NoSticky = StrategyCookie, true },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 3, 0)
			r := w.router(w.store, edit)
			at := map[store.NodeID]int{}
			for range 40 {
				at[ask(t, r, testServer, "", "node-2", initBody).named(t)]++
			}
			if len(at) != 3 {
				t.Errorf("40 sessions that named node-2 were placed on %v, want all three", at)
			}
		})
	}
}

// What names nothing that may be chosen falls back to the hash, and the answer says so.
func TestPreferFallsBack(t *testing.T) {
	for name, spoil := range map[string]func(w *world, r *Router){
		"draining": func(w *world, _ *Router) {
			w.fleet.change("node-2", func(n *store.Node) { n.State = store.NodeDraining })
		},
		"lapsed": func(w *world, _ *Router) {
			w.fleet.change("node-2", func(n *store.Node) { n.State = store.NodeUnhealthy })
		},
		"no server": func(w *world, _ *Router) { w.fleet.change("node-2", func(n *store.Node) { n.Servers = nil }) },
		"not ready": func(w *world, _ *Router) {
			w.fleet.change("node-2", func(n *store.Node) { n.Servers[0].Status = store.ServerFailed })
		},
		"suspect":    func(w *world, r *Router) { r.suspects.add(w.fleet.Snapshot().Node("node-2"), "no connection") },
		"just died":  func(w *world, _ *Router) { w.node("node-2").kill() },
		"gone":       func(w *world, _ *Router) { w.fleet.set(w.nodes[0].record(testServer), w.nodes[2].record(testServer)) },
		"restarting": func(w *world, _ *Router) { w.node("node-2").restart() }, // under an epoch that is not known yet
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 3, 0)
			r := w.router(w.store, strategic(StrategyCookie))
			spoil(w, r)
			if got := ask(t, r, testServer, "", "node-2", initBody).named(t); got != "node-1" && got != "node-3" {
				t.Errorf("placed on %q", got)
			}
		})
	}
}

// The value comes from a stranger: whatever it is, it leads to no place but a healthy node.
func TestPreferIsOnlyCompared(t *testing.T) {
	w := newWorld(t, 2, 0)
	r := w.router(w.store, strategic(StrategyHeader))
	for _, bad := range []store.NodeID{
		"", "node-9", "NODE-1", "node-1 ", "node-1\r\nX: y", "http://169.254.169.254/", "../node-1", "*", "\x00", store.NodeID(strings.Repeat("n", 1<<16)),
	} {
		if got := ask(t, r, testServer, "", bad, initBody).named(t); got != "node-1" && got != "node-2" {
			t.Errorf("%.40q led to %q", bad, got)
		}
	}
	for _, n := range w.nodes {
		n.mu.Lock()
		for _, h := range n.heads {
			for name := range h {
				if strings.Contains(strings.Join(h[name], ""), "169.254") {
					t.Errorf("a node got %s: %q", name, h[name])
				}
			}
		}
		n.mu.Unlock()
	}
}

// A session stays where it is, whatever later requests name.
func TestBindingOutweighsPrefer(t *testing.T) {
	w := newWorld(t, 3, 0)
	a, b := w.router(w.store, strategic(StrategyCookie)), w.router(w.store, strategic(StrategyCookie))
	p := ask(t, a, testServer, "", "node-2", initBody)
	for i, r := range []*Router{a, b, a, b} {
		name := []store.NodeID{"node-1", "node-3", "", "node-9"}[i]
		if got := ask(t, r, testServer, p.session(), name, message("7", "tools/call", `{"name":"inc"}`)).named(t); got != "node-2" {
			t.Errorf("a call that named %q ran on %s, the session sits on node-2", name, got)
		}
	}
}

// After a failover the answer names the node that gave it, be it one message or a stream.
func TestPlacedAfterFailover(t *testing.T) {
	w := newWorld(t, 3, 0)
	r := w.router(w.store, strategic(StrategyCookie))
	p := ask(t, r, testServer, "", "node-2", initBody)
	w.node("node-2").kill()
	call := ask(t, r, testServer, p.session(), "node-2", message("7", "tools/call", `{"name":"inc"}`))
	if got := call.named(t); got == "node-2" || string(got) != call.get("result", "node") {
		t.Errorf("the answer names %q, the call ran on %q", got, call.get("result", "node"))
	}
	w.node(call.named(t)).setHook(streaming("tools/call", sent(priming, final7), nil))
	if got := ask(t, r, testServer, p.session(), "", message("7", "tools/call", "{}")); got.named(t) != call.named(t) || !got.Flushed {
		t.Errorf("a stream names %q, want %q", got.named(t), call.named(t))
	}
}

// A failover is a new binding: the client's word decides it, if the node is another one.
func TestPreferDecidesFailover(t *testing.T) {
	for _, want := range []store.NodeID{"node-1", "node-3"} {
		w := newWorld(t, 3, 0)
		r := w.router(w.store, strategic(StrategyHeader))
		p := ask(t, r, testServer, "", "node-2", initBody)
		w.node("node-2").kill()
		if got := ask(t, r, testServer, p.session(), want, message("7", "tools/call", `{"name":"inc"}`)).named(t); got != want {
			t.Errorf("moved to %s, the client named %s", got, want)
		}
	}
}

// Over several servers the client's word decides for each server that the named node has, and
// each answer names the node of the call just made.
func TestPreferInAWideScope(t *testing.T) {
	w := newWideWorld(t, 0)
	r := w.router(w.store, strategic(StrategyCookie))
	p := ask(t, r, "", "", "node-2", initBody)
	if got := p.Header()[placedHeader]; got != nil {
		t.Errorf("an answer that no node gave names %q", got)
	}
	for _, c := range []struct {
		tool   string
		prefer store.NodeID
		want   store.NodeID
	}{
		{"a-inc", "node-2", "node-2"},
		{"z-only", "node-2", "node-1"}, // node-2 does not have z
		{"a-b-c", "node-1", "node-1"},  // what the last answer named
		{"a-inc", "node-1", "node-2"},  // bound
	} {
		if got := ask(t, r, "", p.session(), c.prefer, tool(c.tool)).named(t); got != c.want {
			t.Errorf("%s, naming %s: ran on %s, want %s", c.tool, c.prefer, got, c.want)
		}
	}
	if got := ask(t, r, "", p.session(), "node-2", message("1", "tools/list", "")).Header()[placedHeader]; got != nil {
		t.Errorf("a list names %q", got)
	}
}

// Two coordinators get the first calls of one session at the same moment, each with another
// cookie: one node stands, and both use it.
func TestPreferRace(t *testing.T) {
	for round := range 20 {
		w := newWideWorld(t, 0)
		rs := []*Router{w.router(w.store, strategic(StrategyCookie)), w.router(w.store, strategic(StrategyCookie))}
		session, _ := begin(t, rs[0], "")
		post(t, rs[1], "", session, message("1", "ping", "")) // both have it cached
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				p := do(rs[i%2], Request{SessionID: session, Prefer: []store.NodeID{"node-1", "node-2"}[i%2], Body: []byte(tool("a-inc"))})
				if p.err != nil || p.get("result", "server") != "a" {
					t.Errorf("round %d: %v %s", round, p.err, p.Body)
				}
			})
		}
		all.Wait()
		if got := w.heldBy("a", session); got != 1 {
			t.Errorf("round %d: %d nodes hold the session, want one", round, got)
		}
		if got := w.counted("tools/call"); got != 8 {
			t.Errorf("round %d: 8 calls ran %d times", round, got)
		}
	}
}

// With the store away nobody can agree on what a client said: replicas place alike without it.
func TestPreferWithStoreAway(t *testing.T) {
	w := newWideWorld(t, 0)
	a, b := w.router(w.store, strategic(StrategyCookie)), w.router(w.store, strategic(StrategyCookie))
	w.store.setDown(true)
	for range 8 {
		p := ask(t, a, "", "", "", initBody)
		one := ask(t, a, "", p.session(), "node-1", tool("a-inc"))
		two := ask(t, b, "", p.session(), "node-2", tool("a-inc"))
		if one.named(t) != two.named(t) || two.get("result", "calls") != "2" {
			t.Fatalf("replicas took one session to %s and %s", one.named(t), two.named(t))
		}
	}
}

// An error of the hub's own names no node.
func TestPlacedIsNotCalledWithoutANode(t *testing.T) {
	w := newWorld(t, 1, 0)
	r := w.router(w.store, strategic(StrategyCookie))
	p := ask(t, r, testServer, "", "", initBody)
	w.nodes[0].kill()
	q := do(r, Request{Scope: testServer, SessionID: p.session(), Body: []byte(message("7", "tools/call", "{}")), Placed: func(http.Header, store.NodeID) {
		t.Error("told of a node though none answered")
	}})
	fails(t, q, ErrNoReplica)
}
