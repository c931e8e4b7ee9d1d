package router

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// What a node says that is full, and how.
const (
	noProcess = "server memory on this node has all its 2 processes taken (maxProcesses 2)"
	fullBody  = `{"jsonrpc":"2.0","id":1,"error":{"code":1002,"message":"not executed: ` + noProcess + `",` +
		`"data":{"outcome":"not_executed","retryable":true,"reason":"full","server":"memory","limit":"maxProcesses","maxProcesses":2}}}`
)

// crowd makes a node refuse new sessions of the server for want of room, as one with isolation
// session at its cap does. It returns how often it was asked.
func crowd(n *fakeNode) (asked func() int) {
	var mu sync.Mutex
	count := 0
	n.setHook(func(w http.ResponseWriter, _ *http.Request, f *wire.Frame) bool {
		if f.Method != "initialize" {
			return false
		}
		mu.Lock()
		count++
		mu.Unlock()
		w.Header().Set("Retry-After", "7")
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set(wire.HeaderRefused, wire.RefusedFull)
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, fullBody)
		return true
	})
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return count
	}
}

// isolate has the snapshot show the test server as one with a process for each session.
func (w *world) isolate(full ...store.NodeID) {
	for _, n := range w.nodes {
		w.fleet.change(n.id, func(rec *store.Node) {
			for i := range rec.Servers {
				s := &rec.Servers[i]
				s.Isolation, s.MaxProcesses, s.Full = "session", 2, false
				for _, id := range full {
					s.Full = s.Full || id == n.id
				}
			}
		})
	}
}

func checkNoRoom(t *testing.T, e *Error, id string) {
	t.Helper()
	v, ok := e.Data.(*verdict)
	if e.Code != wire.CodeNotExecuted || string(e.ID) != id || e.RetryAfter != 7*time.Second || e.Message != "Not executed: "+noProcess {
		t.Errorf("error = %+v, want 1002 in the node's own words, with its Retry-After", e)
	}
	if !ok || v.Outcome != "not_executed" || v.Reason != reasonFull || v.Server == "" || v.Limit != "maxProcesses" || v.MaxProcesses != 2 || !v.Retryable || v.TraceID == "" {
		t.Errorf("data = %+v", e.Data)
	}
}

// A replica at its cap sends the new session to the others, each asked once; when all are full
// the client learns which limit it met.
func TestFullReplicaSendsElsewhere(t *testing.T) {
	w := newWorld(t, 4, 1)
	w.isolate()
	var asked []func() int
	for _, n := range w.nodes[:3] {
		asked = append(asked, crowd(n))
	}
	for range 10 {
		if _, at := begin(t, w.rs[0], testServer); at != "node-4" {
			t.Fatalf("placed on %s, which is full", at)
		}
	}
	for i, count := range asked {
		if count() > 1 {
			t.Errorf("node-%d said that it is full and was asked %d times, though another was free", i+1, count())
		}
	}
	if s := w.rs[0].Stats(); s.Suspects != 0 || s.NotExecuted != 0 {
		t.Errorf("stats = %+v: being full was held against a node", s)
	}
	before := make([]int, 3)
	for i, count := range asked {
		before[i] = count()
	}
	last := crowd(w.nodes[3])
	checkNoRoom(t, fails(t, do(w.rs[0], Request{Scope: testServer, Body: []byte(initBody)}), ErrNoReplica), "1")
	for i, count := range append(asked, last) {
		was := 0
		if i < 3 {
			was = before[i]
		}
		if count()-was != 1 {
			t.Errorf("node-%d was asked %d times for a session that fits nowhere, want once", i+1, count()-was)
		}
	}
}

// What the snapshot says is full is not asked while others are free, and is when none is: the
// snapshot may be old.
func TestFullInTheSnapshot(t *testing.T) {
	w := newWorld(t, 3, 1)
	w.isolate("node-1", "node-2")
	for range 10 {
		if _, at := begin(t, w.rs[0], testServer); at != "node-3" {
			t.Fatalf("placed on %s", at)
		}
	}
	for _, c := range w.rs[0].candidates(w.fleet.Snapshot(), sid{}, testServer, nil) {
		if want := c.Node != "node-3"; (c.Reason == "all 2 processes are taken") != want {
			t.Errorf("%s: reason %q", c.Node, c.Reason)
		}
	}
	w.isolate("node-1", "node-2", "node-3")
	crowd(w.node("node-1"))
	crowd(w.node("node-3"))
	if _, at := begin(t, w.rs[0], testServer); at != "node-2" {
		t.Errorf("placed on %s, only node-2 has room", at)
	}
}

