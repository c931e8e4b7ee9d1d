package heartbeat

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/store"
	"github.com/mcphub-go/mcphub/store/storetest"
)

// until polls until ok, which must come true within ten seconds.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within ten seconds: %s", what)
		}
	}
}

// marks counts the recorded lapses.
func marks(t *testing.T, st *store.Store) (n int) {
	t.Helper()
	events, err := st.Events(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Kind == store.EventNodeUnhealthy {
			n++
		}
	}
	return n
}

// Six coordinators over one Redis and a node that beats now to one, now to another: what
// happens to the node is announced once, and seen by all.
func TestFleetOverTheStore(t *testing.T) {
	env := storetest.Miniredis(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	j := &journal{}
	var watchers []*Watcher
	done := make(chan error, 6)
	for i := range 6 {
		w := NewWatcher(WatcherConfig{NodeTimeout: time.Second, CleanupInterval: 5 * time.Second}, []*store.Store{env.Store, env.Second}[i%2], j.log())
		watchers = append(watchers, w)
		go func() { done <- w.Run(ctx) }()
	}
	all := func(state store.NodeState) func() bool {
		return func() bool {
			for _, w := range watchers {
				if n := w.Snapshot().Node("node-1"); (n == nil) != (state == "") || n != nil && n.State != state {
					return false
				}
			}
			return true
		}
	}
	cfg := RegistrarConfig{NodeTimeout: time.Second, FleetKey: key}
	regs := []*Registrar{NewRegistrar(cfg, env.Store, watchers[0], j.log()), NewRegistrar(cfg, env.Second, watchers[1], j.log())}
	f := &front{reg: regs[0]}
	a := testAgent(t, "node-1", instanceA, f, newSource(ready("echo")), j)
	a.cfg.URL, a.cfg.Interval, a.cfg.Name = answering(t, "", "node-1", instanceA).URL, 50*time.Millisecond, "Worker Node 1"
	stop := start(t, a)

	until(t, "all see the node", all(store.NodeActive))
	if j.count("Node registered: Worker Node 1 (node-1) with 1 servers") != 1 {
		t.Errorf("log %q", j.lines)
	}
	f.answerBy(regs[1])

	// The watchers have been there for a nodeTimeout by the time that the lease runs out.
	born := time.Now()
	until(t, "a nodeTimeout has passed", func() bool { return time.Since(born) > 1200*time.Millisecond })
	f.fail(errors.New("no route"))
	until(t, "the node fences itself", func() bool { return !a.Lease().Fresh() })
	env.Advance(1100 * time.Millisecond)
	until(t, "all see the lapse", all(store.NodeUnhealthy))
	if n := j.count("Marking node node-1 as unhealthy (last heartbeat: 2026-01-01T10:00:00.000Z)"); n != 1 {
		t.Errorf("the lapse was announced %d times, want once: %q", n, j.lines)
	}

	if n := marks(t, env.Store); n != 1 {
		t.Errorf("%d events of the lapse, want 1", n)
	}

	f.fail(nil)
	until(t, "all see it back", all(store.NodeActive))
	if !a.Lease().Fresh() || a.Lease().Epoch() != 1 {
		t.Errorf("Fresh() = %v, Epoch() = %d, want true, 1", a.Lease().Fresh(), a.Lease().Epoch())
	}

	env.Flush()
	until(t, "a beat has brought the node back into an emptied store", func() bool {
		if !all(store.NodeActive)() {
			t.Fatal("a coordinator forgot the node because Redis did")
		}
		snap, err := env.Store.Snapshot(ctx, nil)
		return err == nil && snap.Node("node-1") != nil && snap.Node("node-1").Epoch == 1
	})

	if err := stop(); err != nil {
		t.Errorf("Run() = %v, want nil", err)
	}
	until(t, "all see the farewell", all(""))
	if j.has("has not come back") {
		t.Error("a farewell was taken for a loss")
	}
	cancel()
	for range watchers {
		if err := <-done; err != nil {
			t.Errorf("Watcher.Run() = %v, want nil", err)
		}
	}
}
