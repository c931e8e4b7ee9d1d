package router

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

const (
	catalogA = `{"tools":[{"name":"inc","description":"d","x-own":{"keep":1.0}},{"description":"second","name":"b-c"}],"prompts":[]}`
	catalogB = `{"tools":[{"name":"c"},{"name":"quo\"te"}]}`
)

// newWideWorld has servers a and a-b on both nodes, and z on node-1 only.
func newWideWorld(t testing.TB, routers int) *world {
	w := newWorld(t, 2, routers)
	w.store.catalogs["da"], w.store.catalogs["db"], w.store.catalogs["dz"] = []byte(catalogA), []byte(catalogB), []byte(`{"tools":[{"name":"only"}]}`)
	w.showWide()
	return w
}

func (w *world) showWide() {
	var recs []store.Node
	for i, n := range w.nodes {
		rec := n.record("a", "a-b")
		if i == 0 {
			rec = n.record("a", "a-b", "z")
		}
		for j := range rec.Servers {
			rec.Servers[j].Catalog = map[store.ServerID]store.Digest{"a": "da", "a-b": "db", "z": "dz"}[rec.Servers[j].ID]
		}
		recs = append(recs, rec)
	}
	w.fleet.set(recs...)
}

func tool(name string) string {
	return message(`"x"`, "tools/call", `{"_meta":{"progressToken":1},"name":"`+name+`","arguments":{"n":1.0}}`)
}

// Headers that mirror a name in the body would be lies once the name was rewritten.
func TestWideDropsMirrors(t *testing.T) {
	w := newWideWorld(t, 1)
	session, _ := begin(t, w.rs[0], "")
	p := do(w.rs[0], Request{SessionID: session, Body: []byte(tool("a-inc")), Header: http.Header{
		"Mcp-Name": {"a-inc"}, "Mcp-Method": {"tools/call"}, "Mcp-Param-N": {"1"}, "Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
	}})
	if p.err != nil {
		t.Fatal(p.err)
	}
	n := w.node(store.NodeID(p.get("result", "node")))
	n.mu.Lock()
	defer n.mu.Unlock()
	last := n.heads[len(n.heads)-1]
	for _, name := range []string{"Mcp-Name", "Mcp-Method", "Mcp-Param-N"} {
		if last[name] != nil {
			t.Errorf("node got %s: %q", name, last[name])
		}
	}
	if last["Traceparent"] == nil {
		t.Error("node did not get traceparent")
	}
}

func TestWideInitialize(t *testing.T) {
	w := newWideWorld(t, 1)
	for asked, want := range map[string]string{"2025-03-26": "2025-03-26", "2025-11-25": "2025-11-25", "2024-11-05": "2024-11-05", "1999-01-01": "2025-11-25"} {
		p := post(t, w.rs[0], "", "", message("1", "initialize", strings.Replace(initParams, "2025-11-25", asked, 1)))
		if got := p.get("result", "protocolVersion"); got != want {
			t.Errorf("asked for %s, got %s, want %s", asked, got, want)
		}
		if p.get("result", "capabilities") != wideCapabilitiesOf(want) || p.get("result", "serverInfo", "name") != "mcphub" || p.session() == "" {
			t.Errorf("%s, session %q", p.Body, p.session())
		}
	}
	for _, params := range []string{`{}`, `{"protocolVersion":5}`, `{"protocolVersion":null}`} {
		e := fails(t, do(w.rs[0], Request{Body: []byte(message("1", "initialize", params))}), ErrBadRequest)
		if e != nil && e.Code != -32602 {
			t.Errorf("initialize with %s: code %d, want -32602", params, e.Code)
		}
	}
	for _, n := range w.nodes {
		if n.posts != 0 {
			t.Error("a node was bothered by an initialize over all servers")
		}
	}
}

