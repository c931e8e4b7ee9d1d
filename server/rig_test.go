package server

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/heartbeat"
	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/store"
)

// fakeCarrier answers every request with its own body, or as the test says.
type fakeCarrier struct {
	mu      sync.Mutex
	seen    []router.Request
	ended   []store.SessionID
	carry   func(context.Context, http.ResponseWriter, router.Request) error
	keys    *router.Keys
	owner   store.CoordinatorID // of streams; empty means c1
	endFail error
	asleep  atomic.Bool // cannot carry yet
	judge   bool        // answers for session ids that are not of the scope and subject as a router does
}

func (f *fakeCarrier) Ready() bool { return !f.asleep.Load() }

func (f *fakeCarrier) Carry(ctx context.Context, w http.ResponseWriter, req router.Request) error {
	f.mu.Lock()
	f.seen = append(f.seen, req)
	carry := f.carry
	f.mu.Unlock()
	if f.judge && req.SessionID != "" {
		if tok, err := f.keys.Parse(req.SessionID); err != nil || !tok.For(req.Scope, req.Subject) {
			return &router.Error{Err: router.ErrUnknownSession, Code: wire.CodeInvalidRequest, Message: "unknown session"}
		}
	}
	if carry != nil {
		return carry(ctx, w, req)
	}
	w.Header().Set("Content-Type", "application/json")
	_, err := w.Write(req.Body)
	return err
}

func (f *fakeCarrier) EndSession(_ context.Context, id store.SessionID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.endFail != nil {
		return f.endFail
	}
	f.ended = append(f.ended, id)
	return nil
}

func (f *fakeCarrier) ParseToken(text string) (router.Token, error) {
	if f.keys == nil {
		return router.Token{}, &router.Error{Err: router.ErrUnavailable, Message: "not there yet"}
	}
	return f.keys.Parse(text)
}

func (f *fakeCarrier) NewStream(subject string) (router.StreamToken, error) {
	return f.keys.MintStream(cmp.Or(f.owner, "c1"), subject)
}

func (f *fakeCarrier) ParseStream(text string) (router.StreamToken, error) {
	return f.keys.ParseStream(text)
}

func (f *fakeCarrier) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.seen)
}

func (f *fakeCarrier) last() router.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.seen) == 0 {
		return router.Request{}
	}
	return f.seen[len(f.seen)-1]
}

// fakeFleet shows what it is given.
type fakeFleet struct {
	snap   *store.Snapshot
	mu     sync.Mutex
	known  bool
	reason string
}

func (f *fakeFleet) Snapshot() *store.Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.snap
}

func (f *fakeFleet) show(s *store.Snapshot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.snap = s
}

func (f *fakeFleet) Ready() (bool, string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.known, f.reason
}

func (f *fakeFleet) set(known bool, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known, f.reason = known, reason
}

// fakeRegistrar counts what gets to it.
type fakeRegistrar struct {
	mu      sync.Mutex
	calls   []string
	catalog []byte
	err     error
}

func (f *fakeRegistrar) note(call string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call)
	return f.err
}

func (f *fakeRegistrar) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.calls)
}

var aGrant = heartbeat.Grant{Epoch: 7, Credential: "c", NodeTimeout: 15000, MissingCatalogs: []store.Digest{}}

func (f *fakeRegistrar) Register(_ context.Context, r heartbeat.Record) (heartbeat.Grant, error) {
	return aGrant, f.note("register " + string(r.ID))
}

func (f *fakeRegistrar) Beat(_ context.Context, r heartbeat.Record) (heartbeat.Grant, error) {
	return aGrant, f.note("beat " + string(r.ID))
}

func (f *fakeRegistrar) Deregister(_ context.Context, b heartbeat.Farewell) error {
	return f.note("deregister " + string(b.ID))
}

func (f *fakeRegistrar) PutCatalog(_ context.Context, d store.Digest, raw []byte) error {
	f.mu.Lock()
	f.catalog = append([]byte(nil), raw...)
	f.mu.Unlock()
	return f.note("catalog " + string(d))
}

// fakeStore holds a few sessions.
type fakeStore struct {
	mu       sync.Mutex
	down     error
	health   store.Health
	sessions map[store.SessionID]store.Session
	events   []store.Event
	asked    int // reads of events
	fleet    []store.Coordinator
}

func (f *fakeStore) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.down
}

func (f *fakeStore) set(err error, h store.Health) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down, f.health = err, h
}

func (f *fakeStore) Health() store.Health {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.health
}

func (f *fakeStore) Session(_ context.Context, id store.SessionID) (store.Session, error) {
	if err := f.get(); err != nil {
		return store.Session{}, err
	}
	s, ok := f.sessions[id]
	if !ok {
		return store.Session{}, store.ErrNotFound
	}
	return s, nil
}

