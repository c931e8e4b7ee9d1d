package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Bounds of what waits in inboxes.
const (
	// MaxWaiting and MaxWaitingBytes bound what waits for one stream.
	MaxWaiting      = 4000
	MaxWaitingBytes = 16 << 20
	// MaxInbox and MaxInboxBytes bound what waits at one coordinator.
	MaxInbox      = 20_000
	MaxInboxBytes = 64 << 20
)

// Figures of inboxes.
const (
	inboxLife  = 5 * time.Minute // of what nobody takes: its coordinator is dead
	inboxBlock = 2 * time.Second // the longest a read waits in Redis
	inboxPage  = 16              // messages in one read
	keepPage   = 500             // streams in one pipeline
)

// InboxMessage is what a client of the HTTP+SSE transport (MCP 2024-11-05) has posted: the answer
// goes to its stream, which only one coordinator has.
type InboxMessage struct {
	// Session is the stream's.
	Session SessionID
	// ID is drawn by whoever writes the message: one that is there twice has one id.
	ID   string
	Body []byte

	entry string // where it stands in the inbox
}

// KeepStreams says that a coordinator has these streams, for ttl from now. A stream that nobody
// keeps is gone for PushInbox. Errors: ErrInvalid, ErrUnavailable, after which some may be kept.
func (s *Store) KeepStreams(ctx context.Context, owner CoordinatorID, ids []SessionID, ttl time.Duration) error {
	const op = "keep streams"
	err := errors.Join(checkCoordinator(owner), checkTTL(ttl))
	for _, id := range ids {
		err = errors.Join(err, checkSession(id))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	for len(ids) > 0 {
		page := ids[:min(len(ids), keepPage)]
		ids = ids[len(page):]
		err := s.pipe(ctx, writes, op, func(ctx context.Context, p redis.Pipeliner) {
			for _, id := range page {
				p.HSet(ctx, s.keys.stream(owner, id), "coordinator", string(owner))
				p.PExpire(ctx, s.keys.stream(owner, id), ttl)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// DropStream says that a stream has ended. One that is not kept is no error. Errors: ErrInvalid,
// ErrUnavailable, after which it lapses by itself.
func (s *Store) DropStream(ctx context.Context, owner CoordinatorID, id SessionID) error {
	const op = "drop stream"
	if err := errors.Join(checkCoordinator(owner), checkSession(id)); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return s.call(ctx, writes, op, func(ctx context.Context) error {
		return s.rdb.Del(ctx, s.keys.stream(owner, id)).Err()
	})
}

// PushInbox leaves a message for a stream at the coordinator that has it. Messages are read in the
// order in which they were left, whoever left them.
//
// It returns ErrNotFound if no such stream is kept there, ErrTooMany if too much waits for it or for
// its coordinator, ErrInvalid, or ErrUnavailable, after which the message may have been left.
func (s *Store) PushInbox(ctx context.Context, owner CoordinatorID, m InboxMessage) error {
	const op = "push to inbox"
	if err := errors.Join(checkCoordinator(owner), checkSession(m.Session)); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	r, err := s.evalFor(ctx, writes, op, string(m.Session), scriptCall{
		script: inboxPush, keys: s.inboxKeys(owner, m.Session),
		args: []any{string(m.Session), m.ID, m.Body, inboxLife.Milliseconds(), MaxWaiting, MaxWaitingBytes, MaxInbox, MaxInboxBytes},
	})
	if err != nil {
		return err
	}
	switch r.num(1) {
	case 1:
		return nil
	case -1:
		return fmt.Errorf("%s: %w", op, ErrTooMany)
	}
	return fmt.Errorf("%s: %w", op, ErrNotFound)
}

// AckInbox takes messages out of an inbox that Next has given. Those that are gone already, or were
// never in it, are no error. Errors: ErrInvalid, ErrUnavailable, after which any of them may be there still.
func (s *Store) AckInbox(ctx context.Context, owner CoordinatorID, messages []InboxMessage) error {
	const op = "take from inbox"
	if err := checkCoordinator(owner); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	var order []SessionID
	args := map[SessionID][]any{}
	for _, m := range messages {
		if m.entry == "" {
			continue
		}
		if args[m.Session] == nil {
			order = append(order, m.Session)
			args[m.Session] = []any{string(m.Session)}
		}
		args[m.Session] = append(args[m.Session], m.entry, len(m.Body))
	}
	calls := make([]scriptCall, len(order))
	for i, id := range order {
		calls[i] = scriptCall{inboxAck, s.inboxKeys(owner, id), args[id]}
	}
	_, err := s.evalMany(ctx, writes, op, calls)
	return err
}

// inboxKeys are the keys of both scripts.
func (s *Store) inboxKeys(owner CoordinatorID, id SessionID) []string {
	return []string{s.keys.stream(owner, id), s.keys.inbox(owner), s.keys.inboxSize(owner)}
}

// Inbox reads what is left for one coordinator. It has a connection of its own, on which it waits.
// It belongs to one goroutine.
type Inbox struct {
	s    *Store
	rdb  redis.UniversalClient
	key  string
	last string // entry that was read last
}

// OpenInbox makes a reader of a coordinator's inbox, from its beginning. It touches no network.
// Close it. It returns ErrInvalid.
func (s *Store) OpenInbox(owner CoordinatorID) (*Inbox, error) {
	const op = "open inbox"
	if err := checkCoordinator(owner); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	rdb, err := NewClient(s.cfg)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	return &Inbox{s: s, rdb: rdb, key: s.keys.inbox(owner), last: "0"}, nil
}

// Close ends the connection.
func (b *Inbox) Close() error { return b.rdb.Close() }

// Next waits for messages, in their order, for a few seconds at most: then there are none and no
// error. They stay in the inbox, and are counted there, until AckInbox takes them out. It returns ErrUnavailable, after which
// it is called again.
func (b *Inbox) Next(ctx context.Context) ([]InboxMessage, error) {
	const op = "read inbox"
	out, err := b.rdb.XRead(ctx, &redis.XReadArgs{Streams: []string{b.key, b.last}, Count: inboxPage, Block: inboxBlock}).Result()
	switch {
	case errors.Is(err, redis.Nil):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%s: %w: %v", op, ErrUnavailable, err)
	}
	var messages []InboxMessage
	for _, stream := range out {
		for _, e := range stream.Messages {
			b.last = e.ID
			text := func(name string) string { v, _ := e.Values[name].(string); return v }
			if m := (InboxMessage{Session: SessionID(text("session")), ID: text("id"), Body: []byte(text("body")), entry: e.ID}); checkSession(m.Session) == nil {
				messages = append(messages, m)
			}
		}
	}
	return messages, nil
}