func TestWideList(t *testing.T) {
	w := newWideWorld(t, 2)
	session, _ := begin(t, w.rs[0], "")
	p := post(t, w.rs[0], "", session, message("1", "tools/list", ""))
	// a's b-c would be called a-b-c, which leads to c of a-b: it could not be called, so it is
	// not listed.
	want := `{"jsonrpc":"2.0","id":1,"result":{"tools":[` +
		`{"name":"a-inc","description":"d","x-own":{"keep":1.0}},` +
		`{"name":"a-b-c"},{"name":"a-b-quo\"te"},{"name":"z-only"}]}}`
	if p.Body.String() != want {
		t.Errorf("got  %s\nwant %s", p.Body, want)
	}
	// Another replica lists the same; the same list again costs no command.
	if other := post(t, w.rs[1], "", session, message("1", "tools/list", `{"cursor":null}`)); other.Body.String() != want {
		t.Errorf("another replica lists %s", other.Body)
	}
	before := w.store.total()
	w.fleet.change("node-1", func(n *store.Node) { n.Servers[0].Sessions = 5 })
	post(t, w.rs[0], "", session, message("2", "tools/list", "{}"))
	if got := w.store.total(); got != before {
		t.Errorf("a list that is known cost %d commands", got-before)
	}
	if p := post(t, w.rs[0], "", session, message("2", "tools/list", `{"cursor":"x"}`)); p.get("error", "code") != "-32602" {
		t.Errorf("with a cursor: %s", p.Body)
	}
	for _, n := range w.nodes {
		if n.posts != 0 {
			t.Error("a list cost an upstream call")
		}
	}
}

func TestWideListFollowsTheFleet(t *testing.T) {
	w := newWideWorld(t, 1)
	session, _ := begin(t, w.rs[0], "")
	list := func() string { return post(t, w.rs[0], "", session, message("1", "tools/list", "")).Body.String() }
	full := list()
	w.fleet.change("node-1", func(n *store.Node) { n.Servers[2].Status = store.ServerFailed })
	if got := list(); strings.Contains(got, "z-only") {
		t.Error("a server that can be called nowhere is listed")
	}
	w.store.mu.Lock()
	w.store.catalogs["da2"] = []byte(`{"tools":[{"name":"new"}]}`)
	w.store.mu.Unlock()
	for _, id := range []store.NodeID{"node-1", "node-2"} {
		w.fleet.change(id, func(n *store.Node) { n.Servers[0].Catalog = "da2" })
	}
	// The new catalog cannot be read: the last known tools go on being listed.
	w.store.setDown(true)
	if got := list(); !strings.Contains(got, "a-inc") || strings.Contains(got, "a-new") {
		t.Errorf("with the store away: %s", got)
	}
	w.store.setDown(false)
	retryCatalogs(w.rs[0])
	if got := list(); strings.Contains(got, "a-inc") || !strings.Contains(got, "a-new") {
		t.Errorf("with the store back: %s", got)
	}
	w.store.mu.Lock()
	w.store.catalogs["bad"] = []byte(`{"tools":[{"name":"x"}`)
	w.store.mu.Unlock()
	w.fleet.change("node-1", func(n *store.Node) { n.Servers[0].Catalog = "bad" })
	w.fleet.change("node-2", func(n *store.Node) { n.Servers[0].Catalog = "bad" })
	if got := list(); !strings.Contains(got, "a-new") {
		t.Errorf("with a damaged catalog: %s", got)
	}
	w.showWide()
	if got := list(); got != full {
		t.Errorf("back as it was: %s\nwant %s", got, full)
	}
}

func TestWideCall(t *testing.T) {
	w := newWideWorld(t, 3)
	session, _ := begin(t, w.rs[0], "")
	at := map[string]string{}
	for i := range 9 {
		for name, want := range map[string]string{"a-inc": "a", "a-b-c": "a-b", "z-only": "z"} {
			p := post(t, w.rs[i%3], "", session, tool(name))
			node := p.get("result", "node")
			if p.get("result", "server") != want || p.get("id") != "x" || p.get("result", "initialized") != "true" {
				t.Fatalf("%s: %s, want it run by %s", name, p.Body, want)
			}
			if at[want] != "" && at[want] != node {
				t.Fatalf("call %d of %s ran on %s, before on %s", i, want, node, at[want])
			}
			at[want] = node
		}
	}
	n := w.node(store.NodeID(at["z"]))
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.sessions["z "+session]; s == nil || s.calls != 9 || s.init != initParams {
		t.Errorf("upstream session = %+v, want 9 calls and what the client said", s)
	}
	want := message(`"x"`, "tools/call", `{"_meta":{"progressToken":1},"name":"only","arguments":{"n":1.0}}`)
	if !slices.Contains(n.bodies, want) {
		t.Errorf("no node got %s", want)
	}
	rec, _ := w.store.get(mustToken(t, w.rs[0], session).SessionID())
	for server, node := range at {
		if rec.Bindings[store.ServerID(server)].Node != store.NodeID(node) {
			t.Errorf("stored bindings = %v, want %s on %s", rec.Bindings, server, node)
		}
	}
}

