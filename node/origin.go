package node

import (
	"time"

	"github.com/mcphub-go/mcphub/internal/telemetry"
	"github.com/mcphub-go/mcphub/internal/wire"
)

// origin is where a client's request comes from, and who is told how it ends. The node's own
// requests have none.
type origin struct {
	streams bool // the answer can become a stream
	// parent is the traceparent that goes on to the server, if there is one.
	parent string
	span   *telemetry.Span
	meter  *telemetry.Worker
	server string
	begun  time.Time
}

// traceparentLen is the length of a traceparent of version 00 (W3C Trace Context, 3.2).
const traceparentLen = 55

// follow begins to watch the exchange's request and returns it as the server is to get it: with
// the span in its _meta, where there is a tracer, and otherwise as it came.
func (x *exchange) follow() (*wire.Frame, origin) {
	cfg := &x.n.cfg
	o := origin{streams: formOf(x.r.Header.Get("Accept")).stream, meter: cfg.Meter, server: x.s.cfg.Name}
	if p := x.r.Header.Get("Traceparent"); len(p) == traceparentLen {
		o.parent = p
	}
	if o.meter != nil {
		o.begun = time.Now()
	}
	if cfg.Tracer == nil {
		return x.f, o
	}
	_, o.span = cfg.Tracer.Serve(x.r.Context(), telemetry.KindOf(x.f.Method).String()+" "+o.server, x.r.Header)
	o.span.Set("mcphub.server", o.server)
	o.parent, _ = o.span.Parent()
	f, err := wire.Scan(o.span.Meta(x.f), wire.ServerLimits)
	if err != nil {
		return x.f, o // cannot be: it was a message before
	}
	return &f, o
}

// ended records the outcome.
func (o *origin) ended(how telemetry.Outcome) {
	if o.meter != nil {
		o.meter.Call(o.server, how, time.Since(o.begun))
	}
	if o.span != nil {
		o.span.Set("mcphub.outcome", how.String())
		if how == telemetry.OutcomeLost {
			o.span.Fail("outcome unknown")
		}
		o.span.End()
	}
}
