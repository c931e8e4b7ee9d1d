package server

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/mcphub-go/mcphub/internal/telemetry"
	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/store"
)

// Figures of one stream of HTTP+SSE.
const (
	legacyCalls  = 256              // requests in hand; the next one waits
	legacyEnd    = 5 * time.Second  // for telling nodes that the session is over
	listenPause  = time.Second      // before the session's own stream is opened again, at first
	listenLonger = 10 * time.Second // and at most
)

// legacyStream is one session of the HTTP+SSE transport. Behind it this replica is a client of its
// own router, over streamable HTTP.
type legacyStream struct {
	s      *Server
	id     store.SessionID
	key    *clientKey // of whoever opened it
	scope  string     // the name in the path
	prefer store.NodeID
	ctx    context.Context //nolint:containedctx // of the request whose answer this is; all that is done here ends with it
	cancel context.CancelFunc
	out    chan []byte   // messages for the client
	slots  chan struct{} // one for each request in hand
	wg     sync.WaitGroup

	posting sync.Mutex // held while a message is pushed, so that mine has their order

	mu     sync.Mutex // guards the rest
	queue  []store.InboxMessage
	more   chan struct{}        // says that there is something in queue; has room for one
	mine   []store.InboxMessage // pushed here, and not read from the inbox yet
	direct map[string]bool      // ids of messages that were taken without the inbox, and may be in it

	// Of the goroutine that dispatches, and those that it starts.
	session, version string
}

func newLegacyStream(ctx context.Context, s *Server, tok router.StreamToken, key *clientKey, scope string, prefer store.NodeID) *legacyStream {
	st := &legacyStream{
		s: s, id: tok.ID, key: key, scope: scope, prefer: prefer, out: make(chan []byte),
		slots: make(chan struct{}, legacyCalls), more: make(chan struct{}, 1), direct: map[string]bool{},
	}
	st.ctx, st.cancel = context.WithCancel(ctx)
	return st
}

// serve writes the stream until the client goes, does not read, or the stream is ended.
func (st *legacyStream) serve(w http.ResponseWriter, endpoint string) {
	st.wg.Go(st.dispatch)
	defer st.close()
	streamHead(w)
	conn := http.NewResponseController(w)
	write := func(f func() error) bool {
		_ = conn.SetWriteDeadline(time.Now().Add(st.s.cfg.FollowStall)) // a connection without deadlines fails by itself
		return f() == nil && conn.Flush() == nil
	}
	ok := write(func() error { return wire.WriteEvent(w, wire.Event{Name: "endpoint", Data: []byte(endpoint)}) })
	beat := time.NewTicker(st.s.cfg.KeepAlive)
	defer beat.Stop()
	for ok {
		select {
		case message := <-st.out:
			ok = write(func() error { return wire.WriteEvent(w, wire.Event{Name: "message", Data: message}) })
		case <-beat.C:
			ok = write(func() error { return wire.Comment(w, "keep-alive") })
		case <-st.ctx.Done():
			return
		}
	}
}

// close ends the session with its stream.
func (st *legacyStream) close() {
	st.cancel()
	st.wg.Wait()
	if st.session == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(st.ctx), legacyEnd)
	defer cancel()
	req, p := st.request(ctx, http.MethodDelete)
	if p != nil {
		return // the key is gone, or what it may use; the session ends when it has been idle
	}
	in := st.s.dispatch(ctx, req, &wire.Frame{}, func([]byte, bool) error { return nil })
	<-in.done
	if in.err != nil && !errors.Is(in.err, router.ErrUnknownSession) {
		st.s.log.DebugContext(ctx, "the session of a stream that ended goes on until it is idle", "err", in.err)
	}
}

// send hands a message to the client. It waits until the one before has been written.
func (st *legacyStream) send(message []byte, _ bool) error {
	select {
	case st.out <- slices.Clone(message):
		return nil
	case <-st.ctx.Done():
		return st.ctx.Err()
	}
}

// post takes a message that came to this replica. It goes the way of those that come to others,
// so that the order holds; while Redis is away it is taken at once, after those from here that have
// not come out of the inbox.
func (st *legacyStream) post(ctx context.Context, m store.InboxMessage) error {
	st.posting.Lock()
	defer st.posting.Unlock()
	in, me := st.s.deps.Inboxes, st.s.cfg.Coordinator
	err := store.ErrUnavailable
	st.mu.Lock()
	st.mine = append(st.mine, m)
	st.mu.Unlock()
	if in != nil {
		if err = in.PushInbox(ctx, me, m); errors.Is(err, store.ErrNotFound) { // Redis has lost it
			if err = in.KeepStreams(ctx, me, []store.SessionID{st.id}, keepTTL); err == nil {
				err = in.PushInbox(ctx, me, m)
			}
		}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, store.ErrUnavailable):
		st.forget(m.ID)
		return err
	case len(st.queue)+len(st.mine) > store.MaxWaiting:
		st.forget(m.ID)
		return store.ErrTooMany
	case len(st.direct) > store.MaxInbox:
		clear(st.direct) // after so long an outage none of them is in the inbox
	}
	for _, m := range st.mine {
		if in != nil {
			st.direct[m.ID] = true
		}
		st.enqueue(m)
	}
	st.mine = nil
	return nil
}

// arrived takes a message out of the inbox. It is false for one that is not to be dispatched.
func (st *legacyStream) arrived(m store.InboxMessage) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.direct[m.ID] {
		delete(st.direct, m.ID)
		return false
	}
	st.forget(m.ID)
	st.enqueue(m)
	return true
}

