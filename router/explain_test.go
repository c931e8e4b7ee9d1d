package router

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

func explain(t testing.TB, r *Router, req ExplainRequest) Explanation {
	t.Helper()
	x, err := r.Explain(t.Context(), req)
	if err != nil {
		t.Fatalf("Explain(%+v): %v", req, err)
	}
	return x
}

// What Explain says of a session that does not exist is what placement does with its id; the
// same at every coordinator that sees the same.
func TestExplainAgreesWithPlacement(t *testing.T) {
	p := newPlacers(t, 5, 2, func(i int) int { return 1 + i%2 })
	fallbacks := 0
	for i := range 200 {
		key := fmt.Sprint("key ", i)
		a, b := explain(t, p.rs[0], ExplainRequest{Key: key, Server: testServer}), explain(t, p.rs[1], ExplainRequest{Key: key, Server: testServer})
		q, err := p.rs[0].subjectOf(t.Context(), ExplainRequest{Key: key, Server: testServer})
		if err != nil {
			t.Fatal(err)
		}
		c := p.choose(p.rs[0], q.random)
		if a.Choice != c.Node || b.Choice != c.Node || a.Existing {
			t.Fatalf("Explain says %s and %s, placement %s", a.Choice, b.Choice, c.Node)
		}
		switch first := a.Candidates[0]; {
		case a.Rule == RuleBounded:
			fallbacks++
			if first.Node == c.Node || first.Load < first.Limit || !strings.Contains(a.Reason, string(first.Node)) {
				t.Errorf("fallback from %+v to %s: %s", first, c.Node, a.Reason)
			}
		case a.Rule != string(StrategyHash) || first.Node != c.Node:
			t.Errorf("rule %q, choice %s, first %s", a.Rule, c.Node, first.Node)
		}
		for _, r := range p.rs { // both hear of each placement
			r.loads.begin(c.node, c.server)
			r.loads.end(c.node, c.server, -1, true)
		}
	}
	if fallbacks == 0 {
		t.Error("the bound was never met, so the test shows little")
	}
}

// What it says of sessions that exist is where their calls run, and what it says would move does
// so when the node dies.
func TestExplainAgreesWithCalls(t *testing.T) {
	w := newWorld(t, 4, 2)
	type told struct{ session, at string }
	var all []told
	for range 24 {
		session, home := begin(t, w.rs[0], testServer)
		for i, r := range w.rs { // one has it cached, the other must ask the store
			x := explain(t, r, ExplainRequest{Session: session, Without: []store.NodeID{"node-1"}})
			if x.Rule != RuleBinding || x.Choice != home || !x.Existing || x.Server != testServer || len(x.Moves) != 1 {
				t.Fatalf("replica %d: %+v, the session sits on %s", i, x, home)
			}
			m := x.Moves[0]
			if m.Moves != (home == "node-1") || m.Share != 0.25 || m.To == "" || (m.To == "node-1") || (!m.Moves && m.To != home) {
				t.Fatalf("replica %d: without node-1, home %s: %+v", i, home, m)
			}
			if strings.Contains(m.Reason, "not used this server") {
				t.Fatalf("replica %d: the session is bound, and it is said that %s", i, m.Reason)
			}
		}
		all = append(all, told{session: session, at: string(home)})
	}
	w.nodes[0].kill()
	moved := 0
	for _, s := range all {
		if s.at != "node-1" {
			continue
		}
		moved++
		// The others' moves change the loads, so it is asked just before.
		to := explain(t, w.rs[0], ExplainRequest{Session: s.session, Without: []store.NodeID{"node-1"}}).Moves[0].To
		if got := invoke(t, w.rs[0], s.session).get("result", "node"); got != string(to) {
			t.Errorf("the session moved to %s, Explain said %s", got, to)
		}
	}
	if moved == 0 {
		t.Fatal("no session sat on node-1")
	}
}

