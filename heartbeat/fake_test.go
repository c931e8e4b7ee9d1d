package heartbeat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

const (
	instanceA = store.Instance("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
	instanceB = store.Instance("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb")
)

// memStore is a model of the store whose clock is the test's own.
type memStore struct {
	mu       sync.Mutex
	down     error         // every call fails with it
	readOnly bool          // beats fail
	ahead    time.Duration // of our clock
	nodes    map[store.NodeID]store.Node
	lease    map[store.NodeID]time.Time // end of it
	epoch    map[store.NodeID]store.Epoch
	lapsed   map[store.NodeID]time.Time
	catalogs map[store.Digest][]byte
	events   []store.Event
	coords   map[store.CoordinatorID]store.Coordinator
	present  map[store.CoordinatorID]time.Time // until when
	crashed  map[store.CoordinatorID]bool      // they remove no record
	said     int                               // records of coordinators written
	listed   int                               // and listed
	rev      int64
	writes   int
	touches  int
	hints    chan store.Hint
}

func newMemStore() *memStore {
	m := &memStore{crashed: map[store.CoordinatorID]bool{}}
	m.flush()
	return m
}

// flush empties the store, as FLUSHALL does.
func (m *memStore) flush() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nodes = map[store.NodeID]store.Node{}
	m.lease = map[store.NodeID]time.Time{}
	m.epoch = map[store.NodeID]store.Epoch{}
	m.lapsed = map[store.NodeID]time.Time{}
	m.catalogs = map[store.Digest][]byte{}
	m.coords = map[store.CoordinatorID]store.Coordinator{}
	m.present = map[store.CoordinatorID]time.Time{}
	m.events, m.rev = nil, 0
}

func (m *memStore) setDown(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = err
}

// jump sets the store's clock forward, by which all leases run out sooner.
func (m *memStore) jump(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ahead += d
	for id, end := range m.lease {
		m.lease[id] = end.Add(-d)
	}
}

func (m *memStore) enter() error {
	m.mu.Lock()
	return m.down
}

func (m *memStore) put(n store.Node, ttl time.Duration) store.Node {
	n.LastHeartbeat = time.Now().Truncate(time.Millisecond)
	m.nodes[n.ID] = n
	m.lease[n.ID] = time.Now().Add(ttl)
	delete(m.lapsed, n.ID)
	m.rev++
	m.writes++
	return n
}

func (m *memStore) RegisterNode(_ context.Context, n store.Node, ttl time.Duration, takeOver bool) (store.Node, error) {
	err := m.enter()
	defer m.mu.Unlock()
	if err != nil {
		return store.Node{}, err
	}
	held, ok := m.nodes[n.ID]
	if ok && held.Instance != n.Instance && time.Now().Before(m.lease[n.ID]) && !takeOver {
		return store.Node{}, &store.DuplicateNodeError{Holder: held}
	}
	m.epoch[n.ID]++
	n.Epoch = m.epoch[n.ID]
	n.Registered = time.Now()
	return m.put(n, ttl), nil
}

func (m *memStore) BeatNode(_ context.Context, n store.Node, ttl time.Duration) (store.Beat, error) {
	err := m.enter()
	defer m.mu.Unlock()
	if err != nil {
		return store.Beat{}, err
	}
	if m.readOnly {
		return store.Beat{}, store.ErrUnavailable
	}
	if m.epoch[n.ID] > n.Epoch {
		return store.Beat{}, store.ErrEpoch
	}
	held, ok := m.nodes[n.ID]
	m.epoch[n.ID] = n.Epoch
	b := store.Beat{Relearned: !ok, Recovered: ok && held.State == store.NodeUnhealthy}
	b.Node = m.put(n, ttl)
	return b, nil
}

func (m *memStore) DeregisterNode(_ context.Context, id store.NodeID, e store.Epoch) error {
	err := m.enter()
	defer m.mu.Unlock()
	if err != nil {
		return err
	}
	n, ok := m.nodes[id]
	if !ok {
		return store.ErrNotFound
	}
	if n.Epoch != e {
		return store.ErrEpoch
	}
	delete(m.nodes, id)
	delete(m.lease, id)
	m.rev++
	return nil
}

func (m *memStore) SweepNodes(context.Context) ([]store.Node, error) {
	err := m.enter()
	defer m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var out []store.Node
	for id, n := range m.nodes {
		if n.State != store.NodeUnhealthy && !time.Now().Before(m.lease[id]) {
			n.State = store.NodeUnhealthy
			m.nodes[id] = n
			m.lapsed[id] = time.Now()
			m.rev++
			out = append(out, n)
		}
	}
	return out, nil
}

