package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// apart is a fleet whose servers lie on different nodes: "alpha" on node-1 alone, "gamma" on
// node-2 alone, and "both" on these two and on node-3.
type apart struct{ *harness.Cluster }

// apartNode is a node with servers that tell its name. It is in no hurry to stop.
func apartNode(t *testing.T, id string, servers ...string) harness.NodeOptions {
	t.Helper()
	n := harness.NodeOptions{ID: id, Servers: harness.Servers{}, Settings: harness.Object{
		"systemConfig": harness.Object{"cluster": harness.Object{"node": harness.Object{"drainTimeout": 60_000}}},
	}}
	for _, name := range servers {
		n.Servers[name] = harness.Server{
			Command: harness.FixtureBinary(t), Env: map[string]string{"FIXTURE_NAME": id, "FIXTURE_LEDGER": ledger(t)},
		}
	}
	return n
}

// A session over the whole hub sits on a node of its own for each server; explain tells what
// another node would change; and a node that drains gets no new sessions, whoever names it.
func TestServersThatLieApart(t *testing.T) {
	long(t)
	f := &apart{harness.StartCluster(t, harness.Options{Secret: "a-secret-of-the-tests", Nodes: []harness.NodeOptions{
		apartNode(t, "node-1", "alpha", "both"), apartNode(t, "node-2", "gamma", "both"), apartNode(t, "node-3", "both"),
	}})}
	t.Run("one session on several nodes", f.oneSession)
	t.Run("a node more or less", f.whatIf) // starts node-9
	t.Run("a node drains", f.drains)       // kills node-1
}

// places are the nodes of a session by server, as a coordinator's REST tells them.
func places(co *harness.Hub, id string) (map[string]string, error) {
	var rec struct {
		Scope    string
		Bindings []struct{ ServerID, NodeID string }
	}
	if err := co.API("/sessions/"+id, &rec); err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, b := range rec.Bindings {
		out[b.ServerID] = b.NodeID
	}
	return out, nil
}

// tell wants every coordinator to tell these places of a session, by its whole id and by the
// one that is shown.
func (f *apart) tell(t *testing.T, s *harness.Session, want map[string]string) {
	t.Helper()
	var rec harness.SessionRecord
	if err := f.Coordinators[0].API("/sessions/"+s.ID, &rec); err != nil {
		t.Fatal(err)
	}
	for _, co := range f.Coordinators {
		for _, id := range []string{s.ID, rec.SessionID} {
			harness.Eventually(t, 5*time.Second, co.Name+" tells where the session sits", func() error {
				got, err := places(co, id)
				if err == nil && !maps.Equal(got, want) {
					err = fmt.Errorf("bindings are %v, want %v", got, want)
				}
				return err
			})
		}
	}
}

// oneSession wants a session over all servers to be bound to a node for each server that it
// uses, when it does, and to stay there through every coordinator.
func (f *apart) oneSession(t *testing.T) {
	for range 4 {
		s := harness.MustOpen(t, f.Front.URL+"/mcp")
		f.tell(t, s, map[string]string{}) // it has used none yet
		at := map[string]string{}
		for range 2 * len(f.Coordinators) {
			for server, only := range map[string]string{"alpha": "node-1", "gamma": "node-2", "both": ""} {
				text, err := s.Call(t.Context(), server+"-whoami", nil)
				if err != nil {
					t.Fatalf("%s-whoami: %v", server, err)
				}
				node := nodeOf(text)
				if at[server] == "" {
					at[server] = node
				}
				if node != at[server] || only != "" && node != only {
					t.Errorf("%s was answered by %q, before by %q, and is on %q alone", server, node, at[server], only)
				}
			}
		}
		f.tell(t, s, at)
		if status, err := s.Delete(t.Context()); err != nil || status/100 != 2 {
			t.Errorf("DELETE = %d, %v", status, err)
		}
	}
}

