package web

import (
	"context"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// Reader is what the page asks of a coordinator. Every call that takes a ctx must end soon: it
// gets one with a deadline of [ReadTimeout]. The others never block. What they return is not
// changed.
type Reader interface {
	// Snapshot returns what the coordinator last learned of the nodes, and nil if it has
	// learned nothing yet.
	Snapshot() *store.Snapshot
	// Redis says how the shared store is doing.
	Redis() Redis
	// Groups are all groups, by name. Those of the settings file have a zero Updated.
	Groups() []store.Group
	// Sessions returns a page of up to limit sessions, and the cursor of the next page or an
	// empty one. It returns [store.ErrCursor] for a cursor that is not one.
	Sessions(ctx context.Context, cursor string, limit int) (page []store.Session, next string, err error)
	// CountSessions counts all of them.
	CountSessions(ctx context.Context) (int, error)
	// Coordinators are the replicas that live, by id.
	Coordinators(ctx context.Context) ([]store.Coordinator, error)
	// Events returns up to limit events, newest first.
	Events(ctx context.Context, limit int) ([]store.Event, error)
	// Catalog is what a server offers, as JSON, by its digest. It returns [store.ErrNotFound]
	// if it is not there.
	Catalog(ctx context.Context, d store.Digest) ([]byte, error)
	// Conflicts are the resources that more than one server offers.
	Conflicts(ctx context.Context) ([]Conflict, error)
	// Explain says where a session goes. Its errors are sentences for whoever asked.
	Explain(ctx context.Context, q Question) (Explanation, error)
	// SessionID is the id that REST has for the session with a whole Mcp-Session-Id. ok is false
	// for any other text.
	SessionID(whole string) (id store.SessionID, ok bool)
}

// Conflict is a resource that more than one server offers, so that on endpoints over several
// servers one of them answers for it.
type Conflict struct {
	// Name is a URI, or a template of URIs.
	Name     string
	Template bool
	// Owner answers for it, Others offer it too.
	Owner  store.ServerID
	Others []store.ServerID
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
	// Latency is how long the last answered call took; zero if unknown.
	Latency time.Duration
	// Embedded says that Redis runs inside this process and ends with it.
	Embedded bool
}

// ReadTimeout is the longest that one look at the fleet may take before the page shows what
// it has.
const ReadTimeout = 2 * time.Second

// Limits of what one page shows. More sessions are read than shown, so that those shown are
// the newest wherever the fleet is small enough.
const (
	sessionsRead   = 200
	sessionsShown  = 25
	sessionsPage   = 100
	eventsShown    = 25
	nodesShown     = 200
	serversShown   = 300
	replicasShown  = 10 // of one server, on the page of all
	groupsShown    = 100
	bindingsShown  = 8 // of one session
	chipsShown     = 12
	noticesShown   = 6
	conflictsShown = 50
)
