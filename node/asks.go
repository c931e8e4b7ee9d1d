package node

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// Requests of servers to clients (MCP 2025-11-25, Elicitation, Sampling, Roots, Tasks). Each is
// parked under an id of the node's own and told to one session. It ends once: by its client's
// answer, by the server that takes it back, with what it was part of (the call, the session, the
// server's own session), or because there is no stream on which it could be told. A parked
// request costs an entry here and nothing that runs; sweep looks after its time.

const (
	// askStreamTime is how long a request waits for a stream on which it can be told.
	askStreamTime = 30 * time.Second
	// askGoneTime is how long a request is kept for a client that reads no stream and says nothing:
	// clients that are gone for good do not say so.
	askGoneTime = time.Hour
	// maxAskID bounds a server's id and progress token, in bytes: they are kept.
	maxAskID = 1 << 10

	// codeNoAnswer tells a server that its request will have no answer.
	codeNoAnswer = -32000
)

// callOver is why a request ends with what it was part of.
const callOver = "the call it was part of is over"

var (
	// errNotAsked says that a client answers what it was not asked.
	errNotAsked = errors.New("the id is of no request that this session was asked")
	// errAskedElsewhere says that another life of the session was asked, if any: one on a node that
	// it has moved away from, perhaps, which still works on its calls.
	errAskedElsewhere = errors.New("the request was not made by this node, or not since the session was opened here")
)

// question is one parked request. Its fields do not change, but for those that say so.
type question struct {
	ses   *session
	n     int64  // its number in the session
	key   askKey // with the server's id, as written
	token []byte // the server's progress token, as written; nil for none
	made  time.Duration

	on   *call // the call on whose stream it was told; nil for none
	via  *call // the call it is part of for certain; nil for not known
	upto int64 // then the last of the session's calls it can be part of; 0 for none

	frame []byte // as told

	told bool // it has been given to the session's streams; guarded by link.mu
	read bool // it does not wait there any more; guarded by link.mu
}

// askKey finds a request by what the server calls it.
type askKey struct {
	ses *session // nil where the server's ids are of one connection
	id  string
}

// asks are the parked requests of one session. link.mu guards them.
type asks struct {
	last   int64
	parked map[int64]*question
}

// askRefused is why a request of a server's goes to no client.
type askRefused struct {
	code int
	text string
}

// id is what the client knows the request by, as JSON.
func (a *question) id() []byte {
	return append(strconv.AppendInt([]byte(`"`+a.ses.inc+`.r`), a.n, 10), '"')
}

// askNumber reads such an id. mine says that it is one of the session's, and not of another life
// of it or another session.
func (ses *session) askNumber(id []byte) (n int64, mine, ok bool) {
	if len(id) < incLen+5 || id[0] != '"' || string(id[incLen+1:incLen+3]) != ".r" || id[len(id)-1] != '"' {
		return 0, false, false
	}
	inc := string(id[1 : incLen+1])
	n, ok = ourID(id[incLen+3 : len(id)-1])
	return n, inc == ses.inc, ok && isInc(inc)
}

// asked takes a request of the server's: ping is answered, everything else goes to a client or
// is refused.
func (l *link) asked(f *wire.Frame, via *call) {
	if f.Method == "ping" {
		l.post(append(wire.Result(f.IDBytes(), []byte("{}")), '\n'))
		return
	}
	a, no := l.park(f, via)
	switch {
	case no != nil:
		l.stats.refusedAsks.Add(1)
		l.log.Debug("request of the server refused", "method", f.Method, "err", no.text)
		var ses *session
		if via != nil {
			ses = via.ses
		}
		l.postFor(ses, append(wire.Error(f.IDBytes(), no.code, no.text, nil), '\n'))
	case a == nil:
		l.log.Debug("server asks again under an id in use", "method", f.Method)
	case !l.tell(a.ses, a.on, a.frame):
		l.endAsk(a, "there is no room for it: its client takes nothing from its stream")
	default:
		l.askTold(a)
	}
}

// park finds out whom a request is for and gives it its id. It returns neither request nor
// refusal for one that cannot be answered, because another has its id.
func (l *link) park(f *wire.Frame, via *call) (*question, *askRefused) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ses, on := l.whose(f, via)
	if no := l.unaskable(ses, f); no != nil {
		return nil, no
	}
	a := &question{ses: ses, n: ses.asks.last + 1, made: l.now(), on: on, key: askKey{id: string(f.IDBytes())}}
	if up, ok := l.up.(interface{ apart() bool }); ok && up.apart() {
		a.key.ses = ses
	}
	if _, dup := l.asks[a.key]; dup {
		return nil, nil
	}
	if _, ofTask := l.taskOf(f); !ofTask && on != nil {
		if a.via = via; via == nil {
			a.upto = on.up
		}
	}
	edits := []wire.Edit{{Span: f.ID, New: a.id()}}
	if at := progressToken(f); !at.IsZero() {
		a.token = append([]byte(nil), at.Of(f.Raw)...)
		edits = append(edits, wire.Edit{Span: at, New: a.id()})
	}
	a.frame = wire.Splice(f.Raw, edits...)
	if id, ok := textAt(f, "params", "elicitationId"); ok && f.Method == "elicitation/create" {
		l.elicitations.claim(id, ses)
	}
	if ses.asks.parked == nil {
		ses.asks.parked = map[int64]*question{}
	}
	ses.asks.last++
	ses.asks.parked[a.n], l.asks[a.key] = a, a
	return a, nil
}

