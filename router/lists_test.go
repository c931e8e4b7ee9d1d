package router

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

func TestEveryListIsMerged(t *testing.T) {
	h := newDocsHub(t, 2)
	session, _ := begin(t, h.rs[0], "")
	for method, want := range map[string][]string{
		"tools/list":               {"docs-search", "files-read", "files-write"},
		"prompts/list":             {"docs-review", "docs-summary", "files-review"},
		"resources/list":           {"test://both", "docs://index", "file:///etc/motd"},
		"resources/templates/list": {"docs://page/{id}", "file:///docs/{name}.md", "file:///{+path}"},
	} {
		for i, r := range h.rs {
			if got, next := h.names(t, r, Request{SessionID: session}, method, ""); !slices.Equal(got, want) || next != "" {
				t.Errorf("replica %d: %s = %q, next %q; want %q on one page", i, method, got, next, want)
			}
		}
	}
	if n := h.posts(); n != 0 {
		t.Errorf("the lists cost %d requests to nodes", n)
	}
	// What two servers list is the first one's, byte for byte.
	p := post(t, h.rs[0], "", session, message("1", "resources/list", ""))
	if !strings.Contains(p.Body.String(), `{"uri":"test://both","name":"of docs"}`) || strings.Contains(p.Body.String(), "of files") {
		t.Errorf("resources = %s", p.Body)
	}
	// A prompt keeps everything but its name.
	p = post(t, h.rs[0], "", session, message("1", "prompts/list", ""))
	if !strings.Contains(p.Body.String(), `{"name":"files-review","arguments":[{"name":"path"}]}`) {
		t.Errorf("prompts = %s", p.Body)
	}
}

// The pages of a list may come from any replica, and together hold each item once.
func TestPagesFromAnyReplica(t *testing.T) {
	catalogs := map[store.ServerID]string{}
	var want []string
	for s := range 5 {
		var tools []string
		for i := range 7 {
			tools = append(tools, fmt.Sprintf(`{"name":"t%d"}`, i))
			want = append(want, fmt.Sprintf("s%d-t%d", s, i))
		}
		catalogs[store.ServerID(fmt.Sprint("s", s))] = `{"tools":[` + strings.Join(tools, ",") + `]}`
	}
	h := newHub(t, 0, catalogs)
	for range 3 {
		h.rs = append(h.rs, h.router(h.store, func(c *Config) { c.PageSize = 4 }))
	}
	session, _ := begin(t, h.rs[0], "")
	var got []string
	cursor := ""
	for i := range 20 {
		page, next := h.names(t, h.rs[i%3], Request{SessionID: session}, "tools/list", cursor)
		if got = append(got, page...); next == "" {
			break
		}
		if len(page) != 4 {
			t.Fatalf("page %d has %d items, want 4", i, len(page))
		}
		cursor = next
	}
	if !slices.Equal(got, want) {
		t.Errorf("the pages hold %q, want %q", got, want)
	}
	for name, c := range map[string]struct{ method, cursor string }{
		"of another list": {"prompts/list", cursor}, "made up": {"tools/list", "bm90IGEgY3Vyc29y"}, "empty": {"tools/list", ""},
		"a session id": {"tools/list", session},
	} {
		p := post(t, h.rs[0], "", session, message("1", c.method, `{"cursor":"`+c.cursor+`"}`))
		if p.get("error", "code") != "-32602" || len(p.get("error", "message")) < 10 {
			t.Errorf("a cursor %s: %s, want -32602", name, p.Body)
		}
	}
	for _, bad := range []string{"7", "{}", "[]", "true"} {
		if p := post(t, h.rs[0], "", session, message("1", "tools/list", `{"cursor":`+bad+`}`)); p.get("error", "code") != "-32602" {
			t.Errorf("cursor %s: %s, want -32602", bad, p.Body)
		}
	}
	// A server that goes away under a client that pages leaves the rest of the list as it was.
	cursor = h.cursorAfter(t, h.rs[0], session, 2)
	h.fail("s1", "gone")
	page, _ := h.names(t, h.rs[1], Request{SessionID: session}, "tools/list", cursor)
	if !slices.Equal(page, want[14:18]) {
		t.Errorf("the third page without s1 is %q, want %q", page, want[14:18])
	}
}