func (f *fakeStore) Sessions(_ context.Context, cursor string, limit int) ([]store.Session, string, error) {
	if err := f.get(); err != nil {
		return nil, "", err
	}
	if cursor != "" && cursor != "more" {
		return nil, "", store.ErrCursor
	}
	var out []store.Session
	for _, s := range f.sessions {
		if len(out) < limit {
			out = append(out, s)
		}
	}
	return out, "more", nil
}

func (f *fakeStore) CountSessions(context.Context) (int, error) { return len(f.sessions), f.get() }

// Events gives them as they were put in, which is newest first.
func (f *fakeStore) Events(_ context.Context, limit int) ([]store.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	return slices.Clone(f.events[:min(limit, len(f.events))]), f.down
}

func (f *fakeStore) EventsAfter(_ context.Context, id string, limit int) ([]store.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.down != nil {
		return nil, f.down
	}
	if strings.Trim(id, "0123456789-") != "" {
		return nil, store.ErrInvalid
	}
	var out []store.Event
	for _, e := range slices.Backward(f.events) {
		if newer(e.ID, id) && len(out) < limit {
			out = append(out, e)
		}
	}
	return out, nil
}

// happen adds an event with the next id.
func (f *fakeStore) happen(text string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := fmt.Sprintf("%d-0", 1000+len(f.events))
	f.events = slices.Insert(f.events, 0, store.Event{ID: id, Time: noon, Kind: store.EventNodeRegistered, Node: "node-1", Coordinator: "c1", Text: text})
	return id
}

// asks counts how often events were read.
func (f *fakeStore) asks() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

func (f *fakeStore) Coordinators(context.Context) ([]store.Coordinator, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.fleet), f.down
}

// fakeGroups is a book of groups.
type fakeGroups struct {
	mu    sync.Mutex
	all   map[string]store.Group
	rev   int64
	reads int
	shut  bool   // not read yet
	late  func() // called before each look for a group, with mu held
	err   error  // of changes
	fixed string // a group that stands in the settings file
}

func (f *fakeGroups) Group(name string) (store.Group, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	if f.late != nil {
		f.late()
	}
	g, ok := f.all[name]
	return g, ok
}

// comes has a group appear when groups have been looked for n times more.
func (f *fakeGroups) comes(name string, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n += f.reads
	f.late = func() {
		if f.reads >= n {
			f.all[name] = store.Group{Name: name}
		}
	}
}

func (f *fakeGroups) List() []store.Group {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.SortedFunc(maps.Values(f.all), func(a, b store.Group) int { return strings.Compare(a.Name, b.Name) })
}

func (f *fakeGroups) Revision() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rev
}

func (f *fakeGroups) Loaded() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.shut
}

func (f *fakeGroups) Put(_ context.Context, g store.Group, create bool, fleet *store.Snapshot) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, there := f.all[g.Name]
	err := g.Check()
	switch {
	case f.err != nil:
		return f.err
	case g.Name == f.fixed:
		return router.ErrGroupFixed
	case err != nil:
		return err
	case slices.ContainsFunc(fleet.Nodes, func(n store.Node) bool { _, has := n.Server(store.ServerID(g.Name)); return has }):
		return router.ErrGroupName
	case create && there:
		return store.ErrExists
	case !create && !there:
		return store.ErrNotFound
	}
	g.Updated = noon
	f.all[g.Name] = g
	f.rev++
	return nil
}

func (f *fakeGroups) Delete(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if name == f.fixed {
		return router.ErrGroupFixed
	}
	if f.err != nil {
		return f.err
	}
	if _, there := f.all[name]; !there {
		return store.ErrNotFound
	}
	delete(f.all, name)
	f.rev++
	return nil
}

// set replaces all groups.
func (f *fakeGroups) set(groups ...store.Group) {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.all)
	for _, g := range groups {
		f.all[g.Name] = g
	}
	f.rev++
}

// unread is a book that nobody has opened yet.
func (f *fakeGroups) unread() {
	f.set()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shut = true
}

