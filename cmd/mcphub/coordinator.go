package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/mcphub-go/mcphub/heartbeat"
	"github.com/mcphub-go/mcphub/internal/config"
	"github.com/mcphub-go/mcphub/internal/telemetry"
	"github.com/mcphub-go/mcphub/migrations"
	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/server"
	"github.com/mcphub-go/mcphub/store"
	"github.com/mcphub-go/mcphub/web"
)

// coordinatorDrain is how long requests that a coordinator carries may take once it is told
// to stop.
const coordinatorDrain = 10 * time.Second

// lameDuck is how long a coordinator of a fleet goes on serving after it has withdrawn its
// readiness, so that a balancer that looks each second sends nobody to a closed door.
const lameDuck = 2 * time.Second

// keyRetry is the time between attempts to agree on the fleet's key.
const keyRetry = 250 * time.Millisecond

// coordinatorConfig is one replica.
type coordinatorConfig struct {
	ID       store.CoordinatorID
	Mode     string // as status tells it
	Settings *config.Settings
	RedisURL string
	Embedded bool // the Redis ends with this process
	Listener net.Listener
	// Private, if set, is a loopback listener for the node in this process. It outlives
	// Listener, so that the node can deregister when no client is served any more.
	Private net.Listener
	// LameDuck is how long Listener is kept open once readiness has been withdrawn.
	LameDuck time.Duration
	// Gauges measure it; nil means some of its own, without traces.
	Gauges *gauges
}

// coordinator is a running replica.
type coordinator struct {
	cfg      coordinatorConfig
	log      *slog.Logger
	store    *store.Store
	key      *fleetKey
	carrier  *carrier
	watcher  *heartbeat.Watcher
	meter    *telemetry.Front
	groups   *router.Groups
	front    *server.Server
	doors    *part // the listener for clients
	private  *part // the listener for the node in this process; may be nil
	watching *part
	hints    *part
	carrying *part
	grouping *part
	started  time.Time
	stopping atomic.Bool // readiness is withdrawn
}

// startCoordinator starts a replica. It serves at once, whether or not Redis is there: what
// needs the fleet's key is answered 503 until that is agreed. On an error nothing is left
// running, and the listeners are closed.
func startCoordinator(ctx context.Context, cfg coordinatorConfig, log *slog.Logger) (*coordinator, error) {
	cfg.Gauges = cfg.Gauges.orOwn()
	c := &coordinator{cfg: cfg, log: log, carrier: &carrier{}, started: time.Now(), meter: telemetry.NewFront(cfg.Gauges.registry)}
	secret := cfg.Settings.Cluster.Secret.Reveal()
	front := c.frontConfig()
	err := front.Validate()
	if err == nil {
		st := storeConfig(cfg.Settings, cfg.RedisURL, log)
		st.Observe = c.meter.Redis
		c.store, err = store.Open(ctx, st)
	}
	if err != nil {
		_ = cfg.Listener.Close() // nothing has used them
		if cfg.Private != nil {
			_ = cfg.Private.Close()
		}
		return nil, startError(err)
	}
	c.key = newFleetKey(secret, c.store)
	c.watcher = heartbeat.NewWatcher(c.watcherConfig(), c.store, log)
	registrar := heartbeat.NewRegistrar(c.registrarConfig(), c.store, c.watcher, log)
	page := web.New(web.Config{Version: ourVersion(), CoordinatorID: string(cfg.ID), Mode: cfg.Mode}, reader{c}, log)
	c.groups = router.NewGroups(groupsOf(cfg.Settings), c.store, cfg.ID, log)
	c.front = server.New(front, server.Deps{
		Carrier: c.carrier, Fleet: knownFleet{c.watcher, c.carrier}, Registrar: registrar, Store: c.store, Inboxes: c.store, Groups: c.groups, Explainer: c.carrier,
		Web: page, Metrics: cfg.Gauges.registry.Handler(), Meter: c.meter, Tracer: cfg.Gauges.tracer, Log: log,
	})
	known := &fleetGauges{fleet: knownFleet{c.watcher, c.carrier}, store: c.store, stats: c.carrier.stats}
	cfg.Gauges.registry.Coordinator(known.facts)
	c.watching = launch(ctx, "watcher", c.watcher.Run)
	c.hints = launch(ctx, "hints", c.followHints)
	c.grouping = launch(ctx, "groups", c.groups.Run)
	c.carrying = launch(ctx, "router", c.carry)
	c.doors = launch(ctx, "listener", func(ctx context.Context) error { return c.front.Run(ctx, cfg.Listener) })
	if cfg.Private != nil {
		c.private = launch(ctx, "private listener", serveHTTP(cfg.Private, c.front.Handler(), time.Second, log))
	}
	return c, nil
}

