package telemetry

import "github.com/prometheus/client_golang/prometheus"

// FrontFacts is what a coordinator knows at one moment: gauges, and counters since its start.
// Maps need not hold the values that are zero.
type FrontFacts struct {
	// Nodes by state, Servers by status; see docs/metrics.md for the lists.
	Nodes, Servers map[string]int
	Replicas       []ReplicaCount
	Sessions       int // of the fleet

	Started, Ended, Lost, Recovered      int64
	Moved                                map[string]int64 // by reason
	Retried, OutcomeUnknown, NotExecuted int64
	CacheMisses                          int64

	InFlight, CachedSessions, Suspects int
	Streams                            map[string]int // by kind
	Ready                              bool

	RedisUp, BreakerOpen bool
	RedisState           string
}

// ReplicaCount is the number of replicas of a server in a status.
type ReplicaCount struct {
	Server, Status string
	Count          int
}

// The closed lists of labels.
var (
	nodeStates     = []string{"active", "draining", "unhealthy"}
	serverStatuses = []string{"ready", "full", "down"}
	moveReasons    = []string{"failed", "drain", "operator"}
	streamKinds    = []string{"post", "get", "sse"}
	redisStates    = []string{
		"ok", "unknown", "down", "slow", "loading", "readonly", "oom", "misconf", "noreplicas", "auth", "busy", "cluster",
		"maxclients", "schema", "error",
	}
)

// frontCollector makes samples of facts.
type frontCollector struct {
	read func() FrontFacts

	nodes, servers, replicas, sessions                      *prometheus.Desc
	started, ended, moved, lost, recovered                  *prometheus.Desc
	retried, unknown, notExecuted, inFlight, streams        *prometheus.Desc
	cached, misses, suspects, ready, redisUp, redisState, b *prometheus.Desc
}

// Coordinator adds the families of a coordinator, read whenever Prometheus asks. It must not
// block for long. A registry has one at most.
func (r *Registry) Coordinator(read func() FrontFacts) {
	r.reg.MustRegister(&frontCollector{
		read:        read,
		nodes:       describe("mcphub_nodes", "Nodes with a record.", "state"),
		servers:     describe("mcphub_servers", "Servers by name.", "status"),
		replicas:    describe("mcphub_replicas", "Replicas of a server.", "server", "status"),
		sessions:    describe("mcphub_sessions", "Sessions of the fleet, as Redis counts them."),
		started:     describe("mcphub_sessions_started_total", "Sessions begun by a client's initialize."),
		ended:       describe("mcphub_sessions_ended_total", "Sessions ended by a client or an operator."),
		moved:       describe("mcphub_sessions_moved_total", "Places of sessions changed.", "reason"),
		lost:        describe("mcphub_sessions_lost_total", "Sessions that could not be moved."),
		recovered:   describe("mcphub_sessions_recovered_total", "Sessions written back to a Redis that had lost them."),
		retried:     describe("mcphub_calls_retried_total", "Messages sent a second time."),
		unknown:     describe("mcphub_calls_outcome_unknown_total", "Calls answered with error 1001."),
		notExecuted: describe("mcphub_calls_not_executed_total", "Calls answered with error 1002."),
		inFlight:    describe("mcphub_calls_in_flight", "MCP requests being carried now."),
		streams:     describe("mcphub_streams_open", "Streams held open towards clients.", "kind"),
		cached:      describe("mcphub_cached_sessions", "Sessions whose place this replica remembers."),
		misses:      describe("mcphub_session_cache_misses_total", "Requests in a session whose place had to be read from Redis."),
		suspects:    describe("mcphub_suspect_nodes", "Nodes that this replica does not try at the moment."),
		ready:       describe("mcphub_ready", "1 while /ready answers 200."),
		redisUp:     describe("mcphub_redis_up", "1 while Redis answers and accepts writes."),
		redisState:  describe("mcphub_redis_state", "1 for the present state.", "state"),
		b:           describe("mcphub_redis_breaker_open", "1 while calls are refused without asking Redis."),
	})
}

// Describe implements prometheus.Collector.
func (c *frontCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.nodes, c.servers, c.replicas, c.sessions, c.started, c.ended, c.moved, c.lost, c.recovered, c.retried, c.unknown,
		c.notExecuted, c.inFlight, c.streams, c.cached, c.misses, c.suspects, c.ready, c.redisUp, c.redisState, c.b,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *frontCollector) Collect(metrics chan<- prometheus.Metric) {
	f, out := c.read(), sample(metrics)
	for _, s := range nodeStates {
		out.gauge(c.nodes, float64(f.Nodes[s]), s)
	}
	for _, s := range serverStatuses {
		out.gauge(c.servers, float64(f.Servers[s]), s)
	}
	for _, r := range f.Replicas {
		out.gauge(c.replicas, float64(r.Count), r.Server, r.Status)
	}
	for _, s := range moveReasons {
		out.counter(c.moved, f.Moved[s], s)
	}
	for _, s := range streamKinds {
		out.gauge(c.streams, float64(f.Streams[s]), s)
	}
	for _, s := range redisStates {
		out.gauge(c.redisState, truth(s == f.RedisState), s)
	}
	for _, g := range []struct {
		d *prometheus.Desc
		v float64
	}{
		{c.sessions, float64(f.Sessions)}, {c.inFlight, float64(f.InFlight)}, {c.cached, float64(f.CachedSessions)},
		{c.suspects, float64(f.Suspects)}, {c.ready, truth(f.Ready)}, {c.redisUp, truth(f.RedisUp)}, {c.b, truth(f.BreakerOpen)},
	} {
		out.gauge(g.d, g.v)
	}
	for _, n := range []struct {
		d *prometheus.Desc
		v int64
	}{
		{c.started, f.Started}, {c.ended, f.Ended}, {c.lost, f.Lost}, {c.recovered, f.Recovered}, {c.retried, f.Retried},
		{c.unknown, f.OutcomeUnknown}, {c.notExecuted, f.NotExecuted}, {c.misses, f.CacheMisses},
	} {
		out.counter(n.d, n.v)
	}
}
