package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// manyFronts is one fleet that is reached through coordinators of different settings: three
// nodes with the fixture, of weights 1, 1 and 2, and a fourth that has another server only.
type manyFronts struct {
	*harness.Cluster
	traces *collector
}

// weights are the nodes' weights.
var weights = map[string]int{"node-1": 1, "node-2": 1, "node-3": 2}

// sticky are the settings of a strategy.
func sticky(settings harness.Object) harness.Object {
	return harness.Object{"systemConfig": harness.Object{"cluster": harness.Object{"stickySession": settings}}}
}

// Strategies, keys, and what the fleet tells of itself, on one fleet.
func TestOneFleetThroughManyFronts(t *testing.T) {
	long(t)
	f := &manyFronts{traces: startCollector(t)}
	var nodes []harness.NodeOptions
	for id, weight := range weights {
		n := fixtureNode(t, id)
		server := n.Servers["fixture"]
		server.Headers = map[string]string{"Authorization": "Bearer " + upstreamToken}
		n.Servers["fixture"] = server
		n.Settings = harness.Object{"systemConfig": harness.Object{"cluster": harness.Object{"node": harness.Object{"weight": weight}}}}
		nodes = append(nodes, n)
	}
	local := fixtureNode(t, "node-4").Servers["local"]
	nodes = append(nodes, harness.NodeOptions{ID: "node-4", Servers: harness.Servers{"other": local}})
	f.Cluster = harness.StartCluster(t, harness.Options{
		Secret: "a-secret-of-the-tests", Nodes: nodes, Env: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + f.traces.url},
		Args: []string{"--log-level", "debug", "--log-format", "json"}, // all there is to be searched for secrets
	})

	t.Run("weights", f.weightsHold)
	t.Run("explain", f.explainAgrees)
	t.Run("cookie", func(t *testing.T) {
		front, hubs := f.StartFront("cookie", 3, sticky(harness.Object{"strategy": "cookie"}))
		f.clientsChoose(t, chosen{front: front, hubs: hubs, send: "Cookie", sent: func(n string) string { return "MCPHUB_NODE=" + n }, told: cookieOf})
		f.cookieIsCareful(t, front, hubs[0])
	})
	t.Run("header", func(t *testing.T) {
		front, hubs := f.StartFront("header", 2, sticky(harness.Object{"strategy": "header", "headerName": "X-My-Node"}))
		f.clientsChoose(t, chosen{
			front: front, hubs: hubs, send: "X-My-Node", sent: func(n string) string { return n },
			told: func(h http.Header, _ string) string { return h.Get("X-My-Node") },
		})
	})
	spread, _ := f.StartFront("spread", 2, sticky(harness.Object{"enabled": false}))
	t.Run("disabled", func(t *testing.T) { f.callsSpread(t, spread) })
	t.Run("keys", f.keys)
	t.Run("traces", f.tracesReachServers)
	t.Run("metrics", f.metricsAreThere)
	t.Run("openapi", f.openAPI)
	t.Run("events", f.eventsGoOn)
	t.Run("log", f.logIsJSON)
	t.Run("explain a move", f.explainTellsMoves) // kills node-1
	t.Run("cookie of a dead node", func(t *testing.T) {
		front, hubs := f.StartFront("cookie-late", 1, sticky(harness.Object{"strategy": "cookie"}))
		c := chosen{front: front, hubs: hubs, send: "Cookie", sent: func(n string) string { return "MCPHUB_NODE=" + n }, told: cookieOf}
		f.corrected(t, c, "node-1")
	})
	t.Run("disabled, and a node is killed", func(t *testing.T) { f.spreadSurvives(t, spread) }) // kills node-2
}

// weightsHold wants new sessions to be spread by weight, none above 1.25 of its share.
func (f *manyFronts) weightsHold(t *testing.T) {
	count := map[string]int{}
	const sessions = 40
	for range sessions {
		node, err := whoami(t.Context(), rawClient{harness.MustOpen(t, f.Front.URL+"/mcp/fixture")})
		if err != nil {
			t.Fatal(err)
		}
		count[node]++
	}
	for node, weight := range weights {
		if most := int(math.Ceil(1.25 * sessions * float64(weight) / 4)); count[node] > most || count[node] == 0 {
			t.Errorf("%s of weight %d has %d of %d sessions, want 1 to %d: %v", node, weight, count[node], sessions, most, count)
		}
	}
	t.Logf("sessions by node: %v, weights %v", count, weights)
}

// explanation is what GET /api/cluster/explain answers.
type explanation struct {
	Rule, Choice, Reason string
	Existing             bool
	Candidates           []struct {
		NodeID, Status, Reason string
		Weight, Load           int
	}
	Moves []whatIf
}

