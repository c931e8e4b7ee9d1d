package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
)

// Server is the front doors of one coordinator. Safe for concurrent use.
type Server struct {
	cfg    Config
	deps   Deps
	log    *slog.Logger
	echo   *echo.Echo
	sites  sites
	nodes  bearer
	access atomic.Pointer[access]
	names  atomic.Pointer[names]
	feed   *feed
	legacy *legacy
	seats  seats
	api    []byte // the OpenAPI document

	draining atomic.Bool
	inFlight atomic.Int64
	held     atomic.Int64 // bytes of bodies in hand
	counted  atomic.Int64 // sessions, when they were last counted
}

// New makes the front doors. It starts nothing. Deps.Carrier, Fleet, Registrar, Store and Log
// are required.
func New(cfg Config, deps Deps) *Server {
	cfg = cfg.withDefaults()
	if deps.Groups == nil {
		deps.Groups = noGroups{}
	}
	s := &Server{
		cfg: cfg, deps: deps, log: deps.Log.With("coordinator", cfg.Coordinator), echo: echo.New(),
		sites: newSites(cfg.AllowedHosts, cfg.AllowedOrigins),
		nodes: newBearer(cfg.ClusterSecret),
		feed:  newFeed(deps.Store, cfg.EventPoll, cfg.MaxFollowers),
	}
	s.legacy = newLegacy(s)
	s.access.Store(newAccess(cfg.Access, nil))
	s.echo.HTTPErrorHandler = s.onError
	s.routes()
	doc, err := document(cfg.Version, restRoutes())
	if err != nil {
		panic("server: the OpenAPI document: " + err.Error()) // it is made of constants
	}
	s.api = doc
	return s
}

// Handler serves everything. It needs a connection's addresses as net/http gives them.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.inFlight.Add(1)
	defer s.inFlight.Add(-1)
	if s.draining.Load() {
		w.Header().Set("Connection", "close") // the next request belongs to another replica
	}
	if p := s.admit(r); p != nil {
		s.fail(w, r, p)
		return
	}
	s.echo.ServeHTTP(w, r)
}

// InFlight is how many requests are being served.
func (s *Server) InFlight() int { return int(s.inFlight.Load()) }

// Run serves connections of l, once it is known who the nodes are, until ctx ends. Then readiness is withdrawn; after LameDuck no
// more connections are taken, and the streams of clients that only listen end; what is in hand has DrainTime to end, and is then told so and cut off. It
// returns nil, or an error if listening failed. l is closed in any case.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	if !s.access.Load().admins.configured() {
		s.log.Warn(openToNeighbours)
	}
	if s.cfg.ClusterSecret == "" {
		s.log.Warn("no cluster secret is configured: any process on loopback or private addresses may register as a node; set cluster.secret")
	}
	s.awaitFleet(ctx)
	srv := &http.Server{
		Handler:                      s.Handler(),
		ReadHeaderTimeout:            s.cfg.HeaderTime,
		ReadTimeout:                  s.cfg.HeaderTime + s.cfg.BodyTime, // lifted when a body has been read
		IdleTimeout:                  s.cfg.IdleTime,
		MaxHeaderBytes:               2 * MaxHeaders, // what lies between is refused in JSON
		ErrorLog:                     slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		DisableGeneralOptionsHandler: true,
	}
	served := make(chan error, 1)
	door := newLastly(l)
	go func() { served <- srv.Serve(door) }()
	defer background(ctx, s.feed.run)()
	defer background(context.WithoutCancel(ctx), s.legacy.run)()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	s.draining.Store(true)
	s.log.Info("readiness withdrawn, draining")
	if err := s.lameDuck(served); err != nil {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	s.endStreams()
	s.closeDoor(door, served)
	s.shutdown(ctx, srv)
	return nil
}

// background runs f until ctx ends or the function that it returns is called, which waits for the
// end of it.
func background(ctx context.Context, f func(context.Context)) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); f(ctx) }()
	return func() { cancel(); <-done }
}

// awaitFleet lets connections wait in the listener's queue until this replica can serve them,
// or for StartWait: then they are better told why not.
func (s *Server) awaitFleet(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.StartWait)
	defer cancel()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for {
		known, _ := s.deps.Fleet.Ready()
		if known && s.canCarry() {
			return
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *Server) canCarry() bool {
	r, ok := s.deps.Carrier.(readier)
	return !ok || r.Ready()
}

// lameDuck goes on serving for a while, unless serving fails.
func (s *Server) lameDuck(served <-chan error) error {
	if s.cfg.LameDuck <= 0 {
		return nil
	}
	t := time.NewTimer(s.cfg.LameDuck)
	defer t.Stop()
	select {
	case err := <-served:
		return err
	case <-t.C:
		return nil
	}
}

// settle is how long a connection that was taken last has to be heard.
const settle = 200 * time.Millisecond

// closeDoor stops taking connections without losing one that was taken: what waits in the
// listener's queue is taken, too, and gets a moment to say what it wants, since
// http.Server.Shutdown hangs up on those whose request it has not read by then.
func (s *Server) closeDoor(l *lastly, served <-chan error) {
	l.end()
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		s.log.Warn("listening ended otherwise than by closing", "err", err)
	}
	time.Sleep(settle)
}

// shutdown waits for what is in hand.
func (s *Server) shutdown(ctx context.Context, srv *http.Server) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.DrainTime)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		s.log.Warn("requests in hand are cut off", "err", err)
		s.abandon(ctx, srv)
		_ = srv.Close() // what it could say is known: they are cut off
	}
}

// rescue ends a request whose handler panicked: with an answer if there is none yet, else by
// breaking the connection, so that half an answer is not taken for a whole one. It is to be
// deferred.
func (s *Server) rescue(c echo.Context) {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v)
	}
	r := c.Request()
	s.log.ErrorContext(r.Context(), "panic in a request", "method", called(r), "err", fmt.Sprintf("%v\n%s", v, debug.Stack()))
	if c.Response().Committed {
		panic(http.ErrAbortHandler)
	}
	s.fail(c.Response(), r, internal())
}