func TestExplainRules(t *testing.T) {
	w := newWideWorld(t, 0)
	r := w.router(w.store, strategic(StrategyCookie))
	p := ask(t, r, "", "", "", initBody)
	ask(t, r, "", p.session(), "node-2", tool("a-inc"))
	for _, c := range []struct {
		name   string
		req    ExplainRequest
		spoil  func()
		rule   string
		choice store.NodeID
		reason string
	}{
		{"bound", ExplainRequest{Session: p.session(), Server: "a"}, nil, RuleBinding, "node-2", ""},
		{"bound, whatever the cookie names", ExplainRequest{Session: p.session(), Server: "a", Prefer: "node-1"}, nil, RuleBinding, "node-2", ""},
		{"not used yet", ExplainRequest{Session: p.session(), Server: "z"}, nil, "consistent-hash", "node-1", "not used this server"},
		{"cookie", ExplainRequest{Session: p.session(), Server: "a-b", Prefer: "node-2"}, nil, "cookie", "node-2", "not used this server"},
		{"cookie, other", ExplainRequest{Key: "k", Server: "a-b", Prefer: "node-1"}, nil, "cookie", "node-1", ""},
		{"cookie names a stranger", ExplainRequest{Key: "k", Server: "z", Prefer: "node-2"}, nil, "consistent-hash", "node-1", "names no node"},
		{"draining", ExplainRequest{Session: p.session(), Server: "a"}, func() {
			w.fleet.change("node-2", func(n *store.Node) { n.State = store.NodeDraining })
		}, RuleBinding, "node-2", "draining"},
		{"lapsed", ExplainRequest{Session: p.session(), Server: "a"}, func() {
			w.fleet.change("node-2", func(n *store.Node) { n.State = store.NodeUnhealthy })
		}, RuleBinding, "node-2", "as long as it answers"},
		{"registered anew", ExplainRequest{Session: p.session(), Server: "a"}, func() {
			w.fleet.change("node-2", func(n *store.Node) { n.Epoch++ })
		}, RuleBinding, "node-2", "registered anew"},
		{"server failed there", ExplainRequest{Session: p.session(), Server: "a"}, func() {
			w.fleet.change("node-2", func(n *store.Node) { n.Servers[0].Status = store.ServerFailed })
		}, "consistent-hash", "node-1", "the server is failed"},
		{"gone", ExplainRequest{Session: p.session(), Server: "a"}, func() {
			w.fleet.set(w.fleet.Snapshot().Nodes[0])
		}, "consistent-hash", "node-1", "gone"},
		{"suspect", ExplainRequest{Session: p.session(), Server: "a"}, func() {
			r.suspects.add(w.fleet.Snapshot().Node("node-2"), "no connection")
		}, "consistent-hash", "node-1", "no connection"},
		{"nowhere", ExplainRequest{Key: "k", Server: "z"}, func() {
			w.fleet.change("node-1", func(n *store.Node) { n.State = store.NodeDraining })
		}, RuleNone, "", "candidates say why"},
		{"all full", ExplainRequest{Key: "k", Server: "z"}, func() {
			w.fleet.change("node-1", func(n *store.Node) { n.Servers[2].Full = true })
		}, "consistent-hash", "node-1", "no replica has room"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.showWide()
			if c.spoil != nil {
				c.spoil()
				t.Cleanup(func() { r.suspects.clear("node-2") })
			}
			x := explain(t, r, c.req)
			if x.Rule != c.rule || x.Choice != c.choice || !strings.Contains(x.Reason, c.reason) || (c.reason == "") != (x.Reason == "") {
				t.Errorf("rule %q, choice %q, reason %q; want %q, %q, %q", x.Rule, x.Choice, x.Reason, c.rule, c.choice, c.reason)
			}
		})
	}
}

// Joining moves no session that exists, and takes its share of the new ones.
func TestExplainWith(t *testing.T) {
	w := newWorld(t, 3, 1)
	r := w.rs[0]
	session, home := begin(t, r, testServer)
	w.fleet.change("node-3", func(n *store.Node) { n.Weight = 2 })
	x := explain(t, r, ExplainRequest{Session: session, With: []store.NodeID{"node-9", "node-2"}, Without: []store.NodeID{"node-8"}})
	if len(x.Moves) != 3 {
		t.Fatalf("%d moves, want 3", len(x.Moves))
	}
	gone, joins, there := x.Moves[0], x.Moves[1], x.Moves[2]
	if joins.Change != "with" || joins.Moves || joins.To != home || joins.Share != 0.2 || !strings.Contains(joins.Reason, "does not move") {
		t.Errorf("with node-9: %+v", joins)
	}
	if there.Moves || there.To != home || there.Share != 0.25 || !strings.Contains(there.Reason, "already") {
		t.Errorf("with node-2, which is there: %+v", there)
	}
	if gone.Change != "without" || gone.Moves || gone.To != home || gone.Share != 0 || !strings.Contains(gone.Reason, "no node of that name") {
		t.Errorf("without node-8, which is not there: %+v", gone)
	}
	// It leaves no trace: a node of that name that does come starts from nothing.
	if _, ok := r.loads.of[replica{"node-9", testServer}]; ok {
		t.Error("a node that was only thought of is remembered")
	}
	// A node that is known counts with its own weight, as it would be in health.
	w.fleet.change("node-3", func(n *store.Node) { n.State, n.Servers[0].Status = store.NodeUnhealthy, store.ServerFailed })
	if m := explain(t, r, ExplainRequest{Session: session, With: []store.NodeID{"node-3"}}).Moves[0]; m.Share != 0.5 {
		t.Errorf("with node-3 in health: %+v, want half of the sessions", m)
	}
}

