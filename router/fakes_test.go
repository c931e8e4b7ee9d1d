package router

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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

// fakeFleet is a snapshot that tests change.
type fakeFleet struct {
	snap atomic.Pointer[store.Snapshot]
}

func (f *fakeFleet) Snapshot() *store.Snapshot { return f.snap.Load() }

func (f *fakeFleet) set(nodes ...store.Node) {
	rev := int64(1)
	if old := f.snap.Load(); old != nil {
		rev = old.Revision + 1
	}
	slices.SortFunc(nodes, func(a, b store.Node) int { return strings.Compare(string(a.ID), string(b.ID)) })
	f.snap.Store(&store.Snapshot{Revision: rev, Nodes: nodes})
}

// change edits a copy of one node of the snapshot.
func (f *fakeFleet) change(id store.NodeID, edit func(*store.Node)) {
	nodes := slices.Clone(f.snap.Load().Nodes)
	for i := range nodes {
		if nodes[i].ID == id {
			nodes[i].Servers = slices.Clone(nodes[i].Servers)
			edit(&nodes[i])
		}
	}
	f.set(nodes...)
}

// fakeStore keeps the store's contract in memory, counts what it is asked and can be away.
type fakeStore struct {
	mu       sync.Mutex
	down     bool
	sessions map[store.SessionID]*store.Session
	ended    map[store.SessionID]bool
	catalogs map[store.Digest][]byte
	events   []store.Event
	touched  []store.SessionID
	ops      map[string]int
	subs     []chan store.Hint
	onBind   func() // called without the lock, before a bind
}

func newFakeStore() *fakeStore {
	return &fakeStore{
		sessions: map[store.SessionID]*store.Session{}, ended: map[store.SessionID]bool{},
		catalogs: map[store.Digest][]byte{}, ops: map[string]int{},
	}
}

// op counts one command and fails it if the store is away. Callers hold mu.
func (s *fakeStore) op(name string) error {
	s.ops[name]++
	if s.down {
		return fmt.Errorf("%s: %w", name, store.ErrUnavailable)
	}
	return nil
}

func (s *fakeStore) total() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.ops {
		n += k
	}
	return n
}

func (s *fakeStore) setDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// wipe forgets everything, as a Redis that restarts empty does.
func (s *fakeStore) wipe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.sessions)
	clear(s.ended)
}

func (s *fakeStore) get(id store.SessionID) (store.Session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rec := s.sessions[id]; rec != nil {
		return clone(*rec), true
	}
	return store.Session{}, false
}

func clone(rec store.Session) store.Session {
	b := make(map[store.ServerID]store.Binding, len(rec.Bindings))
	for k, v := range rec.Bindings {
		b[k] = v
	}
	rec.Bindings = b
	return rec
}

func (s *fakeStore) kinds() (out []store.EventKind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		out = append(out, e.Kind)
	}
	return out
}

func (s *fakeStore) CreateSession(_ context.Context, rec store.Session, _ time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.op("create"); err != nil {
		return err
	}
	if s.ended[rec.ID] {
		return store.ErrEnded
	}
	if old := s.sessions[rec.ID]; old != nil {
		for k, v := range rec.Bindings {
			if _, ok := old.Bindings[k]; !ok {
				old.Bindings[k] = v
			}
		}
		return nil
	}
	rec = clone(rec)
	for k, v := range rec.Bindings {
		if v == (store.Binding{}) {
			delete(rec.Bindings, k)
		}
	}
	s.sessions[rec.ID] = &rec
	return nil
}

func (s *fakeStore) Session(_ context.Context, id store.SessionID) (store.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.op("session"); err != nil {
		return store.Session{}, err
	}
	if s.ended[id] {
		return store.Session{}, store.ErrEnded
	}
	if s.sessions[id] == nil {
		return store.Session{}, store.ErrNotFound
	}
	return clone(*s.sessions[id]), nil
}

