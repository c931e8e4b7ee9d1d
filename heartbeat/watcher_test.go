package heartbeat

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// fleet is several coordinators over one store, and what they log.
type fleet struct {
	m        *memStore
	j        *journal
	watchers []*Watcher
	stop     func()
}

func newFleet(t *testing.T, n int, cfg WatcherConfig) *fleet {
	t.Helper()
	f := &fleet{m: newMemStore(), j: &journal{}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, n)
	for range n {
		w := NewWatcher(cfg, f.m, f.j.log())
		f.watchers = append(f.watchers, w)
		go func() { done <- w.Run(ctx) }()
	}
	f.stop = func() {
		cancel()
		for range n {
			if err := <-done; err != nil {
				t.Errorf("Run() = %v, want nil", err)
			}
		}
	}
	return f
}

func (f *fleet) register(t *testing.T, id store.NodeID) store.Node {
	t.Helper()
	n, err := f.m.RegisterNode(t.Context(), store.Node{
		ID: id, Name: string(id), Instance: instanceA, URL: "http://10.0.0.1:3001", State: store.NodeActive,
	}, 15*time.Second, false)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (f *fleet) state(id store.NodeID) store.NodeState {
	n := f.watchers[0].Snapshot().Node(id)
	if n == nil {
		return ""
	}
	return n.State
}

func TestLapseIsAnnouncedOnceInTheGuidesWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 5, WatcherConfig{})
		time.Sleep(20 * time.Second)
		// The third of three beats goes missing.
		n := f.register(t, "node-1")
		for range 2 {
			time.Sleep(5 * time.Second)
			if _, err := f.m.BeatNode(t.Context(), n, 15*time.Second); err != nil {
				t.Fatal(err)
			}
		}
		last := time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
		line := "Marking node node-1 as unhealthy (last heartbeat: " + last + ")"
		time.Sleep(14*time.Second + 900*time.Millisecond)
		synctest.Wait()
		if f.j.has("Marking") || f.state("node-1") != store.NodeActive {
			t.Errorf("14.9 s after the last beat: %s, want active and nothing announced", f.state("node-1"))
		}
		time.Sleep(1200 * time.Millisecond)
		synctest.Wait()
		if f.j.count(line) != 1 || f.state("node-1") != store.NodeUnhealthy {
			t.Errorf("16.1 s after the last beat: %s, announced %d times, want unhealthy, once; log %q",
				f.state("node-1"), f.j.count(line), f.j.lines)
		}
		if f.m.count(store.EventNodeUnhealthy) != 1 {
			t.Errorf("%d events, want 1", f.m.count(store.EventNodeUnhealthy))
		}
		time.Sleep(45 * time.Second)
		synctest.Wait()
		if f.j.count(line) != 1 {
			t.Errorf("announced %d times in all, want once", f.j.count(line))
		}
		if f.state("node-1") != "" || f.m.count(store.EventNodeRemoved) != 1 {
			t.Errorf("after cleanup: %q, %d removals recorded, want gone, 1", f.state("node-1"), f.m.count(store.EventNodeRemoved))
		}
		f.stop()
	})
}

func TestTimeIsWrittenAsTheGuideDoes(t *testing.T) {
	at := time.Date(2026, 1, 1, 11, 0, 0, 0, time.FixedZone("", 3600))
	if got := at.UTC().Format(markedTime); got != "2026-01-01T10:00:00.000Z" {
		t.Errorf("Format() = %s, want 2026-01-01T10:00:00.000Z", got)
	}
}

func TestUnhealthyNodeIsKeptForCleanupInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, WatcherConfig{CleanupInterval: 30 * time.Second})
		time.Sleep(time.Second)
		f.register(t, "node-1")
		time.Sleep(40 * time.Second) // unhealthy from second 16 on
		synctest.Wait()
		if f.state("node-1") != store.NodeUnhealthy {
			t.Errorf("24 s after the lapse: %q, want unhealthy", f.state("node-1"))
		}
		f.stop()
	})
}

