package router

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// locate says whether a place can be used: the node, or why not.
//
// A lease that has lapsed is no proof: times to live follow Redis's clock. The node itself is
// asked, and if it answers it keeps its sessions; whether it may still run anything it knows
// best, and refuses by itself if not.
func (r *Router) locate(ctx context.Context, b store.Binding) (*store.Node, string) {
	n := r.fleet.Snapshot().Node(b.Node)
	if n == nil {
		return nil, "the node is gone"
	}
	if why := r.suspects.of(n); why != "" {
		return nil, why
	}
	if n.State == store.NodeUnhealthy && !r.probes.alive(ctx, n) {
		return nil, "the node's lease has lapsed and it does not answer"
	}
	return n, ""
}

// placeOf is where the session sits for a server; if it sits nowhere yet, it is placed.
func (r *Router) placeOf(ctx context.Context, s *session, server store.ServerID, prefer store.NodeID) (bound, error) {
	if b, ok := s.place(server); ok {
		return b, nil
	}
	return r.move(ctx, s, bound{server: server}, nil, prefer, "first use")
}

// served notes what a node's answer to a message says about the session's place.
func (r *Router) served(s *session, b bound, n *store.Node) {
	if b.Epoch == n.Epoch && !b.guessed {
		return
	}
	// The same process under a new epoch, or a place that the store has not agreed to yet.
	next := b
	next.Binding, next.guessed, next.unsaved = store.Binding{Node: n.ID, Epoch: n.Epoch}, false, true
	if s.settleIf(b.gen, next) {
		r.todo.bind(s, b.server, b.Binding)
	}
}

// move gives the session a new place for a server, unless another request in this replica has
// done so since from was read. However many requests find a node dead, one of them moves.
func (r *Router) move(ctx context.Context, s *session, from bound, not exclusion, prefer store.NodeID, why string) (bound, error) {
	// A session's random part has a fixed length, so no two keys are alike.
	v, err, _ := r.moving.Do(string(s.tok.random[:])+string(from.server), func() (any, error) {
		if b, ok := s.place(from.server); ok && b.gen != from.gen {
			return b, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.moveTime(from.server))
		defer cancel()
		m := &mover{r: r, s: s, server: from.server, from: from, old: from.Binding, not: not, prefer: prefer, why: why}
		begun := time.Now()
		b, err := m.run(ctx)
		if err == nil && !from.fresh() && b.Binding != from.Binding {
			r.cfg.Meter.Recovered(time.Since(begun))
		}
		return b, err
	})
	if err != nil {
		return from, ownError(err)
	}
	return v.(bound), nil
}

// ownError makes a copy of an error that several requests may share: each puts its own id into
// it.
func ownError(err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	own := *e
	if v, ok := e.Data.(*verdict); ok {
		data := *v
		own.Data = &data
	}
	return &own
}

// mover finds a new place for one session and one server.
type mover struct {
	r      *Router
	s      *session
	server store.ServerID
	from   bound         // where it was
	old    store.Binding // what the store is believed to hold
	not    exclusion
	prefer store.NodeID // what the client named; see Request.Prefer
	why    string
	away   bool // the store cannot be asked
	plain  bool // every replica is to make the same choice
	agreed bool // the store holds a first use of this mover's choosing
	// unsaved says that the store has not agreed to the choice and must still be asked.
	unsaved bool
}

// maxOpens bounds the nodes that are tried for one move.
const maxOpens = 3

func (m *mover) run(ctx context.Context) (bound, error) {
	place, done, err := m.consult(ctx)
	if done || err != nil {
		return place, err
	}
	// With nothing bound and nobody to ask, the session may already be open on the node that
	// every replica would choose: go and see, instead of opening it afresh over what is there.
	// So it may when the store has only just come back, and who opened it has yet to write so.
	if m.plain = m.away || m.r.doubt.lately(); m.plain && m.from.Binding == (store.Binding{}) {
		c, err := m.choose(ctx)
		if err != nil {
			return m.from, err
		}
		b := store.Binding{Node: c.Node, Epoch: c.Epoch}
		return m.s.settle(bound{server: m.server, Binding: b, guessed: true}), nil
	}
	m.plain = m.away
	if place, found := m.search(ctx); found {
		return place, nil
	}
	if !m.s.replayable() && !m.strange() {
		if place, done, err = m.await(ctx); done || err != nil {
			return place, err
		}
		if !m.s.replayable() {
			return m.from, m.lost(ctx)
		}
	}
	for opens := 0; opens < maxOpens && m.not.fulls() < maxFull; {
		c, err := m.choose(ctx)
		if err != nil {
			m.leave(ctx)
			return m.from, err
		}
		place, err := m.settle(ctx, c)
		if err == nil {
			return place, nil
		}
		if e, ok := errors.AsType[*Error](err); ok {
			return m.from, e
		}
		if f, ok := errors.AsType[*failure](err); ok && f.full != nil {
			m.not = m.not.fail(f) // it costs the node nothing to say so
			continue
		}
		opens++
		m.r.log.WarnContext(ctx, "session not opened", "session", m.s.tok, "server", m.server, "node", c.Node, "err", err)
		m.not = m.not.add(c.Node, c.Epoch, "the session could not be opened there")
	}
	m.leave(ctx)
	if f := m.not.full(); f != nil {
		return m.from, m.r.noRoom(m.server, f)
	}
	return m.from, m.r.noReplica(m.server, reasonUnreachable)
}

