package node

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcphub-go/mcphub/heartbeat"
	"github.com/mcphub-go/mcphub/store"
)

// Node runs MCP servers and serves them to coordinators. It is safe for concurrent use.
type Node struct {
	cfg     Config
	lease   Lease
	log     *slog.Logger
	roster  *roster
	stats   counters
	handler http.Handler

	draining atomic.Bool
	running  atomic.Bool
	started  chan struct{}
	changed  chan struct{}
}

// New makes a node of a configuration that Validate accepts; a server whose part of it is
// wrong is shown as failed and never started. Nothing runs before Run.
func New(cfg Config, lease Lease, log *slog.Logger) *Node {
	cfg = cfg.withDefaults()
	n := &Node{
		cfg: cfg, lease: lease, log: log.With("node", string(cfg.ID)),
		started: make(chan struct{}), changed: make(chan struct{}, 1),
	}
	slots := newStarts(cfg.StartParallel)
	n.roster = newRoster(cfg.DrainTimeout, n.log, n.tell, func(sc ServerConfig) *server {
		s := newServer(sc, &n.cfg, n.log)
		s.stats, s.fence, s.slots, s.tell = &n.stats, n.fence, slots, n.tell
		return s
	})
	_ = n.roster.set(cfg.Servers) // cannot fail before Run
	n.handler = newHandler(n)
	return n
}

// Run runs the servers until ctx ends. Then it takes no new sessions and no new requests, waits
// for those in flight for at most DrainTimeout, stops every server and returns nil once nothing
// of them is left. It may be called once.
func (n *Node) Run(ctx context.Context) error {
	if !n.running.CompareAndSwap(false, true) {
		return errors.New("node has run already")
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var all sync.WaitGroup
	first := n.roster.begin(func(f func(context.Context)) { all.Go(func() { f(serving) }) })
	all.Go(func() { n.sweep(serving) })
	all.Go(func() {
		awaitStarts(first, n.log)
		close(n.started)
	})
	<-ctx.Done()
	n.roster.freeze()
	n.Drain()
	n.finishCalls()
	stop()
	all.Wait()
	return nil
}

// Drain makes the node refuse new sessions from now on and say so in its description. Sessions
// it has go on.
func (n *Node) Drain() {
	if n.draining.CompareAndSwap(false, true) {
		n.log.Info("node is draining")
		n.tell()
	}
}

// SetServers makes the node run the servers of the list, and no others; names must be unique.
// Servers whose settings are as before keep their processes and sessions, and one of which only
// the weight has changed keeps them too. A server with other settings is started beside the one
// that serves under its name; once it has been tried, well or badly, it takes the name over. A
// server that has been replaced so, or has left the list, answers the calls it has in hand for
// at most DrainTimeout and is stopped; its sessions are not known any more, so that coordinators
// open them anew.
//
// After an error, which joins all that is wrong with the list or says that the node is stopping,
// nothing has changed. SetServers does not wait for starts, ends or calls. It may be called at
// any time, by several callers one after the other.
func (n *Node) SetServers(list []ServerConfig) error {
	if err := validateServers(list); err != nil {
		return err
	}
	return n.roster.set(list)
}

// finishCalls lets the requests in flight finish, for a while, and takes no new ones.
func (n *Node) finishCalls() {
	left := finish(context.Background(), n.cfg.DrainTimeout, func() (left int) {
		for _, s := range n.roster.now.Load().all {
			left += s.quiesce(errStopping)
		}
		return left
	})
	if left > 0 {
		n.log.Warn("requests still in flight are cut off", "requests", left)
	}
}

// finish waits until there are no requests left, for at most d, and returns the number left.
func finish(ctx context.Context, d time.Duration, count func() int) int {
	deadline := time.NewTimer(d)
	defer deadline.Stop()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		left := count()
		if left == 0 {
			return 0
		}
		select {
		case <-look.C:
		case <-deadline.C:
			return left
		case <-ctx.Done():
			return left
		}
	}
}

// sweep ends what has waited too long: calls without answers, sessions without requests.
func (n *Node) sweep(ctx context.Context) {
	calls := time.NewTimer(n.callTick())
	defer calls.Stop()
	sessions := time.NewTimer(0)
	defer sessions.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-calls.C:
			n.eachLink((*link).sweep)
			n.shed()
			calls.Reset(n.callTick())
		case <-sessions.C:
			idle := n.idle()
			next := idle
			for _, s := range n.roster.now.Load().all {
				s.expire(idle)
				next = min(next, cmp.Or(s.cfg.IdleTimeout, next))
			}
			n.ageStreams(n.cfg.LogAge)
			sessions.Reset(min(maxSweep, next/10+1))
		}
	}
}

// callTick is the time between two looks for calls without answers.
func (n *Node) callTick() time.Duration {
	d := time.Second
	for _, s := range n.roster.now.Load().all {
		d = min(d, s.lim.CallTimeout/4+1)
	}
	return d
}

// maxSweep is the longest time between two looks for idle sessions. It is short because the
// first grant may name a much shorter timeout than was assumed before.
const maxSweep = 5 * time.Second

// idle is how long a session may rest here: what the fleet allows, and a tenth of it added.
func (n *Node) idle() time.Duration {
	d := cmp.Or(n.lease.SessionTimeout(), n.cfg.SessionTimeout)
	return d + d/10
}

// named returns the server of a name, or nil.
func (n *Node) named(name string) *server { return n.roster.now.Load().byName[name] }

func (n *Node) eachLink(f func(*link)) {
	for _, s := range n.roster.now.Load().all {
		for _, l := range s.links() {
			f(l)
		}
	}
}

// fence keeps a node without a fresh lease from running anything: a frozen process that
// wakes must not run what it had accepted.
func (n *Node) fence() error {
	if !n.lease.Fresh() {
		return errFenced
	}
	return nil
}

// Handler serves coordinators: /mcp/<server>, /api/node/challenge, /health and /ready.
func (n *Node) Handler() http.Handler { return n.handler }

// Started is closed when every server has been tried once, well or badly.
func (n *Node) Started() <-chan struct{} { return n.started }

// Changed delivers whenever the description may differ from before; changes that come together
// are one. There is one channel, so one reader.
func (n *Node) Changed() <-chan struct{} { return n.changed }

func (n *Node) tell() {
	select {
	case n.changed <- struct{}{}:
	default:
	}
}

// Describe tells the state of the node and the truth about its servers. It does not block.
func (n *Node) Describe() heartbeat.Description {
	d := heartbeat.Description{State: store.NodeActive}
	if n.draining.Load() {
		d.State = store.NodeDraining
	}
	for _, s := range n.roster.now.Load().shown {
		d.Servers = append(d.Servers, s.describe())
	}
	return d
}

// Catalog returns the bytes of a catalog that Describe named, unless it has changed since.
func (n *Node) Catalog(digest store.Digest) ([]byte, bool) {
	for _, s := range n.roster.now.Load().shown {
		if b, ok := s.catalogBytes(digest); ok {
			return b, true
		}
	}
	return nil, false
}

// Stats returns what has been counted since New.
func (n *Node) Stats() Stats { return n.stats.stats() }
