package router

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// carrySingle carries a message of a session with one server. With affinity the body is not
// taken apart, unless it seems to be about a subscription.
func (r *Router) carrySingle(ctx context.Context, w http.ResponseWriter, req *Request, s *session) error {
	c := r.newCall(ctx, w, req, s, store.ServerID(req.Scope))
	c.out = outgoing{method: http.MethodPost, header: req.Header, body: req.Body}
	if r.cfg.NoSticky {
		if m := c.message(); m != nil && m.Kind != wire.Request {
			return r.tellAll(ctx, w, req, s, c.server)
		}
	}
	err := c.run()
	if err == nil && subscribing(req.Body) {
		r.noteSubscription(ctx, s, c.server, c.message())
	}
	return err
}

// startSingle begins a session with one server: the node that is chosen gets the client's own
// initialize, and its answer goes back with the session id.
func (r *Router) startSingle(ctx context.Context, w http.ResponseWriter, req *Request, f *wire.Frame) error {
	st := &starter{r: r, req: req, f: f, server: store.ServerID(req.Scope)}
	var err error
	if st.random, err = newSID(); err != nil {
		return err
	}
	if err := r.knownServer(st.server, req, f.IDBytes()); err != nil {
		return err
	}
	if err := r.claim(ctx, req, f, st.random); err != nil {
		return err
	}
	defer func() {
		if !st.begun {
			r.unclaim(ctx, req, st.random)
		}
	}()
	reason := reasonNoReplica
	for tries := 0; tries < maxOpens && st.not.fulls() < maxFull; {
		c, err := st.choose(ctx)
		if err != nil {
			return st.refuse(reason, err)
		}
		fail, err := st.try(ctx, w, c)
		if fail == nil {
			return err
		}
		if ctx.Err() != nil { // the client has gone
			st.takeBack(ctx, c, fail)
			return nil
		}
		reason, st.not = fail.reason, st.not.fail(fail)
		if fail.full != nil {
			r.stats.retried.Add(1)
			continue // it has cost the node nothing to say so
		}
		tries++
		r.log.WarnContext(ctx, "session not placed", "server", st.server, "node", c.Node, "err", fail.err, "reason", fail.describe())
		// initialize may be repeated: nobody has been given the session id yet.
		if fail.state > Refused && !r.budget.take() {
			return st.refuse(fail.reason, fail.err)
		}
		r.stats.retried.Add(1)
	}
	return st.refuse(reason, nil)
}

// knownServer refuses a server that no node has.
func (r *Router) knownServer(server store.ServerID, req *Request, id []byte) error {
	snap := r.fleet.Snapshot()
	if unread(snap) {
		return r.noFleet(req, id)
	}
	for i := range snap.Nodes {
		if _, ok := snap.Nodes[i].Server(server); ok {
			return nil
		}
	}
	return unknownServer(id)
}

// unread says that a snapshot is not one that was ever read: it says nothing of what there is.
func unread(snap *store.Snapshot) bool {
	return snap == nil || (snap.Taken.IsZero() && len(snap.Nodes) == 0)
}

// noFleet is the answer of a replica that does not know the nodes yet.
func (r *Router) noFleet(req *Request, id []byte) *Error {
	r.stats.notExecuted.Add(1)
	return &Error{
		Err: ErrNoReplica, ID: id, Code: wire.CodeNotExecuted,
		Message:    "Not executed: this part of the hub does not know the nodes yet; try again shortly",
		Data:       &verdict{Outcome: "not_executed", Reason: reasonNoReplica, Retryable: true, TraceID: traceID(req.Header)},
		RetryAfter: time.Second,
	}
}

// starter places one new session.
type starter struct {
	r      *Router
	req    *Request
	f      *wire.Frame
	server store.ServerID
	random sid
	tok    Token // what the last node was given
	not    exclusion
	begun  bool // there is a session
}

func (st *starter) choose(ctx context.Context) (*Candidate, error) {
	m := mover{r: st.r, s: &session{tok: Token{random: st.random}}, server: st.server, not: st.not, prefer: st.r.preferred(st.req)}
	return m.choose(ctx)
}

func (st *starter) refuse(reason string, cause error) error {
	e := st.r.noReplica(st.server, reason)
	if f := st.not.full(); f != nil {
		e = st.r.noRoom(st.server, f)
	}
	e.ID, e.Cause = st.f.IDBytes(), cause
	if inner, ok := errors.AsType[*Error](cause); ok {
		e.Cause = inner.Cause
	}
	e.Data.(*verdict).TraceID = traceID(st.req.Header)
	st.r.stats.notExecuted.Add(1)
	return e
}

// try sends the initialize to one node. A failure means that another may be tried.
func (st *starter) try(ctx context.Context, w http.ResponseWriter, c *Candidate) (*failure, error) {
	r := st.r
	tok, err := r.cfg.Keys.mint(st.random, st.req.scope(), st.req.Subject, c.Node, c.Epoch, time.Now())
	if err != nil {
		return nil, err
	}
	st.tok = tok
	sessions, placed := -1, false
	r.loads.begin(c.node, c.server)
	defer func() { r.loads.end(c.node, c.server, sessions, placed) }()
	r.flights.begin(c.Node, st.server)
	defer r.flights.end(c.Node, st.server)
	a, err := r.hop.send(ctx, c.node.URL, &outgoing{
		method: http.MethodPost, server: st.server, token: tok.text, epoch: c.Epoch, header: st.req.Header, body: st.req.Body,
	})
	if err != nil {
		return r.failed(ctx, c.node, err), nil
	}
	defer a.Close()
	if a.refused != "" {
		return r.refused(ctx, c.node, st.server, a), nil
	}
	if a.status != http.StatusOK {
		if isStream(a) {
			return &failure{state: Answered, reason: reasonBadAnswer, node: c.node, err: errFraming}, nil
		}
		pass := call{r: r, ctx: ctx, w: w, placed: st.req.Placed, out: outgoing{body: st.req.Body, header: st.req.Header}}
		return pass.relay(c.node, a), nil
	}
	raw, resp, err := readResponse(a)
	if err != nil {
		return &failure{state: Answered, reason: reasonBadAnswer, node: c.node, err: err}, nil
	}
	sessions = a.sessions
	if resp.Result.IsZero() {
		return nil, st.answer(w, c, a, raw, "") // the server's own refusal; no session was begun
	}
	placed = true
	st.remember(ctx, tok, c, &resp)
	return nil, st.answer(w, c, a, raw, tok.text)
}

