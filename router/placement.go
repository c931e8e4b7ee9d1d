package router

import (
	"cmp"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/mcphub-go/mcphub/store"
)

// maxShare is the promise: no replica holds more than this times its fair share of a server's
// sessions, rounded up. boundShare is what one coordinator allows itself: others place at the
// same moment, and what they have placed is learned only from the nodes' next answers, so part
// of the promise is kept back for them.
const (
	maxShare   = 1.25
	boundShare = 1.15
)

// Candidate is one replica of a server as placement sees it.
type Candidate struct {
	Node  store.NodeID `json:"nodeId"`
	Epoch store.Epoch  `json:"-"`
	// Score is the replica's rendezvous score for the session: higher is preferred. It depends
	// on the names and the weight alone, so every coordinator computes the same. Without
	// affinity it is the weight for each call in flight and one more.
	Score float64 `json:"score"`
	// Load is the number of sessions that the replica is believed to hold, Limit how many it
	// may hold for this session to be placed there. Without affinity Load is the number of calls
	// in flight, and there is no limit.
	Load   int             `json:"load"`
	Limit  int             `json:"limit"`
	Weight int             `json:"weight"`
	State  store.NodeState `json:"status"`
	// Reason is empty for a replica that may be chosen, and otherwise a sentence why not.
	Reason string `json:"reason"`

	// full says that nothing speaks against the replica but that it had no room when it was last
	// heard of: it is tried when all that are left are so.
	full   bool
	node   *store.Node
	server *store.Server
}

// eligible says that the replica may take the session, its load aside.
func (c *Candidate) eligible() bool { return c.Reason == "" }

// rendezvous is the score of a node of some weight for a session of a server: the weighted
// highest-random-weight hash, -w/ln(h) with h uniform in (0,1).
func rendezvous(session sid, server store.ServerID, node store.NodeID, weight int) float64 {
	var buf [192]byte
	b := append(buf[:0], session[:]...)
	b = append(append(b, server...), 0)
	b = append(b, node...)
	return -float64(weight) / math.Log(unit(xxhash.Sum64(b)))
}

// unit makes of a hash a number above 0 and below 1, however it falls. One bit more would not
// leave room for the half.
func unit(h uint64) float64 { return (float64(h>>12) + 0.5) / (1 << 52) }

// weightOf is a replica's share relative to others.
func weightOf(n *store.Node, s *store.Server) int { return max(1, n.Weight) * max(1, s.Weight) }

// exclusion takes nodes out of a placement that have just failed, with the reason. A newer
// epoch of the node is not excluded: it is another process.
type exclusion map[store.NodeID]excluded

type excluded struct {
	epoch  store.Epoch
	reason string
	full   *fullness // what the node said, if it only had no room
}

func (x exclusion) add(n store.NodeID, e store.Epoch, reason string) exclusion {
	return x.put(n, excluded{epoch: e, reason: reason})
}

// fail takes out the node of a failure.
func (x exclusion) fail(f *failure) exclusion {
	return x.put(f.node.ID, excluded{epoch: f.node.Epoch, reason: f.describe(), full: f.full})
}

// has says whether a node, as a snapshot shows it, is taken out.
func (x exclusion) has(n *store.Node) bool {
	e, ok := x[n.ID]
	return ok && n.Epoch <= e.epoch
}

func (x exclusion) put(n store.NodeID, e excluded) exclusion {
	if x == nil {
		x = make(exclusion, 1)
	}
	x[n] = e
	return x
}

// candidates lists every node that has the server, the preferred ones first: by falling score,
// and by name where scores are equal.
func (r *Router) candidates(snap *store.Snapshot, session sid, server store.ServerID, not exclusion) []Candidate {
	return r.rate(r.replicas(snap, server), session, not)
}

// rate makes candidates of the replicas of a server.
func (r *Router) rate(list []located, session sid, not exclusion) []Candidate {
	out := make([]Candidate, 0, len(list))
	total, weight := 0, 0
	for _, l := range list {
		n, s := l.node, l.server
		c := Candidate{Node: n.ID, Epoch: n.Epoch, State: n.State, Weight: l.weight, node: n, server: s}
		c.Score = rendezvous(session, s.ID, n.ID, c.Weight)
		if l.imagined {
			c.Load = s.Sessions
		} else if c.Reason = r.unfit(n, s, not); c.eligible() {
			if c.Load, c.full = r.loads.get(n, s); c.full {
				c.Reason = taken(s)
			}
		}
		if c.eligible() {
			total += c.Load
			weight += c.Weight
		}
		out = append(out, c)
	}
	for i := range out {
		if c := &out[i]; c.eligible() {
			c.Limit = limit(total, c.Weight, weight)
		}
	}
	sortCandidates(out)
	return out
}

func sortCandidates(list []Candidate) {
	slices.SortFunc(list, func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.Node, b.Node))
	})
}

// limit is the number of sessions up to which a replica may be filled, when total are placed
// and one more comes.
func limit(total, weight, weights int) int {
	return int(math.Ceil(boundShare * float64(total+1) * float64(weight) / float64(weights)))
}

// unfit says why a replica may take no new session; empty if it may.
func (r *Router) unfit(n *store.Node, s *store.Server, not exclusion) string {
	if not.has(n) {
		return not[n.ID].reason
	}
	switch {
	case n.State == store.NodeDraining:
		return "the node is draining"
	case n.State != store.NodeActive:
		return "the node's lease has lapsed"
	case s.Status != store.ServerReady:
		return "the server is " + string(s.Status) + " on this node"
	}
	if why := r.suspects.of(n); why != "" {
		return why
	}
	return ""
}

// choose takes the preferred candidate that may have the session, and with none left one that is
// thought full: it may have room by now, and only the node knows. Bounded says whether loads
// count; without, every coordinator that sees the same nodes chooses the same one.
func choose(list []Candidate, bounded bool) *Candidate {
	var first, full *Candidate
	for i := range list {
		c := &list[i]
		switch {
		case !bounded && (c.eligible() || c.full):
			return c
		case c.full && full == nil:
			full = c
		case !c.eligible():
		case c.Load < c.Limit:
			return c
		case first == nil:
			first = c
		}
	}
	if first == nil {
		return full
	}
	return first
}