// With a cookie that names a full node the session goes where there is room.
func TestFullOutweighsPrefer(t *testing.T) {
	w := newWorld(t, 2, 0)
	r := w.router(w.store, strategic(StrategyCookie))
	w.isolate("node-1")
	if got := ask(t, r, testServer, "", "node-1", initBody).named(t); got != "node-2" {
		t.Errorf("placed on %s, which is full", got)
	}
	w.isolate()
	crowd(w.node("node-1"))
	if got := ask(t, r, testServer, "", "node-1", initBody).named(t); got != "node-2" {
		t.Errorf("placed on %s, which has just said that it is full", got)
	}
}

// A node's word that it is full holds until it is heard of again, or a session there ends.
func TestFullnessEnds(t *testing.T) {
	n := &store.Node{ID: "node-1", Epoch: 1, LastHeartbeat: time.Unix(1, 0)}
	s := store.Server{ID: testServer, Isolation: "session"}
	l := loads{now: time.Now}
	full := func() bool { _, full := l.get(n, &s); return full }
	if full() {
		t.Error("full from the start")
	}
	l.refuse(n, &s)
	if !full() {
		t.Error("forgotten at once")
	}
	n.LastHeartbeat = time.Unix(6, 0)
	if full() {
		t.Error("outlives a heartbeat")
	}
	l.refuse(n, &s)
	l.ended(n.ID, s.ID)
	if full() {
		t.Error("outlives a session there that ended")
	}
	l.refuse(n, &s)
	if n.Epoch = 2; full() {
		t.Error("outlives the process")
	}
	if s.Full = true; !full() {
		t.Error("the heartbeat's own word does not count")
	}
}

// A session that fails over meets full replicas, too; and the node that it leaves may itself be
// the full one, if its process was taken away.
func TestFailoverToFullReplicas(t *testing.T) {
	w := newWorld(t, 3, 1)
	w.isolate()
	session, home := begin(t, w.rs[0], testServer)
	first, second := w.other(home), (*fakeNode)(nil)
	for _, n := range w.nodes {
		if n.id != home && n != first {
			second = n
		}
	}
	crowd(first)
	w.node(home).kill()
	if got := invoke(t, w.rs[0], session).get("result", "node"); got != string(second.id) {
		t.Fatalf("the call ran on %q, only %s has room", got, second.id)
	}
	second.setHook(func(w http.ResponseWriter, _ *http.Request, _ *wire.Frame) bool {
		w.Header().Set("Retry-After", "7")
		w.Header().Set(wire.HeaderRefused, wire.RefusedFull)
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, fullBody)
		return true
	})
	e := fails(t, do(w.rs[0], Request{Scope: testServer, SessionID: session, Body: []byte(message("9", "tools/call", "{}"))}), ErrNoReplica)
	checkNoRoom(t, e, "9")
	if s := w.rs[0].Stats(); s.Lost != 0 {
		t.Errorf("stats = %+v: the session was given up", s)
	}
}

// A first use in a wide scope that fits nowhere leaves no binding behind: the next call does not
// wait for a session that nobody is opening.
func TestFullFirstUseLeavesNoBinding(t *testing.T) {
	w := newWideWorld(t, 2)
	session, _ := begin(t, w.rs[0], "")
	for _, n := range w.nodes {
		crowd(n)
	}
	checkNoRoom(t, fails(t, do(w.rs[0], Request{SessionID: session, Body: []byte(tool("a-inc"))}), ErrNoReplica), `"x"`)
	rec, _ := w.store.get(mustToken(t, w.rs[0], session).SessionID())
	if got := rec.Bindings["a"]; got != (store.Binding{}) {
		t.Errorf("the store binds the session to %v, where it is not", got)
	}
	for _, n := range w.nodes {
		n.setHook(nil)
	}
	if p := post(t, w.rs[1], "", session, tool("a-inc")); p.get("result", "server") != "a" {
		t.Errorf("with room again: %s", p.Body)
	}
}

// A node that says it is full in words that cannot be read is full all the same.
func TestFullWithoutWords(t *testing.T) {
	for name, body := range map[string]string{"empty": "", "no JSON": "<html>", "no message": `{}`, "no text": `{"error":{"message":7,"data":{"maxProcesses":"2"}}}`, "cut": `{"error":{"message":"x`} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, 1)
			w.nodes[0].setHook(func(w http.ResponseWriter, _ *http.Request, _ *wire.Frame) bool {
				w.Header().Set("Retry-After", "soon")
				w.Header().Set(wire.HeaderRefused, wire.RefusedFull)
				w.WriteHeader(http.StatusServiceUnavailable)
				_, _ = w.Write([]byte(body))
				return true
			})
			e := fails(t, do(w.rs[0], Request{Scope: testServer, Body: []byte(initBody)}), ErrNoReplica)
			if e.RetryAfter != time.Second || !strings.Contains(e.Message, testServer) || !strings.Contains(e.Message, "processes are taken") {
				t.Errorf("error = %+v", e)
			}
		})
	}
}
