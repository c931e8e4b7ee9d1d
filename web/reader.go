package web

import (
	"context"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// Reader is what the page asks of a coordinator. Every call must end soon: it gets a ctx
// with a deadline of [ReadTimeout].
type Reader interface {
	// Snapshot returns what the coordinator last learned of the nodes, and nil if it has
	// learned nothing yet. It never blocks.
	Snapshot() *store.Snapshot
	// Redis says how the shared store is doing. It never blocks.
	Redis() Redis
	// Sessions returns up to limit sessions and how many there are in all.
	Sessions(ctx context.Context, limit int) (some []store.Session, total int, err error)
	// Events returns up to limit events, newest first.
	Events(ctx context.Context, limit int) ([]store.Event, error)
}

// Redis is the health of the shared store as this coordinator sees it.
type Redis struct {
	OK bool
	// State is one word for people: ok, down, slow, readonly...
	State string
	// Since is when the state began, by this process's clock; zero if unknown.
	Since time.Time
	// Err is the last error; empty when OK.
	Err string
	// Embedded says that Redis runs inside this process and ends with it.
	Embedded bool
}

// ReadTimeout is the longest that one look at the fleet may take before the page shows what
// it has.
const ReadTimeout = 2 * time.Second

// Limits of what one page shows. More sessions are read than shown, so that those shown are
// the newest wherever the fleet is small enough.
const (
	sessionsRead  = 200
	sessionsShown = 50
	eventsShown   = 30
)