// Of sessions that do not exist, about its share would go to a node that joins.
func TestExplainWithNewSessions(t *testing.T) {
	p := newPlacers(t, 3, 1, func(i int) int { return 1 + i/2 })
	taken := 0
	for i := range 1000 {
		x := explain(t, p.rs[0], ExplainRequest{Key: fmt.Sprint(i), Server: testServer, With: []store.NodeID{"node-9"}})
		switch m := x.Moves[0]; {
		case m.Moves != (m.To != x.Choice):
			t.Fatalf("choice %s, %+v", x.Choice, m)
		case m.To == "node-9":
			taken++
		}
	}
	if taken < 150 || taken > 250 {
		t.Errorf("%d of 1000 new sessions would go to a fifth of the weight", taken)
	}
}

func TestExplainWithoutTheLastNode(t *testing.T) {
	w := newWorld(t, 1, 1)
	session, _ := begin(t, w.rs[0], testServer)
	m := explain(t, w.rs[0], ExplainRequest{Session: session, Without: []store.NodeID{"node-1"}}).Moves[0]
	if m.Moves || m.To != "" || m.Rule != RuleNone || m.Share != 1 {
		t.Errorf("%+v, want nowhere to go", m)
	}
}

func TestExplainWithoutAffinity(t *testing.T) {
	w := newWorld(t, 3, 0)
	r := w.loose(1)[0]
	w.fleet.change("node-2", func(n *store.Node) { n.Weight = 3 })
	session, _ := begin(t, r, testServer)
	r.flights.begin("node-1", testServer)
	x := explain(t, r, ExplainRequest{Session: session, Prefer: "node-1", Without: []store.NodeID{"node-2"}, With: []store.NodeID{"node-4"}})
	if x.Rule != RuleInFlight || x.Choice != "node-2" || x.Reason == "" {
		t.Errorf("%+v", x)
	}
	if first, last := x.Candidates[0], x.Candidates[2]; first.Node != "node-2" || first.Score != 3 || last.Node != "node-1" || last.Load != 1 || last.Score != 0.5 {
		t.Errorf("candidates %+v", x.Candidates)
	}
	if m := x.Moves[0]; m.Moves || m.Share != 0.6 || m.To != "node-3" {
		t.Errorf("without node-2: %+v", m)
	}
	if m := x.Moves[1]; m.Moves || math.Abs(m.Share-1.0/6) > 1e-9 {
		t.Errorf("with node-4: %+v", m)
	}
}

func TestExplainRefusals(t *testing.T) {
	w := newWideWorld(t, 2)
	r := w.rs[0]
	wide, _ := begin(t, r, "")
	single, _ := begin(t, r, "a")
	ended, _ := begin(t, r, "a")
	if p := do(r, Request{Scope: "a", SessionID: ended, HTTPMethod: "DELETE"}); p.err != nil {
		t.Fatal(p.err)
	}
	for _, c := range []struct {
		name string
		req  ExplainRequest
		want error
	}{
		{"nothing", ExplainRequest{Server: "a"}, ErrBadRequest},
		{"both", ExplainRequest{Session: wide, Key: "k", Server: "a"}, ErrBadRequest},
		{"no server", ExplainRequest{Session: wide}, ErrBadRequest},
		{"key without server", ExplainRequest{Key: "k"}, ErrBadRequest},
		{"another server", ExplainRequest{Session: single, Server: "z"}, ErrBadRequest},
		{"bad name", ExplainRequest{Key: "k", Server: "a", With: []store.NodeID{"no/name"}}, ErrBadRequest},
		{"too many", ExplainRequest{Key: "k", Server: "a", Without: make([]store.NodeID, maxWhatIf+1)}, ErrBadRequest},
		{"unknown server", ExplainRequest{Key: "k", Server: "nowhere"}, ErrUnknownServer},
		{"no session's id", ExplainRequest{Session: "k", Server: "a"}, ErrUnknownSession},
		{"a session that is none", ExplainRequest{Session: strings.Repeat("0", 32), Server: "a"}, ErrUnknownSession},
		{"ended", ExplainRequest{Session: ended, Server: "a"}, ErrUnknownSession},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i, r := range w.rs {
				_, err := r.Explain(t.Context(), c.req)
				if e, ok := errors.AsType[*Error](err); !ok || !errors.Is(err, c.want) || len(e.Message) < 15 {
					t.Errorf("replica %d: %v, want %v and a sentence", i, err, c.want)
				}
			}
		})
	}
	w.fleet.snap.Store(nil)
	if _, err := r.Explain(t.Context(), ExplainRequest{Key: "k", Server: "a"}); !errors.Is(err, ErrNoReplica) {
		t.Errorf("without a snapshot: %v", err)
	}
}

