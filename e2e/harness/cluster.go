package harness

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// ReadyLimit bounds every wait for processes to come up and agree. Generous: it only bounds
// failures.
const ReadyLimit = 40 * time.Second

// Options is what a cluster is made of.
type Options struct {
	// Coordinators is how many; zero means three.
	Coordinators int
	// Nodes are started after the coordinators, all at once.
	Nodes []NodeOptions
	// Secret is cluster.secret of everybody; empty means none.
	Secret string
	// Timing; the zero value means Quick.
	Timing Timing
	// Env is added to the environment of every process.
	Env []string
	// Args are added to the command line of every process.
	Args []string
	// Coordinator is laid over the settings of every coordinator: objects are merged, anything
	// else is replaced.
	Coordinator Object
}

// NodeOptions is one node.
type NodeOptions struct {
	ID, Name string // an empty Name means "Worker <id>"
	Servers  Servers
	// Takeover is the port to use; zero means a free one.
	Port int
	// Settings is laid over the node's settings.
	Settings Object
	// Binary is the program; empty means HubBinary.
	Binary string
}

// Hub is one mcphub process: a coordinator, a node, or both.
type Hub struct {
	*Proc
	URL      string
	Port     int
	Settings string // path of its settings file
}

// Cluster is a whole fleet: Redis, coordinators behind a round robin without stickiness, and
// nodes that register through it.
type Cluster struct {
	Redis        *Redis
	Coordinators []*Hub
	Nodes        map[string]*Hub // by node id
	Front        *RoundRobin

	opts   Options
	t      T
	hubs   []*Hub        // everything that was started, the dead included
	fronts []*RoundRobin // all of them
}

// StartCluster starts everything and waits until every coordinator routes to every node.
func StartCluster(t T, o Options) *Cluster {
	t.Helper()
	if o.Coordinators == 0 {
		o.Coordinators = 3
	}
	if o.Timing == (Timing{}) {
		o.Timing = Quick
	}
	c := &Cluster{Redis: StartRedis(t), Nodes: map[string]*Hub{}, opts: o, t: t}
	var urls []string
	for i := range o.Coordinators {
		h := c.StartCoordinator(fmt.Sprintf("coordinator-%d", i+1))
		urls = append(urls, h.URL)
	}
	for _, h := range c.Coordinators {
		h.WaitHealthy(t)
	}
	c.Front = StartRoundRobin(t, urls...)
	c.fronts = append(c.fronts, c.Front)
	t.Cleanup(c.checkSecrets)
	for _, n := range o.Nodes {
		c.StartNode(n)
	}
	for _, n := range o.Nodes {
		c.WaitActive(n)
	}
	return c
}

// StartCoordinator starts one more coordinator; the round robin does not know it.
func (c *Cluster) StartCoordinator(name string) *Hub {
	c.t.Helper()
	h := c.startCoordinator(name, nil)
	c.Coordinators = append(c.Coordinators, h)
	return h
}

func (c *Cluster) startCoordinator(name string, over Object) *Hub {
	c.t.Helper()
	settings := overlay(overlay(coordinatorSettings(c.opts), c.opts.Coordinator), over)
	h := StartHub(c.t, name, 0, WriteSettings(c.t, settings), append([]string{"REDIS_URL=" + c.Redis.URL()}, c.opts.Env...), c.opts.Args...)
	c.hubs = append(c.hubs, h)
	return h
}

// StartFront starts n more coordinators of the same fleet, whose settings have over laid over
// those of the others, behind a round robin of their own. It waits until they serve, and does
// not ask them for nodes: they may want a key.
func (c *Cluster) StartFront(name string, n int, over Object) (*RoundRobin, []*Hub) {
	c.t.Helper()
	var hubs []*Hub
	var urls []string
	for i := range n {
		h := c.startCoordinator(fmt.Sprintf("%s-%d", name, i+1), over)
		hubs, urls = append(hubs, h), append(urls, h.URL)
	}
	for _, h := range hubs {
		h.WaitReady(c.t)
	}
	rr := StartRoundRobin(c.t, urls...)
	c.fronts = append(c.fronts, rr)
	return rr, hubs
}

