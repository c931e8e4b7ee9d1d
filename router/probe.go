package router

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// probeHolds is how long an answer to a probe counts.
const probeHolds = time.Second

// probes asks nodes whether they live, not more than once a second each. Safe for concurrent
// use.
type probes struct {
	ask    func(ctx context.Context, n *store.Node) error
	flight singleflight.Group

	mu   sync.Mutex
	last map[store.NodeID]probed
}

type probed struct {
	url   string
	alive bool
	at    time.Time
}

// alive asks a node, or takes an answer that is not older than a second.
func (p *probes) alive(ctx context.Context, n *store.Node) bool {
	p.mu.Lock()
	last, ok := p.last[n.ID]
	p.mu.Unlock()
	if ok && last.url == n.URL && time.Since(last.at) < probeHolds {
		return last.alive
	}
	return p.fresh(ctx, n)
}

// fresh asks a node now; only callers at the same moment share an answer.
func (p *probes) fresh(ctx context.Context, n *store.Node) bool {
	v, _, _ := p.flight.Do(string(n.ID)+"\n"+n.URL, func() (any, error) {
		alive := p.ask(context.WithoutCancel(ctx), n) == nil
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.last == nil {
			p.last = make(map[store.NodeID]probed)
		}
		p.last[n.ID] = probed{url: n.URL, alive: alive, at: time.Now()}
		return alive, nil
	})
	return v.(bool)
}

// prune forgets nodes that are gone.
func (p *probes) prune(snap *store.Snapshot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.last {
		if snap.Node(id) == nil {
			delete(p.last, id)
		}
	}
}

// askHealth asks a node for its health. What answers must also say that it is this node.
func (r *Router) askHealth(ctx context.Context, n *store.Node) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.ProbeTimeout)
	defer cancel()
	a, err := r.hop.send(ctx, n.URL, &outgoing{method: http.MethodGet, health: true, timeout: r.cfg.ProbeTimeout})
	if err != nil {
		_ = r.failed(ctx, n, err) // for what it says of the node
		return err
	}
	defer a.Close()
	body, err := readSome(a, nil, 4<<10)
	if err != nil {
		return err
	}
	id, ok := wire.Lookup(body, "id")
	if name, _ := wire.Unquote(id.Of(body)); a.status != http.StatusOK || !ok || name != string(n.ID) {
		return fmt.Errorf("health of node %s: status %d, from %q", n.ID, a.status, name)
	}
	r.suspects.clear(n.ID)
	return nil
}
