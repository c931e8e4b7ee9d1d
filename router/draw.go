package router

import (
	"sync"

	"github.com/mcphub-go/mcphub/store"
)

// flights counts the calls that this coordinator has in flight, by replica. What others have in
// flight is not known in time; two choices at random balance without it. Safe for concurrent use.
type flights struct {
	mu sync.Mutex
	of map[replica]int
}

func (f *flights) begin(n store.NodeID, server store.ServerID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.of == nil {
		f.of = make(map[replica]int)
	}
	f.of[replica{n, server}]++
}

func (f *flights) end(n store.NodeID, server store.ServerID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := replica{n, server}
	if f.of[key]--; f.of[key] <= 0 {
		delete(f.of, key)
	}
}

func (f *flights) get(n store.NodeID, server store.ServerID) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.of[replica{n, server}]
}

// stake is a replica in a draw.
type stake struct {
	node   *store.Node
	weight int // at least 1
}

// lot draws one of the replicas of a server: of two at random, by weight, the one that has fewer
// calls of ours in flight for its weight, and of equals the one drawn first, so that without any
// in flight each gets its weight's share. It returns an index, or -1 if there is none.
func (r *Router) lot(stakes []stake, server store.ServerID) int {
	if len(stakes) < 2 {
		return len(stakes) - 1
	}
	total := 0
	for _, s := range stakes {
		total += s.weight
	}
	a := drawn(stakes, r.dice(total), -1)
	b := drawn(stakes, r.dice(total-stakes[a].weight), a)
	if r.flights.get(stakes[b].node.ID, server)*stakes[a].weight < r.flights.get(stakes[a].node.ID, server)*stakes[b].weight {
		return b
	}
	return a
}

// drawn is the stake at a point of the sum of all weights but that of one.
func drawn(stakes []stake, at, without int) int {
	last := -1
	for i, s := range stakes {
		if i == without {
			continue
		}
		if last = i; at < s.weight {
			break
		}
		at -= s.weight
	}
	return last
}

// The order in which replicas are used for a call without affinity: any of a later kind only
// when there is none of an earlier.
const (
	kindFit   = iota
	kindFull  // the session is not open there, and no process is left for it
	kindDrain // takes no new sessions; those that it has stay
	kindLapsed
	kindNone
)

// draw picks a replica for the call; nil if there is none. With open, only those where the
// session is known to be open are looked at.
func (sp *spreader) draw(open bool) *store.Node {
	var room [64]stake
	stakes, best := room[:0], kindNone
	for _, l := range sp.r.replicas(sp.r.fleet.Snapshot(), sp.server) {
		kind := sp.kind(l)
		if kind == kindNone || kind > best || (open && !sp.s.openAt(sp.server, l.node)) {
			continue
		}
		if kind < best {
			stakes, best = stakes[:0], kind
		}
		stakes = append(stakes, stake{l.node, l.weight})
	}
	i := sp.r.lot(stakes, sp.server)
	if i < 0 {
		return nil
	}
	return stakes[i].node
}

func (sp *spreader) kind(l located) int {
	n := l.node
	switch {
	case sp.not.has(n), sp.strangers.has(n), l.server.Status != store.ServerReady, sp.r.suspects.of(n) != "":
		return kindNone
	case n.State == store.NodeDraining:
		return kindDrain
	case n.State != store.NodeActive:
		return kindLapsed
	case l.server.Isolation != "" && !sp.s.openAt(sp.server, n):
		if _, full := sp.r.loads.get(n, l.server); full {
			return kindFull
		}
	}
	return kindFit
}

// located is a server on a node.
type located struct {
	node   *store.Node
	server *store.Server
	weight int
	// imagined says that it is not there: see Explain.
	imagined bool
}

// index finds the replicas of each server in one snapshot. It is never changed once made.
type index struct {
	snap *store.Snapshot
	of   map[store.ServerID][]located
}

// replicas are the nodes that have a server, by name. The list must not be changed.
func (r *Router) replicas(snap *store.Snapshot, server store.ServerID) []located {
	if snap == nil {
		return nil
	}
	x := r.index.Load()
	if x == nil || x.snap != snap {
		x = newIndex(snap)
		r.index.Store(x)
	}
	return x.of[server]
}

func newIndex(snap *store.Snapshot) *index {
	x := &index{snap: snap, of: make(map[store.ServerID][]located)}
	for i := range snap.Nodes {
		n := &snap.Nodes[i]
		for j := range n.Servers {
			s := &n.Servers[j]
			if all := x.of[s.ID]; len(all) == 0 || all[len(all)-1].node != n { // the first of a name counts, as for Node.Server
				x.of[s.ID] = append(all, located{node: n, server: s, weight: weightOf(n, s)})
			}
		}
	}
	return x
}
