package router

import (
	"context"
	"sync"
	"time"
)

// openStreams are the streams that clients have opened with GET. Safe for concurrent use.
type openStreams struct {
	mu      sync.Mutex
	all     map[*openStream]struct{}
	leaving bool // own streams are not opened any more
}

type openStream struct {
	s   *session
	own bool                    // it is none of a call, whose response somebody waits for
	may func() (*Limit, bool)   // see Request.Relimit; may be nil
	end context.CancelCauseFunc // ends what the stream is made of
}

// keepOpen counts a stream that a client has opened with GET, and keeps its session alive until
// done is called. An own stream's context ends with errLeaving once EndStreams was called, and each
// one's once its client may not use the endpoint any more.
func (r *Router) keepOpen(ctx context.Context, req *Request, s *session, own bool) (_ context.Context, done func()) {
	o := &openStream{s: s, own: own, may: req.Relimit}
	ctx, o.end = context.WithCancelCause(ctx)
	open := &r.gets
	open.mu.Lock()
	defer open.mu.Unlock()
	if open.all == nil {
		open.all = make(map[*openStream]struct{})
	}
	open.all[o] = struct{}{}
	if own && open.leaving {
		o.end(errLeaving)
	}
	return ctx, func() {
		open.mu.Lock()
		delete(open.all, o)
		open.mu.Unlock()
		o.end(nil)
	}
}

// len counts the streams.
func (o *openStreams) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.all)
}

// EndStreams ends the streams on which servers speak to clients without having been asked, for a
// coordinator that begins to drain: the clients are told to come back soon, and find another one.
// Streams that are opened from then on are refused with ErrNoReplica. Streams of calls go on, those
// that were taken up again too. Safe to call twice.
func (r *Router) EndStreams() {
	r.gets.mu.Lock()
	defer r.gets.mu.Unlock()
	r.gets.leaving = true
	for o := range r.gets.all {
		if o.own {
			o.end(errLeaving)
		}
	}
}

// useOpen marks the sessions with open streams as used: to be silent for hours is what such a
// stream is for. It ends those of clients whose key was taken away, and of sessions that have ended.
func (r *Router) useOpen() {
	r.gets.mu.Lock()
	defer r.gets.mu.Unlock()
	for o := range r.gets.all {
		if o.may != nil {
			if _, ok := o.may(); !ok {
				o.end(unknownSession(nil))
				continue
			}
		}
		if o.own && o.s.over() {
			o.end(unknownSession(nil)) // its node may never have heard
			continue
		}
		o.s.mu.Lock()
		o.s.seen = time.Now()
		o.s.mu.Unlock()
		if o.s.touched.CompareAndSwap(false, true) {
			r.todo.touch(o.s)
		}
	}
}
