package router

import (
	"cmp"
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// While the store is away, coordinators cannot tell each other where sessions sit and with what
// they began. The nodes can still be asked, and a session over several servers can be begun on
// one without what its client said. See docs/decisions/0016-begun-without-redis.md.

// issueSlack is how far the clock of the coordinator that minted a token may be behind Redis's
// for its session still to count as begun since the store was last read, with the part of a
// second that the token leaves out.
const issueSlack = 5 * time.Second

// fresh says that the session is not known to have been anywhere yet.
func (b bound) fresh() bool { return b.guessed || b.Binding == store.Binding{} }

// wasStored says that the store has the session, as far as is known.
func (s *session) wasStored() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stored
}

// search asks the nodes that have the server for a session of which this replica has no more
// than a guess where it sits, or that it could not open again.
func (m *mover) search(ctx context.Context) (place bound, found bool) {
	if !m.away || m.s.replayable() && !(m.from.guessed && m.s.wasStored()) {
		return m.from, false // the store said where it is, or nobody can have chosen another place
	}
	ctx, cancel := context.WithTimeout(ctx, m.r.cfg.ProbeTimeout)
	defer cancel()
	snap := m.r.fleet.Snapshot()
	list := m.r.replicas(snap, m.server)
	knows := make(chan *store.Node, len(list))
	var asked sync.WaitGroup
	for _, l := range list {
		if l.node.ID == m.from.Node || m.not.has(l.node) || m.r.suspects.of(l.node) != "" {
			continue
		}
		asked.Go(func() {
			if m.r.holds(ctx, m.s, m.server, l.node) {
				knows <- l.node
				cancel() // the others need not be heard
			}
		})
	}
	asked.Wait()
	select {
	case n := <-knows:
		m.r.stats.followed.Add(1)
		return m.s.settle(bound{server: m.server, Binding: store.Binding{Node: n.ID, Epoch: n.Epoch}, guessed: true}), true
	default:
		return m.from, false
	}
}

// holds asks a node whether a session is open there, with a notification that changes nothing
// where it is.
func (r *Router) holds(ctx context.Context, s *session, server store.ServerID, n *store.Node) bool {
	_, era, _ := s.origin()
	a, err := r.hop.send(ctx, n.URL, &outgoing{
		method: http.MethodPost, server: server, token: s.tok.text, epoch: n.Epoch, version: era, body: initialized, timeout: r.cfg.ProbeTimeout,
	})
	if err != nil {
		_ = r.failed(ctx, n, err) // for what it says of the node
		return false
	}
	defer a.Close()
	a.drain()
	return a.refused == "" && a.status < 300
}

// strange says that the session may be opened although this replica does not know with what its
// client began it: the store is away and was so when the session began, as far as is known
// here, so nothing in the store can speak against it.
func (m *mover) strange() bool {
	_, _, lapsed := m.s.origin()
	snap := m.r.fleet.Snapshot()
	return m.away && m.s.wide() && !lapsed && snap != nil && m.s.tok.Issued.Add(issueSlack).After(snap.Taken)
}

// wideOrigin is with what a session over several servers is opened on a node: what its client
// sent, or for a session of which only the id is known here, the hub's own params and the version
// that the client names with each request. These are nowhere kept.
func (r *Router) wideOrigin(s *session) (init []byte, era string) {
	init, era, _ = s.origin()
	era = cmp.Or(era, wire.AssumedVersion)
	if len(init) == 0 {
		init = []byte(`{"protocolVersion":"","capabilities":{},"clientInfo":{"name":"mcphub","version":` + string(wire.Quote(r.cfg.Version)) + `}}`)
	}
	return wideParams(init, era), era
}