// forget takes a message off mine. Callers hold mu.
func (st *legacyStream) forget(id string) {
	st.mine = slices.DeleteFunc(st.mine, func(m store.InboxMessage) bool { return m.ID == id })
}

// enqueue is for callers that hold mu.
func (st *legacyStream) enqueue(m store.InboxMessage) {
	st.queue = append(st.queue, m)
	select {
	case st.more <- struct{}{}:
	default:
	}
}

// dispatch dispatches the messages, one after the other, until the stream ends.
func (st *legacyStream) dispatch() {
	for {
		st.mu.Lock()
		queue := st.queue
		st.queue = nil
		st.mu.Unlock()
		for _, m := range queue {
			if st.ctx.Err() == nil {
				st.carry(m.Body)
			}
			st.s.legacy.dispatched(m)
		}
		select {
		case <-st.more:
		case <-st.ctx.Done():
			return
		}
	}
}

// request is a request of this session to the router. It is looked up each time what the key may
// use: keys change while streams are open.
func (st *legacyStream) request(ctx context.Context, method string) (router.Request, *problem) {
	req := router.Request{
		HTTPMethod: method, Header: http.Header{}, SessionID: st.session, Scope: st.scope, Subject: st.key.subject, Prefer: st.prefer,
	}
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("Content-Type", wire.TypeJSON)
	if st.version != "" {
		req.Header.Set(wire.HeaderVersion, st.version)
	}
	key := st.s.access.Load().named(st.key)
	if key == nil {
		return req, refuse(http.StatusUnauthorized, "the key with which this stream was opened is no longer valid")
	}
	return req, st.s.checkScope(ctx, &req, key)
}

// carry carries one message. It returns when the next one may be.
func (st *legacyStream) carry(body []byte) {
	f, err := wire.Scan(body, wire.ClientLimits)
	if err != nil {
		return // whoever took it has looked at it
	}
	begun := time.Now()
	starts := st.session == "" && f.Kind == wire.Request && f.Method == "initialize"
	req, p := st.request(st.ctx, http.MethodPost)
	req.Body = body
	if p == nil && st.session == "" && !starts {
		p = refuse(http.StatusBadRequest, "the first message must be initialize")
	}
	if p != nil {
		st.refused(&f, p)
		return
	}
	if f.Kind == wire.Request {
		select {
		case st.slots <- struct{}{}:
		case <-st.ctx.Done():
			return
		}
	}
	var answer []byte
	in := st.s.dispatch(st.ctx, req, &f, func(message []byte, final bool) error {
		if starts && final {
			answer = slices.Clone(message)
			return nil // it is sent when the session is known, so that nothing overtakes it
		}
		return st.send(message, final)
	})
	took := time.Since(begun)
	if starts {
		<-in.done
		st.started(in, answer)
	}
	st.wg.Go(func() { st.after(in, &req, &f, took) })
}

// started takes over the session that initialize has begun.
func (st *legacyStream) started(in *inner, answer []byte) {
	if answer == nil {
		return
	}
	if st.session = in.header.Get(wire.HeaderSession); st.session != "" {
		at, _ := wire.Lookup(answer, "result", "protocolVersion")
		version, _ := wire.Unquote(at.Of(answer))
		// This transport has no resumption, so that nothing of it is asked for: the revisions that
		// have it begin streams with an event for it, and end them early.
		if st.version = version; version > wire.Version20250618 {
			st.version = wire.Version20250618
		}
		st.wg.Go(st.listen)
	}
	_ = st.send(answer, true) // an error means that the client has gone
}

// after ends what a message has begun.
func (st *legacyStream) after(in *inner, req *router.Request, f *wire.Frame, took time.Duration) {
	<-in.done
	if f.Kind == wire.Request {
		<-st.slots
	}
	status := in.status
	if p := in.verdict(); p != nil {
		status = p.status
	}
	m := &measured{meter: st.s.deps.Meter, begun: time.Now().Add(-took), method: telemetry.KindOf(f.Method)}
	m.isFor(req.Scope)
	m.answered(status)
	if failure := in.failure(); failure != nil {
		_ = st.send(failure, true) // an error means that the client has gone
	}
	if errors.Is(in.err, router.ErrUnknownSession) {
		st.cancel() // the stream is the session
	}
}

// refused answers a message that cannot be carried.
func (st *legacyStream) refused(f *wire.Frame, p *problem) {
	if f.Kind == wire.Request {
		_ = st.send(wire.Error(f.IDBytes(), p.rpcCode(), tame(p.message), nil), true) // as above
	}
	if p.status == http.StatusUnauthorized {
		st.cancel()
	}
}

// listen follows what servers say to the session without being asked.
func (st *legacyStream) listen() {
	last, pause := "", listenPause
	for st.ctx.Err() == nil {
		req, p := st.request(st.ctx, http.MethodGet)
		if p != nil {
			return
		}
		req.LastEvent, req.Relimit = last, st.s.relimit(func() *clientKey { return st.s.access.Load().named(st.key) }, req.Scope)
		heard := false
		in := st.s.dispatch(st.ctx, req, &wire.Frame{}, func(message []byte, final bool) error {
			heard = true
			return st.send(message, final)
		})
		<-in.done
		switch {
		case errors.Is(in.err, router.ErrMethod):
			return // nothing is ever said here
		case errors.Is(in.err, router.ErrUnknownSession):
			st.cancel()
			return
		}
		if in.last != "" {
			last = in.last
		}
		if pause = min(2*pause, listenLonger); heard {
			pause = listenPause
		}
		pauseFor(st.ctx, pause)
	}
}
