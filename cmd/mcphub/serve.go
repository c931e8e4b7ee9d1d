package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mcphub-go/mcphub/internal/config"
	"github.com/mcphub-go/mcphub/store"
)

// serveFlags are the flags of serving; what is not given comes from the settings.
type serveFlags struct {
	config string
	host   string
	port   int
	log    logFlags
}

func (s *serveFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.config, "config", "", "settings `file`")
	f.StringVar(&s.host, "host", "", "`address` to listen on; default $HOST, else 127.0.0.1 when standalone and every interface otherwise")
	f.IntVar(&s.port, "port", -1, "TCP `port` to listen on, 0 for a free one; default $PORT, else 3000")
	f.Lookup("port").DefValue = "0" // which pflag does not print
	s.log.register(cmd, "info")
	_ = cmd.MarkFlagFilename("config", "json")
}

// service is a serving process being put together.
type service struct {
	app      *app
	settings *config.Settings
	log      *slog.Logger
	host     string
	port     int
}

// serve runs what the settings say until ctx ends.
func (a *app) serve(ctx context.Context, f serveFlags) error {
	log, err := f.log.logger(a.stderr)
	if err != nil {
		return err
	}
	if f.port < -1 || f.port > 65535 {
		return badUsage("--port %d: want 0 to 65535", f.port)
	}
	settings, err := a.loadSettings(f.config)
	if err != nil {
		return err
	}
	s := &service{app: a, settings: settings, log: log, host: cmp.Or(f.host, a.getenv("HOST")), port: settings.Port}
	if f.port >= 0 {
		s.port = f.port
	}
	if s.host == "" && settings.Mode == config.Standalone {
		s.host = "127.0.0.1"
	}
	for _, w := range settings.Warnings {
		log.Warn(w)
	}
	if settings.Mode == config.Node {
		return s.serveNode(ctx)
	}
	return s.serveCoordinator(ctx)
}

// announce logs what has started, in words that name the mode and the address.
func (s *service) announce(addr string, more ...any) {
	file := s.settings.Path
	if file == "" {
		file = "none"
	}
	s.log.Info("mcphub has started", append([]any{"mode", s.settings.Mode, "address", addr, "version", ourVersion(), "settings", file}, more...)...)
}

// serveNode is mode node: MCP servers, and a lease at a coordinator elsewhere.
func (s *service) serveNode(ctx context.Context) error {
	l, err := listen(ctx, s.host, s.port)
	if err != nil {
		return err
	}
	c := s.settings.Cluster
	id := store.NodeID(cmp.Or(c.Node.ID, madeUpName()))
	cfg := s.worker(id)
	cfg.Listener, cfg.CoordinatorURL, cfg.URL, cfg.PodIP = l, c.Node.CoordinatorURL, c.Node.URL, s.app.getenv("POD_IP")
	cfg.LameDuck, cfg.Waiting = lameDuck, !c.Node.RegisterOnStartup
	if cfg.URL == "" && cfg.PodIP == "" {
		cfg.URL = listenedURL(s.host, portOf(l))
	}
	if cfg.Gauges, err = newGauges(ctx, "node", string(id), s.settings.Tracing, s.log); err != nil {
		_ = l.Close() // nothing has used it
		return err
	}
	defer cfg.Gauges.close(s.log)
	w, err := startWorker(ctx, cfg, s.log)
	if err != nil {
		return err
	}
	s.announce(l.Addr().String(), "node", id, "coordinator", withoutUser(c.Node.CoordinatorURL), "servers", len(s.settings.Servers))
	if c.Secret == "" {
		s.log.Warn("no cluster.secret: coordinators accept this node from loopback and private addresses only")
	}
	if len(s.settings.Servers) == 0 {
		s.log.Warn("mcpServers is empty: this node has nothing to offer")
	}
	watching := s.watchSettings(ctx, nil, w.setServers)
	err = untilOver(ctx, w.parts()...)
	_ = watching.stop() // what it could fail with is logged
	s.log.Info("stopping")
	if e := w.stop(); err == nil {
		err = e
	}
	return ended(err)
}

// gcPercent is how far a coordinator lets its heap grow between two collections. What lives in it is
// small and what a call leaves behind is not: at Go's own 100 it collects ten times a second under
// load (docs/performance.md).
const gcPercent = 200

