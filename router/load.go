package router

import (
	"sync"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// answerHolds is how long a node's own count outranks the count in its heartbeats. A beat seen
// in a snapshot may be a poll old, so one seen sooner may have been sent before the answer.
const answerHolds = 2 * time.Second

// replica is one server on one node.
type replica struct {
	node   store.NodeID
	server store.ServerID
}

// loads is what this replica of the coordinator believes of how many sessions each replica of
// a server holds: the node's last word, from an answer or a heartbeat, and the placements of
// ours that it has not yet answered. Safe for concurrent use.
type loads struct {
	mu  sync.Mutex
	now func() time.Time
	of  map[replica]*load
}

type load struct {
	epoch    store.Epoch
	count    int       // the node's last word
	answered time.Time // when it was an answer; local clock
	beat     time.Time // heartbeat that count was taken from or that was current at the answer
	pending  int       // initialize requests of ours on their way
	// refused says that the node had no room for one, and since is the heartbeat that was
	// current then: a newer one knows better.
	refused bool
	since   time.Time
}

// get is the load of a replica as of a snapshot, and whether it has no room for another session
// by the node's last word.
func (l *loads) get(n *store.Node, server *store.Server) (sessions int, full bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entry(n, server)
	return e.count + e.pending, e.refused || server.Full
}

// entry brings a replica's record up to date with the snapshot. Callers hold mu.
func (l *loads) entry(n *store.Node, server *store.Server) *load {
	key := replica{n.ID, server.ID}
	e := l.of[key]
	switch {
	case e == nil:
		if l.of == nil {
			l.of = make(map[replica]*load)
		}
		e = &load{epoch: n.Epoch, count: server.Sessions, beat: n.LastHeartbeat}
		l.of[key] = e
	case n.Epoch > e.epoch: // another process: nothing of the old count is true
		*e = load{epoch: n.Epoch, count: server.Sessions, beat: n.LastHeartbeat, pending: e.pending}
	case n.LastHeartbeat.After(e.beat) && l.now().Sub(e.answered) > answerHolds:
		e.count, e.beat = server.Sessions, n.LastHeartbeat
	}
	if e.refused && n.LastHeartbeat.After(e.since) {
		e.refused = false
	}
	return e
}

// refuse notes that a replica had no room for a session.
func (l *loads) refuse(n *store.Node, server *store.Server) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entry(n, server)
	e.refused, e.since = true, n.LastHeartbeat
}

// begin counts a placement on its way to a replica. The caller ends it with end.
func (l *loads) begin(n *store.Node, server *store.Server) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entry(n, server).pending++
}

// end takes a placement off its way. sessions is the count in the node's answer; negative
// means that the placement failed, or that the answer held none, in which case placed says
// whether it took hold.
func (l *loads) end(n *store.Node, server *store.Server, sessions int, placed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entry(n, server)
	e.pending = max(0, e.pending-1)
	switch {
	case sessions >= 0:
		e.count, e.answered = sessions, l.now()
	case placed:
		e.count++
	}
}

// ended takes a session off a replica's count.
func (l *loads) ended(node store.NodeID, server store.ServerID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.of[replica{node, server}]; e != nil {
		e.count = max(0, e.count-1)
		e.refused = false
	}
}

// prune forgets nodes that are no longer in the snapshot.
func (l *loads) prune(snap *store.Snapshot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key := range l.of {
		if snap.Node(key.node) == nil {
			delete(l.of, key)
		}
	}
}