// takeBacks are the pauses before each attempt to take a session back: the end comes on another
// connection than the beginning, and may be there first.
var takeBacks = []time.Duration{0, 50 * time.Millisecond, 500 * time.Millisecond}

// takeBack ends on its node a session that may have been begun there, and of which nobody will
// know: where each session has a process it would keep one until it has been idle for too long.
func (st *starter) takeBack(ctx context.Context, c *Candidate, fail *failure) {
	if fail.state.NotRun() {
		return
	}
	ctx = context.WithoutCancel(ctx)
	s, at := &session{tok: st.tok}, store.Binding{Node: c.Node, Epoch: c.Epoch}
	for _, d := range takeBacks {
		if st.r.pause(ctx, d) != nil || st.r.closeUpstream(ctx, s, st.server, at) {
			return
		}
	}
}

// remember makes the session known here and to the other coordinators.
func (st *starter) remember(ctx context.Context, tok Token, c *Candidate, resp *wire.Frame) {
	st.begun = true
	s := newSession(tok, st.req)
	s.init = append([]byte(nil), st.f.ParamsBytes()...)
	if v, ok := resp.Lookup("result", "protocolVersion"); ok {
		s.era, _ = wire.Unquote(v.Of(resp.Raw))
	}
	s.set(bound{server: st.server, Binding: store.Binding{Node: c.Node, Epoch: c.Epoch}})
	st.r.remember(ctx, s)
}

// remember caches a new session and stores it. A store that is away does not fail the request:
// the session is written later, and its id alone is enough to route it until then.
func (r *Router) remember(ctx context.Context, s *session) {
	r.stats.started.Add(1)
	r.cache.Add(s.tok.random, s)
	if err := r.create(context.WithoutCancel(ctx), s, s.record()); err != nil {
		r.log.WarnContext(ctx, "session not stored yet", "session", s.tok, "err", err)
		r.todo.create(s)
	}
}

// answer passes the node's answer on, with the session id if there is a session.
func (st *starter) answer(w http.ResponseWriter, at *Candidate, a *answer, raw []byte, token string) error {
	c := call{w: w, placed: st.req.Placed, node: at.Node}
	c.copyHead(a)
	h := w.Header()
	if token != "" {
		h[wire.HeaderSession] = []string{token}
	}
	if isStream(a) {
		h.Set("Cache-Control", "no-cache")
	}
	h["Content-Length"] = []string{strconv.Itoa(len(raw))}
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(raw) // an error means that the client has gone
	return nil
}

// delete ends a session at its client's wish.
func (r *Router) delete(ctx context.Context, w http.ResponseWriter, req *Request) error {
	if req.SessionID == "" {
		return missingSession(nil)
	}
	s, err := r.session(ctx, req)
	if err != nil {
		return withID(err, req)
	}
	if err := r.finish(ctx, s, "session ended by its client"); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// EndSession ends a session everywhere: here, in the store, where a tombstone keeps it from
// being revived, and on its nodes. Nodes that only another coordinator can tell learn of it
// through that one, or forget the session when it has been idle.
//
// It returns ErrUnknownSession, or ErrUnavailable if the store could not be told; the session
// is then over in this replica and the store is told when it is back.
func (r *Router) EndSession(ctx context.Context, id store.SessionID) error {
	random, ok := parseSID(id)
	if !ok {
		return unknownSession(nil)
	}
	if s, ok := r.cache.Get(random); ok {
		s.mu.Lock()
		ended := s.ended
		s.mu.Unlock()
		if ended {
			return unknownSession(nil)
		}
		return r.finish(ctx, s, "session ended on request")
	}
	rctx, cancel := r.bounded(ctx)
	_, err := r.store.Session(rctx, id)
	cancel()
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrEnded):
		return unknownSession(nil)
	case err != nil:
		return unavailable(err)
	}
	return r.tombstone(ctx, id, "session ended on request")
}

func unavailable(err error) *Error {
	return &Error{
		Err: ErrUnavailable, Code: wire.CodeInternal, Cause: err, RetryAfter: time.Second,
		Message: "the end of the session could not be recorded; try again shortly",
	}
}

// finish ends a session that is cached here.
func (r *Router) finish(ctx context.Context, s *session, text string) error {
	s.end()
	err := r.tombstone(ctx, s.tok.SessionID(), text)
	if err != nil {
		r.todo.end(s)
	}
	r.closeEverywhere(ctx, s)
	return err
}

// tombstone records the end of a session.
func (r *Router) tombstone(ctx context.Context, id store.SessionID, text string) error {
	ctx, cancel := r.bounded(context.WithoutCancel(ctx))
	defer cancel()
	// While the id's age still allows it to be taken on trust, something must say that it is over.
	err := r.store.EndSession(ctx, id, r.cfg.SessionTimeout+clockSlack)
	r.noteStore(err)
	if err != nil {
		return unavailable(err)
	}
	r.stats.ended.Add(1)
	r.todo.announce(r, store.Event{Kind: store.EventSessionEnded, Session: id, Text: text})
	return nil
}