// whatIf is what explain tells of one node more or less.
type whatIf struct {
	NodeID, Change, To, Rule, Reason string
	Moves                            bool
	Share                            float64
}

func explain(t *testing.T, co *harness.Hub, query url.Values) explanation {
	t.Helper()
	var x explanation
	if err := co.API("/explain?"+query.Encode(), &x); err != nil {
		t.Fatalf("%s: explain %v: %v", co.Name, query, err)
	}
	return x
}

// explainAgrees wants every coordinator to tell of a session where it really is, by its whole
// id and by the one that is shown.
func (f *manyFronts) explainAgrees(t *testing.T) {
	for range 6 {
		s := harness.MustOpen(t, f.Front.URL+"/mcp/fixture")
		home, err := whoami(t.Context(), rawClient{s})
		if err != nil {
			t.Fatal(err)
		}
		var rec harness.SessionRecord
		if err := f.Coordinators[0].API("/sessions/"+s.ID, &rec); err != nil {
			t.Fatal(err)
		}
		for _, co := range f.Coordinators {
			for _, id := range []string{s.ID, rec.SessionID} {
				if x := explain(t, co, url.Values{"session": {id}}); x.Rule != "binding" || x.Choice != home || !x.Existing || len(x.Candidates) != 3 {
					t.Errorf("%s explains %+v, want the binding to %s and three candidates", co.Name, x, home)
				}
			}
		}
	}
	// Of a session that does not exist all say the same, once they have heard of the same loads,
	// and what would move it: by the hash alone, only that its own node leaves.
	for i := range 8 {
		q := url.Values{"key": {fmt.Sprint("somebody ", i)}, "server": {"fixture"}, "without": {"node-1", "node-2", "node-3"}}
		var first explanation
		harness.Eventually(t, 10*time.Second, "all coordinators explain alike", func() error {
			first = explain(t, f.Coordinators[0], q)
			for _, co := range f.Coordinators[1:] {
				if x := explain(t, co, q); x.Choice != first.Choice || x.Rule != first.Rule {
					return fmt.Errorf("%s says %+v, %s %+v", f.Coordinators[0].Name, first, co.Name, x)
				}
			}
			return nil
		})
		if len(first.Moves) != 3 {
			t.Fatalf("explain of three nodes less = %+v", first)
		}
		for _, m := range first.Moves {
			own := m.NodeID == first.Choice
			if own && (!m.Moves || m.To == first.Choice || m.To == "") || !own && m.Moves && m.Rule == "consistent-hash" && first.Rule == "consistent-hash" {
				t.Errorf("explain = %+v, want what sits on %s to move if that leaves, and else to stay", first, first.Choice)
			}
		}
	}
	out, code := runHub(t, "explain", "--key", "somebody", "--server", "fixture", "--without", "node-1", "--url", f.Front.URL)
	if code != 0 || !strings.Contains(out, "node-3") {
		t.Errorf("mcphub explain: code %d:\n%s", code, out)
	}
}

// explainTellsMoves kills node-1, asks a coordinator where its sessions go now, and sends them there.
func (f *manyFronts) explainTellsMoves(t *testing.T) {
	co := f.Coordinators[1]
	var orphans []*harness.Session
	for range 40 {
		s := harness.MustOpen(t, co.URL+"/mcp/fixture")
		if home, err := whoami(t.Context(), rawClient{s}); err != nil {
			t.Fatal(err)
		} else if home == "node-1" {
			orphans = append(orphans, s)
		}
	}
	f.Nodes["node-1"].Kill()
	f.WaitNodeStatus("node-1", "unhealthy", harness.ReadyLimit)
	for i, s := range orphans {
		x := explain(t, co, url.Values{"session": {s.ID}})
		got, err := whoami(t.Context(), rawClient{s})
		switch {
		case err != nil:
			t.Errorf("a session of node-1: %v", err)
		case x.Rule == "binding" && i == 0:
			// The node has only missed its beats. This call is the one to find out.
			if x.Choice != "node-1" || x.Reason == "" {
				t.Errorf("explain says %+v of a session on a node that does not beat, want why it may move", x)
			}
		case got != x.Choice && x.Rule != "bounded-load fallback": // which a beat in between may change
			t.Errorf("the session went to %q; explain said %+v", got, x)
		}
	}
	t.Logf("%d sessions of node-1 went where explain said", len(orphans))
	if len(orphans) == 0 {
		t.Error("no session was on node-1, so nothing was tried")
	}
}

