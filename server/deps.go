package server

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/mcphub-go/mcphub/heartbeat"
	"github.com/mcphub-go/mcphub/internal/telemetry"
	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/store"
)

// Carrier carries MCP traffic; *router.Router is one.
type Carrier interface {
	// Carry writes the answer, or returns an error and has written nothing.
	Carry(ctx context.Context, w http.ResponseWriter, req router.Request) error
	EndSession(ctx context.Context, id store.SessionID) error
	ParseToken(text string) (router.Token, error)
	// NewStream makes the sessionId of a stream of HTTP+SSE that this replica has; ParseStream
	// takes apart that of any replica, or returns router.ErrToken.
	NewStream(subject string) (router.StreamToken, error)
	ParseStream(text string) (router.StreamToken, error)
}

// readier is a Carrier that is not able to carry from the beginning.
type readier interface {
	// Ready reports whether it can carry by now. It never blocks.
	Ready() bool
}

// Fleet is what this replica knows of the nodes; *heartbeat.Watcher is one. It never blocks.
type Fleet interface {
	Snapshot() *store.Snapshot
	Ready() (ok bool, reason string)
}

// Registrar answers nodes; *heartbeat.Registrar is one.
type Registrar interface {
	Register(ctx context.Context, r heartbeat.Record) (heartbeat.Grant, error)
	Beat(ctx context.Context, r heartbeat.Record) (heartbeat.Grant, error)
	Deregister(ctx context.Context, f heartbeat.Farewell) error
	PutCatalog(ctx context.Context, d store.Digest, raw []byte) error
}

// Store is the part of the store that REST shows.
type Store interface {
	Health() store.Health
	Session(ctx context.Context, id store.SessionID) (store.Session, error)
	Sessions(ctx context.Context, cursor string, limit int) (page []store.Session, next string, err error)
	CountSessions(ctx context.Context) (int, error)
	// Events are the last ones, newest first; EventsAfter are those after an id, oldest first.
	Events(ctx context.Context, limit int) ([]store.Event, error)
	EventsAfter(ctx context.Context, id string, limit int) ([]store.Event, error)
	Coordinators(ctx context.Context) ([]store.Coordinator, error)
}

// Groups is the book of groups; *router.Groups is one. Reading never blocks, and what is read is
// not to be changed.
type Groups interface {
	Group(name string) (store.Group, bool)
	// List is all of them, by name. Those of the settings file have a zero Updated.
	List() []store.Group
	// Revision is another number whenever a group has changed.
	Revision() int64
	// Loaded says whether those in Redis were read: until then one that is not found may exist.
	Loaded() bool
	// Put makes a group or replaces it; Delete removes one. fleet is what is known of the nodes.
	Put(ctx context.Context, g store.Group, create bool, fleet *store.Snapshot) error
	Delete(ctx context.Context, name string) error
}

// Explainer tells why requests go where they go; *router.Router is one.
type Explainer interface {
	Explain(ctx context.Context, req router.ExplainRequest) (router.Explanation, error)
	// Conflicts are the resources that more than one server of a scope offers.
	Conflicts(ctx context.Context, scope string) ([]router.Conflict, error)
}

// noGroups is a book in which nothing stands.
type noGroups struct{}

func (noGroups) Group(string) (store.Group, bool) { return store.Group{}, false }
func (noGroups) List() []store.Group              { return nil }
func (noGroups) Revision() int64                  { return 0 }
func (noGroups) Loaded() bool                     { return true }

func (noGroups) Put(context.Context, store.Group, bool, *store.Snapshot) error {
	return refuse(http.StatusNotFound, "this hub keeps no groups")
}

func (noGroups) Delete(context.Context, string) error { return store.ErrNotFound }

// Deps are what the front doors open on. Web may be nil; then there is no page.
type Deps struct {
	Carrier   Carrier
	Fleet     Fleet
	Registrar Registrar
	Store     Store
	// Inboxes may be nil; then streams of HTTP+SSE take only what is posted to the replica that has
	// them.
	Inboxes Inboxes
	// Web gets GET and HEAD of every path that is not of MCP, REST or a probe, from whoever
	// may make management calls.
	Web http.Handler
	// Groups may be nil; then there are none.
	Groups Groups
	// Explainer answers /api/cluster/explain and conflicts; nil if there are no such calls.
	Explainer Explainer
	// Metrics answers /metrics; nil if there are none to show.
	Metrics http.Handler
	// Meter counts MCP requests, Tracer makes spans of them; nil ones do nothing.
	Meter  *telemetry.Front
	Tracer *telemetry.Tracer
	Log    *slog.Logger
}
