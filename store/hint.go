package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// HintKind says what may have changed.
type HintKind string

// The kinds of hints.
const (
	// HintRev says that Revision has moved, or that hints may have been missed: read a Snapshot.
	HintRev HintKind = "rev"
	// HintSession says that a session was moved or ended: forget what is cached of it.
	HintSession HintKind = "session"
	// HintGroups says that a group was made, changed or deleted: read Groups.
	HintGroups HintKind = "groups"
)

// Hint tells other coordinators that something changed. Hints may be lost, late or double;
// what they announce is found by polling too.
type Hint struct {
	Kind    HintKind
	Session SessionID // of HintSession
}

// Figures of a subscription.
const (
	hintBuffer  = 256
	hintQuiet   = 5 * time.Second // without a word, the connection is asked for a sign of life
	hintBackoff = 500 * time.Millisecond
)

// Notify publishes a hint. Errors: ErrInvalid, ErrUnavailable; neither needs more than a note.
func (s *Store) Notify(ctx context.Context, h Hint) error {
	const op = "notify"
	text := string(h.Kind)
	switch h.Kind {
	case HintRev, HintGroups:
	case HintSession:
		if err := checkSession(h.Session); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		text += ":" + string(h.Session)
	default:
		return fmt.Errorf("%s: %w", op, invalid("kind %q", h.Kind))
	}
	return s.call(ctx, writes, op, func(ctx context.Context) error {
		return s.rdb.Publish(ctx, s.keys.notify(), text).Err()
	})
}

// Subscribe delivers hints until ctx ends or the store is closed; then the channel is closed.
// A lost connection, also one that has died silently, is made again by itself; each time a
// subscription stands, the first included, a HintRev is delivered, for something may have been missed. A reader that does not
// keep up loses hints. It returns ErrUnavailable if the store is closed.
func (s *Store) Subscribe(ctx context.Context) (<-chan Hint, error) {
	select {
	case <-s.closed:
		return nil, fmt.Errorf("subscribe: %w: store is closed", ErrUnavailable)
	default:
	}
	ctx, cancel := context.WithCancel(ctx)
	hints := make(chan Hint, hintBuffer)
	s.subs.Add(2)
	go func() {
		defer s.subs.Done()
		defer cancel()
		select {
		case <-s.closed:
		case <-ctx.Done():
		}
	}()
	go func() {
		defer s.subs.Done()
		defer cancel()
		defer close(hints)
		for ctx.Err() == nil {
			s.listen(ctx, hints)
			select {
			case <-time.After(hintBackoff):
			case <-ctx.Done():
			}
		}
	}()
	return hints, nil
}

// listen delivers hints from one connection until it fails or ctx ends.
func (s *Store) listen(ctx context.Context, hints chan<- Hint) {
	ps := s.rdb.Subscribe(ctx) // no channel yet: touches no network
	closed := func() { _ = ps.Close() }
	stop := context.AfterFunc(ctx, closed) // wakes Receive
	defer closed()
	defer stop()
	if err := ps.Subscribe(ctx, s.keys.notify()); err != nil {
		return
	}
	asked := false
	for ctx.Err() == nil {
		msg, err := ps.ReceiveTimeout(ctx, hintQuiet)
		var timeout net.Error
		switch {
		case err == nil:
			asked = false
		case errors.As(err, &timeout) && timeout.Timeout() && !asked:
			if ps.Ping(ctx) != nil {
				return
			}
			asked = true
			continue
		default:
			return
		}
		switch m := msg.(type) {
		case *redis.Subscription:
			offer(hints, Hint{Kind: HintRev})
		case *redis.Message:
			if h, ok := parseHint(m.Payload); ok {
				offer(hints, h)
			}
		}
	}
}

func offer(hints chan<- Hint, h Hint) {
	select {
	case hints <- h:
	default:
	}
}

// parseHint reads what Notify wrote; anything else on the channel is not ours.
func parseHint(text string) (Hint, bool) {
	kind, id, _ := strings.Cut(text, ":")
	switch HintKind(kind) {
	case HintRev, HintGroups:
		return Hint{Kind: HintKind(kind)}, id == ""
	case HintSession:
		return Hint{Kind: HintSession, Session: SessionID(id)}, checkSession(SessionID(id)) == nil
	}
	return Hint{}, false
}
