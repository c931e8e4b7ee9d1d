package main

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// slowServer is how long the servers take to start whose sessions are measured; spares is how
// many wait, and crowd how many sessions memory is measured with.
const (
	slowServer = 700 * time.Millisecond
	spares     = 4
	crowd      = 32
)

// startRow is how long sessions on one kind of server took to start.
type startRow struct {
	name             string
	initialize, call []time.Duration // until the answer to initialize, and to a first call
}

// isolatedFleet is a node with a slow server of each kind.
func isolatedFleet(t harness.T) *harness.Cluster {
	t.Helper()
	slow := harness.Server{Command: harness.FixtureBinary(t), Args: []string{"-start-delay", slowServer.String()}}
	each := slow
	each.Isolation, each.MaxProcesses = "session", crowd+spares
	warm := each
	warm.Warm = spares
	quick := each
	quick.Args = nil
	return harness.StartCluster(t, harness.Options{
		Coordinators: 1, Secret: secret, Timing: harness.Quick,
		Nodes: []harness.NodeOptions{{ID: "node-1", Servers: harness.Servers{"shared": slow, "cold": each, "warm": warm, "memory": quick}}},
	})
}

// measureStarts opens sessions one after the other, as many in a round as there are spares.
func measureStarts(t harness.T, c *harness.Cluster, rounds int) []startRow {
	rows := []startRow{{name: "one process for all"}, {name: "a process for each"}, {name: fmt.Sprintf("a process for each, %d spares", spares)}}
	for range rounds {
		for i, server := range []string{"shared", "cold", "warm"} {
			if server == "warm" {
				waitSpares(t, c)
			}
			var open []*harness.Session
			for range spares {
				s := harness.NewSession(c.Coordinators[0].URL + "/mcp/" + server)
				began := time.Now()
				if err := s.Initialize(t.Context(), protocolVersion); err != nil {
					t.Fatalf("%s: %v", server, err)
				}
				rows[i].initialize = append(rows[i].initialize, time.Since(began))
				if _, err := s.Call(t.Context(), "echo", map[string]string{"text": "x"}); err != nil {
					t.Fatalf("%s: %v", server, err)
				}
				rows[i].call = append(rows[i].call, time.Since(began))
				open = append(open, s)
			}
			for _, s := range open {
				if status, err := s.Delete(t.Context()); err != nil || status/100 != 2 {
					t.Fatalf("%s: end a session: %d %v", server, status, err)
				}
			}
		}
	}
	return rows
}

// waitSpares waits until every spare is there.
func waitSpares(t harness.T, c *harness.Cluster) {
	t.Helper()
	harness.Eventually(t, harness.ReadyLimit, "the spares are there", func() error {
		var n struct {
			ServerDetails []struct {
				ID                string
				Processes, Spares int
			}
		}
		if err := c.Coordinators[0].API("/nodes/node-1", &n); err != nil {
			return err
		}
		for _, s := range n.ServerDetails {
			if s.ID == "warm" && (s.Spares != spares || s.Processes != spares) {
				return fmt.Errorf("%d processes, %d spares", s.Processes, s.Spares)
			}
		}
		return nil
	})
}

func writeStarts(w io.Writer, rows []startRow) {
	fmt.Fprintf(w, "A server that takes %v to start; %d sessions each, one after the other, while spares last.\n\n", slowServer, len(rows[0].call))
	fmt.Fprintln(w, "| | until initialized, p50, ms | worst, ms | until a first call is answered, p50, ms | worst, ms |")
	fmt.Fprintln(w, "|---|---:|---:|---:|---:|")
	for _, r := range rows {
		fmt.Fprintf(w, "| %s | %.1f | %.1f | %.1f | %.1f |\n", r.name,
			millis(median(r.initialize)), millis(slices.Max(r.initialize)), millis(median(r.call)), millis(slices.Max(r.call)))
	}
	fmt.Fprintln(w)
}

// isolatedRow is memory at one number of sessions with a process each.
type isolatedRow struct {
	sessions, processes int
	node, children      int64 // bytes resident; of all processes
}

// measureIsolatedMemory opens sessions with a process each and reads resident memory.
func measureIsolatedMemory(t harness.T, c *harness.Cluster) []isolatedRow {
	node := c.Nodes["node-1"]
	before := harness.Descendants(node.Pid())
	read := func(sessions int) isolatedRow {
		r := isolatedRow{sessions: sessions, node: node.RSS()}
		for _, pid := range harness.Descendants(node.Pid()) {
			if !slices.Contains(before, pid) {
				r.processes++
				r.children += harness.RSSOf(pid)
			}
		}
		return r
	}
	rows := []isolatedRow{read(0)}
	for n := 1; n <= crowd; n++ {
		if _, err := harness.Open(t.Context(), c.Coordinators[0].URL+"/mcp/memory"); err != nil {
			t.Fatalf("session %d: %v", n, err)
		}
		if n == crowd/2 || n == crowd {
			rows = append(rows, read(n))
		}
	}
	return rows
}

func writeIsolatedMemory(w io.Writer, rows []isolatedRow) {
	fmt.Fprintln(w, "| sessions with a process each | processes | of the node, MiB | a session, KiB | of the processes, MiB | a session, MiB |")
	fmt.Fprintln(w, "|---:|---:|---:|---:|---:|---:|")
	for _, r := range rows {
		fmt.Fprintf(w, "| %d | %d | %.1f |", r.sessions, r.processes, float64(r.node)/(1<<20))
		if r.sessions == 0 {
			fmt.Fprint(w, " – | – | – |\n")
			continue
		}
		fmt.Fprintf(w, " %.1f | %.1f | %.1f |\n", float64(r.node-rows[0].node)/1024/float64(r.sessions),
			float64(r.children)/(1<<20), float64(r.children)/(1<<20)/float64(r.sessions))
	}
	fmt.Fprintln(w)
}
