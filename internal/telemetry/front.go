package telemetry

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ScopeKind says what kind of endpoint a request came to.
type ScopeKind uint8

// The kinds of endpoints.
const (
	ScopeAll ScopeKind = iota
	ScopeGroup
	ScopeServer
	scopeKinds
)

func (k ScopeKind) String() string { return [...]string{"all", "group", "server"}[k] }

// MethodKind gathers methods that cost alike.
type MethodKind uint8

// The kinds of methods.
const (
	MethodOther MethodKind = iota
	MethodInitialize
	MethodList
	MethodCall
	MethodRead
	MethodGet
	MethodNotification
	MethodStream
	MethodEnd
	methodKinds
)

func (k MethodKind) String() string {
	return [...]string{"other", "initialize", "list", "call", "read", "get", "notification", "stream", "end"}[k]
}

// KindOf is the kind of a JSON-RPC method by its name. An empty name is MethodOther.
func KindOf(method string) MethodKind {
	switch method {
	case "initialize":
		return MethodInitialize
	case "tools/list", "prompts/list", "resources/list", "resources/templates/list":
		return MethodList
	case "tools/call":
		return MethodCall
	case "resources/read":
		return MethodRead
	case "prompts/get":
		return MethodGet
	}
	if len(method) > len("notifications/") && method[:len("notifications/")] == "notifications/" {
		return MethodNotification
	}
	return MethodOther
}

// Front records what a coordinator does. Safe for concurrent use; nil records nothing.
type Front struct {
	requests  *prometheus.CounterVec
	answers   [scopeKinds][methodKinds]prometheus.Observer
	fine      [scopeKinds][methodKinds]prometheus.Counter // requests with status 200, nearly all of them
	upstream  *prometheus.HistogramVec
	byServer  sync.Map // server name → prometheus.Observer, to spare a look-up by label
	recovered prometheus.Histogram
	redis     prometheus.Histogram
}

// NewFront makes the recorder of a coordinator. A registry has one at most.
func NewFront(r *Registry) *Front {
	f := &Front{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mcphub_requests_total", Help: "MCP requests answered.",
		}, []string{"scope_kind", "method_kind", "code"}),
		upstream: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "mcphub_upstream_seconds", Help: "From handing a request to a node to the head of the node's answer.", Buckets: answerBuckets,
		}, []string{"server"}),
		recovered: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "mcphub_session_recovery_seconds", Help: "From finding that a session's place is gone until it was open in another.", Buckets: answerBuckets,
		}),
		redis: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "mcphub_redis_command_seconds", Help: "Time that calls of the store took, those that failed included.", Buckets: redisBuckets,
		}),
	}
	answers := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "mcphub_request_seconds", Help: "From the head of an MCP request to the head of its answer.", Buckets: answerBuckets,
	}, []string{"scope_kind", "method_kind"})
	for s := range scopeKinds {
		for m := range methodKinds {
			f.answers[s][m] = answers.WithLabelValues(s.String(), m.String())
			f.fine[s][m] = f.requests.WithLabelValues(s.String(), m.String(), "200")
		}
	}
	r.reg.MustRegister(f.requests, answers, f.upstream, f.recovered, f.redis)
	return f
}

// Request records an MCP request that was answered with an HTTP status, d after it had come.
func (f *Front) Request(s ScopeKind, m MethodKind, status int, d time.Duration) {
	if f == nil {
		return
	}
	f.answers[s][m].Observe(d.Seconds())
	if status == 200 {
		f.fine[s][m].Inc()
		return
	}
	f.requests.WithLabelValues(s.String(), m.String(), strconv.Itoa(status)).Inc()
}

// Upstream records the head of a node's answer, d after the request was handed to it.
func (f *Front) Upstream(server string, d time.Duration) {
	if f == nil {
		return
	}
	o, ok := f.byServer.Load(server)
	if !ok {
		o, _ = f.byServer.LoadOrStore(server, f.upstream.WithLabelValues(server))
	}
	o.(prometheus.Observer).Observe(d.Seconds())
}

// Recovered records a session that was open in another place d after its own was found gone.
func (f *Front) Recovered(d time.Duration) {
	if f != nil {
		f.recovered.Observe(d.Seconds())
	}
}

// Redis records a call of the store.
func (f *Front) Redis(d time.Duration) {
	if f != nil {
		f.redis.Observe(d.Seconds())
	}
}
