package node

import (
	"net/http"
	"slices"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// maxKept is the size up to which a stream keeps the buffer that it writes from, in bytes: it may be
// silent for hours after a large event.
const maxKept = 4 << 10

// feed writes a stream of events to a client.
type feed struct {
	w   http.ResponseWriter
	rc  *http.ResponseController
	inc string // of the session, for event ids
	buf []byte
	id  []byte
}

func newFeed(w http.ResponseWriter, inc string) *feed {
	return &feed{w: w, rc: http.NewResponseController(w), inc: inc}
}

// begin writes the headers.
func (f *feed) begin() {
	h := f.w.Header()
	h.Set("Content-Type", wire.TypeEventStream)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	f.w.WriteHeader(http.StatusOK)
}

// primes says whether the streams of a client begin with an event without data, from which it
// learns an event id (MCP 2025-11-25, Transports, Sending Messages to the Server). Clients of
// older revisions take an event for a message.
func (x *exchange) primes(ses *session) bool {
	revision := x.r.Header.Get(wire.HeaderVersion)
	if revision == "" {
		revision = ses.client.revision
	}
	return revision >= wire.Version20251125
}

// feed writes a stream of the session's until it ends, or the client is gone, or another reader
// has come for it. The stream is kept for a while then, so that it can be taken up again.
func (x *exchange) feed(l *link, ses *session, r *reader) {
	f := newFeed(x.w, ses.inc)
	defer func() {
		f.end()
		ses.seen.Store(int64(l.now())) // it was in use till now
		ses.streams.detach(r)
	}()
	f.begin()
	quiet := time.NewTimer(x.n.cfg.KeepAlive)
	defer quiet.Stop()
	for begun := false; ; begun = true {
		p := ses.streams.take(r)
		if f.portion(&p, !begun) != nil || p.over {
			return
		}
		if p.more {
			continue
		}
		quiet.Reset(x.n.cfg.KeepAlive)
		select {
		case <-r.wake:
		case <-quiet.C:
			if f.comment() != nil {
				return
			}
		case <-x.r.Context().Done():
			return
		}
	}
}

// portion writes what a reader was handed; first, the headers if there is nothing else.
func (f *feed) portion(p *portion, first bool) error {
	if len(p.events) == 0 && p.retry == 0 && !p.taken && !first {
		return nil
	}
	f.buf = f.buf[:0]
	for _, e := range p.events {
		f.id = appendEventID(f.id[:0], f.inc, e.st, e.seq)
		ev := wire.Event{ID: string(f.id), Data: e.frame}
		if len(e.frame) == 0 {
			ev.Data = []byte{}
		} else {
			ev.Name = "message"
		}
		f.buf, _ = wire.AppendEvent(f.buf, ev) // our ids hold nothing that it refuses
	}
	if p.taken {
		f.buf = append(f.buf, wire.StreamTaken...)
	}
	if p.retry > 0 {
		f.buf, _ = wire.AppendEvent(f.buf, wire.Event{Retry: p.retry})
	}
	return f.flush()
}

// write writes one event.
func (f *feed) write(e wire.Event) error {
	var err error
	if f.buf, err = wire.AppendEvent(f.buf[:0], e); err != nil {
		return err
	}
	return f.flush()
}

// comment keeps the connection from looking dead.
func (f *feed) comment() error {
	f.buf = append(f.buf[:0], ": working\n\n"...)
	return f.flush()
}

// flush writes the buffer. Each piece of it may take eventTimeout.
func (f *feed) flush() error {
	for piece := range slices.Chunk(f.buf, unbuffered) {
		_ = f.rc.SetWriteDeadline(time.Now().Add(eventTimeout))
		if _, err := f.w.Write(piece); err != nil {
			return err
		}
	}
	if cap(f.buf) > maxKept {
		f.buf = nil
	}
	_ = f.rc.SetWriteDeadline(time.Now().Add(eventTimeout))
	return f.rc.Flush()
}

// end leaves the connection as the next request expects it.
func (f *feed) end() { _ = f.rc.SetWriteDeadline(time.Time{}) }
