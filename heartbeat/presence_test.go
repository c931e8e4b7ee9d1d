package heartbeat

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// replica is one coordinator of a test, and what it says of itself.
type replica struct {
	watcher *Watcher
	j       *journal
	stop    func() // well, as a process that is told to

	mu   sync.Mutex
	says store.Coordinator
}

func startReplica(t *testing.T, m *memStore, id store.CoordinatorID, key string) *replica {
	t.Helper()
	r := &replica{j: &journal{}, says: store.Coordinator{ID: id, Address: string(id) + ":3000", Version: "1.0"}}
	r.setKey(key)
	r.watcher = NewWatcher(WatcherConfig{Coordinator: id, Describe: r.describe}, m, r.j.log())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.watcher.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
	})
	return r
}

func (r *replica) describe() store.Coordinator {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.says
}

func (r *replica) change(f func(*store.Coordinator)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.says)
}

func (r *replica) setKey(key string) {
	r.change(func(c *store.Coordinator) {
		if c.KeyPrint = ""; key != "" {
			c.KeyPrint = KeyPrint([]byte(key))
		}
	})
}

// wantReady checks several replicas, some time later.
func wantReady(t *testing.T, after time.Duration, want map[*replica]bool) {
	t.Helper()
	time.Sleep(after)
	synctest.Wait()
	for r, want := range want {
		if ok, reason := r.watcher.Ready(); ok != want {
			t.Errorf("%s: Ready() = %v, %q, want %v", r.describe().ID, ok, reason, want)
		}
	}
}

// crash ends a replica that does not get to say so.
func crash(m *memStore, r *replica) {
	m.mu.Lock()
	m.crashed[r.describe().ID] = true
	m.mu.Unlock()
	r.stop()
}

func TestAnotherSecretIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemStore()
		first := startReplica(t, m, "z-first", "right")
		time.Sleep(3 * time.Second)
		odd := startReplica(t, m, "odd", "wrong")
		time.Sleep(3 * time.Second)
		third := startReplica(t, m, "a-third", "right")
		defer third.stop()
		// From its first look on, and for as long as it lasts.
		wantReady(t, time.Millisecond, map[*replica]bool{first: true, odd: false, third: true})
		wantReady(t, time.Minute, map[*replica]bool{first: true, odd: false, third: true})
		_, reason := odd.watcher.Ready()
		const want = "another cluster.secret than coordinator z-first at z-first:3000, which was here first; give all replicas the same one"
		if reason != want {
			t.Errorf("reason %q, want %q", reason, want)
		}
		if n := odd.j.count("not ready: " + want); n != 1 {
			t.Errorf("said %d times in the log, want once", n)
		}
		// The first is gone; then who was here next decides.
		first.stop()
		wantReady(t, 1100*time.Millisecond, map[*replica]bool{odd: true})
		wantReady(t, 6*time.Second, map[*replica]bool{odd: true, third: false})
		odd.stop()
		wantReady(t, 1100*time.Millisecond, map[*replica]bool{third: true})
		if n := m.count(store.EventCoordinatorUp); n != 3 {
			t.Errorf("%d starts recorded, want 3", n)
		}
		if n := m.count(store.EventCoordinatorDown); n != 2 {
			t.Errorf("%d stops recorded, want 2", n)
		}
	})
}

func TestAnotherSecretIsForgivenWhenTheOtherHasCrashed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemStore()
		first := startReplica(t, m, "first", "right")
		time.Sleep(time.Second)
		odd := startReplica(t, m, "odd", "wrong")
		defer odd.stop()
		wantReady(t, 4*time.Second, map[*replica]bool{first: true, odd: false})
		crash(m, first)
		wantReady(t, 5*time.Second, map[*replica]bool{odd: false})
		wantReady(t, 12*time.Second, map[*replica]bool{odd: true}) // its record has lapsed
	})
}

// Who was first is known also when the store is emptied and the wrong one is first to write.
func TestAnEmptiedStoreDoesNotTurnTheFleetRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemStore()
		first := startReplica(t, m, "first", "right")
		defer first.stop()
		time.Sleep(2500 * time.Millisecond)
		odd := startReplica(t, m, "odd", "wrong")
		defer odd.stop()
		wantReady(t, 2*time.Second, map[*replica]bool{first: true, odd: false})
		for range 20 {
			m.flush()
			for range 30 {
				wantReady(t, 700*time.Millisecond, map[*replica]bool{first: true})
			}
		}
		wantReady(t, 0, map[*replica]bool{first: true, odd: false})
		// Nor when the store is away for so long that all records lapse.
		m.setDown(store.ErrUnavailable)
		wantReady(t, time.Minute, map[*replica]bool{first: true, odd: false})
		m.setDown(nil)
		wantReady(t, 10*time.Second, map[*replica]bool{first: true, odd: false})
	})
}

func TestAKeyAgreedLaterIsCompared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemStore()
		first := startReplica(t, m, "first", "right")
		defer first.stop()
		time.Sleep(time.Second)
		late := startReplica(t, m, "late", "")
		defer late.stop()
		wantReady(t, 10*time.Second, map[*replica]bool{first: true, late: true})
		late.setKey("wrong")
		wantReady(t, 1100*time.Millisecond, map[*replica]bool{first: true, late: false})
		late.setKey("right")
		wantReady(t, 1100*time.Millisecond, map[*replica]bool{first: true, late: true})
	})
}

// The record is written when it says something new, and otherwise three times within its life.
func TestOwnRecordIsWrittenSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemStore()
		r := startReplica(t, m, "c1", "key")
		defer r.stop()
		time.Sleep(time.Minute - time.Millisecond)
		synctest.Wait()
		if m.said > 12 || m.listed > 12 {
			t.Errorf("in a minute: %d records written, %d times listed; want at most 12", m.said, m.listed)
		}
		before := m.said
		for i := range 10 {
			r.change(func(c *store.Coordinator) { c.Sessions = i + 1 })
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if n := m.said - before; n < 10 || n > 12 {
			t.Errorf("%d records written for 10 changes in 10 s", n)
		}
		if got := m.coordinator("c1"); got.Sessions != 10 || got.Joined.IsZero() {
			t.Errorf("record %+v", got)
		}
	})
}

func TestKeyPrint(t *testing.T) {
	a, b := KeyPrint([]byte("secret-a")), KeyPrint([]byte("secret-b"))
	if a == b || a != KeyPrint([]byte("secret-a")) || len(a) != 12 || !isHex(a, 12) {
		t.Errorf("prints %q and %q, want two of 12 hex digits", a, b)
	}
	if strings.HasPrefix(FleetCredential([]byte("secret-a")), a) {
		t.Error("the print is part of the credential")
	}
}
