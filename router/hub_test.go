package router

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// fakeBook is a GroupBook that tests change.
type fakeBook struct {
	mu     sync.Mutex
	groups map[string]store.Group
	unread bool
}

func (b *fakeBook) Group(name string) (store.Group, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	g, ok := b.groups[name]
	return g, ok
}

func (b *fakeBook) Loaded() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.unread
}

// put writes a group; a server is its name, or its name, a colon and the tools that are offered.
func (b *fakeBook) put(name string, servers ...string) {
	g := store.Group{Name: name}
	for _, s := range servers {
		id, tools, part := strings.Cut(s, ":")
		member := store.GroupServer{Name: store.ServerID(id)}
		if part {
			member.Tools = strings.Fields(tools)
		}
		g.Servers = append(g.Servers, member)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.groups == nil {
		b.groups = map[string]store.Group{}
	}
	b.groups[name] = g
}

func (b *fakeBook) drop(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.groups, name)
}

// hub is a world whose nodes run the servers of some catalogs.
type hub struct {
	*world
	book *fakeBook
}

// newHub has every server on each of two nodes.
func newHub(t testing.TB, routers int, catalogs map[store.ServerID]string) *hub {
	t.Helper()
	h := &hub{world: newWorld(t, 2, 0), book: &fakeBook{}}
	h.offer(catalogs)
	for range routers {
		h.rs = append(h.rs, h.router(h.store, func(c *Config) { c.Groups = h.book }))
	}
	return h
}

// offer gives the nodes other servers.
func (h *hub) offer(catalogs map[store.ServerID]string) {
	servers := slices.Sorted(maps.Keys(catalogs))
	h.store.mu.Lock()
	for _, s := range servers {
		h.store.catalogs[store.DigestOf([]byte(catalogs[s]))] = []byte(catalogs[s])
	}
	h.store.mu.Unlock()
	var recs []store.Node
	for _, n := range h.nodes {
		rec := n.record(servers...)
		for i := range rec.Servers {
			rec.Servers[i].Catalog = store.DigestOf([]byte(catalogs[rec.Servers[i].ID]))
		}
		recs = append(recs, rec)
	}
	h.fleet.set(recs...)
}

// fail makes a server fail on every node, with what the node says of it.
func (h *hub) fail(server store.ServerID, why string) {
	for _, n := range h.nodes {
		h.fleet.change(n.id, func(rec *store.Node) {
			for i := range rec.Servers {
				if s := &rec.Servers[i]; s.ID == server {
					s.Status, s.Error, s.Catalog = store.ServerFailed, why, ""
				}
			}
		})
	}
}

// names asks for a list of a scope and returns what its items are called by, with the cursor.
func (h *hub) names(t testing.TB, r *Router, req Request, method, cursor string) (names []string, next string) {
	t.Helper()
	params := ""
	if cursor != "" {
		params = `{"cursor":` + string(wire.Quote(cursor)) + `}`
	}
	req.Body = []byte(message("1", method, params))
	p := do(r, req)
	if p.err != nil {
		t.Fatalf("%s: %v", method, p.err)
	}
	var got struct {
		Result map[string]json.RawMessage `json:"result"`
		Error  json.RawMessage            `json:"error"`
	}
	if err := json.Unmarshal(p.Body.Bytes(), &got); err != nil || got.Error != nil {
		t.Fatalf("%s: %s, %v", method, p.Body, err)
	}
	var items []map[string]any
	if err := json.Unmarshal(got.Result[listings[method].key], &items); err != nil {
		t.Fatalf("%s: %s, %v", method, p.Body, err)
	}
	for _, i := range items {
		for _, key := range []string{"uriTemplate", "uri", "name"} {
			if s, ok := i[key].(string); ok {
				names = append(names, s)
				break
			}
		}
	}
	_ = json.Unmarshal(got.Result["nextCursor"], &next)
	return names, next
}

// asked is the last message with a method that a server of any node got.
func (h *hub) asked(method string) (body string) {
	for _, n := range h.nodes {
		n.mu.Lock()
		for _, b := range n.bodies {
			if strings.Contains(b, `"method":"`+method+`"`) {
				body = b
			}
		}
		n.mu.Unlock()
	}
	return body
}

// posts counts the requests that came to nodes.
func (h *hub) posts() (n int) {
	for _, node := range h.nodes {
		node.mu.Lock()
		n += node.posts
		node.mu.Unlock()
	}
	return n
}

// set is a limit to some servers.
func limitTo(servers ...store.ServerID) *Limit {
	l := &Limit{Servers: map[store.ServerID]bool{}}
	for _, s := range servers {
		l.Servers[s] = true
		l.Name += string(s) + " "
	}
	return l
}

// Catalogs that the tests of endpoints over several servers share.
const (
	catalogFiles = `{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"resources":{},"prompts":{}},"instructions":"Use files.",` +
		`"tools":[{"name":"read"},{"name":"write"}],` +
		`"prompts":[{"name":"review","arguments":[{"name":"path"}]}],` +
		`"resources":[{"uri":"file:///etc/motd","name":"motd"},{"uri":"test://both","name":"of files"}],` +
		`"resourceTemplates":[{"uriTemplate":"file:///{+path}","name":"any file"}]}`
	catalogDocs = `{"protocolVersion":"2025-11-25","capabilities":{"resources":{},"prompts":{},"completions":{},"logging":{}},"instructions":"Read docs.",` +
		`"tools":[{"name":"search"}],"prompts":[{"name":"review"},{"name":"summary"}],` +
		`"resources":[{"uri":"test://both","name":"of docs"},{"uri":"docs://index","name":"index"}],` +
		`"resourceTemplates":[{"uriTemplate":"docs://page/{id}","name":"page"},{"uriTemplate":"file:///docs/{name}.md","name":"file"}]}`
)

func newDocsHub(t testing.TB, routers int) *hub {
	return newHub(t, routers, map[store.ServerID]string{"files": catalogFiles, "docs": catalogDocs, "quiet": `{"tools":[]}`})
}
