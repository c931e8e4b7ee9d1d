package router

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

const (
	// claimTime is how long a place is kept for a session that is being started, should nobody give
	// it back.
	claimTime = time.Minute
	// fullFor is when it is worth trying again for a client that has all the sessions it may have.
	fullFor = 5 * time.Second
)

// claim keeps a place for a new session among those that its client may have, in the whole fleet.
// Where the store cannot be asked there is one: a client is not to wait for Redis to come back.
func (r *Router) claim(ctx context.Context, req *Request, f *wire.Frame, random sid) error {
	if r.cfg.MaxSessionsPerKey <= 0 || req.Subject == "" {
		return nil
	}
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	err := r.store.ClaimSession(ctx, random.SessionID(), storedSubject(req.Subject), r.cfg.MaxSessionsPerKey, claimTime)
	r.noteStore(err)
	switch {
	case errors.Is(err, store.ErrTooMany):
		return tooManySessions(f.IDBytes(), r.cfg.MaxSessionsPerKey)
	case err != nil:
		r.log.WarnContext(ctx, "sessions of a client not counted", "session", random.SessionID(), "err", err)
	}
	return nil
}

// unclaim gives a place back for which no session was started. It need not succeed.
func (r *Router) unclaim(ctx context.Context, req *Request, random sid) {
	if r.cfg.MaxSessionsPerKey <= 0 || req.Subject == "" {
		return
	}
	ctx, cancel := r.bounded(context.WithoutCancel(ctx))
	defer cancel()
	r.noteStore(r.store.UnclaimSession(ctx, random.SessionID(), storedSubject(req.Subject)))
}

func tooManySessions(id []byte, most int) *Error {
	return &Error{
		Err: ErrTooManySessions, ID: id, Code: wire.CodeInvalidRequest, RetryAfter: fullFor,
		Message: "this client has " + strconv.Itoa(most) + " sessions, which is the most (systemConfig.limits.maxSessionsPerKey); " +
			"end one with " + http.MethodDelete + ", or try again when one has expired",
	}
}
