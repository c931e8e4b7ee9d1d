package router

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/mcphub-go/mcphub/store"
)

// ExplainRequest asks where a session goes for a server, and what would change that.
type ExplainRequest struct {
	// Session is a session's whole id, or its random part, 32 hex digits.
	Session string
	// Key stands for a session that does not exist, where Session is empty: any text. Equal
	// texts are equal sessions.
	Key string
	// Server may be empty for a session with one server.
	Server store.ServerID
	// Prefer is what a cookie or a header of the client would name.
	Prefer store.NodeID
	// Without and With are nodes to be thought away, and to be thought there: active, with the
	// server ready, under the weight that is known of them or 1. Each by itself.
	Without, With []store.NodeID
}

// Rules by which a node is chosen, as Explanation.Rule has them. StrategyCookie, StrategyHeader
// and StrategyHash are rules by their own names.
const (
	// RuleBinding: the session sits there.
	RuleBinding = "binding"
	// RuleBounded: the hash's first choice has more than its share of sessions.
	RuleBounded = "bounded-load fallback"
	// RuleInFlight: without affinity, of two at random the one with fewer calls in flight.
	RuleInFlight = "least-in-flight"
	// RuleNone: no node can be called.
	RuleNone = "none"
)

// Explanation says where a session goes for a server at the moment, as this coordinator sees it.
type Explanation struct {
	Server store.ServerID `json:"server"`
	// Existing says that it is of a session that exists.
	Existing bool `json:"existing"`
	// Rule is the one that made the choice.
	Rule string `json:"rule"`
	// Choice is the node; empty if there is none. Without affinity it is the one that is most
	// likely.
	Choice store.NodeID `json:"choice"`
	// Reason is a sentence of what the rule does not say; may be empty.
	Reason string `json:"reason,omitempty"`
	// Candidates are all nodes that have the server, the preferred ones first.
	Candidates []Candidate `json:"candidates"`
	// Moves has an entry for each node of Without and With, in that order.
	Moves []Move `json:"moves,omitempty"`
}

// Move is what one node more or less would change.
type Move struct {
	Node   store.NodeID `json:"nodeId"`
	Change string       `json:"change"` // "without" or "with"
	// Moves says that the session would be served by another node than it is now.
	Moves bool `json:"moves"`
	// To is where it would go, and Rule why; To is empty where there is no node for it.
	To   store.NodeID `json:"to"`
	Rule string       `json:"rule"`
	// Share is the part of new sessions, without affinity of calls, from 0 to 1, that the node
	// would lose or get while loads are even. One that joins a busy fleet gets more at first.
	Share float64 `json:"share"`
	// Reason is a sentence of what the rest does not say; may be empty.
	Reason string `json:"reason,omitempty"`
}

// maxWhatIf bounds the nodes of one request.
const maxWhatIf = 32

// Explain says where a session goes for a server, by which rule, what speaks for and against
// each node, and what would move. Nothing is placed, and no node is asked: what it says rests on
// the last snapshot, and on one read of the store for a session that is not cached here.
//
// It returns ErrUnknownSession, ErrUnknownServer, ErrBadRequest for a request that makes no
// sense, ErrUnavailable if the session is not known here and the store is away, or ErrNoReplica
// before the nodes have been read; each inside an *Error.
func (r *Router) Explain(ctx context.Context, req ExplainRequest) (Explanation, error) {
	q, err := r.subjectOf(ctx, req)
	if err != nil {
		return Explanation{}, err
	}
	snap := r.fleet.Snapshot()
	if unread(snap) {
		return Explanation{}, r.noReplica(q.server, reasonNoReplica)
	}
	all := r.replicas(snap, q.server)
	if len(all) == 0 {
		return Explanation{}, unknownServer(nil)
	}
	list := r.weigh(all, q)
	x := Explanation{Server: q.server, Existing: q.existing, Candidates: list}
	x.Rule, x.Choice, x.Reason = r.decide(snap, list, q)
	for _, id := range req.Without {
		x.Moves = append(x.Moves, r.thinkAway(snap, all, id, q, x))
	}
	for _, id := range req.With {
		x.Moves = append(x.Moves, r.thinkThere(snap, all, id, q, x))
	}
	return x, nil
}

