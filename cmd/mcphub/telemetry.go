package main

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/mcphub-go/mcphub/internal/config"
	"github.com/mcphub-go/mcphub/internal/telemetry"
)

// sendLastSpans bounds the sending of what is left when a process ends.
const sendLastSpans = 3 * time.Second

// gauges is what a process measures and traces with. A coordinator and the node beside it share
// one, so that /metrics shows both halves.
type gauges struct {
	registry *telemetry.Registry
	tracer   *telemetry.Tracer // nil without an endpoint
}

// newGauges makes the instruments of a part; service is coordinator, node or standalone.
func newGauges(ctx context.Context, service, instance string, s config.Tracing, log *slog.Logger) (*gauges, error) {
	g := (*gauges)(nil).orOwn()
	if s.Endpoint == "" {
		return g, nil
	}
	headers := make(map[string]string, len(s.Headers))
	for name, value := range s.Headers {
		headers[name] = value.Reveal()
	}
	var failing atomic.Bool
	var err error
	g.tracer, err = telemetry.NewTracer(ctx, telemetry.TraceConfig{
		Endpoint: s.Endpoint, Headers: headers, SampleRatio: s.SampleRatio,
		Service: "mcphub-" + service, Instance: instance, Version: ourVersion(),
		Failed: func(err error) {
			if failing.CompareAndSwap(false, true) {
				log.Warn("traces cannot be sent, and are lost until they can", "err", err)
			}
		},
	})
	if err != nil {
		return nil, badUsage("%w", err)
	}
	return g, nil
}

// orOwn is g, or for nil instruments of a part's own, without traces.
func (g *gauges) orOwn() *gauges {
	if g == nil {
		return &gauges{registry: telemetry.NewRegistry(ourVersion())}
	}
	return g
}

// close sends the last spans.
func (g *gauges) close(log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), sendLastSpans)
	defer cancel()
	if err := g.tracer.Close(ctx); err != nil {
		log.Warn("the last traces were not sent", "err", err)
	}
}

// tracing is a log handler that adds the trace that a record belongs to.
type tracing struct{ slog.Handler }

// Handle implements slog.Handler.
func (h tracing) Handle(ctx context.Context, r slog.Record) error {
	if id := telemetry.TraceID(ctx); id != "" {
		r = r.Clone()
		r.AddAttrs(slog.String("trace", id))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h tracing) WithAttrs(attrs []slog.Attr) slog.Handler {
	return tracing{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h tracing) WithGroup(name string) slog.Handler { return tracing{h.Handler.WithGroup(name)} }
