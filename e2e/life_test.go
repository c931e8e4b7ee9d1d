package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

func sorted(s []string) []string { slices.Sort(s); return s }

// Standalone mode is the whole of it in one process, with a Redis inside that redis-cli can read.
func TestStandalone(t *testing.T) {
	long(t)
	h := startStandalone(t, everythingServer(t))
	for kind, connect := range kinds {
		t.Run(kind, func(t *testing.T) {
			c := connect(t, h.URL+"/mcp/everything")
			checkCall(t, c, "test_simple_text", map[string]any{}, "")
			all := connect(t, h.URL+"/mcp")
			checkCall(t, all, "everything-test_simple_text", map[string]any{}, "")
		})
	}
	if nodes, err := h.ListNodes(); err != nil || len(nodes) != 1 || nodes[0].Status != "active" {
		t.Errorf("nodes = %+v, %v, want the one inside, active", nodes, err)
	}
	if status, body, err := harness.Get(t.Context(), h.URL+"/"); err != nil || status != 200 || !strings.Contains(string(body), "everything") {
		t.Errorf("GET / = %d %v, want a page that names the server", status, err)
	}
	// It follows its settings file: a server more, and a group.
	h.Rewrite(t, func(settings harness.Object) {
		settings["mcpServers"].(map[string]any)["late"] = plainMarked(t, "late")
		settings["groups"] = []any{harness.Object{"name": "evening", "servers": []string{"late"}}}
	})
	harness.Eventually(t, 20*time.Second, "the new group has its tools", func() error {
		s, err := harness.Open(t.Context(), h.URL+"/mcp/evening")
		if err != nil {
			return err
		}
		got, err := s.Call(t.Context(), "late-whoami", nil)
		if err == nil && nodeOf(got) != "late" {
			err = fmt.Errorf("it answers %s", got)
		}
		return err
	})
	// What the log says to type works.
	look := regexp.MustCompile(`redis-cli -h (\S+) -p (\d+)`).FindStringSubmatch(h.Log.String())
	if look == nil {
		t.Fatalf("no line tells how to look into the embedded Redis:\n%s", h.Log.Tail(30))
	}
	seen := net.JoinHostPort(look[1], look[2])
	out := redisCLI(t, seen, "KEYS", "mcphub:*")
	if !strings.Contains(out, ":node:") {
		t.Errorf("redis-cli at %s shows keys %q, want the node's among them", seen, out)
	}
}

// startStandalone starts one process and waits until it routes to all servers.
func startStandalone(t *testing.T, servers harness.Servers) *harness.Hub {
	t.Helper()
	h := harness.StartHub(t, "standalone", 0, harness.WriteSettings(t, map[string]any{"mcpServers": harness.Marked(servers)}), nil)
	h.WaitHealthy(t)
	harness.Eventually(t, harness.ReadyLimit, "its servers are listed", func() error {
		nodes, err := h.ListNodes()
		if err == nil && (len(nodes) != 1 || len(nodes[0].Servers) != len(servers)) {
			err = fmt.Errorf("nodes: %+v", nodes)
		}
		return err
	})
	return h
}

// SIGTERM ends a process within its limits, with code 0, and its children with it; a node
// tells the fleet that it leaves.
func TestTermLeavesNoChild(t *testing.T) {
	long(t)
	c := harness.StartCluster(t, harness.Options{
		Coordinators: 1,
		Nodes:        []harness.NodeOptions{{ID: "node-1", Servers: npmServers(t)}, {ID: "node-2", Servers: everythingServer(t)}},
	})
	for _, id := range []string{"node-1", "node-2"} {
		children := harness.Descendants(c.Nodes[id].Pid())
		if len(children) == 0 {
			t.Fatalf("%s has no children; nothing would be tested", id)
		}
		if err := c.Nodes[id].Stop(); err != nil {
			t.Error(err)
		}
		checkGone(t, id, children)
		c.WaitNodeStatus(id, "", 10*time.Second)
	}
	if err := c.Coordinators[0].Stop(); err != nil {
		t.Error(err)
	}

	h := startStandalone(t, everythingServer(t))
	children := harness.Descendants(h.Pid())
	if err := h.Stop(); err != nil {
		t.Error(err)
	}
	checkGone(t, "standalone", children)
}

// A node that is killed outright cannot end its children; they must go all the same.
func TestKilledNodeLeavesNoChild(t *testing.T) {
	long(t)
	c := harness.StartCluster(t, harness.Options{
		Coordinators: 1, Nodes: []harness.NodeOptions{{ID: "node-1", Servers: npmServers(t)}},
	})
	children := harness.Descendants(c.Nodes["node-1"].Pid())
	if len(children) == 0 {
		t.Fatal("node-1 has no children; nothing would be tested")
	}
	c.Nodes["node-1"].Kill()
	checkGone(t, "node-1", children)
}

