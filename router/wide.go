package router

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// noSuchMethod answers what nobody on an endpoint over several servers could.
const noSuchMethod = "unknown method: this endpoint over several servers serves initialize, ping, the lists of tools, prompts, " +
	"resources and resource templates, tools/call, prompts/get, resources/read, resources/subscribe, resources/unsubscribe, " +
	"completion/complete, logging/setLevel and tasks/get, result, list and cancel"

// wideCapabilities is what an endpoint over several servers can do, whatever its servers are at the
// moment: they come and go while a session lasts, and a client that was not told of something never
// asks for it. See docs/decisions.
const wideCapabilities = `{"completions":{},"logging":{},"prompts":{"listChanged":true},` +
	`"resources":{"listChanged":true,"subscribe":true},"tools":{"listChanged":true}}`

// startWide begins a session over several servers. No node hears of it: upstream sessions are
// opened when a call needs them.
func (r *Router) startWide(ctx context.Context, w http.ResponseWriter, req *Request, f *wire.Frame) error {
	if at, ok := f.Lookup("params", "protocolVersion"); !ok || f.Raw[at.Start] != '"' {
		return &Error{Err: ErrBadRequest, ID: f.IDBytes(), Code: wire.CodeInvalidParams, Message: "initialize needs params.protocolVersion, a string such as " + wire.LatestLegacy}
	}
	v, err := r.viewOf(req, f.IDBytes())
	if err != nil {
		return err
	}
	tok, err := r.cfg.Keys.Mint(req.scope(), req.Subject, "", 0, time.Now())
	if err != nil {
		return err
	}
	if err := r.claim(ctx, req, f, tok.random); err != nil {
		return err
	}
	s := newSession(tok, req)
	s.init = append([]byte(nil), f.ParamsBytes()...)
	s.era = negotiate(f)
	r.remember(ctx, s)
	w.Header()[wire.HeaderSession] = []string{tok.text}
	result := append([]byte(`{"protocolVersion":`), wire.Quote(s.era)...)
	result = append(append(result, `,"capabilities":`+wideCapabilitiesOf(s.era)+`,"serverInfo":{"name":"mcphub","version":`...), wire.Quote(r.cfg.Version)...)
	result = append(result, '}')
	if text := r.stock(ctx, v).instructions(); text != "" {
		result = append(append(result, `,"instructions":`...), wire.Quote(text)...)
	}
	return writeJSON(w, http.StatusOK, wire.Result(f.IDBytes(), append(result, '}')))
}

// negotiate is the version that a session over several servers speaks: the client's, if it is
// served here, else the latest one with sessions (MCP 2025-11-25, Lifecycle, Version
// Negotiation).
func negotiate(f *wire.Frame) string {
	if v, ok := f.Lookup("params", "protocolVersion"); ok {
		if v, ok := wire.Unquote(v.Of(f.Raw)); ok && wire.IsLegacy(v) {
			return v
		}
	}
	return wire.LatestLegacy
}

// wideParams are the params with which an upstream session of a wide one is opened: the
// client's, with the version that was negotiated.
func wideParams(init []byte, era string) []byte {
	at, ok := wire.Lookup(init, "protocolVersion")
	if !ok {
		return init
	}
	return wire.Splice(init, wire.Edit{Span: at, New: wire.Quote(era)})
}

// carryWide carries a message of a session over several servers.
func (r *Router) carryWide(ctx context.Context, w http.ResponseWriter, req *Request, s *session) error {
	f, err := wire.Scan(req.Body, wire.ClientLimits)
	if err != nil {
		return badFrame(err)
	}
	switch f.Kind {
	case wire.Response:
		return r.answerServer(ctx, w, req, s, &f)
	case wire.Notification:
		return r.notify(ctx, w, req, s, &f)
	}
	id := f.IDBytes()
	switch f.Method {
	case "initialize":
		return badRequest(id, "this session is initialized already; send initialize without Mcp-Session-Id to start another")
	case "ping":
		return writeJSON(w, http.StatusOK, wire.Result(id, []byte("{}")))
	case "logging/setLevel":
		return r.setLevel(ctx, w, req, s, &f)
	}
	if _, isList := listings[f.Method]; isList || addressed[f.Method] != nil {
		if unread(r.fleet.Snapshot()) {
			return r.noFleet(req, id)
		}
		if isList {
			return r.list(ctx, w, req, &f)
		}
		return r.address(ctx, w, req, s, &f)
	}
	return writeJSON(w, http.StatusOK, wire.Error(id, wire.CodeMethodNotFound, noSuchMethod, nil))
}

