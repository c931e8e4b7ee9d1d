package router

import (
	"context"
	"errors"
	"time"
)

// abandonTime bounds Abandon. Clients that are slow to read their last event do not hold it up.
const abandonTime = time.Second

// errLeaving says that the router was abandoned.
var errLeaving = errors.New("this coordinator is stopping")

// Abandon ends every call in hand, for a coordinator that has no more time to wait for answers.
// What may have run is answered with error 1001, as the last event of its stream where one has
// begun, and what certainly has not with error 1002; both give the reason coordinator_shutdown.
// The nodes go on with what they have received. A client that can take up its stream
// elsewhere is told to do so instead; see [Router.EndStreams] too.
//
// It returns when the calls have been ended, at the latest after a second. What comes later is
// answered with 1002 as far as it needs a node. Safe to call twice.
func (r *Router) Abandon() {
	r.EndStreams()
	r.hop.abandon()
	enough := time.NewTimer(abandonTime)
	defer enough.Stop()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for r.stats.inFlight.Load() > 0 || r.gets.len() > 0 {
		select {
		case <-look.C:
		case <-enough.C:
			r.log.Warn("calls in hand could not be ended", "inFlight", r.stats.inFlight.Load(), "streams", r.gets.len())
			return
		}
	}
}

// leaving says that the router was abandoned.
func (r *Router) leaving() bool { return r.hop.over() }

// pause waits, unless ctx ends or the router is abandoned before.
func (r *Router) pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-r.hop.quit:
		return errLeaving
	case <-t.C:
		return nil
	}
}
