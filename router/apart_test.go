package router

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// calls sends one call of server a in a session over several servers, as a client that speaks
// the newest version with sessions does.
func calls(t *testing.T, r *Router, session string) reply {
	t.Helper()
	p := do(r, Request{SessionID: session, Header: http.Header{wire.HeaderVersion: {wire.LatestLegacy}}, Body: []byte(tool("a-inc"))})
	if p.err != nil {
		t.Fatal(p.err)
	}
	return p
}

// crowd has a replica believe that a node is so full of server a's sessions that others go first.
func (w *world) crowd(r *Router, at store.NodeID) {
	n := w.fleet.Snapshot().Node(at)
	r.loads.mu.Lock()
	defer r.loads.mu.Unlock()
	r.loads.entry(n, &n.Servers[0]).count = 1000
}

// firstChoice is the node that every replica chooses for server a of a session without the store.
func (w *world) firstChoice(session string) store.NodeID {
	r := w.rs[0]
	return choose(r.candidates(w.fleet.Snapshot(), mustToken(w.t, r, session).random, "a", nil), false).Node
}

// inits are the params with which the nodes were given server a of a session.
func (w *world) inits(session string) (out []string) {
	for _, n := range w.nodes {
		n.mu.Lock()
		if s := n.sessions["a "+session]; s != nil {
			out = append(out, s.init)
		}
		n.mu.Unlock()
	}
	return out
}

// A session over several servers that begins while the store is away works at every replica, and
// all of them use one node. What its client said of itself is not lost over it.
func TestBegunWithStoreAway(t *testing.T) {
	const own = `{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"mcphub","version":"test"}}`
	for range 4 {
		w := newWideWorld(t, 3)
		w.store.setDown(true)
		session, _ := begin(t, w.rs[0], "")
		at := calls(t, w.rs[1], session).get("result", "node") // it knows the id alone
		if got := w.inits(session); len(got) != 1 || got[0] != own {
			t.Errorf("opened with %s, want once with %s", got, own)
		}
		for i, r := range []*Router{w.rs[2], w.rs[0]} {
			if p := calls(t, r, session); p.get("result", "node") != at || p.get("result", "calls") != string(rune('2'+i)) {
				t.Errorf("%s, want the next call in the session on %s", p.Body, at)
			}
		}
		w.store.setDown(false)
		for _, r := range []*Router{w.rs[1], w.rs[2], w.rs[0]} { // those that know least come first
			r.catchUp(context.Background())
		}
		rec, ok := w.store.get(mustToken(t, w.rs[0], session).SessionID())
		if !ok || string(rec.Init) != initParams || string(rec.Bindings["a"].Node) != at {
			t.Errorf("the store has %t %s and %v, want what the client said and %s", ok, rec.Init, rec.Bindings, at)
		}
	}
}

// Without affinity replicas find a node too.
func TestBegunWithStoreAwayWithoutAffinity(t *testing.T) {
	w := newWideWorld(t, 0)
	rs := w.loose(2)
	w.store.setDown(true)
	session, _ := begin(t, rs[0], "")
	for range 4 {
		calls(t, rs[1], session)
	}
	w.store.setDown(false)
	rs[1].catchUp(context.Background())
	rs[0].catchUp(context.Background())
	if rec, _ := w.store.get(mustToken(t, rs[0], session).SessionID()); string(rec.Init) != initParams {
		t.Errorf("the store has %s, want what the client said", rec.Init)
	}
}

// The node on which a replica has opened the session without the store keeps it, though the
// replica that writes it back knows nothing of that, and loads speak for another node by then.
func TestPlaceWithoutStoreIsAgreedOnLater(t *testing.T) {
	for _, writesFirst := range []bool{false, true} {
		w := newWideWorld(t, 3)
		ctx := context.Background()
		began, opened, third := w.rs[0], w.rs[1], w.rs[2]
		w.store.setDown(true)
		session, _ := begin(t, began, "")
		at := calls(t, opened, session).get("result", "node")
		third.catchUp(ctx)
		if p := do(third, Request{SessionID: session, Body: []byte(message("1", "ping", ""))}); p.err != nil {
			t.Fatal(p.err)
		}
		w.crowd(third, store.NodeID(at))
		w.store.setDown(false)
		opened.catchUp(ctx) // the store does not know the session yet
		began.catchUp(ctx)
		if writesFirst {
			opened.catchUp(ctx)
			if rec, _ := w.store.get(mustToken(t, began, session).SessionID()); string(rec.Bindings["a"].Node) != at {
				t.Errorf("the store has %v, want %s", rec.Bindings, at)
			}
		}
		if p := calls(t, third, session); p.get("result", "node") != at || p.get("result", "calls") != "2" {
			t.Errorf("place written first: %t: %s, want the second call on %s", writesFirst, p.Body, at)
		}
	}
}

// A session that was placed while the store was there, on another node than the hash's, is found
// without it, by a replica that knows nothing of it and by one that does not know its place.
func TestPlaceIsFoundWithStoreAway(t *testing.T) {
	w := newWideWorld(t, 3)
	placed, knows, stranger := w.rs[0], w.rs[1], w.rs[2]
	session, _ := begin(t, placed, "")
	post(t, knows, "", session, message("1", "ping", ""))
	first := w.firstChoice(session)
	w.crowd(placed, first)
	at := calls(t, placed, session).get("result", "node")
	if at == string(first) {
		t.Fatalf("placed on %s, which is full", at)
	}
	w.store.setDown(true)
	for i, r := range []*Router{knows, stranger, knows} {
		if p := calls(t, r, session); p.get("result", "node") != at || p.get("result", "calls") != string(rune('2'+i)) {
			t.Errorf("%s, want the next call in the session on %s", p.Body, at)
		}
	}
	if got := w.inits(session); len(got) != 1 {
		t.Errorf("the session is open on %d nodes", len(got))
	}
	if got := stranger.Stats().Moved + knows.Stats().Moved; got != 0 {
		t.Errorf("%d moves were counted", got)
	}
}

// A session that the store may know more of, such as its end, is not opened on its id alone.
func TestOldSessionIsNotOpenedWithStoreAway(t *testing.T) {
	w := newWideWorld(t, 2)
	session, _ := begin(t, w.rs[0], "")
	calls(t, w.rs[0], session)
	if p := do(w.rs[0], Request{SessionID: session, HTTPMethod: http.MethodDelete}); p.err != nil {
		t.Fatal(p.err)
	}
	snap := *w.fleet.Snapshot()
	snap.Taken = time.Now().Add(2 * issueSlack)
	w.fleet.snap.Store(&snap)
	w.store.setDown(true)
	fails(t, do(w.rs[1], Request{SessionID: session, Body: []byte(tool("a-inc"))}), ErrNoReplica)
	if got := w.inits(session); len(got) != 0 {
		t.Errorf("opened with %s", got)
	}
}
