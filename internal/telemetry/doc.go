// Package telemetry measures and traces: the families of docs/metrics.md for Prometheus, and
// spans for OpenTelemetry. It is the home of both libraries; their types stay in here.
//
// What happens on the path of a request is recorded as it happens ([Front], [Worker]); what a
// process knows at any moment is read when Prometheus asks ([FrontFacts], [WorkerFacts]), so
// that it costs nothing in between. A nil recorder records nothing and a nil [Tracer] traces
// nothing, so callers need not ask whether they have one.
//
// Invariants: labels come from closed lists or from settings; no session id, no client's name
// and no tool's name becomes a label or an attribute of a span.
package telemetry
