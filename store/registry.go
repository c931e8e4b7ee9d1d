package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// goneFor is how long a late beat of a node that has deregistered is refused. A beat is under
// way for seconds at most.
const goneFor = time.Minute

// Beat is what came of a heartbeat.
type Beat struct {
	// Node is the record as it stands now.
	Node Node
	// Relearned says that Redis did not know the node, or only under an older epoch: it was
	// emptied, or lost its last writes. The record was rebuilt under the node's own epoch.
	Relearned bool
	// Recovered says that the node had been marked unhealthy.
	Recovered bool
}

// RegisterNode gives n.ID to the process n.Instance for ttl under a new epoch, higher than any
// that this store has seen, and writes its record. The result is the stored record: Epoch,
// Registered and LastHeartbeat are filled in. The zero State means active, a Weight below 1
// means 1.
//
// While the lease of another instance lives and takeOver is false it returns
// *DuplicateNodeError with the holder's record and changes nothing. The same instance may
// register again; its earlier epoch is then over. It returns ErrInvalid for a bad id, server name,
// state or ttl, and ErrUnavailable; after the latter the registration may stand: register again.
// It moves Revision.
func (s *Store) RegisterNode(ctx context.Context, n Node, ttl time.Duration, takeOver bool) (Node, error) {
	op := "register node " + printable(n.ID)
	call, n, err := s.nodeCall(n, ttl)
	if err != nil {
		return Node{}, fmt.Errorf("%s: %w", op, err)
	}
	call.script = nodeRegister
	call.args[4] = "0"
	if takeOver {
		call.args[4] = "1"
	}
	r, err := s.evalFor(ctx, writes, op, string(n.ID), call)
	if err != nil {
		return Node{}, err
	}
	if r.num(1) == 0 {
		holder, err := nodeFrom(n.ID, r.list(2).fields())
		if err != nil { // the id is taken all the same
			s.log.WarnContext(ctx, "damaged record", "node", n.ID, "err", err)
		}
		return Node{}, fmt.Errorf("%s: %w", op, &DuplicateNodeError{Holder: holder})
	}
	n.Epoch = Epoch(r.num(1))
	n.Registered = fromMillis(r.num(2))
	n.LastHeartbeat = n.Registered
	s.sawEpoch(n.Epoch)
	return n, nil
}

// BeatNode renews the lease that n.Instance holds under n.Epoch for ttl, and brings the record
// up to date; n is the whole record. One round trip. Revision moves only when something but
// the counts of sessions and requests changed.
//
// It returns ErrEpoch when the epoch is over: a newer one was given, another instance holds this
// one, or the node was deregistered within the last minute; then register again, or stop. A node that
// Redis does not know is relearned under its own epoch. Other errors: ErrInvalid, and ErrUnavailable, after
// which it is unknown whether the lease was renewed: beat again.
func (s *Store) BeatNode(ctx context.Context, n Node, ttl time.Duration) (Beat, error) {
	op := "beat of node " + printable(n.ID)
	if n.Epoch < 1 {
		return Beat{}, fmt.Errorf("%s: %w", op, invalid("epoch %d is below 1", n.Epoch))
	}
	call, n, err := s.nodeCall(n, ttl)
	if err != nil {
		return Beat{}, fmt.Errorf("%s: %w", op, err)
	}
	call.script = nodeBeat
	call.args[4] = strconv.FormatInt(int64(n.Epoch), 10)
	r, err := s.evalFor(ctx, writes, op, string(n.ID), call)
	if err != nil {
		return Beat{}, err
	}
	if r.num(1) < 0 {
		return Beat{}, fmt.Errorf("%s under epoch %d: %w", op, n.Epoch, ErrEpoch)
	}
	n.LastHeartbeat, n.Registered = fromMillis(r.num(2)), fromMillis(r.num(3))
	s.sawEpoch(n.Epoch)
	return Beat{Node: n, Relearned: r.num(1) == 1, Recovered: r.num(1) == 2}, nil
}

// nodeCall makes what the calls of register and beat have in common; the caller sets the
// script and args[4]. It also returns n with its defaults filled in.
func (s *Store) nodeCall(n Node, ttl time.Duration) (scriptCall, Node, error) {
	n.State = cmp.Or(n.State, NodeActive)
	n.Weight = max(1, n.Weight)
	if err := checkRecord(n, ttl); err != nil {
		return scriptCall{}, n, err
	}
	fields, err := recordFields(n)
	if err != nil {
		return scriptCall{}, n, invalid("%w", err)
	}
	busy, err := loadOf(n)
	if err != nil {
		return scriptCall{}, n, invalid("%w", err)
	}
	k := s.keys
	n.Started = fromMillis(millis(n.Started))
	return scriptCall{
		keys: []string{k.nodeIndex(), k.node(n.ID), k.lease(n.ID), k.rev(), k.epoch(), k.load(), k.gone(n.ID)},
		args: append([]any{string(n.ID), string(n.Instance), ttl.Milliseconds(), s.floor.Load(), "", busy}, fields...),
	}, n, nil
}