// cursorAfter pages through the tools, as they are now, on one replica.
func (h *hub) cursorAfter(t *testing.T, r *Router, session string, pages int) (cursor string) {
	t.Helper()
	for range pages {
		_, cursor = h.names(t, r, Request{SessionID: session}, "tools/list", cursor)
	}
	return cursor
}

func TestGroupShowsItsServersAndTools(t *testing.T) {
	h := newDocsHub(t, 2)
	h.book.put("team", "files:write unknown", "docs", "nowhere")
	session, _ := begin(t, h.rs[0], "group/team")
	req := Request{Scope: "group/team", SessionID: session}
	check := func(when, method string, want ...string) {
		t.Helper()
		if got, _ := h.names(t, h.rs[1], req, method, ""); !slices.Equal(got, want) {
			t.Errorf("%s: %s = %q, want %q", when, method, got, want)
		}
	}
	check("at first", "tools/list", "docs-search", "files-write")
	check("at first", "prompts/list", "docs-review", "docs-summary", "files-review")
	check("at first", "resources/templates/list", "docs://page/{id}", "file:///docs/{name}.md", "file:///{+path}")
	call := func(name string) reply { return post(t, h.rs[1], "group/team", session, tool(name)) }
	if p := call("files-write"); p.get("result", "server") != "files" {
		t.Errorf("a tool of the group: %s", p.Body)
	}
	// What is outside is refused in the words for what does not exist at all.
	nothing := call("nope-read").Body.String()
	for _, name := range []string{"files-read", "quiet-x", "nowhere-x"} {
		if p := call(name); p.Body.String() != nothing {
			t.Errorf("%s: %s, want %s", name, p.Body, nothing)
		}
	}
	// A change holds from the next request on.
	h.book.put("team", "files")
	check("changed", "tools/list", "files-read", "files-write")
	check("changed", "resources/list", "file:///etc/motd", "test://both")
	if p := call("docs-search"); p.Body.String() != nothing {
		t.Errorf("a server that has left the group: %s", p.Body)
	}
	if p := call("files-read"); p.get("result", "server") != "files" {
		t.Errorf("a tool that has come into the group: %s", p.Body)
	}
	h.book.drop("team")
	fails(t, do(h.rs[1], Request{Scope: "group/team", SessionID: session, Body: []byte(message("1", "tools/list", ""))}), ErrUnknownSession)
	fails(t, do(h.rs[1], Request{Scope: "group/team", Body: []byte(message("1", "initialize", initParams))}), ErrUnknownServer)
}

// A replica that has never read the groups does not say that there is none.
func TestGroupsNotKnownYet(t *testing.T) {
	h := newDocsHub(t, 1)
	h.book.put("team", "files")
	session, _ := begin(t, h.rs[0], "group/team")
	h.book.drop("team")
	h.book.unread = true
	for _, req := range []Request{
		{Scope: "group/team", SessionID: session, Body: []byte(message("1", "tools/list", ""))},
		{Scope: "group/team", Body: []byte(message("1", "initialize", initParams))},
	} {
		if e := fails(t, do(h.rs[0], req), ErrNoReplica); e.Code != wire.CodeNotExecuted || string(e.ID) != "1" || e.RetryAfter <= 0 {
			t.Errorf("%s: %+v", req.Body, e)
		}
	}
	alone := h.router(h.store, nil)
	fails(t, do(alone, Request{Scope: "group/team", Body: []byte(message("1", "initialize", initParams))}), ErrUnknownServer)
}

// A session of a group is none of another one, nor of the hub.
func TestGroupSessionStaysInItsGroup(t *testing.T) {
	h := newDocsHub(t, 1)
	h.book.put("team", "files")
	h.book.put("other", "files")
	session, _ := begin(t, h.rs[0], "group/team")
	for _, scope := range []string{"", "group/other", "files", "team"} {
		fails(t, do(h.rs[0], Request{Scope: scope, SessionID: session, Body: []byte(message("1", "ping", ""))}), ErrUnknownSession)
	}
	call := post(t, h.rs[0], "group/team", session, tool("files-read"))
	rec, _ := h.store.get(mustToken(t, h.rs[0], session).SessionID())
	if rec.Scope != "group/team" || string(rec.Bindings["files"].Node) != call.get("result", "node") {
		t.Errorf("stored is %+v", rec)
	}
}

