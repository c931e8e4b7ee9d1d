package router

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// parsed reads a JSON-RPC message as reply does.
func parsed(raw []byte) reply {
	return reply{ResponseRecorder: &httptest.ResponseRecorder{Body: bytes.NewBuffer(raw)}}
}

// A call whose stream has begun gets a last event that says what is known of it, and the stream
// ends well.
func TestAbandonEndsStreams(t *testing.T) {
	w := newWorld(t, 1, 1)
	r := w.rs[0]
	session, _ := begin(t, r, testServer)
	chunks := make(chan string)
	t.Cleanup(func() { close(chunks) })
	w.nodes[0].setHook(streaming("tools/call", chunks, nil))
	resp := postTo(t, front(t, r, testServer), session, message("7", "tools/call", "{}"))
	chunks <- priming + progress
	if _, err := io.ReadFull(resp.Body, make([]byte, len(priming+progress))); err != nil {
		t.Fatal(err)
	}
	r.Abandon()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("the stream broke: %v after %q", err, body)
	}
	ev, err := wire.NewEventReader(bytes.NewReader(body), 1<<20).Next()
	if err != nil {
		t.Fatalf("no last event in %q", body)
	}
	p := parsed(ev.Data)
	if p.get("id") != "7" || p.get("error", "code") != "1001" || p.get("error", "data", "reason") != reasonShutdown ||
		p.get("error", "data", "outcome") != "unknown" || p.get("error", "data", "retryable") != "false" {
		t.Errorf("last event %s", ev.Data)
	}
	if s := r.Stats(); s.Suspects != 0 || s.OutcomeUnknown != 1 || s.Retried != 0 || s.InFlight != 0 {
		t.Errorf("stats = %+v", s)
	}
}

// Calls that wait for their answer get it, each for itself; a list is not sent once more.
func TestAbandonEndsWaitingCalls(t *testing.T) {
	w := newWorld(t, 2, 1)
	r := w.rs[0]
	waiting, hold := make(chan struct{}, 10), make(chan struct{})
	t.Cleanup(func() { close(hold) })
	session, home := begin(t, r, testServer)
	w.node(home).setHook(func(_ http.ResponseWriter, _ *http.Request, f *wire.Frame) bool {
		if f.Method == "tools/call" || f.Method == "tools/list" {
			waiting <- struct{}{}
			<-hold
		}
		return false
	})
	got := make(chan reply, 10)
	for _, method := range []string{"tools/call", "tools/list", "tools/call"} {
		go func() {
			got <- do(r, Request{Scope: testServer, SessionID: session, Body: []byte(message(`"a"`, method, "{}"))})
		}()
		<-waiting
	}
	r.Abandon()
	if n := r.Stats().InFlight; n != 0 {
		t.Errorf("%d calls in hand after Abandon", n)
	}
	for range 3 {
		p := <-got
		if p.err != nil || p.Code != http.StatusOK || p.get("id") != "a" || p.get("error", "code") != "1001" || p.get("error", "data", "reason") != reasonShutdown {
			t.Errorf("%v, status %d, %s", p.err, p.Code, p.Body)
		}
	}
	if s := r.Stats(); s.Retried != 0 || s.Suspects != 0 || s.Moved != 0 {
		t.Errorf("stats = %+v", s)
	}
	// What comes later has certainly not run, and is told so; nothing is held against the nodes.
	later := fails(t, do(r, Request{Scope: testServer, SessionID: session, Body: []byte(message("8", "tools/call", "{}"))}), ErrNoReplica)
	if later.Code != wire.CodeNotExecuted || later.Data.(*verdict).Reason != reasonShutdown || later.RetryAfter <= 0 {
		t.Errorf("later call: %+v, data %+v", later, later.Data)
	}
	later = fails(t, do(r, Request{Scope: testServer, Body: []byte(initBody)}), ErrNoReplica)
	if later.Data.(*verdict).Reason != reasonShutdown {
		t.Errorf("later initialize: data %+v", later.Data)
	}
	if got := r.Stats().Suspects; got != 0 {
		t.Errorf("%d nodes are suspect", got)
	}
	r.Abandon() // again
}

