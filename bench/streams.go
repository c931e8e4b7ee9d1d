package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

const (
	// sampled is how many messages are timed, and as many streams taken up again.
	sampled = 300
	// cycle is longer than the time between two comments on a stream, after which every one of them
	// has been written to once more.
	cycle = 20 * time.Second
	// spareFiles are the descriptors that a process needs for other things than streams.
	spareFiles = 1000
)

// talkers are the servers of each node.
var talkers = []string{"one", "two", "three"}

// streamFleet is two coordinators and two nodes, each with all the talkers.
func streamFleet(t harness.T) *harness.Cluster {
	t.Helper()
	servers := harness.Servers{}
	for _, name := range talkers {
		servers[name] = harness.Server{Command: self(t), Args: []string{"talker", name}}
	}
	return harness.StartCluster(t, harness.Options{
		Coordinators: 2, Secret: secret, Timing: timing,
		Nodes: []harness.NodeOptions{{ID: "node-1", Servers: servers}, {ID: "node-2", Servers: servers}},
	})
}

// maxStreams is how many of the streams wanted this machine can have: here each one takes a
// descriptor, and at two coordinators one for its client and one for its node, or for each of
// several. The soft limit of this process, and of those that it starts, becomes the hard one.
func maxStreams(t harness.T, wanted, nodesEach int) int {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatalf("the limit of open files: %v", err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatalf("raise the limit of open files: %v", err)
	}
	most := (int(min(limit.Max, 1<<30)) - spareFiles) * 2 / max(2, 1+nodesEach)
	if most < wanted {
		t.Logf("%d streams instead of %d: a process may have %d files open", most, wanted, limit.Max)
	}
	return min(wanted, most)
}

// crowdOf are sessions with open streams at a fleet. Session i is a client of coordinator i%2.
type crowdOf struct {
	t       harness.T
	c       *harness.Cluster
	path    string // of the endpoint
	servers []string
	ids     []string
	streams []*listener

	mu     sync.Mutex
	broken error // the first stream that ended by itself
}

// openCrowd opens n sessions. At /mcp each is opened at all the servers, by a call.
func openCrowd(t harness.T, c *harness.Cluster, path string, n int) *crowdOf {
	t.Helper()
	k := &crowdOf{t: t, c: c, path: path, ids: make([]string, n), streams: make([]*listener, n), servers: talkers[:1]}
	for i := range c.Coordinators {
		ids, err := openSessions(t.Context(), k.url(i).String(), (n+1-i)/2)
		if err != nil {
			t.Fatalf("open sessions at %s: %v", path, err)
		}
		for j, id := range ids {
			k.ids[2*j+i] = id
		}
	}
	if k.wide() {
		k.servers = talkers
		for _, server := range talkers {
			k.each(func(ctx context.Context, c *conn, i int) error {
				return call(c, k.url(i), k.ids[i], callBody(k.tool(server, "echo")))
			})
		}
	}
	return k
}

func (k *crowdOf) wide() bool { return k.path == "/mcp" }

func (k *crowdOf) tool(server, name string) string {
	if k.wide() {
		return server + "-" + name
	}
	return name
}

// url is the endpoint at a coordinator: any number means one of them.
func (k *crowdOf) url(i int) *url.URL {
	u, err := url.Parse(k.c.Coordinators[i%len(k.c.Coordinators)].URL + k.path)
	if err != nil {
		panic(err) // cannot happen: it serves
	}
	return u
}

// each does something for every session, a few at a time and each on connections to its own
// coordinator.
func (k *crowdOf) each(do func(ctx context.Context, c *conn, i int) error) {
	k.t.Helper()
	const workers = 4
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			ctx := k.t.Context()
			c, err := dial(ctx, k.url(w))
			if err != nil {
				errs[w] = err
				return
			}
			defer c.c.Close()
			for i := w; i < len(k.ids) && errs[w] == nil; i += workers {
				errs[w] = do(ctx, c, i)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		k.t.Fatalf("%s: %v", k.path, err)
	}
}

// call wants a result.
func call(c *conn, u *url.URL, session, body string) error {
	status, _, answer, err := c.roundTrip(post(u, session, protocolVersion, body))
	if err == nil && (status != 200 || !strings.Contains(string(answer), `"result"`)) {
		err = fmt.Errorf("%s: status %d: %.300s", u, status, answer)
	}
	return err
}

// listen opens a stream for every session.
func (k *crowdOf) listen() {
	k.t.Helper()
	k.each(func(ctx context.Context, _ *conn, i int) (err error) {
		k.streams[i], err = listen(ctx, k.url(i), k.ids[i], "", k.lost)
		return err
	})
}

func (k *crowdOf) lost(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.broken == nil {
		k.broken = err
	}
}

// check ends the program if a stream has ended by itself.
func (k *crowdOf) check() {
	k.t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.broken != nil {
		k.t.Fatalf("%s: a stream has ended: %v", k.path, k.broken)
	}
}

// close ends all streams.
func (k *crowdOf) close() {
	for _, l := range k.streams {
		l.close()
	}
}

// times are how long things took, one for each time.
type times struct{ message, resume []time.Duration }

// time times messages by the streams of sessions that are spread over all of them: from the
// server's writing to the client's reading, and then from the opening of a connection, at the other
// coordinator, to the first message that is told again.
func (k *crowdOf) time() (out times) {
	k.t.Helper()
	var conns []*conn
	for i := range k.c.Coordinators {
		c, err := dial(k.t.Context(), k.url(i))
		if err != nil {
			k.t.Fatalf("%v", err)
		}
		defer c.c.Close()
		conns = append(conns, c)
	}
	n := min(sampled, len(k.ids))
	for i := range n {
		if err := k.timeOne(&out, conns, i*len(k.ids)/n, k.servers[i%len(k.servers)]); err != nil {
			k.t.Fatalf("%s: %v", k.path, err)
		}
	}
	return out
}