const (
	sidOne  = store.SessionID("00112233445566778899aabbccddeeff")
	sidWide = store.SessionID("ffeeddccbbaa99887766554433221100")
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func aSnapshot() *store.Snapshot {
	ready := func(id store.ServerID, tools int) store.Server {
		return store.Server{ID: id, Status: store.ServerReady, Transport: "stdio", Tools: tools, Sessions: 2, Weight: 1}
	}
	return &store.Snapshot{Revision: 3, Taken: noon, Nodes: []store.Node{
		{
			ID: "node-1", Name: "Worker Node 1", Host: "10.0.0.5", Port: 3001, URL: "http://10.0.0.5:3001", Instance: "secret-instance",
			Version: "v1", Weight: 1, State: store.NodeActive, Epoch: 4, LastHeartbeat: noon, Registered: noon, Started: noon,
			Servers: []store.Server{ready("everything", 8), {ID: "broken", Status: store.ServerFailed, Error: "exit status 1", Stderr: []string{"boom"}, Weight: 1}},
		},
		{
			ID: "node-2", Name: "node-2", Host: "10.0.0.6", Port: 3001, URL: "http://10.0.0.6:3001", State: store.NodeUnhealthy,
			Weight: 1, Epoch: 5, LastHeartbeat: noon, Servers: []store.Server{ready("everything", 8), ready("memory", 3)},
		},
	}}
}

// rig is a running coordinator's front doors over fakes.
type rig struct {
	*Server
	url       string
	carrier   *fakeCarrier
	fleet     *fakeFleet
	registrar *fakeRegistrar
	store     *fakeStore
	groups    *fakeGroups
	explainer *fakeExplainer
	log       *strings.Builder
	stop      func() error
}

// lockedWriter lets a test read a log while it is written.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func testKeys(t testing.TB) *router.Keys {
	t.Helper()
	keys, err := router.NewKeys([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func newServer(t testing.TB, cfg Config, web http.Handler) *rig {
	t.Helper()
	r := &rig{
		carrier: &fakeCarrier{keys: testKeys(t)}, fleet: &fakeFleet{snap: aSnapshot(), known: true},
		registrar: &fakeRegistrar{}, groups: &fakeGroups{all: map[string]store.Group{}}, explainer: &fakeExplainer{}, log: &strings.Builder{},
		store: &fakeStore{health: store.Health{OK: true, State: store.HealthOK}, sessions: map[store.SessionID]store.Session{
			sidOne: {ID: sidOne, Scope: "everything", Era: "2025-11-25", Created: noon, Seen: noon.Add(time.Minute), Expires: noon.Add(time.Hour),
				Bindings: map[store.ServerID]store.Binding{"everything": {Node: "node-1", Epoch: 4}}},
			sidWide: {ID: sidWide, Scope: store.ScopeAll, Created: noon, Seen: noon, Expires: noon.Add(time.Hour),
				Bindings: map[store.ServerID]store.Binding{"memory": {Node: "node-2", Epoch: 5}, "everything": {Node: "node-1", Epoch: 4}}},
		}},
	}
	cfg.Coordinator, cfg.Mode, cfg.Version = cmp.Or(cfg.Coordinator, "c1"), "coordinator", "v1"
	r.carrier.owner = cfg.Coordinator
	r.Server = New(cfg, Deps{
		Carrier: r.carrier, Fleet: r.fleet, Registrar: r.registrar, Store: r.store, Groups: r.groups, Explainer: r.explainer, Web: web,
		Log: slog.New(slog.NewTextHandler(&lockedWriter{w: r.log}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	return r
}

// newRig runs the front doors on a loopback port.
func newRig(t *testing.T, cfg Config, web http.Handler) *rig {
	t.Helper()
	return newServer(t, cfg, web).run(t)
}

func (r *rig) run(t *testing.T) *rig {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.url = "http://" + l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx, l) }()
	var once sync.Once
	r.stop = func() (err error) {
		once.Do(func() { cancel(); err = <-done })
		return err
	}
	t.Cleanup(func() { _ = r.stop() })
	return r
}

// global is a configuration in which everything is open.
var global = Config{EnableGlobalRoute: true}

// reply is an answer, read whole.
type reply struct {
	status int
	header http.Header
	body   string
	close  bool // the server ends the connection
}

// raw sends bytes as they are on a connection of their own and reads one answer.
func (r *rig) raw(t *testing.T, request string) reply {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	go func() { _, _ = io.WriteString(conn, request) }() // the answer may come before the end of it
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(body), resp.Close}
}

// do sends a request of net/http; headers come in pairs.
func (r *rig) do(t *testing.T, method, path, body string, headers ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(b), resp.Close}
}

// sentence reads the text of an error and checks its shape.
func (p reply) sentence(t *testing.T) string {
	t.Helper()
	if len(p.body) > 2048 {
		t.Errorf("a body of %d bytes, want at most 2048", len(p.body))
	}
	if ct := p.header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("Content-Type %q, want application/json", ct)
	}
	var answer struct {
		JSONRPC string
		Error   *struct {
			Code    int
			Message string
		}
		Success *bool
		Message string
	}
	if err := json.Unmarshal([]byte(p.body), &answer); err != nil {
		t.Fatalf("body %q is not JSON: %v", p.body, err)
	}
	text := answer.Message
	switch {
	case answer.Error != nil && answer.JSONRPC == "2.0" && answer.Error.Code != 0:
		text = answer.Error.Message
	case answer.Success == nil || *answer.Success:
		t.Errorf("body %s is no error of either shape", p.body)
	}
	if len(strings.Fields(text)) < 2 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		t.Errorf("the sentence is %q", text)
	}
	return text
}
