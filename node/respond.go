package node

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
)

const (
	// eventTimeout bounds the writing of a piece to a reader that takes nothing.
	eventTimeout = 30 * time.Second
	// unbuffered is more than net/http writes without waiting for the reader.
	unbuffered = 64 << 10
)

var errNotReady = errors.New("the server is not ready on this node")

// answerForm is what the caller accepts (MCP 2025-11-25, Transports, Sending Messages).
type answerForm struct{ json, stream bool }

func formOf(accept string) answerForm {
	if accept == "" {
		return answerForm{json: true}
	}
	if strings.Contains(accept, "*/*") {
		return answerForm{json: true, stream: true}
	}
	stream := strings.Contains(accept, wire.TypeEventStream)
	return answerForm{json: !stream || strings.Contains(accept, "json") || strings.Contains(accept, "application/*"), stream: stream}
}

// reply is an answer being written that is no stream of the session's: JSON, or one event for a
// caller that takes nothing else.
type reply struct {
	x    *exchange
	form answerForm
	rc   *http.ResponseController
}

// respond writes what comes of a call until its outcome, or until the caller is gone; the call
// itself then goes on. An answer that is there soon, with no notification before it, is plain
// JSON; any other becomes a stream, if the caller takes one. So does one whose own stream the
// server has ended for now, if the client will come back for it.
func (x *exchange) respond(l *link, c *call) error {
	p := reply{x: x, form: formOf(x.r.Header.Get("Accept"))}
	defer p.end()
	var due <-chan time.Time
	switch {
	case !p.form.stream:
	case x.r.Header.Get(wire.HeaderStream) == wire.StreamNow:
		return x.unfold(l, c)
	default:
		t := time.NewTimer(x.n.cfg.StreamAfter)
		defer t.Stop()
		due = t.C
	}
	for {
		select {
		case <-c.wake:
			switch o := c.take(); {
			case p.form.stream && (o.talks || o.parts && x.primes(c.ses) || o.done && !p.form.json):
				return x.unfold(l, c)
			case o.done:
				p.pass(&o)
				return nil
			}
		case <-due:
			return x.unfold(l, c)
		case <-x.r.Context().Done():
			c.hangUp()
			return nil
		}
	}
}

// unfold makes a call's answer a stream and writes it.
func (x *exchange) unfold(l *link, c *call) error {
	x.feed(l, c.ses, c.unfold(x.primes(c.ses)))
	return nil
}

// pass writes an outcome.
func (p *reply) pass(o *outcome) {
	switch {
	case o.err != nil:
		_ = p.x.refuse(o.err)
	case p.form.json:
		p.plain(o.answer)
	default:
		p.event(o.answer)
	}
}

// plain writes the answer as JSON. What the library does not buffer is bounded in time: each
// piece may take eventTimeout, so that a slow reader gets all of a large answer, and one that
// has stopped does not hold it.
func (p *reply) plain(answer []byte) {
	if len(answer) <= unbuffered {
		_ = writeJSON(p.x.w, http.StatusOK, answer)
		return
	}
	p.rc = http.NewResponseController(p.x.w)
	h := p.x.w.Header()
	h["Content-Type"] = jsonType
	h["Content-Length"] = []string{strconv.Itoa(len(answer))}
	p.x.w.WriteHeader(http.StatusOK)
	for piece := range slices.Chunk(answer, unbuffered) {
		_ = p.rc.SetWriteDeadline(time.Now().Add(eventTimeout))
		if _, err := p.x.w.Write(piece); err != nil {
			return
		}
	}
}

// event writes the answer as the only event of a stream.
func (p *reply) event(answer []byte) {
	f := newFeed(p.x.w, "")
	defer f.end()
	f.begin()
	_ = f.write(wire.Event{Name: "message", Data: answer})
}

// end leaves the connection as the next request expects it.
func (p *reply) end() {
	if p.rc != nil {
		_ = p.rc.SetWriteDeadline(time.Time{})
	}
}