func (s *fakeStore) Bind(_ context.Context, id store.SessionID, server store.ServerID, old, next store.Binding, _ time.Duration) (store.Binding, error) {
	s.mu.Lock()
	wait := s.onBind
	s.mu.Unlock()
	if wait != nil {
		wait()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.op("bind"); err != nil {
		return store.Binding{}, err
	}
	if s.ended[id] {
		return store.Binding{}, store.ErrEnded
	}
	rec := s.sessions[id]
	if rec == nil {
		return store.Binding{}, store.ErrNotFound
	}
	if rec.Bindings[server] == old {
		rec.Bindings[server] = next
	}
	return rec.Bindings[server], nil
}

func (s *fakeStore) TouchSessions(_ context.Context, ids []store.SessionID, _ time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.op("touch"); err != nil {
		return err
	}
	s.touched = append(s.touched, ids...)
	var lost store.MissingSessionsError
	for _, id := range ids {
		switch {
		case s.ended[id]:
			lost.Ended = append(lost.Ended, id)
		case s.sessions[id] == nil:
			lost.Missing = append(lost.Missing, id)
		}
	}
	if len(lost.Ended)+len(lost.Missing) > 0 {
		return &lost
	}
	return nil
}

func (s *fakeStore) EndSession(_ context.Context, id store.SessionID, _ time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.op("end"); err != nil {
		return err
	}
	delete(s.sessions, id)
	s.ended[id] = true
	return nil
}

func (s *fakeStore) Catalog(_ context.Context, d store.Digest) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.op("catalog"); err != nil {
		return nil, err
	}
	if s.catalogs[d] == nil {
		return nil, store.ErrNotFound
	}
	return s.catalogs[d], nil
}

func (s *fakeStore) AppendEvent(_ context.Context, e store.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.op("event"); err != nil {
		return err
	}
	s.events = append(s.events, e)
	return nil
}

func (s *fakeStore) Notify(_ context.Context, h store.Hint) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.op("notify"); err != nil {
		return err
	}
	for _, sub := range s.subs {
		select {
		case sub <- h:
		default:
		}
	}
	return nil
}

