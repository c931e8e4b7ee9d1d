package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/router"
)

// maxInnerEvent bounds an event of an answer that is taken apart here.
const maxInnerEvent = 16 << 20

// inner is the answer to a message that is carried for a client which has no HTTP answer for it
// alone: an element of a batch, or a message of the HTTP+SSE transport. Each message of it, be it
// a plain answer or a stream, is handed on. It is an http.ResponseWriter of the goroutine that
// carries.
type inner struct {
	id   []byte // of the request, raw; nil if the message is none
	hand func(message []byte, final bool) error

	header   http.Header
	status   int
	buf      []byte
	last     string        // id of the last event
	answered bool          // the response has been handed on
	accepted chan struct{} // closed once the head is written, or there will be none
	once     sync.Once
	done     chan struct{} // closed at the end
	err      error         // of Carry; to be read after done
}

// dispatch carries a message, and returns as soon as whoever answers has taken it: the next one
// may be dispatched then without overtaking it. hand gets each message that answers it, for as
// long as the call lasts, which aliases a buffer; an error of it ends the call for the client.
func (s *Server) dispatch(ctx context.Context, req router.Request, f *wire.Frame, hand func(message []byte, final bool) error) *inner {
	in := &inner{hand: hand, header: http.Header{}, accepted: make(chan struct{}), done: make(chan struct{})}
	if req.HTTPMethod == http.MethodPost && f.Kind == wire.Request {
		in.id, req.StreamNow = f.IDBytes(), true
	}
	go func() {
		defer close(in.done)
		defer in.accept()
		in.err = s.carryInner(ctx, in, req)
	}()
	<-in.accepted
	return in
}

// carryInner carries a message, and turns a panic into an error: there is no net/http around it.
func (s *Server) carryInner(ctx context.Context, in *inner, req router.Request) (err error) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if abort, ok := v.(error); ok && errors.Is(abort, http.ErrAbortHandler) {
			err = errCutShort
			return
		}
		err = fmt.Errorf("panic: %v", v)
		s.log.ErrorContext(ctx, "panic in a request", "method", req.HTTPMethod, "err", fmt.Sprintf("%v\n%s", v, debug.Stack()))
	}()
	if err := s.deps.Carrier.Carry(ctx, in, req); err != nil {
		return err
	}
	return in.finish()
}

// errCutShort says that an answer broke off.
var errCutShort = &problem{status: http.StatusBadGateway, message: "the answer broke off", code: wire.CodeOutcomeUnknown}

func (in *inner) accept() { in.once.Do(func() { close(in.accepted) }) }

// Header implements http.ResponseWriter.
func (in *inner) Header() http.Header { return in.header }

// WriteHeader implements http.ResponseWriter.
func (in *inner) WriteHeader(status int) {
	if in.status == 0 {
		in.status = status
		in.accept()
	}
}

// Write implements http.ResponseWriter.
func (in *inner) Write(b []byte) (int, error) {
	in.WriteHeader(http.StatusOK)
	if len(in.buf)+len(b) > maxInnerEvent && in.streams() {
		return 0, wire.ErrEventTooLarge
	}
	in.buf = append(in.buf, b...)
	return len(b), nil
}

// FlushError hands on the events that are whole. It is what http.ResponseController calls.
func (in *inner) FlushError() error {
	in.WriteHeader(http.StatusOK)
	if !in.streams() {
		return nil
	}
	blocks := wire.NewEventReader(bytes.NewReader(in.buf), maxInnerEvent)
	whole := 0
	for {
		ev, err := blocks.Next()
		if err != nil {
			break // the rest is no whole event yet
		}
		whole += len(ev.Raw)
		if ev.HasID {
			in.last = ev.ID
		}
		if len(ev.Data) == 0 || (ev.Name != "" && ev.Name != "message") {
			continue
		}
		if err := in.pass(ev.Data); err != nil {
			return err
		}
	}
	in.buf = append(in.buf[:0], in.buf[whole:]...)
	return nil
}

func (in *inner) streams() bool {
	t, _, _ := strings.Cut(in.header.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(t), wire.TypeEventStream)
}

// pass hands on one message.
func (in *inner) pass(message []byte) error {
	final := in.answers(message)
	in.answered = in.answered || final
	return in.hand(message, final)
}

// answers says whether a message is the response to the request.
func (in *inner) answers(message []byte) bool {
	if in.id == nil || in.answered {
		return false
	}
	if _, is := wire.Lookup(message, "method"); is {
		return false
	}
	at, ok := wire.Lookup(message, "id")
	return ok && wire.SameID(at.Of(message), in.id)
}

// finish hands on what has not been yet, once the answer is complete.
func (in *inner) finish() error {
	if in.streams() {
		return in.FlushError()
	}
	if in.status >= http.StatusMultipleChoices || len(bytes.TrimSpace(in.buf)) == 0 {
		return nil
	}
	return in.pass(in.buf)
}

// verdict is what is to be said once the call is over: nil where the client has its answer, or
// is owed none.
func (in *inner) verdict() *problem {
	switch {
	case in.err != nil:
		p, _ := outside(in.err)
		return p
	case in.status >= http.StatusMultipleChoices:
		p := refuse(in.status, "the node answered with "+http.StatusText(in.status))
		if f, err := wire.Scan(in.buf, wire.ServerLimits); err == nil && f.Kind == wire.Response {
			p.frame = in.buf
		}
		return p
	case in.id != nil && !in.answered:
		return errCutShort
	}
	return nil
}

// failure is the error that answers a request which came to nothing: a JSON-RPC message with its
// id. It is nil if there is nothing to answer.
func (in *inner) failure() []byte {
	p := in.verdict()
	if p == nil || in.id == nil || in.answered {
		return nil
	}
	if at, ok := wire.Lookup(p.frame, "id"); ok && wire.SameID(at.Of(p.frame), in.id) {
		return p.frame
	}
	if at, ok := wire.Lookup(p.frame, "error"); ok {
		return append(append(append(append([]byte(`{"jsonrpc":"2.0","id":`), in.id...), `,"error":`...), at.Of(p.frame)...), '}')
	}
	return wire.Error(in.id, p.rpcCode(), tame(p.message), nil)
}
