package router

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

func TestSessionStaysOnItsNode(t *testing.T) {
	w := newWorld(t, 3, 3)
	session, home := begin(t, w.rs[0], testServer)
	for i := range 9 {
		p := invoke(t, w.rs[i%3], session)
		if got := p.get("result", "node"); got != string(home) {
			t.Fatalf("call %d ran on %q, want %q", i, got, home)
		}
	}
	if p := invoke(t, w.rs[0], session); p.get("result", "calls") != "10" {
		t.Errorf("calls = %s, want 10: each ran once", p.get("result", "calls"))
	}
	rec, ok := w.store.get(mustToken(t, w.rs[0], session).SessionID())
	if !ok || string(rec.Init) != initParams || rec.Era != "2025-11-25" || rec.Scope != testServer {
		t.Errorf("stored = %+v, want the client's initialize", rec)
	}
	if got := rec.Bindings[testServer]; got != (store.Binding{Node: home, Epoch: 1}) {
		t.Errorf("stored binding = %v, want %s#1", got, home)
	}
}

func mustToken(t testing.TB, r *Router, text string) Token {
	t.Helper()
	tok, err := r.ParseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// The promise of section 6: a request in a known session costs no command.
func TestKnownSessionAsksNoStore(t *testing.T) {
	w := newWorld(t, 2, 2)
	session, _ := begin(t, w.rs[0], testServer)
	invoke(t, w.rs[1], session) // the first in this replica reads it once
	if reads := w.rs[1].Stats().StoreReads; reads != 1 {
		t.Errorf("a replica that had never seen the session read it %d times, want 1", reads)
	}
	before := w.store.total()
	for i := range 100 {
		invoke(t, w.rs[i%2], session)
	}
	if after := w.store.total(); after != before {
		t.Errorf("100 calls in a known session sent %d commands to the store, want 0", after-before)
	}
}

func TestBodyIsNotTouched(t *testing.T) {
	w := newWorld(t, 1, 1)
	session, _ := begin(t, w.rs[0], testServer)
	for _, body := range []string{
		`{"jsonrpc":"2.0","id":9007199254740993,"method":"x/unknown","params":{"a":1.0,"é":"😀"},"extra":[]}`,
		"{ \"id\" : 1.0 ,\n\t\"jsonrpc\":\"2.0\", \"method\" : \"ping\" }",
		message(`"`+strings.Repeat("long", 10_000)+`"`, "ping", ""),
	} {
		p := post(t, w.rs[0], testServer, session, body)
		w.nodes[0].mu.Lock()
		got := w.nodes[0].bodies[len(w.nodes[0].bodies)-1]
		w.nodes[0].mu.Unlock()
		if got != body {
			t.Errorf("node got %.80q, want %.80q", got, body)
		}
		f, _ := wire.Scan([]byte(body), wire.ClientLimits)
		if g, err := wire.Scan(p.Body.Bytes(), wire.ServerLimits); err != nil || !wire.SameID(g.IDBytes(), f.IDBytes()) {
			t.Errorf("answer %.80q does not carry the id of %.80q", p.Body, body)
		}
	}
}

// What is not listed does not cross, in either direction.
func TestOnlyListedHeadersCross(t *testing.T) {
	w := newWorld(t, 1, 1)
	session, _ := begin(t, w.rs[0], testServer)
	sent := http.Header{
		"Idempotency-Key": {"1"}, "X-Idempotency-Key": {"1"}, "Authorization": {"Bearer client"}, "Cookie": {"a=b"},
		"X-Forwarded-For": {"1.2.3.4"}, "X-Mcphub-Epoch": {"99"}, "X-Mcphub-Refused": {"session"}, "Connection": {"close"},
		"Accept-Encoding": {"gzip"}, "Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		"Mcp-Param-Region": {"eu"}, "Mcp-Name": {"inc"}, "Mcp-Method": {"tools/call"}, "Accept": {"application/json"},
		wire.HeaderVersion: {"2025-11-25"}, "Tracestate": {"bad\r\nX-Evil: 1"}, "Mcp-Param-Bad Name": {"x"},
	}
	p := do(w.rs[0], Request{Scope: testServer, SessionID: session, Header: sent, Body: []byte(message("1", "ping", ""))})
	if p.err != nil {
		t.Fatal(p.err)
	}
	w.nodes[0].mu.Lock()
	got := w.nodes[0].heads[len(w.nodes[0].heads)-1]
	w.nodes[0].mu.Unlock()
	want := http.Header{
		"Authorization": {"Bearer " + testCredential}, "X-Mcphub-Epoch": {"1"}, wire.HeaderSession: {session},
		"Accept": {"application/json"}, "Content-Type": {"application/json"}, "Content-Length": got["Content-Length"],
		wire.HeaderVersion: {"2025-11-25"}, "Traceparent": sent["Traceparent"],
		"Mcp-Param-Region": {"eu"}, "Mcp-Name": {"inc"}, "Mcp-Method": {"tools/call"},
	}
	for name := range got {
		if !slices.Equal(got[name], want[name]) {
			t.Errorf("node got %s: %q, want %q", name, got[name], want[name])
		}
	}
	for name := range want {
		if got[name] == nil {
			t.Errorf("node did not get %s", name)
		}
	}
	init := post(t, w.rs[0], testServer, "", message("1", "initialize", initParams))
	for name := range init.Header() {
		if !slices.Contains([]string{"Content-Type", "Content-Length", wire.HeaderSession}, name) {
			t.Errorf("client got %s: %q of the node's", name, init.Header()[name])
		}
	}
}

func TestRefusedBeforeAnyNode(t *testing.T) {
	w := newWorld(t, 2, 1)
	r := w.rs[0]
	session, _ := begin(t, r, testServer)
	other := testKeys(t, 9)
	foreign, _ := other.Mint(testServer, "", "node-1", 1, time.Now())
	posts := func() (n int) {
		for _, node := range w.nodes {
			node.mu.Lock()
			n += node.posts
			node.mu.Unlock()
		}
		return n
	}
	nodeBefore, storeBefore := posts(), w.store.total()
	modern := http.Header{wire.HeaderVersion: {"2026-07-28"}}
	meta := `{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}`
	ping := message("5", "ping", "")
	for _, c := range []struct {
		name string
		req  Request
		want error
		code int
		hint string
	}{
		{"no session", Request{Scope: testServer, Body: []byte(ping)}, ErrMissingSession, wire.CodeInvalidRequest, "send initialize first"},
		{"no session, wide", Request{Body: []byte(ping)}, ErrMissingSession, wire.CodeInvalidRequest, "Mcp-Session-Id"},
		{"no session, response", Request{Scope: testServer, Body: []byte(`{"jsonrpc":"2.0","id":1,"result":{}}`)}, ErrMissingSession, wire.CodeInvalidRequest, ""},
		{"DELETE without session", Request{Scope: testServer, HTTPMethod: "DELETE"}, ErrMissingSession, wire.CodeInvalidRequest, ""},
		{"made up", Request{Scope: testServer, SessionID: "abc", Body: []byte(ping)}, ErrUnknownSession, wire.CodeInvalidRequest, "initialize"},
		{"another fleet's", Request{Scope: testServer, SessionID: foreign.String(), Body: []byte(ping)}, ErrUnknownSession, wire.CodeInvalidRequest, ""},
		{"another endpoint's", Request{Scope: "other", SessionID: session, Body: []byte(ping)}, ErrUnknownSession, wire.CodeInvalidRequest, ""},
		{"the wide endpoint", Request{SessionID: session, Body: []byte(ping)}, ErrUnknownSession, wire.CodeInvalidRequest, ""},
		{"another subject's", Request{Scope: testServer, Subject: "mallory", SessionID: session, Body: []byte(ping)}, ErrUnknownSession, wire.CodeInvalidRequest, ""},
		{"another subject's DELETE", Request{Scope: testServer, Subject: "mallory", SessionID: session, HTTPMethod: "DELETE"}, ErrUnknownSession, wire.CodeInvalidRequest, ""},
		{"modern header", Request{Scope: testServer, Header: modern, Body: []byte(ping)}, ErrBadRequest, wire.CodeUnsupportedVersion, "initialize"},
		{"modern header with session", Request{Scope: testServer, Header: modern, SessionID: session, Body: []byte(ping)}, ErrBadRequest, wire.CodeUnsupportedVersion, ""},
		{"modern claim", Request{Scope: testServer, Body: []byte(message("5", "tools/list", meta))}, ErrBadRequest, wire.CodeUnsupportedVersion, ""},
		{"modern discover", Request{Body: []byte(message("5", "server/discover", meta))}, ErrBadRequest, wire.CodeUnsupportedVersion, ""},
		{"no such version", Request{Scope: testServer, Header: http.Header{wire.HeaderVersion: {"soon"}}, SessionID: session, Body: []byte(ping)}, ErrBadRequest, wire.CodeInvalidRequest, "Mcp-Protocol-Version"},
		{"not JSON", Request{Scope: testServer, Body: []byte("{")}, ErrBadRequest, wire.CodeParse, ""},
		{"batch", Request{Scope: testServer, Body: []byte("[" + message("1", "initialize", initParams) + "]")}, ErrBadRequest, wire.CodeInvalidRequest, ""},
		{"initialize as notification", Request{Scope: testServer, Body: []byte(message("", "initialize", initParams))}, ErrMissingSession, wire.CodeInvalidRequest, ""},
		{"initialize without params", Request{Scope: testServer, Body: []byte(message("1", "initialize", ""))}, ErrBadRequest, wire.CodeInvalidParams, "params"},
		{"unknown server", Request{Scope: "nowhere", Body: []byte(message("1", "initialize", initParams))}, ErrUnknownServer, wire.CodeInvalidRequest, "unknown server"},
		{"PUT", Request{Scope: testServer, HTTPMethod: "PUT"}, ErrMethod, wire.CodeInvalidRequest, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := fails(t, do(r, c.req), c.want)
			if e.Code != c.code || !strings.Contains(e.Message, c.hint) {
				t.Errorf("error %d %q, want %d with %q", e.Code, e.Message, c.code, c.hint)
			}
			if c.code == wire.CodeUnsupportedVersion {
				var got struct{ Error struct{ Data versions } }
				if err := json.Unmarshal(e.Frame(), &got); err != nil {
					t.Fatal(err)
				}
				if got.Error.Data.Requested != "2026-07-28" || !slices.Equal(got.Error.Data.Supported, wire.Legacy()) {
					t.Errorf("data = %+v", got.Error.Data)
				}
				if string(e.ID) != "5" {
					t.Errorf("id = %s, want 5", e.ID)
				}
			}
		})
	}
	if got := posts(); got != nodeBefore {
		t.Errorf("nodes saw %d requests that were refused", got-nodeBefore)
	}
	if got := w.store.total(); got != storeBefore {
		t.Errorf("refused requests cost %d commands, want 0", got-storeBefore)
	}
	if p := invoke(t, r, session); p.get("result", "calls") != "1" {
		t.Errorf("the session's owner got %s", p.Body)
	}
}

