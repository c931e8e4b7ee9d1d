package router

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mcphub-go/mcphub/store"
)

// placers are coordinators that place sessions on nodes that only count: what one of them
// knows of the others' placements, it learns from the nodes' answers.
type placers struct {
	t     testing.TB
	fleet *fakeFleet
	rs    []*Router
	held  map[store.NodeID]int
}

func newPlacers(t testing.TB, nodes, coordinators int, weight func(int) int) *placers {
	p := &placers{t: t, fleet: &fakeFleet{}, held: map[store.NodeID]int{}}
	var recs []store.Node
	for i := range nodes {
		recs = append(recs, store.Node{
			ID: store.NodeID("node-" + strconv.Itoa(i+1)), State: store.NodeActive, Epoch: 1, Weight: weight(i),
			Servers: []store.Server{{ID: testServer, Status: store.ServerReady, Weight: 1}},
		})
	}
	p.fleet.set(recs...)
	for range coordinators {
		p.rs = append(p.rs, New(Config{Keys: testKeys(t, 1)}, p.fleet, newFakeStore(), slog.New(slog.DiscardHandler)))
	}
	return p
}

func even(int) int { return 1 }

func randomSID(rng *rand.Rand) (s sid) {
	for i := range s {
		s[i] = byte(rng.Uint32())
	}
	return s
}

// choose is what a coordinator would do with a session, without doing it.
func (p *placers) choose(r *Router, s sid) *Candidate {
	c := choose(r.candidates(p.fleet.Snapshot(), s, testServer, nil), true)
	if c == nil {
		p.t.Fatal("no candidate")
	}
	return c
}

// place places one session and lets the node answer.
func (p *placers) place(r *Router, s sid) store.NodeID {
	c := p.choose(r, s)
	r.loads.begin(c.node, c.server)
	p.held[c.Node]++
	r.loads.end(c.node, c.server, p.held[c.Node], true)
	return c.Node
}

// The promise: no node over 1.25 times its fair share, though three coordinators place at once
// and hear of each other only through the nodes.
func TestPlacementIsBalanced(t *testing.T) {
	for _, c := range []struct{ nodes, sessions int }{{2, 100}, {3, 100}, {5, 100}, {3, 1000}, {5, 1000}, {10, 1000}} {
		for _, beats := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d nodes, %d sessions, beats %t", c.nodes, c.sessions, beats), func(t *testing.T) {
				worst := 0.0
				for seed := range uint64(10_000 / c.sessions) {
					rng := rand.New(rand.NewPCG(seed, 1))
					p := newPlacers(t, c.nodes, 3, even)
					for i := range c.sessions {
						p.place(p.rs[rng.IntN(3)], randomSID(rng))
						if beats && i%20 == 19 { // the nodes' own counts come round, a little late
							p.beat()
						}
					}
					for id, n := range p.held {
						share := float64(n) * float64(c.nodes) / float64(c.sessions)
						if worst = max(worst, share); share > maxShare {
							t.Errorf("seed %d: %s holds %d of %d sessions: %.3f of its fair share", seed, id, n, c.sessions, share)
						}
					}
				}
				t.Logf("fullest node over all runs: %.3f of its fair share", worst)
			})
		}
	}
}

// beat puts the nodes' counts into the snapshot, as heartbeats do.
func (p *placers) beat() {
	for id, n := range p.held {
		p.fleet.change(id, func(rec *store.Node) {
			rec.LastHeartbeat = rec.LastHeartbeat.Add(5 * time.Second)
			rec.Servers[0].Sessions = n
		})
	}
}

// Sessions that are opened at the same moment, none of them answered yet, spread too.
func TestPlacementOfABurst(t *testing.T) {
	p := newPlacers(t, 4, 1, even)
	rng := rand.New(rand.NewPCG(1, 1))
	for range 100 {
		c := p.choose(p.rs[0], randomSID(rng))
		p.rs[0].loads.begin(c.node, c.server)
		p.held[c.Node]++
	}
	for id, n := range p.held {
		if float64(n) > maxShare*25 {
			t.Errorf("%s got %d of 100, its fair share is 25", id, n)
		}
	}
}

func TestPlacementByWeight(t *testing.T) {
	p := newPlacers(t, 3, 3, func(i int) int { return i + 1 })
	rng := rand.New(rand.NewPCG(1, 1))
	for range 1200 {
		p.place(p.rs[rng.IntN(3)], randomSID(rng))
	}
	for id, fair := range map[store.NodeID]float64{"node-1": 200, "node-2": 400, "node-3": 600} {
		if got := float64(p.held[id]); got > fair*maxShare || got < fair*0.75 {
			t.Errorf("%s holds %.0f sessions, its fair share is %.0f", id, got, fair)
		}
	}
}

