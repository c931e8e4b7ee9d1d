package router

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// Rhythm of the work behind the requests.
const (
	maxRefresh = 30 * time.Second // between renewals of time to live
	maxTick    = time.Second      // between looks at nodes, idle connections and what is to be written
	queued     = 1024             // announcements that may wait
)

// backlog is what requests leave for Run: nothing in it is waited for. Safe for concurrent use.
type backlog struct {
	news  chan store.Event
	limit int // of sessions in creates and in reads

	mu      sync.Mutex
	touched []*session           // used since the last renewal
	creates map[sid]*session     // to be written to the store
	reads   map[sid]*session     // to be read from the store
	ends    map[sid]*session     // whose end is to be recorded
	binds   map[bindKey]*rebound // places to be agreed on
	levels  map[sid]*session     // whose log level is to be recorded
	subs    map[sid]*session     // whose subscriptions are to be recorded
}

type bindKey struct {
	id     sid
	server store.ServerID
}

// rebound is a place that the store is to hear of, and what it held before.
type rebound struct {
	s   *session
	old store.Binding
}

func newBacklog(limit int) backlog {
	return backlog{
		limit: max(1, limit), news: make(chan store.Event, queued), creates: map[sid]*session{}, reads: map[sid]*session{},
		ends: map[sid]*session{}, binds: map[bindKey]*rebound{}, levels: map[sid]*session{}, subs: map[sid]*session{},
	}
}

func (b *backlog) touch(s *session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.touched = append(b.touched, s)
}

func (b *backlog) create(s *session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	keep(b.creates, s, b.limit)
}

func (b *backlog) reread(s *session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	keep(b.reads, s, b.limit)
}

func (b *backlog) level(s *session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	keep(b.levels, s, b.limit)
}

func (b *backlog) subscription(s *session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	keep(b.subs, s, b.limit)
}

// keep adds a session, unless the limit is reached: while the store is away there may be no end
// of new ones. One that is left out is looked at again when its time to live is renewed.
func keep(m map[sid]*session, s *session, limit int) {
	if _, ok := m[s.tok.random]; ok || len(m) < limit {
		m[s.tok.random] = s
	}
}

func (b *backlog) end(s *session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ends[s.tok.random] = s
}

// bind keeps the oldest binding of a place that is not agreed on: that is what the store holds.
func (b *backlog) bind(s *session, server store.ServerID, old store.Binding) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := bindKey{s.tok.random, server}
	if b.binds[key] == nil {
		b.binds[key] = &rebound{s: s, old: old}
	}
}

// announce queues an event and a hint for the other coordinators; without a kind there is no event
// to write. If the queue is full they find out by themselves.
func (b *backlog) announce(r *Router, e store.Event) {
	e.Coordinator = string(r.cfg.Coordinator)
	select {
	case b.news <- e:
	default:
		r.stats.dropped.Add(1)
	}
}

// Run does the work that no request waits for, until ctx ends: it renews time to live in
// batches, writes back what the store does not have, announces moves, takes the hints of other
// coordinators, reads the catalogs of servers, looks after nodes that do not answer, and closes
// idle connections. It returns nil.
func (r *Router) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	parts.Go(func() { r.every(ctx, min(maxRefresh, r.cfg.SessionTimeout/10), nil, r.renew) })
	parts.Go(func() { r.every(ctx, min(maxTick, r.cfg.SessionTimeout/10), r.doubt.wake, r.catchUp) })
	parts.Go(func() { r.every(ctx, maxTick, nil, r.watchNodes) })
	parts.Go(func() { r.every(ctx, maxTick, nil, r.readCatalogs) })
	parts.Go(func() { r.every(ctx, announceEvery, nil, r.announce) })
	parts.Go(func() { r.tellNews(ctx) })
	parts.Go(func() { r.takeHints(ctx) })
	<-ctx.Done()
	parts.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	r.catchUp(last)
	r.renew(last)
	r.hop.close()
	return nil
}

// every does something each d, and whenever woken.
func (r *Router) every(ctx context.Context, d time.Duration, woken <-chan struct{}, do func(context.Context)) {
	t := time.NewTicker(max(d, time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			do(ctx)
		case <-woken:
			do(ctx)
		}
	}
}

