package router

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// tap follows one server's part of a session's conversation: either the session's own stream at
// that server, or the stream of one call that is to be taken up again. When the node breaks off, it
// goes on at the last event that was handed on, at the place where the session then sits. It holds
// one connection to a node and no goroutine besides its caller's, to which it belongs.
//
// An own stream moves the session when its node is gone, as a request does; the new node does not
// know the event id, and a new stream begins there. A call's stream is only ever at the node that
// runs the call: when that is gone, so is what was left of the stream, and [tap.run] says so.
type tap struct {
	r      *Router
	s      *session
	server store.ServerID
	prefer store.NodeID // see Request.Prefer
	header http.Header  // the client's; see passHeaders

	// last is the id that the node gave the last event that was handed on; empty for none, which
	// asks for a new own stream. It is kept up to date and may be read inside hand.
	last string
	// at pins a call's stream to the node that is known to run it, wherever the session sits.
	at *store.Binding
	// attached, if set, is called each time that a node has taken up the stream, with the head of its
	// answer and before any event.
	attached func(n *store.Node, a *answer)
	// hand is given each block as it comes: events, priming ones too, comments, and settings. Its
	// Data and Raw hold until it returns. An error ends the tap and is what run returns.
	hand func(ev wire.Event) error

	call     bool // the stream is that of a call
	failures int  // in a row, with no stream in between that lasted
	begun    bool
}

var (
	// errStreamLost says that a stream cannot be taken up: the node that had it is gone or does not
	// know it, or no node has given one for a while.
	errStreamLost = errors.New("the stream cannot be taken up again")

	// errStreamEnded says that the node has ended an own stream for good: the session was ended
	// there, or somebody else has taken up this very stream, which then belongs to that one. It is
	// not to be taken up again.
	errStreamEnded = errors.New("the node has ended the stream")
)

// otherAnswer is an answer to GET that is no stream, such as the refusal of one stream too many.
type otherAnswer struct {
	status      int
	contentType string
	retryAfter  string
	body        []byte
}

func (e *otherAnswer) Error() string { return http.StatusText(e.status) + " instead of a stream" }

// How a tap deals with failures. Six of them in a row take some five seconds.
const (
	maxTapFailures = 7
	maxPinned      = 4 // while somebody waits for an answer that may not come
	tapPause       = 50 * time.Millisecond
	maxTapPause    = 2 * time.Second
	tapSettled     = 10 * time.Second // a stream that lasted for so long was none of a row
)

// newTap makes a tap for a request of a client. The caller sets hand, and may set attached and at.
// The id is that of a node, of an own stream or a call's, or empty for a new own stream.
func (r *Router) newTap(req *Request, s *session, server store.ServerID, last string) *tap {
	e, ok := parseNodeEvent(last)
	return &tap{r: r, s: s, server: server, prefer: r.preferred(req), header: req.Header, last: last, call: ok && e.call}
}

// run follows the stream until it ends. The error is
//   - nil when a call's stream was read to its end: the response was handed on, or the last block
//     has told the client when to come back;
//   - errStreamLost when there is nothing to be taken up, or was not for several tries in a row;
//   - errStreamEnded for an own stream that the node has ended and that is not to be taken up;
//   - errLeaving when this coordinator stops;
//   - what hand returned;
//   - an *otherAnswer or an *Error if the first node to be asked has given no stream, or an *Error
//     that is ErrUnknownSession if the session is over;
//   - the cause of ctx when that has ended.
func (t *tap) run(ctx context.Context) error {
	for {
		if err := t.over(ctx); err != nil {
			return err
		}
		place, n, err := t.locate(ctx)
		if err == nil {
			err = t.follow(ctx, place, n)
		}
		f, failed := errors.AsType[*failure](err)
		if !failed || ctx.Err() != nil {
			return cmp.Or(context.Cause(ctx), err)
		}
		t.r.log.DebugContext(ctx, "stream broke off", "session", t.s.tok, "server", t.server, "node", place.Node, "err", f)
		if err := t.again(ctx, place, f); err != nil {
			return err
		}
	}
}

// over says why there is nothing more to follow.
func (t *tap) over(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case t.r.leaving():
		return errLeaving
	case t.s.over():
		return unknownSession(nil)
	}
	return nil
}

// locate finds the node to ask for the stream. The error is a *failure if it may pass.
func (t *tap) locate(ctx context.Context) (place bound, n *store.Node, err error) {
	switch {
	case t.at != nil:
		place = bound{server: t.server, Binding: *t.at}
	case t.call:
		place, _ = t.s.place(t.server)
	default:
		place, err = t.r.placeOf(ctx, t.s, t.server, t.prefer)
	}
	for moved := false; err == nil; moved = true {
		n, why := t.r.locate(ctx, place.Binding)
		switch {
		case n != nil:
			return place, n, nil
		case moved:
			err = &failure{state: Queued, reason: reasonUnreachable, err: errors.New(why)}
		case t.call:
			place, err = t.relocate(ctx, place)
		default:
			place, err = t.r.move(ctx, t.s, place, nil, t.prefer, why)
		}
	}
	return place, nil, t.unplaced(err)
}

