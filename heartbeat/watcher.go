package heartbeat

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// WatcherStore is the part of the store that watching nodes needs.
type WatcherStore interface {
	Snapshot(ctx context.Context, prev *store.Snapshot) (*store.Snapshot, error)
	SweepNodes(ctx context.Context) ([]store.Node, error)
	RemoveNodes(ctx context.Context, olderThan time.Duration) ([]store.Node, error)
	PutCoordinator(ctx context.Context, c store.Coordinator, ttl time.Duration) (store.Coordinator, error)
	RemoveCoordinator(ctx context.Context, id store.CoordinatorID) error
	Coordinators(ctx context.Context) ([]store.Coordinator, error)
	AppendEvent(ctx context.Context, e store.Event) error
	Events(ctx context.Context, limit int) ([]store.Event, error)
}

// WatcherConfig is how a coordinator watches the fleet.
type WatcherConfig struct {
	// NodeTimeout is how long a lease lasts; the store is looked at ten times as often, and at
	// least each second. Zero means 15 s. Setting: nodeTimeout.
	NodeTimeout time.Duration
	// CleanupInterval is the time between cleanups, and how long the record of an unhealthy
	// node is kept. Zero means 30 s. Setting: cleanupInterval.
	CleanupInterval time.Duration
	// Coordinator is this replica, for events.
	Coordinator store.CoordinatorID
	// Describe returns this replica's own record, which is kept fresh in the store; Joined and
	// Seen are not looked at. It must not block. May be nil.
	Describe func() store.Coordinator
	// Refresh is called, if set, three times within a NodeTimeout: for whatever else this
	// replica must put back into a store that may have been emptied. Its error is logged, and
	// unless it wraps store.ErrUnavailable, Ready says until it has passed that there is one.
	Refresh func(ctx context.Context) error
}

// Watcher keeps the last known picture of the fleet. Run works; the other methods never block
// and are safe for concurrent use.
type Watcher struct {
	cfg   WatcherConfig
	store WatcherStore
	log   *slog.Logger
	poke  chan struct{}

	view atomic.Pointer[store.Snapshot] // what is shown: raw and the ghosts

	mu    sync.Mutex
	had   bool  // a snapshot has been read
	fault error // of the last look at the store

	unsaved error // of Refresh, but for the store's absence

	// What follows belongs to Run.
	raw     *store.Snapshot
	ghosts  map[store.NodeID]ghost
	down    instant // since when the store does not answer; zero while it does
	steady  instant // since when nodes could have renewed their leases; zero for never
	read    instant // when raw was read
	refresh instant // when Refresh was called
	cleaned instant
	own     presence
}

// ghost is a node that is gone from the store and did not say farewell: the store may have
// been emptied, and the node's next beat will bring it back.
type ghost struct {
	node store.Node
	gone instant
}

var errUnread = errors.New("they have not been asked for")

// NewWatcher returns a watcher that has seen nothing.
func NewWatcher(cfg WatcherConfig, st WatcherStore, log *slog.Logger) *Watcher {
	cfg.NodeTimeout = orDefault(cfg.NodeTimeout, defaultTimeout)
	cfg.CleanupInterval = orDefault(cfg.CleanupInterval, 30*time.Second)
	w := &Watcher{
		cfg: cfg, store: st, log: log.With("coordinator", cfg.Coordinator),
		poke: make(chan struct{}, 1), ghosts: make(map[store.NodeID]ghost),
		fault: errUnread,
	}
	w.view.Store(&store.Snapshot{})
	return w
}

// Snapshot is the last known picture of the fleet: never nil, and empty until the store has
// answered once. It is kept while the store is away. A node that vanished from the store
// without saying farewell stays in it for one nodeTimeout.
func (w *Watcher) Snapshot() *store.Snapshot { return w.view.Load() }

// Ready reports whether this replica knows the fleet at all, and has the same key as the fleet:
// where another was here first with another one, sessions begun here would be unknown there.
// With true, a reason says that it works from what it last knew (degraded).
func (w *Watcher) Ready() (ok bool, reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.own.rival != nil {
		return false, misfit(w.own.rival)
	}
	if w.fault == nil {
		if w.unsaved != nil {
			return true, "what this replica must put back into Redis is refused: see its log"
		}
		return true, ""
	}
	if w.had {
		return true, "serving from the last snapshot: " + outward(w.fault)
	}
	return false, "no snapshot of the nodes yet: " + outward(w.fault)
}

// outward is what anyone may know of an error of the store; addresses are for the log.
func outward(err error) string {
	for _, known := range []error{store.ErrUnavailable, store.ErrSchema, errUnread} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "the store answers with an error"
}

// Poke asks for a look at the store now, since somebody said that the nodes have changed. It
// never blocks. Without it, or when word is lost, the next look finds the change.
func (w *Watcher) Poke() {
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

// Run watches until ctx ends and returns nil. The own record is then gone from the store.
func (w *Watcher) Run(ctx context.Context) error {
	tick := time.NewTicker(max(min(time.Second, w.cfg.NodeTimeout/10), 10*time.Millisecond))
	defer tick.Stop()
	defer w.farewell(ctx)
	w.cleaned = now()
	w.round(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.poke:
			w.load(ctx)
		case <-tick.C:
			w.round(ctx)
		}
	}
}

