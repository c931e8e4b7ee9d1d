package server

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/telemetry"
	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/router"
)

// benchCarrier answers at once.
type benchCarrier struct{ *fakeCarrier }

func (benchCarrier) Carry(_ context.Context, w http.ResponseWriter, _ router.Request) error {
	w.WriteHeader(http.StatusOK)
	return nil
}

// benchWriter is a ResponseWriter that costs next to nothing.
type benchWriter struct {
	header http.Header
	status int
}

func (w *benchWriter) Header() http.Header         { return w.header }
func (w *benchWriter) WriteHeader(s int)           { w.status = s }
func (w *benchWriter) Write(p []byte) (int, error) { return len(p), nil }

func (w *benchWriter) SetReadDeadline(time.Time) error { return nil }

// benchBody is a body that can be read again and again.
type benchBody struct {
	text string
	at   int
}

func (b *benchBody) Read(p []byte) (int, error) {
	n := copy(p, b.text[b.at:])
	if b.at += n; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (b *benchBody) Close() error { return nil }

// BenchmarkServe is what the front door does with a call in a session with one server, without
// the carrying.
func BenchmarkServe(b *testing.B) {
	r := newServer(b, global, nil)
	r.deps.Carrier = benchCarrier{r.carrier}
	r.deps.Meter = telemetry.NewFront(telemetry.NewRegistry("bench"))
	h := r.Handler()
	tok, err := r.carrier.keys.Mint("everything", "", "node-1", 4, noon)
	if err != nil {
		b.Fatal(err)
	}
	body := &benchBody{text: `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello, hello"}}}`}
	req := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/mcp/everything", nil)
	req.Host, req.ContentLength = "127.0.0.1:3000", int64(len(body.text))
	req.Header = http.Header{
		"Accept": {"application/json, text/event-stream"}, "Content-Type": {"application/json"},
		wire.HeaderVersion: {"2025-11-25"}, wire.HeaderSession: {tok.String()},
	}
	w := &benchWriter{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		body.at, req.Body = 0, body
		h.ServeHTTP(w, req)
		if w.status != http.StatusOK {
			b.Fatalf("status %d", w.status)
		}
	}
}
