package browser

import (
	"context"
	"syscall"
	"testing"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

type object = map[string]any

// coordinator starts a coordinator with a Redis of its own in it.
func coordinator(t *testing.T) *harness.Hub {
	t.Helper()
	h := harness.StartHub(t, "coordinator", 0, harness.WriteSettings(t, object{"systemConfig": object{"cluster": object{
		"enabled": true, "mode": "coordinator", "coordinator": object{"nodeTimeout": 3000, "cleanupInterval": 60000},
		"node": object{"heartbeatInterval": 500},
	}}}), []string{"HOST=127.0.0.1"})
	h.WaitHealthy(t)
	return h
}

// node starts a node with good servers and one that does not start.
func node(t *testing.T, id string, at *harness.Hub, good ...string) *harness.Hub {
	t.Helper()
	servers := harness.Servers{"broken": {Command: harness.FixtureBinary(t), Args: []string{"-fail-start"}}}
	for _, name := range good {
		servers[name] = harness.Server{Command: harness.FixtureBinary(t)}
	}
	return harness.StartHub(t, id, 0, harness.WriteSettings(t, object{"mcpServers": harness.Marked(servers), "systemConfig": object{"cluster": object{
		"enabled": true, "mode": "node",
		"node": object{"id": id, "name": "Worker " + id, "coordinatorUrl": at.URL, "heartbeatInterval": 500},
	}}}), []string{"HOST=127.0.0.1"})
}

// A node that dies is shown as unhealthy, one that is stopped as draining while it has calls in
// hand, and a server that fails with its reason and its last words; all without a reload.
func TestNodesThatStop(t *testing.T) {
	findBrowser(t)
	hub := coordinator(t)
	tb := openBrowser(t, hub.URL)
	tb.open("/")
	tb.sees("#nodes", "No node has registered.")
	killed, stopped := node(t, "n1", hub, "fixture"), node(t, "n2", hub, "fixture")
	for _, id := range []string{"n1", "n2"} {
		tb.sees(row("node", id), "Worker "+id, "active", "fixture")
	}
	tb.sees(row("server", "fixture"), "2 of 2 ready")
	tb.sees(row("server", "broken")+" summary", "0 of 2 ready", "exited with status 1")
	tb.sees(".notices", "Server broken is callable on no node.")
	tb.click(row("server", "broken") + " summary")
	tb.sees(row("server", "broken")+" .why pre", "fixture: told not to start")
	node(t, "n0", hub, "another") // before the others in each list
	tb.sees(row("server", "another"), "1 of 1 ready")
	tb.sees(row("server", "broken")+" .why pre", "fixture: told not to start")
	if got := must[string](tb, "[...document.querySelectorAll('details[open]')].map(d => d.dataset.key).join()"); got != "server broken" {
		t.Errorf("open is %q, want the row that was opened", got)
	}

	killed.Kill()
	tb.sees(row("node", "n1"), "unhealthy")
	tb.sees(".notices", "Node n1 has stopped sending heartbeats.")
	tb.sees("#events", "node unhealthy Worker n1")
	tb.sees(row("server", "fixture"), "1 of 2 ready")
	tb.sees(row("server", "broken")+" .why pre", "fixture: told not to start") // what was opened stays so
	tb.picture("unhealthy.png")

	s := harness.MustOpen(t, hub.URL+"/mcp/fixture")
	slow, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := s.Call(slow, "sleep", object{"ms": 60_000})
		ended <- err
	}()
	tb.sees(row("node", "n2")+` [data-l="in flight"]`, "1")
	stopped.Signal(syscall.SIGTERM)
	tb.sees(row("node", "n2"), "draining")
	tb.picture("draining.png")
	cancel()
	<-ended
	tb.lacks(row("node", "n2"))
	tb.sees("#events", "node deregistered")
}

// A hub that goes away is said to be away, and what it had shown stays.
func TestHubThatGoesAway(t *testing.T) {
	findBrowser(t)
	hub := startDemo(t)
	tb := openBrowser(t, hub.URL)
	tb.open("/")
	tb.sees("#pulse", "live")
	tb.sees(row("node", "demo-1"), "active")
	hub.Kill()
	tb.sees("#pulse", "no answer for", "still trying")
	tb.sees(row("node", "demo-1"), "active")
	if n := must[int](tb, "document.querySelectorAll('#nodes tbody tr').length"); n != 3 {
		t.Errorf("%d nodes are shown, want the 3 that were there", n)
	}
	tb.expect("ERR_CONNECTION_REFUSED")
}