// A known session costs no command here either.
func TestWideKnownSessionAsksNoStore(t *testing.T) {
	w := newWideWorld(t, 1)
	session, _ := begin(t, w.rs[0], "")
	post(t, w.rs[0], "", session, tool("a-inc"))
	before := w.store.total()
	for range 50 {
		post(t, w.rs[0], "", session, tool("a-inc"))
		post(t, w.rs[0], "", session, message("1", "ping", ""))
	}
	if got := w.store.total(); got != before {
		t.Errorf("100 requests cost %d commands, want 0", got-before)
	}
}

func TestWideRefusals(t *testing.T) {
	w := newWideWorld(t, 1)
	session, _ := begin(t, w.rs[0], "")
	for _, c := range []struct{ name, body, code string }{
		{"task", message("1", "tasks/get", `{"taskId":"x"}`), "-32602"},
		{"task of no server", message("1", "tasks/cancel", `{"taskId":"q~x"}`), "-32602"},
		{"task without id", message("1", "tasks/result", `{"taskId":"a~"}`), "-32602"},
		{"no task", message("1", "tasks/result", ""), "-32602"},
		{"task list with a cursor", message("1", "tasks/list", `{"cursor":"x"}`), "-32602"},
		{"log level", message("1", "logging/setLevel", `{"level":"loud"}`), "-32602"},
		{"no log level", message("1", "logging/setLevel", ""), "-32602"},
		{"unknown", message("1", "x", ""), "-32601"},
		{"unknown tool", tool("q-inc"), "-32602"},
		{"server without tool", tool("a-"), "-32602"},
		{"server alone", tool("a"), "-32602"},
		{"no params", message("1", "tools/call", ""), "-32602"},
		{"no name", message("1", "tools/call", "{}"), "-32602"},
		{"name is no string", message("1", "tools/call", `{"name":7}`), "-32602"},
		{"two names", message("1", "tools/call", `{"name":"a-inc","Name":"wipe"}`), "-32602"},
		{"two names, escaped", message("1", "tools/call", `{"name":"a-inc","\u006eAME":"wipe"}`), "-32602"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if p := post(t, w.rs[0], "", session, c.body); p.get("error", "code") != c.code || len(p.get("error", "message")) < 10 {
				t.Errorf("%s, want %s and a sentence", p.Body, c.code)
			}
		})
	}
	for name, body := range map[string]string{
		"duplicate key": `{"jsonrpc":"2.0","id":1,"method":"ping","method":"ping"}`, "bad UTF-8": "{\"jsonrpc\":\"2.0\",\"id\":\"\xff\",\"method\":\"ping\"}",
		"trailing": message("1", "ping", "") + "x", "params are an array": message("1", "tools/call", `["name"]`), "response": `{"jsonrpc":"2.0","id":1,"result":{}}`,
		"initialize again": message("1", "initialize", initParams), "deep": message("1", "ping", `{"a":`+strings.Repeat("[", 70)+strings.Repeat("]", 70)+"}"),
	} {
		t.Run(name, func(t *testing.T) {
			fails(t, do(w.rs[0], Request{SessionID: session, Body: []byte(body)}), ErrBadRequest)
		})
	}
	if p := post(t, w.rs[0], "", session, message("", "notifications/roots/list_changed", "")); p.Code != http.StatusAccepted {
		t.Errorf("a notification got %d", p.Code)
	}
	for _, n := range w.nodes {
		if n.posts != 0 {
			t.Error("something refused reached a node")
		}
	}
}

