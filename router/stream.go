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
		err = c.relayStream(a)
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
	body, err := readSome(a, (*buf)[:0], wholeAnswer)
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
// delivered. It returns an error if the stream ends before the response did.
func (c *call) relayStream(a *answer) error {
	c.r.stats.streams.Add(1)
	defer c.r.stats.streams.Add(-1)
	a.stream()
	rc := http.NewResponseController(c.w)
	if !c.headSent {
		c.copyHead(a)
		if a.cacheControl == "" {
			c.w.Header().Set("Cache-Control", "no-cache")
		}
		c.w.Header().Set("X-Accel-Buffering", "no")
		c.w.WriteHeader(a.status)
		c.headSent = true
		_ = rc.Flush()
	}
	events := wire.NewEventReader(a, maxEvent)
	for {
		ev, err := events.Next()
		if err != nil {
			if c.final || c.requestID() == nil {
				return nil // the rest is of no interest to anyone
			}
			if errors.Is(err, io.EOF) {
				return fmt.Errorf("%w: the stream ended without a response", errCut)
			}
			return err
		}
		if len(ev.Data) > 0 {
			c.answered = true
			c.final = c.final || c.isFinal(ev.Data)
		}
		if _, err := c.w.Write(ev.Raw); err != nil {
			return nil // the client has gone
		}
		if err := rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return nil
		}
	}
}

// isFinal says whether an event carries the response to the client's request.
func (c *call) isFinal(data []byte) bool {
	id := c.requestID()
	if id == nil {
		return false
	}
	f, err := wire.Scan(data, wire.ServerLimits)
	return err == nil && f.Kind == wire.Response && wire.SameID(f.IDBytes(), id)
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
