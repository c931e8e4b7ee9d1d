package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

func numCPU() int       { return runtime.NumCPU() }
func goVersion() string { return runtime.Version() }

// secret is the cluster secret of every fleet measured: the way it should be run.
const secret = "a-secret-for-measuring"

// slow timing: leases must not lapse because the machine is saturated.
var timing = harness.Timing{NodeTimeout: 15 * time.Second, CleanupInterval: 30 * time.Second, SessionTimeout: time.Hour, Heartbeat: 5 * time.Second}

// startFakeNode starts this program again as a fake node.
func startFakeNode(t harness.T, coordinator string) (*harness.Proc, string) {
	t.Helper()
	addr := "127.0.0.1:" + strconv.Itoa(harness.FreePort(t))
	p := harness.Start(t, "fake-node", nil, self(t), "fake-node", addr, coordinator, secret)
	waitListening(t, p, "http://"+addr)
	return p, "http://" + addr
}

// hopTargets is a server that costs next to nothing, direct and behind each kind of hop; the
// coordinator is left out if hub is false.
func hopTargets(t harness.T, hub bool) []*target {
	plain, plainURL := startFakeNode(t, "")
	rp, rpURL := startReverseProxy(t, plainURL)
	ng, ngURL := startNginx(t, plainURL)
	path := "/mcp/" + fakeServer
	targets := []*target{
		{name: "direct", url: plainURL + path, tool: "echo", behind: []func() []int{only(plain)}},
		{name: "nginx", url: ngURL + path, tool: "echo", hop: []func() []int{only(ng)}, behind: []func() []int{only(plain)}},
		{name: "httputil.ReverseProxy", url: rpURL + path, tool: "echo", hop: []func() []int{only(rp)}, behind: []func() []int{only(plain)}},
	}
	if !hub {
		return targets
	}
	c := harness.StartCluster(t, harness.Options{Coordinators: 1, Secret: secret, Timing: timing})
	fake, _ := startFakeNode(t, c.Coordinators[0].URL)
	c.WaitActive(harness.NodeOptions{ID: "fake-node", Servers: harness.Servers{fakeServer: {}}})
	return append(targets, &target{
		name: "coordinator", url: c.Coordinators[0].URL + path, tool: "echo",
		hop: []func() []int{only(c.Coordinators[0].Proc)}, behind: []func() []int{only(fake)},
	})
}

// chainTargets is a real MCP server, direct and behind each kind of hop; the last is the whole
// hub: coordinator, node, and the server as the node's child. It is left out, and the cluster
// nil, if hub is false.
func chainTargets(t harness.T, hub bool) ([]*target, *harness.Cluster) {
	port := harness.FreePort(t)
	direct := harness.Start(t, "mcpfixture", nil, fixtureHTTP(t, port)...)
	directURL := harness.Loopback(port)
	waitListening(t, direct, directURL)
	rp, rpURL := startReverseProxy(t, directURL)
	ng, ngURL := startNginx(t, directURL)
	behind := []func() []int{only(direct)}
	targets := []*target{
		{name: "direct", url: directURL + "/mcp", tool: "echo", behind: behind},
		{name: "nginx", url: ngURL + "/mcp", tool: "echo", hop: []func() []int{only(ng)}, behind: behind},
		{name: "httputil.ReverseProxy", url: rpURL + "/mcp", tool: "echo", hop: []func() []int{only(rp)}, behind: behind},
	}
	if !hub {
		return targets, nil
	}
	c := oneOfEach(t)
	return append(targets, &target{
		name: "coordinator, node, stdio", url: c.Coordinators[0].URL + "/mcp/" + fakeServer, tool: "echo",
		hop: []func() []int{only(c.Coordinators[0].Proc)}, behind: []func() []int{only(c.Nodes["node-1"].Proc)},
	}), c
}