// whatIf asks what would move without the node of a session and with one that does not exist;
// then it starts that one.
func (f *apart) whatIf(t *testing.T) {
	foretold := f.foretell(t)
	s := harness.MustOpen(t, f.Front.URL+"/mcp")
	at := map[string]string{}
	for _, server := range []string{"alpha", "both"} {
		text, err := s.Call(t.Context(), server+"-whoami", nil)
		if err != nil {
			t.Fatal(err)
		}
		at[server] = nodeOf(text)
	}
	for _, co := range f.Coordinators {
		for server, home := range at {
			x := explain(t, co, url.Values{"session": {s.ID}, "server": {server}, "without": {home, "node-2", "node-77"}, "with": {"node-9"}})
			if x.Rule != "binding" || x.Choice != home || len(x.Moves) != 4 {
				t.Fatalf("%s: explain of %s on %s = %+v", co.Name, server, home, x)
			}
			own, nobody, more := x.Moves[0], x.Moves[2], x.Moves[3]
			if alone := server == "alpha"; alone && (own.Moves || own.To != "" || own.Rule != "none" || own.Share != 1) ||
				!alone && (!own.Moves || own.To == home || own.To == "") {
				t.Errorf("%s: without %s, %s of a session there: %+v", co.Name, home, server, own)
			}
			if nobody.Moves || nobody.To != home || nobody.Reason == "" {
				t.Errorf("%s: without a node that there is not: %+v", co.Name, nobody)
			}
			if more.Moves || more.To != home || more.Change != "with" || more.Reason == "" {
				t.Errorf("%s: a node that joins moves a session that sits on %s: %+v", co.Name, home, more)
			}
		}
	}
	if out, code := runHub(t, "explain", s.ID, "--server", "both", "--with", "node-9", "--url", f.Front.URL); code != 0 || !strings.Contains(out, "node-9") {
		t.Errorf("mcphub explain: code %d:\n%s", code, out)
	}
	n := apartNode(t, "node-9", "both")
	f.StartNode(n)
	f.WaitActive(n)
	if text, err := s.Call(t.Context(), "both-whoami", nil); err != nil || nodeOf(text) != at["both"] {
		t.Errorf("a session that sat on %s was answered by %s, %v, once node-9 had joined", at["both"], text, err)
	}
	if status, err := s.Delete(t.Context()); err != nil || status/100 != 2 {
		t.Errorf("DELETE = %d, %v", status, err)
	}
	f.idle(t)
	for key, m := range foretold {
		if x := explain(t, f.Coordinators[1], url.Values{"key": {key}, "server": {"both"}}); x.Choice != m.To || x.Rule != m.Rule {
			t.Errorf("%s goes to %s by %s now that node-9 is there; explain said %+v", key, x.Choice, x.Rule, m)
		}
	}
}

// idle waits until no node is known to have a session with "both": among few sessions one more
// decides about a node's fair share, and so about where the next one goes.
func (f *apart) idle(t *testing.T) {
	t.Helper()
	co := f.Coordinators[1]
	harness.Eventually(t, 15*time.Second, co.Name+" knows of no sessions", func() error {
		x := explain(t, co, url.Values{"key": {"anybody"}, "server": {"both"}})
		for _, c := range x.Candidates {
			if c.Load != 0 {
				return fmt.Errorf("%+v", x.Candidates)
			}
		}
		return nil
	})
}

// foretell asks where many sessions would go with node-9.
func (f *apart) foretell(t *testing.T) map[string]whatIf {
	t.Helper()
	const keys = 60
	f.idle(t)
	out, moved := map[string]whatIf{}, 0
	for i := range keys {
		key := fmt.Sprint("somebody ", i)
		x := explain(t, f.Coordinators[1], url.Values{"key": {key}, "server": {"both"}, "with": {"node-9"}})
		if len(x.Moves) != 1 {
			t.Fatalf("explain with node-9 = %+v", x)
		}
		m := x.Moves[0]
		if m.Moves != (m.To != x.Choice) || m.Moves && m.To != "node-9" || m.Share != 0.25 {
			t.Errorf("%s sits on %s; with node-9: %+v, want it to stay or to go there, and a quarter for it", key, x.Choice, m)
		}
		if m.Moves {
			moved++
		}
		out[key] = m
	}
	t.Logf("with node-9 %d of %d sessions would move, all of them there", moved, keys)
	if moved < keys/10 || moved > keys/2 {
		t.Errorf("with a fourth node %d of %d sessions would move, want about a quarter", moved, keys)
	}
	return out
}