// What a client's key may not use does not exist for it, on every kind of endpoint.
func TestLimit(t *testing.T) {
	h := newDocsHub(t, 1)
	h.book.put("team", "files", "docs")
	limit := limitTo("docs")
	for _, scope := range []string{"", "group/team"} {
		p := do(h.rs[0], Request{Scope: scope, Limit: limit, Body: []byte(message("1", "initialize", initParams))})
		if p.err != nil || strings.Contains(p.Body.String(), "Use files") || !strings.Contains(p.Body.String(), "Read docs") {
			t.Fatalf("initialize at %q: %v, %s", scope, p.err, p.Body)
		}
		req := Request{Scope: scope, Limit: limit, SessionID: p.session()}
		for method, want := range map[string][]string{
			"tools/list": {"docs-search"}, "prompts/list": {"docs-review", "docs-summary"}, "resources/list": {"test://both", "docs://index"},
		} {
			if got, _ := h.names(t, h.rs[0], req, method, ""); !slices.Equal(got, want) {
				t.Errorf("%s at %q = %q, want %q", method, scope, got, want)
			}
		}
		ask := func(body string) string {
			req.Body = []byte(body)
			return do(h.rs[0], req).Body.String()
		}
		for _, c := range [][2]string{
			{tool("files-read"), tool("nope-read")},
			{message("1", "prompts/get", `{"name":"files-review"}`), message("1", "prompts/get", `{"name":"nope-review"}`)},
			{message("1", "completion/complete", `{"ref":{"type":"ref/prompt","name":"files-review"}}`), message("1", "completion/complete", `{"ref":{"type":"ref/prompt","name":"nope-review"}}`)},
			{message("1", "completion/complete", `{"ref":{"type":"ref/resource","uri":"file:///{+path}"}}`), message("1", "completion/complete", `{"ref":{"type":"ref/resource","uri":"nope:///{+path}"}}`)},
			{message("1", "completion/complete", `{"ref":{"type":"ref/resource","uri":"file:///etc/motd"}}`), message("1", "completion/complete", `{"ref":{"type":"ref/resource","uri":"nope:///etc/motd"}}`)},
		} {
			if got, want := ask(c[0]), ask(c[1]); got != want || !strings.Contains(got, "-32602") {
				t.Errorf("%s at %q: %s\nwant %s", c[0], scope, got, want)
			}
		}
		if n := h.posts(); n != 0 {
			t.Errorf("%d requests reached a node", n)
		}
	}
	// Of the scheme of files, docs has a template: it is asked, and says that there is no such file.
	session, _ := begin(t, h.rs[0], "")
	for uri, want := range map[string]string{"file:///etc/motd": "docs", "file:///etc/none": "docs", "test://both": "docs"} {
		p := do(h.rs[0], Request{Limit: limit, SessionID: session, Body: []byte(message("1", "resources/read", `{"uri":"`+uri+`"}`))})
		if p.err != nil || p.get("result", "server") != want {
			t.Errorf("%s within the limit: %v, %s", uri, p.err, p.Body)
		}
	}
	p := do(h.rs[0], Request{Limit: limitTo("quiet"), SessionID: session, Body: []byte(message("1", "resources/read", `{"uri":"file:///etc/motd"}`))})
	if p.err != nil || p.get("error", "code") != "-32002" || strings.Contains(p.Body.String(), "files") {
		t.Errorf("a resource outside: %v, %s", p.err, p.Body)
	}
}

func TestLimitOfOneServer(t *testing.T) {
	h := newDocsHub(t, 1)
	limit := limitTo("docs")
	none := fails(t, do(h.rs[0], Request{Scope: "nope", Limit: limit, Body: []byte(message("1", "initialize", initParams))}), ErrUnknownServer)
	outside := fails(t, do(h.rs[0], Request{Scope: "files", Limit: limit, Body: []byte(message("1", "initialize", initParams))}), ErrUnknownServer)
	if string(none.Frame()) != string(outside.Frame()) {
		t.Errorf("a server outside of the limit: %s, want %s", outside.Frame(), none.Frame())
	}
	session, _ := begin(t, h.rs[0], "files")
	req := Request{Scope: "files", SessionID: session, Body: []byte(tool("read"))}
	if p := do(h.rs[0], req); p.err != nil {
		t.Fatal(p.err)
	}
	req.Limit = limit // the key has been changed since
	fails(t, do(h.rs[0], req), ErrUnknownServer)
	req.SessionID = "made-up"
	fails(t, do(h.rs[0], req), ErrUnknownSession)
}