// unplaced turns a session that has no place now into a failure that may pass, once the client has
// its stream; until then it is told.
func (t *tap) unplaced(err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok || !t.begun || errors.Is(e, ErrUnknownSession) {
		return err
	}
	return &failure{state: Queued, reason: reasonNoReplica, err: e}
}

// relocate looks for the session in the store, if a call's stream is not at the place that is known
// here. Only the node that runs the call has it, so the session is not moved.
func (t *tap) relocate(ctx context.Context, was bound) (bound, error) {
	if t.at != nil {
		return was, errStreamLost
	}
	_, err := t.r.read(ctx, t.s)
	now, ok := t.s.place(t.server)
	switch {
	case errors.Is(err, store.ErrEnded):
		t.s.end()
		return was, unknownSession(nil)
	case ok && now.Binding != was.Binding:
		return now, nil
	case away(err):
		return was, &failure{state: Queued, reason: reasonUnreachable, err: err} // it may soon say
	}
	return was, errStreamLost
}

// again prepares for another try after a failure at a place; an error ends the tap.
func (t *tap) again(ctx context.Context, place bound, f *failure) (err error) {
	switch {
	case f.node == nil: // no node was asked
	case f.refused == wire.RefusedStream:
		return errStreamLost
	case f.refused == wire.RefusedSession && time.Since(place.adopted) < adoptGrace:
		return t.r.pause(ctx, adoptPause)
	case f.refused == wire.RefusedSession && t.call:
		_, err = t.relocate(ctx, place)
	case t.call: // the next look at the place says whether the node is gone
	case f.state > Refused && t.r.probes.fresh(ctx, f.node):
	default:
		var not exclusion
		if f.refused != wire.RefusedSession {
			not = not.fail(f)
		}
		_, err = t.r.move(ctx, t.s, place, not, t.prefer, f.describe())
		err = t.unplaced(err)
	}
	if _, passing := errors.AsType[*failure](err); err != nil && !passing {
		return err
	}
	return t.rest(ctx)
}

// rest waits a little longer after each failure, each tap for another while: those of a node that
// has died would otherwise come to the next one all at once.
func (t *tap) rest(ctx context.Context) error {
	most := maxTapFailures
	if t.at != nil {
		most = maxPinned
	}
	if t.failures++; t.failures >= most {
		return errStreamLost
	}
	d := min(maxTapPause, t.r.tapPause<<(t.failures-1))
	return t.r.pause(ctx, d/2+time.Duration(t.r.dice(int(d/2))))
}

// follow asks a node for the stream and hands it on until it ends or breaks off. The error is a
// *failure if it may be tried again.
func (t *tap) follow(ctx context.Context, place bound, n *store.Node) error {
	a, err := t.r.hop.send(ctx, n.URL, &outgoing{
		method: http.MethodGet, server: t.server, token: t.s.tok.text, epoch: n.Epoch, header: t.header, merged: true,
		lastEvent: t.last, timeout: t.r.cfg.OpenTimeout,
	})
	if err != nil {
		return t.r.failed(ctx, n, err)
	}
	defer a.Close()
	if a.refused != "" {
		return t.r.refused(ctx, n, t.server, a)
	}
	if a.status != http.StatusOK || !isStream(a) {
		return t.other(n, a)
	}
	if t.at == nil {
		t.r.served(t.s, place, n)
	}
	t.begun = true
	if t.attached != nil {
		t.attached(n, a)
	}
	defer func(began time.Time) {
		if time.Since(began) > tapSettled {
			t.failures = 0
		}
	}(time.Now())
	return t.read(n, a)
}

// other reads an answer that is no stream.
func (t *tap) other(n *store.Node, a *answer) error {
	body, err := readSome(a, nil, 64<<10)
	if err == nil && !a.ended {
		err = errTooLarge
	}
	if err == nil {
		err = &otherAnswer{status: a.status, contentType: a.contentType, retryAfter: a.retryAfter, body: body}
		if !t.begun {
			return err
		}
	}
	return &failure{state: Answered, reason: reasonBadAnswer, node: n, err: err}
}

// read hands on the blocks of a stream.
func (t *tap) read(n *store.Node, a *answer) error {
	a.stream()
	closing := false // the last block has said when to come back
	events := wire.NewEventReader(a, maxEvent)
	for {
		if events.Release() {
			a.rest()
		}
		ev, err := events.Next()
		switch {
		case err == nil:
		case errors.Is(err, io.EOF) && t.call:
			return nil
		case errors.Is(err, io.EOF) && !closing:
			return errStreamEnded
		default:
			return &failure{state: Answered, reason: reasonBroken, node: n, err: err}
		}
		closing = ev.Retry > 0
		if ev.HasID {
			t.last = ev.ID
		}
		if err := t.hand(ev); err != nil {
			return err
		}
	}
}

// over says that the session has ended, as far as is known here.
func (s *session) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}
