package router

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"github.com/mcphub-go/mcphub/internal/telemetry"
	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// Fleet is what the router needs to know of the nodes.
type Fleet interface {
	// Snapshot is the last one taken. It never blocks, and is nil until there is one.
	Snapshot() *store.Snapshot
}

// Sessions is the part of the store that carrying sessions needs. Every call must end within
// a bound of its own; the router adds Config.StoreTimeout.
type Sessions interface {
	ClaimSession(ctx context.Context, id store.SessionID, subject string, most int, ttl time.Duration) error
	UnclaimSession(ctx context.Context, id store.SessionID, subject string) error
	CreateSession(ctx context.Context, s store.Session, ttl time.Duration) error
	Session(ctx context.Context, id store.SessionID) (store.Session, error)
	Bind(ctx context.Context, id store.SessionID, server store.ServerID, old, next store.Binding, ttl time.Duration) (store.Binding, error)
	SetSessionLevel(ctx context.Context, id store.SessionID, level string) error
	AddSubscription(ctx context.Context, id store.SessionID, sub store.Subscription, ttl time.Duration) (before, now string, err error)
	DropSubscription(ctx context.Context, id store.SessionID, sub store.Subscription, ttl time.Duration) (before, now string, err error)
	Subscriptions(ctx context.Context, id store.SessionID) ([]store.Subscription, error)
	TouchSessions(ctx context.Context, ids []store.SessionID, ttl time.Duration) error
	EndSession(ctx context.Context, id store.SessionID, ttl time.Duration) error
	Catalog(ctx context.Context, d store.Digest) ([]byte, error)
	AppendEvent(ctx context.Context, e store.Event) error
	Notify(ctx context.Context, h store.Hint) error
	Subscribe(ctx context.Context) (<-chan store.Hint, error)
}

// GroupBook knows the groups of servers.
type GroupBook interface {
	// Group finds a group by name. It never blocks: it is the last one known. It is not changed
	// once handed out.
	Group(name string) (store.Group, bool)
	// Loaded says whether the groups were ever read: until then one that is not found may exist
	// all the same.
	Loaded() bool
}

// Config is how a Router behaves. Keys and Credential are required.
type Config struct {
	// Keys mint and verify session ids. All coordinators of a fleet have the same.
	Keys *Keys
	// Credential is the fleet credential that nodes ask for.
	Credential string
	// Coordinator names this replica in events.
	Coordinator store.CoordinatorID
	// Version is this release, told to clients of the aggregate endpoint.
	Version string

	// SessionTimeout is how long a session lives after its last request. Zero means 1h.
	// Setting: stickySessionTimeout, milliseconds.
	SessionTimeout time.Duration
	// MaxSessionsPerKey bounds the sessions that a client with a subject may have in the whole fleet.
	// Zero means that there is no bound. Setting: limits.maxSessionsPerKey.
	MaxSessionsPerKey int
	// CacheSize bounds the sessions that are remembered here. Zero means 100000.
	CacheSize int
	// NameSeparator stands between server and tool on the aggregate endpoint. Empty means "-".
	// Setting: nameSeparator.
	NameSeparator string
	// PageSize is the greatest number of items in one answer to a list over several servers. Zero
	// means 1000.
	PageSize int
	// Groups knows the groups. Nil means that there are none.
	Groups GroupBook

	// Strategy says how a new session finds its node. Empty means StrategyHash. Setting:
	// stickySession.strategy.
	Strategy Strategy
	// NoSticky gives up affinity: each call of a session goes to any replica, of two drawn at
	// random the one with fewer calls in flight, and each replica has its own part of the
	// session's state. Strategy is not looked at. Setting: stickySession.enabled, turned round.
	NoSticky bool

	// StoreTimeout bounds each call to the store. Zero means 250ms.
	StoreTimeout time.Duration
	// DialTimeout bounds connecting to a node. Zero means 2s.
	DialTimeout time.Duration
	// CallTimeout bounds the wait for a node's answer. Zero means 10m: calls may wait for people.
	CallTimeout time.Duration
	// StreamIdle bounds the silence in a stream of a node, which sends comments while it has nothing
	// to say: one that is silent for longer is taken up again. Zero means 1m.
	StreamIdle time.Duration
	// ClientStall is how long a client may take to accept a piece of an answer, or an event, before
	// its connection is dropped. Zero means 30s.
	ClientStall time.Duration
	// ProbeTimeout bounds asking a node whether it lives. Zero means 1s.
	ProbeTimeout time.Duration
	// OpenTimeout bounds each of the two messages that open a session on a node. Zero means 10s.
	OpenTimeout time.Duration
	// StartTimeout bounds the first of them where the node may have to start a process for the
	// session and does not say how long that may take. Zero means 1m.
	StartTimeout time.Duration
	// MoveTimeout bounds moving a session to another node, with the time added in which one may be
	// opened where processes are started. Zero means 15s.
	MoveTimeout time.Duration
	// PlaceWait is how long a request waits for what is on its way: for a replica when all that
	// exist have just failed, since a node that restarts is back under a new epoch by then, and
	// for a session that the store has lost, since a coordinator that knows it writes it back.
	// Zero means 2s, negative none.
	PlaceWait time.Duration
	// Meter records what is sent to nodes, and how long sessions took to be open again; Tracer makes
	// a span of each sending. Nil ones do nothing.
	Meter  *telemetry.Front
	Tracer *telemetry.Tracer
	// TLS is for nodes with https URLs. Nil means the system's roots.
	TLS *tls.Config
	// Control is asked about each address that is about to be dialled, after names were resolved;
	// an error keeps the connection from being made. See net.Dialer. Nil allows all.
	Control func(network, address string, c syscall.RawConn) error
}