func TestServerRefusesInitialize(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.nodes[0].setHook(func(w http.ResponseWriter, _ *http.Request, f *wire.Frame) bool {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(wire.Error(f.IDBytes(), -32602, "no", nil))
		return true
	})
	p := post(t, w.rs[0], testServer, "", message("1", "initialize", initParams))
	if p.session() != "" || p.get("error", "message") != "no" {
		t.Errorf("session %q, %s: want the server's refusal and no session", p.session(), p.Body)
	}
	if n := w.store.total(); n != 0 || w.rs[0].Stats().CachedSessions != 0 {
		t.Errorf("a refused initialize left %d commands and %d sessions", n, w.rs[0].Stats().CachedSessions)
	}
}

func TestInitializeAnsweredAsStream(t *testing.T) {
	w := newWorld(t, 1, 1)
	const result = `{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"x","version":"1"}}}`
	w.nodes[0].setHook(func(w http.ResponseWriter, _ *http.Request, f *wire.Frame) bool {
		if f.Method != "initialize" {
			return false
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write([]byte("id: 1\ndata:\n\nevent: message\ndata: " + result + "\n\n"))
		return true
	})
	p := post(t, w.rs[0], testServer, "", message("1", "initialize", initParams))
	if p.session() == "" || p.Header().Get("Content-Type") != "text/event-stream" || !strings.HasSuffix(p.Body.String(), result+"\n\n") {
		t.Errorf("session %q, %v, %q", p.session(), p.Header(), p.Body)
	}
	if rec, _ := w.store.get(mustToken(t, w.rs[0], p.session()).SessionID()); rec.Era != "2025-06-18" {
		t.Errorf("era = %q, want what the server negotiated", rec.Era)
	}
}

// Where each session has a process, one that nobody knows of would keep its own. Its end may come
// to the node before its beginning is dealt with.
func TestClientGoneDuringInitialize(t *testing.T) {
	for name, late := range map[string]bool{"begun before the end comes": false, "begun after it": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, 1)
			n := w.nodes[0]
			arrived := make(chan struct{})
			ended := func() bool { // that the session is not known was said once
				n.mu.Lock()
				defer n.mu.Unlock()
				return len(n.heads) > 1
			}
			n.setHook(func(_ http.ResponseWriter, req *http.Request, f *wire.Frame) bool {
				if f.Method != "initialize" {
					return false
				}
				begin := func() { n.answer(httptest.NewRecorder(), testServer, req.Header.Get(wire.HeaderSession), f) }
				if !late {
					begin()
				}
				close(arrived)
				if late {
					eventually(t, "the end", ended)
					begin()
				}
				<-req.Context().Done()
				return true
			})
			ctx, leave := context.WithCancel(t.Context())
			over := make(chan error, 1)
			go func() {
				over <- w.rs[0].Carry(ctx, httptest.NewRecorder(), Request{HTTPMethod: http.MethodPost, Scope: testServer, Body: []byte(message("1", "initialize", initParams))})
			}()
			<-arrived
			leave()
			if err := <-over; err != nil {
				t.Errorf("err = %v, want nil: there is nobody to tell", err)
			}
			if sessions, deletes := n.held(); sessions != 0 || deletes != 1 {
				t.Errorf("the node holds %d sessions after %d ends, want none after 1", sessions, deletes)
			}
		})
	}
}

