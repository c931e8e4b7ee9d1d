package web

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// fakeReader is a fleet written down.
type fakeReader struct {
	snapshot     *store.Snapshot
	redis        Redis
	groups       []store.Group
	sessions     []store.Session
	total        int
	events       []store.Event
	coordinators []store.Coordinator
	conflicts    []Conflict
	catalogs     map[store.Digest]string
	answer       Explanation
	whole        string // the Mcp-Session-Id of the first session
	err          error  // of everything that Redis is asked for

	question Question // the last one
	asked    atomic.Int32
	read     atomic.Int32 // catalogs
	compared atomic.Int32 // conflicts
}

var _ Reader = (*fakeReader)(nil)

func (f *fakeReader) Snapshot() *store.Snapshot { return f.snapshot }
func (f *fakeReader) Redis() Redis              { return f.redis }
func (f *fakeReader) Groups() []store.Group     { return f.groups }

// Sessions takes numbers for cursors.
func (f *fakeReader) Sessions(_ context.Context, cursor string, limit int) ([]store.Session, string, error) {
	f.asked.Add(1)
	from, next := 0, ""
	if cursor != "" {
		if _, err := fmt.Sscan(cursor, &from); err != nil || from > len(f.sessions) {
			return nil, "", store.ErrCursor
		}
	}
	to := min(from+limit, len(f.sessions))
	if to < len(f.sessions) {
		next = fmt.Sprint(to)
	}
	return f.sessions[from:to], next, f.err
}

func (f *fakeReader) CountSessions(context.Context) (int, error) { return f.total, f.err }

func (f *fakeReader) Coordinators(context.Context) ([]store.Coordinator, error) {
	return f.coordinators, f.err
}

func (f *fakeReader) Events(_ context.Context, limit int) ([]store.Event, error) {
	return f.events[:min(limit, len(f.events))], f.err
}

func (f *fakeReader) Catalog(_ context.Context, d store.Digest) ([]byte, error) {
	f.read.Add(1)
	if f.err != nil {
		return nil, f.err
	}
	raw, ok := f.catalogs[d]
	if !ok {
		return nil, store.ErrNotFound
	}
	return []byte(raw), nil
}

func (f *fakeReader) Conflicts(context.Context) ([]Conflict, error) {
	f.compared.Add(1)
	return f.conflicts, f.err
}

func (f *fakeReader) Explain(_ context.Context, q Question) (Explanation, error) {
	f.question = q
	return f.answer, f.err
}

func (f *fakeReader) SessionID(whole string) (store.SessionID, bool) {
	if f.whole == "" || whole != f.whole {
		return "", false
	}
	return f.sessions[0].ID, true
}

// fleet is one node that is well, one that is gone and one with a server that failed.
func fleet() *fakeReader {
	return &fakeReader{
		redis:    Redis{OK: true, State: "ok", Latency: 430 * time.Microsecond},
		snapshot: &store.Snapshot{Revision: 9, Taken: noon, Nodes: nodes()},
		groups: []store.Group{
			{Name: "team", Description: "What the team works with", Servers: []store.GroupServer{{Name: "counter"}, {Name: "notes", Tools: []string{"add_note", "list_notes"}}, {Name: "nowhere"}}},
			{Name: "trial", Servers: []store.GroupServer{}, Updated: noon.Add(-5 * time.Minute)},
		},
		total:    2,
		sessions: sessions(),
		events: []store.Event{
			{ID: "2-0", Time: noon.Add(-170 * time.Second), Kind: store.EventNodeUnhealthy, Node: "node-2", Text: "Marking node node-2 as unhealthy"},
			{ID: "1-0", Time: noon.Add(-time.Hour), Kind: store.EventNodeRegistered, Node: "node-1", Text: "Node registered: Worker Node 1 (node-1) with 2 servers"},
		},
		coordinators: []store.Coordinator{
			{ID: "host-abc123", Address: "10.0.0.9:3000", Version: "0.1.0", Mode: "coordinator", Started: noon.Add(-3 * time.Hour), Sessions: 2, InFlight: 1, Ready: true, KeyPrint: "aa", Seen: noon},
			{ID: "host-def456", Address: "10.0.0.8:3000", Version: "0.2.0", Mode: "coordinator", Started: noon.Add(-time.Minute), KeyPrint: "aa", Seen: noon.Add(-2 * time.Second)},
		},
		conflicts: []Conflict{
			{Name: "file:///readme.md", Owner: "counter", Others: []store.ServerID{"notes"}},
			{Name: "note://{id}", Template: true, Owner: "notes", Others: []store.ServerID{"counter", "lost"}},
		},
		catalogs: map[store.Digest]string{notesDigest: notesCatalog},
		answer: Explanation{
			Server: "counter", Existing: true, Rule: "bounded-load fallback", Choice: "node-1", Reason: "node-4 is preferred and has 9 sessions, its limit is 8",
			Candidates: []Candidate{
				{Node: "node-4", Score: 4.8, Load: 9, Limit: 8, Weight: 1, State: store.NodeActive},
				{Node: "node-1", Score: 2.4, Load: 5, Limit: 8, Weight: 2, State: store.NodeActive},
				{Node: "node-3", Score: 1.2, Load: 3, Weight: 1, State: store.NodeDraining, Reason: "the node is draining"},
			},
			Moves: []Move{
				{Node: "node-1", Change: "without", Moves: true, To: "node-4", Rule: "consistent-hash", Share: 0.667, Reason: "every replica has more than its share"},
				{Node: "node-7", Change: "with", To: "node-1", Rule: "bounded-load fallback", Share: 0.25},
				{Node: "node-4", Change: "without"},
			},
		},
	}
}

