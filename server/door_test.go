package server

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func needsSweep(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: only on Linux is a listener's queue emptied before it closes")
	}
}

// What waits in the listener's queue when it closes is served, not reset.
func TestQueueIsServedAtTheEnd(t *testing.T) {
	needsSweep(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	door := newLastly(l)
	const n = 20
	var waiting []net.Conn
	for range n { // nobody accepts: the kernel takes them by itself
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "hello"); err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, c)
	}
	door.end()
	for i := range n {
		c, err := door.Accept()
		if err != nil {
			t.Fatalf("Accept() = %v after %d of %d", err, i, n)
		}
		if _, err := io.Copy(c, io.LimitReader(c, 5)); err != nil {
			t.Error(err)
		}
		_ = c.Close()
	}
	if _, err := door.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept() of the empty queue = %v, want net.ErrClosed", err)
	}
	for _, c := range waiting {
		if got, err := io.ReadAll(c); err != nil || string(got) != "hello" {
			t.Errorf("a connection that waited got %q, %v", got, err)
		}
	}
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		_ = c.Close()
		t.Error("still listening")
	}
}

func TestOtherErrorsOfAcceptAreHandedOn(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if _, err := newLastly(l).Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept() of a closed listener = %v, want net.ErrClosed", err)
	}
}

// A connection that was taken before the end and speaks only after it is heard.
func TestLateSpeakerIsHeard(t *testing.T) {
	r := newRig(t, global, nil)
	addr := strings.TrimPrefix(r.url, "http://")
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = r.do(t, "GET", "/health", "") // a later connection has been served, so ours was taken
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	for deadline := time.Now().Add(5 * time.Second); ; {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			break
		}
		_ = c.Close()
		if time.Now().After(deadline) {
			t.Fatal("the listener does not close")
		}
	}
	_, _ = io.WriteString(conn, post("/mcp/everything", ping))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || !resp.Close {
		t.Errorf("status %d, closing %v, want 200 and the end of the connection", resp.StatusCode, resp.Close)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Run() = %v, want nil", err)
	}
}

// Clients that open a connection for each request, as some balancers do, see a replica that
// stops as one that answers or one that refuses connections. What arrives in the microsecond
// between the last look into the queue and the end of it is lost, so on a busy machine one in
// many rounds may be; with a plain Shutdown it is about four in each.
func TestStoppingBreaksNoRequest(t *testing.T) {
	needsSweep(t)
	var broken atomic.Int32
	for range 5 {
		r := newRig(t, global, nil)
		tr := &http.Transport{DisableKeepAlives: true}
		var wg sync.WaitGroup
		served, enough := make(chan struct{}), make(chan struct{})
		for range 8 {
			wg.Go(func() {
				for {
					req, err := http.NewRequestWithContext(t.Context(), "POST", r.url+"/mcp/everything", strings.NewReader(ping))
					if err != nil {
						t.Error(err)
						return
					}
					req.Header.Set("Content-Type", "application/json")
					resp, err := tr.RoundTrip(req)
					if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
						return
					}
					if err != nil {
						broken.Add(1)
						t.Logf("a request broke: %v", err)
						continue
					}
					_ = resp.Body.Close()
					select {
					case served <- struct{}{}:
					case <-enough:
					}
				}
			})
		}
		for range 100 {
			<-served
		}
		close(enough)
		if err := r.stop(); err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
		wg.Wait()
	}
	if n := broken.Load(); n > 3 {
		t.Errorf("%d requests broke while five replicas stopped, want next to none", n)
	}
}
