package store

import (
	"cmp"
	"context"
	"slices"
	"strconv"
)

// Snapshot reads all nodes at one moment. prev may be nil; it is used, and never changed, to
// save work: when Revision has not moved the records are prev's, and only LastHeartbeat, the counts of
// the servers and Taken are new. One round trip; a second one follows if the index and prev disagree although
// the revision stands. A damaged record is left out, with a warning.
//
// On an error prev stays good to use.
func (s *Store) Snapshot(ctx context.Context, prev *Snapshot) (*Snapshot, error) {
	have := ""
	if prev != nil {
		have = strconv.FormatInt(prev.Revision, 10)
	}
	r, err := s.readNodes(ctx, have)
	if err != nil {
		return nil, err
	}
	if r[4] == nil {
		if snap := refreshed(prev, r); snap != nil {
			return snap, nil
		}
		if r, err = s.readNodes(ctx, ""); err != nil {
			return nil, err
		}
	}
	return s.snapshotFrom(ctx, r), nil
}

// readNodes asks for {now, rev, index, load, records}; records are nil when rev is have.
func (s *Store) readNodes(ctx context.Context, have string) (reply, error) {
	k := s.keys
	r, err := s.eval(ctx, reads, "read nodes", scriptCall{
		script: nodeSnapshot,
		keys:   []string{k.nodeIndex(), k.rev(), k.load()},
		args:   []any{k.nodeStem(), have},
	})
	if err != nil {
		return nil, err
	}
	for len(r) < 5 {
		r = append(r, nil)
	}
	return r, nil
}

func (s *Store) snapshotFrom(ctx context.Context, r reply) *Snapshot {
	snap := &Snapshot{Revision: r.num(1), Taken: fromMillis(r.num(0))}
	index, loads, records := r.list(2), r.list(3).fields(), r.list(4)
	for i := 0; i+1 < len(index) && i/2 < len(records); i += 2 {
		n, err := nodeFrom(NodeID(index.str(i)), records.list(i/2).fields())
		if err != nil {
			s.log.WarnContext(ctx, "damaged record", "node", n.ID, "err", err)
			continue
		}
		s.sawEpoch(n.Epoch)
		n.LastHeartbeat = fromMillis(index.num(i + 1))
		snap.Nodes = append(snap.Nodes, withLoad(n, loads[index.str(i)]))
	}
	slices.SortFunc(snap.Nodes, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	return snap
}

// refreshed is prev with new heartbeats and counts, or nil if it has other nodes than the index.
func refreshed(prev *Snapshot, r reply) *Snapshot {
	index, loads := r.list(2), r.list(3).fields()
	if len(index) != 2*len(prev.Nodes) {
		return nil
	}
	snap := &Snapshot{Revision: prev.Revision, Taken: fromMillis(r.num(0)), Nodes: slices.Clone(prev.Nodes)}
	for i := 0; i < len(index); i += 2 {
		at, ok := slices.BinarySearchFunc(snap.Nodes, NodeID(index.str(i)),
			func(n Node, id NodeID) int { return cmp.Compare(n.ID, id) })
		if !ok {
			return nil
		}
		snap.Nodes[at].LastHeartbeat = fromMillis(index.num(i + 1))
	}
	for i, n := range snap.Nodes {
		snap.Nodes[i] = withLoad(n, loads[string(n.ID)])
	}
	return snap
}
