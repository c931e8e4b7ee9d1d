package telemetry

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Outcome is how a request that was handed to an MCP server ended.
type Outcome uint8

// The outcomes of requests.
const (
	// OutcomeOK is an answer with a result.
	OutcomeOK Outcome = iota
	// OutcomeError is an answer with an error, given by the server.
	OutcomeError
	// OutcomeRefused was not admitted.
	OutcomeRefused
	// OutcomeLost got no answer: the server or the connection to it ended, or the time was over.
	OutcomeLost
	outcomes
)

func (o Outcome) String() string { return [...]string{"ok", "error", "refused", "lost"}[o] }

// Worker records what a node does. Safe for concurrent use; nil records nothing.
type Worker struct {
	calls   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	servers sync.Map // server name → *workerServer
}

type workerServer struct {
	calls   [outcomes]prometheus.Counter
	seconds prometheus.Observer
}

// NewWorker makes the recorder of a node. A registry has one at most.
func NewWorker(r *Registry) *Worker {
	w := &Worker{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mcphub_node_calls_total", Help: "Requests handed to the server.",
		}, []string{"server", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "mcphub_node_call_seconds", Help: "From admitting a request to the server's answer.", Buckets: answerBuckets,
		}, []string{"server"}),
	}
	r.reg.MustRegister(w.calls, w.seconds)
	return w
}

// Call records a request to a server that ended d after it had been admitted. Refused ones
// count, but took no time of the server's.
func (w *Worker) Call(server string, o Outcome, d time.Duration) {
	if w == nil {
		return
	}
	s := w.of(server)
	s.calls[o].Inc()
	if o != OutcomeRefused {
		s.seconds.Observe(d.Seconds())
	}
}

// Server begins the series of a server, so that the first event is seen as one.
func (w *Worker) Server(server string) {
	if w != nil {
		w.of(server)
	}
}

func (w *Worker) of(server string) *workerServer {
	if s, ok := w.servers.Load(server); ok {
		return s.(*workerServer)
	}
	s := &workerServer{seconds: w.seconds.WithLabelValues(server)}
	for o := range outcomes {
		s.calls[o] = w.calls.WithLabelValues(server, o.String())
	}
	had, _ := w.servers.LoadOrStore(server, s)
	return had.(*workerServer)
}

// WorkerFacts is what a node knows at one moment.
type WorkerFacts struct {
	Servers []ServerFacts
	// Lease is what is left of the node's lease; negative counts as zero.
	Lease time.Duration
}

// ServerFacts is what a node knows of one server.
type ServerFacts struct {
	Server                      string
	Up                          bool
	Restarts                    int
	Processes, Spares, Sessions int
}

// workerCollector makes samples of facts.
type workerCollector struct {
	read func() WorkerFacts

	up, restarts, processes, spares, sessions, lease *prometheus.Desc
}

// Node adds the families of a node, read whenever Prometheus asks. A registry has one at most.
func (r *Registry) Node(read func() WorkerFacts) {
	r.reg.MustRegister(&workerCollector{
		read:      read,
		up:        describe("mcphub_node_server_up", "1 while the server can be called.", "server"),
		restarts:  describe("mcphub_node_server_restarts_total", "Starts after the first.", "server"),
		processes: describe("mcphub_node_processes", "Processes of the server that run now, spares included.", "server"),
		spares:    describe("mcphub_node_spares", "Spare processes that wait for a session.", "server"),
		sessions:  describe("mcphub_node_sessions", "Sessions that the node keeps for the server.", "server"),
		lease:     describe("mcphub_node_lease_seconds", "What is left of the node's lease. At 0 it dispatches nothing."),
	})
}

// Describe implements prometheus.Collector.
func (c *workerCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.up, c.restarts, c.processes, c.spares, c.sessions, c.lease} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *workerCollector) Collect(metrics chan<- prometheus.Metric) {
	f, out := c.read(), sample(metrics)
	for _, s := range f.Servers {
		out.gauge(c.up, truth(s.Up), s.Server)
		out.counter(c.restarts, int64(s.Restarts), s.Server)
		out.gauge(c.processes, float64(s.Processes), s.Server)
		out.gauge(c.spares, float64(s.Spares), s.Server)
		out.gauge(c.sessions, float64(s.Sessions), s.Server)
	}
	out.gauge(c.lease, max(0, f.Lease.Seconds()))
}