func (m *memStore) RemoveNodes(_ context.Context, olderThan time.Duration) ([]store.Node, error) {
	err := m.enter()
	defer m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var out []store.Node
	for id, at := range m.lapsed {
		if time.Since(at) >= olderThan {
			out = append(out, m.nodes[id])
			delete(m.nodes, id)
			delete(m.lapsed, id)
			m.rev++
		}
	}
	return out, nil
}

func (m *memStore) Snapshot(context.Context, *store.Snapshot) (*store.Snapshot, error) {
	err := m.enter()
	defer m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	s := &store.Snapshot{Revision: m.rev, Taken: time.Now().Add(m.ahead)}
	for _, n := range m.nodes {
		s.Nodes = append(s.Nodes, n)
	}
	slices.SortFunc(s.Nodes, func(a, b store.Node) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return s, nil
}

func (m *memStore) PutCatalog(_ context.Context, d store.Digest, raw []byte, _ time.Duration) error {
	err := m.enter()
	defer m.mu.Unlock()
	if err == nil {
		m.catalogs[d] = bytes.Clone(raw)
		m.writes++
	}
	return err
}

func (m *memStore) TouchCatalogs(_ context.Context, ds []store.Digest, _ time.Duration) ([]store.Digest, error) {
	err := m.enter()
	defer m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	m.touches++
	var missing []store.Digest
	for _, d := range ds {
		if _, ok := m.catalogs[d]; !ok {
			missing = append(missing, d)
		}
	}
	return missing, nil
}

func (m *memStore) PutCoordinator(_ context.Context, c store.Coordinator, ttl time.Duration) (store.Coordinator, error) {
	err := m.enter()
	defer m.mu.Unlock()
	if err != nil {
		return store.Coordinator{}, err
	}
	c.Seen = time.Now().Truncate(time.Millisecond)
	if was, ok := m.coords[c.ID]; c.Joined.IsZero() && ok && time.Now().Before(m.present[c.ID]) {
		c.Joined = was.Joined
	} else if c.Joined.IsZero() {
		c.Joined = c.Seen
	}
	m.coords[c.ID], m.present[c.ID] = c, time.Now().Add(ttl)
	m.said++
	return c, nil
}

func (m *memStore) RemoveCoordinator(_ context.Context, id store.CoordinatorID) error {
	err := m.enter()
	defer m.mu.Unlock()
	if err == nil && !m.crashed[id] {
		delete(m.coords, id)
	}
	return err
}

func (m *memStore) Coordinators(context.Context) ([]store.Coordinator, error) {
	err := m.enter()
	defer m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	m.listed++
	var out []store.Coordinator
	for id, c := range m.coords {
		if time.Now().Before(m.present[id]) {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b store.Coordinator) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return out, nil
}

func (m *memStore) AppendEvent(_ context.Context, e store.Event) error {
	err := m.enter()
	defer m.mu.Unlock()
	if err == nil {
		e.Time = time.Now()
		m.events = append(m.events, e)
	}
	return err
}

func (m *memStore) Events(_ context.Context, limit int) ([]store.Event, error) {
	err := m.enter()
	defer m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	out := slices.Clone(m.events)
	slices.Reverse(out)
	return out[:min(limit, len(out))], nil
}

func (m *memStore) Notify(_ context.Context, h store.Hint) error {
	err := m.enter()
	defer m.mu.Unlock()
	if err == nil && m.hints != nil {
		select {
		case m.hints <- h:
		default:
		}
	}
	return err
}

func (m *memStore) count(kind store.EventKind) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func (m *memStore) node(id store.NodeID) (store.Node, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, ok := m.nodes[id]
	return n, ok
}

func (m *memStore) catalog(d store.Digest) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.catalogs[d]
}

func (m *memStore) touched() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.touches
}

func (m *memStore) coordinator(id store.CoordinatorID) store.Coordinator {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.coords[id]
}

func (m *memStore) written() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.writes
}

// fakeSource is a node without servers, or with those it is given.
type fakeSource struct {
	mu       sync.Mutex
	desc     Description
	catalogs map[store.Digest][]byte
	started  chan struct{}
}

func newSource(servers ...store.Server) *fakeSource {
	s := &fakeSource{desc: Description{Servers: servers}, catalogs: map[store.Digest][]byte{}, started: make(chan struct{})}
	close(s.started)
	return s
}

