package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// TraceConfig says where spans go.
type TraceConfig struct {
	// Endpoint is the base URL of an OTLP receiver over HTTP, such as http://localhost:4318; spans
	// go to its /v1/traces. Setting: tracing.endpoint.
	Endpoint string
	// Headers go with every export, such as an API key. Setting: tracing.headers.
	Headers map[string]string
	// SampleRatio is the share of traces begun here that are recorded, 0 to 1. A caller's own
	// decision, in its traceparent, wins. Setting: tracing.sampleRatio.
	SampleRatio float64
	// Service is service.name, Instance service.instance.id, Version service.version
	// (OpenTelemetry semantic conventions, Service).
	Service, Instance, Version string
	// Failed, if set, is told of exports that failed. Nothing waits for them.
	Failed func(error)
}

// Tracer makes spans and sends them on. Safe for concurrent use; nil traces nothing.
type Tracer struct {
	tracer   trace.Tracer
	provider *sdktrace.TracerProvider
}

// propagator is the W3C's, in its two headers. Baggage is the application's own and passes
// through the hub as it comes.
var propagator = propagation.TraceContext{}

// NewTracer makes a tracer that exports in batches, in the background. It touches no network
// before there is something to send. An error says what is wrong with the configuration.
func NewTracer(ctx context.Context, cfg TraceConfig) (*Tracer, error) {
	u, err := url.Parse(cfg.Endpoint)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, errors.New("tracing endpoint: want http:// or https:// with a host")
	}
	u = u.JoinPath("v1", "traces")
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.String()), otlptracehttp.WithHeaders(cfg.Headers))
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	return newTracer(cfg, sdktrace.NewBatchSpanProcessor(reporting{exporter, cfg.Failed})), nil
}

func newTracer(cfg TraceConfig, p sdktrace.SpanProcessor) *Tracer {
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithSpanProcessor(p),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(cfg.SampleRatio))),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", cfg.Service), attribute.String("service.version", cfg.Version),
			attribute.String("service.instance.id", cfg.Instance),
		)),
	)
	return &Tracer{tracer: provider.Tracer("github.com/mcphub-go/mcphub"), provider: provider}
}

// reporting tells of exports that failed.
type reporting struct {
	sdktrace.SpanExporter
	failed func(error)
}

func (r reporting) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := r.SpanExporter.ExportSpans(ctx, spans)
	if err != nil && r.failed != nil {
		r.failed(err)
	}
	return nil // otherwise the library writes it to standard error, past our log
}

// Close sends what is still here, until ctx ends. It is safe twice.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("send the last spans: %w", err)
	}
	return nil
}

// Serve begins the span of a request that came with headers h: a part of the caller's trace if
// they hold a traceparent (W3C Trace Context), otherwise of a new one.
func (t *Tracer) Serve(ctx context.Context, name string, h http.Header) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	ctx = propagator.Extract(ctx, propagation.HeaderCarrier(h))
	return t.start(ctx, name, trace.SpanKindServer)
}

// Call begins the span of a request that this process makes, below the span in ctx.
func (t *Tracer) Call(ctx context.Context, name string) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	return t.start(ctx, name, trace.SpanKindClient)
}

func (t *Tracer) start(ctx context.Context, name string, kind trace.SpanKind) (context.Context, *Span) {
	ctx, s := t.tracer.Start(ctx, name, trace.WithSpanKind(kind))
	return ctx, &Span{s}
}

// Span is a piece of work in a trace. It belongs to one goroutine; nil records nothing.
type Span struct{ span trace.Span }

// Set adds a fact. Session ids, names of clients and arguments of calls are none.
func (s *Span) Set(key, value string) {
	if s != nil && value != "" {
		s.span.SetAttributes(attribute.String(key, value))
	}
}

// SetInt adds a number.
func (s *Span) SetInt(key string, value int) {
	if s != nil {
		s.span.SetAttributes(attribute.Int(key, value))
	}
}

// Fail marks the work as failed and says why.
func (s *Span) Fail(reason string) {
	if s != nil {
		s.span.SetStatus(codes.Error, reason)
	}
}

// End ends the span.
func (s *Span) End() {
	if s != nil {
		s.span.End()
	}
}

// Parent is the traceparent and tracestate for what is called next; empty for nil, so that what
// came from the caller passes as it is.
func (s *Span) Parent() (traceparent, tracestate string) {
	if s == nil {
		return "", ""
	}
	c := propagation.MapCarrier{}
	propagator.Inject(trace.ContextWithSpan(context.Background(), s.span), c)
	return c["traceparent"], c["tracestate"]
}

// Inject writes Parent into headers.
func (s *Span) Inject(h http.Header) {
	parent, state := s.Parent()
	if parent == "" {
		return
	}
	h.Set("Traceparent", parent)
	if h.Del("Tracestate"); state != "" {
		h.Set("Tracestate", state)
	}
}

// TraceID is the trace that ctx is part of, as 32 hex digits; empty for none.
func TraceID(ctx context.Context) string {
	if c := trace.SpanContextFromContext(ctx); c.HasTraceID() {
		return c.TraceID().String()
	}
	return ""
}
