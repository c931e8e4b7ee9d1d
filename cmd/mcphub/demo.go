package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/spf13/cobra"

	"github.com/mcphub-go/mcphub/internal/config"
	"github.com/mcphub-go/mcphub/internal/fixture"
	"github.com/mcphub-go/mcphub/node"
	"github.com/mcphub-go/mcphub/store"
)

// What the demo consists of. Everything listens on loopback.
const (
	demoPort         = 3000
	demoCoordinators = 2
	demoNodes        = 3
	demoReady        = 15 * time.Second // the longest wait for every node; it takes a fraction of a second
)

//go:embed demo.txt.tmpl
var demoText string

// demoSettings are those of its coordinators.
const demoSettings = `{"systemConfig": {"cluster": {"enabled": true, "mode": "coordinator"}}}`

var demoTemplate = template.Must(template.New("demo").Parse(demoText))

func (a *app) demoCommand() *cobra.Command {
	port := demoPort
	var logs logFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a whole small cluster in this process, to try things on",
		Long: `Run a whole small cluster in this process: an embedded Redis, two coordinators behind a front that
sends every request to the next one, and three nodes with example servers that keep state for each
session. It listens on loopback only and leaves nothing behind. Stop it with Ctrl-C.

` + exitHelp,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := logs.logger(a.stderr)
			if err != nil {
				return err
			}
			if port < 0 || port > 65535 {
				return badUsage("--port %d: want 0 to 65535", port)
			}
			chosen := cmd.Flags().Changed("port")
			if v := a.getenv("PORT"); v != "" && !chosen {
				if port, err = strconv.Atoi(v); err != nil || port < 1 || port > 65535 {
					return badUsage("environment variable PORT: %q is not a port from 1 to 65535", v)
				}
				chosen = true
			}
			return a.demo(cmd.Context(), port, chosen, log)
		},
	}
	cmd.Flags().IntVar(&port, "port", port, "TCP `port` of the front, 0 for a free one; $PORT when not given")
	logs.register(cmd, "error") // everything the demo does would be a warning elsewhere
	return cmd
}

// demo runs the cluster until ctx ends.
func (a *app) demo(ctx context.Context, port int, chosen bool, log *slog.Logger) error {
	began := time.Now()
	l, err := a.demoListener(ctx, port, chosen)
	if err != nil {
		return err
	}
	d := &demo{log: log, front: l}
	err = d.start(ctx)
	if err == nil {
		err = d.waitReady(ctx)
	}
	if err == nil {
		err = a.introduce(d, time.Since(began))
	}
	if err == nil {
		err = untilOver(ctx, d.parts()...)
	}
	if e := d.stop(); err == nil {
		err = e
	}
	if errors.Is(err, context.Canceled) {
		return nil // stopped before it was ready
	}
	if err != nil && exitCode(err) == exitUsage {
		return failed("%w", err) // the demo has no settings to be wrong
	}
	return err
}

// demoListener opens the port of the front. When the default one is taken, any will do.
func (a *app) demoListener(ctx context.Context, port int, chosen bool) (net.Listener, error) {
	l, err := listen(ctx, "127.0.0.1", port)
	if err == nil || chosen {
		return l, err
	}
	l, err = listen(ctx, "127.0.0.1", 0)
	if err != nil {
		return nil, err
	}
	return l, a.printf("Port %d is taken by another program; using %d.\n\n", port, portOf(l))
}

// demo is the cluster, in the order in which it starts.
type demo struct {
	log          *slog.Logger
	front        net.Listener
	redis        *store.Embedded
	coordinators []*coordinator
	balancer     *front
	http         *part
	nodes        []*worker
}

func (d *demo) start(ctx context.Context) error {
	var err error
	if d.redis, err = store.StartEmbedded(""); err != nil {
		_ = d.front.Close() // nothing has used it
		return failed("%w", err)
	}
	settings, err := config.Parse("", []byte(demoSettings), func(string) string { return "" })
	if err != nil {
		_ = d.front.Close() // nothing has used it
		return failed("%w", err)
	}
	var backends []*url.URL
	for i := range demoCoordinators {
		l, err := listen(ctx, "127.0.0.1", 0)
		if err == nil {
			var c *coordinator
			c, err = startCoordinator(ctx, coordinatorConfig{
				ID: store.CoordinatorID(fmt.Sprintf("coordinator-%d", i+1)), Mode: string(settings.Mode), Settings: settings,
				RedisURL: d.redis.URL(), Embedded: true, Listener: l,
			}, d.log)
			if err == nil {
				d.coordinators = append(d.coordinators, c)
				backends = append(backends, &url.URL{Scheme: "http", Host: l.Addr().String()})
			}
		}
		if err != nil {
			_ = d.front.Close() // nothing has used it
			return err
		}
	}
	d.balancer = newFront(backends, d.log)
	d.http = launch(ctx, "front", serveHTTP(d.front, d.balancer, coordinatorDrain, d.log))
	for i := range demoNodes {
		if err := d.startNode(ctx, store.NodeID(fmt.Sprintf("demo-%d", i+1))); err != nil {
			return err
		}
	}
	return nil
}