func (s *fakeSource) Describe() Description {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Description{State: s.desc.State, Servers: slices.Clone(s.desc.Servers)}
}

func (s *fakeSource) set(d Description) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.desc = d
}

func (s *fakeSource) Catalog(d store.Digest) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	raw, ok := s.catalogs[d]
	return raw, ok
}

func (s *fakeSource) Started() <-chan struct{} { return s.started }

// front carries an agent's calls to a registrar without a socket, so that it works in a
// synctest bubble.
type front struct {
	mu    sync.Mutex
	reg   *Registrar
	err   error // every call fails with it
	slow  time.Duration
	calls []string
}

func (f *front) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *front) answerBy(r *Registrar) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reg = r
}

func (f *front) count(path string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.calls {
		if c == path {
			n++
		}
	}
	return n
}

func (f *front) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.calls = append(f.calls, req.URL.Path)
	err, reg, slow := f.err, f.reg, f.slow
	f.mu.Unlock()
	defer time.Sleep(slow) // the answer takes its time
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	data, err := dispatch(req.Context(), reg, req.URL.Path, body)
	return answer(req, data, err), nil
}

func dispatch(ctx context.Context, reg *Registrar, path string, body []byte) (any, error) {
	var rec Record
	switch path {
	case "/api/cluster/register", "/api/cluster/heartbeat":
		if err := json.Unmarshal(body, &rec); err != nil {
			return nil, err
		}
		if path == "/api/cluster/register" {
			return reg.Register(ctx, rec)
		}
		return reg.Beat(ctx, rec)
	case "/api/cluster/deregister":
		var f Farewell
		if err := json.Unmarshal(body, &f); err != nil {
			return nil, err
		}
		return struct{}{}, reg.Deregister(ctx, f)
	case "/api/cluster/catalogs":
		var c struct {
			Digest  store.Digest
			Catalog json.RawMessage
		}
		if err := json.Unmarshal(body, &c); err != nil {
			return nil, err
		}
		return struct{}{}, reg.PutCatalog(ctx, c.Digest, c.Catalog)
	}
	return nil, errors.New("no such call: " + path)
}

func answer(req *http.Request, data any, err error) *http.Response {
	status, out := http.StatusOK, map[string]any{"success": true, "data": data}
	var dup *store.DuplicateNodeError
	switch {
	case err == nil:
	case errors.As(err, &dup), errors.Is(err, store.ErrEpoch):
		status = http.StatusConflict
	case errors.Is(err, store.ErrUnavailable):
		status = http.StatusServiceUnavailable
	default:
		status = http.StatusBadRequest
	}
	if err != nil {
		out = map[string]any{"success": false, "message": err.Error()}
	}
	raw, _ := json.Marshal(out)
	return &http.Response{
		StatusCode: status, Request: req, Header: http.Header{}, ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(bytes.NewReader(raw)),
	}
}

// journal collects log lines.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) Enabled(context.Context, slog.Level) bool { return true }
func (j *journal) WithAttrs([]slog.Attr) slog.Handler       { return j }
func (j *journal) WithGroup(string) slog.Handler            { return j }
func (j *journal) Handle(_ context.Context, r slog.Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, r.Message)
	return nil
}

func (j *journal) count(line string) (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, l := range j.lines {
		if l == line {
			n++
		}
	}
	return n
}

func (j *journal) has(part string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.ContainsFunc(j.lines, func(l string) bool { return strings.Contains(l, part) })
}

func (j *journal) log() *slog.Logger { return slog.New(j) }

var key = func(context.Context) ([]byte, error) { return []byte("fleet key"), nil }

// testRegistrar answers over m; its challenges succeed unless the test says otherwise.
func testRegistrar(m *memStore, fleet Fleet, j *journal) *Registrar {
	r := NewRegistrar(RegistrarConfig{Coordinator: "c1", FleetKey: key}, m, fleet, j.log())
	r.challenge = func(context.Context, store.Node) error { return nil }
	return r
}

func testAgent(t *testing.T, id store.NodeID, instance store.Instance, f *front, src Source, j *journal) *Agent {
	t.Helper()
	a, err := NewAgent(AgentConfig{
		ID: id, Name: "Worker " + string(id), Instance: instance, Version: "test",
		CoordinatorURL: "http://hub.test:3000", URL: "http://10.0.0.1:3001", Port: 3001,
		Interval: 5 * time.Second, Transport: f,
	}, src, j.log())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func ready(id store.ServerID) store.Server {
	return store.Server{ID: id, Status: store.ServerReady, Transport: "stdio", Weight: 1}
}