// chosen is a front where clients may name a node, and how.
type chosen struct {
	front *harness.RoundRobin
	hubs  []*harness.Hub
	send  string                                 // header of the request
	sent  func(node string) string               // its value
	told  func(h http.Header, was string) string // the node that an answer names, if the client had said was
}

// cookieOf is the node that the client's cookie names after an answer.
func cookieOf(h http.Header, was string) string {
	resp := http.Response{Header: h}
	for _, c := range resp.Cookies() {
		if c.Name == "MCPHUB_NODE" {
			return c.Value
		}
	}
	return was
}

// open begins a session as a client that names a node ("": none), and returns the node that
// the answer names.
func (c chosen) open(t *testing.T, path, node string) (*harness.Session, string) {
	t.Helper()
	s := harness.NewSession(c.front.URL + path)
	if node != "" {
		s.Header.Set(c.send, c.sent(node))
	}
	r, err := s.Post(t.Context(), []byte(initialize))
	if err != nil || r.Status != http.StatusOK {
		t.Fatalf("initialize with %s %q = %+v, %v", c.send, node, r, err)
	}
	s.ID, s.Version = r.Header.Get("Mcp-Session-Id"), "2025-11-25"
	if r, err := s.Post(t.Context(), []byte(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)); err != nil || r.Status != http.StatusAccepted {
		t.Fatalf("initialized = %+v, %v", r, err)
	}
	return s, c.told(r.Header, node)
}

