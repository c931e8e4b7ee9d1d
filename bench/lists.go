package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// The hub whose lists are measured.
const (
	listServers = 20
	listTools   = 15
)

// listBody asks for the tools of all servers.
const listBody = `{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{}}`

// listRow is tools/list at one number of connections: one figure for each round.
type listRow struct {
	conns      int
	rate       []float64
	p50, p99   []time.Duration
	worst      time.Duration
	bytes, all int // of one answer; answers in all
}

// measureLists asks three coordinators for the tools of twenty servers.
func measureLists(t harness.T, o options) []listRow {
	servers := harness.Servers{}
	for i := range listServers {
		servers[fmt.Sprintf("server-%02d", i+1)] = harness.Server{
			Command: harness.FixtureBinary(t), Args: []string{"-first", fmt.Sprint(listTools)},
		}
	}
	c := harness.StartCluster(t, harness.Options{
		Coordinators: 3, Secret: secret, Timing: timing, Nodes: []harness.NodeOptions{{ID: "node-1", Servers: servers}},
	})
	var urls []string
	for _, co := range c.Coordinators {
		urls = append(urls, co.URL+"/mcp")
	}
	sessions, err := openSessions(t.Context(), urls[0], o.sessions)
	if err != nil {
		t.Fatalf("%v", err)
	}
	size := checkTools(t, urls, sessions[0])
	rows := []listRow{{conns: 1, bytes: size}, {conns: len(urls), bytes: size}, {conns: o.conns, bytes: size}}
	for round := range o.rounds + 1 {
		for i := range rows {
			s := listTurn(t, urls, sessions, rows[i].conns, round, o.time/2)
			if round > 0 { // the first warms up
				rows[i].add(s)
			}
		}
	}
	return rows
}

// checkTools wants every tool from every coordinator, and returns the length of an answer.
func checkTools(t harness.T, urls []string, session string) (size int) {
	t.Helper()
	for _, url := range urls {
		s := harness.NewSession(url)
		s.ID, s.Version = session, protocolVersion
		harness.Eventually(t, harness.ReadyLimit, url+" lists everything", func() error {
			r, err := s.Post(t.Context(), []byte(listBody))
			if err != nil {
				return err
			}
			if n := strings.Count(string(r.Body), `"inputSchema"`); n != listServers*listTools {
				return fmt.Errorf("%d tools: %.200s", n, r.Body)
			}
			size = len(r.Body)
			return nil
		})
	}
	return size
}

// listTurn asks for d, over conns connections that are spread over the coordinators, beginning
// with another one in each round.
func listTurn(t harness.T, urls, sessions []string, conns, round int, d time.Duration) sample {
	t.Helper()
	share := make([]int, len(urls))
	for i := range conns {
		share[(round+i)%len(urls)]++
	}
	samples := make([]sample, len(urls))
	errs := make([]error, len(urls))
	var wg sync.WaitGroup
	for i, n := range share {
		if n > 0 {
			wg.Go(func() { samples[i], errs[i] = run(t.Context(), urls[i], sessions, listBody, n, d) })
		}
	}
	wg.Wait()
	all := sample{elapsed: d}
	for i, s := range samples {
		if errs[i] != nil {
			t.Fatalf("%v", errs[i])
		}
		all.requests += s.requests
		all.latencies = append(all.latencies, s.latencies...)
	}
	slices.Sort(all.latencies)
	return all
}

func (r *listRow) add(s sample) {
	r.rate = append(r.rate, s.rate())
	r.p50, r.p99 = append(r.p50, s.percentile(0.5)), append(r.p99, s.percentile(0.99))
	r.worst = max(r.worst, s.latencies[len(s.latencies)-1])
	r.all += s.requests
}

// median returns the middle of some values.
func median[T float64 | time.Duration](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

func writeLists(w io.Writer, rows []listRow) {
	fmt.Fprintf(w, "`tools/list` of %d servers with %d tools each, %d KiB, through three coordinators.\n\n", listServers, listTools, rows[0].bytes>>10)
	fmt.Fprintln(w, "| connections | answers | answers/s | p50, ms | p99, ms | p99 of the worst round, ms | worst of all, ms |")
	fmt.Fprintln(w, "|---:|---:|---:|---:|---:|---:|---:|")
	for _, r := range rows {
		fmt.Fprintf(w, "| %d | %d | %.0f | %.2f | %.2f | %.2f | %.2f |\n", r.conns, r.all, median(r.rate),
			millis(median(r.p50)), millis(median(r.p99)), millis(slices.Max(r.p99)), millis(r.worst))
	}
	fmt.Fprintln(w)
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