// startNode starts one node, which registers through the front, with whichever coordinator
// that chooses.
func (d *demo) startNode(ctx context.Context, id store.NodeID) error {
	l, err := listen(ctx, "127.0.0.1", 0)
	if err != nil {
		return err
	}
	var servers []node.ServerConfig
	for name, s := range map[string]node.Builtin{
		"counter": fixture.NewCounter(string(id)), "notes": fixture.NewNotes(string(id)), "clock": fixture.NewClock(string(id)),
	} {
		servers = append(servers, node.ServerConfig{Name: name, Builtin: s, Enabled: true})
	}
	w, err := startWorker(ctx, workerConfig{
		ID: id, Servers: servers, CoordinatorURL: urlOf(d.front), URL: urlOf(l), Listener: l,
		Interval: time.Second, // a page that is watched should not lag
	}, d.log)
	if err != nil {
		return err
	}
	d.nodes = append(d.nodes, w)
	return nil
}

// waitReady waits until every coordinator routes to every node and lists what its servers offer.
func (d *demo) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, demoReady, failed("the nodes of the demo did not register within %s; --log-level info tells more", demoReady))
	defer cancel()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		if d.ready(ctx) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-look.C:
		}
	}
}

// ready says whether every coordinator knows every node with its servers, and what these offer,
// which comes a moment later; and whether every node has heard that it is registered.
func (d *demo) ready(ctx context.Context) bool {
	for _, n := range d.nodes {
		if !n.lease.Fresh() {
			return false
		}
	}
	for _, c := range d.coordinators {
		nodes, carrying := c.watcher.Snapshot().Nodes, c.carrier.router.Load()
		if carrying == nil || len(nodes) < demoNodes {
			return false
		}
		for _, n := range nodes {
			for _, s := range n.Servers {
				if n.State != store.NodeActive || s.Status != store.ServerReady {
					return false
				}
			}
		}
		if len(carrying.Unread(ctx)) > 0 {
			return false
		}
	}
	return true
}

// parts are those whose end is the end of the demo.
func (d *demo) parts() []*part {
	parts := []*part{d.http}
	for _, c := range d.coordinators {
		parts = append(parts, c.parts()...)
	}
	for _, n := range d.nodes {
		parts = append(parts, n.parts()...)
	}
	return parts
}

// stop ends the nodes, which deregister through the front, then the front, the coordinators
// and Redis.
func (d *demo) stop() error {
	var errs []error
	stopping := make(chan error, len(d.nodes))
	for _, n := range d.nodes {
		go func() { stopping <- n.stop() }()
	}
	for range d.nodes {
		errs = append(errs, <-stopping)
	}
	errs = append(errs, d.http.stop())
	if d.balancer != nil {
		d.balancer.Close()
	}
	for _, c := range d.coordinators {
		errs = append(errs, c.stop())
	}
	if d.redis != nil {
		d.redis.Close()
	}
	return errors.Join(errs...)
}

// introduce prints what to open and what to paste.
func (a *app) introduce(d *demo, took time.Duration) error {
	var text strings.Builder
	_, redisPort, err := net.SplitHostPort(d.redis.Addr())
	if err != nil {
		return failed("address of the embedded Redis: %w", err)
	}
	var coordinators []string
	for _, c := range d.coordinators {
		coordinators = append(coordinators, urlOf(c.cfg.Listener))
	}
	err = demoTemplate.Execute(&text, struct {
		URL, RedisPort, Took string
		Coordinators         []string
		DefaultURL           bool
	}{urlOf(d.front), redisPort, took.Round(10 * time.Millisecond).String(), coordinators, urlOf(d.front) == defaultURL})
	if err != nil {
		return failed("introduce the demo: %w", err)
	}
	return a.printf("%s", text.String())
}
