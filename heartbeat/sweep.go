package heartbeat

import (
	"context"
	"errors"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// markedTime is how the guide writes a time: UTC with milliseconds.
const markedTime = "2006-01-02T15:04:05.000Z"

// sweep marks the nodes whose lease has lapsed, once they have had the time to renew it, and
// returns how many this replica marked.
func (w *Watcher) sweep(ctx context.Context) (marked int) {
	if !w.answering() || w.steady.age() < w.cfg.NodeTimeout {
		return 0
	}
	lapsed, err := w.store.SweepNodes(ctx)
	if err != nil {
		if ctx.Err() == nil {
			w.log.Debug("lapsed leases not looked for", "err", err)
		}
		return 0
	}
	for _, n := range lapsed {
		last := n.LastHeartbeat.UTC().Format(markedTime)
		// The guide's line, to the letter.
		w.log.Warn("Marking node "+string(n.ID)+" as unhealthy (last heartbeat: "+last+")", "node", n.ID, "epoch", n.Epoch)
		w.event(ctx, store.EventNodeUnhealthy, n.ID, n.Name+" is unhealthy (last heartbeat: "+last+")")
	}
	return len(lapsed)
}

// cleanup forgets nodes that have been unhealthy for a whole CleanupInterval, and returns how
// many this replica removed.
func (w *Watcher) cleanup(ctx context.Context) (removed int) {
	if !w.answering() || w.cleaned.age() < w.cfg.CleanupInterval {
		return 0
	}
	old, err := w.store.RemoveNodes(ctx, w.cfg.CleanupInterval)
	if err != nil {
		if ctx.Err() == nil {
			w.log.Debug("old nodes not looked for", "err", err)
		}
		return 0
	}
	w.cleaned = now()
	for _, n := range old {
		w.log.Info("unhealthy node forgotten", "node", n.ID, "epoch", n.Epoch)
		w.event(ctx, store.EventNodeRemoved, n.ID, n.Name+" stayed unhealthy and was forgotten")
	}
	return len(old)
}

// answering says whether the last look at the store succeeded.
func (w *Watcher) answering() bool { return w.down.mono.IsZero() && !w.steady.mono.IsZero() }

// assert puts back what a store that was emptied has lost, three times within a nodeTimeout.
func (w *Watcher) assert(ctx context.Context) {
	if w.refresh.age() < w.cfg.NodeTimeout/3 {
		return
	}
	w.refresh = now()
	if w.cfg.Refresh != nil {
		w.refreshed(ctx, w.cfg.Refresh(ctx))
	}
}

// refreshed notes what came of Refresh. That the store is away is known from elsewhere and
// passes; anything else needs a person, and is said once and for as long as it lasts.
func (w *Watcher) refreshed(ctx context.Context, err error) {
	if err != nil && (ctx.Err() != nil || errors.Is(err, store.ErrUnavailable)) {
		w.log.Debug("not written back", "err", err)
		return
	}
	w.mu.Lock()
	was := w.unsaved
	w.unsaved = err
	w.mu.Unlock()
	switch {
	case err != nil && was == nil:
		w.log.Error("what this replica must put back into Redis is refused", "err", err)
	case err == nil && was != nil:
		w.log.Info("written back again")
	}
}

func (w *Watcher) event(ctx context.Context, kind store.EventKind, node store.NodeID, text string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	e := store.Event{Kind: kind, Node: node, Coordinator: string(w.cfg.Coordinator), Text: text}
	if err := w.store.AppendEvent(ctx, e); err != nil {
		w.log.Warn("event not recorded", "node", node, "err", err)
	}
}
