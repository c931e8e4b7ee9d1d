package router

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
)

func testHop(t testing.TB, edit func(*hopConfig)) *hop {
	cfg := hopConfig{
		Credential: testCredential, DialTimeout: 2 * time.Second, AnswerTimeout: 5 * time.Second, StreamIdle: 5 * time.Second,
		IdleTimeout: time.Minute, MaxIdle: 4,
	}
	if edit != nil {
		edit(&cfg)
	}
	h := newHop(cfg)
	t.Cleanup(h.close)
	return h
}

// rawNode accepts connections and hands each to serve, with the number of the connection.
func rawNode(t testing.TB, serve func(n int, nc net.Conn, br *bufio.Reader)) (url string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for n := 1; ; n++ {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer nc.Close()
				serve(n, nc, bufio.NewReader(nc))
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		all.Wait()
	})
	return "http://" + ln.Addr().String()
}

// readRequest takes one request off a connection.
func readRequest(br *bufio.Reader) bool {
	req, err := http.ReadRequest(br)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, req.Body)
	return err == nil
}

func post1(body string) *outgoing {
	return &outgoing{method: http.MethodPost, server: "s", token: "tok", epoch: 1, body: []byte(body)}
}

// Strict: what two readers could understand in two ways is refused, and the connection is not
// used again.
func TestAnswerFraming(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for _, c := range []struct {
		name, raw string
		body      string // of a good answer
		err       error
	}{
		{"length", ok + "Content-Length: 2\r\n\r\nhi", "hi", nil},
		{"chunked", ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nA\r\n0123456789\r\n0\r\n\r\n", "hi0123456789", nil},
		{"no phrase", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "", nil},
		{"no content", "HTTP/1.1 204 No Content\r\n\r\n", "", nil},
		{"interim", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + ok + "Content-Length: 2\r\n\r\nhi", "hi", nil},
		{"both", ok + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "", errFraming},
		{"two lengths", ok + "Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi", "", errFraming},
		{"signed length", ok + "Content-Length: +2\r\n\r\nhi", "", errFraming},
		{"hex length", ok + "Content-Length: 0x2\r\n\r\nhi", "", errFraming},
		{"huge length", ok + "Content-Length: 99999999999999999999\r\n\r\nhi", "", errFraming},
		{"no framing", ok + "\r\nhi", "", errFraming},
		{"other encoding", ok + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "", errFraming},
		{"space before colon", ok + "Content-Length : 2\r\n\r\nhi", "", errFraming},
		{"folded", ok + "X-A: b\r\n c\r\nContent-Length: 2\r\n\r\nhi", "", errFraming},
		{"bare LF", "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", "", errFraming},
		{"NUL in value", ok + "X-A: \x00\r\nContent-Length: 2\r\n\r\nhi", "", errFraming},
		{"CR in value", ok + "X-A: b\rX-B: c\r\nContent-Length: 2\r\n\r\nhi", "", errFraming},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", "", errFraming},
		{"HTTP/2", "HTTP/2 200\r\n\r\n", "", errFraming},
		{"status", "HTTP/1.1 20 OK\r\n\r\n", "", errFraming},
		{"status 099", "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n", "", errFraming},
		{"upgrade", "HTTP/1.1 101 Switching Protocols\r\n\r\n", "", errFraming},
		{"endless interim", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 20), "", errFraming},
		{"body on 204", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nhi", "", errFraming},
		{"long line", ok + "X-A: " + strings.Repeat("a", 5000) + "\r\n\r\n", "", errFraming},
		{"long head", ok + strings.Repeat("X-A: "+strings.Repeat("a", 1000)+"\r\n", 40) + "\r\n", "", errFraming},
		{"two refusals", ok + "X-MCPHub-Refused: session\r\nX-MCPHub-Refused: epoch\r\nContent-Length: 0\r\n\r\n", "", errFraming},
		{"bad sessions", ok + "X-MCPHub-Sessions: -1\r\nContent-Length: 0\r\n\r\n", "", errFraming},
		{"cut head", ok + "Content-Le", "", errCut},
		{"cut body", ok + "Content-Length: 5\r\n\r\nhi", "", errCut},
		{"cut chunk", ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhi", "", errCut},
		{"cut before last chunk", ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", "", errCut},
		{"chunk extension", ok + "Transfer-Encoding: chunked\r\n\r\n2;a=b\r\nhi\r\n0\r\n\r\n", "", errFraming},
		{"chunk size with sign", ok + "Transfer-Encoding: chunked\r\n\r\n+2\r\nhi\r\n0\r\n\r\n", "", errFraming},
		{"chunk size too large", ok + "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\nhi", "", errFraming},
		{"chunk bare LF", ok + "Transfer-Encoding: chunked\r\n\r\n2\nhi\n0\n\n", "", errFraming},
		{"chunk too long", ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nhixx\r\n0\r\n\r\n", "", errFraming},
		{"trailer", ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-A: b\r\n\r\n", "", errFraming},
	} {
		t.Run(c.name, func(t *testing.T) {
			var conns atomic.Int32
			url := rawNode(t, func(n int, nc net.Conn, br *bufio.Reader) {
				conns.Store(int32(n))
				for readRequest(br) {
					_, _ = io.WriteString(nc, c.raw)
					if errors.Is(c.err, errCut) {
						return
					}
				}
			})
			h := testHop(t, nil)
			for range 2 {
				a, err := h.send(t.Context(), url, post1("{}"))
				var body []byte
				if err == nil {
					body, err = readSome(a, nil, 1<<20)
					a.Close()
				} else if e, ok := errors.AsType[*hopError](err); !ok || e.State != Answered {
					t.Errorf("state of %v, want D4: the node has answered", err)
				}
				if !errors.Is(err, c.err) || (c.err == nil && err != nil) || (c.err == nil && string(body) != c.body) {
					t.Fatalf("body %q, err %v; want %q, %v", body, err, c.body, c.err)
				}
			}
			if n := conns.Load(); (c.err == nil) != (n == 1) {
				t.Errorf("%d connections for two requests", n)
			}
		})
	}
}

// The dispatch state is a fact, not a guess.
func TestDispatchStates(t *testing.T) {
	ln, _ := net.Listen("tcp", "127.0.0.1:0")
	dead := "http://" + ln.Addr().String()
	_ = ln.Close()
	closes := rawNode(t, func(_ int, _ net.Conn, br *bufio.Reader) { readRequest(br) })
	silent := rawNode(t, func(_ int, _ net.Conn, br *bufio.Reader) { _, _ = io.Copy(io.Discard, br) })
	half := rawNode(t, func(_ int, nc net.Conn, br *bufio.Reader) { readRequest(br); _, _ = io.WriteString(nc, "HT") })
	for _, c := range []struct {
		name, url string
		state     Dispatch
		reason    string
		evidence  bool
	}{
		{"bad URL", "ftp://x", Queued, reasonUnreachable, true},
		{"URL with odd path", "http://127.0.0.1:1/x%20HTTP/1.1%0d%0aX:%20y", Queued, reasonUnreachable, true},
		{"URL with query", "http://127.0.0.1:1/x?y", Queued, reasonUnreachable, true},
		{"URL with user", "http://a@127.0.0.1:1", Queued, reasonUnreachable, true},
		{"refused", dead, NotSent, reasonUnreachable, true},
		{"TLS with a plain node", strings.Replace(silent, "http:", "https:", 1), NotSent, reasonUnreachable, true},
		{"closes", closes, PossiblyReceived, reasonNodeLost, false},
		{"silent", silent, PossiblyReceived, reasonTimeout, false},
		{"half a status line", half, Answered, reasonBroken, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := testHop(t, func(cfg *hopConfig) { cfg.AnswerTimeout, cfg.DialTimeout = 200*time.Millisecond, 200*time.Millisecond })
			_, err := h.send(t.Context(), c.url, post1("{}"))
			e, ok := errors.AsType[*hopError](err)
			if !ok || e.State != c.state || e.Reason != c.reason || e.Evidence != c.evidence {
				t.Errorf("err = %+v, want %s %s, evidence %t", err, c.state, c.reason, c.evidence)
			}
		})
	}
}

// A pooled connection that the node has closed meanwhile is found out before a byte is written
// to it, so the request is simply sent on a new one.
func TestDeadIdleConnectionIsNotUsed(t *testing.T) {
	closed := make(chan struct{}, 1)
	var seen atomic.Int32
	url := rawNode(t, func(_ int, nc net.Conn, br *bufio.Reader) {
		if readRequest(br) {
			seen.Add(1)
			_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
		}
		_ = nc.Close()
		closed <- struct{}{}
	})
	h := testHop(t, nil)
	for i := range 20 {
		a, err := h.send(t.Context(), url, post1("{}"))
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		if _, err := readSome(a, nil, 100); err != nil {
			t.Fatal(err)
		}
		a.Close()
		<-closed
	}
	if seen.Load() != 20 {
		t.Errorf("the node saw %d of 20 requests", seen.Load())
	}
}

// Bytes that nobody asked for are somebody else's answer: the connection is not used again.
func TestUnaskedBytesEndConnection(t *testing.T) {
	extra := make(chan struct{})
	var once sync.Once
	url := rawNode(t, func(n int, nc net.Conn, br *bufio.Reader) {
		for readRequest(br) {
			_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
			if n == 1 {
				_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
				once.Do(func() { close(extra) })
			}
		}
	})
	h := testHop(t, nil)
	for range 2 {
		a, err := h.send(t.Context(), url, post1("{}"))
		if err != nil {
			t.Fatal(err)
		}
		body, err := readSome(a, nil, 100)
		a.Close()
		if err != nil || string(body) != "hi" {
			t.Fatalf("body %q, %v; want hi", body, err)
		}
		<-extra
	}
}

func TestConnectionsAreReusedAndBounded(t *testing.T) {
	var conns atomic.Int32
	gate := make(chan struct{})
	url := rawNode(t, func(_ int, nc net.Conn, br *bufio.Reader) {
		conns.Add(1)
		for readRequest(br) {
			<-gate
			_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	h := testHop(t, nil) // keeps 4
	get := func() {
		a, err := h.send(t.Context(), url, post1("{}"))
		if err != nil {
			t.Error(err)
			return
		}
		a.Close()
	}
	var all sync.WaitGroup
	for range 10 {
		all.Go(get)
	}
	eventually(t, "ten requests wait", func() bool { return h.busy(url) == 10 })
	close(gate)
	all.Wait()
	p, _ := h.peer(url)
	p.mu.Lock()
	idle, busy := len(p.idle), p.busy
	p.mu.Unlock()
	if idle != 4 || busy != 0 {
		t.Errorf("%d idle and %d busy connections, want 4 and 0", idle, busy)
	}
	before := conns.Load()
	for range 20 {
		get()
	}
	if conns.Load() != before {
		t.Errorf("%d connections were dialled though four were idle", conns.Load()-before)
	}
	h.prune(func(string) bool { return true })
	p.mu.Lock()
	kept := len(p.idle)
	for _, c := range p.idle {
		c.since = time.Now().Add(-time.Hour)
	}
	p.mu.Unlock()
	h.prune(func(string) bool { return true })
	p.mu.Lock()
	defer p.mu.Unlock()
	if kept != 4 || len(p.idle) != 0 {
		t.Errorf("%d young and %d old idle connections after pruning, want 4 and 0", kept, len(p.idle))
	}
}

func TestForgottenPeerIsDialledAgain(t *testing.T) {
	url := rawNode(t, func(_ int, nc net.Conn, br *bufio.Reader) {
		for readRequest(br) {
			_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	h := testHop(t, nil)
	for range 3 {
		a, err := h.send(t.Context(), url, post1("{}"))
		if err != nil {
			t.Fatal(err)
		}
		a.Close()
		h.prune(func(string) bool { return false })
		if len(h.peers) != 0 {
			t.Fatal("a node that is gone was not forgotten")
		}
	}
}

func TestHopCancel(t *testing.T) {
	got := make(chan struct{})
	url := rawNode(t, func(_ int, _ net.Conn, br *bufio.Reader) {
		readRequest(br)
		close(got)
		_, _ = br.ReadByte() // until the connection is dropped
	})
	h := testHop(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-got; cancel() }()
	if _, err := h.send(ctx, url, post1("{}")); err == nil {
		t.Fatal("an answer came from nowhere")
	}
	if n := h.busy(url); n != 0 {
		t.Errorf("%d connections in use", n)
	}
}

func TestLargeBodyArrivesWhole(t *testing.T) {
	body := strings.Repeat("0123456789", 400_000)
	got := make(chan string, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		b, _ := io.ReadAll(req.Body)
		got <- string(b)
	}))
	t.Cleanup(srv.Close)
	h := testHop(t, nil)
	a, err := h.send(t.Context(), srv.URL, post1(body))
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
	if b := <-got; b != body {
		t.Errorf("node got %d bytes, want %d", len(b), len(body))
	}
}

// A refusal that comes before the body was read is still understood.
func TestEarlyRefusalOfLargeBody(t *testing.T) {
	url := rawNode(t, func(_ int, nc net.Conn, br *bufio.Reader) {
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		_, _ = io.WriteString(nc, "HTTP/1.1 409 Conflict\r\nX-MCPHub-Refused: epoch\r\nContent-Length: 0\r\n\r\n")
		_, _ = io.Copy(io.Discard, io.LimitReader(br, 1<<20))
		_ = nc.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, br)
	})
	h := testHop(t, nil)
	a, err := h.send(t.Context(), url, post1(strings.Repeat("x", 4<<20)))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if a.refused != "epoch" {
		t.Errorf("refused = %q, want epoch", a.refused)
	}
}

func TestHopGoesThroughAProxyByPath(t *testing.T) {
	got := make(chan string, 2)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Method + " " + r.RequestURI }))
	t.Cleanup(srv.Close)
	h := testHop(t, nil)
	for _, base := range []string{"/nodes/n1", "/nodes/n1/"} {
		out := post1("{}")
		out.server = "s"
		health := outgoing{method: http.MethodGet, health: true}
		for _, c := range []struct {
			out  *outgoing
			want string
		}{{out, "POST /nodes/n1/mcp/s"}, {&health, "GET /nodes/n1/health"}} {
			a, err := h.send(t.Context(), srv.URL+base, c.out)
			if err != nil {
				t.Fatal(err)
			}
			a.Close()
			if line := <-got; line != c.want {
				t.Errorf("to %s: %s, want %s", base, line, c.want)
			}
		}
	}
}

func TestHopTLS(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hi") }))
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	h := testHop(t, func(c *hopConfig) { c.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12} })
	for range 3 {
		a, err := h.send(t.Context(), srv.URL, post1("{}"))
		if err != nil {
			t.Fatal(err)
		}
		if body, err := readSome(a, nil, 100); err != nil || string(body) != "hi" {
			t.Errorf("%q, %v", body, err)
		}
		a.Close()
	}
	p, _ := h.peer(srv.URL)
	if p.mu.Lock(); len(p.idle) != 1 {
		t.Errorf("%d idle connections after three requests, want the one", len(p.idle))
	}
	p.mu.Unlock()
	untrusting := testHop(t, nil)
	_, err := untrusting.send(t.Context(), srv.URL, post1("{}"))
	if e, ok := errors.AsType[*hopError](err); !ok || e.State != NotSent {
		t.Errorf("a certificate that nobody vouches for: %v, want D1", err)
	}
}

// FuzzAnswer feeds anything to the reader of answers: it must end, within bounds, and never
// take a broken answer for a whole one.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 103 x\r\n\r\nHTTP/1.1 404 Not Found\r\nX-MCPHub-Refused: session\r\nContent-Length: 0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		h := newHop(hopConfig{MaxIdle: 1})
		p, err := h.newPeer("http://127.0.0.1:1")
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := net.Pipe()
		_ = theirs.Close()
		c := &conn{peer: p, nc: ours, sock: ours, br: bufio.NewReaderSize(strings.NewReader(string(raw)), 4<<10)}
		p.use(c)
		a, err := c.readAnswer()
		if err != nil {
			c.discard()
			return
		}
		body, err := readSome(a, nil, 1<<16)
		if err == nil && a.ended && len(body) > len(raw) {
			t.Fatalf("%d bytes of body out of %d", len(body), len(raw))
		}
		a.Close()
		if p.busy != 0 {
			t.Fatal("the connection is still counted as in use")
		}
		// Whatever net/http takes for a whole answer with another body, we must refuse.
		ref, rerr := http.ReadResponse(bufio.NewReader(strings.NewReader(string(raw))), &http.Request{Method: "POST"})
		if rerr != nil || err != nil || !a.ended || ref.StatusCode < 200 {
			return
		}
		want, rerr := io.ReadAll(ref.Body)
		if rerr == nil && (string(want) != string(body) || ref.StatusCode != a.status) {
			t.Fatalf("read %d %q, net/http reads %d %q", a.status, body, ref.StatusCode, want)
		}
	})
}