// First calls to one server at three coordinators at once: they agree on one place, where one
// session sees all of them.
func TestWideConcurrentFirstUse(t *testing.T) {
	for round := range 20 {
		w := newWideWorld(t, 3)
		session, _ := begin(t, w.rs[0], "")
		for _, r := range w.rs {
			post(t, r, "", session, message("1", "ping", "")) // all have it cached
		}
		var all sync.WaitGroup
		for i := range 12 {
			all.Go(func() {
				p := do(w.rs[i%3], Request{SessionID: session, Body: []byte(tool("a-inc"))})
				if p.err != nil || p.get("result", "server") != "a" {
					t.Errorf("round %d: %v %s", round, p.err, p.Body)
				}
			})
		}
		all.Wait()
		held, calls := 0, 0
		for _, n := range w.nodes {
			n.mu.Lock()
			for _, s := range n.sessions {
				held, calls = held+1, calls+s.calls
			}
			n.mu.Unlock()
		}
		if held != 1 || calls != 12 {
			t.Fatalf("round %d: %d upstream sessions saw %d calls; want 1 and 12", round, held, calls)
		}
	}
}

// A place that another coordinator has just agreed on is waited for while it is being opened
// there, not taken for lost.
func TestWideFollowerWaits(t *testing.T) {
	w := newWideWorld(t, 2)
	session, _ := begin(t, w.rs[0], "")
	post(t, w.rs[1], "", session, message("1", "ping", ""))
	home := store.NodeID(post(t, w.rs[0], "", session, tool("a-inc")).get("result", "node"))
	var refusals atomic.Int32
	w.node(home).setHook(func(w http.ResponseWriter, _ *http.Request, f *wire.Frame) bool {
		if f.Method != "tools/call" || refusals.Add(1) > 3 {
			return false
		}
		refuseAs(w, http.StatusNotFound, wire.RefusedSession)
		return true
	})
	p := post(t, w.rs[1], "", session, tool("a-inc"))
	if got := p.get("result", "node"); got != string(home) {
		t.Errorf("the call ran on %q, want %q", got, home)
	}
	if s := w.rs[1].Stats(); s.Opened != 0 || s.Moved != 0 {
		t.Errorf("stats = %+v: the follower opened or moved the session", s)
	}
}

func TestWideFailover(t *testing.T) {
	w := newWideWorld(t, 2)
	session, _ := begin(t, w.rs[0], "")
	home := store.NodeID(post(t, w.rs[0], "", session, tool("a-inc")).get("result", "node"))
	post(t, w.rs[1], "", session, tool("a-inc"))
	w.node(home).kill()
	for i, r := range w.rs {
		if got := post(t, r, "", session, tool("a-inc")).get("result", "node"); got != string(w.other(home).id) {
			t.Errorf("replica %d: the call ran on %q", i, got)
		}
	}
	if n := w.other(home).count("initialize"); n != 1 {
		t.Errorf("opened %d times, want once", n)
	}
	// z lived on node-1 alone: if that is the dead one, it is said so; else it works.
	p := do(w.rs[0], Request{SessionID: session, Body: []byte(tool("z-only"))})
	if home == "node-1" {
		fails(t, p, ErrNoReplica)
	} else if p.err != nil {
		t.Error(p.err)
	}
}

// With the store away a replica that does not know the place computes it, and looks whether
// the session is there already before it opens one.
func TestWideWithStoreAway(t *testing.T) {
	w := newWideWorld(t, 3)
	session, _ := begin(t, w.rs[0], "")
	post(t, w.rs[1], "", session, message("1", "ping", ""))
	w.store.setDown(true)
	a := post(t, w.rs[0], "", session, tool("a-inc"))
	b := post(t, w.rs[1], "", session, tool("a-inc"))
	// This one has never heard of the session and could not open it.
	if c := post(t, w.rs[2], "", session, tool("a-inc")); c.get("result", "calls") != "3" {
		t.Errorf("a replica that knows the id alone: %s", c.Body)
	}
	if a.get("result", "node") != b.get("result", "node") || b.get("result", "calls") != "2" {
		t.Errorf("%s\n%s\nwant the second call in the session that the first opened", a.Body, b.Body)
	}
	w.store.setDown(false)
	for _, r := range w.rs {
		r.catchUp(context.Background())
	}
	rec, _ := w.store.get(mustToken(t, w.rs[0], session).SessionID())
	if got := rec.Bindings["a"].Node; got != store.NodeID(a.get("result", "node")) {
		t.Errorf("agreed on %q later, want %s", got, a.get("result", "node"))
	}
}

