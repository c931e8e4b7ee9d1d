package main

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/url"
	"time"

	"github.com/mcphub-go/mcphub/heartbeat"
	"github.com/mcphub-go/mcphub/internal/config"
	"github.com/mcphub-go/mcphub/internal/telemetry"
	"github.com/mcphub-go/mcphub/node"
	"github.com/mcphub-go/mcphub/store"
)

// nodeDrain is how long requests that a node has in hand may take once it is told to stop.
const nodeDrain = 10 * time.Second

// workerConfig is a node and how it finds its coordinators.
type workerConfig struct {
	ID             store.NodeID
	Name           string
	Weight         int // zero means 1
	Secret         string
	Servers        []node.ServerConfig
	Environ        []string // of which children get PATH, HOME and the like
	CoordinatorURL string
	Waiting        bool   // it registers when it is told to
	URL            string // to announce; empty: found by the agent
	PodIP          string
	Interval       time.Duration
	SessionTimeout time.Duration
	// DrainTimeout is how long requests in hand may take once the node is told to stop. Zero
	// means nodeDrain.
	DrainTimeout time.Duration
	// Streams is what is kept of event streams; zeros mean the defaults of package node.
	Streams  config.NodeStreams
	Listener net.Listener
	// Gauges measure it; nil means some of its own, without traces. Shown says that /metrics of
	// another part of the process shows them.
	Gauges *gauges
	Shown  bool
	// LameDuck is how long the listener is kept open once the node has left the fleet, so that
	// coordinators that have not heard of it are told to go elsewhere and need not guess whether
	// a call ran.
	LameDuck time.Duration
}

// worker is a running node: its listener, its servers and its lease.
type worker struct {
	http  *part // the listener, for coordinators
	run   *part // the MCP servers
	beat  *part // the lease
	nudge *part // tells the agent when the servers change
	node  *node.Node
	lease *heartbeat.Lease

	lameDuck time.Duration
}

// currentLease and currentMember let a node ask an agent that is made after it: the agent needs
// the node first.
type (
	currentLease  struct{ *heartbeat.Lease }
	currentMember struct{ *heartbeat.Agent }
)

// startWorker starts a node: first it listens, then its servers start, then it registers. On
// an error nothing is left running, and the listener is closed.
func startWorker(ctx context.Context, cfg workerConfig, log *slog.Logger) (*worker, error) {
	var lease currentLease
	var member currentMember
	drain := cmp.Or(cfg.DrainTimeout, nodeDrain)
	nodeCfg := node.Config{
		ID: cfg.ID, Instance: newInstance(), Secret: cfg.Secret, Version: ourVersion(), Servers: cfg.Servers, Environ: cfg.Environ,
		SessionTimeout: cfg.SessionTimeout, DrainTimeout: drain, Member: &member, Host: hostOf(cfg.URL),
	}
	if err := nodeCfg.Validate(); err != nil {
		_ = cfg.Listener.Close() // nothing has used it
		return nil, badUsage("%w", err)
	}
	cfg.Gauges = cfg.Gauges.orOwn()
	nodeCfg.Meter, nodeCfg.Tracer = telemetry.NewWorker(cfg.Gauges.registry), cfg.Gauges.tracer
	if !cfg.Shown {
		nodeCfg.Metrics = cfg.Gauges.registry.Handler()
	}
	n := node.New(nodeCfg, &lease, log)
	agent, err := heartbeat.NewAgent(heartbeat.AgentConfig{
		ID: cfg.ID, Name: cfg.Name, Instance: nodeCfg.Instance, Version: ourVersion(), Weight: cfg.Weight,
		CoordinatorURL: cfg.CoordinatorURL, Waiting: cfg.Waiting, Secret: cfg.Secret, URL: cfg.URL, PodIP: cfg.PodIP, Port: portOf(cfg.Listener), Interval: cfg.Interval,
	}, n, log)
	if err != nil {
		_ = cfg.Listener.Close() // nothing has used it
		return nil, badUsage("%w", err)
	}
	lease.Lease, member.Agent = agent.Lease(), agent
	cfg.Gauges.registry.Node(nodeGauges{n, agent.Lease()}.facts)
	name := "node " + string(cfg.ID)
	w := &worker{node: n, lease: agent.Lease(), lameDuck: cfg.LameDuck}
	w.http = launch(ctx, name, serveHTTP(cfg.Listener, n.Handler(), drain, log))
	w.run = launch(ctx, name, n.Run)
	w.beat = launch(ctx, name, agent.Run)
	w.nudge = launch(ctx, name, func(ctx context.Context) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-n.Changed():
				agent.Nudge()
			}
		}
	})
	return w, nil
}

// parts are those whose end is the end of the worker.
func (w *worker) parts() []*part {
	return []*part{w.http, w.run, w.beat}
}

// setServers makes the node run what new settings say; servers whose settings are as before keep
// their processes and sessions. It does not wait for starts. After an error nothing has changed.
func (w *worker) setServers(servers []config.Server) error {
	return w.node.SetServers(serverConfigs(servers))
}

// stop drains the node and stops its servers, children included, while the lease is kept;
// then it deregisters, refuses what still comes for a while, and stops listening. It returns
// what a part had failed with.
func (w *worker) stop() error { // also of nil, which has nothing to stop
	if w == nil {
		return nil
	}
	err := w.run.stop()
	_ = w.nudge.stop() // cannot fail
	if e := w.beat.stop(); err == nil {
		err = e
	}
	select {
	case <-time.After(w.lameDuck):
	case <-w.http.done:
	}
	if e := w.http.stop(); err == nil {
		err = e
	}
	return err
}

// serverConfigs turns the settings' servers into a node's.
func serverConfigs(servers []config.Server) []node.ServerConfig {
	out := make([]node.ServerConfig, 0, len(servers))
	for _, s := range servers {
		out = append(out, node.ServerConfig{
			Name: s.Name, Type: s.Type, Command: s.Command, Args: s.Args, Env: s.Env,
			URL: s.URL, Headers: s.Headers, Enabled: s.Enabled, Weight: s.Weight,
			Isolation: s.Isolation, MaxProcesses: s.MaxProcesses, Warm: s.Warm, IdleTimeout: s.IdleTimeout,
			StartTimeout: s.StartTimeout, CallTimeout: s.CallTimeout, NoRoots: s.NoRoots,
		})
	}
	return out
}

// hostOf is the host of a URL that was checked already; empty for none.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Host
}
