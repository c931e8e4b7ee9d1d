package server

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/store"
)

// Inboxes is where messages wait for the replica that has the stream which they are for;
// *store.Store is one.
type Inboxes interface {
	KeepStreams(ctx context.Context, owner store.CoordinatorID, ids []store.SessionID, ttl time.Duration) error
	DropStream(ctx context.Context, owner store.CoordinatorID, id store.SessionID) error
	PushInbox(ctx context.Context, owner store.CoordinatorID, m store.InboxMessage) error
	AckInbox(ctx context.Context, owner store.CoordinatorID, messages []store.InboxMessage) error
	OpenInbox(owner store.CoordinatorID) (*store.Inbox, error)
}

// Figures of the HTTP+SSE transport.
const (
	pathSSE      = "/sse"
	pathMessages = "/messages"
	keepTTL      = 30 * time.Second // after which the streams of a replica that died are known to be gone
	keepEvery    = keepTTL / 3
	ackEvery     = 50 * time.Millisecond
	inboxPause   = 250 * time.Millisecond // after a read that failed
)

// legacy is the HTTP+SSE transport of MCP 2024-11-05 at this replica: the streams that clients
// opened here, and what comes for them by way of the inbox. Safe for concurrent use.
type legacy struct {
	s *Server

	mu      sync.Mutex
	all     map[store.SessionID]*legacyStream
	leaving bool
	done    []store.InboxMessage // dispatched, and to be taken out of the inbox
	first   chan struct{}        // closed when there has been a stream
}

func newLegacy(s *Server) *legacy {
	return &legacy{s: s, all: map[store.SessionID]*legacyStream{}, first: make(chan struct{})}
}

// add takes a stream up, unless the replica is about to stop.
func (l *legacy) add(st *legacyStream) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leaving {
		return false
	}
	select {
	case <-l.first:
	default:
		close(l.first)
	}
	l.all[st.id] = st
	return true
}

func (l *legacy) remove(st *legacyStream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.all, st.id)
}

func (l *legacy) get(id store.SessionID) *legacyStream {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all[id]
}

func (l *legacy) ids() []store.SessionID {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]store.SessionID, 0, len(l.all))
	for id := range l.all {
		out = append(out, id)
	}
	return out
}

// end ends all streams, so that their clients come back to another replica; new ones are refused.
func (l *legacy) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leaving = true
	for _, st := range l.all {
		st.cancel()
	}
}

// dispatched notes messages that need not wait in the inbox any more.
func (l *legacy) dispatched(m store.InboxMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done = append(l.done, m)
}

// run does what belongs to no single stream, until ctx ends.
func (l *legacy) run(ctx context.Context) {
	if l.s.deps.Inboxes == nil {
		return
	}
	select {
	case <-l.first:
	case <-ctx.Done():
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { l.read(ctx) })
	wg.Go(func() { l.upkeep(ctx) })
	wg.Wait()
}

// read hands what comes by way of the inbox to the streams.
func (l *legacy) read(ctx context.Context) {
	in, err := l.s.deps.Inboxes.OpenInbox(l.s.cfg.Coordinator)
	if err != nil {
		l.s.log.Error("no inbox for messages of HTTP+SSE clients", "err", err)
		return
	}
	defer context.AfterFunc(ctx, func() { _ = in.Close() })() // which wakes Next; nothing is lost with it
	defer func() { _ = in.Close() }()
	for ctx.Err() == nil {
		messages, err := in.Next(ctx)
		if err != nil {
			pauseFor(ctx, inboxPause)
			continue
		}
		for _, m := range messages {
			if st := l.get(m.Session); st == nil || !st.arrived(m) {
				l.dispatched(m) // it has been, or never will be
			}
		}
	}
}

// upkeep says which streams are here, and takes out of the inbox what was dispatched.
func (l *legacy) upkeep(ctx context.Context) {
	keep, ack := time.NewTicker(keepEvery), time.NewTicker(ackEvery)
	defer keep.Stop()
	defer ack.Stop()
	for {
		select {
		case <-ctx.Done():
			l.ack(context.WithoutCancel(ctx))
			return
		case <-ack.C:
			l.ack(ctx)
		case <-keep.C:
			if err := l.s.deps.Inboxes.KeepStreams(ctx, l.s.cfg.Coordinator, l.ids(), keepTTL); err != nil {
				l.s.log.DebugContext(ctx, "streams are not known to other replicas", "err", err)
			}
		}
	}
}

func (l *legacy) ack(ctx context.Context) {
	l.mu.Lock()
	done := l.done
	l.done = nil
	l.mu.Unlock()
	if len(done) == 0 {
		return
	}
	if err := l.s.deps.Inboxes.AckInbox(ctx, l.s.cfg.Coordinator, done); err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.done)+len(done) <= store.MaxInbox { // more than that it cannot hold
			l.done = append(done, l.done...)
		}
	}
}

