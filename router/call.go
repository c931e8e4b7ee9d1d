package router

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// call is one message on its way to the node that serves its session. It belongs to the
// goroutine of its request.
type call struct {
	r      *Router
	ctx    context.Context
	w      http.ResponseWriter
	s      *session
	server store.ServerID
	out    outgoing

	prefer store.NodeID                    // see Request.Prefer
	placed func(http.Header, store.NodeID) // see Request.Placed; may be nil
	node   store.NodeID                    // that gives the answer

	// frame is the client's message, read when something asks for it: on the way through it
	// is not decoded.
	frame   *wire.Frame
	scanned bool

	resent   bool // the one second chance is used up
	moves    int
	headSent bool   // the head of a stream has gone to the client
	answered bool   // something of the answer itself has
	final    bool   // the response has
	last     string // the last event id that went to the client, as the node gave it out
	closing  bool   // the last block said when the client is to come back
	taken    bool   // the last block said that the client has come back already
	now      bool   // see Request.StreamNow
	// reform, if set, makes of a plain answer the one that the client gets.
	reform func(body []byte) []byte
}

// newCall makes a call of a request that goes to one server. The caller sets out.
func (r *Router) newCall(ctx context.Context, w http.ResponseWriter, req *Request, s *session, server store.ServerID) call {
	return call{r: r, ctx: ctx, w: w, s: s, server: server, prefer: r.preferred(req), placed: req.Placed, now: req.StreamNow}
}

// failure is a message that got no answer that could be passed on.
type failure struct {
	state   Dispatch
	reason  string
	refused string    // wire.HeaderRefused
	full    *fullness // what the node said, if it only had no room
	node    *store.Node
	err     error
}

// Error says what went wrong, in a sentence for the log.
func (f *failure) Error() string {
	if f.err == nil {
		return f.describe()
	}
	return f.describe() + ": " + f.err.Error()
}

// Unwrap gives the cause.
func (f *failure) Unwrap() error { return f.err }

// maxMoves bounds how many places one message looks for.
const maxMoves = 4

// adoptGrace is how long a place that another coordinator has just agreed on may answer that it
// does not know the session: it is being opened.
const (
	adoptGrace = 500 * time.Millisecond
	adoptPause = 20 * time.Millisecond
)

// run carries the message to an answer. A nil error means that the client has one, or has gone.
func (c *call) run() error {
	if c.r.cfg.NoSticky {
		return c.spread()
	}
	place, err := c.r.placeOf(c.ctx, c.s, c.server, c.prefer)
	for {
		if c.ctx.Err() != nil {
			return nil // the client has gone; the node goes on with what it has
		}
		if err != nil {
			return c.refuse(err)
		}
		node, why := c.r.locate(c.ctx, place.Binding)
		if node == nil {
			if c.isAnswer() {
				return c.deliver()
			}
			place, err = c.move(place, nil, why)
			continue
		}
		f := c.attempt(node)
		switch {
		case f == nil:
			c.r.served(c.s, place, node)
			return nil
		case c.ctx.Err() != nil: // seen at the next turn
		case !c.answered && c.isAnswer():
			return c.deliver()
		case f.refused == wire.RefusedSession && time.Since(place.adopted) < adoptGrace:
			_ = c.r.pause(c.ctx, adoptPause) // whatever ended it, the next turn sees
		case !c.again(f):
			return c.giveUp(f)
		case f.state > Refused && c.r.probes.fresh(c.ctx, node):
			c.r.log.DebugContext(c.ctx, "send again to the same node", "session", c.s.tok, "node", node.ID, "err", f.err)
		default:
			place, err = c.move(place, f, f.describe())
		}
	}
}

// again decides whether the message may be sent once more, and uses the chance up.
func (c *call) again(f *failure) bool {
	if c.resent || c.answered || c.r.leaving() {
		return false
	}
	if !f.state.NotRun() {
		m := c.message()
		if m == nil || !repeatable(m) || !c.r.budget.take() {
			return false
		}
	}
	c.resent = true
	c.r.stats.retried.Add(1)
	return true
}

// move looks for another place. f is what went wrong at the last one, if the message got there.
func (c *call) move(from bound, f *failure, why string) (bound, error) {
	if c.moves++; c.moves > maxMoves {
		return from, c.r.noReplica(c.server, reasonUnreachable)
	}
	var not exclusion
	if f != nil && f.refused != wire.RefusedSession {
		not = not.fail(f)
	}
	return c.r.move(c.ctx, c.s, from, not, c.prefer, why)
}

// attempt sends the message to a node and relays the answer. Nil means that the client has it.
func (c *call) attempt(n *store.Node) *failure {
	c.out.token, c.out.epoch, c.out.server = c.s.tok.text, n.Epoch, c.server
	c.out.streamNow = c.now
	a, err := c.r.hop.send(c.ctx, n.URL, &c.out)
	if err != nil {
		return c.r.failed(c.ctx, n, err)
	}
	defer a.Close()
	if a.refused != "" {
		return c.r.refused(c.ctx, n, c.server, a)
	}
	return c.relay(n, a)
}

// failed turns an error of the hop into a failure, and suspects the node where that is due.
func (r *Router) failed(ctx context.Context, n *store.Node, err error) *failure {
	f := &failure{state: PossiblyReceived, reason: reasonNodeLost, node: n, err: err}
	if h, ok := errors.AsType[*hopError](err); ok {
		f.state, f.reason = h.State, h.Reason
		if h.Evidence {
			r.suspect(ctx, n, err)
		}
	}
	return f
}