// A cancellation reaches the server that runs the call, whichever coordinator it comes to.
func TestWideCancellation(t *testing.T) {
	w := newWideWorld(t, 2)
	session, _ := begin(t, w.rs[0], "")
	post(t, w.rs[1], "", session, message("1", "ping", "")) // cached there without any place
	post(t, w.rs[0], "", session, tool("a-inc"))
	post(t, w.rs[0], "", session, tool("z-only"))
	p := post(t, w.rs[1], "", session, message("", "notifications/cancelled", `{"requestId":"x"}`))
	if p.Code != http.StatusAccepted {
		t.Errorf("status %d", p.Code)
	}
	n := 0
	for _, node := range w.nodes {
		n += node.count("notifications/cancelled")
	}
	if n != 2 {
		t.Errorf("%d servers heard of it, want the 2 that the session uses", n)
	}
}

func TestWideDelete(t *testing.T) {
	w := newWideWorld(t, 2)
	session, _ := begin(t, w.rs[0], "")
	post(t, w.rs[0], "", session, tool("a-inc"))
	post(t, w.rs[0], "", session, tool("a-b-c"))
	if p := do(w.rs[1], Request{SessionID: session, HTTPMethod: "DELETE"}); p.err != nil {
		t.Fatal(p.err)
	}
	for _, n := range w.nodes {
		if held, _ := n.held(); held != 0 {
			t.Errorf("%s still holds %d sessions", n.id, held)
		}
	}
	fails(t, do(w.rs[1], Request{SessionID: session, Body: []byte(tool("a-inc"))}), ErrUnknownSession)
}

// The store lost the session and this replica never saw its initialize.
func TestWideLost(t *testing.T) {
	w := newWideWorld(t, 2)
	session, _ := begin(t, w.rs[0], "")
	w.store.wipe()
	fails(t, do(w.rs[1], Request{SessionID: session, Body: []byte(tool("a-inc"))}), ErrUnavailable)
	waitedFor(t, w.rs[1], session)
	fails(t, do(w.rs[1], Request{SessionID: session, Body: []byte(tool("a-inc"))}), ErrUnknownSession)
	if p := do(w.rs[0], Request{SessionID: session, Body: []byte(tool("a-inc"))}); p.err != nil {
		t.Errorf("the replica that began the session: %v", p.err)
	}
	if p := do(w.rs[1], Request{SessionID: session, Body: []byte(tool("a-inc"))}); p.err != nil {
		t.Errorf("after it was written back: %v", p.err)
	}
}

func TestResolveLongestServer(t *testing.T) {
	w := newWideWorld(t, 1)
	for name, want := range map[string][2]string{
		"a-inc": {"a", "inc"}, "a-b": {"a", "b"}, "a-b-c": {"a-b", "c"}, "a-b-": {"a", "b-"}, "z-a-b": {"z", "a-b"}, "a--": {"a", "-"},
		"": {}, "a": {}, "a-": {}, "b-x": {}, "az-x": {},
	} {
		server, tool, ok := w.rs[0].roster().names.resolve(name)
		if string(server) != want[0] || tool != want[1] || ok != (want[0] != "") {
			t.Errorf("resolve(%q) = %q, %q, %t; want %q", name, server, tool, ok, want)
		}
	}
}

// With the store away, and the session new to this replica, a cancellation goes where every
// replica would place the session.
func TestWideCancellationWithStoreAway(t *testing.T) {
	for _, scope := range []string{"", "group/team"} {
		h := newDocsHub(t, 2)
		h.book.put("team", "files")
		h.store.setDown(true)
		session, _ := begin(t, h.rs[0], scope)
		at := post(t, h.rs[0], scope, session, tool("files-read")).get("result", "node")
		p := post(t, h.rs[1], scope, session, message("", "notifications/cancelled", `{"requestId":"x"}`))
		if p.Code != http.StatusAccepted {
			t.Errorf("status %d", p.Code)
		}
		if got := h.node(store.NodeID(at)).count("notifications/cancelled"); got != 1 {
			t.Errorf("scope %q: the node that runs the call heard of %d cancellations", scope, got)
		}
	}
}