func (s *fakeStore) Subscribe(ctx context.Context) (<-chan store.Hint, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := make(chan store.Hint, 16)
	s.subs = append(s.subs, sub)
	out := make(chan store.Hint)
	go func() {
		defer close(out)
		for {
			select {
			case <-ctx.Done():
				return
			case h := <-sub:
				select {
				case out <- h:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out, nil
}

// world is some nodes, a store and the coordinators over them.
type world struct {
	t     testing.TB
	fleet *fakeFleet
	store *fakeStore
	nodes []*fakeNode
	rs    []*Router
}

const testServer = "memory"

// newWorld starts nodes that all run the test server, and routers over them.
func newWorld(t testing.TB, nodes, routers int) *world {
	t.Helper()
	w := &world{t: t, fleet: &fakeFleet{}, store: newFakeStore()}
	for i := range nodes {
		w.nodes = append(w.nodes, startNode(t, store.NodeID("node-"+strconv.Itoa(i+1))))
	}
	w.show()
	for range routers {
		w.rs = append(w.rs, w.router(w.store, nil))
	}
	return w
}

// show takes a snapshot of all nodes as they are.
func (w *world) show() {
	var recs []store.Node
	for _, n := range w.nodes {
		recs = append(recs, n.record(testServer))
	}
	w.fleet.set(recs...)
}

func (w *world) router(s Sessions, edit func(*Config)) *Router {
	w.t.Helper()
	cfg := Config{Keys: testKeys(w.t, 1), Credential: testCredential, Coordinator: "c", Version: "test", PlaceWait: -1, StoreTimeout: 5 * time.Second}
	if edit != nil {
		edit(&cfg)
	}
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("ROUTER_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	r := New(cfg, w.fleet, s, log)
	w.t.Cleanup(r.hop.close)
	return r
}

func (w *world) node(id store.NodeID) *fakeNode {
	for _, n := range w.nodes {
		if n.id == id {
			return n
		}
	}
	w.t.Fatalf("no node %q", id)
	return nil
}

// other is some node that is not the one named.
func (w *world) other(id store.NodeID) *fakeNode {
	for _, n := range w.nodes {
		if n.id != id {
			return n
		}
	}
	w.t.Fatal("no other node")
	return nil
}

// reply is what a client got.
type reply struct {
	*httptest.ResponseRecorder
	err error
}

func (p reply) session() string { return p.Header().Get(wire.HeaderSession) }

// get is a string or number of the answer, as text.
func (p reply) get(path ...string) string {
	at, ok := wire.Lookup(p.Body.Bytes(), path...)
	if !ok {
		return ""
	}
	if s, ok := wire.Unquote(at.Of(p.Body.Bytes())); ok {
		return s
	}
	return string(at.Of(p.Body.Bytes()))
}

const initParams = `{"protocolVersion":"2025-11-25","capabilities":{"sampling":{}},"clientInfo":{"name":"t","version":"1"}}`

func message(id, method, params string) string {
	out := `{"jsonrpc":"2.0"`
	if id != "" {
		out += `,"id":` + id
	}
	if out += `,"method":"` + method + `"`; params != "" {
		out += `,"params":` + params
	}
	return out + "}"
}

func do(r *Router, req Request) reply {
	if req.HTTPMethod == "" {
		req.HTTPMethod = http.MethodPost
	}
	p := reply{ResponseRecorder: httptest.NewRecorder()}
	p.err = r.Carry(context.Background(), p, req)
	return p
}

// post sends one message and fails the test if it was not carried.
func post(t testing.TB, r *Router, scope, session, body string) reply {
	t.Helper()
	p := do(r, Request{Scope: scope, SessionID: session, Body: []byte(body)})
	if p.err != nil {
		t.Fatalf("%s: %v", body, p.err)
	}
	return p
}

// begin starts a session and returns its id, and where it was placed.
func begin(t testing.TB, r *Router, scope string) (session string, at store.NodeID) {
	t.Helper()
	p := post(t, r, scope, "", message("1", "initialize", initParams))
	if p.session() == "" || p.Code != http.StatusOK {
		t.Fatalf("initialize: status %d, session %q, %s", p.Code, p.session(), p.Body)
	}
	tok, err := r.ParseToken(p.session())
	if err != nil {
		t.Fatal(err)
	}
	post(t, r, scope, p.session(), message("", "notifications/initialized", ""))
	return p.session(), tok.Home
}

func invoke(t testing.TB, r *Router, session string) reply {
	t.Helper()
	return post(t, r, testServer, session, message("7", "tools/call", `{"name":"inc"}`))
}

// fails checks that nothing was written and returns the error.
func fails(t testing.TB, p reply, want error) *Error {
	t.Helper()
	e, ok := errors.AsType[*Error](p.err)
	if !ok || !errors.Is(p.err, want) {
		t.Fatalf("err = %v (status %d, %s), want %v", p.err, p.Code, p.Body, want)
	}
	if p.Body.Len() > 0 {
		t.Fatalf("an error was returned after %q was written", p.Body)
	}
	if f, err := wire.Scan(e.Frame(), wire.ServerLimits); err != nil || f.Error.IsZero() {
		t.Fatalf("Frame = %s, %v: not a JSON-RPC error", e.Frame(), err)
	}
	if e.Message == "" || bytes.ContainsAny([]byte(e.Message), "\n") {
		t.Fatalf("message %q does not help", e.Message)
	}
	return e
}

// eventually polls for something that another goroutine does.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within 10 s: %s", what)
}

// running lets a router do its background work until the test ends.
func running(t testing.TB, r *Router) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}