func (c Config) withDefaults() Config {
	c.Strategy = cmp.Or(c.Strategy, StrategyHash)
	c.SessionTimeout = cmp.Or(c.SessionTimeout, time.Hour)
	c.CacheSize = cmp.Or(c.CacheSize, 100_000)
	c.NameSeparator = cmp.Or(c.NameSeparator, "-")
	c.PageSize = cmp.Or(max(0, c.PageSize), 1000)
	c.StoreTimeout = cmp.Or(c.StoreTimeout, 250*time.Millisecond)
	c.DialTimeout = cmp.Or(c.DialTimeout, 2*time.Second)
	c.CallTimeout = cmp.Or(c.CallTimeout, 10*time.Minute)
	c.StreamIdle = cmp.Or(c.StreamIdle, time.Minute)
	c.ClientStall = cmp.Or(c.ClientStall, 30*time.Second)
	c.ProbeTimeout = cmp.Or(c.ProbeTimeout, time.Second)
	c.OpenTimeout = cmp.Or(c.OpenTimeout, 10*time.Second)
	c.StartTimeout = cmp.Or(c.StartTimeout, time.Minute)
	c.MoveTimeout = cmp.Or(c.MoveTimeout, 15*time.Second)
	c.PlaceWait = cmp.Or(c.PlaceWait, 2*time.Second)
	return c
}

// Connections to a node that are kept for later, and for how long.
const (
	maxIdleConns = 256
	idleConn     = time.Minute
)

// Router carries the traffic of sessions to nodes. Safe for concurrent use.
type Router struct {
	cfg   Config
	fleet Fleet
	store Sessions
	log   *slog.Logger
	hop   *hop

	cache    *lru.Cache[sid, *session]
	lists    *lru.Cache[listKey, []item]
	library  library
	rosters  atomic.Pointer[roster]
	loading  singleflight.Group // reads of the store, by session
	moving   singleflight.Group // placements and moves, by session and server
	suspects suspects
	loads    loads
	flights  flights
	index    atomic.Pointer[index]
	dice     func(n int) int // a random number below n
	probes   probes
	budget   budget
	todo     backlog
	doubt    doubt
	stats    counters
	gets     openStreams
	lookout  lookout
	tapPause time.Duration // see tap.rest
}