// renew tells the store which sessions were used since the last time, and writes back those
// that it has lost.
func (r *Router) renew(ctx context.Context) {
	r.useOpen()
	r.todo.mu.Lock()
	used := r.todo.touched
	r.todo.touched = nil
	r.todo.mu.Unlock()
	byID := make(map[store.SessionID]*session, len(used))
	ids := make([]store.SessionID, 0, len(used))
	for _, s := range used {
		s.touched.Store(false)
		id := s.tok.SessionID()
		byID[id] = s
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return
	}
	// The store bounds each of its round trips; many sessions need many.
	err := r.store.TouchSessions(ctx, ids, r.cfg.SessionTimeout)
	r.noteStore(err)
	if lost, ok := errors.AsType[*store.MissingSessionsError](err); ok {
		emptied := false
		for _, id := range lost.Missing {
			emptied = byID[id].setStored(false) || emptied
			r.todo.create(byID[id])
		}
		if emptied { // sessions that nobody has used since are lost too
			r.doubt.sign()
			r.doubt.look()
		}
		for _, id := range lost.Ended {
			byID[id].end()
		}
		return
	}
	if err != nil {
		r.log.WarnContext(ctx, "sessions not renewed; they are tried again", "err", err)
		for _, s := range used {
			if s.touched.CompareAndSwap(false, true) {
				r.todo.touch(s)
			}
		}
		return
	}
	r.doubt.swear(ids[len(ids)-1])
}

// catchUp does what could not be done when it came up, because the store was away, and gives
// the store what it has lost. It stops at the first sign that the store still is away.
func (r *Router) catchUp(ctx context.Context) {
	if !r.askStore(ctx) {
		return
	}
	if r.doubt.recall.Swap(false) {
		r.recall()
		r.renew(ctx)
	}
	for _, do := range []func(context.Context) bool{r.writeEnds, r.writeSessions, r.writeBinds, r.writeLevels, r.writeSubs, r.readSessions} {
		if !do(ctx) || ctx.Err() != nil {
			return
		}
	}
}

// recall queues every cached session that is in use for renewal: a store that was away may come
// back empty, and the next renewal finds what it has lost.
func (r *Router) recall() {
	for _, s := range r.cache.Values() {
		if r.inUse(s) && s.touched.CompareAndSwap(false, true) {
			r.todo.touch(s)
		}
	}
}

// take empties one of the backlog's maps.
func take[K comparable, V any](b *backlog, m *map[K]V) map[K]V {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := *m
	*m = make(map[K]V)
	return all
}

func away(err error) bool {
	return err != nil && !errors.Is(err, store.ErrEnded) && !errors.Is(err, store.ErrNotFound)
}

// writeEnds records the ends of sessions.
func (r *Router) writeEnds(ctx context.Context) bool {
	ok := true
	for _, s := range take(&r.todo, &r.todo.ends) {
		if !ok || r.tombstone(ctx, s.tok.SessionID(), "session ended by its client") != nil {
			r.todo.end(s)
			ok = false
		}
	}
	return ok
}

// writeSessions writes sessions that the store does not have.
func (r *Router) writeSessions(ctx context.Context) bool {
	return each(ctx, take(&r.todo, &r.todo.creates), r.writeBack, r.todo.create)
}

// each does something for each session. From the first one on for which it fails they are put
// back, for the next time.
func each(ctx context.Context, all map[sid]*session, do func(context.Context, *session) bool, back func(*session)) bool {
	ok := true
	for _, s := range all {
		if ok = ok && do(ctx, s); !ok {
			back(s)
		}
	}
	return ok
}

// writeBack writes a session that the store does not have. It is false if the store is away.
func (r *Router) writeBack(ctx context.Context, s *session) bool {
	rec := s.record()
	s.mu.Lock()
	ended := s.ended
	s.mu.Unlock()
	if ended || len(rec.Init) == 0 {
		return true // over, or another coordinator knows more than we do
	}
	switch err := r.create(ctx, s, rec); {
	case err == nil:
		r.stats.recovered.Add(1)
	case errors.Is(err, store.ErrEnded):
		s.end()
	default:
		return false
	}
	return true
}

// writeBinds has the store agree to places that were chosen without it. If another coordinator
// was first, its choice is followed.
func (r *Router) writeBinds(ctx context.Context) bool {
	ok := true
	for key, p := range take(&r.todo, &r.todo.binds) {
		b, known := p.s.place(key.server)
		if !known {
			continue
		}
		if !ok {
			r.todo.bind(p.s, key.server, p.old)
			continue
		}
		won, err := r.bind(ctx, p.s, key.server, p.old, b.Binding)
		switch {
		case away(err):
			r.todo.bind(p.s, key.server, p.old)
			ok = false
		case errors.Is(err, store.ErrEnded):
			p.s.end()
		case err == nil && won == b.Binding:
			p.s.saved(b)
		case errors.Is(err, store.ErrNotFound):
			// A session that the store has lost is written back by whoever knows its initialize,
			// and the place that it has there then counts: it must not be held against it that
			// this one was never agreed to. If it has none, this one is the place.
			p.s.saved(b)
			if p.s.miss(); r.mayReturn(p.s) {
				r.todo.bind(p.s, key.server, p.old)
			}
		case err == nil:
			r.stats.followed.Add(1)
			p.s.settleIf(b.gen, bound{server: key.server, Binding: won, adopted: time.Now()})
			if won.Node != b.Node && !r.cfg.NoSticky { // without affinity it may be open on both
				r.closeUpstream(ctx, p.s, key.server, b.Binding)
			}
		}
	}
	return ok
}

