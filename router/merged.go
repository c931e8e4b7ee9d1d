package router

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// Rhythm of a merged stream.
const (
	keepAlive = 15 * time.Second // between comments, which keep proxies from cutting what is quiet
	// lookEvery is the time between two looks at the store for servers that another coordinator has
	// opened, should its hint have been lost.
	lookEvery = 10 * time.Second
)

// merger is a stream that a client has opened on an endpoint over several servers: it merges the
// session's own streams at each server where the session is open. What a server says goes through
// a tap of its own; all of it is written by the goroutine of the request, to which the merger
// belongs. A client that does not read holds up its own taps, and no others.
//
// Each event is given an id that says how far the streams of all servers have come, so that any
// replica can go on from there.
type merger struct {
	r      *Router
	w      http.ResponseWriter
	req    *Request
	s      *session
	v      view
	primes bool // the client's revision has events without data

	positions positions
	branches  map[store.ServerID]*branch
	from      chan part
	taps      sync.WaitGroup
	listener  *listener
}

// branch is one server's part of a merged stream.
type branch struct {
	server store.ServerID
	gen    int // of the session's place when the tap began
	stop   context.CancelFunc
	ended  bool
	taken  bool      // somebody else has taken up the server's stream
	again  time.Time // when a tap that has ended may be made again
}

// part is what a tap brings.
type part struct {
	b    *branch
	id   string // the node's; empty for none
	data []byte // as the client gets it; nil if it is kept from the client, empty if there is none
	end  error  // why the tap has ended; nil if it has not
}

// merge serves a stream that goes on after an event, or a new one.
func (r *Router) merge(ctx context.Context, w http.ResponseWriter, req *Request, s *session, last eventID) error {
	m := &merger{
		r: r, w: w, req: req, s: s, primes: primes(req, s),
		positions: positions{}, branches: map[store.ServerID]*branch{}, from: make(chan part),
	}
	if last.kind == mergedEvent {
		maps.Copy(m.positions, last.positions)
	}
	var err error
	if m.v, err = r.viewOf(req, nil); err != nil {
		return err
	}
	ctx, done := r.keepOpen(ctx, req, s, true)
	defer done()
	if errors.Is(context.Cause(ctx), errLeaving) {
		return r.noStream()
	}
	if _, err := r.read(ctx, s); errors.Is(err, store.ErrEnded) { // what others have opened
		s.end()
		return unknownSession(nil)
	}
	m.listener = r.listen(ctx, s, m.v, req.scope(), last.print)
	defer func() { r.lookout.leave(m.listener) }()
	m.run(ctx)
	return nil
}

// noStream refuses a stream while this coordinator stops.
func (r *Router) noStream() *Error {
	return &Error{
		Err: ErrNoReplica, Code: wire.CodeNotExecuted, RetryAfter: time.Second,
		Message: "Not executed: this part of the hub is stopping; open the stream again, another part serves it",
		Data:    &verdict{Outcome: "not_executed", Reason: reasonShutdown, Retryable: true},
	}
}

// primes says whether a stream may begin with an event that has an id and no data (MCP 2025-11-25,
// Transports). Clients of earlier revisions take the lack of data for an error.
func primes(req *Request, s *session) bool {
	return s.revision(req.Header) >= wire.Version20251125
}

// run writes the stream until it ends, and leaves no tap behind.
func (m *merger) run(ctx context.Context) {
	ctx, stop := context.WithCancelCause(ctx)
	defer m.taps.Wait()
	defer stop(nil)
	h := m.w.Header()
	h["Content-Type"], h["Cache-Control"], h["X-Accel-Buffering"] = []string{wire.TypeEventStream}, []string{"no-cache"}, []string{"no"}
	m.w.WriteHeader(http.StatusOK)
	err := m.prime()
	if err == nil && !m.primes {
		err = writeBlock(m.w, []byte(": stream\n\n")) // so that the head is sent, and what is between sees life
	}
	if err == nil {
		err = m.pump(ctx)
	}
	if errors.Is(err, errLeaving) {
		_ = writeBlock(m.w, comeBack)
	}
}

// pump writes what comes until there is an error.
func (m *merger) pump(ctx context.Context) error {
	alive, look := time.NewTicker(m.r.lookout.alive()), time.NewTimer(m.r.lookout.pause())
	defer alive.Stop()
	defer look.Stop()
	changed := m.s.changed() // before the places are looked at
	err := m.sync(ctx)
	for err == nil {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case p := <-m.from:
			if err = m.pass(p); p.end != nil && err == nil {
				err = m.sync(ctx)
			}
		case <-changed:
			changed = m.s.changed()
			err = m.sync(ctx)
		case <-m.listener.wake:
			if err = m.sync(ctx); err == nil {
				err = m.announce()
			}
		case <-alive.C:
			err = writeBlock(m.w, []byte(": \n\n"))
		case <-look.C:
			look.Reset(m.r.lookout.pause())
			if _, err := m.r.read(ctx, m.s); errors.Is(err, store.ErrEnded) {
				m.s.end()
			}
			err = m.sync(ctx)
		}
	}
	return err
}