func checkRecord(n Node, ttl time.Duration) error {
	if err := checkNode(n.ID); err != nil {
		return err
	}
	if n.Instance == "" || len(n.Instance) > 64 {
		return invalid("instance: want 1 to 64 characters")
	}
	if n.State != NodeActive && n.State != NodeDraining {
		return invalid("state %q: a node is active or draining", n.State)
	}
	if n.Epoch < 0 || n.Epoch > 1<<52 {
		return invalid("epoch %d is out of range", n.Epoch)
	}
	seen := make(map[ServerID]bool, len(n.Servers))
	for _, srv := range n.Servers {
		if err := checkServer(srv.ID); err != nil {
			return err
		}
		if seen[srv.ID] {
			return invalid("server %s is listed twice", srv.ID)
		}
		seen[srv.ID] = true
	}
	return checkTTL(ttl)
}

// DeregisterNode forgets the node: record, lease and counts. For a minute a beat under e or an
// older epoch is refused, so that one still under way does not bring it back.
//
// It returns ErrEpoch if the id is held under a newer epoch, and ErrNotFound if there is no
// such node (beats under e are refused then as well). After ErrUnavailable, do it again.
func (s *Store) DeregisterNode(ctx context.Context, id NodeID, e Epoch) error {
	op := "deregister node " + printable(id)
	if err := checkNode(id); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if e < 1 || e > 1<<52 {
		return fmt.Errorf("%s: %w", op, invalid("epoch %d is out of range", e))
	}
	k := s.keys
	r, err := s.evalFor(ctx, writes, op, string(id), scriptCall{
		script: nodeDeregister,
		keys:   []string{k.nodeIndex(), k.node(id), k.lease(id), k.rev(), k.load(), k.gone(id)},
		args:   []any{string(id), int64(e), goneFor.Milliseconds()},
	})
	switch {
	case err != nil:
		return err
	case r.num(1) < 0:
		return fmt.Errorf("%s under epoch %d: %w", op, e, ErrEpoch)
	case r.num(1) == 0:
		return fmt.Errorf("%s: %w", op, ErrNotFound)
	}
	return nil
}

// SweepNodes marks the nodes whose lease has lapsed unhealthy and returns those that this very
// call marked: of all the coordinators that sweep, one gets each. They are sorted by id.
func (s *Store) SweepNodes(ctx context.Context) ([]Node, error) {
	k := s.keys
	return s.nodesOf(ctx, "sweep nodes", scriptCall{
		script: nodeSweep,
		keys:   []string{k.nodeIndex(), k.rev()},
		args:   []any{k.nodeStem(), k.leaseStem()},
	})
}

// RemoveNodes forgets the nodes that were marked unhealthy at least olderThan ago and have not come
// back. It returns those that this very call removed, sorted by id.
func (s *Store) RemoveNodes(ctx context.Context, olderThan time.Duration) ([]Node, error) {
	k := s.keys
	return s.nodesOf(ctx, "remove nodes", scriptCall{
		script: nodeRemove,
		keys:   []string{k.nodeIndex(), k.rev(), k.load()},
		args:   []any{k.nodeStem(), k.leaseStem(), max(0, olderThan.Milliseconds())},
	})
}

// nodesOf runs a script that answers {now, {id, last heartbeat, record}, …}.
func (s *Store) nodesOf(ctx context.Context, op string, c scriptCall) ([]Node, error) {
	r, err := s.eval(ctx, writes, op, c)
	if err != nil {
		return nil, err
	}
	var nodes []Node
	for i := 1; i < len(r); i++ {
		entry := r.list(i)
		n, err := nodeFrom(NodeID(entry.str(0)), entry.list(2).fields())
		if err != nil { // announce it with what can be read
			s.log.WarnContext(ctx, "damaged record", "node", n.ID, "err", err)
		}
		n.LastHeartbeat = fromMillis(entry.num(1))
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	return nodes, nil
}

// sawEpoch raises the floor.
func (s *Store) sawEpoch(e Epoch) {
	for {
		old := s.floor.Load()
		if int64(e) <= old || e > 1<<52 || s.floor.CompareAndSwap(old, int64(e)) {
			return
		}
	}
}

// printable keeps an unchecked id from filling or breaking a log line.
func printable[T ~string](id T) string {
	if len(id) > 63 {
		id = id[:63]
	}
	q := strconv.Quote(string(id))
	return q[1 : len(q)-1]
}
