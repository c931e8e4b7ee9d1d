package router

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// Without affinity (Config.NoSticky) each call of a session goes to a replica of its own: of two
// drawn at random, by weight, the one with fewer calls in flight. The session keeps its id and
// is opened on a replica when a call first goes there, under that id and with the client's own
// initialize, so each replica has its own part of the session's state. Notifications go to every
// replica, as the one that they concern is not known. See docs/decisions/0010-without-affinity.md.

// spreader finds replicas for one call.
type spreader struct {
	*call
	not       exclusion // replicas that have failed
	strangers exclusion // replicas that do not know the session, when it cannot be opened there
	opens     int       // replicas where it could not be opened
	blind     bool      // nobody that can be asked knows with what it was initialized
	away      bool      // the store could not be asked
	strange   bool      // it may be opened all the same; see mover.strange
	detours   int
	until     time.Time // when replicas that have failed are not waited for any longer
}

// maxDetours bounds how often a call is refused because the session is not known there. A
// replica that has just been given the session knows it, so it is reached only if replicas
// forget sessions as fast as they get them.
const maxDetours = 2 * maxFull

// spread carries the message to an answer, as run does, on any replica.
func (c *call) spread() error {
	sp := spreader{call: c}
	for {
		if c.ctx.Err() != nil {
			return nil // the client has gone; the node goes on with what it has
		}
		n, err := sp.next()
		if err != nil {
			return c.refuse(err)
		}
		f := sp.carry(n)
		switch {
		case f == nil:
			c.s.opened(c.server, n)
			return nil
		case c.ctx.Err() != nil: // seen at the next turn
		case f.refused == wire.RefusedSession && sp.detours < maxDetours:
			sp.detours++ // it has not run, and the session may be opened there
			c.s.forgotten(c.server, n)
			if sp.blind {
				sp.strangers = sp.strangers.fail(f)
			}
		case !c.again(f):
			return c.giveUp(f)
		case f.state > Refused && c.r.probes.fresh(c.ctx, n):
			c.r.log.DebugContext(c.ctx, "send again", "session", c.s.tok, "node", n.ID, "err", f.err)
		default:
			sp.not = sp.not.fail(f)
		}
	}
}

// carry sends the message to a node and counts it as in flight there.
func (sp *spreader) carry(n *store.Node) *failure {
	sp.r.flights.begin(n.ID, sp.server)
	defer sp.r.flights.end(n.ID, sp.server)
	return sp.attempt(n)
}

// next is the replica to try, on which the session is open as far as that can be brought about.
func (sp *spreader) next() (*store.Node, error) {
	for sp.opens < maxOpens && sp.not.fulls() < maxFull {
		open, err := sp.recollect()
		if err != nil {
			return nil, err
		}
		n := sp.draw(open)
		switch {
		case n == nil && sp.blind:
			if err := sp.await(); err != nil {
				return nil, err
			}
			continue
		case n == nil:
			if !sp.wait() {
				return nil, sp.r.nowhere(sp.server, sp.not)
			}
			continue
		case n.State == store.NodeUnhealthy && !sp.r.probes.alive(sp.ctx, n):
			sp.not = sp.not.add(n.ID, n.Epoch, "the node's lease has lapsed and it does not answer")
			continue
		case sp.blind || sp.s.openAt(sp.server, n):
			return n, nil
		}
		if err = sp.r.reach(sp.ctx, sp.s, sp.server, n); err == nil {
			return n, nil
		}
		if err = sp.unreached(n, err); err != nil {
			return nil, err
		}
	}
	if f := sp.not.full(); f != nil {
		return nil, sp.r.noRoom(sp.server, f)
	}
	return nil, sp.r.noReplica(sp.server, reasonUnreachable)
}

// unreached takes a replica out on which the session could not be opened. It returns an error
// that says more of the session than of the replica.
func (sp *spreader) unreached(n *store.Node, err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if f, ok := errors.AsType[*failure](err); ok && f.full != nil {
		sp.not = sp.not.fail(f)
		return nil
	}
	sp.opens++
	sp.r.log.WarnContext(sp.ctx, "session not opened", "session", sp.s.tok, "server", sp.server, "node", n.ID, "err", err)
	sp.not = sp.not.add(n.ID, n.Epoch, "the session could not be opened there")
	return nil
}

// mover does the parts of opening a session that are the same with affinity.
func (sp *spreader) mover() *mover {
	return &mover{r: sp.r, s: sp.s, server: sp.server, from: bound{server: sp.server}, away: sp.away, why: "call without affinity"}
}