func TestNoReplica(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.fleet.change("node-1", func(n *store.Node) { n.Servers[0].Status = store.ServerFailed })
	e := fails(t, do(w.rs[0], Request{Scope: testServer, Body: []byte(message("3", "initialize", initParams))}), ErrNoReplica)
	if e.RetryAfter <= 0 || e.Code != wire.CodeNotExecuted || string(e.ID) != "3" || !strings.Contains(e.Message, testServer) {
		t.Errorf("error = %+v", e)
	}
	if v := e.Data.(*verdict); v.Outcome != "not_executed" || !v.Retryable || len(v.TraceID) != 32 {
		t.Errorf("data = %+v", v)
	}
	w.fleet.snap.Store(nil)
	fails(t, do(w.rs[0], Request{Scope: testServer, Body: []byte(message("3", "initialize", initParams))}), ErrNoReplica)
}

func TestDeleteEndsEverywhere(t *testing.T) {
	w := newWorld(t, 2, 2)
	session, home := begin(t, w.rs[0], testServer)
	p := do(w.rs[1], Request{Scope: testServer, SessionID: session, HTTPMethod: "DELETE"})
	if p.err != nil || p.Code != http.StatusNoContent {
		t.Fatalf("DELETE: %v, status %d", p.err, p.Code)
	}
	if held, deletes := w.node(home).held(); held != 0 || deletes != 1 {
		t.Errorf("node holds %d sessions after %d deletes, want 0 after 1", held, deletes)
	}
	fails(t, do(w.rs[1], Request{Scope: testServer, SessionID: session, Body: []byte(message("1", "ping", ""))}), ErrUnknownSession)
	// The other replica has it cached; the node does not know it, and the store says why.
	fails(t, do(w.rs[0], Request{Scope: testServer, SessionID: session, Body: []byte(message("1", "ping", ""))}), ErrUnknownSession)
	fails(t, do(w.rs[1], Request{Scope: testServer, SessionID: session, HTTPMethod: "DELETE"}), ErrUnknownSession)
	if n := w.nodes[0].count("initialize") + w.nodes[1].count("initialize"); n != 1 {
		t.Errorf("a session that had ended was opened again: %d times in all", n)
	}
}

