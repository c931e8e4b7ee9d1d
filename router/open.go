package router

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// Messages of our own to a node. The id cannot meet one of the client's: nobody sees it.
const initializeHead = `{"jsonrpc":"2.0","id":"mcphub-open","method":"initialize","params":`

var initialized = []byte(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)

// openTime bounds the initialize that opens a session on a replica. Where each session has a
// process, it may first wait at the node until one that ends has made room, and then for its own to
// start: either takes as long as a start may at most. The node gives up by itself, and says why.
func (r *Router) openTime(server *store.Server) time.Duration {
	switch {
	case server.Isolation == "":
		return r.cfg.OpenTimeout
	case server.StartSeconds > 0:
		return 2*time.Duration(server.StartSeconds)*time.Second + r.cfg.OpenTimeout
	}
	return r.cfg.StartTimeout
}

// moveTime bounds moving a session of a server.
func (r *Router) moveTime(server store.ServerID) time.Duration {
	var start time.Duration
	for _, l := range r.replicas(r.fleet.Snapshot(), server) {
		if l.server.Isolation != "" {
			start = max(start, r.openTime(l.server))
		}
	}
	return r.cfg.MoveTimeout + start
}

// open gives a node the session, under its public id and with the client's own initialize, as far
// as it is known here. The error is a *failure if the node refused.
func (r *Router) open(ctx context.Context, s *session, server store.ServerID, c *Candidate) error {
	sessions, placed := -1, false
	r.loads.begin(c.node, c.server)
	defer func() { r.loads.end(c.node, c.server, sessions, placed) }()
	init, era, _ := s.origin()
	if s.wide() {
		init, era = r.wideOrigin(s)
	}
	body := append(append([]byte(initializeHead), init...), '}')
	out := outgoing{method: http.MethodPost, server: server, token: s.tok.text, epoch: c.Epoch, body: body, timeout: r.openTime(c.server)}
	a, err := r.hop.send(ctx, c.node.URL, &out)
	if err != nil {
		_ = r.failed(ctx, c.node, err) // for what it says of the node
		return err
	}
	if a.refused != "" {
		defer a.Close()
		return r.refused(ctx, c.node, server, a)
	}
	err = opened(a)
	sessions, placed = a.sessions, err == nil
	a.Close()
	if err != nil {
		return fmt.Errorf("initialize: %w", err)
	}
	out.body, out.version, out.timeout = initialized, era, r.cfg.OpenTimeout
	if a, err = r.hop.send(ctx, c.node.URL, &out); err != nil {
		_ = r.failed(ctx, c.node, err) // for what it says of the node
		return err
	}
	defer a.Close()
	a.drain()
	if a.refused != "" || a.status >= 300 {
		return fmt.Errorf("initialized: status %d %s", a.status, a.refused)
	}
	r.passLevel(ctx, s, server, c.node.URL, c.Epoch)
	r.passSubscriptions(ctx, s, server, c.node.URL, c.Epoch)
	r.stats.opened.Add(1)
	return nil
}

// opened reads the answer to an initialize of ours.
func opened(a *answer) error {
	if a.status != http.StatusOK {
		a.drain()
		return fmt.Errorf("status %d", a.status)
	}
	_, f, err := readResponse(a)
	if err != nil {
		return err
	}
	if f.Result.IsZero() {
		return errors.New("the server answered with an error")
	}
	return nil
}

// readResponse reads a whole answer to an initialize, plain or as a stream, and the response in
// it.
func readResponse(a *answer) (raw []byte, f wire.Frame, err error) {
	if !isStream(a) {
		if raw, err = readSome(a, nil, maxEvent); err == nil && !a.ended {
			err = errTooLarge
		}
		if err == nil {
			f, err = wire.Scan(raw, wire.ServerLimits)
		}
		if err == nil && f.Kind != wire.Response {
			err = errors.New("the answer is no response")
		}
		return raw, f, err
	}
	events := wire.NewEventReader(a, maxEvent)
	for {
		ev, err := events.Next()
		if err != nil {
			return raw, f, fmt.Errorf("%w: %w", errCut, err)
		}
		if raw = append(raw, ev.Raw...); len(raw) > maxEvent {
			return raw, f, errTooLarge
		}
		if len(ev.Data) == 0 {
			continue
		}
		got, err := wire.Scan(append([]byte(nil), ev.Data...), wire.ServerLimits)
		if err != nil {
			return raw, f, err
		}
		if got.Kind == wire.Response {
			return raw, got, nil
		}
	}
}

// closeTimeout bounds ending a session on a node.
const closeTimeout = 2 * time.Second

// closeUpstream ends the session on a node and reports whether the node knew it. It need not
// succeed: a node forgets what is idle.
func (r *Router) closeUpstream(ctx context.Context, s *session, server store.ServerID, at store.Binding) (known bool) {
	n := r.fleet.Snapshot().Node(at.Node)
	if n == nil || r.suspects.of(n) != "" {
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	a, err := r.hop.send(ctx, n.URL, &outgoing{
		method: http.MethodDelete, server: server, token: s.tok.text, epoch: n.Epoch, timeout: closeTimeout,
	})
	if err != nil {
		r.log.DebugContext(ctx, "session not ended on node", "session", s.tok, "server", server, "node", n.ID, "err", err)
		return false
	}
	defer a.Close()
	if _, err := readSome(a, nil, wholeAnswer); err != nil || a.refused != "" || a.status >= 300 {
		return false
	}
	r.loads.ended(n.ID, server)
	return true
}