// A session of a group is explained for the group's servers.
func TestExplainInAGroup(t *testing.T) {
	w := newWideWorld(t, 0)
	r := w.router(w.store, func(c *Config) { c.Groups = oneGroup{} })
	tok, err := r.cfg.Keys.Mint(store.ScopeGroup+"g", "", "", 0, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(tok, &Request{Scope: store.ScopeGroup + "g"})
	r.cache.Add(tok.random, s)
	if x := explain(t, r, ExplainRequest{Session: tok.String(), Server: "a"}); !x.Existing {
		t.Errorf("%+v", x)
	}
	if _, err := r.Explain(t.Context(), ExplainRequest{Session: tok.String(), Server: "z"}); !errors.Is(err, ErrBadRequest) {
		t.Errorf("a server that the group does not have: %v", err)
	}
}

type oneGroup struct{}

func (oneGroup) Group(name string) (store.Group, bool) {
	return store.Group{Name: name, Servers: []store.GroupServer{{Name: "a"}}}, name == "g"
}
func (oneGroup) Loaded() bool { return true }

// It asks no node, and the store once for a session that is not cached here.
func TestExplainCost(t *testing.T) {
	w := newWorld(t, 3, 2)
	session, home := begin(t, w.rs[0], testServer)
	id := mustToken(t, w.rs[0], session).SessionID()
	posts := func() (n int) {
		for _, node := range w.nodes {
			node.mu.Lock()
			n += node.posts
			node.mu.Unlock()
		}
		return n
	}
	asked, before := posts(), w.store.total()
	for range 10 {
		for _, name := range []string{session, string(id)} {
			if x := explain(t, w.rs[0], ExplainRequest{Session: name, Without: []store.NodeID{home}, With: []store.NodeID{"node-9"}}); x.Choice != home {
				t.Errorf("%+v", x)
			}
		}
	}
	if got := w.store.total() - before; got != 0 {
		t.Errorf("a cached session cost %d commands", got)
	}
	if x := explain(t, w.rs[1], ExplainRequest{Session: string(id)}); x.Choice != home {
		t.Errorf("%+v", x)
	}
	if got := w.store.total() - before; got != 1 {
		t.Errorf("a session that is not cached cost %d commands, want 1", got)
	}
	// With the store away the whole id is enough for one server, its random part is not.
	w.store.setDown(true)
	if x := explain(t, w.rs[1], ExplainRequest{Session: session, Server: testServer}); x.Choice != home || x.Rule != RuleBinding {
		t.Errorf("%+v", x)
	}
	if _, err := w.rs[1].Explain(t.Context(), ExplainRequest{Session: string(id)}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("by the random part, with the store away: %v", err)
	}
	if posts() != asked {
		t.Error("a node was asked")
	}
}

// The shape that REST shows.
func TestExplainJSON(t *testing.T) {
	p := newPlacers(t, 1, 1, even)
	x := explain(t, p.rs[0], ExplainRequest{Key: "k", Server: testServer, Without: []store.NodeID{"node-1"}})
	x.Candidates[0].Score = 1.5
	got, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"server":"memory","existing":false,"rule":"consistent-hash","choice":"node-1",` +
		`"candidates":[{"nodeId":"node-1","score":1.5,"load":0,"limit":2,"weight":1,"status":"active","reason":""}],` +
		`"moves":[{"nodeId":"node-1","change":"without","moves":false,"to":"","rule":"none","share":1,"reason":"no node can take the session; the candidates say why"}]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Scores can always be shown: the least and the greatest hash give numbers.
func TestScoresAreNumbers(t *testing.T) {
	for _, h := range []uint64{0, 1, math.MaxUint64, math.MaxUint64 - 1} {
		if u := unit(h); u <= 0 || u >= 1 {
			t.Errorf("unit(%d) = %v, want a number between 0 and 1", h, u)
		}
	}
}

// Candidates come in the order of preference, and names decide between equals.
func TestCandidatesAreInOrder(t *testing.T) {
	list := []Candidate{{Node: "b", Score: 1}, {Node: "c", Score: 2}, {Node: "a", Score: 1}}
	sortCandidates(list)
	for i, want := range []store.NodeID{"c", "a", "b"} {
		if list[i].Node != want {
			t.Errorf("number %d is %s, want %s", i, list[i].Node, want)
		}
	}
}
