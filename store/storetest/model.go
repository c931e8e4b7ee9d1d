package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mcphub-go/mcphub/store"
)

// apart is how far advance keeps from every deadline, and tolerance for how much of it a running
// clock may use up.
const (
	apart     = 500 * time.Millisecond
	tolerance = 400 * time.Millisecond
)

// checkModel draws histories of registering, beating, lapsing, sweeping, removing, deregistering
// and flushing, and compares the store with a model of a few lines after each step.
//
// The model's clock moves only with advance. That of a real server also runs by itself, so there
// a history is judged for as long as the two cannot differ about any deadline, and then ends: what
// lapses in Redis and not yet in the model changes what both do next.
func checkModel(t *testing.T, e Env) {
	cut, all := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		e.Flush()
		m := &model{t: t, e: e, nodes: map[store.NodeID]*modelNode{}, gone: map[store.NodeID]modelGone{}, began: time.Now()}
		rt.Repeat(map[string]func(*rapid.T){
			"register":   m.timely(m.register),
			"beat":       m.timely(m.beat),
			"deregister": m.timely(m.deregister),
			"sweep":      m.timely(m.sweep),
			"remove":     m.timely(m.remove),
			"advance":    m.timely(m.advance),
			"flush":      m.timely(m.flush),
			"":           m.timely(m.compare),
		})
		if all++; m.late() {
			cut++
		}
	})
	if cut > 0 {
		t.Logf("%d of %d histories were cut short: the machine is slow", cut, all)
	}
}

// model is what Redis should hold, and what the processes believe.
type model struct {
	t     *testing.T
	e     Env
	nodes map[store.NodeID]*modelNode
	gone  map[store.NodeID]modelGone
	procs []store.Node // every process that ever registered, with its epoch
	now   time.Duration
	began time.Time   // by our clock
	last  store.Epoch // highest epoch given
	prev  *store.Snapshot
}

// modelGone is what deregistering leaves behind.
type modelGone struct {
	epoch store.Epoch
	until time.Duration
}

type modelNode struct {
	instance  store.Instance
	epoch     store.Epoch
	lease     time.Duration // when it ends
	unhealthy bool
	lapsed    time.Duration // when it was marked
}

// late says that Redis's clock may have run so far ahead of the model's that they differ.
func (m *model) late() bool { return m.e.Running && time.Since(m.began) > tolerance }

// timely ends a history that is late.
func (m *model) timely(action func(*rapid.T)) func(*rapid.T) {
	return func(rt *rapid.T) {
		if !m.late() {
			action(rt)
		}
	}
}

// fatalf fails, unless it became late while Redis was asked.
func (m *model) fatalf(rt *rapid.T, format string, args ...any) {
	if !m.late() {
		rt.Fatalf(format, args...)
	}
}

func (m *model) store(rt *rapid.T) *store.Store {
	return rapid.SampledFrom([]*store.Store{m.e.Store, m.e.Second}).Draw(rt, "store")
}

func (m *model) register(rt *rapid.T) {
	id := rapid.SampledFrom([]store.NodeID{"n1", "n2", "n3"}).Draw(rt, "id")
	in := rapid.SampledFrom([]store.Instance{"a", "b"}).Draw(rt, "instance")
	force := rapid.Bool().Draw(rt, "takeOver")
	was := m.nodes[id]
	refused := was != nil && was.lease > m.now && was.instance != in && !force
	n, err := m.store(rt).RegisterNode(m.t.Context(), node(id, in), nodeTimeout, force)
	var dup *store.DuplicateNodeError
	if errors.As(err, &dup) != refused || (err != nil && !refused) {
		m.fatalf(rt, "RegisterNode(%s, %s, %v) = %v, want refused: %v", id, in, force, err, refused)
	}
	if refused {
		return
	}
	if n.Epoch <= m.last {
		m.fatalf(rt, "epoch %d after %d", n.Epoch, m.last)
	}
	m.last = n.Epoch
	m.nodes[id] = &modelNode{instance: in, epoch: n.Epoch, lease: m.now + nodeTimeout}
	m.procs = append(m.procs, n)
	// Both coordinators poll, as they do each second.
	for _, s := range []*store.Store{m.e.Store, m.e.Second} {
		if _, err := s.Snapshot(m.t.Context(), nil); err != nil {
			m.fatalf(rt, "Snapshot = %v", err)
		}
	}
}