// leave takes back a first use that was agreed on and could be opened nowhere, so that nobody
// looks for the session at a node that has turned it away.
func (m *mover) leave(ctx context.Context) {
	if !m.agreed {
		return
	}
	if _, err := m.r.bindOnce(ctx, m.s, m.server, m.old, store.Binding{}); err != nil {
		m.r.log.DebugContext(ctx, "binding not taken back", "session", m.s.tok, "server", m.server, "node", m.old.Node, "err", err)
	}
}

// consult asks the store what it holds. Another coordinator may have moved the session already.
func (m *mover) consult(ctx context.Context) (place bound, done bool, err error) {
	rec, err := m.r.read(ctx, m.s)
	switch {
	case err == nil:
	case errors.Is(err, store.ErrEnded):
		m.s.end()
		return m.from, true, unknownSession(nil)
	case errors.Is(err, store.ErrNotFound):
		m.s.miss()
		return m.from, false, nil
	default:
		m.away = true
		return m.from, false, nil
	}
	m.old = rec.Bindings[m.server]
	if m.old == (store.Binding{}) || m.old == m.from.Binding {
		return m.from, false, nil
	}
	if n, _ := m.r.locate(ctx, m.old); n != nil && m.usable(m.old) {
		m.r.stats.followed.Add(1)
		return m.s.settle(bound{server: m.server, Binding: m.old, adopted: time.Now()}), true, nil
	}
	return m.from, false, nil
}

// replayable says that this coordinator knows with what the client initialized the session.
func (s *session) replayable() bool {
	init, _, lapsed := s.origin()
	return len(init) > 0 && !lapsed
}

// await gives the coordinators that may know the session a moment to write it back to a store
// that has lost it.
func (m *mover) await(ctx context.Context) (place bound, done bool, err error) {
	deadline := time.Now().Add(m.r.cfg.PlaceWait)
	for wait := adoptPause; !m.away && !m.s.replayable() && m.r.mayReturn(m.s); wait *= 2 {
		m.r.seek(ctx, m.s.tok.SessionID())
		if time.Now().Add(wait).After(deadline) || m.r.pause(ctx, wait) != nil {
			break
		}
		if place, done, err = m.consult(ctx); done || err != nil {
			return place, done, err
		}
	}
	return m.from, false, nil
}

func (m *mover) usable(b store.Binding) bool {
	x, excluded := m.not[b.Node]
	return !excluded || b.Epoch > x.epoch
}

// lost ends a move that cannot be made: nobody knows any more with what the client initialized.
func (m *mover) lost(ctx context.Context) error {
	if m.away || m.r.leaving() { // the store may know, and be back soon; or another replica does
		return m.r.noReplica(m.server, reasonUnreachable)
	}
	if m.r.mayReturn(m.s) {
		return recovering()
	}
	m.r.stats.lost.Add(1)
	m.r.log.WarnContext(ctx, "session lost", "session", m.s.tok, "server", m.server, "node", m.from.Node)
	m.r.todo.announce(m.r, store.Event{
		Kind: store.EventSessionLost, Node: m.from.Node, Server: m.server, Session: m.s.tok.SessionID(),
		Text: "session could not be moved, its initialize is not known any more: " + m.why,
	})
	return unknownSession(nil)
}

// choose picks a node. If every node that has the server has just failed, it waits a little:
// a process that restarts is soon back under a new epoch.
func (m *mover) choose(ctx context.Context) (*Candidate, error) {
	deadline := time.Now().Add(m.r.cfg.PlaceWait)
	for {
		list := m.r.candidates(m.r.fleet.Snapshot(), m.s.tok.random, m.server, m.not)
		if c := m.pick(list); c != nil {
			return c, nil
		}
		if m.not.full() != nil || !worthWaiting(list) || !time.Now().Before(deadline) || m.r.pause(ctx, adoptPause) != nil {
			return nil, m.r.nowhere(m.server, m.not)
		}
	}
}

// worthWaiting says whether a node that is thought alive by the fleet has the server.
func worthWaiting(list []Candidate) bool {
	for i := range list {
		if list[i].State == store.NodeActive && list[i].server.Status == store.ServerReady {
			return true
		}
	}
	return false
}

