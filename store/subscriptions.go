package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Bounds of a session's subscriptions.
const (
	// MaxSubscriptions is how many subscriptions to resources a session may have.
	MaxSubscriptions = 1000
	// MaxSubscribed is the greatest length of a URI that can be subscribed to, in bytes.
	MaxSubscribed = 2048
)

// Subscription is a client's wish to hear when a resource changes (MCP 2025-11-25, Resources,
// Subscriptions).
type Subscription struct {
	Server ServerID // that was asked
	URI    string
}

func (s Subscription) member() string { return string(s.Server) + " " + s.URI }

func (s Subscription) check() error {
	if n := len(s.URI); n == 0 || n > MaxSubscribed {
		return invalid("URI of %d bytes: want 1 to %d", n, MaxSubscribed)
	}
	return checkServer(s.Server)
}

// AddSubscription notes a subscription of a session, for as long as the session lives; ttl is that
// of the session. One that stands already is no error. It returns what Session.Subs was and is now: a
// caller that knew all subscriptions as of before knows all as of now.
//
// It returns ErrTooMany if the session has MaxSubscriptions, ErrNotFound if Redis does not know the
// session (write it back with CreateSession, then add again), ErrEnded, ErrInvalid, or
// ErrUnavailable, after which either may stand: add it again.
func (s *Store) AddSubscription(ctx context.Context, id SessionID, sub Subscription, ttl time.Duration) (before, now string, err error) {
	return s.changeSubscription(ctx, "add subscription", id, sub, "1", ttl)
}

// DropSubscription forgets a subscription of a session. One that does not stand is no error. What it
// returns is as for AddSubscription.
func (s *Store) DropSubscription(ctx context.Context, id SessionID, sub Subscription, ttl time.Duration) (before, now string, err error) {
	return s.changeSubscription(ctx, "drop subscription", id, sub, "0", ttl)
}

func (s *Store) changeSubscription(ctx context.Context, op string, id SessionID, sub Subscription, wanted string, ttl time.Duration) (before, now string, err error) {
	if err := errors.Join(checkSession(id), sub.check(), checkTTL(ttl)); err != nil {
		return "", "", fmt.Errorf("%s: %w", op, err)
	}
	r, err := s.evalFor(ctx, writes, op, string(id), scriptCall{
		script: sessionSubscription,
		keys:   []string{s.keys.session(id), s.keys.subs(id)},
		args:   []any{string(id), sub.member(), wanted, MaxSubscriptions, subsLife(ttl).Milliseconds()},
	})
	if err != nil {
		return "", "", err
	}
	code := r.num(1)
	if err = sessionCode(code); code == -2 {
		err = ErrTooMany
	}
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", op, err)
	}
	return r.str(2), r.str(3), nil
}

// subsLife is how long subscriptions are kept for a session that lives ttl from now: longer, for the
// same reason as its params. A session that is ended takes them with it.
func subsLife(ttl time.Duration) time.Duration { return initLife(ttl) }

// Subscriptions are those of a session, in order. A session that Redis does not know has none: see
// Session.Subs. Errors: ErrInvalid, ErrUnavailable.
func (s *Store) Subscriptions(ctx context.Context, id SessionID) ([]Subscription, error) {
	const op = "read subscriptions"
	if err := checkSession(id); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	var members []string
	err := s.call(ctx, reads, op, func(ctx context.Context) (err error) {
		members, err = s.rdb.SMembers(ctx, s.keys.subs(id)).Result()
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(members)
	out := make([]Subscription, 0, len(members))
	for _, m := range members {
		server, uri, _ := strings.Cut(m, " ")
		if sub := (Subscription{Server: ServerID(server), URI: uri}); sub.check() == nil { // anything else is not ours
			out = append(out, sub)
		}
	}
	return out, nil
}
