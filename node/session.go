package node

import (
	"crypto/rand"
	"errors"
	"sync/atomic"
	"time"
)

// session is one client's session with one server, under the id the coordinator gave it. It
// lives as long as the connection to the server does: when that is lost, what the server knew
// of the session may be lost too, and the coordinator is told so by a 404.
type session struct {
	id      string
	inc     string // of this object alone, see newInc
	client  client
	streams streams
	seen    atomic.Int64 // last request, in time since the link's epoch

	// Guarded by link.mu.
	calls   map[string]*call // without an outcome, by the client's id bytes
	holding int              // calls the server may still be working on
	level   logLevel         // of logging/setLevel; levelUnset for never
	uris    []string         // subscribed to
	asks    asks             // of the server's, that its client is to answer
	ended   bool
}

// client is what a session's initialize has said and settled.
type client struct {
	revision string // that was negotiated; empty for not known
	caps     capabilities
}

// incLen is the length of a session's inc.
const incLen = 8

// newInc names one life of a session on a node: a session that is opened again has another, so
// that ids with it in them never mean something else than they did.
func newInc() string {
	const digits = "0123456789abcdefghijklmnopqrstuvwxyz"
	var b [incLen]byte
	_, _ = rand.Read(b[:])
	for i := range b {
		b[i] = digits[int(b[i])%len(digits)]
	}
	return string(b[:])
}

var (
	errSessionUnknown = errors.New("session unknown")
	errTooMany        = errors.New("too much is being worked on")
)

// openSession makes the id known and returns the number of sessions. An id that is known
// already stays as it is: two coordinators that move one session here agree.
func (l *link) openSession(id string, who client) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.refusing(); err != nil {
		return 0, err
	}
	ses := l.sessions[id]
	if ses == nil {
		if len(l.sessions) >= l.lim.MaxSessions {
			return 0, errTooMany
		}
		ses = &session{id: id, inc: newInc(), client: who}
		ses.streams.inc, ses.streams.lim, ses.streams.stats = ses.inc, l.lim, l.stats
		l.sessions[id] = ses
		l.meet(ses)
	}
	ses.seen.Store(int64(l.now()))
	return len(l.sessions), nil
}

// session finds a session and notes that it is in use.
func (l *link) session(id string) *session {
	l.mu.Lock()
	ses := l.sessions[id]
	l.mu.Unlock()
	if ses != nil {
		ses.seen.Store(int64(l.now()))
	}
	return ses
}

// endSession forgets a session. Calls in flight run on, and their answers still arrive.
func (l *link) endSession(id string) bool {
	l.mu.Lock()
	ses := l.sessions[id]
	if ses == nil {
		l.mu.Unlock()
		return false
	}
	delete(l.sessions, id)
	ses.ended = true
	l.mu.Unlock()
	ses.streams.end()
	l.forget(ses)
	return true
}

// forget undoes what a session had changed at the server.
func (l *link) forget(ses *session) {
	l.leaveAsks(ses)
	if l.leaveState(ses) {
		l.background(l.settleState)
	}
	if f, ok := l.up.(interface{ forget(session string) }); ok {
		f.forget(ses.id)
	}
}

// expire ends the sessions that have been idle for longer than d and have nothing in flight and
// no stream that is read.
func (l *link) expire(d time.Duration) int {
	limit := int64(l.now() - d)
	var old []*session
	l.mu.Lock()
	for id, ses := range l.sessions {
		if ses.seen.Load() < limit && len(ses.calls) == 0 && len(ses.asks.parked) == 0 && ses.streams.attached.Load() == 0 {
			delete(l.sessions, id)
			ses.ended = true
			old = append(old, ses)
		}
	}
	l.mu.Unlock()
	for _, ses := range old {
		ses.streams.end()
		l.forget(ses)
	}
	return len(old)
}

// load is the number of sessions, and of their requests without an outcome.
func (l *link) load() (sessions, inflight int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.sessions), l.inflight
}

// quiesce makes the link refuse new requests from now on, for a reason that does not change any
// more, and returns the number in flight. The sessions' own streams end, with a word to come back
// for another.
func (l *link) quiesce(why error) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.quiet == nil {
		l.quiet = why
		for _, ses := range l.sessions {
			ses.streams.closeOwn()
		}
	}
	return l.inflight
}

// refusing is why the link takes nothing new, or nil. l.mu is held.
func (l *link) refusing() error {
	switch {
	case l.closed:
		return l.reason
	}
	return l.quiet
}
