package router

import (
	"context"
	"errors"
	"net/http"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// answerServer brings the answer of a client to the server that asked, on an endpoint over several
// servers. The id says which one that is, under the MAC of this very session.
func (r *Router) answerServer(ctx context.Context, w http.ResponseWriter, req *Request, s *session, f *wire.Frame) error {
	server, id, ok := r.cfg.Keys.openRequestID(s.tok.random, f.IDBytes())
	if !ok {
		return badRequest(nil, "no request with this id was sent in this session: answer a request of a server with its id exactly as it came")
	}
	v, err := r.viewOf(req, nil)
	if err != nil {
		return err
	}
	if !v.has(server) {
		return r.unanswerable(ctx, w, s, server)
	}
	body := taskFromClient(server, wire.ReplaceID(*f, id))
	if r.cfg.NoSticky {
		inner := *req
		inner.Body = body
		return r.tellAll(ctx, w, &inner, s, server)
	}
	c := r.newCall(ctx, w, req, s, server)
	c.out = outgoing{method: http.MethodPost, header: req.Header, merged: true, body: body}
	return c.deliver()
}

// unanswerable ends an answer that there is nobody to bring to. It is no error of the client: the
// server that asked is gone, and with it the call or whatever made it ask.
func (r *Router) unanswerable(ctx context.Context, w http.ResponseWriter, s *session, server store.ServerID) error {
	r.stats.unanswerable.Add(1)
	r.log.InfoContext(ctx, "an answer of a client came too late for its server", "session", s.tok, "server", server)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// isAnswer says that the message answers a request of a server.
func (c *call) isAnswer() bool {
	m := c.message()
	return m != nil && m.Kind == wire.Response
}

// deliver brings an answer to the node whose server has asked. No other node knows the request, so
// the session is not moved; but it may have been before. See [Dispatch].
func (c *call) deliver() error {
	var f *failure
	place, _ := c.s.place(c.server)
	for range maxMoves {
		if c.ctx.Err() != nil {
			return nil // the client has gone
		}
		if c.s.over() {
			return unknownSession(nil)
		}
		if n, _ := c.r.locate(c.ctx, place.Binding); n != nil {
			if f = c.attempt(n); f == nil {
				c.r.served(c.s, place, n)
				return nil
			}
			if c.answered || c.r.leaving() {
				return c.giveUp(f)
			}
			switch {
			case f.refused == wire.RefusedAnswer:
				return c.elsewhere(n.ID)
			case f.state > Refused && c.r.probes.fresh(c.ctx, n):
				c.r.stats.retried.Add(1)
				continue
			}
		}
		_, err := c.r.read(c.ctx, c.s)
		now, ok := c.s.place(c.server)
		switch {
		case errors.Is(err, store.ErrEnded):
			c.s.end()
		case ok && now.Binding != place.Binding:
			place = now
		case away(err), f != nil && f.refused != wire.RefusedSession && f.state <= Refused:
			_ = c.r.pause(c.ctx, adoptPause) // it may soon be there: whatever ended the pause, the next turn sees
		default:
			return c.elsewhere(place.Node)
		}
	}
	if f != nil && f.state > Refused {
		return c.giveUp(f)
	}
	return c.elsewhere(place.Node)
}

// elsewhere brings an answer to the node that asked if that is not the one where the session sits
// now: a node that stops finishes its calls when their sessions have moved already. Each replica of
// the server is shown it; only the one whose request it answers takes it.
func (c *call) elsewhere(not store.NodeID) error {
	c.out.timeout = closeTimeout
	for _, l := range c.r.replicas(c.r.fleet.Snapshot(), c.server) {
		if l.node.ID == not || c.r.suspects.of(l.node) != "" {
			continue
		}
		if f := c.attempt(l.node); f == nil || c.answered {
			return nil
		}
	}
	return c.r.unanswerable(c.ctx, c.w, c.s, c.server)
}
