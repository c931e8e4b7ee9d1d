package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Sessions are counted by subject as in the index: those that live, and the places that are kept for
// sessions that begin. CreateSession and TouchSessions note them, EndSession takes them away.

// ClaimSession keeps a place for ttl, for a session of a subject that may have most of them, until
// CreateSession makes it the session's. A place that the session has already is kept.
//
// It returns ErrTooMany if the subject has most sessions, ErrInvalid, or ErrUnavailable, after
// which the place may be kept.
func (s *Store) ClaimSession(ctx context.Context, id SessionID, subject string, most int, ttl time.Duration) error {
	const op = "claim session"
	err := errors.Join(checkSession(id), checkTTL(ttl))
	if subject == "" || most < 1 {
		err = errors.Join(err, invalid("want a subject, and a number of sessions of at least 1"))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	r, err := s.evalFor(ctx, writes, op, string(id), scriptCall{
		script: sessionClaim, keys: []string{s.keys.subject(subject)}, args: []any{string(id), most, ttl.Milliseconds()},
	})
	if err == nil && r.num(1) == 0 {
		err = fmt.Errorf("%s: %w", op, ErrTooMany)
	}
	return err
}

// UnclaimSession gives a place back that was kept for a session which has not begun. It need not
// succeed: the place expires.
func (s *Store) UnclaimSession(ctx context.Context, id SessionID, subject string) error {
	const op = "give place of session back"
	if err := checkSession(id); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return s.call(ctx, writes, op, func(ctx context.Context) error {
		return s.rdb.ZRem(ctx, s.keys.subject(subject), string(id)).Err()
	})
}
