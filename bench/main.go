package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// options are the flags.
type options struct {
	out      string
	rounds   int
	time     time.Duration
	conns    int
	sessions int
	memory   []int
	streams  int
	merged   int
	only     string
}

func main() {
	if err := dispatch(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// dispatch runs the benchmark, or one of the processes that it starts by calling itself.
func dispatch(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "reverse-proxy":
		return serveReverseProxy(args[1], strings.Split(args[2], ","))
	case len(args) == 4 && args[0] == "fake-node":
		return serveFakeNode(args[1], args[2], args[3])
	case len(args) == 2 && args[0] == "talker":
		return serveTalker(args[1], os.Stdin, os.Stdout)
	}
	o, err := parse(args)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code := harness.Main(func() int {
		if err = withRunner(ctx, func(r *runner) { measure(r, o) }); err != nil {
			return 1
		}
		return 0
	})
	if code != 0 && err == nil {
		err = fmt.Errorf("processes were left behind")
	}
	return err
}

func parse(args []string) (options, error) {
	var o options
	var memory string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.out, "o", "", "write the tables between the markers of this file; empty: standard output")
	f.IntVar(&o.rounds, "rounds", 7, "turns of each target")
	f.DurationVar(&o.time, "time", 2*time.Second, "length of a turn")
	f.IntVar(&o.conns, "conns", 16, "connections, each with one request at a time")
	f.IntVar(&o.sessions, "sessions", 64, "sessions that the calls are spread over")
	f.StringVar(&memory, "memory", "1000,10000", "numbers of idle sessions to measure memory at; empty: none")
	f.IntVar(&o.streams, "streams", 10000, "streams that are open at one server; fewer where the limit of open files is too low")
	f.IntVar(&o.merged, "merged", 1000, "streams that are open over several servers")
	f.StringVar(&o.only, "only", "", "hop, chain, lists, isolated or streams: those tables only; baselines: hop and chain without the hub; empty: everything")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	for s := range strings.SplitSeq(memory, ",") {
		if s == "" {
			continue
		}
		n, err := strconv.Atoi(s)
		if err != nil {
			return o, fmt.Errorf("-memory: %w", err)
		}
		o.memory = append(o.memory, n)
	}
	if o.rounds < 1 || o.conns < 1 || o.sessions < 1 || o.streams < 1 || o.merged < 1 {
		return o, fmt.Errorf("-rounds, -conns, -sessions, -streams and -merged must be at least 1")
	}
	return o, nil
}

// measure does all there is to do and writes the result.
func measure(t *runner, o options) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Measured %s on %s; %d rounds of %v in turns, %d connections, %d sessions. Median (worst of the rounds) ×ratio to the first row.\n\n",
		time.Now().UTC().Format("2006-01-02"), machine(), o.rounds, o.time, o.conns, o.sessions)
	hub := o.only != "baselines"
	wanted := func(part string) bool { return o.only == "" || o.only == part }
	if wanted("hop") || !hub {
		targets := hopTargets(t, hub)
		interleave(t, targets, o)
		fmt.Fprintf(&b, "### The hop alone\n\n")
		writeTable(&b, targets)
	}
	if wanted("chain") || !hub {
		targets, c := chainTargets(t, hub)
		interleave(t, targets, o)
		fmt.Fprintf(&b, "### Coordinator, node and server\n\n")
		writeTable(&b, targets)
		if hub {
			fmt.Fprintf(&b, "### Redis commands\n\n")
			countRedis(t, &b, c, targets[len(targets)-1], o)
		}
	}
	if wanted("lists") {
		fmt.Fprintf(&b, "### Lists of the whole hub\n\n")
		writeLists(&b, measureLists(t, o))
	}
	if wanted("isolated") {
		c := isolatedFleet(t)
		fmt.Fprintf(&b, "### Start of a session\n\n")
		writeStarts(&b, measureStarts(t, c, min(o.rounds, 5)))
		fmt.Fprintf(&b, "### Memory of a process for each session\n\n")
		writeIsolatedMemory(&b, measureIsolatedMemory(t, c))
	}
	if wanted("streams") {
		fmt.Fprintf(&b, "### Streams\n\n")
		writeStreams(&b, measureStreams(t, o), measureMerged(t, o))
	}
	if len(o.memory) > 0 && o.only == "" {
		fmt.Fprintf(&b, "### Memory of idle sessions\n\n")
		writeMemory(&b, measureMemory(t, o.memory))
	}
	if err := publish(o.out, b.String()); err != nil {
		t.Fatalf("%v", err)
	}
}

// machine says what this ran on.
func machine() string {
	model := "unknown CPU"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	load := "unknown"
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		load, _, _ = strings.Cut(string(b), " ")
	}
	return fmt.Sprintf("%s, %d threads, load %s before, %s", model, numCPU(), load, goVersion())
}

// Markers between which the tables stand in the document.
const (
	beginMark = "<!-- make bench writes from here -->"
	endMark   = "<!-- make bench writes to here -->"
)

// publish writes the tables to standard output, or into the document.
func publish(file, tables string) error {
	if file == "" {
		_, err := fmt.Print(tables)
		return err
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(b), beginMark)
	_, tail, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no markers %q and %q", file, beginMark, endMark)
	}
	return os.WriteFile(file, []byte(head+beginMark+"\n\n"+tables+endMark+tail), 0o644)
}
