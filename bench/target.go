package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// target is one thing that is measured: an endpoint and the processes that serve it.
type target struct {
	name string
	url  string
	tool string
	// hop are the processes between client and server; behind is what serves in the end.
	hop, behind []func() []int

	sessions []string
	rounds   []round
}

// round is what one turn of one target gave.
type round struct {
	sample
	// alone is a turn with one connection, where nothing queues.
	alone sample
	// hopCPU and allCPU are CPU time per request of the hop and of all serving processes.
	hopCPU, allCPU time.Duration
}

// only is the pid of one process as target wants it; with its children, as nginx works in them.
func only(p *harness.Proc) func() []int {
	return func() []int { return append([]int{p.Pid()}, harness.Descendants(p.Pid())...) }
}

func cpu(groups []func() []int) time.Duration {
	var sum time.Duration
	for _, g := range groups {
		for _, pid := range g() {
			sum += harness.CPUOf(pid)
		}
	}
	return sum
}

// turn measures one round of t.
func (t *target) turn(ctx context.Context, conns int, d time.Duration) error {
	hop, all := cpu(t.hop), cpu(t.hop)+cpu(t.behind)
	s, err := run(ctx, t.url, t.sessions, callBody(t.tool), conns, d)
	if err != nil {
		return fmt.Errorf("%s: %w", t.name, err)
	}
	r := round{
		sample: s,
		hopCPU: (cpu(t.hop) - hop) / time.Duration(s.requests),
		allCPU: (cpu(t.hop) + cpu(t.behind) - all) / time.Duration(s.requests),
	}
	if r.alone, err = run(ctx, t.url, t.sessions, callBody(t.tool), 1, d/2); err != nil {
		return fmt.Errorf("%s: %w", t.name, err)
	}
	t.rounds = append(t.rounds, r)
	return nil
}

// interleave opens the sessions of the targets that have none, warms all up, and measures them in
// turns.
func interleave(t harness.T, targets []*target, o options) {
	for _, tg := range targets {
		if tg.sessions == nil {
			ids, err := openSessions(t.Context(), tg.url, o.sessions)
			if err != nil {
				t.Fatalf("%s: %v", tg.name, err)
			}
			tg.sessions = ids
		}
		if _, err := run(t.Context(), tg.url, tg.sessions, callBody(tg.tool), o.conns, o.time/4); err != nil {
			t.Fatalf("%s: %v", tg.name, err)
		}
	}
	for i := range o.rounds {
		for _, tg := range targets {
			if err := tg.turn(t.Context(), o.conns, o.time); err != nil {
				t.Fatalf("round %d: %v", i+1, err)
			}
			r := tg.rounds[i]
			t.Logf("round %d  %-28s %8.0f req/s  hop %6.1f us  all %6.1f us  p50 %v  p99 %v", i+1, tg.name,
				r.rate(), micros(r.hopCPU), micros(r.allCPU), r.percentile(0.5), r.percentile(0.99))
		}
	}
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// figure is the median of a quantity over the rounds and the worst of them.
type figure struct{ median, worst float64 }

// over computes a figure; higher says whether more is better.
func (t *target) over(higher bool, of func(round) float64) figure {
	values := make([]float64, len(t.rounds))
	for i, r := range t.rounds {
		values[i] = of(r)
	}
	slices.Sort(values)
	f := figure{median: values[len(values)/2], worst: values[len(values)-1]}
	if higher {
		f.worst = values[0]
	}
	return f
}