// where calls a tool that tells the node, and returns it and the node that the answer names.
func (c chosen) where(t *testing.T, s *harness.Session, tool, said string) (node, told string) {
	t.Helper()
	r, err := s.Post(t.Context(), []byte(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"`+tool+`","arguments":{}}}`))
	if err != nil || r.Status != http.StatusOK {
		t.Fatalf("%s = %+v, %v", tool, r, err)
	}
	var answer struct{ Result json.RawMessage }
	if err := json.Unmarshal(r.Last(), &answer); err != nil {
		t.Fatal(err)
	}
	text, err := harness.ToolText(answer.Result)
	if err != nil {
		t.Fatal(err)
	}
	return nodeOf(text), c.told(r.Header, said)
}

// clientsChoose wants the node that a client names to be taken, answers to name the node that
// gave them, and values that name nothing fit to be corrected.
func (f *manyFronts) clientsChoose(t *testing.T, c chosen) {
	s, told := c.open(t, "/mcp/fixture", "")
	if weights[told] == 0 {
		t.Fatalf("the answer to initialize names %q", told)
	}
	for range 6 { // over all coordinators, whether or not the client says it again
		if node, again := c.where(t, s, toolWhoami, ""); node != told || again != told {
			t.Errorf("a call was answered by %s and names %s, the first named %s", node, again, told)
		}
	}
	for node := range weights {
		for range 3 {
			s, told := c.open(t, "/mcp/fixture", node)
			if got, named := c.where(t, s, toolWhoami, node); got != node || told != node || named != node {
				t.Errorf("a client that names %s got %s, told %s and %s", node, got, told, named)
			}
		}
		wide, _ := c.open(t, "/mcp", node)
		for _, tool := range []string{"fixture-whoami", "local-whoami"} {
			if got, _ := c.where(t, wide, tool, node); got != node {
				t.Errorf("over all servers: %s of a client that names %s was answered by %s", tool, node, got)
			}
		}
		x := explain(t, c.hubs[0], url.Values{"key": {"anybody"}, "server": {"fixture"}, "prefer": {node}})
		if x.Choice != node || (x.Rule != "cookie" && x.Rule != "header") {
			t.Errorf("explain with %s preferred = %+v, want that by the strategy", node, x)
		}
	}
	for _, bad := range []string{"node-4", "node-99", "127.0.0.1:1", "..%2f..", strings.Repeat("n", 300), "NODE-1"} {
		f.corrected(t, c, bad)
	}
	// Where the session sits stands against what the client says later.
	s, home := c.open(t, "/mcp/fixture", "node-1")
	s.Header.Set(c.send, c.sent("node-2"))
	if got, told := c.where(t, s, toolWhoami, "node-2"); got != home || told != home {
		t.Errorf("a session on %s that names node-2 was answered by %s, told %s", home, got, told)
	}
}

// corrected wants a value that names no node fit for the session to give way, and the answer
// to say which node it is.
func (f *manyFronts) corrected(t *testing.T, c chosen, bad string) {
	t.Helper()
	s, told := c.open(t, "/mcp/fixture", bad)
	if got, again := c.where(t, s, toolWhoami, bad); told == bad || got != told || again != told || weights[got] == 0 {
		t.Errorf("a client that names %.40q got %s, told %s and %s", bad, got, told, again)
	}
}

// cookieIsCareful wants the attributes that keep a cookie from scripts and other sites, no
// cookie where none is needed, and Secure behind TLS.
func (f *manyFronts) cookieIsCareful(t *testing.T, front *harness.RoundRobin, co *harness.Hub) {
	r, err := harness.NewSession(front.URL+"/mcp/fixture").Post(t.Context(), []byte(initialize))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"MCPHUB_NODE=node-", "HttpOnly", "SameSite=Lax", "Path=/"} {
		if line := r.Header.Get("Set-Cookie"); !strings.Contains(line, want) || strings.Contains(line, "Secure") {
			t.Errorf("Set-Cookie: %s, want %s in it, and not Secure without TLS", line, want)
		}
	}
	s := harness.NewSession(co.URL + "/mcp/fixture")
	s.Header.Set("X-Forwarded-Proto", "https")
	if r, err = s.Post(t.Context(), []byte(initialize)); err != nil || !strings.Contains(r.Header.Get("Set-Cookie"), "Secure") {
		t.Errorf("Set-Cookie behind TLS: %v, %v, want Secure in it", r.Header["Set-Cookie"], err)
	}
	s = harness.NewSession(front.URL + "/mcp/fixture")
	s.Header.Set("Cookie", "theirs=1; MCPHUB_NODE=node-2; more=2")
	if r, err = s.Post(t.Context(), []byte(initialize)); err != nil || len(r.Header["Set-Cookie"]) != 0 {
		t.Errorf("Set-Cookie for a client that has it: %v, %v, want none", r.Header["Set-Cookie"], err)
	}
}

// callsSpread wants the calls of one session to run on every node, by weight, under one id.
func (f *manyFronts) callsSpread(t *testing.T, front *harness.RoundRobin) {
	s := harness.MustOpen(t, front.URL+"/mcp/fixture")
	const calls = 80
	nodes := make(chan string, calls)
	var g errgroup.Group
	g.SetLimit(4)
	for i := range calls {
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			one := harness.NewSession(s.URL)
			one.ID, one.Version = s.ID, s.Version
			r, err := one.Post(ctx, fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"whoami","arguments":{}}}`, i))
			if err != nil {
				return err
			}
			var answer struct{ Result json.RawMessage }
			if err := json.Unmarshal(r.Last(), &answer); err != nil {
				return err
			}
			text, err := harness.ToolText(answer.Result)
			nodes <- nodeOf(text)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	close(nodes)
	count := map[string]int{}
	for node := range nodes {
		count[node]++
	}
	for node := range weights {
		if count[node] < calls/10 {
			t.Errorf("%s had %d of %d calls: %v", node, count[node], calls, count)
		}
	}
	t.Logf("calls by node: %v, weights %v", count, weights)
	wide := harness.MustOpen(t, front.URL+"/mcp")
	var seen []string
	for range 20 {
		got, err := wide.Call(t.Context(), "fixture-whoami", nil)
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, nodeOf(got))
	}
	if seen = unique(seen); len(seen) < 2 {
		t.Errorf("twenty calls of a session over all servers ran on %v", seen)
	}
	if status, err := s.Delete(t.Context()); err != nil || status/100 != 2 {
		t.Errorf("DELETE = %d, %v", status, err)
	}
	checkEnded(t, s, 6)
	if slices.Contains(seen, "") {
		t.Error("a call did not tell its node")
	}
}

// spreadSurvives kills node-2 under calls that go to all nodes: what was running there may be
// unknown, everything else is answered, and no session ends.
func (f *manyFronts) spreadSurvives(t *testing.T, front *harness.RoundRobin) {
	var sessions []*harness.Session
	for range 4 {
		sessions = append(sessions, harness.MustOpen(t, front.URL+"/mcp/fixture"))
	}
	l := startLoad(t, sessions)
	l.more(t, 100)
	f.Nodes["node-2"].Kill()
	l.more(t, 200)
	calls, errs := l.end()
	for _, err := range errs {
		var rpc *harness.RPCError
		if !errors.As(err, &rpc) || rpc.Code != 1001 || len(errs) > len(sessions) {
			t.Errorf("%d of %d calls failed: %v, want at most one each whose outcome is unknown", len(errs), calls, err)
			break
		}
	}
	t.Logf("%d calls, %d of unknown outcome", calls, len(errs))
	for _, s := range sessions {
		if node, err := whoami(t.Context(), rawClient{s}); err != nil || node == "node-2" {
			t.Errorf("a session afterwards: %q, %v", node, err)
		}
	}
}
