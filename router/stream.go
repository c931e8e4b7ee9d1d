package router

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// Limits of answers.
const (
	// wholeAnswer is the size up to which a plain answer is read whole before any of it is
	// passed on, so that one that breaks off can still be answered with a proper error.
	wholeAnswer = 1 << 20
	// maxAnswer bounds a plain answer, and maxEvent one event of a stream.
	maxAnswer = 64 << 20
	maxEvent  = 8 << 20
)

var (
	errRedirect = errors.New("the node answered with a redirect")
	errTooLarge = errors.New("the answer is too large")
)

var bodyBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 16<<10); return &b }}

// maxPooled is the largest buffer that is kept.
const maxPooled = 64 << 10

// relay passes an answer on to the client.
func (c *call) relay(n *store.Node, a *answer) *failure {
	c.node = n.ID
	var err error
	reason := reasonBroken
	switch {
	case a.status >= 300 && a.status < 400:
		reason, err = reasonBadAnswer, errRedirect
	case isStream(a):
		err = c.relayStream(n, a)
	default:
		err = c.relayPlain(a)
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, errTooLarge) || errors.Is(err, errFraming) || errors.Is(err, wire.ErrEventTooLarge) {
		reason = reasonBadAnswer
	} else if lostReason(err) == reasonTimeout {
		reason = reasonTimeout
	}
	return &failure{state: Answered, reason: reason, node: n, err: err}
}

func isStream(a *answer) bool {
	t, _, _ := strings.Cut(a.contentType, ";")
	return is(strings.TrimSpace(t), wire.TypeEventStream)
}

// relayPlain passes on an answer that is one message, or none.
func (c *call) relayPlain(a *answer) error {
	buf := bodyBuffers.Get().(*[]byte)
	whole := wholeAnswer
	if c.reform != nil {
		whole = maxAnswer
	}
	body, err := readSome(a, (*buf)[:0], whole)
	if err == nil && a.ended && c.reform != nil {
		body = c.reform(body)
	}
	defer func() {
		if *buf = body[:0]; cap(body) <= maxPooled {
			bodyBuffers.Put(buf)
		}
	}()
	switch {
	case err != nil:
		return err
	case c.headSent && !a.ended:
		return errTooLarge // for an event
	case c.headSent && !c.isFinal(body):
		return errFraming
	case c.headSent:
		c.writeFinal(body)
		return nil
	case !a.ended && !a.chunked && a.left > maxAnswer:
		return errTooLarge
	}
	c.answered = true
	c.copyHead(a)
	switch {
	case a.ended && len(body) > 0:
		c.w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
	case !a.ended && !a.chunked:
		c.w.Header()["Content-Length"] = []string{strconv.FormatInt(int64(len(body))+a.left, 10)}
	}
	c.w.WriteHeader(a.status)
	if _, err := c.w.Write(body); err != nil || a.ended {
		return nil // with an error the client has gone
	}
	if _, err := io.CopyN(c.w, a, maxAnswer); !errors.Is(err, io.EOF) {
		// The client has the beginning: a connection that breaks is the only thing left to tell
		// it that there is no end.
		panic(http.ErrAbortHandler)
	}
	return nil
}

// copyHead passes on what is listed of an answer's head, and what the front door adds to it.
func (c *call) copyHead(a *answer) {
	h := c.w.Header()
	if c.placed != nil {
		c.placed(h, c.node)
	}
	set := func(name, value string) {
		if value != "" {
			h[name] = []string{value}
		}
	}
	switch a.contentType {
	case wire.TypeJSON:
		h["Content-Type"] = jsonType[:1:1]
	default:
		set("Content-Type", a.contentType)
	}
	set("Cache-Control", a.cacheControl)
	set("X-Accel-Buffering", a.accel)
	set("Retry-After", a.retryAfter)
}

var jsonType = []string{wire.TypeJSON}

// readSome reads into buf until the end of the answer or until limit bytes are there.
func readSome(a *answer, buf []byte, limit int) ([]byte, error) {
	for {
		if len(buf) >= limit || a.ended {
			return buf, nil
		}
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), min(limit, max(4<<10, 2*cap(buf))))
			copy(grown, buf)
			buf = grown
		}
		n, err := a.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}

