package store

import "time"

// EventKind names what happened; the list is closed, so that a dashboard can know it.
type EventKind string

// What is written to the events stream.
const (
	EventNodeRegistered   EventKind = "node_registered"
	EventNodeUnhealthy    EventKind = "node_unhealthy"
	EventNodeRecovered    EventKind = "node_recovered"
	EventNodeDeregistered EventKind = "node_deregistered"
	EventNodeRemoved      EventKind = "node_removed"
	EventServerReady      EventKind = "server_ready"
	EventServerFailed     EventKind = "server_failed"
	EventSessionMoved     EventKind = "session_moved"
	EventSessionEnded     EventKind = "session_ended"
	EventSessionLost      EventKind = "session_lost"
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