// checkGone wants all pids gone soon.
func checkGone(t *testing.T, who string, pids []int) {
	t.Helper()
	harness.Eventually(t, 10*time.Second, "the children of "+who+" are gone", func() error {
		for _, pid := range pids {
			if harness.Exists(pid) {
				return fmt.Errorf("process %d is still there", pid)
			}
		}
		return nil
	})
}

// `mcphub demo` is up in seconds, prints what to open and what to paste, and what it prints works.
func TestDemo(t *testing.T) {
	long(t)
	port := harness.FreePort(t)
	hub := harness.HubBinary(t)
	began := time.Now()
	p := harness.Start(t, "demo", nil, hub, "demo", "--port", fmt.Sprint(port))
	url := regexp.MustCompile(`http://(?:127\.0\.0\.1|localhost):\d+/mcp\b`)
	var endpoint string
	harness.Eventually(t, 15*time.Second, "the demo prints its endpoint", func() error {
		if !p.Alive() {
			t.Fatalf("the demo ended:\n%s", p.Log.String())
		}
		if endpoint = url.FindString(p.Log.String()); endpoint == "" {
			return fmt.Errorf("it has printed:\n%s", p.Log.Tail(40))
		}
		return nil
	})
	t.Logf("ready after %v at %s", time.Since(began).Round(10*time.Millisecond), endpoint)
	if d := time.Since(began); d > 3*time.Second {
		t.Errorf("ready after %v, want 3 s", d)
	}
	base := strings.TrimSuffix(endpoint, "/mcp")
	for _, part := range []string{"curl", "claude mcp add"} {
		if p.Log.Count(part) == 0 {
			t.Errorf("it prints no %q:\n%s", part, p.Log.String())
		}
	}
	demo := &harness.Hub{Proc: p, URL: base}
	if nodes, err := demo.ListNodes(); err != nil || len(nodes) != 3 {
		t.Errorf("nodes = %+v, %v, want 3", nodes, err)
	}
	for kind, connect := range kinds {
		t.Run(kind, func(t *testing.T) {
			if tools, err := connect(t, endpoint).Tools(t.Context()); err != nil || len(tools) == 0 {
				t.Errorf("Tools = %v, %v, want some", tools, err)
			}
		})
	}
	checkDemoState(t, endpoint)
	checkPaste(t, "the demo's", between(p.Log.String(), "SID=", "Connect a client"), 2)
	readme, err := os.ReadFile(filepath.Join(harness.Root(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	paste := between(string(readme), "SID=", "```")
	checkPaste(t, "the README's", strings.ReplaceAll(paste, "http://localhost:3000", base), 1)
	p.Signal(syscall.SIGTERM)
	if code, err := p.Exit(20 * time.Second); err != nil || code != 0 {
		t.Errorf("after SIGTERM: code %d, %v, want 0", code, err)
	}
}

// between is the text from the first begin, which it includes, up to the next end.
func between(text, begin, end string) string {
	i := strings.Index(text, begin)
	if i < 0 {
		return ""
	}
	text, _, _ = strings.Cut(text[i:], end)
	return text
}

// checkPaste runs what a person would paste into a shell and wants n results of tools.
func checkPaste(t *testing.T, whose, script string, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "bash", "-c", script).CombinedOutput()
	if got := strings.Count(string(out), `"result"`); err != nil || got != n {
		t.Errorf("%s paste: %v, %d results, want %d:\n%s\nit printed:\n%s", whose, err, got, n, script, out)
	}
}

// checkDemoState wants two sessions on the demo's counter to count each for itself.
func checkDemoState(t *testing.T, endpoint string) {
	t.Helper()
	a, b := harness.MustOpen(t, endpoint+"/counter"), harness.MustOpen(t, endpoint+"/counter")
	for i := 1; i <= 3; i++ {
		got, err := a.Call(t.Context(), "increment", nil)
		if err != nil || !strings.Contains(got, fmt.Sprint(i)) {
			t.Errorf("increment %d = %q, %v", i, got, err)
		}
	}
	if got, err := b.Call(t.Context(), "increment", nil); err != nil || !strings.Contains(got, "1") {
		t.Errorf("the first increment of another session = %q, %v, want 1", got, err)
	}
	status, err := a.Delete(t.Context())
	if err != nil || status/100 != 2 {
		t.Errorf("DELETE = %d, %v", status, err)
	}
	checkEnded(t, a, 4)
}

// The commands, against a running fleet: tables for people, JSON for programs, exit codes.
func TestCommands(t *testing.T) {
	long(t)
	c := harness.StartCluster(t, harness.Options{Nodes: []harness.NodeOptions{{ID: "node-1", Servers: everythingServer(t)}}})
	harness.MustOpen(t, c.Front.URL+"/mcp/everything")
	url := []string{"--url", c.Front.URL}
	if out, code := runHub(t, append([]string{"groups", "create", "team", "everything:test_simple_text", "--description", "ours"}, url...)...); code != 0 {
		t.Errorf("mcphub groups create: code %d:\n%s", code, out)
	}
	for args, want := range map[string]string{
		"status": "coordinator", "nodes": "node-1", "servers": "everything", "sessions": "everything", "tools": "everything-test_simple_text",
		"coordinators": "e2e", "groups": "team", "events": "group_changed",
	} {
		table, code := runHub(t, append([]string{args}, url...)...)
		if code != 0 || !strings.Contains(table, want) || strings.HasPrefix(strings.TrimSpace(table), "{") {
			t.Errorf("mcphub %s: code %d, want 0 and a table with %q:\n%s", args, code, want, table)
		}
		text, code := runHub(t, append([]string{args, "-o", "json"}, url...)...)
		if args == "events" { // one object a line
			text = "[" + strings.ReplaceAll(strings.TrimSpace(text), "\n", ",") + "]"
		}
		if code != 0 || !json.Valid([]byte(text)) || !strings.Contains(text, want) {
			t.Errorf("mcphub %s -o json: code %d, want 0 and JSON with %q:\n%s", args, code, want, text)
		}
	}
	checkFleetCommands(t, c, url)
	if out, code := runHub(t, append([]string{"call", "everything-test_simple_text"}, url...)...); code != 0 || len(out) == 0 {
		t.Errorf("mcphub call: code %d:\n%s", code, out)
	}
	if out, code := runHub(t, append([]string{"call", "everything-no_such_tool"}, url...)...); code == 0 {
		t.Errorf("mcphub call of an unknown tool: code 0:\n%s", out)
	}
	if out, code := runHub(t, "nodes", "--url", "http://127.0.0.1:1"); code == 0 || len(out) == 0 {
		t.Errorf("mcphub nodes at a dead address: code %d:\n%s", code, out)
	}
	if out, code := runHub(t, "version"); code != 0 || !strings.Contains(out, "e2e") {
		t.Errorf("mcphub version: code %d:\n%s", code, out)
	}
	if out, code := runHub(t, "no-such-command"); code == 0 {
		t.Errorf("mcphub no-such-command: code 0:\n%s", out)
	}
}

// checkFleetCommands looks at the coordinators and at a group, changes the group, and takes it away.
func checkFleetCommands(t *testing.T, c *harness.Cluster, url []string) {
	t.Helper()
	out, code := runHub(t, append([]string{"coordinators"}, url...)...)
	for _, co := range c.Coordinators {
		if code != 0 || !strings.Contains(out, fmt.Sprint(":", co.Port)) {
			t.Errorf("mcphub coordinators: code %d, want %s at port %d among them:\n%s", code, co.Name, co.Port, out)
		}
	}
	group := func(want string, args ...string) {
		t.Helper()
		out, code := runHub(t, append(append([]string{"groups"}, args...), url...)...)
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("mcphub groups %v: code %d, want 0 and %q:\n%s", args, code, want, out)
		}
	}
	group("test_simple_text", "show", "team")
	group("team", "set", "team", "everything")
	s := harness.MustOpen(t, c.Front.URL+"/mcp/team")
	harness.Eventually(t, groupLimit+groupSlack, "the group has the whole server", func() error {
		tools, err := s.Tools(t.Context())
		if err == nil && len(tools) < 2 {
			err = fmt.Errorf("it shows %v", tools)
		}
		return err
	})
	group("team", "delete", "team")
	harness.Eventually(t, groupLimit+groupSlack, "sessions over a deleted group have ended", func() error {
		for range c.Coordinators {
			r, err := s.Post(t.Context(), []byte(ping))
			if err != nil {
				return err
			}
			if r.Status != http.StatusNotFound {
				return fmt.Errorf("status %d", r.Status)
			}
		}
		return nil
	})
	if out, code := runHub(t, append([]string{"groups", "show", "team"}, url...)...); code == 0 {
		t.Errorf("mcphub groups show of a deleted group: code 0:\n%s", out)
	}
}
