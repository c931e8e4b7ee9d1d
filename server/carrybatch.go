package server

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/router"
)

// reviser is a Carrier that knows the protocol revision of a session.
type reviser interface {
	// Revision is the one that the session of a request has negotiated, or empty if that is not
	// known. The error is that of Carry for the same session.
	Revision(ctx context.Context, req router.Request) (string, error)
}

// batchPatience is how long a batch may be unanswered before its answer becomes a stream.
const batchPatience = time.Second

// carryBatch carries a batch: its messages in their order, each as if it had come alone. The
// answers make one JSON array, or events of one stream as soon as a server says anything else
// before it answers, or takes its time. The events have no ids: a stream over several calls is none
// that can be taken up again.
func (s *Server) carryBatch(c echo.Context, req router.Request) error {
	ctx := c.Request().Context()
	if err := s.allowBatch(ctx, &req); err != nil {
		return err
	}
	frames, p := splitBatch(req.Body, s.cfg.MaxBatch)
	if p != nil {
		return p
	}
	out := &batchAnswer{w: c.Response(), stall: s.cfg.FollowStall, answers: make([][]byte, len(frames))}
	late := time.AfterFunc(batchPatience, out.stream)
	defer late.Stop()
	calls := make([]*inner, len(frames))
	for i := range frames {
		f := &frames[i]
		own := req
		own.Body = f.Raw
		own.Placed = nil // each might name another node
		calls[i] = s.dispatch(ctx, own, f, func(message []byte, final bool) error { return out.add(i, message, final) })
	}
	s.awaitBatch(calls, out)
	return out.end(calls)
}

// allowBatch refuses batches of sessions in whose revision there are none.
func (s *Server) allowBatch(ctx context.Context, req *router.Request) error {
	const which = "only MCP 2025-03-26 has batches: send each message in a request of its own"
	if req.SessionID == "" {
		return refuse(http.StatusBadRequest, "a batch belongs to a session: send initialize first, alone, and its answer's Mcp-Session-Id with every later request")
	}
	if v := req.Header.Get(wire.HeaderVersion); v != "" && v != wire.Version20250326 {
		return refuse(http.StatusBadRequest, which)
	}
	r, ok := s.deps.Carrier.(reviser)
	if !ok {
		return nil
	}
	v, err := r.Revision(ctx, *req)
	if err == nil && v != "" && v != wire.Version20250326 {
		err = refuse(http.StatusBadRequest, which)
	}
	return err
}

// awaitBatch waits for the end of all calls, with signs of life on a stream.
func (s *Server) awaitBatch(calls []*inner, out *batchAnswer) {
	beat := time.NewTicker(s.cfg.KeepAlive)
	defer beat.Stop()
	for i, in := range calls {
		for over := false; !over; {
			select {
			case <-in.done:
				over = true
			case <-beat.C:
				out.keepAlive()
			}
		}
		if failure := in.failure(); failure != nil {
			_ = out.add(i, failure, true) // an error means that the client has gone
		}
	}
}

// batchAnswer is the answer to a batch. Safe for concurrent use.
type batchAnswer struct {
	stall time.Duration

	mu      sync.Mutex // guards the rest
	w       http.ResponseWriter
	answers [][]byte // by the order of the requests; nil where there is none, or it has been sent
	begun   bool     // as a stream
	over    bool
	err     error
}

// add takes a message.
func (b *batchAnswer) add(i int, message []byte, final bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if final && !b.begun {
		b.answers[i] = append([]byte(nil), message...)
		return nil
	}
	b.begin()
	b.write(func() error { return wire.WriteEvent(b.w, wire.Event{Data: message}) })
	return b.err
}

// stream makes a stream of the answer.
func (b *batchAnswer) stream() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.begin()
}

// begin begins the stream with what there is. Callers hold mu.
func (b *batchAnswer) begin() {
	if b.begun || b.over {
		return
	}
	b.begun = true
	streamHead(b.w)
	for i, a := range b.answers {
		if a != nil {
			b.write(func() error { return wire.WriteEvent(b.w, wire.Event{Data: a}) })
			b.answers[i] = nil
		}
	}
}

// streamHead begins an answer that is a stream of events.
func streamHead(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", wire.TypeEventStream)
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush() // the next write tells whether the client is there
}

// write writes a piece of the stream, within a bound. After an error nothing more is written.
// Callers hold mu.
func (b *batchAnswer) write(f func() error) {
	if b.err != nil {
		return
	}
	conn := http.NewResponseController(b.w)
	_ = conn.SetWriteDeadline(time.Now().Add(b.stall)) // a connection without deadlines fails by itself
	if b.err = f(); b.err == nil {
		b.err = conn.Flush()
	}
}

func (b *batchAnswer) keepAlive() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.begun {
		b.write(func() error { return wire.Comment(b.w, "keep-alive") })
	}
}

// end ends the answer. calls are over.
func (b *batchAnswer) end(calls []*inner) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	if b.begun {
		return nil
	}
	body := []byte{'['}
	for _, a := range b.answers {
		if a == nil {
			continue
		}
		if len(body) > 1 {
			body = append(body, ',')
		}
		body = append(body, a...)
	}
	if len(body) == 1 {
		return b.endSilent(calls)
	}
	body = append(body, ']')
	h := b.w.Header()
	h.Set("Content-Type", wire.TypeJSON)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	b.w.WriteHeader(http.StatusOK)
	_, _ = b.w.Write(body) // an error means that the client has gone
	return nil
}

// endSilent answers a batch in which nothing asks for an answer.
func (b *batchAnswer) endSilent(calls []*inner) error {
	for _, in := range calls {
		if p := in.verdict(); p != nil {
			return p
		}
	}
	b.w.WriteHeader(http.StatusAccepted)
	return nil
}