func (m *model) beat(rt *rapid.T) {
	if len(m.procs) == 0 {
		rt.Skip("no process yet")
	}
	p := rapid.SampledFrom(m.procs).Draw(rt, "process")
	was := m.nodes[p.ID]
	gone := m.gone[p.ID]
	over := (gone.until > m.now && gone.epoch >= p.Epoch) || (was != nil && was.epoch > p.Epoch)
	b, err := m.store(rt).BeatNode(m.t.Context(), p, nodeTimeout)
	if errors.Is(err, store.ErrEpoch) != over || (err != nil && !over) {
		m.fatalf(rt, "BeatNode(%s, epoch %d) = %v, want over: %v", p.ID, p.Epoch, err, over)
	}
	if over {
		return
	}
	relearned := was == nil || was.epoch < p.Epoch
	recovered := !relearned && was.unhealthy
	if b.Relearned != relearned || b.Recovered != recovered {
		m.fatalf(rt, "Beat = relearned %v, recovered %v; want %v, %v", b.Relearned, b.Recovered, relearned, recovered)
	}
	m.nodes[p.ID] = &modelNode{instance: p.Instance, epoch: p.Epoch, lease: m.now + nodeTimeout}
}

func (m *model) deregister(rt *rapid.T) {
	if len(m.procs) == 0 {
		rt.Skip("no process yet")
	}
	p := rapid.SampledFrom(m.procs).Draw(rt, "process")
	was := m.nodes[p.ID]
	var want error
	switch {
	case was == nil:
		want = store.ErrNotFound
	case was.epoch > p.Epoch:
		want = store.ErrEpoch
	}
	if err := m.store(rt).DeregisterNode(m.t.Context(), p.ID, p.Epoch); !errors.Is(err, want) {
		m.fatalf(rt, "DeregisterNode(%s, %d) = %v, want %v", p.ID, p.Epoch, err, want)
	}
	if want != store.ErrEpoch {
		delete(m.nodes, p.ID)
		if g := m.gone[p.ID]; g.until <= m.now || g.epoch <= p.Epoch {
			m.gone[p.ID] = modelGone{p.Epoch, m.now + time.Minute}
		}
	}
}

func (m *model) sweep(rt *rapid.T) {
	swept, err := m.store(rt).SweepNodes(m.t.Context())
	if err != nil {
		m.fatalf(rt, "SweepNodes = %v", err)
	}
	var want []store.Node
	for _, id := range []store.NodeID{"n1", "n2", "n3"} {
		if n := m.nodes[id]; n != nil && n.lease <= m.now && !n.unhealthy {
			n.unhealthy, n.lapsed = true, m.now
			want = append(want, store.Node{ID: id})
		}
	}
	if ids(swept) != ids(want) {
		m.fatalf(rt, "swept %q, want %q", ids(swept), ids(want))
	}
}

func (m *model) remove(rt *rapid.T) {
	removed, err := m.store(rt).RemoveNodes(m.t.Context(), 30*time.Second)
	if err != nil {
		m.fatalf(rt, "RemoveNodes = %v", err)
	}
	var want []store.Node
	for _, id := range []store.NodeID{"n1", "n2", "n3"} {
		if n := m.nodes[id]; n != nil && n.unhealthy && m.now-n.lapsed >= 30*time.Second {
			delete(m.nodes, id)
			want = append(want, store.Node{ID: id})
		}
	}
	if ids(removed) != ids(want) {
		m.fatalf(rt, "removed %q, want %q", ids(removed), ids(want))
	}
}

// advance steps past deadlines and never onto one: a real server's clock also runs by itself.
func (m *model) advance(rt *rapid.T) {
	d := rapid.SampledFrom([]time.Duration{4 * time.Second, 17 * time.Second}).Draw(rt, "d")
	var deadlines []time.Duration
	for _, n := range m.nodes {
		deadlines = append(deadlines, n.lease, n.lapsed+30*time.Second)
	}
	for _, g := range m.gone {
		deadlines = append(deadlines, g.until)
	}
	for _, deadline := range deadlines {
		if (m.now + d - deadline).Abs() < apart {
			rt.Skip("too near to a deadline")
		}
	}
	m.e.Advance(d)
	m.now += d
}

func (m *model) flush(rt *rapid.T) {
	if rapid.IntRange(0, 3).Draw(rt, "seldom") > 0 {
		rt.Skip("not this time")
	}
	m.e.Flush()
	m.nodes, m.gone = map[store.NodeID]*modelNode{}, map[store.NodeID]modelGone{}
}

// compare reads through a chain of snapshots, so that a change that does not move the revision
// shows.
func (m *model) compare(rt *rapid.T) {
	snap, err := m.e.Store.Snapshot(m.t.Context(), m.prev)
	if err != nil {
		m.fatalf(rt, "Snapshot = %v", err)
		return
	}
	m.prev = snap
	got, want := "", ""
	for _, n := range snap.Nodes {
		got += fmt.Sprintf("%s/%s/%d/%v ", n.ID, n.Instance, n.Epoch, n.State == store.NodeUnhealthy)
	}
	for _, id := range []store.NodeID{"n1", "n2", "n3"} {
		if n := m.nodes[id]; n != nil {
			want += fmt.Sprintf("%s/%s/%d/%v ", id, n.instance, n.epoch, n.unhealthy)
		}
	}
	if got != want {
		m.fatalf(rt, "store has %q, model %q", got, want)
	}
}