// New makes a router. It starts nothing and touches no network; [Router.Run] does the work that
// no request should wait for. It panics if cfg has no keys, since there is no default key, or a
// strategy that is none.
func New(cfg Config, fleet Fleet, sessions Sessions, log *slog.Logger) *Router {
	cfg = cfg.withDefaults()
	if cfg.Keys == nil {
		panic("router: no session keys")
	}
	if !cfg.Strategy.known() {
		panic("router: unknown strategy " + string(cfg.Strategy))
	}
	cache, err := lru.New[sid, *session](max(1, cfg.CacheSize))
	if err != nil {
		panic(err) // only for a size below one
	}
	lists, err := lru.New[listKey, []item](maxLists)
	if err != nil {
		panic(err) // as above
	}
	r := &Router{
		cfg: cfg, fleet: fleet, store: sessions, log: log, cache: cache, lists: lists,
		hop: newHop(hopConfig{
			Credential: cfg.Credential, DialTimeout: cfg.DialTimeout, AnswerTimeout: cfg.CallTimeout,
			StreamIdle: cfg.StreamIdle, IdleTimeout: idleConn, MaxIdle: maxIdleConns, TLS: cfg.TLS, Control: cfg.Control,
			Meter: cfg.Meter, Tracer: cfg.Tracer,
		}),
		todo: newBacklog(cfg.CacheSize), doubt: newDoubt(), lookout: lookout{keepAlive: keepAlive, lookEvery: lookEvery}, tapPause: tapPause,
	}
	r.loads.now, r.budget.now, r.dice = time.Now, time.Now, rand.IntN
	r.probes.ask = r.askHealth
	return r
}

// Request is one HTTP request of a client, as package server hands it on: authenticated, within
// limits, its single-valued headers single.
type Request struct {
	// Scope is the server of the endpoint, store.ScopeGroup and the name of a group, or empty for
	// the endpoint over all servers.
	Scope string
	// Limit is what the client's key may use; nil means everything.
	Limit *Limit
	// Relimit, if set, is what it may use by now, for a stream that outlasts a change of that. False
	// ends the stream: the client may not use the endpoint any more. It is called now and then, from
	// any goroutine, until Carry returns.
	Relimit func() (*Limit, bool)
	// Prefer is the node that a cookie or a header of the client named; empty for none. It may be
	// anything: it is only ever compared with nodes that could be chosen anyway. Where the
	// session already sits it does not matter, and without StrategyCookie or StrategyHeader it is
	// ignored.
	Prefer store.NodeID
	// Placed, if set, is told which node an answer comes from, once and before its head is
	// written to the client: it may add to the headers. It is not called for answers that no
	// node gave.
	Placed func(h http.Header, n store.NodeID)
	// Subject is who the client is; empty for anonymous. Sessions are bound to it.
	Subject string
	// HTTPMethod is POST, DELETE or GET.
	HTTPMethod string
	// LastEvent is Last-Event-ID of a GET: after which event a stream is to be gone on with. Empty
	// and whatever was never given out ask for a new one.
	LastEvent string
	// StreamNow asks for the answer as a stream that begins when the message is dispatched, if a
	// node answers it and there is no answer to begin with.
	StreamNow bool
	// SessionID is Mcp-Session-Id, or empty.
	SessionID string
	// Header is the client's; only the router's own list of them is ever passed on.
	Header http.Header
	// Body is the message, whole.
	Body []byte
}

// Limit is what a client may use of the servers. It is not changed once made.
type Limit struct {
	// Name tells one limit from another of the same servers: equal names, equal limits.
	Name string
	// Servers that may be used.
	Servers map[store.ServerID]bool
}

// Allows says whether a server may be used; a nil limit allows all.
func (l *Limit) Allows(id store.ServerID) bool { return l == nil || l.Servers[id] }

// scope is the request's scope as tokens and the store spell it.
func (q *Request) scope() string {
	if q.Scope == "" {
		return store.ScopeAll
	}
	return q.Scope
}

// wide says that the endpoint is one over several servers.
func (q *Request) wide() bool { return q.Scope == "" || strings.HasPrefix(q.Scope, store.ScopeGroup) }

// outside says that the server of an endpoint over one is none that the client's key may use. Such
// a server does not exist for the client: it is answered as one that no node has, also by a
// replica that does not know the nodes yet.
func (r *Router) outside(req *Request) bool {
	return !req.Limit.Allows(store.ServerID(req.Scope)) && !unread(r.fleet.Snapshot())
}

// Carry carries one request of a client and writes the answer, be it one message or a stream.
//
// An error is an *Error and means that nothing was written: the caller answers with it. A call
// whose outcome is not known is no error in this sense; its answer, JSON-RPC error 1001, has
// been written. When ctx ends, what the node has received goes on running: in the revisions
// with sessions a client that disconnects has not cancelled (MCP 2025-11-25, Transports).
func (r *Router) Carry(ctx context.Context, w http.ResponseWriter, req Request) error {
	r.stats.carried.Add(1)
	c := newClient(w, r.cfg.ClientStall)
	defer c.done()
	if req.HTTPMethod == http.MethodGet {
		return r.get(ctx, c, &req)
	}
	r.stats.inFlight.Add(1)
	defer r.stats.inFlight.Add(-1)
	switch req.HTTPMethod {
	case http.MethodPost:
		return r.post(ctx, c, &req)
	case http.MethodDelete:
		return r.delete(ctx, c, &req)
	}
	return &Error{Err: ErrMethod, Code: wire.CodeInvalidRequest, Message: "only POST, GET and DELETE are served here"}
}

