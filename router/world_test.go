package router

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

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
	hinted, fake := r.store.(*fakeStore)
	listeners := func() int {
		hinted.mu.Lock()
		defer hinted.mu.Unlock()
		return len(hinted.subs)
	}
	before := 0
	if fake {
		before = listeners()
	}
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	if fake { // what others say before is not for it
		eventually(t, "the router takes hints", func() bool { return listeners() > before })
	}
}