// settle opens the session on a node and gets the store's agreement. A first use is agreed
// first and opened then, so that parallel first calls, which are common, do not open it on
// several nodes; a move is opened first, so that nobody is sent to a node that has yet to prove
// that it can take the session. Opening it twice on one node is harmless: a node keeps a
// session that it knows.
func (m *mover) settle(ctx context.Context, c *Candidate) (bound, error) {
	next := store.Binding{Node: c.Node, Epoch: c.Epoch}
	first := m.from.fresh() && !m.away
	if first {
		if place, followed, err := m.agree(ctx, next, false); followed || err != nil {
			return place, err
		}
	}
	if err := m.r.open(ctx, m.s, m.server, c); err != nil {
		return m.from, err
	}
	if !first {
		if place, followed, err := m.agree(ctx, next, true); followed || err != nil {
			return place, err
		}
	}
	place := m.s.settle(bound{server: m.server, Binding: next, unsaved: m.unsaved})
	if m.unsaved {
		m.r.todo.bind(m.s, m.server, m.old)
	}
	m.moved(ctx, next)
	return place, nil
}

// agree compares and sets the binding in the store. Followed says that another coordinator was
// first, and place is then where it has put the session. With the store away the choice is the
// one that every replica makes, and is agreed on later.
func (m *mover) agree(ctx context.Context, next store.Binding, opened bool) (place bound, followed bool, err error) {
	if m.unsaved = m.away; m.away {
		return bound{}, false, nil
	}
	won, err := m.r.bind(ctx, m.s, m.server, m.old, next)
	switch {
	case err == nil && won == next:
		m.old, m.agreed = next, !opened
		return bound{}, false, nil
	case err == nil:
		if opened && won.Node != next.Node {
			m.r.closeUpstream(ctx, m.s, m.server, next)
		}
		m.r.stats.followed.Add(1)
		return m.s.settle(bound{server: m.server, Binding: won, adopted: time.Now()}), true, nil
	case errors.Is(err, store.ErrEnded):
		m.s.end()
		if opened {
			m.r.closeUpstream(ctx, m.s, m.server, next)
		}
		return m.from, false, unknownSession(nil)
	}
	m.r.log.WarnContext(ctx, "binding not recorded yet", "session", m.s.tok, "server", m.server, "node", next.Node, "err", err)
	m.unsaved = true
	return bound{}, false, nil
}

// bind compares and sets one binding, and writes the session back if the store has lost it.
func (r *Router) bind(ctx context.Context, s *session, server store.ServerID, old, next store.Binding) (store.Binding, error) {
	won, err := r.bindOnce(ctx, s, server, old, next)
	if errors.Is(err, store.ErrNotFound) {
		rec := s.record()
		if len(rec.Init) == 0 {
			return won, err
		}
		rec.Bindings[server] = old
		if err := r.create(ctx, s, rec); err != nil {
			return won, err
		}
		won, err = r.bindOnce(ctx, s, server, old, next)
	}
	if err == nil && won == (store.Binding{}) && old != won {
		won, err = r.bindOnce(ctx, s, server, won, next) // the store holds less than we thought
	}
	return won, err
}

func (r *Router) bindOnce(ctx context.Context, s *session, server store.ServerID, old, next store.Binding) (store.Binding, error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	won, err := r.store.Bind(ctx, s.tok.SessionID(), server, old, next, r.cfg.SessionTimeout)
	r.noteStore(err)
	return won, err
}

// create writes a session to the store.
func (r *Router) create(ctx context.Context, s *session, rec store.Session) error {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	err := r.store.CreateSession(ctx, rec, r.cfg.SessionTimeout)
	r.noteStore(err)
	if s.setStored(err == nil); err == nil {
		r.doubt.swear(rec.ID)
		if s.learnSubs("") {
			r.todo.subscription(s)
		}
	}
	return err
}

// moved tells the others.
func (m *mover) moved(ctx context.Context, next store.Binding) {
	if m.from.fresh() {
		if m.s.wide() { // placed, not moved; a stream of the session on another replica is to be joined by it
			m.r.todo.announce(m.r, store.Event{Session: m.s.tok.SessionID()})
		}
		return
	}
	m.r.stats.moved.Add(1)
	m.r.log.InfoContext(ctx, "session moved", "session", m.s.tok, "server", m.server, "node", next.Node, "epoch", next.Epoch)
	m.r.todo.announce(m.r, store.Event{
		Kind: store.EventSessionMoved, Node: next.Node, Server: m.server, Session: m.s.tok.SessionID(),
		Text: fmt.Sprintf("session moved from %s to %s: %s", m.from.Node, next.Node, m.why),
	})
}