// The store says that it is over, so it is, whatever the node still knows of it.
func TestEndedSessionAtAReplicaThatNeverSawIt(t *testing.T) {
	w := newWorld(t, 1, 2)
	session, _ := begin(t, w.rs[0], testServer)
	if err := w.store.EndSession(t.Context(), mustToken(t, w.rs[0], session).SessionID(), time.Hour); err != nil {
		t.Fatal(err)
	}
	before := w.store.total()
	for range 5 {
		fails(t, invokeQuietly(w.rs[1], session), ErrUnknownSession)
	}
	if n := w.nodes[0].count("ping"); n != 0 {
		t.Errorf("%d requests of an ended session ran", n)
	}
	if got := w.store.total() - before; got != 1 {
		t.Errorf("five requests of an ended session cost %d commands, want 1", got)
	}
}

// REST ends a session by the part of its id that lists show, at a replica that never saw it.
func TestEndSessionByStoreID(t *testing.T) {
	w := newWorld(t, 2, 2)
	running(t, w.rs[0])
	session, home := begin(t, w.rs[0], testServer)
	id := mustToken(t, w.rs[0], session).SessionID()
	running(t, w.rs[1])
	if err := w.rs[1].EndSession(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the replica that knows the public id ends the session on its node", func() bool {
		held, deletes := w.node(home).held()
		return held == 0 && deletes == 1
	})
	fails(t, do(w.rs[0], Request{Scope: testServer, SessionID: session, Body: []byte(message("1", "ping", ""))}), ErrUnknownSession)
	for _, id := range []store.SessionID{id, "nonsense", store.SessionID(strings.Repeat("0", 32))} {
		if e := w.rs[1].EndSession(t.Context(), id); e == nil {
			t.Errorf("EndSession(%s) of no session succeeded", id)
		}
	}
	eventually(t, "the end is an event", func() bool { return slices.Contains(w.store.kinds(), store.EventSessionEnded) })
}