const (
	notesDigest   = "aaaaaaaa00000000000000000000000000000000000000000000000000000000"
	counterDigest = "cccccccc00000000000000000000000000000000000000000000000000000000"
	otherDigest   = "dddddddd00000000000000000000000000000000000000000000000000000000"
)

func nodes() []store.Node {
	ready := func(id string, sessions int, d store.Digest) store.Server {
		return store.Server{ID: store.ServerID(id), Status: store.ServerReady, Transport: "stdio", Tools: 3, Sessions: sessions, Weight: 1, Catalog: d}
	}
	isolated := ready("browser", 3, "")
	isolated.Isolation, isolated.Processes, isolated.Spares, isolated.MaxProcesses, isolated.Full = "session", 4, 1, 4, true
	return []store.Node{
		{
			ID: "node-1", Name: "Worker Node 1", URL: "http://10.0.0.1:3001", Version: "0.1.0", Epoch: 4, State: store.NodeActive, Weight: 2,
			LastHeartbeat: noon.Add(-2 * time.Second), Started: noon.Add(-time.Hour),
			Servers: []store.Server{ready("notes", 2, notesDigest), ready("counter", 5, counterDigest), isolated},
		},
		{
			ID: "node-2", Name: "node-2", URL: "http://10.0.0.2:3001", Version: "0.1.0", Epoch: 1, State: store.NodeUnhealthy,
			LastHeartbeat: noon.Add(-3 * time.Minute), Servers: []store.Server{ready("counter", 1, counterDigest), ready("lost", 0, "")},
		},
		{
			ID: "node-3", Name: "node-3", URL: "http://10.0.0.3:3001", Version: "0.1.0", Epoch: 2, State: store.NodeDraining,
			LastHeartbeat: noon, Servers: []store.Server{
				{
					ID: "notes", Status: store.ServerFailed, Transport: "stdio", Error: "exited with status 1 before the handshake",
					Stderr: []string{"loading", "Error: no such database"}, Restarts: 3, Weight: 1,
				},
				ready("counter", 0, otherDigest),
				{ID: "old", Status: store.ServerDisabled, Transport: "stdio", Weight: 1},
			},
		},
	}
}

func sessions() []store.Session {
	return []store.Session{
		{
			ID: "00112233445566778899aabbccddeeff", Scope: "counter", Era: "2025-11-25", Created: noon.Add(-26 * time.Hour), Seen: noon.Add(-time.Minute),
			Expires: noon.Add(time.Hour), Bindings: map[store.ServerID]store.Binding{"counter": {Node: "node-1", Epoch: 4}},
		},
		{
			ID: "ffeeddccbbaa99887766554433221100", Scope: store.ScopeAll, Era: "2025-06-18", Created: noon.Add(-90 * time.Minute), Seen: noon,
			Expires: noon.Add(time.Hour), Bindings: map[store.ServerID]store.Binding{
				"notes": {Node: "node-1", Epoch: 3}, "counter": {Node: "node-2", Epoch: 1}, "old": {Node: "node-3", Epoch: 2}, "lost": {Node: "node-9", Epoch: 1},
			},
		},
	}
}

func newPage(r Reader) *Page {
	p := New(Config{Version: "0.1.0", CoordinatorID: "host-abc123", Mode: "coordinator"}, r, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	p.now = func() time.Time { return noon.Add(time.Hour) } // ages must not be counted on this clock
	return p
}

func get(t *testing.T, h http.Handler, path string, header ...string) *http.Response {
	t.Helper()
	req := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	return rec.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