// pauseFor waits, unless ctx ends before.
func pauseFor(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// serveSSE is GET /sse and /sse/<server or group>: a session of MCP 2024-11-05, HTTP with SSE,
// which lives as long as the stream does.
func (s *Server) serveSSE(c echo.Context) error {
	m := s.measure(c)
	defer m.span.End()
	defer s.rescue(c)
	if err := s.openSSE(c, m); err != nil {
		s.onError(err, c)
	}
	return nil
}

func (s *Server) openSSE(c echo.Context, m *measured) error {
	r := c.Request()
	s.allowOrigin(c.Response(), r)
	key, p := s.access.Load().client(r)
	if p == nil {
		p = checkListener(r)
	}
	req := router.Request{Subject: "", Scope: c.Param("server")}
	if p == nil {
		req.Subject = key.subject
		p = s.checkScope(r.Context(), &req, key)
	}
	if p != nil {
		return p
	}
	m.asks(&req)
	leave, p := s.take(clientName(r, key), "")
	if p != nil {
		return p
	}
	defer leave()
	tok, err := s.deps.Carrier.NewStream(key.subject)
	if err != nil {
		return err
	}
	s.stick(r, &req)
	st := newLegacyStream(r.Context(), s, tok, key, c.Param("server"), req.Prefer)
	defer st.cancel()
	if !s.legacy.add(st) {
		return &problem{status: http.StatusServiceUnavailable, message: "this replica is stopping; another one takes it from here"}
	}
	defer s.legacy.remove(st)
	if in := s.deps.Inboxes; in != nil {
		_ = in.KeepStreams(r.Context(), s.cfg.Coordinator, []store.SessionID{st.id}, keepTTL) // without Redis this replica serves it alone
		defer func() { _ = in.DropStream(context.WithoutCancel(r.Context()), s.cfg.Coordinator, st.id) }()
	}
	st.serve(c.Response(), s.endpoint(r, tok))
	return nil
}

// endpoint is where a client posts its messages.
func (s *Server) endpoint(r *http.Request, tok router.StreamToken) string {
	path := pathMessages + "?sessionId=" + url.QueryEscape(tok.String())
	if !s.cfg.AbsoluteEndpoint {
		return path
	}
	scheme := "http"
	if isTLS(r) {
		scheme = "https"
	}
	return scheme + "://" + r.Host + path
}

// servePost is POST /messages: a message for a stream, whichever replica has that.
func (s *Server) servePost(c echo.Context) error {
	defer s.rescue(c)
	r := c.Request()
	s.allowOrigin(c.Response(), r)
	key, p := s.access.Load().client(r)
	if p == nil {
		p = checkContent(r.Header)
	}
	if p == nil {
		p = checkVersion(r.Header.Get(wire.HeaderVersion))
	}
	if p != nil {
		return p
	}
	tok, err := s.deps.Carrier.ParseStream(r.URL.Query().Get("sessionId"))
	if err != nil && !errors.Is(err, router.ErrToken) {
		return err
	}
	if err != nil || !tok.Of(key.subject) {
		return noStream()
	}
	body, p := s.readBody(c.Response(), r)
	if p != nil {
		return p
	}
	defer s.held.Add(-int64(len(body)))
	if _, err := wire.Scan(body, wire.ClientLimits); err != nil {
		return refuse(http.StatusBadRequest, err.Error())
	}
	if err := s.post(r.Context(), tok, body); err != nil {
		return err
	}
	return c.NoContent(http.StatusAccepted)
}

func noStream() *problem {
	return refuse(http.StatusNotFound, "unknown sessionId: its stream has ended, or was never here; open a new one with GET /sse")
}

// post hands a message over, so that it is dispatched after all that were before it.
func (s *Server) post(ctx context.Context, tok router.StreamToken, body []byte) error {
	m := store.InboxMessage{Session: tok.ID, ID: rand.Text(), Body: body}
	if tok.Owner == s.cfg.Coordinator {
		st := s.legacy.get(tok.ID)
		if st == nil {
			return noStream()
		}
		return posted(st.post(ctx, m))
	}
	if s.deps.Inboxes == nil {
		return noStream()
	}
	return posted(s.deps.Inboxes.PushInbox(ctx, tok.Owner, m))
}

// posted words what became of a message.
func posted(err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return noStream()
	case errors.Is(err, store.ErrTooMany):
		return &problem{status: http.StatusServiceUnavailable, message: "too many messages wait for this stream; try again"}
	}
	return err
}
