package router

import (
	"maps"
	"slices"

	"github.com/mcphub-go/mcphub/store"
)

// roster is what a snapshot says of the servers, by name. It is never changed once made.
type roster struct {
	snap    *store.Snapshot
	names   *names           // the same pointer for as long as the names are the same
	servers []store.ServerID // all that a node names, in order
	// digests are the catalogs of the servers that can be called.
	digests map[store.ServerID]store.Digest
}

// roster is that of the latest snapshot.
func (r *Router) roster() *roster {
	snap := r.fleet.Snapshot()
	last := r.rosters.Load()
	if last != nil && last.snap == snap {
		return last
	}
	now := newRoster(snap, r.cfg.NameSeparator, last)
	r.rosters.Store(now)
	return now
}

// newRoster makes a roster. It keeps the names of the last one if they are the same.
func newRoster(snap *store.Snapshot, sep string, last *roster) *roster {
	known := map[store.ServerID]bool{}
	if snap != nil {
		for i := range snap.Nodes {
			for j := range snap.Nodes[i].Servers {
				known[snap.Nodes[i].Servers[j].ID] = true
			}
		}
	}
	now := &roster{snap: snap, digests: callable(snap)}
	if last != nil && maps.Equal(known, last.names.known) {
		now.names, now.servers = last.names, last.servers
		return now
	}
	now.names, now.servers = &names{sep: sep, known: known}, slices.Sorted(maps.Keys(known))
	return now
}

// callable is the catalog of each server that can be called somewhere: the one that most of its
// replicas have, and of equally many the lowest, so that every coordinator lists the same.
func callable(snap *store.Snapshot) map[store.ServerID]store.Digest {
	votes := map[store.ServerID]map[store.Digest]int{}
	if snap == nil {
		return nil
	}
	for i := range snap.Nodes {
		n := &snap.Nodes[i]
		if n.State == store.NodeUnhealthy {
			continue
		}
		for j := range n.Servers {
			s := &n.Servers[j]
			if s.Status != store.ServerReady || s.Catalog == "" {
				continue
			}
			if votes[s.ID] == nil {
				votes[s.ID] = map[store.Digest]int{}
			}
			votes[s.ID][s.Catalog]++
		}
	}
	out := make(map[store.ServerID]store.Digest, len(votes))
	for server, count := range votes {
		var best store.Digest
		for _, d := range slices.Sorted(maps.Keys(count)) {
			if best == "" || count[d] > count[best] {
				best = d
			}
		}
		out[server] = best
	}
	return out
}
