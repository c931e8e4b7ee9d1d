package heartbeat

import (
	"context"
	"fmt"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// presence is what this replica says of itself to the others, and what it knows of them. But
// for rival it belongs to Run.
type presence struct {
	said    store.Coordinator // as Describe gave it when it was last written
	joined  time.Time         // when this replica was first seen, by Redis's clock; zero until then
	wrote   instant
	checked instant // when the keys were compared

	// rival is who was here first with another key, guarded by Watcher.mu.
	rival *store.Coordinator
}

// present keeps this replica's own record: it is written when it has something new to say, and
// three times within its life. Then the keys of the fleet are compared.
func (w *Watcher) present(ctx context.Context) {
	if w.cfg.Describe == nil {
		return
	}
	p := &w.own
	c := w.cfg.Describe()
	third := w.cfg.NodeTimeout / 3
	newKey := c.KeyPrint != p.said.KeyPrint
	if c != p.said || p.wrote.age() >= third {
		if !w.write(ctx, c) {
			return
		}
	}
	if newKey || w.rival() != nil || p.checked.age() >= third {
		w.compareKeys(ctx, c)
	}
}

// write stores the record and reports whether it was stored.
func (w *Watcher) write(ctx context.Context, c store.Coordinator) bool {
	p := &w.own
	record := c
	record.Joined = p.joined
	stored, err := w.store.PutCoordinator(ctx, record, w.cfg.NodeTimeout)
	if err != nil {
		if ctx.Err() == nil {
			w.log.Debug("own record not written", "err", err)
		}
		return false
	}
	first := p.joined.IsZero()
	p.said, p.joined, p.wrote = c, stored.Joined, now()
	if first {
		w.event(ctx, store.EventCoordinatorUp, "", fmt.Sprintf("coordinator %s started at %s, release %s", c.ID, c.Address, c.Version))
	}
	return true
}

// compareKeys looks whether the fleet has another key than this replica. The one that was here
// first decides: a replica with a wrong secret that joins a fleet must not stop the others. When
// each came is remembered by itself, so an emptied Redis, into which the wrong one may write
// first, changes nothing. While the store is away what was found stands.
func (w *Watcher) compareKeys(ctx context.Context, own store.Coordinator) {
	list, err := w.store.Coordinators(ctx)
	if err != nil {
		return
	}
	p := &w.own
	p.checked = now()
	own.Joined = p.joined
	first := own
	for _, c := range list {
		if c.KeyPrint != "" && c.ID != own.ID && before(c, first) {
			first = c
		}
	}
	var rival *store.Coordinator
	if own.KeyPrint != "" && first.KeyPrint != own.KeyPrint {
		rival = &first
	}
	w.mu.Lock()
	was := p.rival
	p.rival = rival
	w.mu.Unlock()
	switch {
	case rival != nil && (was == nil || was.ID != rival.ID):
		w.log.Error("not ready: " + misfit(rival))
	case rival == nil && was != nil:
		w.log.Info("no coordinator with another cluster.secret was here before this one any more")
	}
}

// before says whether a was here before b. It is the same on every replica.
func before(a, b store.Coordinator) bool {
	if !a.Joined.Equal(b.Joined) {
		return a.Joined.Before(b.Joined)
	}
	return a.ID < b.ID
}

func misfit(rival *store.Coordinator) string {
	return fmt.Sprintf("another cluster.secret than coordinator %s at %s, which was here first; give all replicas the same one", rival.ID, rival.Address)
}

func (w *Watcher) rival() *store.Coordinator {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.own.rival
}

// farewell takes back this replica's own record, so that the others know at once.
func (w *Watcher) farewell(ctx context.Context) {
	if w.own.joined.IsZero() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := w.store.RemoveCoordinator(ctx, w.own.said.ID); err != nil { // it lapses by itself
		w.log.Debug("own record not removed", "err", err)
		return
	}
	w.event(ctx, store.EventCoordinatorDown, "", fmt.Sprintf("coordinator %s stopped", w.own.said.ID))
}
