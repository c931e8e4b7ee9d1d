package telemetry

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/mcphub-go/mcphub/internal/wire"
)

const (
	callersTrace  = "0af7651916cd43dd8448eb211c80319c"
	callersParent = "00-" + callersTrace + "-b7ad6b7169203331-01"
)

func recording(ratio float64) (*Tracer, *tracetest.SpanRecorder) {
	rec := tracetest.NewSpanRecorder()
	return newTracer(TraceConfig{SampleRatio: ratio, Service: "mcphub", Version: "1"}, rec), rec
}

func TestASpanContinuesTheCallersTrace(t *testing.T) {
	tr, rec := recording(0) // the caller's own decision wins
	h := http.Header{"Traceparent": {callersParent}, "Tracestate": {"vendor=1"}}
	ctx, served := tr.Serve(t.Context(), "POST /mcp", h)
	_, called := tr.Call(ctx, "node")
	out := http.Header{"Traceparent": {"another"}, "Tracestate": {"old=1"}}
	called.Inject(out)
	called.Set("server", "memory")
	called.SetInt("status", 200)
	called.Fail("it broke")
	called.End()
	served.End()

	if got := TraceID(ctx); got != callersTrace {
		t.Errorf("TraceID = %q, want the caller's", got)
	}
	got := out.Get("Traceparent")
	if !strings.HasPrefix(got, "00-"+callersTrace+"-") || got == callersParent || out.Get("Tracestate") != "vendor=1" {
		t.Errorf("injected %v, want the caller's trace with a parent of our own", out)
	}
	spans := rec.Ended()
	if len(spans) != 2 || spans[0].Parent().SpanID() != spans[1].SpanContext().SpanID() || spans[1].Parent().SpanID().String() != "b7ad6b7169203331" {
		t.Errorf("spans do not hang together: %v", spans)
	}
}

func TestWithoutASampledCallerTheRatioDecides(t *testing.T) {
	for ratio, want := range map[float64]int{0: 0, 1: 1} {
		tr, rec := recording(ratio)
		ctx, s := tr.Serve(t.Context(), "x", http.Header{})
		s.End()
		if len(rec.Ended()) != want || TraceID(ctx) == "" {
			t.Errorf("ratio %v: %d spans, trace %q", ratio, len(rec.Ended()), TraceID(ctx))
		}
	}
}

func TestNoTracerTracesNothing(t *testing.T) {
	var tr *Tracer
	h := http.Header{"Traceparent": {callersParent}}
	ctx, s := tr.Serve(t.Context(), "x", h)
	_, s2 := tr.Call(ctx, "y")
	s2.Inject(h)
	s.Set("a", "b")
	s.SetInt("a", 1)
	s.Fail("x")
	s.End()
	if h.Get("Traceparent") != callersParent || TraceID(ctx) != "" || tr.Close(ctx) != nil {
		t.Error("a nil tracer did something")
	}
	f := frame(t, `{"jsonrpc":"2.0","id":1,"method":"ping"}`)
	if got := s.Meta(&f); string(got) != string(f.Raw) {
		t.Errorf("a nil span changed a message: %s", got)
	}
}

func frame(t *testing.T, raw string) wire.Frame {
	t.Helper()
	f, err := wire.Scan([]byte(raw), wire.ClientLimits)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestMeta(t *testing.T) {
	tr, _ := recording(1)
	_, s := tr.Serve(t.Context(), "x", http.Header{"Traceparent": {callersParent}, "Tracestate": {"vendor=1"}})
	parent, _ := s.Parent()
	own := `"traceparent":"` + parent + `","tracestate":"vendor=1"`
	for in, want := range map[string]string{
		`{"jsonrpc":"2.0","id":1,"method":"a"}`:                                                 `{"params":{"_meta":{` + own + `}},"jsonrpc":"2.0","id":1,"method":"a"}`,
		` {"jsonrpc":"2.0","id":1,"method":"a"}`:                                                ` {"params":{"_meta":{` + own + `}},"jsonrpc":"2.0","id":1,"method":"a"}`,
		`{"jsonrpc":"2.0","id":1,"method":"a","params":{}}`:                                     `{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":{` + own + `}}}`,
		`{"jsonrpc":"2.0","method":"a","params":{"x": 1.0}}`:                                    `{"jsonrpc":"2.0","method":"a","params":{"_meta":{` + own + `},"x": 1.0}}`,
		`{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":{}}}`:                           `{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":{` + own + `}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":{"p":1,"traceparent":"mine"}}}`: `{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":{"p":1,` + own + `}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":7}}`:                            `{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":7}}`,
		`{"jsonrpc":"2.0","id":1,"result":{}}`:                                                  `{"jsonrpc":"2.0","id":1,"result":{}}`,
	} {
		f := frame(t, in)
		got := s.Meta(&f)
		if string(got) != want || !json.Valid(got) {
			t.Errorf("Meta(%s)\n got %s\nwant %s", in, got, want)
		}
	}
}

func TestSpansReachAReceiver(t *testing.T) {
	type export struct{ path, key, body string }
	exports := make(chan export, 8)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		exports <- export{r.URL.Path, r.Header.Get("X-Key"), string(body)}
		w.WriteHeader(http.StatusOK)
	}))
	defer receiver.Close()
	tr, err := NewTracer(t.Context(), TraceConfig{
		Endpoint: receiver.URL, Headers: map[string]string{"X-Key": "k"}, SampleRatio: 1, Service: "mcphub-coordinator", Instance: "c1", Version: "1",
	})
	if err != nil {
		t.Fatal(err)
	}
	_, s := tr.Serve(t.Context(), "POST /mcp", http.Header{})
	s.End()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := tr.Close(ctx); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-exports:
		if got.path != "/v1/traces" || got.key != "k" || !strings.Contains(got.body, "mcphub-coordinator") || !strings.Contains(got.body, "POST /mcp") {
			t.Errorf("export = %q key %q", got.path, got.key)
		}
	default:
		t.Error("Close returned before anything was sent")
	}
	if err := tr.Close(ctx); err != nil {
		t.Errorf("Close again = %v", err)
	}
}

func TestAReceiverThatIsAwayIsReported(t *testing.T) {
	away := httptest.NewServer(http.NotFoundHandler())
	defer away.Close()
	failed := make(chan error, 8)
	tr, err := NewTracer(t.Context(), TraceConfig{Endpoint: away.URL, SampleRatio: 1, Failed: func(err error) { failed <- err }})
	if err != nil {
		t.Fatal(err)
	}
	_, s := tr.Serve(t.Context(), "x", http.Header{})
	s.End()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_ = tr.Close(ctx)
	select {
	case err := <-failed:
		if err == nil {
			t.Error("no error")
		}
	default:
		t.Error("the failure was not reported")
	}
}

func TestEndpointsThatCannotBe(t *testing.T) {
	for _, bad := range []string{"", "localhost:4318", "grpc://x", "http://", "\x00"} {
		if _, err := NewTracer(t.Context(), TraceConfig{Endpoint: bad}); err == nil || !strings.Contains(err.Error(), "http://") {
			t.Errorf("NewTracer(%q) = %v, want an error that says what is wanted", bad, err)
		}
	}
}
