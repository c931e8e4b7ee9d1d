package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Figures of the events stream.
const (
	eventsKept = 1000
	eventText  = 1000 // bytes of Text that are kept
)

// EventKind names what happened; the list is closed, so that a dashboard can know it.
type EventKind string

// What is written to the events stream.
const (
	EventNodeRegistered   EventKind = "node_registered"
	EventNodeUnhealthy    EventKind = "node_unhealthy"
	EventNodeRecovered    EventKind = "node_recovered"
	EventNodeDeregistered EventKind = "node_deregistered"
	EventNodeRemoved      EventKind = "node_removed"
	EventNodeDraining     EventKind = "node_draining"
	EventServerReady      EventKind = "server_ready"
	EventServerFailed     EventKind = "server_failed"
	EventSessionMoved     EventKind = "session_moved"
	EventSessionEnded     EventKind = "session_ended"
	EventSessionLost      EventKind = "session_lost"
	EventGroupChanged     EventKind = "group_changed" // made, changed or deleted: Text says which
	EventCoordinatorUp    EventKind = "coordinator_started"
	EventCoordinatorDown  EventKind = "coordinator_stopped"
)

// Event is one thing that happened, for the status page and the log. Fields that do not
// apply are empty.
type Event struct {
	// ID is the stream id that Redis gave, <ms>-<seq>; it orders events.
	ID          string
	Time        time.Time // Redis's clock
	Kind        EventKind
	Node        NodeID
	Server      ServerID
	Session     SessionID
	Coordinator string
	// Text is one sentence for people.
	Text string
}

// AppendEvent writes e to the stream, which keeps about the last 1000. ID and Time are Redis's
// to give; a long Text is cut. Events are for people: a lost one is no harm, so callers note an
// error and go on. It returns ErrInvalid without a Kind, or ErrUnavailable.
func (s *Store) AppendEvent(ctx context.Context, e Event) error {
	const op = "append event"
	if e.Kind == "" {
		return fmt.Errorf("%s: %w", op, invalid("it has no kind"))
	}
	if len(e.Text) > eventText {
		e.Text = strings.ToValidUTF8(e.Text[:eventText], "")
	}
	var values []string
	for _, f := range [][2]string{
		{"kind", string(e.Kind)}, {"node", string(e.Node)}, {"server", string(e.Server)},
		{"session", string(e.Session)}, {"coordinator", e.Coordinator}, {"text", e.Text},
	} {
		if f[1] != "" {
			values = append(values, f[0], f[1])
		}
	}
	return s.call(ctx, writes, op, func(ctx context.Context) error {
		return s.rdb.XAdd(ctx, &redis.XAddArgs{
			Stream: s.keys.events(), MaxLen: eventsKept, Approx: true, Values: values,
		}).Err()
	})
}

// Events reads the last limit events, newest first; limit below 1 means 100, at most 1000.
// It returns ErrUnavailable.
func (s *Store) Events(ctx context.Context, limit int) ([]Event, error) {
	return s.readEvents(ctx, func(ctx context.Context) ([]redis.XMessage, error) {
		return s.rdb.XRevRangeN(ctx, s.keys.events(), "+", "-", eventLimit(limit)).Result()
	})
}

// EventsAfter reads up to limit events that came after the one with the given id, oldest first;
// limit is as for Events. An empty id begins with the oldest event that is kept. Whoever follows
// goes on with the last id of each answer, and begins with that of Events(ctx, 1) to see only
// what is new; events that were dropped meanwhile, beyond the last 1000, are passed over.
//
// It returns ErrInvalid for an id that cannot be one, or ErrUnavailable.
func (s *Store) EventsAfter(ctx context.Context, id string, limit int) ([]Event, error) {
	from := "-"
	if id != "" {
		if err := checkEventID(id); err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
		from = "(" + id
	}
	return s.readEvents(ctx, func(ctx context.Context) ([]redis.XMessage, error) {
		return s.rdb.XRangeN(ctx, s.keys.events(), from, "+", eventLimit(limit)).Result()
	})
}

func eventLimit(limit int) int64 {
	if limit < 1 {
		limit = pageDefault
	}
	return int64(min(limit, eventsKept))
}

// checkEventID wants <ms>-<seq>, as Redis writes it.
func checkEventID(id string) error {
	ms, seq, _ := strings.Cut(id, "-")
	for _, part := range []string{ms, seq} {
		if n, err := strconv.ParseUint(part, 10, 64); err != nil || strconv.FormatUint(n, 10) != part {
			return invalid("event id %s: want the id of an event, <ms>-<seq>", printable(id))
		}
	}
	return nil
}

func (s *Store) readEvents(ctx context.Context, read func(context.Context) ([]redis.XMessage, error)) ([]Event, error) {
	var entries []redis.XMessage
	err := s.call(ctx, reads, "read events", func(ctx context.Context) (err error) {
		entries, err = read(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	events := make([]Event, len(entries))
	for i, m := range entries {
		events[i] = eventFrom(m)
	}
	return events, nil
}

func eventFrom(m redis.XMessage) Event {
	field := func(name string) string {
		text, _ := m.Values[name].(string)
		return text
	}
	ms, _, _ := strings.Cut(m.ID, "-")
	return Event{
		ID: m.ID, Time: fromMillis(parseNum(ms)), Kind: EventKind(field("kind")),
		Node: NodeID(field("node")), Server: ServerID(field("server")), Session: SessionID(field("session")),
		Coordinator: field("coordinator"), Text: field("text"),
	}
}
