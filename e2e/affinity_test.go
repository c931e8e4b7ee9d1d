package e2e

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// fleet is a cluster whose every node runs the fixture as one process over streamable HTTP.
// The fixture tells which node's it is.
func fleet(t *testing.T, nodes int, o harness.Options) *harness.Cluster {
	t.Helper()
	if o.Secret == "" {
		o.Secret = "a-secret-of-the-tests"
	}
	for i := range nodes {
		o.Nodes = append(o.Nodes, fixtureNode(t, fmt.Sprintf("node-%d", i+1)))
	}
	return harness.StartCluster(t, o)
}

// crowd is many sessions of every kind of client on one server of the hub.
type crowd struct {
	t       *testing.T
	clients []client
	ids     []string // session ids as first given
	homes   []string // node of each session, as last seen by move or settle
}

// openCrowd opens n sessions, most of them by the two Go SDKs.
func openCrowd(t *testing.T, url string, n int) *crowd {
	t.Helper()
	cr := &crowd{t: t}
	for i := range n {
		kind := [...]string{"go-sdk", "mcp-go", "raw"}[i%3]
		if i%50 == 49 {
			kind = "typescript"
		}
		c := kinds[kind](t, url)
		cr.clients, cr.ids = append(cr.clients, c), append(cr.ids, c.Session())
	}
	cr.homes = cr.where()
	return cr
}