// collectLessOften sets gcPercent, unless GOGC in the environment says something.
func collectLessOften(getenv func(string) string) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// serveCoordinator is the modes standalone and coordinator: a coordinator and, once there are
// servers to run, a node beside it.
func (s *service) serveCoordinator(ctx context.Context) (err error) {
	l, err := listen(ctx, s.host, s.port)
	if err != nil {
		return err
	}
	collectLessOften(s.app.getenv)
	redisURL := s.settings.Cluster.Redis.URL.Reveal()
	embedded := redisURL == ""
	if embedded {
		r, err := store.StartEmbedded("")
		if err != nil {
			_ = l.Close() // nothing has used it
			return failed("%w", err)
		}
		defer r.Close()
		redisURL = r.URL()
		s.tellEmbedded(r.Addr())
	}
	cfg := coordinatorConfig{
		ID: store.CoordinatorID(madeUpName()), Mode: string(s.settings.Mode), Settings: s.settings,
		RedisURL: redisURL, Embedded: embedded, Listener: l,
	}
	if !embedded {
		cfg.LameDuck = lameDuck // there may be others to take over
	}
	if cfg.Gauges, err = newGauges(ctx, string(s.settings.Mode), string(cfg.ID), s.settings.Tracing, s.log); err != nil {
		_ = l.Close() // nothing has used it
		return err
	}
	defer cfg.Gauges.close(s.log)
	if cfg.Private, err = listen(ctx, "127.0.0.1", 0); err != nil {
		_ = l.Close() // nothing has used it
		return err
	}
	c, err := startCoordinator(ctx, cfg, s.log)
	if err != nil {
		return err
	}
	s.announce(l.Addr().String(), "coordinator", cfg.ID, "redis", s.redisInWords(embedded), "admin", s.adminInWords())
	if len(s.settings.Servers) == 0 && s.settings.Mode == config.Standalone {
		s.log.Warn("mcpServers is empty: there is nothing to offer to clients; write servers into the settings file, it is watched", "settings", cmp.Or(s.settings.Path, config.DefaultPath))
	}
	local := newBeside(ctx, func(servers []config.Server) (*worker, error) {
		return s.startLocalNode(ctx, servers, urlOf(cfg.Private), embedded, cfg.Gauges)
	})
	if len(s.settings.Servers) > 0 || s.settings.Mode == config.Standalone {
		err = local.begin(s.settings.Servers)
	}
	if err == nil {
		watching := s.watchSettings(ctx, c, local.setServers)
		err = untilOver(ctx, append(c.parts(), local.life)...)
		_ = watching.stop() // what it could fail with is logged
	}
	s.log.Info("stopping")
	for _, stop := range []func() error{c.stopServing, local.stop, c.stop} {
		if e := stop(); err == nil {
			err = e
		}
	}
	if err == nil {
		s.log.Info("stopped")
	}
	return ended(err)
}

// tellEmbedded says where the embedded Redis is, loudly where one was to be expected elsewhere.
func (s *service) tellEmbedded(addr string) {
	host, port, _ := net.SplitHostPort(addr) // our own address
	look := "redis-cli -h " + host + " -p " + port
	if s.settings.Mode == config.Standalone {
		s.log.Info("embedded Redis, gone when this process ends", "look", look)
		return
	}
	s.log.Warn("NO REDIS IS CONFIGURED: this coordinator keeps its state in an embedded one, shares it with no other coordinator, and loses it at the end; set REDIS_URL or cluster.redis.url", "look", look)
}

func (s *service) redisInWords(embedded bool) string {
	if embedded {
		return "embedded"
	}
	return "external"
}

// adminInWords says who may make management calls.
func (s *service) adminInWords() string {
	switch {
	case s.settings.Cluster.AdminToken != "":
		return "token"
	case len(s.settings.Users) > 0:
		return "users"
	default:
		return "nobody configured: open to loopback and private addresses"
	}
}

// startLocalNode starts the node beside a coordinator. It registers like any other.
func (s *service) startLocalNode(ctx context.Context, servers []config.Server, coordinatorURL string, embedded bool, g *gauges) (*worker, error) {
	shared := s.settings.Cluster.Redis.URL.Reveal()
	if embedded {
		shared = ""
	}
	addr, err := localNodeAddress(ctx, s.settings.Cluster.Node.URL, s.app.getenv("POD_IP"), shared)
	if err != nil {
		return nil, err
	}
	l, err := listen(ctx, addr.host, addr.port)
	if err != nil {
		return nil, err
	}
	cfg := s.worker(store.NodeID(cmp.Or(s.settings.Cluster.Node.ID, madeUpName())))
	cfg.Listener, cfg.CoordinatorURL, cfg.URL = l, coordinatorURL, addr.baseURL(l)
	cfg.Servers, cfg.Gauges, cfg.Shown = serverConfigs(servers), g, true
	if !embedded {
		cfg.LameDuck = lameDuck // other coordinators may call it
	}
	return startWorker(ctx, cfg, s.log)
}

// worker is what the settings say of a node, wherever it runs.
func (s *service) worker(id store.NodeID) workerConfig {
	c := s.settings.Cluster
	return workerConfig{
		ID: id, Name: c.Node.Name, Weight: c.Node.Weight, Secret: c.Secret.Reveal(), Servers: serverConfigs(s.settings.Servers), Environ: os.Environ(),
		Interval: c.Node.HeartbeatInterval, SessionTimeout: c.Coordinator.StickySessionTimeout, DrainTimeout: c.Node.DrainTimeout,
		Streams: c.Node.Streams,
	}
}

// listenedURL is the address to announce where a node listens on one address only: there it
// is found and nowhere else.
func listenedURL(host string, port int) string {
	if host == "" || host == "0.0.0.0" || host == "::" {
		return ""
	}
	return baseOf(host, port)
}

// ended turns the end of a process into its exit: what ended it by itself is a failure.
func ended(err error) error {
	var ee *exitError
	if err == nil || errors.As(err, &ee) {
		return err
	}
	return failed("%w", err)
}

// withoutUser is an address fit for a log.
func withoutUser(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	u.User = nil
	return strings.TrimSuffix(u.String(), "/")
}