// recollect sees to it that the session can be opened where it is not open. While it cannot,
// open says to stay with the replicas where it is known to be; with none of these, and no help
// from the store, the replicas are tried blindly: one that knows the session takes the call.
func (sp *spreader) recollect() (open bool, err error) {
	if sp.blind || sp.strange || sp.s.replayable() {
		return false, nil
	}
	if sp.draw(true) != nil {
		return true, nil
	}
	switch _, err := sp.r.read(sp.ctx, sp.s); {
	case err == nil:
	case errors.Is(err, store.ErrEnded):
		sp.s.end()
		return false, unknownSession(nil)
	case errors.Is(err, store.ErrNotFound):
		sp.s.miss()
	default:
		sp.away = true
	}
	sp.blind = !sp.s.replayable()
	return false, nil
}

// await gives the coordinators that may know the session a moment, when no replica does.
func (sp *spreader) await() error {
	m := sp.mover()
	if _, _, err := m.await(sp.ctx); err != nil {
		return err
	}
	if !sp.s.replayable() {
		if sp.strange = m.strange(); !sp.strange {
			return m.lost(sp.ctx)
		}
	}
	sp.blind, sp.strangers = false, nil
	return nil
}

// wait gives replicas that have just failed a moment to come back under a new epoch. It is false
// when there is nothing to wait for, or enough was waited.
func (sp *spreader) wait() bool {
	if sp.until.IsZero() {
		sp.until = time.Now().Add(sp.r.cfg.PlaceWait)
	}
	if sp.not.full() != nil || !time.Now().Before(sp.until) {
		return false
	}
	list := sp.r.candidates(sp.r.fleet.Snapshot(), sp.s.tok.random, sp.server, sp.not)
	return worthWaiting(list) && sp.r.pause(sp.ctx, adoptPause) == nil
}

// reach opens the session on a replica, unless it is open there as far as is known here. However
// many calls come first, one opens it.
func (r *Router) reach(ctx context.Context, s *session, server store.ServerID, n *store.Node) error {
	_, err, _ := r.moving.Do(string(s.tok.random[:])+string(server)+"\x00"+string(n.ID), func() (any, error) {
		if s.openAt(server, n) {
			return nil, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.moveTime(server))
		defer cancel()
		rec, _ := n.Server(server)
		if err := r.open(ctx, s, server, &Candidate{Node: n.ID, Epoch: n.Epoch, node: n, server: &rec}); err != nil {
			return nil, err
		}
		s.opened(server, n)
		if _, known := s.place(server); !known {
			s.settle(bound{server: server, Binding: store.Binding{Node: n.ID, Epoch: n.Epoch}, unsaved: true})
			r.todo.bind(s, server, store.Binding{})
		}
		return nil, nil
	})
	return ownError(err)
}

// tellAll passes a notification on to every replica of a server: which of them it concerns, the
// coordinator does not know. Those that do not have the session refuse it.
func (r *Router) tellAll(ctx context.Context, w http.ResponseWriter, req *Request, s *session, server store.ServerID) error {
	r.eachPlace(ctx, r.holders([]bound{{server: server}}), func(ctx context.Context, n *store.Node, server store.ServerID) {
		a, err := r.hop.send(ctx, n.URL, &outgoing{
			method: http.MethodPost, server: server, token: s.tok.text, epoch: n.Epoch, header: req.Header, body: req.Body, timeout: closeTimeout,
		})
		if err != nil {
			r.log.DebugContext(ctx, "notification not delivered", "session", s.tok, "server", server, "node", n.ID, "err", err)
			return
		}
		a.drain()
		a.Close()
	})
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// holders are the places where a session may be open that has these. With affinity they are all
// there is; without, one says no more than that the session uses the server, on any replica.
func (r *Router) holders(places []bound) []bound {
	if !r.cfg.NoSticky {
		return places
	}
	var out []bound
	for _, p := range places {
		for _, l := range r.replicas(r.fleet.Snapshot(), p.server) {
			out = append(out, bound{server: p.server, Binding: store.Binding{Node: l.node.ID, Epoch: l.node.Epoch}})
		}
	}
	return out
}

// openings are the replicas on which this coordinator knows a session to be open, under which
// epoch; zero where it has found that it is not. Guarded by the session's mu.
type openings map[replica]store.Epoch

// openAt says whether the session is open on a replica, as far as is known here: it was found
// so, or it was placed there first.
func (s *session) openAt(server store.ServerID, n *store.Node) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.openings[replica{n.ID, server}]; ok {
		return e == n.Epoch
	}
	return s.lookup(server).Binding == store.Binding{Node: n.ID, Epoch: n.Epoch}
}

// opened notes that the session is open on a replica.
func (s *session) opened(server store.ServerID, n *store.Node) { s.note(server, n.ID, n.Epoch) }

// forgotten notes that it is not.
func (s *session) forgotten(server store.ServerID, n *store.Node) { s.note(server, n.ID, 0) }

func (s *session) note(server store.ServerID, n store.NodeID, e store.Epoch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.openings == nil {
		s.openings = make(openings)
	}
	s.openings[replica{n, server}] = e
}