// unaskable is why a request cannot be given to a session, or nil. l.mu is held.
func (l *link) unaskable(ses *session, f *wire.Frame) *askRefused {
	switch {
	case l.rootless && f.Method == rootsList:
		return &askRefused{wire.CodeMethodNotFound, "the hub's settings keep clients' roots from this server (roots: false)"}
	case ses == nil && f.Method == rootsList && !l.alone:
		return &askRefused{wire.CodeInternal, "clients are asked for the roots of a server that they share only as a part of " +
			"their calls; run it with isolation: session"}
	case ses == nil:
		return &askRefused{wire.CodeInternal, "the hub cannot tell which client this request is for: several sessions share " +
			"this server, or none has opened it yet; run it with isolation: session"}
	case ses.ended || l.closed:
		return &askRefused{codeNoAnswer, "the client's session has ended"}
	case len(ses.asks.parked) >= l.lim.MaxAsks:
		return &askRefused{codeNoAnswer, fmt.Sprintf("the client has %d requests to answer already, which is the limit", l.lim.MaxAsks)}
	case len(f.IDBytes()) > maxAskID, progressToken(f).End-progressToken(f).Start > maxAskID:
		return &askRefused{wire.CodeInvalidRequest, fmt.Sprintf("the request's id or progress token is longer than %d bytes", maxAskID)}
	}
	if need := ses.client.caps.lacking(f); need != "" {
		return &askRefused{wire.CodeMethodNotFound, "the client does not declare the capability " + need + ", which " +
			printable(clip(f.Method, 100)) + " needs here"}
	}
	return nil
}

// askTold notes that a request has been told, and takes that back if it has ended meanwhile.
func (l *link) askTold(a *question) {
	l.mu.Lock()
	a.told = true
	parked := a.ses.asks.parked[a.n] == a
	l.mu.Unlock()
	if !parked {
		l.untell(a, "it has ended")
	}
}

// unpark ends a request and reports whether that was its end. l.mu is held.
func (l *link) unpark(a *question) bool {
	if a.ses.asks.parked[a.n] != a {
		return false
	}
	delete(a.ses.asks.parked, a.n)
	delete(l.asks, a.key)
	now := l.now()
	for _, c := range a.ses.calls {
		if a.on == c || a.partOf(c) {
			c.touch(now) // its time begins anew
		}
	}
	return true
}

// partOf says that a request may have been made in a call of its session's.
func (a *question) partOf(c *call) bool {
	if a.via != nil {
		return a.via == c
	}
	return c.up <= a.upto
}

// endAsk ends a request for which there will be no answer, and says so to both sides.
func (l *link) endAsk(a *question, why string) {
	l.mu.Lock()
	mine := l.unpark(a)
	l.mu.Unlock()
	if mine {
		l.dismiss([]*question{a}, why, true)
	}
}

// dismiss says of requests that have ended why that is: to the server, if it is to know, and to
// their clients.
func (l *link) dismiss(ended []*question, why string, server bool) {
	for _, a := range ended {
		l.stats.endedAsks.Add(1)
		if server {
			l.postFor(a.ses, append(wire.Error([]byte(a.key.id), codeNoAnswer, "no answer: "+why, nil), '\n'))
		}
		l.mu.Lock()
		told := a.told
		l.mu.Unlock()
		if told {
			l.untell(a, why)
		}
	}
}

// untell takes a request back from its client.
func (l *link) untell(a *question, why string) {
	if a.ses.streams.withdraw(a.frame) {
		return // it has not been told to anybody
	}
	frame := append([]byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":`), a.id()...)
	frame = append(append(frame, `,"reason":`...), wire.Quote(why)...)
	l.tellOrDrop(a.ses, a.on, append(frame, "}}"...))
}

// outlived takes out the session's requests that were made in calls of which none is open and
// wanted any more. l.mu is held.
func (l *link) outlived(ses *session) (over []*question) {
	if ses == nil {
		return nil
	}
	for _, a := range ses.asks.parked {
		if a.via == nil && a.upto == 0 {
			continue
		}
		wanted := false
		for _, c := range ses.calls {
			wanted = wanted || a.partOf(c) && c.cancelled.Load() == 0
		}
		if !wanted && l.unpark(a) {
			over = append(over, a)
		}
	}
	return over
}

// awaits says that a call's client is being asked something that the call may wait for. l.mu is
// held.
func (l *link) awaits(c *call) bool {
	if c.ses == nil {
		return false
	}
	for _, a := range c.ses.asks.parked {
		if a.on == c || a.partOf(c) {
			return true
		}
	}
	return false
}

// waits is awaits for whoever does not hold l.mu.
func (l *link) waits(c *call) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.awaits(c)
}

