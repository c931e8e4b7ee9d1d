package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/mcphub-go/mcphub/internal/telemetry"
	"github.com/mcphub-go/mcphub/internal/wire"
)

// dispatch sends a client's request under an id of ours. Its progress token, if any, becomes
// that same id; every other byte stays as it is. After an error nothing has reached the server.
func (l *link) dispatch(ctx context.Context, ses *session, f *wire.Frame, from origin) (*call, error) {
	if err := l.mayAsk(ses, f); err != nil {
		from.ended(telemetry.OutcomeRefused)
		return nil, err
	}
	token := progressToken(f)
	id := append(make([]byte, 0, len(f.IDBytes())+token.End-token.Start), f.IDBytes()...)
	var tok []byte
	if !token.IsZero() {
		both := append(id, token.Of(f.Raw)...)
		id, tok = both[:len(id):len(id)], both[len(id):]
	}
	c, err := l.enter(ses, id, tok, f.Method, from)
	if err != nil {
		from.ended(telemetry.OutcomeRefused)
		return nil, err
	}
	var num [20]byte
	ours := strconv.AppendInt(num[:0], c.up, 10)
	if err := l.send(ctx, ses, c, renumber(f.Raw, f.ID, token, ours)); err != nil {
		l.refuse(c, err)
		return nil, err
	}
	return c, nil
}

// notify sends a client's notification as it is.
func (l *link) notify(ctx context.Context, ses *session, f *wire.Frame) error {
	return l.send(ctx, ses, nil, append(append(make([]byte, 0, len(f.Raw)+1), f.Raw...), '\n'))
}

// send sends a frame for a client, which a node without a lease does not.
func (l *link) send(ctx context.Context, ses *session, c *call, frame []byte) error {
	return l.transmit(ctx, message{frame: frame, call: c, ses: ses, allowed: l.fence})
}

// cancel passes notifications/cancelled on if it means a call of the session, under our id.
// The client waits no longer; if the server does not answer after all, sweep does.
func (l *link) cancel(ctx context.Context, ses *session, f *wire.Frame) error {
	at, ok := f.Lookup("params", "requestId")
	if !ok {
		return nil
	}
	l.mu.Lock()
	c := ses.calls[string(at.Of(f.Raw))]
	l.mu.Unlock()
	if c == nil || !c.cancelled.CompareAndSwap(0, int64(l.now())+1) {
		return nil // answered already, never ours, or said before
	}
	l.mu.Lock()
	over := l.outlived(ses)
	l.mu.Unlock()
	l.dismiss(over, "the client has cancelled the call it was part of", true)
	if by, ok := l.up.(interface{ cancels() bool }); ok && by.cancels() {
		c.stop()
		return nil
	}
	var num [20]byte
	ours := strconv.AppendInt(num[:0], c.up, 10)
	return l.send(ctx, ses, nil, renumber(f.Raw, at, wire.Span{}, ours))
}

// renumber copies a frame with one or two of its values replaced, and ends it in LF.
func renumber(raw []byte, a, b wire.Span, num []byte) []byte {
	if !b.IsZero() && b.Start < a.Start {
		a, b = b, a
	}
	out := make([]byte, 0, len(raw)+2*len(num)+1)
	out = append(append(out, raw[:a.Start]...), num...)
	if !b.IsZero() {
		out = append(append(out, raw[a.End:b.Start]...), num...)
		a = b
	}
	return append(append(out, raw[a.End:]...), '\n')
}

// progressToken finds a request's params._meta.progressToken, a string or a number. Anything
// else there is not a token, and the server's to refuse.
func progressToken(f *wire.Frame) wire.Span {
	at, ok := f.Lookup("params", "_meta", "progressToken")
	if !ok {
		return wire.Span{}
	}
	switch b := f.Raw[at.Start]; {
	case b == '"', b == '-', '0' <= b && b <= '9':
		return at
	}
	return wire.Span{}
}

// receive takes one frame from the server, which it does not keep. via is the call on whose
// own stream it came, nil for a stream that all calls share. It never blocks.
func (l *link) receive(raw []byte, via *call) {
	f, err := wire.Scan(raw, wire.ServerLimits)
	if err != nil {
		l.garbled(raw, via, err)
		return
	}
	switch f.Kind {
	case wire.Response:
		l.answered(&f, via)
	case wire.Notification:
		l.notified(&f, via)
	case wire.Request:
		l.asked(&f, via)
	}
}

// garbled deals with what is not a message: a stray print to stdout, most often. If it seems
// to be the answer to a call, that call must not wait for another.
func (l *link) garbled(raw []byte, via *call, why error) {
	l.stats.foreignLines.Add(1)
	l.log.Debug("server wrote something that is no message", "err", why, "bytes", len(raw))
	if via == nil && len(raw) > 0 && raw[0] == '{' {
		at, ok := wire.Lookup(raw, "id")
		if _, rpc := wire.Lookup(raw, "jsonrpc"); !ok || !rpc {
			return
		}
		via = l.byID(at.Of(raw))
	}
	if via != nil && l.giveUp(via, "bad_answer") {
		l.release(via)
	}
}