// What waits for a replica to come back, or for others to write a session back, waits no longer,
// and nothing is called lost.
func TestAbandonEndsOtherWaits(t *testing.T) {
	for name, arrange := range map[string]func(w *world, r *Router) (session string, waits func() bool){
		"for a replica": func(w *world, r *Router) (string, func() bool) {
			session, _ := begin(t, r, testServer)
			w.nodes[0].kill()
			return session, func() bool { return r.Stats().Suspects == 1 }
		},
		"for the session's return": func(w *world, _ *Router) (string, func() bool) {
			session, _ := begin(t, w.router(w.store, nil), testServer)
			w.store.wipe()
			w.nodes[0].restart()
			w.show()
			return session, func() bool { // the others were asked for it
				w.store.mu.Lock()
				defer w.store.mu.Unlock()
				return w.store.ops["notify"] > 0
			}
		},
		"for a node to take a connection": func(w *world, r *Router) (string, func() bool) {
			// A listener whose queue is full swallows connections; none of it ever accepts.
			session, _ := begin(t, r, testServer)
			full := fullListener(t)
			w.nodes[0].kill()
			w.fleet.change("node-1", func(n *store.Node) { n.URL = "http://" + full })
			return session, func() bool { return r.Stats().InFlight == 1 }
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, 0)
			r := w.router(w.store, func(c *Config) { c.PlaceWait, c.DialTimeout = time.Hour, time.Hour })
			session, waits := arrange(w, r)
			got := make(chan reply, 1)
			go func() {
				got <- do(r, Request{Scope: testServer, SessionID: session, Body: []byte(message("7", "tools/call", "{}"))})
			}()
			eventually(t, "the request waits", waits)
			r.Abandon()
			select {
			case p := <-got:
				e := fails(t, p, ErrNoReplica)
				if e.Code != wire.CodeNotExecuted || e.Data.(*verdict).Reason != reasonShutdown {
					t.Errorf("%+v, data %+v", e, e.Data)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("still waiting")
			}
			if s := r.Stats(); s.Lost != 0 {
				t.Errorf("stats = %+v", s)
			}
		})
	}
}

// fullListener is an address where connecting hangs.
func fullListener(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	var all []net.Conn
	t.Cleanup(func() {
		for _, c := range all {
			_ = c.Close()
		}
	})
	for len(all) < 10_000 {
		c, err := net.DialTimeout("tcp", ln.Addr().String(), 200*time.Millisecond)
		if err != nil {
			return ln.Addr().String()
		}
		all = append(all, c)
	}
	t.Skip("no limit to the connections that wait here")
	return ""
}

// A client that does not read its last event does not hold a coordinator up.
func TestAbandonIsBounded(t *testing.T) {
	w := newWorld(t, 1, 1)
	r := w.rs[0]
	session, _ := begin(t, r, testServer)
	stuck, writing := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.nodes[0].setHook(streaming("tools/call", sent(progress), nil))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.Carry(t.Context(), &stuckWriter{ResponseRecorder: httptest.NewRecorder(), block: func() { once.Do(func() { close(writing) }); <-stuck }},
			Request{Scope: testServer, SessionID: session, HTTPMethod: http.MethodPost, Body: []byte(message("7", "tools/call", "{}"))})
	}()
	<-writing
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Abandon()
	}()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("Abandon waits for a client that does not read")
	}
	close(stuck)
	<-done
}

// stuckWriter blocks in Write.
type stuckWriter struct {
	*httptest.ResponseRecorder
	block func()
}

func (w *stuckWriter) Write(b []byte) (int, error) {
	w.block()
	return w.ResponseRecorder.Write(b)
}

// Many calls at once, some just beginning: each gets exactly one answer, and a whole one.
func TestAbandonUnderLoad(t *testing.T) {
	w := newWorld(t, 2, 1)
	r := w.rs[0]
	hold := make(chan struct{})
	t.Cleanup(func() { close(hold) })
	var sessions []string
	for range 8 {
		s, _ := begin(t, r, testServer)
		sessions = append(sessions, s)
	}
	for _, n := range w.nodes {
		n.setHook(func(_ http.ResponseWriter, _ *http.Request, f *wire.Frame) bool {
			if f.Method == "tools/call" && bytes.Contains(f.ParamsBytes(), []byte("slow")) {
				<-hold
			}
			return false
		})
	}
	srv := front(t, r, testServer)
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			params := `{"name":"inc"}`
			if i%2 == 0 {
				params = `{"name":"slow"}`
			}
			for range 20 {
				req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, strings.NewReader(message("7", "tools/call", params)))
				req.Header.Set(wire.HeaderSession, sessions[i%8])
				resp, err := srv.Client().Do(req)
				if err != nil {
					t.Errorf("no answer: %v", err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				p := parsed(body)
				if code := p.get("error", "code"); err != nil || p.get("id") != "7" || (p.get("result") == "" && code != "1001" && code != "1002") {
					t.Errorf("%v, %s", err, body)
				}
			}
		})
	}
	eventually(t, "calls are in hand", func() bool { return r.Stats().InFlight >= 20 })
	r.Abandon()
	all.Wait()
	if got := r.Stats().Suspects; got != 0 {
		t.Errorf("%d nodes are suspect", got)
	}
}