// where calls every session once, eight at a time, and returns the nodes that answered.
func (cr *crowd) where() []string {
	cr.t.Helper()
	out := make([]string, len(cr.clients))
	var g errgroup.Group
	g.SetLimit(8)
	for i, c := range cr.clients {
		g.Go(func() error {
			node, err := whoami(cr.t.Context(), c)
			if err == nil && c.Session() != cr.ids[i] {
				err = fmt.Errorf("the id has changed to %s", c.Session())
			}
			if err != nil {
				return fmt.Errorf("session %d (%T, home %s): %w", i, c, cr.home(i), err)
			}
			out[i] = node
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		cr.t.Fatal(err)
	}
	return out
}

func (cr *crowd) home(i int) string {
	if cr.homes == nil {
		return "unknown"
	}
	return cr.homes[i]
}

// stays calls every session times times and wants the answers of its home alone.
func (cr *crowd) stays(what string, times int) {
	cr.t.Helper()
	for range times {
		for i, node := range cr.where() {
			if node != cr.homes[i] {
				cr.t.Errorf("%s: session %d of %s was answered by %s", what, i, cr.homes[i], node)
			}
		}
	}
}

// leaves calls every session and wants those of gone, and no other, to have moved away.
func (cr *crowd) leaves(what, gone string) {
	cr.t.Helper()
	moved := 0
	now := cr.where()
	for i, node := range now {
		switch was := cr.homes[i]; {
		case node == gone:
			cr.t.Errorf("%s: session %d is still answered by %s", what, i, node)
		case was == gone:
			moved++
		case node != was:
			cr.t.Errorf("%s: session %d of %s was moved to %s for nothing", what, i, was, node)
		}
	}
	if moved == 0 {
		cr.t.Errorf("%s: no session was on %s, so nothing was tried", what, gone)
	}
	cr.homes = now
}

// balanced wants no node to have more than 1.25 of its fair share.
func (cr *crowd) balanced(nodes int) {
	cr.t.Helper()
	count := map[string]int{}
	for _, node := range cr.homes {
		count[node]++
	}
	limit := int(math.Ceil(1.25 * float64(len(cr.homes)) / float64(nodes)))
	for node, n := range count {
		if n > limit {
			cr.t.Errorf("%s has %d of %d sessions, want at most %d: %v", node, n, len(cr.homes), limit, count)
		}
	}
	if len(count) != nodes {
		cr.t.Errorf("sessions are on %v, want %d nodes", count, nodes)
	}
	cr.t.Logf("sessions on each node: %v", count)
}

// A hundred sessions, twenty calls each, over three coordinators that take turns: no call ever
// reaches a node other than its session's; the load is even; a node that joins moves nobody,
// and one that leaves moves only its own.
func TestHundredSessionsStayWhereTheyAre(t *testing.T) {
	long(t)
	c := fleet(t, 3, harness.Options{})
	cr := openCrowd(t, c.Front.URL+"/mcp/fixture", 100)
	cr.balanced(3)
	cr.stays("steady", 20)
	checkSpread(t, c.Front, 3)
	checkHomesByREST(t, c, cr)

	joining := fixtureNode(t, "node-4")
	c.StartNode(joining)
	c.WaitActive(joining)
	cr.stays("node-4 joined", 3)
	newcomers := openCrowd(t, c.Front.URL+"/mcp/fixture", 30)
	if !contains(newcomers.homes, "node-4") {
		t.Errorf("30 new sessions, and none on the node that joined: %v", newcomers.homes)
	}

	if err := c.Nodes["node-2"].Stop(); err != nil {
		t.Error(err)
	}
	cr.leaves("node-2 left", "node-2")
	cr.stays("after node-2 left", 3)
}

func contains(list []string, want string) bool {
	for _, s := range list {
		if s == want {
			return true
		}
	}
	return false
}

// checkHomesByREST wants the sessions' records to name the nodes that answered.
func checkHomesByREST(t *testing.T, c *harness.Cluster, cr *crowd) {
	t.Helper()
	for i, id := range cr.ids {
		var rec harness.SessionRecord
		co := c.Coordinators[i%len(c.Coordinators)]
		if err := co.API("/sessions/"+id, &rec); err != nil {
			t.Errorf("session %d: %v", i, err)
		} else if rec.NodeID != cr.homes[i] || rec.ServerID != "fixture" {
			t.Errorf("session %d is on %s of %s by REST, want %s of fixture", i, rec.ServerID, rec.NodeID, cr.homes[i])
		}
	}
}

// Sessions opened at once through all coordinators are as even as those opened in turn.
func TestSessionsOpenedAtOnceAreBalanced(t *testing.T) {
	long(t)
	c := fleet(t, 3, harness.Options{})
	cr := &crowd{t: t, clients: make([]client, 90), ids: make([]string, 90)}
	var g errgroup.Group
	for i := range cr.clients {
		g.Go(func() error {
			s, err := harness.Open(t.Context(), c.Front.URL+"/mcp/fixture")
			cr.clients[i], cr.ids[i] = rawClient{s}, s.ID
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	cr.homes = cr.where()
	cr.balanced(3)
}

// A session over the whole hub may sit on several nodes, and stays on each.
func TestHubScopeIsAffineToo(t *testing.T) {
	long(t)
	c := fleet(t, 3, harness.Options{})
	var homes []string
	for range 12 {
		s := harness.MustOpen(t, c.Front.URL+"/mcp")
		var home string
		for i := range 9 {
			got, err := s.Call(t.Context(), "fixture-"+toolWhoami, nil)
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				home = nodeOf(got)
			} else if nodeOf(got) != home {
				t.Errorf("call %d was answered by %s, the first by %s", i, nodeOf(got), home)
			}
		}
		homes = append(homes, home)
	}
	if len(unique(homes)) < 2 {
		t.Errorf("twelve sessions are all on %v", unique(homes))
	}
}

func unique(list []string) []string {
	var out []string
	for _, s := range list {
		if !contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// A node killed between calls: every session goes on under its id.
func TestNodeKilledBetweenCalls(t *testing.T) {
	long(t)
	c := fleet(t, 3, harness.Options{})
	cr := openCrowd(t, c.Front.URL+"/mcp/fixture", 60)
	children := openCrowd(t, c.Front.URL+"/mcp/local", 30)
	wide := harness.MustOpen(t, c.Front.URL+"/mcp")
	first, err := wide.Call(t.Context(), "fixture-"+toolWhoami, nil)
	if err != nil {
		t.Fatal(err)
	}
	victim := nodeOf(first)
	c.Nodes[victim].Kill()
	began := time.Now()
	cr.leaves(victim+" was killed", victim)
	t.Logf("all %d sessions answered within %v of the kill", len(cr.ids), time.Since(began).Round(time.Millisecond))
	children.leaves(victim+" was killed, with its children", victim)
	if got, err := wide.Call(t.Context(), "fixture-"+toolWhoami, nil); err != nil || nodeOf(got) == victim {
		t.Errorf("the session over the whole hub: %q, %v, want another node than %s", got, err, victim)
	}
	cr.stays("after the kill", 3)
	c.WaitNodeStatus(victim, "unhealthy", harness.ReadyLimit)
	cr.stays("once the lease has lapsed", 2)
	children.stays("once the lease has lapsed", 2)
}

// A coordinator killed between calls: nothing is noticed. One that starts takes part at once.
func TestCoordinatorKilledBetweenCalls(t *testing.T) {
	long(t)
	c := fleet(t, 3, harness.Options{})
	cr := openCrowd(t, c.Front.URL+"/mcp/fixture", 30)
	c.Coordinators[1].Kill()
	cr.stays("one coordinator was killed", 5)
	c.Coordinators[2].Kill()
	cr.stays("two coordinators were killed", 5)
	before := c.Front.Counts()
	cr.stays("one coordinator alone", 1)
	if n := c.Front.Counts()[c.Coordinators[0].URL] - before[c.Coordinators[0].URL]; n < len(cr.ids) {
		t.Errorf("the last coordinator had %d of %d requests", n, len(cr.ids))
	}
	// One that was not there when the sessions were opened knows them all the same.
	fresh := c.StartCoordinator("coordinator-4")
	fresh.WaitHealthy(t)
	c.WaitActive(harness.NodeOptions{ID: "node-1"})
	for i, id := range cr.ids[:6] {
		s := harness.NewSession(fresh.URL + "/mcp/fixture")
		s.ID, s.Version = id, "2025-11-25"
		if got, err := s.Call(t.Context(), toolWhoami, nil); err != nil || nodeOf(got) != cr.homes[i] {
			t.Errorf("session %d through the new coordinator: %q, %v, want %s", i, got, err, cr.homes[i])
		}
	}
}

// outage is how long Redis is away.
const outage = 10 * time.Second

// Redis away for ten seconds, in three ways: existing sessions see no error, and what was
// forgotten is known again afterwards.
func TestRedisAwayForTenSeconds(t *testing.T) {
	long(t)
	t.Run("frozen", func(t *testing.T) {
		redisAway(t, func(r *harness.Redis) { r.Freeze() }, func(r *harness.Redis) { r.Thaw() })
	})
	t.Run("killed", func(t *testing.T) {
		redisAway(t, func(r *harness.Redis) { r.Kill() }, func(r *harness.Redis) { r.Restart() })
	})
	t.Run("terminated", func(t *testing.T) {
		redisAway(t, func(r *harness.Redis) { r.Signal(syscall.SIGTERM); <-r.Done() }, func(r *harness.Redis) { r.Restart() })
	})
}

func redisAway(t *testing.T, away, back func(*harness.Redis)) {
	t.Helper()
	c := fleet(t, 3, harness.Options{})
	cr := openCrowd(t, c.Front.URL+"/mcp/fixture", 30)
	wide := harness.MustOpen(t, c.Front.URL+"/mcp")
	if _, err := wide.Call(t.Context(), "fixture-"+toolWhoami, nil); err != nil {
		t.Fatal(err)
	}
	away(c.Redis)
	calls, slowest := 0, time.Duration(0)
	for end := time.Now().Add(outage); time.Now().Before(end); calls++ {
		began := time.Now()
		cr.stays("Redis is away", 1)
		if _, err := wide.Call(t.Context(), "fixture-"+toolWhoami, nil); err != nil {
			t.Fatalf("the session over the whole hub, Redis away: %v", err)
		}
		slowest = max(slowest, time.Since(began))
	}
	t.Logf("%d calls without an error while Redis was away; the slowest round of %d took %v", calls*(len(cr.ids)+1), len(cr.ids)+1, slowest)
	// A new session is placed on what was known last.
	if s, err := harness.Open(t.Context(), c.Front.URL+"/mcp/fixture"); err != nil {
		t.Errorf("a new session, Redis away: %v", err)
	} else if _, err := s.Call(t.Context(), toolWhoami, nil); err != nil {
		t.Errorf("a call in a new session, Redis away: %v", err)
	}
	for _, co := range c.Coordinators {
		if status, body, err := harness.Get(t.Context(), co.URL+"/ready"); err != nil || status != 200 || !strings.Contains(string(body), "degraded") {
			t.Errorf("%s: /ready = %d %s %v, want 200 that says degraded", co.Name, status, body, err)
		}
	}
	back(c.Redis)
	cr.stays("Redis is back", 3)
	for _, id := range []string{"node-1", "node-2", "node-3"} {
		c.WaitActive(harness.NodeOptions{ID: id, Servers: harness.Servers{"fixture": {}}})
	}
	harness.Eventually(t, 15*time.Second, "every coordinator is ready and no longer degraded", func() error {
		for _, co := range c.Coordinators {
			status, body, err := harness.Get(t.Context(), co.URL+"/ready")
			if err != nil || status != 200 || strings.Contains(string(body), "degraded") {
				return fmt.Errorf("%s: %d %s %w", co.Name, status, body, err)
			}
		}
		return nil
	})
	cr.stays("all is well again", 2)
	if n := countLines(c, "Marking node"); n != 0 {
		t.Errorf("%d nodes were marked unhealthy because Redis was away", n)
	}
}

// A call that was running on a node when it was killed may have run: the client is told so,
// once, and the session goes on.
func TestCallRunningOnAKilledNodeIsToldTheTruth(t *testing.T) {
	long(t)
	c := fleet(t, 2, harness.Options{})
	s := harness.MustOpen(t, c.Front.URL+"/mcp/fixture")
	home, err := whoami(t.Context(), rawClient{s})
	if err != nil {
		t.Fatal(err)
	}
	var g sync.WaitGroup
	var callErr error
	g.Go(func() { _, callErr = s.Call(t.Context(), toolBlock, blockArgs("k1")) })
	waitRunning(t, "k1")
	c.Nodes[home].Kill()
	g.Wait()
	var rpc *harness.RPCError
	if !errors.As(callErr, &rpc) || rpc.Code != 1001 {
		t.Errorf("the call running on %s = %v, want JSON-RPC error 1001", home, callErr)
	} else if !strings.Contains(string(rpc.Data), `"unknown"`) || !strings.Contains(string(rpc.Data), home) {
		t.Errorf("the data of error 1001 is %s, want the outcome unknown and the node %s", rpc.Data, home)
	}
	if n := executions(t, "k1"); n != 1 {
		t.Errorf("the call was executed %d times, want once", n)
	}
	if now, err := whoami(t.Context(), rawClient{s}); err != nil || now == home {
		t.Errorf("the session afterwards: on %q, %v, want the other node", now, err)
	}
}

// With every node gone a call has certainly not run, and the client is told that.
func TestNowhereToSendItIsSaid(t *testing.T) {
	long(t)
	c := fleet(t, 1, harness.Options{})
	s := harness.MustOpen(t, c.Front.URL+"/mcp/fixture")
	c.Nodes["node-1"].Kill()
	for range 3 {
		r, err := s.Post(t.Context(), []byte(`{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"`+toolWhoami+`","arguments":{}}}`))
		if err != nil || r.Status != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" ||
			!strings.Contains(string(r.Last()), `1002`) || !strings.Contains(string(r.Last()), `not_executed`) || !strings.Contains(string(r.Last()), `"id":"x"`) {
			t.Errorf("a call with no node left = %+v %v %s, want 503 with Retry-After and error 1002", r, err, r.Last())
		}
	}
	// It comes back under its id, and so does the session.
	back := fixtureNode(t, "node-1")
	c.StartNode(back)
	c.WaitActive(back)
	harness.Eventually(t, 10*time.Second, "the session goes on", func() error {
		_, err := whoami(context.WithoutCancel(t.Context()), rawClient{s})
		return err
	})
}
