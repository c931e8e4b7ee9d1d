package node

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// echoServer is the least a builtin can do.
type echoServer struct{}

func (echoServer) Forget(string) {}

func (echoServer) Handle(_ context.Context, _ string, frame []byte, _ func([]byte)) []byte {
	f, err := wire.Scan(frame, wire.ServerLimits)
	if err != nil {
		return nil
	}
	result := `{"content":[{"type":"text","text":"hello"}]}`
	if f.Method == "initialize" {
		result = `{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"e","version":"1"}}`
	}
	return wire.Result(f.IDBytes(), []byte(result))
}

// body is a request body that can be read again.
type body struct{ strings.Reader }

func (*body) Close() error { return nil }

// BenchmarkCall is one tools/call of 100 bytes through the handler, without a socket.
func BenchmarkCall(b *testing.B) {
	b.Run("builtin", func(b *testing.B) { benchCall(b, ServerConfig{Name: "alpha", Builtin: echoServer{}, Enabled: true}) })
	b.Run("stdio", func(b *testing.B) { benchCall(b, fake("alpha")) })
}

func benchCall(b *testing.B, sc ServerConfig) {
	r := startRig(b, nil, sc)
	r.open("alpha", "s1")
	h := r.node.Handler()
	msg := tool("1", "echo", "hello")
	req := r.request(context.Background(), http.MethodPost, "alpha", "s1", msg)
	in := &body{}
	b.ReportAllocs()
	for b.Loop() {
		in.Reset(msg)
		req.Body = in
		w := &sink{header: http.Header{}}
		h.ServeHTTP(w, req)
		if w.status != http.StatusOK {
			b.Fatalf("status %d", w.status)
		}
	}
	b.StopTimer()
	r.close()
}

// sink is a ResponseWriter that keeps nothing.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(p []byte) (int, error) { return io.Discard.Write(p) }

// BenchmarkSessionStart is the initialize of a session with an isolated server that takes 700 ms
// to answer its own, through the handler. Run it with -benchtime 20x.
func BenchmarkSessionStart(b *testing.B) {
	b.Run("spare", func(b *testing.B) { benchSessionStart(b, 2) })
	b.Run("fresh", func(b *testing.B) { benchSessionStart(b, 0) })
}

// BenchmarkIsolatedSessions tells what a process for a session costs the node itself: its
// resident memory, and of that what the garbage collector knows, for each of 100 sessions that
// have made a call. The servers' own memory is not in it. Run it with -benchtime 1x.
func BenchmarkIsolatedSessions(b *testing.B) {
	const sessions = 100
	r := startRig(b, nil, isolatedFake("iso", sessions, 0))
	for b.Loop() {
		b.StopTimer()
		heap, rss := memory(b)
		b.StartTimer()
		for i := range sessions {
			id := fmt.Sprint("s", i)
			r.open("iso", id)
			r.post("iso", id, tool("1", "echo", "hello"))
		}
		b.StopTimer()
		heap2, rss2 := memory(b)
		b.ReportMetric(float64(rss2-rss)/sessions/1024, "KiB-rss/session")
		b.ReportMetric(float64(heap2-heap)/sessions/1024, "KiB-go/session")
		for i := range sessions {
			r.end("iso", fmt.Sprint("s", i))
		}
		eventually(b, "processes gone", func() bool { return r.server("iso").Processes == 0 })
		b.StartTimer()
	}
	b.StopTimer()
	r.close()
}

// memory is what this process holds: heap and stacks in use, and resident.
func memory(b *testing.B) (inUse, rss int64) {
	b.Helper()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Fatal(err)
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(statm), &size, &resident); err != nil {
		b.Fatal(err)
	}
	return int64(m.HeapInuse + m.StackInuse), resident * int64(os.Getpagesize())
}

func benchSessionStart(b *testing.B, warm int) {
	r := startRig(b, nil, isolatedFake("iso", 4, warm, "FAKE_SLOW=700"))
	h := r.node.Handler()
	for b.Loop() {
		b.StopTimer()
		eventually(b, "spares", func() bool { return r.server("iso").Spares == warm })
		req := r.request(context.Background(), http.MethodPost, "iso", "s1", initBody("2025-11-25"))
		w := &sink{header: http.Header{}}
		b.StartTimer()
		h.ServeHTTP(w, req)
		b.StopTimer()
		if w.status != http.StatusOK {
			b.Fatalf("status %d", w.status)
		}
		r.end("iso", "s1")
		eventually(b, "session gone", func() bool { return r.server("iso").Sessions == 0 })
		b.StartTimer()
	}
	b.StopTimer()
	r.close()
}