// writeLevels records log levels.
func (r *Router) writeLevels(ctx context.Context) bool {
	return each(ctx, take(&r.todo, &r.todo.levels), r.saveLevel, r.todo.level)
}

// writeSubs records subscriptions.
func (r *Router) writeSubs(ctx context.Context) bool {
	return each(ctx, take(&r.todo, &r.todo.subs), r.saveSubs, r.todo.subscription)
}

// readSessions reads what could not be read when the session came by.
func (r *Router) readSessions(ctx context.Context) bool {
	ok := true
	for _, s := range take(&r.todo, &r.todo.reads) {
		if !ok || !r.reload(ctx, s) {
			r.todo.reread(s)
			ok = false
		}
	}
	return ok
}

// reload brings a cached session up to date with the store. It is false if the store is away.
func (r *Router) reload(ctx context.Context, s *session) bool {
	_, err := r.read(ctx, s)
	switch {
	case err == nil:
	case errors.Is(err, store.ErrEnded):
		s.mu.Lock()
		first := !s.ended
		s.ended = true
		s.tell()
		s.mu.Unlock()
		if first {
			r.closeEverywhere(ctx, s) // whoever ended it may not have known its public id
		}
	case errors.Is(err, store.ErrNotFound):
		r.missing(ctx, s)
	default:
		return false
	}
	return true
}

// tellNews writes events and gives hints.
func (r *Router) tellNews(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-r.todo.news:
			r.tell(ctx, e)
		}
	}
}

func (r *Router) tell(ctx context.Context, e store.Event) {
	nctx, cancel := r.bounded(ctx)
	if err := r.store.Notify(nctx, store.Hint{Kind: store.HintSession, Session: e.Session}); err != nil {
		r.log.DebugContext(ctx, "hint not given", "session", e.Session, "err", err)
	}
	cancel()
	if e.Kind == "" {
		return
	}
	ectx, cancel := r.bounded(ctx)
	defer cancel()
	if err := r.store.AppendEvent(ectx, e); err != nil {
		r.log.DebugContext(ctx, "event not written", "session", e.Session, "err", err)
	}
}

// takeHints brings cached sessions up to date when another coordinator says that it changed
// them. A hint that is lost costs a detour, no more: the node refuses what it does not know.
func (r *Router) takeHints(ctx context.Context) {
	for ctx.Err() == nil {
		hints, err := r.store.Subscribe(ctx)
		if err != nil {
			if pause(ctx, maxTick) != nil {
				return
			}
			continue
		}
		for h := range hints {
			if h.Kind != store.HintSession {
				r.doubt.look()       // hints may have been missed, and the store may have been away
				r.library.askAgain() // a catalog comes a moment after the node that names it
				continue
			}
			if id, ok := parseSID(h.Session); ok {
				if s, ok := r.cache.Peek(id); ok && !r.reload(ctx, s) {
					r.todo.reread(s)
				}
			}
		}
	}
}

// watchNodes looks after nodes that are in doubt, and forgets what is gone.
func (r *Router) watchNodes(ctx context.Context) {
	snap := r.fleet.Snapshot()
	if snap == nil {
		return
	}
	r.suspects.prune(snap)
	r.loads.prune(snap)
	r.probes.prune(snap)
	var all sync.WaitGroup
	wanted := make(map[string]bool, len(snap.Nodes))
	for i := range snap.Nodes {
		n := &snap.Nodes[i]
		wanted[n.URL] = true
		lapsed := n.State == store.NodeUnhealthy && r.hop.busy(n.URL) > 0
		if lapsed || r.suspects.of(n) != "" {
			all.Go(func() { r.judge(ctx, n, lapsed) })
		}
	}
	all.Wait()
	r.hop.prune(func(nodeURL string) bool { return wanted[nodeURL] })
}

// judge asks a node that is in doubt. One that answers is no longer suspect. One that has lapsed
// and does not answer is given up: whoever waits for it learns so now.
func (r *Router) judge(ctx context.Context, n *store.Node, lapsed bool) {
	if r.probes.fresh(ctx, n) || !lapsed || ctx.Err() != nil {
		return
	}
	if cut := r.hop.abort(n.URL); cut > 0 {
		r.log.WarnContext(ctx, "node given up with requests in flight", "node", n.ID, "epoch", n.Epoch, "attempt", cut)
	}
}