// The weight of a node times that of its replica decides, by the hash alone and within the bound:
// 1 to 3 is a quarter to three quarters.
func TestWeightsOfNodeAndReplica(t *testing.T) {
	for _, c := range []struct{ node, replica int }{{3, 1}, {1, 3}, {3, 0}, {0, 3}} {
		p := newPlacers(t, 2, 1, even)
		p.fleet.change("node-2", func(n *store.Node) { n.Weight, n.Servers[0].Weight = c.node, c.replica })
		rng := rand.New(rand.NewPCG(5, 6))
		const sessions = 4000
		byHash := 0
		for range sessions {
			s := randomSID(rng)
			if choose(p.rs[0].candidates(p.fleet.Snapshot(), s, testServer, nil), false).Node == "node-2" {
				byHash++
			}
			p.place(p.rs[0], s)
		}
		for what, n := range map[string]int{"the hash alone": byHash, "the hash with the bound": p.held["node-2"]} {
			if share := float64(n) / sessions; share < 0.72 || share > 0.78 {
				t.Errorf("weights 1 and %d×%d: by %s the heavier holds %.3f of the sessions, want 0.75", c.node, c.replica, what, share)
			}
		}
	}
}

// Two coordinators that believe the same choose the same.
func TestPlacementIsDeterministic(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := newPlacers(t, rapid.IntRange(1, 8).Draw(rt, "nodes"), 2, even)
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		for range rapid.IntRange(0, 50).Draw(rt, "sessions") {
			s := randomSID(rng)
			a, b := p.choose(p.rs[0], s), p.choose(p.rs[1], s)
			if a.Node != b.Node || a.Score != b.Score {
				rt.Fatalf("%s (%v) and %s (%v)", a.Node, a.Score, b.Node, b.Score)
			}
			for _, r := range p.rs {
				r.loads.begin(a.node, a.server)
			}
		}
	})
}

// Without loads, losing a node moves its own sessions and no other, and a node that comes takes
// its share and moves no session between the others.
func TestRendezvousMovesLittle(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(2, 12).Draw(rt, "nodes")
		gone := rapid.IntRange(0, n-1).Draw(rt, "gone")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		p := newPlacers(t, n, 1, even)
		all := p.fleet.Snapshot()
		var less store.Snapshot
		for i, rec := range all.Nodes {
			if i != gone {
				less.Nodes = append(less.Nodes, rec)
			}
		}
		const sessions = 400
		moved := 0
		for range sessions {
			s := randomSID(rng)
			with := choose(p.rs[0].candidates(all, s, testServer, nil), false)
			without := choose(p.rs[0].candidates(&less, s, testServer, nil), false)
			if with.Node != without.Node {
				moved++
				if with.Node != all.Nodes[gone].ID {
					rt.Fatalf("a session of %s moved though %s left", with.Node, all.Nodes[gone].ID)
				}
			}
		}
		if want := float64(sessions) / float64(n); float64(moved) > want*1.6+10 || float64(moved) < want*0.5-10 {
			rt.Fatalf("%d of %d sessions follow one node of %d", moved, sessions, n)
		}
	})
}

// With loads too, about 1/n of new placements change when a node is added: measured against
// the same sessions placed without it.
func TestAddingANodeMovesAboutItsShare(t *testing.T) {
	for _, n := range []int{3, 5, 9} {
		const sessions = 1000
		rng := rand.New(rand.NewPCG(7, uint64(n)))
		before, after := newPlacers(t, n, 3, even), newPlacers(t, n+1, 3, even)
		toOld := 0
		for range sessions {
			s, via := randomSID(rng), rng.IntN(3)
			a, b := before.place(before.rs[via], s), after.place(after.rs[via], s)
			if a != b && b != store.NodeID("node-"+strconv.Itoa(n+1)) {
				toOld++
			}
		}
		share := float64(after.held[store.NodeID("node-"+strconv.Itoa(n+1))]) / sessions
		if want := 1 / float64(n+1); share < want*0.75 || share > want*maxShare {
			t.Errorf("%d nodes: the new one got %.3f of the placements, want about %.3f", n, share, want)
		}
		// The bound makes a few sessions differ that the hash alone would leave.
		if got := float64(toOld) / sessions; got > 0.12 {
			t.Errorf("%d nodes: %.3f of the placements went to another old node", n, got)
		}
	}
}

