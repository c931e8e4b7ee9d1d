package router

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// benchNode answers every message alike, as cheaply as net/http can.
func benchNode(b *testing.B) *httptest.Server {
	b.Helper()
	result := []byte(`{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"` + string(bytes.Repeat([]byte("x"), 40)) + `"}]}}`)
	length := []string{strconv.Itoa(len(result))}
	init := []byte(`{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"b","version":"1"}}}`)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		buf := make([]byte, 512)
		n, _ := io.ReadFull(req.Body, buf)
		h := w.Header()
		h["Content-Type"] = jsonType
		if bytes.Contains(buf[:n], []byte(`"initialize"`)) {
			_, _ = w.Write(init)
			return
		}
		h["Content-Length"] = length
		_, _ = w.Write(result)
	}))
	b.Cleanup(srv.Close)
	return srv
}

// discardWriter is a ResponseWriter that costs next to nothing.
type discardWriter struct {
	header http.Header
	status int
	n      int
}

func (w *discardWriter) Header() http.Header { return w.header }
func (w *discardWriter) WriteHeader(s int)   { w.status = s }
func (w *discardWriter) Write(p []byte) (int, error) {
	w.n += len(p)
	return len(p), nil
}

// bufferPool spares ReverseProxy its 32 KiB for each request.
type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) Get() []byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 32<<10)
}

func (p *bufferPool) Put(b []byte) { p.pool.Put(&b) }

// cpu is the processor time that this process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchLoop(b *testing.B, once func() int) {
	b.Helper()
	once()
	b.ReportAllocs()
	before := cpu(b)
	for b.Loop() {
		if status := once(); status != http.StatusOK {
			b.Fatalf("status %d", status)
		}
	}
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N)/1000, "cpu-µs/op")
}

const benchCall = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello, hello"}}}`

// BenchmarkCarry is a call in a known session, in the handler alone, with the same node behind
// each; the node's own share, which is the same for all, is what "node" shows.
func BenchmarkCarry(b *testing.B) {
	srv := benchNode(b)
	w := &world{t: b, fleet: &fakeFleet{}, store: newFakeStore()}
	n := &fakeNode{id: "node-1", addr: srv.Listener.Addr().String(), epoch: 1}
	w.fleet.set(n.record(testServer))
	r := w.router(w.store, nil)
	r.log = slog.New(slog.DiscardHandler)
	p := do(r, Request{Scope: testServer, Body: []byte(message("1", "initialize", initParams))})
	if p.err != nil {
		b.Fatal(p.err)
	}
	session := p.session()
	header := http.Header{
		"Accept": {"application/json, text/event-stream"}, "Content-Type": {"application/json"},
		wire.HeaderVersion: {"2025-11-25"}, wire.HeaderSession: {session},
	}
	body := []byte(benchCall)

	b.Run("router", func(b *testing.B) {
		w := &discardWriter{header: http.Header{}}
		benchLoop(b, func() int {
			clear(w.header)
			if err := r.Carry(b.Context(), w, Request{Scope: testServer, HTTPMethod: "POST", SessionID: session, Header: header, Body: body}); err != nil {
				b.Fatal(err)
			}
			return w.status
		})
	})
	target, err := url.Parse(srv.URL)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("ReverseProxy", func(b *testing.B) {
		tr := &http.Transport{MaxIdleConnsPerHost: 100, DisableCompression: true}
		defer tr.CloseIdleConnections()
		proxy := &httputil.ReverseProxy{Transport: tr, BufferPool: new(bufferPool), Rewrite: func(pr *httputil.ProxyRequest) { pr.SetURL(target) }}
		w := &discardWriter{header: http.Header{}}
		benchLoop(b, func() int {
			clear(w.header)
			req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, srv.URL+"/mcp/memory", bytes.NewReader(body))
			if err != nil {
				b.Fatal(err)
			}
			req.Header = header
			proxy.ServeHTTP(w, req)
			return w.status
		})
	})
	b.Run("node", func(b *testing.B) {
		h := newHop(r.hop.cfg)
		defer h.close()
		out := post1(benchCall)
		benchLoop(b, func() int {
			a, err := h.send(b.Context(), srv.URL, out)
			if err != nil {
				b.Fatal(err)
			}
			defer a.Close()
			if _, err := io.Copy(io.Discard, a); err != nil {
				b.Fatal(err)
			}
			return a.status
		})
	})
}
