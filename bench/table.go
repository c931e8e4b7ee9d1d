package main

import (
	"fmt"
	"io"
	"time"
)

// column is one quantity of a table.
type column struct {
	title, short, format string
	higher               bool // more is better
	of                   func(round) float64
}

func percentile(p float64) func(round) float64 {
	return func(r round) float64 { return micros(r.percentile(p)) }
}

var columns = []column{
	{"requests/s", "requests/s", "%.0f", true, func(r round) float64 { return r.rate() }},
	{"CPU of the hop, µs/request", "CPU of the hop", "%.1f", false, func(r round) float64 { return micros(r.hopCPU) }},
	{"CPU in all, µs/request", "CPU in all", "%.1f", false, func(r round) float64 { return micros(r.allCPU) }},
	{"p50, µs", "p50", "%.0f", false, percentile(0.50)},
	{"p99, µs", "p99", "%.0f", false, percentile(0.99)},
	{"p50 alone, µs", "p50 alone", "%.0f", false, func(r round) float64 { return micros(r.alone.percentile(0.5)) }},
	{"p99 alone, µs", "p99 alone", "%.0f", false, func(r round) float64 { return micros(r.alone.percentile(0.99)) }},
}

// writeTable writes one Markdown table: median (worst) and, except for the baseline itself,
// the ratio of the medians to the baseline's. The first target is the baseline. Below it the
// last target, which is ours, is set beside each of the others between.
func writeTable(w io.Writer, targets []*target) {
	baseline := targets[0]
	fmt.Fprint(w, "| |")
	for _, c := range columns {
		fmt.Fprintf(w, " %s |", c.title)
	}
	fmt.Fprint(w, "\n|---|")
	for range columns {
		fmt.Fprint(w, "---:|")
	}
	fmt.Fprintln(w)
	for _, t := range targets {
		fmt.Fprintf(w, "| %s |", t.name)
		for _, c := range columns {
			f, base := t.over(c.higher, c.of), baseline.over(c.higher, c.of)
			fmt.Fprintf(w, " "+c.format+" ("+c.format+")", f.median, f.worst)
			if t != baseline && base.median > 0 {
				fmt.Fprintf(w, " ×%.2f", f.median/base.median)
			}
			fmt.Fprint(w, " |")
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
	ours := targets[len(targets)-1]
	for _, t := range targets[1 : len(targets)-1] {
		fmt.Fprintf(w, "%s, set beside %s:", ours.name, t.name)
		for i, c := range columns {
			if i > 0 {
				fmt.Fprint(w, ",")
			}
			fmt.Fprintf(w, " %s ×%.2f", c.short, ours.over(c.higher, c.of).median/t.over(c.higher, c.of).median)
		}
		fmt.Fprint(w, ".\n\n")
	}
}

// memoryRow is memory at one number of idle sessions.
type memoryRow struct {
	sessions                 int
	coordinator, node, redis int64 // bytes resident, in all
}

func writeMemory(w io.Writer, rows []memoryRow) {
	fmt.Fprintln(w, "| idle sessions | coordinator, MiB | a session, KiB | node, MiB | a session, KiB | Redis, MiB | a session, KiB |")
	fmt.Fprintln(w, "|---:|---:|---:|---:|---:|---:|---:|")
	base := rows[0]
	for _, r := range rows {
		fmt.Fprintf(w, "| %d |", r.sessions)
		for _, pair := range [][2]int64{{r.coordinator, base.coordinator}, {r.node, base.node}, {r.redis, base.redis}} {
			fmt.Fprintf(w, " %.1f |", float64(pair[0])/(1<<20))
			if r.sessions == 0 {
				fmt.Fprint(w, " – |")
			} else {
				fmt.Fprintf(w, " %.2f |", float64(pair[0]-pair[1])/1024/float64(r.sessions))
			}
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
}

// redisCount is what Redis was asked over a span of time.
type redisCount struct {
	requests int
	span     time.Duration
	commands map[string]int
}

func (c redisCount) total() int {
	n := 0
	for _, v := range c.commands {
		n += v
	}
	return n
}