// write writes an answer that is there at once.
func (x *exchange) write(answer []byte) error {
	p := reply{x: x, form: formOf(x.r.Header.Get("Accept"))}
	defer p.end()
	p.pass(&outcome{done: true, answer: answer})
	return nil
}

// refuse answers a request of which nothing has reached the server, or that the server has
// refused outside JSON-RPC.
func (x *exchange) refuse(err error) error {
	id := x.f.IDBytes()
	var rpc *rpcError
	var status *statusError
	var full *fullError
	switch {
	case errors.As(err, &full):
		return refuseFull(x.w, id, full)
	case errors.As(err, &rpc):
		answer := append(append([]byte(`{"jsonrpc":"2.0","id":`), id...), `,"error":`...)
		return x.write(append(append(answer, rpc.raw...), '}'))
	case errors.As(err, &status) && x.f.Kind == wire.Notification:
		// A notification has no answer, so what the server says of it must not look like one.
		return fail(x.w, http.StatusBadGateway, err.Error())
	case errors.As(err, &status):
		return x.write(wire.Error(id, wire.CodeInternal, err.Error(), nil))
	case errors.Is(err, errFenced):
		return refuse(x.w, http.StatusServiceUnavailable, wire.RefusedLease, err.Error())
	case errors.Is(err, errSessionUnknown):
		return refuse(x.w, http.StatusNotFound, wire.RefusedSession, "this node does not know the session")
	case errors.Is(err, errDuplicateID):
		return writeJSON(x.w, http.StatusBadRequest, wire.Error(id, wire.CodeInvalidRequest,
			"a request with this id is still being worked on in this session", nil))
	case errors.Is(err, errTooMany):
		x.w.Header().Set("Retry-After", "1")
		return writeJSON(x.w, http.StatusServiceUnavailable, notExecuted(id, err))
	case errors.Is(err, context.DeadlineExceeded):
		return writeJSON(x.w, http.StatusOK, wire.Error(id, wire.CodeInternal, "the server did not answer in time", nil))
	}
	return refuse(x.w, http.StatusServiceUnavailable, wire.RefusedServer, err.Error())
}

// fullRetry is when another try of a session that found every process taken may go better, in
// seconds: sessions end when their clients do, or after minutes without a request.
const fullRetry = "5"

// refuseFull answers an initialize for which there is no process. Another node may have one.
func refuseFull(w http.ResponseWriter, id []byte, err *fullError) error {
	h := w.Header()
	h.Set(wire.HeaderRefused, wire.RefusedFull)
	h.Set("Retry-After", fullRetry)
	return writeJSON(w, http.StatusServiceUnavailable, wire.Error(id, wire.CodeNotExecuted, "not executed: "+err.Error(),
		map[string]any{"outcome": "not_executed", "retryable": true, "reason": wire.RefusedFull,
			"server": err.server, "limit": "maxProcesses", "maxProcesses": err.most}))
}

// notExecuted is the answer to a call that has certainly not run.
func notExecuted(id []byte, err error) []byte {
	return wire.Error(id, wire.CodeNotExecuted, "not executed: "+printable(clip(err.Error(), 200)),
		map[string]any{"outcome": "not_executed", "retryable": true})
}

// refuse answers for the node itself: nothing was dispatched, and another node may be asked.
func refuse(w http.ResponseWriter, status int, why, msg string) error {
	w.Header().Set(wire.HeaderRefused, why)
	return fail(w, status, msg)
}

// fail answers outside JSON-RPC.
func fail(w http.ResponseWriter, status int, msg string) error {
	body := append([]byte(`{"success":false,"message":`), wire.Quote(printable(clip(msg, 300)))...)
	return writeJSON(w, status, append(body, '}'))
}

var jsonType = []string{wire.TypeJSON}

func writeJSON(w http.ResponseWriter, status int, body []byte) error {
	h := w.Header()
	h["Content-Type"] = jsonType
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
}