// A name means the same whatever the client may use and whichever servers are well.
func TestNameDoesNotChangeItsMeaning(t *testing.T) {
	h := newHub(t, 1, map[store.ServerID]string{"a": `{"tools":[{"name":"b-x"},{"name":"y"}]}`, "a-b": `{"tools":[{"name":"x"}]}`})
	session, _ := begin(t, h.rs[0], "")
	unknown := post(t, h.rs[0], "", session, tool("nope-x")).Body.String()
	if p := do(h.rs[0], Request{SessionID: session, Limit: limitTo("a"), Body: []byte(tool("a-b-x"))}); p.Body.String() != unknown {
		t.Errorf("a-b-x without a-b: %s, want %s", p.Body, unknown)
	}
	h.fail("a-b", "crashed")
	e := fails(t, do(h.rs[0], Request{SessionID: session, Body: []byte(tool("a-b-x"))}), ErrNoReplica)
	if !strings.Contains(e.Message, "a-b is not available: failed on node-1: crashed; failed on node-2: crashed") {
		t.Errorf("a-b-x while a-b is away: %q", e.Message)
	}
	if got, _ := h.names(t, h.rs[0], Request{SessionID: session}, "tools/list", ""); !slices.Equal(got, []string{"a-y"}) {
		t.Errorf("listed are %q: a's b-x could not be called", got)
	}
}

// However many clients ask at the same moment, each catalog is read once.
func TestCatalogsAreReadOnce(t *testing.T) {
	h := newDocsHub(t, 1)
	session, _ := begin(t, newDocsHubRouter(h), "")
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if p := do(h.rs[0], Request{SessionID: session, Body: []byte(message("1", "tools/list", ""))}); p.err != nil {
				t.Error(p.err)
			}
		})
	}
	all.Wait()
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	// Three by the router that began the session, and three by this one.
	if n := h.store.ops["catalog"]; n != 6 {
		t.Errorf("the store was asked %d times for three catalogs by two replicas", n)
	}
}

// newDocsHubRouter is another replica of a hub.
func newDocsHubRouter(h *hub) *Router {
	return h.router(h.store, func(c *Config) { c.Groups = h.book })
}

// A replica that works behind the requests knows the catalogs before anybody asks, so that it can
// list them when the store is away. One that never could says so, and does not list less.
func TestListsWithTheStoreAway(t *testing.T) {
	h := newDocsHub(t, 2)
	session, _ := begin(t, h.rs[0], "")
	h.rs[1].readCatalogs(context.Background())
	post(t, h.rs[1], "", session, message("1", "ping", ""))
	fresh := newDocsHubRouter(h)
	h.store.setDown(true)
	if got, _ := h.names(t, h.rs[1], Request{SessionID: session}, "tools/list", ""); len(got) != 3 {
		t.Errorf("with the store away the list is %q", got)
	}
	for _, body := range []string{
		message("1", "tools/list", ""), message("1", "resources/read", `{"uri":"docs://index"}`),
		message("1", "completion/complete", `{"ref":{"type":"ref/resource","uri":"docs://page/{id}"}}`),
	} {
		e := fails(t, do(fresh, Request{SessionID: session, Body: []byte(body)}), ErrNoReplica)
		if string(e.ID) != "1" || e.RetryAfter <= 0 || !strings.Contains(e.Message, "docs") {
			t.Errorf("%s: %+v", body, e)
		}
	}
	if _, err := fresh.Conflicts(context.Background(), ""); err == nil {
		t.Error("conflicts are told of catalogs that nobody knows")
	}
	// A session can begin all the same, and by name everything can be called.
	p := do(fresh, Request{Body: []byte(message("1", "initialize", initParams))})
	if p.err != nil || p.get("result", "instructions") != "" {
		t.Errorf("initialize: %v, %s", p.err, p.Body)
	}
	if p := post(t, fresh, "", p.session(), tool("files-read")); p.get("result", "server") != "files" {
		t.Errorf("a call: %s", p.Body)
	}
	if p := post(t, fresh, "", p.session(), message("1", "completion/complete", `{"ref":{"type":"ref/prompt","name":"docs-review"}}`)); p.get("result", "server") != "docs" {
		t.Errorf("a completion: %s", p.Body)
	}
	h.store.setDown(false)
	retryCatalogs(fresh)
	if got, _ := h.names(t, fresh, Request{SessionID: session}, "tools/list", ""); len(got) != 3 {
		t.Errorf("with the store back the list is %q", got)
	}
}

