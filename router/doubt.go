package router

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// lossGrace is how long a session that the store has lost may still come back: whoever has it
// cached looks at the store each second and at each hint, finds what is missing and writes it
// back; the rest is for a breaker that closes and a subscription that is made again.
const lossGrace = 5 * time.Second

// doubt is what speaks against the store's memory. It may have come back empty from an outage,
// or been emptied without one. Safe for concurrent use.
type doubt struct {
	// recall says that the store may have lost what is cached here: all of it is to be renewed.
	recall  atomic.Bool
	last    atomic.Int64          // when there last was a sign, nanoseconds since start
	wake    chan struct{}         // Run is to look at the store now
	witness atomic.Pointer[sworn] // nil if there is none
	start   time.Time
}

// sworn is a session that the store had at some moment, with its whole life before it. If it
// is gone while it should live, so are others.
type sworn struct {
	id store.SessionID
	at time.Time
}

func newDoubt() doubt { return doubt{wake: make(chan struct{}, 1), start: time.Now()} }

// sign notes that the store was away, or has lost something.
func (d *doubt) sign() {
	d.recall.Store(true)
	d.last.Store(int64(time.Since(d.start)) + 1)
}

// lately says whether there was a sign not long ago.
func (d *doubt) lately() bool {
	last := d.last.Load()
	return last > 0 && time.Since(d.start)-time.Duration(last) < lossGrace
}

// look has Run look at the store now.
func (d *doubt) look() {
	select {
	case d.wake <- struct{}{}:
	default: // it will
	}
}

func (d *doubt) swear(id store.SessionID) { d.witness.Store(&sworn{id: id, at: time.Now()}) }

// noteStore notes whether the store could be asked.
func (r *Router) noteStore(err error) {
	if errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		r.doubt.sign()
	}
}

// askStore asks the store about a session that it must have. It is false if the store is away.
// One that was emptied gives itself away here, though nobody has noticed it being away.
func (r *Router) askStore(ctx context.Context) bool {
	w := r.doubt.witness.Load()
	if w != nil && time.Since(w.at) > r.cfg.SessionTimeout/2 {
		w = nil // it may have expired
	}
	id := sid{}.SessionID() // nobody's: to see whether there is an answer
	if w != nil {
		id = w.id
	} else if !r.doubt.recall.Load() {
		return true
	}
	sctx, cancel := r.bounded(ctx)
	defer cancel()
	_, err := r.store.Session(sctx, id)
	r.noteStore(err)
	switch {
	case errors.Is(err, store.ErrNotFound) && w != nil:
		r.log.WarnContext(ctx, "the store has lost sessions; those known here are written back")
		r.doubt.sign()
		r.doubt.witness.CompareAndSwap(w, nil)
	case errors.Is(err, store.ErrEnded):
		r.doubt.witness.CompareAndSwap(w, nil)
	}
	return !away(err)
}

// missing deals with a cached session that the store does not have: it is written back if it is
// known here and in use, and if the store had it, others are gone too.
func (r *Router) missing(ctx context.Context, s *session) {
	if s.setStored(false) {
		r.doubt.sign()
		r.doubt.look()
	}
	if r.inUse(s) && !r.writeBack(ctx, s) {
		r.todo.create(s)
	}
}

// inUse says that a session has not ended or expired, as far as is known here.
func (r *Router) inUse(s *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.ended && time.Since(s.seen) < r.cfg.SessionTimeout
}

// seek asks the other coordinators for a session that the store does not have. One that has it
// cached takes the hint, finds it missing and writes it back.
func (r *Router) seek(ctx context.Context, id store.SessionID) {
	ctx, cancel := r.bounded(context.WithoutCancel(ctx))
	defer cancel()
	if err := r.store.Notify(ctx, store.Hint{Kind: store.HintSession, Session: id}); err != nil {
		r.noteStore(err)
		r.log.DebugContext(ctx, "hint not given", "session", id, "err", err)
	}
}

// mayReturn says whether a session that neither the store nor this replica knows may be known
// to another. The store keeps every session for SessionTimeout at least, and the end of one for
// longer: a younger one that it does not know was lost, or was never written.
func (r *Router) mayReturn(s *session) bool {
	s.mu.Lock()
	missed, lapsed := s.missed, s.lapsed
	s.mu.Unlock()
	if !lapsed && time.Since(s.tok.Issued) < r.cfg.SessionTimeout {
		return time.Since(missed) < lossGrace
	}
	return r.doubt.lately()
}

// recovering is the answer to a message of a session that may come back. It has certainly not
// run.
func recovering() *Error {
	return &Error{
		Err: ErrUnavailable, Code: wire.CodeNotExecuted,
		Message:    "Not executed: the hub is recovering its memory of this session; try again shortly",
		Data:       &verdict{Outcome: "not_executed", Reason: reasonRecovering, Retryable: true},
		RetryAfter: time.Second,
	}
}