// giveUp settles a call with an unknown outcome and reports whether it had none.
func (l *link) giveUp(c *call, reason string) bool {
	l.mu.Lock()
	ok := l.settleLocked(c)
	over := l.outlived(c.ses)
	l.mu.Unlock()
	l.dismiss(over, callOver, true)
	switch {
	case !ok:
	case c.ses == nil:
		c.finish(nil, fmt.Errorf("no usable answer: %s", reason))
	default:
		if c.cancelled.Load() != 0 {
			reason = "cancelled"
		}
		c.finish(l.unknown(c, reason), nil)
	}
	return ok
}

// byID finds the call with our id as the server wrote it.
func (l *link) byID(id []byte) *call {
	n, ok := ourID(id)
	if !ok {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls[n]
}

// ourID reads an id or progress token of ours, in the one way we write it.
func ourID(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 18 || b[0] == '0' {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// answered gives a response to its call, under the client's own id.
func (l *link) answered(f *wire.Frame, via *call) {
	c := l.byID(f.IDBytes())
	if via != nil && c != via {
		if !f.Error.IsZero() && (f.ID.IsZero() || string(f.IDBytes()) == "null") {
			c = via // an error about the request as such
		} else {
			c = nil
		}
	}
	if c == nil {
		l.stats.strayAnswers.Add(1)
		l.log.Debug("server answered something that was not asked", "bytes", len(f.Raw))
		return
	}
	if !f.Error.IsZero() {
		c.outcome.Store(int32(telemetry.OutcomeError))
	}
	var answer []byte
	if edits := l.ownTasks(f, c); edits != nil {
		answer = wire.Splice(f.Raw, append(edits, wire.Edit{Span: f.ID, New: c.id})...)
	} else if f.ID.IsZero() {
		answer = append([]byte(`{"jsonrpc":"2.0","id":`), c.id...)
		answer = append(append(append(answer, `,"error":`...), f.ErrorBytes()...), '}')
	} else {
		answer = wire.ReplaceID(*f, c.id)
	}
	l.remember(f, c)
	if !l.settle(c, answer, nil) {
		l.stats.lateAnswers.Add(1)
	}
	l.release(c)
}

func (l *link) changed() {
	select {
	case l.relist <- struct{}{}:
	default:
	}
}

// wanted applies a session's log level. l.mu is held.
func (l *link) wanted(ses *session, f *wire.Frame) bool {
	if f.Method != "notifications/message" {
		return true
	}
	least := ses.level
	if least == levelUnset && l.sentLevel != levelUnset {
		least = levelInfo // it did not ask for what others have turned on
	}
	at, ok := f.Lookup("params", "level")
	if !ok {
		return true
	}
	name, _ := wire.Unquote(at.Of(f.Raw))
	level, known := parseLevel(name)
	return !known || level >= least
}

func (l *link) deliver(c *call, frame []byte) {
	if !c.deliver(frame) {
		l.stats.droppedNotifications.Add(1)
	}
}

// repeatable says that a request may be sent again, elsewhere, although it may have run: it
// reads and changes nothing (the design's table of what is resent).
func repeatable(method string) bool {
	switch method {
	case "ping", "tools/list", "prompts/list", "resources/list", "resources/templates/list",
		"resources/read", "prompts/get", "completion/complete":
		return true
	}
	return false
}

// unknownData goes with error 1001.
type unknownData struct {
	Outcome       string `json:"outcome"`
	Reason        string `json:"reason"`
	Node          string `json:"node"`
	DispatchState string `json:"dispatchState"`
	Retryable     bool   `json:"retryable"`
	TraceID       string `json:"traceId"`
}

// unknown is the answer to a call that may or may not have run.
func (l *link) unknown(c *call, reason string) []byte {
	c.outcome.Store(int32(telemetry.OutcomeLost))
	trace := traceID(c.from.parent)
	l.stats.unknownOutcomes.Add(1)
	l.log.Warn("outcome of a call is unknown", "method", c.method, "reason", reason, "trace", trace)
	return wire.Error(c.id, wire.CodeOutcomeUnknown, "Outcome unknown: the call may or may not have run", unknownData{
		Outcome: "unknown", Reason: reason, Node: string(l.node), DispatchState: "D3", TraceID: trace,
	})
}

// traceID takes the trace id out of a W3C traceparent, or makes one up.
func traceID(traceparent string) string {
	if len(traceparent) >= 55 && traceparent[2] == '-' && traceparent[35] == '-' {
		id := traceparent[3:35]
		if _, err := hex.DecodeString(id); err == nil {
			return id
		}
	}
	var b [16]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