// What is kept for the life of a session is bounded.
func TestLargeInitialize(t *testing.T) {
	w := newWorld(t, 1, 1)
	for _, scope := range []string{testServer, ""} {
		params := func(size int) string {
			head, tail := `{"protocolVersion":"2025-11-25","capabilities":{},"x":"`, `"}`
			return head + strings.Repeat("y", size-len(head)-len(tail)) + tail
		}
		post(t, w.rs[0], scope, "", message("1", "initialize", params(maxInit)))
		e := fails(t, do(w.rs[0], Request{Scope: scope, Body: []byte(message("1", "initialize", params(maxInit+1)))}), ErrBadRequest)
		if e.Code != wire.CodeInvalidParams || string(e.ID) != "1" || !strings.Contains(e.Message, "64 KiB") {
			t.Errorf("scope %q: %+v", scope, e)
		}
	}
	if got := w.nodes[0].count("initialize"); got != 1 {
		t.Errorf("the node was asked %d times, want once", got)
	}
}

// An ended session is remembered for as long as its id alone may bring a request to its node.
func TestEndOutlivesTheID(t *testing.T) {
	w := newWorld(t, 1, 1)
	session, _ := begin(t, w.rs[0], testServer)
	if p := do(w.rs[0], Request{Scope: testServer, SessionID: session, HTTPMethod: http.MethodDelete}); p.err != nil {
		t.Fatal(p.err)
	}
	if want := w.rs[0].cfg.SessionTimeout + clockSlack; w.store.endTTL != want {
		t.Errorf("the end is kept for %v, want %v", w.store.endTTL, want)
	}
}