// A replica that has never seen the nodes does not say that there is nothing.
func TestNodesNotKnownYet(t *testing.T) {
	w := newWideWorld(t, 1)
	r := w.rs[0]
	session, _ := begin(t, r, "")
	snap := w.fleet.Snapshot()
	for name, none := range map[string]*store.Snapshot{"none": nil, "never read": {}} {
		w.fleet.snap.Store(none)
		for _, req := range []Request{
			{Scope: "a", Body: []byte(message("1", "initialize", initParams))},
			{SessionID: session, Body: []byte(message("1", "tools/list", ""))},
			{SessionID: session, Body: []byte(message("1", "tools/call", `{"name":"a-inc"}`))},
		} {
			e := fails(t, do(r, req), ErrNoReplica)
			if string(e.ID) != "1" || e.RetryAfter <= 0 || e.Code != wire.CodeNotExecuted {
				t.Errorf("snapshot %s, %s: %+v", name, req.Body, e)
			}
		}
	}
	w.fleet.snap.Store(&store.Snapshot{Revision: 1, Taken: snap.Taken.Add(time.Hour)}) // read, and empty
	fails(t, do(r, Request{Scope: "a", Body: []byte(message("1", "initialize", initParams))}), ErrUnknownServer)
}

// A place that was agreed on long ago is not waited for.
func TestOldPlaceIsNotWaitedFor(t *testing.T) {
	w := newWideWorld(t, 2)
	id, _ := begin(t, w.rs[0], "")
	post(t, w.rs[0], "", id, tool("a-inc"))
	rec, _ := w.store.get(mustToken(t, w.rs[0], id).SessionID())
	for name, tc := range map[string]struct {
		issued, init bool // just issued; this replica knew the session
		want         bool
	}{
		"session new to this replica":      {want: false},
		"session that has just begun":      {issued: true, want: true},
		"session known here, place is not": {init: true, want: true},
	} {
		s := &session{tok: Token{Issued: time.Now().Add(-time.Hour)}}
		if tc.issued {
			s.tok.Issued = time.Now()
		}
		if tc.init {
			s.init = []byte(initParams)
		}
		s.learn(rec, nil)
		if b, _ := s.place("a"); b.adopted.IsZero() == tc.want {
			t.Errorf("%s: adopted at %v, want so: %t", name, b.adopted, tc.want)
		}
	}
}

// retryCatalogs lets the time pass until a catalog that could not be read is asked for again.
func retryCatalogs(r *Router) {
	r.library.mu.Lock()
	defer r.library.mu.Unlock()
	for d, f := range r.library.failed {
		r.library.failed[d] = failedRead{time.Now().Add(-2 * catalogRetry), f.err}
	}
}

// While one catalog cannot be read, the others do not pile up, and the store is not asked for it
// with every list.
func TestUnreadableCatalog(t *testing.T) {
	w := newWideWorld(t, 1)
	r := w.rs[0]
	session, _ := begin(t, r, "")
	list := func(r *Router) string { return post(t, r, "", session, message("1", "tools/list", "")).Body.String() }
	for i := range 20 {
		d := store.Digest("d" + strconv.Itoa(i))
		w.store.mu.Lock()
		w.store.catalogs[d] = []byte(`{"tools":[{"name":"only"}]}`)
		w.store.mu.Unlock()
		rec := w.nodes[0].record("a", "z")
		rec.Servers[0].Catalog, rec.Servers[1].Catalog = "missing", d
		w.fleet.set(rec)
		if got := list(r); !strings.Contains(got, "z-only") {
			t.Fatalf("the list is %s", got)
		}
	}
	if got := len(r.library.known); got > 2 {
		t.Errorf("%d catalogs are kept for two servers", got)
	}
	before := w.store.total()
	for range 20 {
		list(r)
	}
	if got := w.store.total() - before; got > 1 {
		t.Errorf("20 lists asked the store %d times for what it has just not had", got)
	}
	w.store.mu.Lock()
	w.store.catalogs["missing"] = []byte(catalogA)
	w.store.mu.Unlock()
	retryCatalogs(r)
	if got := list(r); !strings.Contains(got, "a-inc") {
		t.Errorf("with the catalog back the list is %s", got)
	}
}