func (k *crowdOf) timeOne(out *times, conns []*conn, i int, server string) error {
	ctx, other := k.t.Context(), i+1
	uri := "bench://" + server + "/" + strconv.Itoa(i)
	ask := func(at int, body string) error { return call(conns[at%len(conns)], k.url(at), k.ids[i], body) }
	if err := ask(i, fmt.Sprintf(`{"jsonrpc":"2.0","id":8,"method":"resources/subscribe","params":{"uri":%q}}`, uri)); err != nil {
		return err
	}
	var got [2]event
	for j := range got {
		err := ask(other, fmt.Sprintf(`{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":%q,"arguments":{"uri":%q}}}`, k.tool(server, "say"), uri))
		if err == nil {
			got[j], err = k.streams[i].next(ctx)
		}
		if err != nil {
			return err
		}
		out.message = append(out.message, got[j].at.Sub(got[j].sent))
	}
	k.streams[i].close()
	began := time.Now()
	l, err := listen(ctx, k.url(other), k.ids[i], got[0].id, k.lost)
	if err != nil {
		return err
	}
	k.streams[i] = l
	again, err := l.next(ctx)
	if err == nil && !again.sent.Equal(got[1].sent) {
		err = fmt.Errorf("a stream was taken up with another message than the one that followed")
	}
	out.resume = append(out.resume, again.at.Sub(began))
	return err
}

// load is what processes hold: the mean of those of a kind.
type load struct {
	rss               int64 // bytes
	goroutines, files int
}

// streamRow is what coordinators and nodes hold at one moment.
type streamRow struct {
	name              string
	streams           int // open
	coordinator, node load
}

// take reads what the processes hold, once memory has settled.
func (k *crowdOf) take(name string, streams int) streamRow {
	k.t.Helper()
	k.check()
	coordinators, nodes := k.c.Coordinators, []*harness.Hub{k.c.Nodes["node-1"], k.c.Nodes["node-2"]}
	row := settle(func() streamRow {
		return streamRow{name: name, streams: streams, coordinator: loadOf(k.t, coordinators), node: loadOf(k.t, nodes)}
	}, func(r streamRow) int64 { return r.coordinator.rss + r.node.rss })
	k.t.Logf("%s: %+v", name, row)
	return row
}

func loadOf(t harness.T, hubs []*harness.Hub) (all load) {
	t.Helper()
	for _, h := range hubs {
		files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", h.Pid()))
		if err != nil {
			t.Fatalf("%v", err)
		}
		all.rss += h.RSS()
		all.files += len(files)
		all.goroutines += goroutines(t, h)
	}
	n := len(hubs)
	return load{rss: all.rss / int64(n), goroutines: all.goroutines / n, files: all.files / n}
}

// goroutines is what a process says of itself.
func goroutines(t harness.T, h *harness.Hub) int {
	t.Helper()
	_, body, err := harness.Get(t.Context(), h.URL+"/metrics")
	if err != nil {
		t.Fatalf("metrics of %s: %v", h.Name, err)
	}
	for line := range strings.Lines(string(body)) {
		if value, ok := strings.CutPrefix(line, "go_goroutines "); ok {
			if n, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil {
				return int(n)
			}
		}
	}
	t.Fatalf("%s tells no go_goroutines", h.Name)
	return 0
}

// streamFigures is what one number of streams cost.
type streamFigures struct {
	rows  []streamRow
	times times
	calls []*target // without a stream and with all of them; nil for not measured
}

// measureStreams has one fleet with streams at one server each, beside another with as many
// sessions and none.
func measureStreams(t harness.T, o options) (single streamFigures) {
	n := maxStreams(t, o.streams, 1)
	path := "/mcp/" + talkers[0]
	quiet := openCrowd(t, streamFleet(t), path, n)
	loud := openCrowd(t, streamFleet(t), path, n)
	single.open(loud, n)
	single.calls = []*target{quiet.target("no stream open", o), loud.target(fmt.Sprintf("%d streams open", n), o)}
	interleave(t, single.calls, o)
	single.close(loud)
	return single
}

// measureMerged has streams over several servers.
func measureMerged(t harness.T, o options) (merged streamFigures) {
	n := maxStreams(t, o.merged, len(talkers))
	k := openCrowd(t, streamFleet(t), "/mcp", n)
	merged.open(k, n)
	merged.close(k)
	return merged
}

// open measures the sessions of a crowd without streams and with one each.
func (f *streamFigures) open(k *crowdOf, n int) {
	f.rows = append(f.rows, k.take(fmt.Sprintf("%d sessions", n), 0))
	began := time.Now()
	k.listen()
	k.t.Logf("%d streams at %s opened in %v", n, k.path, time.Since(began))
	wait(k.t.Context(), cycle)
	f.rows = append(f.rows, k.take("a stream each", n))
	f.times = k.time()
}

// close measures them once the streams have ended.
func (f *streamFigures) close(k *crowdOf) {
	k.check()
	k.close()
	wait(k.t.Context(), cycle)
	f.rows = append(f.rows, k.take("streams closed again", 0))
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// target is a crowd whose calls are measured, at the first coordinator.
func (k *crowdOf) target(name string, o options) *target {
	t := &target{name: name, url: k.url(0).String(), tool: "echo", sessions: k.ids[:min(o.sessions, len(k.ids))]}
	for _, h := range k.c.Coordinators {
		t.hop = append(t.hop, only(h.Proc))
	}
	for _, h := range k.c.Nodes {
		t.behind = append(t.behind, only(h.Proc))
	}
	return t
}