// round does everything that is due.
func (w *Watcher) round(ctx context.Context) {
	w.present(ctx)
	w.assert(ctx)
	w.load(ctx)
	marked, removed := w.sweep(ctx), w.cleanup(ctx)
	if marked+removed > 0 {
		w.load(ctx)
	}
}

// load reads the store and publishes what it says.
func (w *Watcher) load(ctx context.Context) {
	snap, err := w.store.Snapshot(ctx, w.raw)
	if err != nil {
		if ctx.Err() == nil {
			w.fail(err)
		}
		return
	}
	w.compareClocks(snap)
	gone := w.vanished(snap)
	if snap != w.raw || gone {
		w.bury(ctx, snap)
		w.publish(snap)
	}
	w.raw = snap
	w.succeed() // when the snapshot is there for whoever asks Ready first
}

// fail notes that the store cannot be read; what is published stays.
func (w *Watcher) fail(err error) {
	w.mu.Lock()
	w.fault = err
	w.mu.Unlock()
	if w.down.mono.IsZero() {
		w.down = now()
		w.log.Warn("nodes cannot be read, going on with what is known", "err", err)
	}
}

// succeed notes that the store answers. Leases run out on Redis's clock also while nobody can
// renew them, so after an absence in which a beat may have been lost, and at the start, nodes
// get a whole nodeTimeout to beat again before they are judged.
func (w *Watcher) succeed() {
	away := w.down
	w.down = instant{}
	w.mu.Lock()
	first := !w.had
	w.fault, w.had = nil, true
	w.mu.Unlock()
	if first || !away.mono.IsZero() && away.age() >= w.cfg.NodeTimeout/3 {
		w.steady = now()
	}
	if !first && !away.mono.IsZero() {
		w.log.Info("nodes can be read again", "dur", away.age())
	}
}

// maxDrift is how far Redis's clock may move away from ours between two looks at it.
const maxDrift = 2 * time.Second

// compareClocks notices that Redis's clock was set, or that another machine with another clock
// took over. All leases may run out at once then though no beat was missed, so nodes get a
// whole nodeTimeout to beat again before they are judged.
func (w *Watcher) compareClocks(snap *store.Snapshot) {
	before, at := w.raw, w.read
	w.read = now()
	if before == nil || snap == before || snap.Taken.IsZero() || before.Taken.IsZero() {
		return
	}
	drift := snap.Taken.Sub(before.Taken) - at.age()
	if drift.Abs() <= maxDrift {
		return
	}
	w.steady = now()
	w.log.Warn("the clock of Redis has jumped: no node is judged for a nodeTimeout", "dur", drift.Round(time.Millisecond))
}

// vanished turns nodes that are in the last reading and not in this one into ghosts, and
// reports whether there are any.
func (w *Watcher) vanished(snap *store.Snapshot) bool {
	if w.raw != nil && snap != w.raw {
		for _, n := range w.raw.Nodes {
			if n.State != store.NodeUnhealthy && snap.Node(n.ID) == nil {
				w.ghosts[n.ID] = ghost{node: n, gone: now()}
			}
		}
	}
	return len(w.ghosts) > 0
}

// bury forgets ghosts that came back, said farewell, or stayed away for one nodeTimeout.
func (w *Watcher) bury(ctx context.Context, snap *store.Snapshot) {
	if len(w.ghosts) == 0 {
		return
	}
	left := w.farewells(ctx)
	for id, g := range w.ghosts {
		at, said := left[id]
		switch {
		case snap.Node(id) != nil, said && at >= g.node.LastHeartbeat.UnixMilli():
			delete(w.ghosts, id)
		case g.gone.age() >= w.cfg.NodeTimeout:
			delete(w.ghosts, id)
			w.log.Warn("node is gone from Redis and has not come back", "node", id, "epoch", g.node.Epoch)
		}
	}
}

// farewells are the nodes that deregistered lately, and when, by Redis's clock.
func (w *Watcher) farewells(ctx context.Context) map[store.NodeID]int64 {
	events, err := w.store.Events(ctx, 200)
	if err != nil { // then they stay for their time
		return nil
	}
	left := make(map[store.NodeID]int64)
	for _, e := range events {
		if e.Kind == store.EventNodeDeregistered {
			left[e.Node] = max(left[e.Node], e.Time.UnixMilli())
		}
	}
	return left
}

func (w *Watcher) publish(snap *store.Snapshot) {
	if len(w.ghosts) == 0 {
		w.view.Store(snap)
		return
	}
	view := *snap
	view.Nodes = slices.Clone(snap.Nodes)
	for _, g := range w.ghosts {
		view.Nodes = append(view.Nodes, g.node)
	}
	slices.SortFunc(view.Nodes, func(a, b store.Node) int { return strings.Compare(string(a.ID), string(b.ID)) })
	w.view.Store(&view)
}