// relayStream passes a stream on, event by event as they come. Half an event is never
// delivered. A stream that breaks off while its node lives is taken up again. It returns an error if
// the stream ends before the response did.
func (c *call) relayStream(n *store.Node, a *answer) error {
	c.r.stats.streams.Add(1)
	defer c.r.stats.streams.Add(-1)
	a.stream()
	if !c.headSent {
		c.copyHead(a)
		if a.cacheControl == "" {
			c.w.Header().Set("Cache-Control", "no-cache")
		}
		c.w.Header().Set("X-Accel-Buffering", "no")
		c.w.WriteHeader(a.status)
		c.headSent = true
		_ = http.NewResponseController(c.w).Flush()
	}
	err := c.pump(a)
	switch {
	case errors.Is(err, errClientGone), c.final, c.requestID() == nil:
		return nil // the rest is of no interest to anyone
	case c.parted(err), c.takeUp(n):
		return nil
	case c.r.leaving() && c.patient():
		_ = writeBlock(c.w, comeBack) // the next coordinator has the rest
		return nil
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: the stream ended without a response", errCut)
	}
	return err
}

// pump passes events on until there is an error, be it io.EOF.
func (c *call) pump(a *answer) error {
	events := wire.NewEventReader(a, maxEvent)
	for {
		ev, err := events.Next()
		if err != nil {
			return err
		}
		if err := c.pass(ev); err != nil {
			return err
		}
	}
}

// pass passes one block of a stream on.
func (c *call) pass(ev wire.Event) error {
	if len(ev.Data) > 0 {
		c.answered = true
		c.final = c.final || c.isFinal(ev.Data)
	}
	if ev.HasID {
		c.last = ev.ID
	}
	c.closing, c.taken = ev.Retry > 0 && c.last != "", string(ev.Raw) == wire.StreamTaken
	if c.s.wide() {
		return writeBlock(c.w, c.r.wideEvent(c.s, c.server, ev))
	}
	return writeBlock(c.w, ev.Raw)
}

// resumable says whether the client's stream can be taken up where it ends.
func (c *call) resumable() bool {
	e, ok := parseNodeEvent(c.last)
	return ok && e.call
}

// patient says that the client knows that a stream may end before its response, and to come back for
// the rest (from MCP 2025-11-25 on).
func (c *call) patient() bool {
	return c.s.revision(c.out.header) >= wire.Version20251125 && c.resumable()
}

// parted says that the node has ended the stream on purpose, which err shows, and that the client is to
// come back for the rest or has done so already: the node lets nobody but the last reader have it.
func (c *call) parted(err error) bool {
	if !errors.Is(err, io.EOF) {
		return false
	}
	return c.closing || c.taken || c.patient()
}

// takeUp goes on with a stream that broke off between the node and this coordinator, if the node
// still has it, and says whether the client has what it needs then. The node is the one that runs
// the call: no other is asked.
func (c *call) takeUp(n *store.Node) bool {
	if !c.resumable() || c.ctx.Err() != nil || c.r.leaving() {
		return false
	}
	c.r.stats.resumed.Add(1)
	c.r.log.InfoContext(c.ctx, "stream broke off and is taken up again", "session", c.s.tok, "server", c.server, "node", n.ID)
	t := &tap{
		r: c.r, s: c.s, server: c.server, header: c.out.header, last: c.last, call: true,
		at: &store.Binding{Node: n.ID, Epoch: n.Epoch}, hand: c.pass,
	}
	err := t.run(c.ctx)
	return c.final || errors.Is(err, errClientGone) || err == nil && c.parted(io.EOF)
}

// isFinal says whether an event carries the response to the client's request.
func (c *call) isFinal(data []byte) bool {
	id := c.requestID()
	if id == nil {
		return false
	}
	return answers(data, id)
}

// writeFinal ends a stream to the client with one last message.
func (c *call) writeFinal(frame []byte) {
	c.answered, c.final = true, true
	if err := wire.WriteEvent(c.w, wire.Event{Data: frame}); err != nil {
		return // the client has gone
	}
	_ = http.NewResponseController(c.w).Flush()
}

// writeJSON answers with one message.
func writeJSON(w http.ResponseWriter, status int, frame []byte) error {
	h := w.Header()
	h["Content-Type"] = jsonType[:1:1]
	h["Content-Length"] = []string{strconv.Itoa(len(frame))}
	w.WriteHeader(status)
	_, _ = w.Write(frame) // an error means that the client has gone
	return nil
}