// The list of a server that changed is fetched once and shown at once.
func TestListFollowsAChange(t *testing.T) {
	h := newDocsHub(t, 2)
	session, _ := begin(t, h.rs[0], "")
	list := func(r *Router) []string {
		got, _ := h.names(t, r, Request{SessionID: session}, "tools/list", "")
		return got
	}
	for _, r := range h.rs {
		list(r)
	}
	h.offer(map[store.ServerID]string{"files": `{"tools":[{"name":"stat"}]}`, "docs": catalogDocs, "quiet": `{"tools":[]}`, "new": `{"tools":[{"name":"x"}]}`})
	before := h.store.total()
	for i, r := range h.rs {
		if got := list(r); !slices.Equal(got, []string{"docs-search", "files-stat", "new-x"}) {
			t.Errorf("replica %d lists %q", i, got)
		}
	}
	if got := h.store.total() - before; got != 4 {
		t.Errorf("two changed catalogs cost two replicas %d commands, want 4", got)
	}
	if n := h.rs[0].lists.Len(); n > maxLists {
		t.Errorf("%d lists are kept", n)
	}
	for i := range 3 * maxLists { // as many views as there are keys
		l := limitTo("docs")
		l.Servers[store.ServerID(fmt.Sprint("x", i))] = true
		h.book.put(fmt.Sprint("g", i), "files:stat"+strings.Repeat(" x", i))
		s, _ := begin(t, h.rs[0], fmt.Sprint("group/g", i))
		if got, _ := h.names(t, h.rs[0], Request{Scope: fmt.Sprint("group/g", i), SessionID: s}, "tools/list", ""); len(got) != 1 {
			t.Fatalf("group %d lists %q", i, got)
		}
	}
	if n := h.rs[0].lists.Len(); n != maxLists {
		t.Errorf("%d lists are kept, want at most %d", n, maxLists)
	}
}

// Groups with the same servers and other tools are not taken for one another, however their tools
// are called.
func TestViewsAreToldApart(t *testing.T) {
	h := newHub(t, 1, map[store.ServerID]string{"s": `{"tools":[{"name":"a"},{"name":"b"},{"name":"a1:b"}]}`})
	for name, tools := range map[string][]string{"one": {"a", "b"}, "two": {"a1:b"}, "three": {"b", "a"}, "none": {}, "all": nil} {
		h.book.put(name)
		h.book.groups[name] = store.Group{Name: name, Servers: []store.GroupServer{{Name: "s", Tools: tools}}}
	}
	for name, want := range map[string][]string{"one": {"s-a", "s-b"}, "two": {"s-a1:b"}, "three": {"s-a", "s-b"}, "none": nil, "all": {"s-a", "s-b", "s-a1:b"}} {
		session, _ := begin(t, h.rs[0], "group/"+name)
		for range 2 {
			if got, _ := h.names(t, h.rs[0], Request{Scope: "group/" + name, SessionID: session}, "tools/list", ""); !slices.Equal(got, want) {
				t.Errorf("group %s lists %q, want %q", name, got, want)
			}
		}
	}
}

func TestPageSize(t *testing.T) {
	for size, want := range map[int]int{0: 1000, -3: 1000, 7: 7} {
		if got := (Config{PageSize: size}).withDefaults().PageSize; got != want {
			t.Errorf("PageSize %d means %d, want %d", size, got, want)
		}
	}
}

func TestPageIsWrittenWhole(t *testing.T) {
	var items []item
	for range 3000 {
		items = append(items, item{raw: []byte(`{"name":"` + strings.Repeat("x", 1000) + `"}`)})
	}
	w := &discardWriter{header: http.Header{}}
	if err := writePage(w, []byte(`"id"`), "tools", items, "next"); err != nil || w.header.Get("Content-Length") != fmt.Sprint(w.n) {
		t.Errorf("%v: Content-Length %s, written %d", err, w.header.Get("Content-Length"), w.n)
	}
}