// takenBack ends a request that the server does not need answered any more.
func (l *link) takenBack(f *wire.Frame, via *call) {
	at, ok := f.Lookup("params", "requestId")
	if !ok {
		return
	}
	key := askKey{id: string(at.Of(f.Raw))}
	if up, is := l.up.(interface{ apart() bool }); is && up.apart() && via != nil {
		key.ses = via.ses
	}
	l.mu.Lock()
	a := l.asks[key]
	mine := a != nil && l.unpark(a)
	l.mu.Unlock()
	if !mine {
		return // answered already
	}
	l.stats.endedAsks.Add(1)
	if !a.ses.streams.withdraw(a.frame) {
		l.tellOrDrop(a.ses, a.on, wire.Splice(f.Raw, wire.Edit{Span: at, New: a.id()}))
	}
}

// answer gives a client's answer to the server, under the server's own id. It returns errNotAsked
// for what was never asked of the session, and errAskedElsewhere for what was asked of another life
// of it, or of another session; an answer to what has ended is dropped.
func (l *link) answer(ctx context.Context, ses *session, f *wire.Frame) error {
	n, mine, ok := ses.askNumber(f.IDBytes())
	switch {
	case !ok:
		return errNotAsked
	case !mine:
		return errAskedElsewhere
	}
	if err := l.fence(); err != nil {
		return err // while the request is still there for another try
	}
	l.mu.Lock()
	if n > ses.asks.last {
		l.mu.Unlock()
		return errNotAsked
	}
	a := ses.asks.parked[n]
	if a == nil || !l.unpark(a) {
		l.mu.Unlock()
		l.stats.lateReplies.Add(1)
		return nil
	}
	if id, ok := textAt(f, "result", "task", "taskId"); ok {
		l.clientTasks.claim(id, ses)
	}
	l.mu.Unlock()
	frame := append(wire.ReplaceID(*f, []byte(a.key.id)), '\n')
	err := l.transmit(ctx, message{frame: frame, ses: ses, reply: true, allowed: l.fence})
	if errors.Is(err, errFenced) {
		l.dismiss([]*question{a}, err.Error(), true)
	}
	return err
}

// progressFrom passes on a client's progress with a request of the server's, under the server's
// token.
func (l *link) progressFrom(ctx context.Context, ses *session, f *wire.Frame) error {
	at, ok := f.Lookup("params", "progressToken")
	n, mine, is := ses.askNumber(at.Of(f.Raw))
	if !ok || !mine || !is {
		return nil
	}
	l.mu.Lock()
	a := ses.asks.parked[n]
	if a != nil {
		for _, c := range ses.calls {
			if a.partOf(c) {
				c.touch(l.now())
			}
		}
	}
	l.mu.Unlock()
	if a == nil || a.token == nil {
		return nil
	}
	return l.send(ctx, ses, nil, append(wire.Splice(f.Raw, wire.Edit{Span: at, New: a.token}), '\n'))
}

// sweepAsks ends the requests for which no stream has been opened in time, and those of clients
// that seem to be gone for good.
func (l *link) sweepAsks() {
	now := l.now()
	var late, old []*question
	l.mu.Lock()
	for _, a := range l.asks {
		switch {
		case !a.told:
		case a.ses.streams.attached.Load() == 0 && now-max(a.made, time.Duration(a.ses.seen.Load())) > askGoneTime:
			old = append(old, a)
		case !a.read && now-a.made > askStreamTime:
			a.read = true
			late = append(late, a)
		}
	}
	l.mu.Unlock()
	for _, a := range late {
		if a.ses.streams.withdraw(a.frame) {
			l.mu.Lock()
			a.told = false
			l.mu.Unlock()
			l.endAsk(a, "the client has no stream open on which it could be asked")
		}
	}
	for _, a := range old {
		l.endAsk(a, "the client has been gone for an hour")
	}
}

// leaveAsks ends all requests of a session that has ended.
func (l *link) leaveAsks(ses *session) {
	l.mu.Lock()
	over := make([]*question, 0, len(ses.asks.parked))
	for _, a := range ses.asks.parked {
		if l.unpark(a) {
			over = append(over, a)
		}
	}
	l.disown(ses)
	l.mu.Unlock()
	l.dismiss(over, "the client's session has ended", true)
}

// forgetAsks ends all requests without a word to the server, which knows of them no more.
func (l *link) forgetAsks(why string) {
	l.mu.Lock()
	over := make([]*question, 0, len(l.asks))
	for _, a := range l.asks {
		if l.unpark(a) {
			over = append(over, a)
		}
	}
	l.mu.Unlock()
	l.dismiss(over, why, false)
}