func (r *Router) post(ctx context.Context, w http.ResponseWriter, req *Request) error {
	if err := checkVersion(req); err != nil {
		return err
	}
	r.budget.call()
	if req.SessionID == "" {
		return r.start(ctx, w, req)
	}
	s, err := r.session(ctx, req)
	if err != nil {
		return withID(err, req)
	}
	if req.wide() {
		return r.carryWide(ctx, w, req, s)
	}
	if r.outside(req) {
		return unknownServer(idOf(req.Body))
	}
	return r.carrySingle(ctx, w, req, s)
}

// checkVersion judges Mcp-Protocol-Version: the revisions with sessions are served, the later
// ones are told so, and anything else is an error of the client (MCP 2025-11-25, Transports,
// Protocol Version Header).
func checkVersion(req *Request) error {
	switch v := first(req.Header, wire.HeaderVersion); {
	case v == "" || v == wire.Version20251125 || v == wire.Version20250618 || wire.IsLegacy(v):
		return nil
	case wire.IsModern(v):
		return unsupportedVersion(idOf(req.Body), v)
	default:
		return badRequest(idOf(req.Body), "the Mcp-Protocol-Version header names no revision that is served here; "+
			"send the one that initialize negotiated")
	}
}

// idOf is the id of a message if it has one that can be read, for an error to answer with. A
// stranger's large body is not worth reading for that.
func idOf(body []byte) []byte {
	if len(body) > 64<<10 {
		return nil
	}
	f, err := wire.Scan(body, wire.ClientLimits)
	if err != nil || f.Kind != wire.Request {
		return nil
	}
	return f.IDBytes()
}

// withID gives the request its own copy of an error, with the message's id in it: requests that
// came at the same moment may share one.
func withID(err error, req *Request) error {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.ID != nil {
		return err
	}
	own := *e
	own.ID = idOf(req.Body)
	if v, ok := e.Data.(*verdict); ok {
		data := *v
		data.TraceID = traceID(req.Header)
		own.Data = &data
	}
	return &own
}

// maxInit bounds the params of initialize, which every replica and the store keep for as long as
// the session lives. Those of real clients have less than 2 KiB.
const maxInit = 64 << 10

// start answers a request without a session id, which must be initialize.
func (r *Router) start(ctx context.Context, w http.ResponseWriter, req *Request) error {
	f, err := wire.Scan(req.Body, wire.ClientLimits)
	if err != nil {
		return badFrame(err)
	}
	if v, ok := f.Lookup("params", "_meta", wire.MetaVersion); ok {
		if v, ok := wire.Unquote(v.Of(f.Raw)); ok && wire.IsModern(v) {
			return unsupportedVersion(f.IDBytes(), v)
		}
	}
	if f.Kind != wire.Request || f.Method != "initialize" {
		return missingSession(f.IDBytes())
	}
	if p := f.ParamsBytes(); len(p) == 0 || p[0] != '{' {
		return &Error{Err: ErrBadRequest, ID: f.IDBytes(), Code: wire.CodeInvalidParams, Message: "initialize needs params: protocolVersion, capabilities and clientInfo"}
	}
	if len(f.ParamsBytes()) > maxInit {
		return &Error{
			Err: ErrBadRequest, ID: f.IDBytes(), Code: wire.CodeInvalidParams,
			Message: fmt.Sprintf("the params of initialize are larger than %d KiB: they are kept for the whole session; send less in capabilities and clientInfo", maxInit>>10),
		}
	}
	if req.wide() {
		return r.startWide(ctx, w, req, &f)
	}
	if r.outside(req) {
		return unknownServer(f.IDBytes())
	}
	return r.startSingle(ctx, w, req, &f)
}

// ParseToken checks a session id as Carry does and takes it apart, for REST.
func (r *Router) ParseToken(text string) (Token, error) { return r.cfg.Keys.Parse(text) }

// bounded is the context of one call to the store.
func (r *Router) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, r.cfg.StoreTimeout)
}