// An address that the policy forbids is not dialled, whatever its URL looks like, and the node
// is not tried again until there is news of it.
func TestForbiddenAddressIsNotDialled(t *testing.T) {
	w := newWorld(t, 1, 0)
	var asked []string
	r := w.router(w.store, func(c *Config) {
		c.Control = func(_, address string, _ syscall.RawConn) error {
			asked = append(asked, address)
			return errors.New("forbidden")
		}
	})
	for range 2 {
		fails(t, do(r, Request{Scope: testServer, Body: []byte(message("1", "initialize", initParams))}), ErrNoReplica)
	}
	if len(asked) != 1 || asked[0] != w.nodes[0].addr {
		t.Errorf("asked about %v, want %s once", asked, w.nodes[0].addr)
	}
	if n := w.nodes[0]; len(n.heads) > 0 {
		t.Error("the node was shown the credential")
	}
}

// A refusal costs no connection, with a body or without.
func TestRefusalKeepsTheConnection(t *testing.T) {
	w := newWorld(t, 2, 1)
	session, home := begin(t, w.rs[0], testServer)
	n := w.node(home)
	n.setHook(func(rw http.ResponseWriter, _ *http.Request, _ *wire.Frame) bool {
		rw.Header().Set(wire.HeaderRefused, wire.RefusedLease)
		rw.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(rw, `{"error":"the lease has lapsed"}`)
		return true
	})
	invoke(t, w.rs[0], session) // carried by the other node
	p, err := w.rs[0].hop.peer("http://" + n.addr)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) != 1 || p.busy != 0 {
		t.Errorf("%d connections are kept and %d in use after a refusal, want one kept", len(p.idle), p.busy)
	}
}