// weigh makes candidates of replicas, by the rules of the configured strategy.
func (r *Router) weigh(list []located, q subject) []Candidate {
	out := r.rate(list, q.random, nil)
	if !r.cfg.NoSticky {
		return out
	}
	for i := range out {
		c := &out[i]
		c.Load, c.Limit = r.flights.get(c.Node, q.server), 0
		c.Score = float64(c.Weight) / float64(1+c.Load)
	}
	sortCandidates(out)
	return out
}

// decide is the choice for a session, among candidates in their order.
func (r *Router) decide(snap *store.Snapshot, list []Candidate, q subject) (rule string, choice store.NodeID, reason string) {
	if q.place != (store.Binding{}) && !r.cfg.NoSticky {
		ok, why := r.stays(snap, list, q.place)
		if ok {
			return RuleBinding, q.place.Node, why
		}
		reason = fmt.Sprintf("the session sat on %s: %s; it moves with its next message", q.place.Node, why)
	}
	if q.existing && q.place == (store.Binding{}) && !r.cfg.NoSticky {
		reason = "the session has not used this server yet"
	}
	rule, choice, why := r.place(list, q)
	return rule, choice, cmp.Or(why, reason)
}

// stays says whether a session is served where it sits, and what there is to know about that.
func (r *Router) stays(snap *store.Snapshot, list []Candidate, at store.Binding) (ok bool, why string) {
	n := snap.Node(at.Node)
	i := slices.IndexFunc(list, func(c Candidate) bool { return c.Node == at.Node })
	if n == nil || i < 0 {
		return false, "the node is gone, or has not the server any more"
	}
	if why := r.suspects.of(n); why != "" {
		return false, why
	}
	switch {
	case list[i].server.Status != store.ServerReady:
		return false, "the server is " + string(list[i].server.Status) + " on this node"
	case n.State == store.NodeDraining:
		return true, "the node is draining: it keeps the session, and takes no new ones"
	case n.State == store.NodeUnhealthy:
		return true, "the node's lease has lapsed: it keeps the session for as long as it answers"
	case n.Epoch != at.Epoch:
		return true, "the node has registered anew: if it is another process it is given the session again"
	}
	return true, ""
}

// place is the choice for a session that sits nowhere.
func (r *Router) place(list []Candidate, q subject) (rule string, choice store.NodeID, reason string) {
	if r.cfg.NoSticky {
		return placeInFlight(list)
	}
	if c := named(list, q.prefer); c != nil {
		return string(r.cfg.Strategy), c.Node, ""
	}
	if q.prefer != "" {
		reason = fmt.Sprintf("the %s names no node that can be chosen", r.cfg.Strategy)
	}
	c := choose(list, true)
	switch {
	case c == nil:
		return RuleNone, "", "no node can take the session; the candidates say why"
	case c.full:
		return string(StrategyHash), c.Node, "no replica has room, by its last word; each is asked, this one first"
	case c.Load >= c.Limit:
		return string(StrategyHash), c.Node, cmp.Or(reason, "every replica has more than its share")
	}
	if first := slices.IndexFunc(list, func(c Candidate) bool { return c.eligible() }); list[first].Node != c.Node {
		return RuleBounded, c.Node, cmp.Or(reason, fmt.Sprintf("%s is preferred and has %d sessions, its limit is %d", list[first].Node, list[first].Load, list[first].Limit))
	}
	return string(StrategyHash), c.Node, reason
}

// placeInFlight is the most likely choice without affinity.
func placeInFlight(list []Candidate) (rule string, choice store.NodeID, reason string) {
	for _, full := range []bool{false, true} {
		for i := range list {
			if c := &list[i]; c.eligible() || full && c.full {
				return RuleInFlight, c.Node, "each call takes two replicas at random, by weight, and goes to the one with fewer calls in flight"
			}
		}
	}
	return RuleNone, "", "no node can take the call; the candidates say why"
}