func TestUnfitReplicas(t *testing.T) {
	p := newPlacers(t, 6, 1, even)
	r := p.rs[0]
	p.fleet.change("node-1", func(n *store.Node) { n.State = store.NodeDraining })
	p.fleet.change("node-2", func(n *store.Node) { n.State = store.NodeUnhealthy })
	p.fleet.change("node-3", func(n *store.Node) { n.Servers[0].Status = store.ServerStarting })
	p.fleet.change("node-4", func(n *store.Node) { n.Servers = nil })
	snap := p.fleet.Snapshot()
	r.suspects.add(snap.Node("node-5"), "no connection")
	var s sid
	list := r.candidates(snap, s, testServer, nil)
	reasons := map[store.NodeID]string{}
	for i, c := range list {
		reasons[c.Node] = c.Reason
		if i > 0 && list[i-1].Score < c.Score {
			t.Error("candidates are not in order")
		}
	}
	if len(list) != 5 {
		t.Errorf("%d candidates, want the 5 that have the server", len(list))
	}
	for node, want := range map[store.NodeID]string{"node-1": "draining", "node-2": "lapsed", "node-3": "starting", "node-5": "no connection", "node-6": ""} {
		if got := reasons[node]; !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%s: reason %q, want %q", node, got, want)
		}
	}
	if c := choose(list, true); c == nil || c.Node != "node-6" {
		t.Errorf("chosen = %+v, want node-6", c)
	}
	not := exclusion(nil).add("node-6", 1, "just failed")
	if c := choose(r.candidates(snap, s, testServer, not), true); c != nil {
		t.Errorf("chosen = %s, want none", c.Node)
	}
	p.fleet.change("node-6", func(n *store.Node) { n.Epoch = 2 })
	if c := choose(r.candidates(p.fleet.Snapshot(), s, testServer, not), true); c == nil {
		t.Error("a newer process of a node that failed is excluded")
	}
}

// A heartbeat does not bring back a count that an answer has outdone, and a new process starts
// from what it says itself.
func TestLoads(t *testing.T) {
	now := time.Unix(0, 0)
	l := loads{now: func() time.Time { return now }}
	s := store.Server{ID: testServer, Sessions: 10}
	n := &store.Node{ID: "node-1", Epoch: 1, LastHeartbeat: time.Unix(1, 0)}
	check := func(what string, want int) {
		t.Helper()
		if got, _ := l.get(n, &s); got != want {
			t.Errorf("%s: load = %d, want %d", what, got, want)
		}
	}
	check("from the snapshot", 10)
	l.begin(n, &s)
	check("one on its way", 11)
	l.end(n, &s, 30, true)
	check("the node's answer", 30)
	n.LastHeartbeat = time.Unix(6, 0)
	check("a beat that may be older than the answer", 30)
	now = now.Add(3 * time.Second)
	check("a beat when the answer is old", 10)
	l.begin(n, &s)
	l.end(n, &s, -1, false)
	check("a placement that failed", 10)
	l.begin(n, &s)
	l.end(n, &s, -1, true)
	check("an answer without a count", 11)
	l.ended("node-1", testServer)
	check("a session that ended", 10)
	n.Epoch, s.Sessions = 2, 0
	check("another process", 0)
	l.prune(&store.Snapshot{})
	if len(l.of) != 0 {
		t.Error("a node that is gone is remembered")
	}
}

func TestBudget(t *testing.T) {
	now := time.Unix(0, 0)
	b := budget{now: func() time.Time { return now }}
	granted := func() (n int) {
		for b.take() {
			n++
		}
		return n
	}
	if got := granted(); got != budgetFloor {
		t.Errorf("a quiet replica may retry %d times, want %d", got, budgetFloor)
	}
	for range 1000 {
		b.call()
	}
	if got := granted(); got != 90 {
		t.Errorf("after 1000 calls and %d retries %d more are granted, want 90", budgetFloor, got)
	}
	now = now.Add(budgetWindow)
	if got := granted(); got != 0 {
		t.Errorf("the last window still counts, but %d were granted", got)
	}
	now = now.Add(budgetWindow)
	if got := granted(); got != budgetFloor {
		t.Errorf("%d granted two windows later, want the floor", got)
	}
	now = now.Add(time.Hour)
	for range 500 {
		b.call()
	}
	if got := granted(); got != 50 {
		t.Errorf("%d granted for 500 calls, want 50", got)
	}
}

// BenchmarkPlace is what placing a session costs without sending anything.
func BenchmarkPlace(b *testing.B) {
	for _, nodes := range []int{3, 10, 50} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			p := newPlacers(b, nodes, 1, even)
			rng := rand.New(rand.NewPCG(1, 1))
			b.ReportAllocs()
			for b.Loop() {
				p.choose(p.rs[0], randomSID(rng))
			}
		})
	}
}

// BenchmarkDraw is what choosing a replica costs each call without affinity.
func BenchmarkDraw(b *testing.B) {
	for _, nodes := range []int{3, 10, 50} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			p := newPlacers(b, nodes, 1, even)
			sp := spreader{call: &call{r: p.rs[0], s: &session{}, server: testServer}}
			b.ReportAllocs()
			for b.Loop() {
				if sp.draw(false) == nil {
					b.Fatal("none")
				}
			}
		})
	}
}