// StartNode starts a node, which registers through the round robin, and does not wait.
func (c *Cluster) StartNode(n NodeOptions) *Hub {
	c.t.Helper()
	if n.Name == "" {
		n.Name = "Worker " + n.ID
	}
	settings := overlay(nodeSettings(c.opts, n, c.Front.URL), n.Settings)
	h := startHub(c.t, cmp.Or(n.Binary, HubBinary(c.t)), n.ID, n.Port, WriteSettings(c.t, settings), c.opts.Env, c.opts.Args...)
	c.Nodes[n.ID] = h
	c.hubs = append(c.hubs, h)
	return h
}

// WaitActive waits until every living coordinator lists n as active with all its servers.
func (c *Cluster) WaitActive(n NodeOptions) {
	c.t.Helper()
	for _, co := range c.Coordinators {
		if !co.Alive() {
			continue
		}
		Eventually(c.t, ReadyLimit, fmt.Sprintf("%s routes to %s", co.Name, n.ID), func() error {
			rec, err := co.Node(n.ID)
			if err != nil {
				return err
			}
			if rec.Status != "active" {
				return fmt.Errorf("%s is %s", n.ID, rec.Status)
			}
			for name := range n.Servers {
				if !slices.Contains(rec.Servers, name) {
					return fmt.Errorf("%s lists %v, not %s", n.ID, rec.Servers, name)
				}
			}
			return nil
		})
	}
}

// WaitNodeStatus waits until every living coordinator lists the node with that status; "" means
// that it is not listed any more.
func (c *Cluster) WaitNodeStatus(id, status string, limit time.Duration) {
	c.t.Helper()
	for _, co := range c.Coordinators {
		if !co.Alive() {
			continue
		}
		Eventually(c.t, limit, fmt.Sprintf("%s lists %s as %q", co.Name, id, status), func() error {
			nodes, err := co.ListNodes()
			if err != nil {
				return err
			}
			got := ""
			for _, n := range nodes {
				if n.ID == id {
					got = n.Status
				}
			}
			if got != status {
				return fmt.Errorf("it is %q", got)
			}
			return nil
		})
	}
}

// StartHub starts one mcphub on port (0: a free one) with a settings file and does not wait.
func StartHub(t T, name string, port int, settings string, env []string, args ...string) *Hub {
	t.Helper()
	return startHub(t, HubBinary(t), name, port, settings, env, args...)
}

func startHub(t T, binary, name string, port int, settings string, env []string, args ...string) *Hub {
	t.Helper()
	if port == 0 {
		port = FreePort(t)
	}
	env = append([]string{"PORT=" + strconv.Itoa(port), "MCPHUB_SETTINGS=" + settings}, env...)
	return &Hub{
		Proc: Start(t, name, env, append([]string{binary}, args...)...),
		URL:  Loopback(port), Port: port, Settings: settings,
	}
}

// WaitHealthy waits until GET /health answers 200, and fails at once if the process ends.
func (h *Hub) WaitHealthy(t T) { t.Helper(); h.waitFor(t, "/health") }

// WaitReady waits until GET /ready answers 200, and fails at once if the process ends.
func (h *Hub) WaitReady(t T) { t.Helper(); h.waitFor(t, "/ready") }

func (h *Hub) waitFor(t T, path string) {
	t.Helper()
	Eventually(t, ReadyLimit, h.Name+" answers "+path, func() error {
		if !h.Alive() {
			t.Fatalf("%s ended at start:\n%s", h.Name, h.Log.Tail(30))
		}
		status, body, err := Get(t.Context(), h.URL+path)
		if err == nil && status != 200 {
			err = fmt.Errorf("status %d: %.200s", status, body)
		}
		return err
	})
}