// alive is the time between comments.
func (o *lookout) alive() time.Duration { return max(o.keepAlive, time.Millisecond) }

// pause is the time until the next look at the store: another for each stream, so that those that
// began at once do not ask at once.
func (o *lookout) pause() time.Duration {
	return o.lookEvery*3/4 + time.Duration(rand.Int64N(int64(max(o.lookEvery/2, 1)))) //nolint:gosec // jitter
}

// review takes over what the client may see now.
func (m *merger) review(ctx context.Context) error {
	req := *m.req
	if req.Relimit != nil {
		var ok bool
		if req.Limit, ok = req.Relimit(); !ok {
			return unknownSession(nil)
		}
	}
	v, err := m.r.viewOf(&req, nil)
	if err != nil {
		return err
	}
	m.v = v
	if key := keyOf(req.scope(), v.limit); key != m.listener.key {
		was := m.listener
		m.listener = m.r.listen(ctx, m.s, v, req.scope(), m.r.lookout.print(was))
		m.r.lookout.leave(was)
	}
	return nil
}

// sync has a tap for each server where the session is open and that exists for the client.
func (m *merger) sync(ctx context.Context) error {
	if m.s.over() {
		return unknownSession(nil)
	}
	if err := m.review(ctx); err != nil {
		return err
	}
	taken, wanted := 0, map[store.ServerID]bool{}
	for _, p := range m.s.places() {
		if p.Binding == (store.Binding{}) || !m.v.has(p.server) {
			continue
		}
		wanted[p.server] = true
		b := m.branches[p.server]
		switch {
		case b != nil && b.taken && b.gen == p.gen:
			taken++
		case b == nil, b.ended && (b.gen != p.gen || time.Now().After(b.again)):
			m.tap(ctx, p)
		}
	}
	for server, b := range m.branches {
		if !wanted[server] {
			b.stop()
			delete(m.branches, server)
		}
	}
	if taken > 0 && taken == len(m.branches) {
		return errStreamEnded // the client has come back on another connection
	}
	return nil
}

// tap begins to follow a server.
func (m *merger) tap(ctx context.Context, p bound) {
	ctx, stop := context.WithCancel(ctx)
	b := &branch{server: p.server, gen: p.gen, stop: stop}
	if old := m.branches[p.server]; old != nil {
		old.stop()
	}
	m.branches[p.server] = b
	t := m.r.newTap(m.req, m.s, p.server, m.positions.of(p.server))
	bring := func(p part) error {
		select {
		case m.from <- p:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	t.hand = func(ev wire.Event) error {
		if !ev.HasID && len(ev.Data) == 0 {
			return nil // a comment: the client gets our own
		}
		p := part{b: b, id: ev.ID}
		if len(ev.Data) == 0 {
			p.data = []byte{}
		} else if data, drop := m.r.toClient(m.s, b.server, ev.Data); !drop {
			p.data = bytes.Clone(data)
		}
		return bring(p)
	}
	m.taps.Go(func() {
		defer stop()
		_ = bring(part{b: b, end: t.run(ctx)}) // if nobody takes it, nobody waits for it
	})
}

// pass writes what a tap has brought.
func (m *merger) pass(p part) error {
	if m.branches[p.b.server] != p.b {
		return nil // of a server that has left
	}
	if p.end != nil {
		place, _ := m.s.place(p.b.server) // the tap may have moved it
		p.b.ended, p.b.again, p.b.gen = true, time.Now().Add(m.r.lookout.lookEvery/2), place.gen
		p.b.taken = errors.Is(p.end, errStreamEnded)
		if errors.Is(p.end, ErrUnknownSession) || errors.Is(p.end, errLeaving) {
			return p.end
		}
		return nil
	}
	m.positions.set(p.b.server, p.id)
	switch {
	case p.data == nil:
		return nil
	case len(p.data) == 0:
		return m.prime()
	}
	return m.write(p.data)
}

// prime gives the client an id to come back with, if its revision has such events.
func (m *merger) prime() error {
	if !m.primes {
		return nil
	}
	return m.write([]byte{})
}

// write writes one event.
func (m *merger) write(data []byte) error {
	block, err := wire.AppendEvent(make([]byte, 0, len(data)+256), wire.Event{
		ID: mergedID(m.positions, m.r.lookout.print(m.listener)), Data: data,
	})
	if err != nil {
		return err // only for an id that none of ours is
	}
	return writeBlock(m.w, block)
}

// announce tells the client which lists it should ask for again.
func (m *merger) announce() error {
	due, print := m.r.lookout.take(m.listener)
	if due == 0 {
		return nil
	}
	var last []byte
	for _, a := range announcements {
		if due&a.kind == 0 {
			continue
		}
		if last != nil {
			if err := m.write(last); err != nil {
				return err
			}
		}
		last = a.text
	}
	m.r.lookout.sent(m.listener, print) // the id of the last one says that all were sent
	return m.write(last)
}
