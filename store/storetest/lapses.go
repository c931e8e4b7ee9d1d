package storetest

import (
	"sync"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

var lapseCases = []testCase{
	{"a lapsed lease is marked once", func(t *testing.T, e Env) {
		n := register(t, e.Store, node("n1", "a"))
		register(t, e.Store, node("n2", "b"))
		e.Advance(10 * time.Second)
		beat(t, e.Store, withEpoch(node("n2", "b"), 2))
		e.Advance(6 * time.Second)
		rev := snapshot(t, e.Store, nil).Revision
		swept, err := e.Store.SweepNodes(t.Context())
		if wantErr(t, "SweepNodes", err, nil); ids(swept) != "n1" || swept[0].State != store.NodeUnhealthy {
			t.Fatalf("swept %+v, want n1", swept)
		}
		if got := swept[0].LastHeartbeat; got.IsZero() || got.After(n.LastHeartbeat) || swept[0].Epoch != n.Epoch {
			t.Fatalf("swept with heartbeat %v, registered at %v", got, n.LastHeartbeat)
		}
		again, err := e.Second.SweepNodes(t.Context())
		if wantErr(t, "SweepNodes", err, nil); len(again) != 0 {
			t.Fatalf("swept again: %s", ids(again))
		}
		snap := snapshot(t, e.Second, nil)
		if snap.Revision <= rev || snap.Node("n1").State != store.NodeUnhealthy || snap.Node("n2").State != store.NodeActive {
			t.Fatalf("snapshot = %+v", snap)
		}
	}},
	{"of eight coordinators that sweep at once one gets each lapse", func(t *testing.T, e Env) {
		for _, id := range []store.NodeID{"n1", "n2", "n3"} {
			register(t, e.Store, node(id, "a"))
		}
		e.Advance(nodeTimeout + time.Second)
		var mu sync.Mutex
		times := map[store.NodeID]int{}
		together(8, func(i int) {
			swept, err := []*store.Store{e.Store, e.Second}[i%2].SweepNodes(t.Context())
			if err != nil {
				t.Errorf("SweepNodes = %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, n := range swept {
				times[n.ID]++
			}
		})
		for _, id := range []store.NodeID{"n1", "n2", "n3"} {
			if times[id] != 1 {
				t.Errorf("%s was marked %d times, want once", id, times[id])
			}
		}
	}},
	{"a node that beats again recovers under its epoch", func(t *testing.T, e Env) {
		n := register(t, e.Store, node("n1", "a"))
		e.Advance(nodeTimeout + time.Second)
		_, err := e.Store.SweepNodes(t.Context())
		wantErr(t, "SweepNodes", err, nil)
		rev := snapshot(t, e.Store, nil).Revision
		b := beat(t, e.Second, n)
		if !b.Recovered || b.Relearned || b.Node.Epoch != n.Epoch || b.Node.State != store.NodeActive {
			t.Fatalf("Beat = %+v", b)
		}
		if got := snapshot(t, e.Store, nil); got.Revision <= rev || got.Node("n1").State != store.NodeActive {
			t.Fatalf("snapshot = %+v", got)
		}
		wantNotLapsed(t, e)
		e.Advance(nodeTimeout + time.Second)
		swept, err := e.Store.SweepNodes(t.Context())
		if wantErr(t, "SweepNodes", err, nil); ids(swept) != "n1" {
			t.Fatalf("the second lapse: swept %q", ids(swept))
		}
	}},
	{"a late beat before any sweep is no recovery", func(t *testing.T, e Env) {
		n := register(t, e.Store, node("n1", "a"))
		e.Advance(nodeTimeout + time.Second)
		if b := beat(t, e.Store, n); b.Recovered || b.Relearned {
			t.Fatalf("Beat = %+v: nobody was told that it was gone", b)
		}
	}},
	{"an unhealthy node's id may be taken", func(t *testing.T, e Env) {
		register(t, e.Store, node("n1", "a"))
		e.Advance(nodeTimeout + time.Second)
		_, err := e.Store.SweepNodes(t.Context())
		wantErr(t, "SweepNodes", err, nil)
		if n := register(t, e.Store, node("n1", "b")); n.State != store.NodeActive {
			t.Fatalf("state %q", n.State)
		}
		wantNotLapsed(t, e)
		removed, err := e.Store.RemoveNodes(t.Context(), 0)
		if wantErr(t, "RemoveNodes", err, nil); len(removed) != 0 {
			t.Fatalf("removed %s, which is back", ids(removed))
		}
	}},
	{"an index entry without a record is dropped", func(t *testing.T, e Env) {
		must(t, nil, second(e.Do("ZADD", e.Key("{nodes}:index"), 1, "ghost")))
		swept, err := e.Store.SweepNodes(t.Context())
		if wantErr(t, "SweepNodes", err, nil); len(swept) != 0 {
			t.Fatalf("swept %s", ids(swept))
		}
		if n, err := e.Do("ZCARD", e.Key("{nodes}:index")); err != nil || n != int64(0) {
			t.Fatalf("ZCARD = %v, %v", n, err)
		}
	}},
	{"unhealthy nodes are removed when they are old enough", func(t *testing.T, e Env) {
		register(t, e.Store, node("n1", "a"))
		alive := register(t, e.Store, node("n2", "b"))
		e.Advance(nodeTimeout + time.Second)
		beat(t, e.Store, alive)
		_, err := e.Store.SweepNodes(t.Context())
		wantErr(t, "SweepNodes", err, nil)
		e.Advance(20 * time.Second)
		beat(t, e.Store, alive)
		removed, err := e.Store.RemoveNodes(t.Context(), 30*time.Second)
		if wantErr(t, "RemoveNodes", err, nil); len(removed) != 0 {
			t.Fatalf("removed too early: %s", ids(removed))
		}
		e.Advance(11 * time.Second)
		removed, err = e.Store.RemoveNodes(t.Context(), 30*time.Second)
		if wantErr(t, "RemoveNodes", err, nil); ids(removed) != "n1" || removed[0].URL == "" {
			t.Fatalf("removed %+v, want n1", removed)
		}
		again, err := e.Second.RemoveNodes(t.Context(), 0)
		if wantErr(t, "RemoveNodes", err, nil); len(again) != 0 {
			t.Fatalf("removed again: %s", ids(again))
		}
		if got := ids(snapshot(t, e.Store, nil).Nodes); got != "n2" {
			t.Fatalf("left: %s", got)
		}
		if load := hash(t, e, e.Key("{nodes}:load")); load["n1"] != "" || load["n2"] == "" {
			t.Fatalf("counts left: %v", load)
		}
	}},
	{"a removed node that wakes is relearned", func(t *testing.T, e Env) {
		n := register(t, e.Store, node("n1", "a"))
		e.Advance(nodeTimeout + time.Second)
		_, err := e.Store.SweepNodes(t.Context())
		wantErr(t, "SweepNodes", err, nil)
		_, err = e.Store.RemoveNodes(t.Context(), 0)
		wantErr(t, "RemoveNodes", err, nil)
		if b := beat(t, e.Store, n); !b.Relearned || b.Node.Epoch != n.Epoch {
			t.Fatalf("Beat = %+v", b)
		}
	}},
	{"any history agrees with the model", checkModel},
}

func withEpoch(n store.Node, e store.Epoch) store.Node {
	n.Epoch = e
	return n
}

// wantNotLapsed fails if n1's record still tells when it was marked.
func wantNotLapsed(t *testing.T, e Env) {
	t.Helper()
	if h := hash(t, e, e.Key("{nodes}:node:n1")); h["lapsed"] != "" {
		t.Fatalf("an active node's record says lapsed %s", h["lapsed"])
	}
}
