package router

import (
	"sync"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// suspects are the nodes that this replica has seen dead with its own eyes and does not try
// again until there is news of them. Suspicion is local: it is evidence about the path from
// here, and says nothing to other replicas. Safe for concurrent use.
type suspects struct {
	mu    sync.RWMutex
	nodes map[store.NodeID]suspicion
}

// suspicion remembers what was known of the node when it failed, to tell later news from old.
type suspicion struct {
	epoch  store.Epoch
	beat   time.Time // LastHeartbeat in the snapshot then; Redis's clock, only compared with itself
	reason string
}

// add suspects a node as the snapshot shows it. It reports whether this is new.
func (s *suspects) add(n *store.Node, reason string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nodes == nil {
		s.nodes = make(map[store.NodeID]suspicion)
	}
	_, known := s.nodes[n.ID]
	s.nodes[n.ID] = suspicion{epoch: n.Epoch, beat: n.LastHeartbeat, reason: reason}
	return !known
}

// of says why a node, as the snapshot shows it now, is suspect; empty if it is not. A newer
// heartbeat or a newer epoch than at the time of the failure ends the suspicion.
func (s *suspects) of(n *store.Node) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.nodes) == 0 {
		return ""
	}
	was, ok := s.nodes[n.ID]
	if !ok || n.Epoch > was.epoch || n.LastHeartbeat.After(was.beat) {
		return ""
	}
	return was.reason
}

// clear ends the suspicion of a node that has answered.
func (s *suspects) clear(id store.NodeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.nodes, id)
}

// prune forgets the suspicions that have ended by themselves and those of nodes that are gone.
func (s *suspects) prune(snap *store.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, was := range s.nodes {
		n := snap.Node(id)
		if n == nil || n.Epoch > was.epoch || n.LastHeartbeat.After(was.beat) {
			delete(s.nodes, id)
		}
	}
}

// len counts the nodes under suspicion.
func (s *suspects) len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.nodes)
}