// oneOfEach is a coordinator, a node with the fixture as its child, and Redis.
func oneOfEach(t harness.T) *harness.Cluster {
	t.Helper()
	return harness.StartCluster(t, harness.Options{
		Coordinators: 1, Secret: secret, Timing: timing,
		Nodes: []harness.NodeOptions{{ID: "node-1", Servers: harness.Servers{fakeServer: {Command: harness.FixtureBinary(t)}}}},
	})
}

// fixtureHTTP is the command line of the fixture over streamable HTTP.
func fixtureHTTP(t harness.T, port int) []string {
	return []string{harness.FixtureBinary(t), "-http", "127.0.0.1:" + strconv.Itoa(port)}
}

// countRedis counts what Redis is asked while nothing happens and while the hub is called at
// full rate in known sessions.
func countRedis(t harness.T, w io.Writer, c *harness.Cluster, hub *target, o options) {
	span := max(10*time.Second, o.time)
	idle := count(t, c, func() int {
		select {
		case <-time.After(span):
		case <-t.Context().Done():
		}
		return 0
	})
	busy := count(t, c, func() int {
		s, err := run(t.Context(), hub.url, hub.sessions, callBody(hub.tool), o.conns, span)
		if err != nil {
			t.Fatalf("%v", err)
		}
		return s.requests
	})
	fmt.Fprintf(w, "| | calls | commands | commands a second | which |\n|---|---:|---:|---:|---|\n")
	for _, row := range []struct {
		name string
		redisCount
	}{{"no calls", idle}, {"calls in known sessions", busy}} {
		fmt.Fprintf(w, "| %s, %v | %d | %d | %.1f | %s |\n", row.name, row.span.Round(time.Second), row.requests, row.total(),
			float64(row.total())/row.span.Seconds(), describe(row.commands))
	}
	fmt.Fprintf(w, "\nAt most %.4f commands a call, with all that the fleet asks in that time. Lifetimes of sessions are renewed in batches.\n\n",
		float64(busy.total())/float64(busy.requests))
}

// count is what Redis was asked while f ran, in all.
func count(t harness.T, c *harness.Cluster, f func() int) redisCount {
	t.Helper()
	before, began := c.Redis.Commands(), time.Now()
	out := redisCount{requests: f(), commands: map[string]int{}}
	out.span = time.Since(began)
	for name, n := range c.Redis.Commands() {
		if d := n - before[name]; d > 0 {
			out.commands[name] = d
		}
	}
	return out
}

func describe(commands map[string]int) string {
	var parts []string
	for name, n := range commands {
		parts = append(parts, fmt.Sprintf("%s %d", name, n))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// measureMemory opens sessions on a fresh fleet and reads resident memory at each number.
func measureMemory(t harness.T, numbers []int) []memoryRow {
	c := oneOfEach(t)
	url := c.Coordinators[0].URL + "/mcp/" + fakeServer
	rows := []memoryRow{settled(c, 0)}
	open := 0
	for _, n := range numbers {
		if _, err := openSessions(t.Context(), url, n-open); err != nil {
			t.Fatalf("open %d sessions: %v", n-open, err)
		}
		open = n
		rows = append(rows, settled(c, n))
		t.Logf("%d idle sessions: %+v", n, rows[len(rows)-1])
	}
	return rows
}

// settled reads resident memory once it has settled.
func settled(c *harness.Cluster, sessions int) memoryRow {
	return settle(func() memoryRow {
		return memoryRow{sessions: sessions, coordinator: c.Coordinators[0].RSS(), node: c.Nodes["node-1"].RSS(), redis: c.Redis.RSS()}
	}, func(r memoryRow) int64 { return r.coordinator + r.node + r.redis })
}

// settle reads memory until it has not shrunk by more than 1 % in two seconds, at the latest after
// twenty: a garbage collected program gives back slowly what it used in passing.
func settle[T any](read func() T, size func(T) int64) T {
	row := read()
	for range 10 {
		time.Sleep(2 * time.Second)
		now := read()
		done := size(now) > size(row)-size(row)/100
		row = now
		if done {
			break
		}
	}
	return row
}