func TestSnapshotOutlivesRedis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, WatcherConfig{})
		w := f.watchers[0]
		synctest.Wait()
		if ok, reason := w.Ready(); !ok || reason != "" {
			t.Errorf("Ready() = %v, %q, want true", ok, reason)
		}
		n := f.register(t, "node-1")
		time.Sleep(2 * time.Second)
		f.m.setDown(store.ErrUnavailable)
		time.Sleep(time.Minute)
		synctest.Wait()
		if f.state("node-1") != store.NodeActive {
			t.Errorf("a minute without Redis: %q, want active", f.state("node-1"))
		}
		if ok, reason := w.Ready(); !ok || !strings.Contains(reason, "redis unavailable") {
			t.Errorf("Ready() = %v, %q, want degraded with the reason", ok, reason)
		}
		// Redis returns; the lease ran out on its clock meanwhile. The node has one
		// nodeTimeout to beat before it is judged.
		f.m.setDown(nil)
		time.Sleep(5 * time.Second)
		if _, err := f.m.BeatNode(t.Context(), n, 15*time.Second); err != nil {
			t.Fatal(err)
		}
		time.Sleep(12 * time.Second)
		synctest.Wait()
		if f.state("node-1") != store.NodeActive || f.j.has("Marking") {
			t.Errorf("after Redis returned: %q, want active and never marked", f.state("node-1"))
		}
		if ok, reason := w.Ready(); !ok || reason != "" {
			t.Errorf("Ready() = %v, %q, want true", ok, reason)
		}
		f.stop()
	})
}

// A short absence of the store does not put off what was due.
func TestBlipsDoNotDelayTheVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, WatcherConfig{})
		time.Sleep(30 * time.Second)
		f.register(t, "node-1")
		for range 16 {
			f.m.setDown(store.ErrUnavailable)
			time.Sleep(200 * time.Millisecond)
			f.m.setDown(nil)
			time.Sleep(900 * time.Millisecond)
		}
		synctest.Wait()
		if f.state("node-1") != store.NodeUnhealthy {
			t.Errorf("17.6 s after the last beat: %q, want unhealthy", f.state("node-1"))
		}
		f.stop()
	})
}

func TestNeverReadyWithoutASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := newMemStore(), &journal{}
		m.setDown(store.ErrUnavailable)
		w := NewWatcher(WatcherConfig{}, m, j.log())
		if w.Snapshot() == nil || w.Snapshot().Node("node-1") != nil {
			t.Error("Snapshot() before Run is nil or not empty")
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		time.Sleep(10 * time.Second)
		if ok, reason := w.Ready(); ok || !strings.Contains(reason, "no snapshot") {
			t.Errorf("Ready() = %v, %q, want false with the reason", ok, reason)
		}
		if got := j.count("nodes cannot be read, going on with what is known"); got != 1 {
			t.Errorf("%d lines about one absence, want 1", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
	})
}

func TestVanishedNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, WatcherConfig{})
		reg := testRegistrar(f.m, f.watchers[0], f.j)
		reg.cfg.Changed = f.watchers[0].Poke
		f.register(t, "node-1")
		n2 := f.register(t, "node-2")
		n3 := f.register(t, "node-3")
		time.Sleep(2 * time.Second)

		// A farewell is believed at once.
		if err := reg.Deregister(t.Context(), Farewell{ID: "node-1", Instance: instanceA, Epoch: 1}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1100 * time.Millisecond)
		if f.state("node-1") != "" || f.state("node-2") != store.NodeActive {
			t.Errorf("after a farewell: %q, %q, want gone, active", f.state("node-1"), f.state("node-2"))
		}

		// An emptied store is not: the nodes are there until they had the time to beat.
		f.m.flush()
		time.Sleep(3 * time.Second)
		if f.state("node-2") != store.NodeActive || f.state("node-3") != store.NodeActive {
			t.Errorf("after FLUSHALL: %q, %q, want active, active", f.state("node-2"), f.state("node-3"))
		}
		if _, err := reg.Beat(t.Context(), RecordOf(n2)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if f.state("node-2") != store.NodeActive || len(f.watchers[0].Snapshot().Nodes) != 2 {
			t.Errorf("snapshot %+v, want node-2 and node-3, once each", f.watchers[0].Snapshot().Nodes)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if f.state("node-3") != "" || f.state("node-2") == "" {
			t.Errorf("a nodeTimeout later: %q, %q, want node-3 gone and node-2 there", f.state("node-3"), f.state("node-2"))
		}
		_ = n3
		f.stop()
	})
}

func TestPokeReloadsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, WatcherConfig{})
		time.Sleep(time.Second + 10*time.Millisecond)
		f.register(t, "node-1")
		f.watchers[0].Poke()
		synctest.Wait()
		if f.state("node-1") != store.NodeActive {
			t.Errorf("right after Poke: %q, want active", f.state("node-1"))
		}
		f.stop()
	})
}

func TestOwnRecordIsKeptFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refreshed := 0
		f := newFleet(t, 1, WatcherConfig{
			Describe: func() store.Coordinator { return store.Coordinator{ID: "c1", Version: "test"} },
			Refresh:  func(context.Context) error { refreshed++; return errors.New("once more") },
		})
		time.Sleep(time.Second)
		f.m.flush()
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if f.m.coordinator("c1").Version != "test" {
			t.Error("own record is not back after the store was emptied")
		}
		if refreshed != 2 {
			t.Errorf("refreshed %d times in 7 s, want 2", refreshed)
		}
		f.stop()
	})
}

// What this replica cannot put back for another reason than the store's absence needs a person.
func TestRefreshThatIsRefusedIsSaidOnceAndShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refusal atomic.Pointer[error]
		f := newFleet(t, 1, WatcherConfig{Refresh: func(context.Context) error {
			if err := refusal.Load(); err != nil {
				return *err
			}
			return nil
		}})
		step := func(err error, reason bool, lines int) {
			t.Helper()
			refusal.Store(&err)
			time.Sleep(20 * time.Second)
			synctest.Wait()
			ok, why := f.watchers[0].Ready()
			if !ok || (why != "") != reason || strings.Contains(why, "key") {
				t.Errorf("after %v: Ready() = %v, %q, want a reason %v", err, ok, why, reason)
			}
			if n := f.j.count("what this replica must put back into Redis is refused"); n != lines {
				t.Errorf("after %v: %d errors in the log, want %d", err, n, lines)
			}
		}
		step(store.ErrUnavailable, false, 0)
		step(errors.New("another key"), true, 1)
		step(store.ErrUnavailable, true, 1) // nobody knows better
		step(nil, false, 1)
		step(errors.New("another key"), true, 2)
		f.stop()
	})
}

// Leases run out on Redis's clock. When that is set forward, nodes that beat on are not marked.
func TestJumpOfTheStoresClockMarksNobodyThatBeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, WatcherConfig{})
		time.Sleep(20 * time.Second)
		nodes := []store.Node{f.register(t, "node-1"), f.register(t, "node-2"), f.register(t, "node-3")}
		time.Sleep(3*time.Second + 300*time.Millisecond)
		f.m.jump(time.Hour)
		time.Sleep(2 * time.Second)
		for _, n := range nodes[:2] { // the third is dead
			if _, err := f.m.BeatNode(t.Context(), n, time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if f.j.has("Marking") || !f.j.has("clock of Redis") {
			t.Errorf("within a nodeTimeout of the jump: %q, want nobody marked and the jump told", f.j.lines)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if f.state("node-1") != store.NodeActive || f.state("node-2") != store.NodeActive || f.state("node-3") != store.NodeUnhealthy {
			t.Errorf("after it: %s, %s, %s, want only the third unhealthy", f.state("node-1"), f.state("node-2"), f.state("node-3"))
		}
		f.stop()
	})
}