// drains stops node-1 while a call is running there, and comes with cookies and headers that
// name it.
func (f *apart) drains(t *testing.T) {
	var ways []chosen
	cookies, hubs := f.StartFront("cookie", 2, sticky(harness.Object{"strategy": "cookie"}))
	ways = append(ways, chosen{front: cookies, hubs: hubs, send: "Cookie", sent: func(n string) string { return "MCPHUB_NODE=" + n }, told: cookieOf})
	headers, hubs := f.StartFront("header", 2, sticky(harness.Object{"strategy": "header", "headerName": "X-My-Node"}))
	ways = append(ways, chosen{
		front: headers, hubs: hubs, send: "X-My-Node", sent: func(n string) string { return n },
		told: func(h http.Header, _ string) string { return h.Get("X-My-Node") },
	})
	for _, c := range ways {
		if _, told := c.open(t, "/mcp/both", "node-1"); told != "node-1" {
			t.Fatalf("before it drains, a client that names node-1 is told %s: the test would prove nothing", told)
		}
	}
	held, _ := ways[0].open(t, "/mcp/both", "node-1")
	kept, _ := ways[1].open(t, "/mcp/both", "node-1")
	var running sync.WaitGroup
	var cut error
	running.Go(func() { _, cut = held.Call(t.Context(), toolBlock, blockArgs("held")) })
	waitRunning(t, "held")

	node := f.Nodes["node-1"]
	node.Signal(syscall.SIGTERM)
	f.WaitNodeStatus("node-1", "draining", 15*time.Second)
	for _, c := range ways {
		for _, co := range c.hubs {
			f.knowsDraining(t, co)
		}
		for range 2 * len(c.hubs) {
			f.turnedAway(t, c)
		}
	}
	// A session that is there goes on elsewhere, and hears of it.
	if got, told := ways[1].where(t, kept, toolWhoami, "node-1"); got == "node-1" || told != got {
		t.Errorf("a session of the node that drains was answered by %s, told %s", got, told)
	}
	if !node.Alive() || executions(t, "held") != 1 {
		t.Error("node-1 did not wait for its call, so that nothing was tried")
	}
	node.Kill()
	running.Wait()
	var rpc *harness.RPCError
	if !errors.As(cut, &rpc) || rpc.Code != 1001 || executions(t, "held") != 1 {
		t.Errorf("the call that was running = %v, run %d times, want error 1001 and once", cut, executions(t, "held"))
	}
}

// knowsDraining waits until a coordinator explains that node-1 is draining.
func (f *apart) knowsDraining(t *testing.T, co *harness.Hub) {
	t.Helper()
	harness.Eventually(t, 10*time.Second, co.Name+" knows that node-1 drains", func() error {
		x := explain(t, co, url.Values{"key": {"anybody"}, "server": {"both"}, "prefer": {"node-1"}})
		for _, c := range x.Candidates {
			if c.NodeID == "node-1" && c.Status == "draining" && strings.Contains(c.Reason, "drain") && x.Choice != "node-1" && x.Reason != "" {
				return nil
			}
		}
		return fmt.Errorf("explain = %+v", x)
	})
}

// turnedAway comes with the name of node-1, which drains: the session goes elsewhere and the
// client is told where, over one server and over all.
func (f *apart) turnedAway(t *testing.T, c chosen) {
	t.Helper()
	s, told := c.open(t, "/mcp/both", "node-1")
	got, again := c.where(t, s, toolWhoami, "node-1")
	if told == "node-1" || told == "" || got != told || again != told {
		t.Errorf("a client that names a node that drains got %s, told %s and %s", got, told, again)
	}
	wide, _ := c.open(t, "/mcp", "node-1")
	if got, told := c.where(t, wide, "both-whoami", "node-1"); got == "node-1" || told != got {
		t.Errorf("over all servers, a client that names a node that drains got %s, told %s", got, told)
	}
	// What no other node has cannot be called now: certainly not, and with the reason.
	_, err := wide.Call(t.Context(), "alpha-whoami", nil)
	var rpc *harness.RPCError
	var data struct{ Outcome string }
	if !errors.As(err, &rpc) || rpc.Code != 1002 || !strings.Contains(rpc.Message, "alpha is not available: node-1 is draining") || json.Unmarshal(rpc.Data, &data) != nil || data.Outcome != "not_executed" {
		t.Errorf("a call of what only the node that drains has = %v, want error 1002 that names alpha and says why", err)
	}
}
