package router

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// get serves a stream that a client opens (MCP 2025-03-26 to 2025-11-25, Transports, Listening for
// Messages from the Server, Resumability and Redelivery).
func (r *Router) get(ctx context.Context, w http.ResponseWriter, req *Request) error {
	if err := checkVersion(req); err != nil {
		return err
	}
	if req.SessionID == "" {
		return missingSession(nil)
	}
	s, err := r.session(ctx, req)
	if err != nil {
		return withID(err, req)
	}
	last := parseEventID(req.LastEvent)
	if req.wide() {
		return r.getWide(ctx, w, req, s, last)
	}
	if r.outside(req) {
		return unknownServer(nil)
	}
	f := follower{r: r, w: w, req: req, s: s, server: store.ServerID(req.Scope)}
	if last.kind == nodesEvent {
		f.last = last
	}
	return f.run(ctx)
}

// getWide serves a stream on an endpoint over several servers.
func (r *Router) getWide(ctx context.Context, w http.ResponseWriter, req *Request, s *session, last eventID) error {
	if last.kind == callEvent {
		return r.resume(ctx, w, req, s, last)
	}
	return r.merge(ctx, w, req, s, last)
}

// resume goes on with the answer to a call of a session over several servers.
func (r *Router) resume(ctx context.Context, w http.ResponseWriter, req *Request, s *session, last eventID) error {
	v, err := r.viewOf(req, nil)
	if err != nil {
		return err
	}
	f := follower{r: r, w: w, req: req, s: s, server: last.server, last: last}
	if !v.has(last.server) {
		return f.end(errStreamLost)
	}
	return f.run(ctx)
}

// follower passes on to a client what one server says: on an endpoint over one server byte for
// byte. It belongs to the goroutine of its request.
type follower struct {
	r      *Router
	w      http.ResponseWriter
	req    *Request
	s      *session
	server store.ServerID
	last   eventID // where the client wants to go on; zero for a new stream

	headSent bool
	final    bool // the response of the call has been passed on
}

// errClientGone says that the client takes nothing any more.
var errClientGone = errors.New("the client has gone")

func (f *follower) run(ctx context.Context) error {
	call := f.last.node.call
	ctx, done := f.r.keepOpen(ctx, f.req, f.s, !call)
	defer done()
	err := errStreamLost
	if !call || !f.r.cfg.NoSticky {
		err = f.tap().run(ctx)
	}
	if call && !f.headSent && errors.Is(err, errStreamLost) {
		err = f.search(ctx)
	}
	return f.end(err)
}

func (f *follower) tap() *tap {
	t := f.r.newTap(f.req, f.s, f.server, f.last.text)
	t.attached, t.hand = f.begin, f.pass
	return t
}

// search asks each replica of the server for the stream of a call. Without affinity any of them may
// have run it; with it, one that is about to stop may still do so when the session has moved on.
func (f *follower) search(ctx context.Context) error {
	for _, l := range f.r.replicas(f.r.fleet.Snapshot(), f.server) {
		t := f.tap()
		t.at = &store.Binding{Node: l.node.ID, Epoch: l.node.Epoch}
		if err := t.run(ctx); f.headSent || !errors.Is(err, errStreamLost) {
			return err
		}
	}
	return errStreamLost
}

// begin sends the head, with the first stream that a node gives.
func (f *follower) begin(n *store.Node, a *answer) {
	if f.headSent {
		return
	}
	c := call{w: f.w, placed: f.req.Placed, node: n.ID}
	c.copyHead(a)
	f.sendHead()
}

func (f *follower) sendHead() {
	f.headSent = true
	h := f.w.Header()
	if h["Content-Type"] == nil {
		h["Content-Type"] = []string{wire.TypeEventStream}
	}
	if h["Cache-Control"] == nil {
		h["Cache-Control"] = []string{"no-cache"}
	}
	h["X-Accel-Buffering"] = []string{"no"}
	f.w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(f.w).Flush()
}

// pass passes one block on.
func (f *follower) pass(ev wire.Event) error {
	if len(ev.Data) > 0 && f.last.node.request != nil {
		f.final = f.final || answers(ev.Data, f.last.node.request)
	}
	raw := ev.Raw
	if f.s.wide() {
		raw = f.r.wideEvent(f.s, f.server, ev)
	}
	return writeBlock(f.w, raw)
}

// writeBlock writes to a client what is whole, and sends it off.
func writeBlock(w http.ResponseWriter, raw []byte) error {
	if len(raw) == 0 {
		return nil
	}
	if _, err := w.Write(raw); err != nil {
		return errClientGone
	}
	if err := http.NewResponseController(w).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return errClientGone
	}
	return nil
}

// comeBack tells a client that its stream ends and is to be opened again, with a new connection:
// it then is another replica that has it.
var comeBack = []byte("retry: 1000\n\n")

// end ends the client's stream as the tap has ended. An error is for whoever answers instead.
func (f *follower) end(err error) error {
	other, isOther := errors.AsType[*otherAnswer](err)
	own, isOwn := errors.AsType[*Error](err)
	switch {
	case errors.Is(err, errLeaving) && f.headSent:
		_ = writeBlock(f.w, comeBack)
	case errors.Is(err, errStreamLost) && f.last.node.call:
		f.lost()
	case f.headSent:
	case errors.Is(err, errLeaving):
		return f.traced(stopping(f.server))
	case errors.Is(err, errStreamLost):
		return f.traced(f.r.noReplica(f.server, reasonUnreachable))
	case isOther:
		f.answer(other)
	case isOwn:
		return f.traced(own)
	}
	return nil
}

func (f *follower) traced(e *Error) *Error {
	if v, ok := e.Data.(*verdict); ok {
		v.TraceID = traceID(f.req.Header)
	}
	return e
}

// answer passes on an answer that is no stream.
func (f *follower) answer(a *otherAnswer) {
	h := f.w.Header()
	for name, value := range map[string]string{"Content-Type": a.contentType, "Retry-After": a.retryAfter, "Content-Length": strconv.Itoa(len(a.body))} {
		if value != "" {
			h[name] = []string{value}
		}
	}
	f.w.WriteHeader(a.status)
	_, _ = f.w.Write(a.body) // an error means that the client has gone
}

// lost ends the stream of a call of which nothing more can be had, with an error in the place of
// its response if the event id says which request that answers.
func (f *follower) lost() {
	if !f.headSent {
		f.sendHead()
	}
	id := f.last.node.request
	if id == nil || f.final {
		return
	}
	f.r.stats.outcomeUnknown.Add(1)
	frame := wire.Error(id, wire.CodeOutcomeUnknown, "Outcome unknown: the stream of the call cannot be taken up again, its node is gone or has forgotten it",
		&verdict{Outcome: "unknown", Reason: reasonStreamLost, Server: string(f.server), TraceID: traceID(f.req.Header)})
	var b bytes.Buffer
	_ = wire.WriteEvent(&b, wire.Event{Data: frame}) // into memory
	_ = writeBlock(f.w, b.Bytes())
}

// answers says whether a message is the response to a request.
func answers(data, id []byte) bool {
	f, err := wire.Scan(data, wire.ServerLimits)
	return err == nil && f.Kind == wire.Response && wire.SameID(f.IDBytes(), id)
}