// refuseParams answers a request whose params cannot be served.
func refuseParams(w http.ResponseWriter, id []byte, msg string) error {
	return writeJSON(w, http.StatusOK, wire.Error(id, wire.CodeInvalidParams, msg, nil))
}

// notify passes on a notification of a client that concerns servers. The progress of a request goes to
// the server that asked; the others go to all, for which of them runs the request that is cancelled,
// say, only they know.
func (r *Router) notify(ctx context.Context, w http.ResponseWriter, req *Request, s *session, f *wire.Frame) error {
	switch f.Method {
	case "notifications/cancelled", "notifications/roots/list_changed", "notifications/tasks/status":
		r.tellEverywhere(ctx, req, s, "", req.Body)
	case "notifications/progress":
		if server, body, ok := progressFrom(f); ok {
			r.tellEverywhere(ctx, req, s, server, body)
		}
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// tellEverywhere passes a notification on to each server of the session, or to the only one that is
// named. Where the session sits, another coordinator may have settled, so the store is asked.
func (r *Router) tellEverywhere(ctx context.Context, req *Request, s *session, only store.ServerID, body []byte) {
	places := s.places
	if _, err := r.read(ctx, s); away(err) && len(places()) == 0 {
		places = func() []bound { return r.guesses(req, s) }
	}
	r.eachPlace(ctx, r.holders(places()), func(ctx context.Context, n *store.Node, server store.ServerID) {
		if only != "" && server != only {
			return
		}
		a, err := r.hop.send(ctx, n.URL, &outgoing{
			method: http.MethodPost, server: server, token: s.tok.text, epoch: n.Epoch,
			header: req.Header, merged: true, body: body, timeout: closeTimeout,
		})
		if err != nil {
			r.log.DebugContext(ctx, "notification not delivered", "session", s.tok, "server", server, "node", n.ID, "err", err)
			return
		}
		a.drain()
		a.Close()
	})
}

// guesses are the places where a session sits that was placed without the store: the ones that
// every replica would choose. A node that does not know the session refuses.
func (r *Router) guesses(req *Request, s *session) (out []bound) {
	v, _ := r.view(req.Scope, req.Limit) // without the group there are no servers
	snap := v.snap
	for server := range v.all() {
		if _, ok := v.digests[server]; !ok {
			continue
		}
		if c := choose(r.candidates(snap, s.tok.random, server, nil), false); c != nil {
			out = append(out, bound{server: server, Binding: store.Binding{Node: c.Node, Epoch: c.Epoch}})
		}
	}
	return out
}

// closeEverywhere ends a session on each of its nodes.
func (r *Router) closeEverywhere(ctx context.Context, s *session) {
	r.eachPlace(ctx, r.holders(s.places()), func(ctx context.Context, n *store.Node, server store.ServerID) {
		r.closeUpstream(ctx, s, server, store.Binding{Node: n.ID, Epoch: n.Epoch})
	})
}

// eachPlace does something with each node that holds part of a session, at the same time, and
// waits for all of them, at most closeTimeout.
func (r *Router) eachPlace(ctx context.Context, places []bound, do func(context.Context, *store.Node, store.ServerID)) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	snap := r.fleet.Snapshot()
	var all sync.WaitGroup
	for _, b := range places {
		if n := snap.Node(b.Node); n != nil && r.suspects.of(n) == "" {
			all.Go(func() { do(ctx, n, b.server) })
		}
	}
	all.Wait()
}
