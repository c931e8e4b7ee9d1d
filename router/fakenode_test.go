package router

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testCredential = "c0ffee"

// fakeNode is a node as the routers see it: it keeps the contract of one, and counts.
type fakeNode struct {
	t    testing.TB
	id   store.NodeID
	addr string
	srv  *http.Server
	done chan struct{}

	mu       sync.Mutex
	epoch    store.Epoch
	sessions map[string]*fakeSession // by server and public id
	methods  map[string]int          // messages run, by method
	posts    int                     // POST requests that came in, refused ones too
	deletes  int
	heads    []http.Header
	bodies   []string
	health   func(w http.ResponseWriter)
	// hook may answer a message instead of the node. It is called without the lock.
	hook func(w http.ResponseWriter, req *http.Request, f *wire.Frame) bool
	// stream answers GET, without the lock. What it is asked for is in gets.
	stream func(w http.ResponseWriter, req *http.Request, nth int)
	gets   []http.Header
}

type fakeSession struct {
	init        string
	initialized bool
	calls       int
}

func startNode(t testing.TB, id store.NodeID) *fakeNode {
	n := &fakeNode{t: t, id: id, epoch: 1, sessions: map[string]*fakeSession{}, methods: map[string]int{}}
	n.listen("127.0.0.1:0")
	t.Cleanup(n.kill)
	return n
}

func (n *fakeNode) listen(addr string) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		n.t.Fatal(err)
	}
	n.addr = ln.Addr().String()
	n.srv = &http.Server{Handler: n, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	n.done = make(chan struct{})
	srv, done := n.srv, n.done
	go func() {
		defer close(done)
		_ = srv.Serve(ln)
	}()
}

// kill breaks every connection and refuses new ones, as SIGKILL does.
func (n *fakeNode) kill() {
	_ = n.srv.Close()
	<-n.done
}

// restart comes back under the same address with nothing in memory and a new epoch.
func (n *fakeNode) restart() {
	n.kill()
	n.mu.Lock()
	n.sessions, n.epoch = map[string]*fakeSession{}, n.epoch+1
	n.mu.Unlock()
	n.listen(n.addr)
}

func (n *fakeNode) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path == "/health" {
		n.mu.Lock()
		health := n.health
		n.mu.Unlock()
		if health != nil {
			health(w)
			return
		}
		fmt.Fprintf(w, `{"status":"ok","id":%q}`, n.id)
		return
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	server := strings.TrimPrefix(req.URL.Path, "/mcp/")
	token := req.Header.Get(wire.HeaderSession)
	n.mu.Lock()
	n.heads = append(n.heads, req.Header.Clone())
	n.bodies = append(n.bodies, string(body))
	epoch, hook := n.epoch, n.hook
	if req.Method == http.MethodPost {
		n.posts++
	}
	n.mu.Unlock()
	switch {
	case req.Header.Get("Authorization") != "Bearer "+testCredential:
		refuseAs(w, http.StatusUnauthorized, wire.RefusedCredential)
		return
	case req.Header.Get(wire.HeaderEpoch) != strconv.FormatInt(int64(epoch), 10):
		refuseAs(w, http.StatusConflict, wire.RefusedEpoch)
		return
	case req.Method == http.MethodDelete:
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.sessions[server+" "+token] == nil {
			refuseAs(w, http.StatusNotFound, wire.RefusedSession)
			return
		}
		n.deletes++
		delete(n.sessions, server+" "+token)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if req.Method == http.MethodGet {
		n.serveGet(w, req, server+" "+token)
		return
	}
	f, err := wire.Scan(body, wire.ClientLimits)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if hook != nil && hook(w, req, &f) {
		return
	}
	n.answer(w, server, token, &f)
}

func (n *fakeNode) serveGet(w http.ResponseWriter, req *http.Request, key string) {
	n.mu.Lock()
	nth, stream, known := len(n.gets), n.stream, n.sessions[key] != nil
	n.gets = append(n.gets, req.Header.Clone())
	n.mu.Unlock()
	switch {
	case !known:
		refuseAs(w, http.StatusNotFound, wire.RefusedSession)
	case stream == nil:
		w.WriteHeader(http.StatusMethodNotAllowed)
	default:
		stream(w, req, nth)
	}
}

func (n *fakeNode) setStream(stream func(w http.ResponseWriter, req *http.Request, nth int)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stream = stream
}

// asked are the event ids at which streams were asked for.
func (n *fakeNode) asked() (ids []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, h := range n.gets {
		ids = append(ids, h.Get(wire.HeaderLastEventID))
	}
	return ids
}

func refuseAs(w http.ResponseWriter, status int, why string) {
	w.Header().Set(wire.HeaderRefused, why)
	w.WriteHeader(status)
}

func (n *fakeNode) answer(w http.ResponseWriter, server, token string, f *wire.Frame) {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := server + " " + token
	s := n.sessions[key]
	if f.Method == "initialize" {
		n.methods[f.Method]++
		if s == nil { // a session that is known stays as it is
			n.sessions[key] = &fakeSession{init: string(f.ParamsBytes())}
		}
		count := 0
		for k := range n.sessions {
			if strings.HasPrefix(k, server+" ") {
				count++
			}
		}
		w.Header().Set(wire.HeaderSessions, strconv.Itoa(count))
		w.Header().Set(wire.HeaderSession, token)
		w.Header().Set("Set-Cookie", "evil=1")
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(wire.Result(f.IDBytes(), []byte(`{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"fake","version":"1"}}`)))
		return
	}
	if s == nil {
		refuseAs(w, http.StatusNotFound, wire.RefusedSession)
		return
	}
	n.methods[f.Method]++
	if f.Kind != wire.Request {
		s.initialized = s.initialized || f.Method == "notifications/initialized"
		w.WriteHeader(http.StatusAccepted)
		return
	}
	s.calls++
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(wire.Result(f.IDBytes(), fmt.Appendf(nil, `{"node":%q,"server":%q,"method":%q,"calls":%d,"initialized":%t}`, n.id, server, f.Method, s.calls, s.initialized)))
}

func (n *fakeNode) count(method string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.methods[method]
}

func (n *fakeNode) held() (sessions, deletes int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.sessions), n.deletes
}

func (n *fakeNode) setHook(hook func(w http.ResponseWriter, req *http.Request, f *wire.Frame) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hook = hook
}

// record is the node as a snapshot shows it.
func (n *fakeNode) record(servers ...store.ServerID) store.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	rec := store.Node{ID: n.id, URL: "http://" + n.addr, Epoch: n.epoch, State: store.NodeActive, Weight: 1, LastHeartbeat: time.Unix(1000, 0)}
	for _, s := range servers {
		rec.Servers = append(rec.Servers, store.Server{ID: s, Status: store.ServerReady, Weight: 1})
	}
	return rec
}