// suspect stops using a node until there is news of it.
func (r *Router) suspect(ctx context.Context, n *store.Node, err error) {
	if r.suspects.add(n, "no connection to the node could be made") {
		r.log.WarnContext(ctx, "node is suspect", "node", n.ID, "epoch", n.Epoch, "err", err)
	}
}

// describe says what went wrong, for the log, the events and explain.
func (f *failure) describe() string {
	switch f.refused {
	case "":
	case wire.RefusedSession:
		return "the node does not know the session"
	case wire.RefusedStream:
		return "the node knows nothing of the call"
	case wire.RefusedAnswer:
		return "the node has not asked what is answered"
	case wire.RefusedEpoch:
		return "the node is registered under another epoch"
	case wire.RefusedLease:
		return "the node has lost its lease"
	case wire.RefusedServer:
		return "the server is not ready on the node"
	case wire.RefusedDraining:
		return "the node takes no new sessions"
	case wire.RefusedFull:
		return "all processes of the server are taken on the node"
	default:
		return "the node refused: " + f.refused
	}
	switch f.reason {
	case reasonUnreachable:
		return "the node cannot be reached"
	case reasonTimeout:
		return "the node did not answer in time"
	}
	return "the connection to the node broke"
}

// message is the client's message, or nil if it is not a well-formed one.
func (c *call) message() *wire.Frame {
	if !c.scanned {
		c.scanned = true
		if f, err := wire.Scan(c.out.body, wire.ClientLimits); err == nil {
			c.frame = &f
		}
	}
	return c.frame
}

// requestID is the id of the client's request; nil if the message is none.
func (c *call) requestID() []byte {
	if m := c.message(); m != nil && m.Kind == wire.Request {
		return m.IDBytes()
	}
	return nil
}

// refuse ends a message that has not been run anywhere.
func (c *call) refuse(err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	e.ID = c.requestID()
	if v, ok := e.Data.(*verdict); ok {
		v.TraceID = traceID(c.out.header)
		c.r.stats.notExecuted.Add(1)
	}
	if c.headSent {
		c.writeFinal(e.Frame())
		return nil
	}
	return e
}

// giveUp tells the client that its message will get no answer, and what is known of it.
func (c *call) giveUp(f *failure) error {
	if f.state.NotRun() {
		e := c.r.noReplica(c.server, f.reason)
		if f.full != nil {
			e = c.r.noRoom(c.server, f.full)
		}
		v := e.Data.(*verdict)
		v.Node, v.State = string(f.node.ID), f.state.String()
		e.Cause = f.err
		return c.refuse(e)
	}
	reason := f.reason
	if c.r.leaving() {
		reason = reasonShutdown
	}
	c.r.stats.outcomeUnknown.Add(1)
	c.r.log.WarnContext(c.ctx, "outcome unknown", "session", c.s.tok, "server", c.server, "node", f.node.ID, "err", f.err)
	e := &Error{
		Err: ErrBadGateway, ID: c.requestID(), Code: wire.CodeOutcomeUnknown,
		Message: "Outcome unknown: the call may or may not have run",
		Data: &verdict{
			Outcome: "unknown", Reason: reason, Node: string(f.node.ID), State: f.state.String(), TraceID: traceID(c.out.header),
		},
		Cause: f.err,
	}
	switch {
	case c.headSent:
		c.writeFinal(e.Frame())
		return nil
	case e.ID == nil || errors.Is(f.err, errRedirect):
		return e // no request that a JSON-RPC error could answer, or no node of ours
	}
	return writeJSON(c.w, http.StatusOK, e.Frame())
}

// noReplica is the answer to a message that has certainly not run and can run nowhere now.
func (r *Router) noReplica(server store.ServerID, reason string) *Error {
	if r.leaving() {
		return stopping(server)
	}
	msg := "Not executed: no node can take calls for server " + string(server) + " at the moment; try again shortly"
	if why := r.whyAway(server); why != "" {
		msg = "Not executed: server " + string(server) + " is not available: " + why
	}
	return &Error{
		Err: ErrNoReplica, Code: wire.CodeNotExecuted, Message: msg,
		Data:       &verdict{Outcome: "not_executed", Reason: reason, Server: string(server), Retryable: true},
		RetryAfter: time.Second,
	}
}

// stopping is noReplica of a coordinator that stops.
func stopping(server store.ServerID) *Error {
	return &Error{
		Err: ErrNoReplica, Code: wire.CodeNotExecuted, RetryAfter: time.Second,
		Message: "Not executed: this part of the hub is stopping; send the message again, another part serves it",
		Data:    &verdict{Outcome: "not_executed", Reason: reasonShutdown, Server: string(server), Retryable: true},
	}
}

// traceID is the trace id of the client's traceparent, or a new one: there always is one to
// tell the people who run the hub.
func traceID(h http.Header) string {
	if tp := first(h, "Traceparent"); len(tp) == 55 && tp[2] == '-' && tp[35] == '-' {
		id := tp[3:35]
		if b, err := hex.DecodeString(id); err == nil && [16]byte(b) != [16]byte{} {
			return id
		}
	}
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails on the systems we run on; see crypto/rand
	return hex.EncodeToString(b[:])
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