// storeConfig is how the store is opened, for serving and for migrating.
func storeConfig(s *config.Settings, redisURL string, log *slog.Logger) store.Config {
	return store.Config{URL: redisURL, KeyPrefix: s.Cluster.Redis.KeyPrefix, Schema: migrations.Latest(), Log: log}
}

func (c *coordinator) frontConfig() server.Config {
	s := c.cfg.Settings
	return server.Config{
		Access: accessOf(s), Strategy: strategyOf(s.Cluster.Sticky), CookieName: s.Cluster.Sticky.CookieName, HeaderName: s.Cluster.Sticky.HeaderName,
		Coordinator: c.cfg.ID, Mode: c.cfg.Mode, Version: ourVersion(), ClusterEnabled: s.Cluster.Enabled, Embedded: c.cfg.Embedded,
		EnableGlobalRoute: s.Routing.EnableGlobalRoute, EnableGroupNameRoute: s.Routing.EnableGroupNameRoute, ClusterSecret: s.Cluster.Secret.Reveal(),
		AllowedHosts: s.Routing.AllowedHosts, AllowedOrigins: s.Routing.AllowedOrigins,
		MaxBody: int64(s.Limits.MaxBody), HeaderTime: s.Limits.HeaderTimeout, BodyTime: s.Limits.BodyTimeout, IdleTime: s.Limits.IdleTimeout,
		MaxBatch: s.Limits.MaxBatch, MaxStreamsPerSession: s.Limits.MaxStreamsPerSession, MaxStreamsPerKey: s.Limits.MaxStreamsPerKey,
		MaxStreams: s.Limits.MaxStreams, AbsoluteEndpoint: s.Routing.SSEEndpoint == config.AbsoluteEndpoint,
		LameDuck: c.cfg.LameDuck, DrainTime: cmp.Or(s.Cluster.Coordinator.DrainTimeout, coordinatorDrain),
	}
}

func (c *coordinator) watcherConfig() heartbeat.WatcherConfig {
	s := c.cfg.Settings.Cluster.Coordinator
	return heartbeat.WatcherConfig{
		NodeTimeout: s.NodeTimeout, CleanupInterval: s.CleanupInterval, Coordinator: c.cfg.ID,
		Describe: c.describe, Refresh: c.refresh,
	}
}

func (c *coordinator) registrarConfig() heartbeat.RegistrarConfig {
	s := c.cfg.Settings.Cluster
	return heartbeat.RegistrarConfig{
		Coordinator: c.cfg.ID, Version: ourVersion(), Secret: s.Secret.Reveal(), FleetKey: c.key.get,
		NodeTimeout: s.Coordinator.NodeTimeout, SessionTimeout: s.Coordinator.StickySessionTimeout, Changed: c.watcher.Poke,
	}
}

// describe is this replica's own record.
func (c *coordinator) describe() store.Coordinator {
	stats := c.carrier.stats()
	ready, _ := knownFleet{c.watcher, c.carrier}.Ready()
	me := store.Coordinator{
		ID: c.cfg.ID, Address: c.cfg.Listener.Addr().String(), Version: ourVersion(), Started: c.started, Mode: c.cfg.Mode,
		Sessions: stats.CachedSessions, InFlight: stats.InFlight, Ready: ready && !c.stopping.Load(),
	}
	if key := c.key.known(); key != nil {
		me.KeyPrint = heartbeat.KeyPrint(key)
	}
	return me
}

