package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

func writeStreams(w io.Writer, single, merged streamFigures) {
	n, m := single.rows[1].streams, merged.rows[1].streams
	fmt.Fprintf(w, "Sessions with a stream by GET each, of two coordinators and two nodes: %d at `/mcp/%s`, and %d at `/mcp` with %d servers each. "+
		"The figures are of one coordinator and of one node, so of half the streams.\n\n", n, talkers[0], m, len(talkers))
	fmt.Fprintln(w, "| | coordinator, MiB | a stream, KiB | goroutines | a stream | descriptors | a stream | node, MiB | a stream, KiB | goroutines | a stream | descriptors | a stream |")
	fmt.Fprintln(w, "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
	for _, part := range []struct {
		path string
		f    streamFigures
	}{{"/mcp/" + talkers[0], single}, {"/mcp", merged}} {
		for _, r := range part.f.rows {
			fmt.Fprintf(w, "| `%s`, %s |", part.path, r.name)
			writeLoad(w, r.coordinator, part.f.rows[0].coordinator, r.streams)
			writeLoad(w, r.node, part.f.rows[0].node, r.streams)
			fmt.Fprintln(w)
		}
	}
	fmt.Fprintf(w, "\nFrom the server's writing of a message to its arrival at the client, and from the opening of a connection at the other coordinator, with an event id, "+
		"to the arrival of the message that followed; up to %d streams, spread over all, one after the other.\n\n", sampled)
	fmt.Fprintln(w, "| | message, p50, ms | p99, ms | worst, ms | taken up again, p50, ms | p99, ms | worst, ms |")
	fmt.Fprintln(w, "|---|---:|---:|---:|---:|---:|---:|")
	fmt.Fprintf(w, "| `/mcp/%s`, %d streams |", talkers[0], n)
	writeTimes(w, single.times)
	fmt.Fprintf(w, "| `/mcp`, %d streams |", m)
	writeTimes(w, merged.times)
	fmt.Fprintf(w, "\nCalls meanwhile, beside a fleet with as many sessions and no stream:\n\n")
	writeTable(w, single.calls)
}

// writeLoad writes what a process holds and, with streams, what each of them adds.
func writeLoad(w io.Writer, l, base load, streams int) {
	each := float64(streams) / 2 // of one of the two processes
	for _, q := range []struct {
		format    string
		now, then float64
	}{
		{"%.1f", float64(l.rss) / (1 << 20), float64(base.rss) / (1 << 20)},
		{"%.0f", float64(l.goroutines), float64(base.goroutines)},
		{"%.0f", float64(l.files), float64(base.files)},
	} {
		fmt.Fprintf(w, " "+q.format+" |", q.now)
		switch {
		case streams == 0:
			fmt.Fprint(w, " – |")
		case q.format == "%.1f":
			fmt.Fprintf(w, " %.1f |", (q.now-q.then)*1024/each)
		default:
			fmt.Fprintf(w, " %.2f |", (q.now-q.then)/each)
		}
	}
}

func writeTimes(w io.Writer, t times) {
	for _, d := range [][]time.Duration{t.message, t.resume} {
		s := sample{latencies: slices.Sorted(slices.Values(d))}
		fmt.Fprintf(w, " %.2f | %.2f | %.2f |", millis(s.percentile(0.5)), millis(s.percentile(0.99)), millis(slices.Max(d)))
	}
	fmt.Fprintln(w)
}