// refresh puts what this replica must put into a Redis that may be empty: the agreed key, and
// the schema number, without which an older release would not know what it reads.
func (c *coordinator) refresh(ctx context.Context) error {
	if err := c.key.refresh(ctx); err != nil {
		return err
	}
	n, err := c.store.SchemaVersion(ctx)
	if err != nil || n > 0 {
		return err
	}
	_, err = migrate(ctx, storeConfig(c.cfg.Settings, c.cfg.RedisURL, c.log), false)
	if errors.Is(err, migrations.ErrBusy) {
		return nil // another replica is at it
	}
	return err
}

// carry runs the router, once the fleet's key is known.
func (c *coordinator) carry(ctx context.Context) error {
	key, ok := c.awaitKey(ctx)
	if !ok {
		return nil
	}
	keys, err := router.NewKeys(sessionKey(key))
	if err != nil {
		return err
	}
	s := c.cfg.Settings
	r := router.New(router.Config{
		Keys: keys, Credential: heartbeat.FleetCredential(key), Coordinator: c.cfg.ID, Version: ourVersion(),
		SessionTimeout: s.Cluster.Coordinator.StickySessionTimeout, MaxSessionsPerKey: s.Limits.MaxSessionsPerKey, NameSeparator: s.NameSeparator,
		Groups: c.groups, Strategy: router.Strategy(s.Cluster.Sticky.Strategy), NoSticky: !s.Cluster.Sticky.Enabled,
		Meter: c.meter, Tracer: c.cfg.Gauges.tracer,
		Control: heartbeat.AddressPolicy{Authenticated: s.Cluster.Secret.Reveal() != ""}.Control,
	}, c.watcher, c.store, c.log)
	c.carrier.router.Store(r)
	return r.Run(ctx)
}

// awaitKey asks until the fleet has agreed on a key. ok is false if ctx ended first.
func (c *coordinator) awaitKey(ctx context.Context) (key []byte, ok bool) {
	again := time.NewTicker(keyRetry)
	defer again.Stop()
	warned := false
	for {
		key, err := c.key.get(ctx)
		if err == nil {
			return key, true
		}
		if !warned && ctx.Err() == nil {
			warned = true
			c.log.Warn("no session can be served before Redis answers: without cluster.secret the fleet's key lies there", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil, false
		case <-c.key.agreed: // a node that registers may have been first
		case <-again.C:
		}
	}
}

// knownFleet is the fleet as the watcher knows it; it is ready when sessions can be served too.
type knownFleet struct {
	*heartbeat.Watcher
	carrier *carrier
}

// Ready implements server.Fleet.
func (f knownFleet) Ready() (ok bool, reason string) {
	ok, reason = f.Watcher.Ready()
	if ok && f.carrier.router.Load() == nil {
		return false, "the fleet's key has not been agreed on yet"
	}
	return ok, reason
}

// followHints looks at the nodes or the groups at once when another replica has changed something.
func (c *coordinator) followHints(ctx context.Context) error {
	hints, err := c.store.Subscribe(ctx)
	if err != nil {
		<-ctx.Done() // polling does the same, more slowly
		return nil
	}
	for h := range hints {
		switch h.Kind {
		case store.HintRev: // also where hints may have been missed
			c.watcher.Poke()
			c.groups.Poke()
		case store.HintGroups:
			c.groups.Poke()
		}
	}
	return nil
}

// parts are those whose end is the end of the coordinator.
func (c *coordinator) parts() []*part { return []*part{c.doors, c.watching, c.carrying, c.grouping} }

// stopServing withdraws readiness, lets the requests in hand finish and stops listening.
func (c *coordinator) stopServing() error {
	c.stopping.Store(true)
	return c.doors.stop()
}

// stop ends everything else, the connections to Redis last.
func (c *coordinator) stop() error {
	err := c.stopServing()
	for _, p := range []*part{c.private, c.carrying, c.hints, c.grouping, c.watching} {
		if e := p.stop(); err == nil {
			err = e
		}
	}
	if e := c.store.Close(); err == nil && e != nil {
		err = e
	}
	return err
}

// startError words what keeps a coordinator from starting.
func startError(err error) error {
	switch {
	case errors.Is(err, store.ErrInvalid):
		return badUsage("%w", err)
	case errors.Is(err, store.ErrSchema):
		return failed("%w: run that release, or give this one another cluster.redis.keyPrefix", err)
	default:
		return failed("%w", err)
	}
}
