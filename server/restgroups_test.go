package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/store"
)

func TestGroupsByREST(t *testing.T) {
	r := newServer(t, grouped, nil)
	r.groups.set(store.Group{Name: "fixed", Description: "of the file", Servers: []store.GroupServer{{Name: "everything"}}})
	r = r.run(t)
	const fixed = `{"name":"fixed","description":"of the file","servers":["everything"],"source":"settings"}`
	same(t, "list", r.do(t, "GET", "/api/groups", "").body, `{"success":true,"data":[`+fixed+`]}`)

	p := r.do(t, "POST", "/api/groups", `{"name":"team","description":"ours","servers":["memory",{"name":"everything","tools":["echo"]},{"name":"later","tools":"all"},{"name":"broken"}]}`)
	const team = `{"name":"team","description":"ours","servers":["memory",{"name":"everything","tools":["echo"]},"later","broken"],"source":"redis","updatedAt":1767268800000,"unknown":["later"]}`
	if p.status != http.StatusCreated || p.header.Get("Location") != "/api/groups/team" {
		t.Errorf("POST = %d, Location %q", p.status, p.header.Get("Location"))
	}
	same(t, "made", p.body, `{"success":true,"data":`+team+`}`)
	same(t, "one", r.do(t, "GET", "/api/groups/team", "").body, `{"success":true,"data":`+team+`}`)
	same(t, "list", r.do(t, "GET", "/api/groups", "").body, `{"success":true,"data":[`+fixed+`,`+team+`]}`)

	p = r.do(t, "PUT", "/api/groups/team", `{"name":"team","servers":[{"name":"memory","tools":[]}]}`)
	if p.status != http.StatusOK {
		t.Errorf("PUT = %d", p.status)
	}
	same(t, "changed", p.body, `{"success":true,"data":{"name":"team","description":"","servers":[{"name":"memory","tools":[]}],"source":"redis","updatedAt":1767268800000}}`)

	same(t, "deleted", r.do(t, "DELETE", "/api/groups/team", "").body, `{"success":true,"data":{"name":"team"}}`)
	if p := r.do(t, "GET", "/api/groups/team", ""); p.status != 404 || p.sentence(t) != "there is no group team" {
		t.Errorf("GET of a deleted group = %d %s", p.status, p.body)
	}
	same(t, "list", r.do(t, "GET", "/api/groups", "").body, `{"success":true,"data":[`+fixed+`]}`)
}

// A session over a group is shown like one over all servers: where it was bound last.
func TestSessionsOverGroupsAreShown(t *testing.T) {
	r := newServer(t, grouped, nil)
	r.store.sessions[sidOne] = store.Session{ID: sidOne, Scope: "group/team", Created: noon}
	r.store.sessions[sidWide] = store.Session{ID: sidWide, Scope: "group/team", Created: noon, Bindings: map[store.ServerID]store.Binding{"memory": {Node: "node-2", Epoch: 5}}}
	r = r.run(t)
	same(t, "not bound yet", r.do(t, "GET", "/api/cluster/sessions/"+string(sidOne), "").body, `{"success":true,"data":{"sessionId":"`+string(sidOne)+`","nodeId":"","serverId":"",
		"createdAt":1767268800000,"lastAccessed":0,"expiresAt":0,"scope":"group/team","protocolVersion":"","bindings":[]}}`)
	same(t, "bound", r.do(t, "GET", "/api/cluster/sessions/"+string(sidWide), "").body, `{"success":true,"data":{"sessionId":"`+string(sidWide)+`","nodeId":"node-2","serverId":"memory",
		"createdAt":1767268800000,"lastAccessed":0,"expiresAt":0,"scope":"group/team","protocolVersion":"","bindings":[{"serverId":"memory","nodeId":"node-2","epoch":5}]}}`)
}

// A node may register a server under the name of a group after the group was made.
func TestAGroupWithTheNameOfAServerIsMarked(t *testing.T) {
	r := newServer(t, grouped, nil)
	r.groups.set(store.Group{Name: "memory", Updated: noon})
	r = r.run(t)
	if p := r.do(t, "GET", "/api/groups/memory", ""); !strings.Contains(p.body, `"conflict":true`) {
		t.Errorf("GET = %s", p.body)
	}
}

func TestBadGroupsAreRefused(t *testing.T) {
	r := newServer(t, grouped, nil)
	r.groups.set(store.Group{Name: "team", Updated: noon, Servers: []store.GroupServer{{Name: "memory"}}})
	r.groups.fixed = "fixed"
	r = r.run(t)
	big := strings.Repeat(" ", maxGroup+1)
	for _, tt := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"POST", "/api/groups", `{"name":"team","servers":[]}`, 409, "there is a group team already; change it with PUT"},
		{"POST", "/api/groups", `{"name":"everything","servers":[]}`, 409, "a server has that name"},
		{"POST", "/api/groups", `{"name":"fixed","servers":[]}`, 409, "stands in the settings file"},
		{"PUT", "/api/groups/fixed", `{"servers":[]}`, 409, "stands in the settings file"},
		{"DELETE", "/api/groups/fixed", ``, 409, "stands in the settings file"},
		{"PUT", "/api/groups/none", `{"servers":[]}`, 404, "there is no group none; make it with POST"},
		{"DELETE", "/api/groups/none", ``, 404, "there is no group none"},
		{"GET", "/api/groups/none", ``, 404, "there is no group none"},
		{"GET", "/api/groups/a%20b", ``, 400, "group: not a valid name"},
		{"DELETE", "/api/groups/a%20b", ``, 400, "group: not a valid name"},
		{"PUT", "/api/groups/a%20b", `{"servers":[]}`, 400, "group: not a valid name"},
		{"PUT", "/api/groups/team", `{"name":"other","servers":[]}`, 400, "cannot be renamed"},
		{"GET", "/api/groups?x=1", ``, 400, "takes none"},
		{"POST", "/api/groups?dry=1", `{"name":"g","servers":[]}`, 400, "takes none"},
		{"PATCH", "/api/groups/team", `{}`, 405, "does not take this method"},

		{"POST", "/api/groups", `{"name":"g"}`, 400, "servers: a list is needed"},
		{"POST", "/api/groups", `{"name":"g","servers":null}`, 400, "servers: a list is needed"},
		{"POST", "/api/groups", `{"name":"g","servers":"memory"}`, 400, "servers: a JSON string does not fit"},
		{"POST", "/api/groups", `{"name":"g","servers":{}}`, 400, "servers: a JSON object does not fit"},
		{"POST", "/api/groups", `{"servers":[]}`, 400, "name: not a valid name: it is empty"},
		{"POST", "/api/groups", `{"name":7,"servers":[]}`, 400, "name: a JSON number does not fit"},
		{"POST", "/api/groups", `{"name":"a/b","servers":[]}`, 400, "name: not a valid name"},
		{"POST", "/api/groups", `{"name":"g","servers":[],"id":"1"}`, 400, `the key "id" is not known here; known are description, name, servers`},
		{"POST", "/api/groups", `{"name":"g","name":"h","servers":[]}`, 400, "comes twice"},
		{"POST", "/api/groups", `{"Name":"g","servers":[]}`, 400, "in just that case"},
		{"POST", "/api/groups", `{"name":"g","servers":["memory",7]}`, 400, "servers, entry 2: a server is a name, or an object"},
		{"POST", "/api/groups", `{"name":"g","servers":[null]}`, 400, "servers, entry 1: a server is a name, or an object"},
		{"POST", "/api/groups", `{"name":"g","servers":[""]}`, 400, "servers, entry 1: server: not a valid name"},
		{"POST", "/api/groups", `{"name":"g","servers":[{"tools":["x"]}]}`, 400, "servers, entry 1: server: not a valid name"},
		{"POST", "/api/groups", `{"name":"g","servers":[{"name":"memory","tool":["x"]}]}`, 400, `the key "tool" is not known here; known are name, tools`},
		{"POST", "/api/groups", `{"name":"g","servers":[{"name":"memory","name":"x"}]}`, 400, "comes twice"},
		{"POST", "/api/groups", `{"name":"g","servers":[{"name":"memory","tools":"some"}]}`, 400, `tools of memory: want a list of names, or "all"`},
		{"POST", "/api/groups", `{"name":"g","servers":[{"name":"memory","tools":[1]}]}`, 400, `tools of memory: want a list of names, or "all"`},
		{"POST", "/api/groups", `{"name":"g","servers":[{"name":"memory","tools":null}]}`, 400, `tools of memory: want a list of names, or "all"`},
		{"POST", "/api/groups", `{"name":"g","servers":["memory","memory"]}`, 400, "memory comes twice"},
		{"POST", "/api/groups", `[]`, 400, "must be one JSON object"},
		{"POST", "/api/groups", `{"name":"g","servers":[]} {}`, 400, "more after the JSON object"},
		{"POST", "/api/groups", `{"name":"g",`, 400, "not JSON"},
		{"POST", "/api/groups", "{\"name\":\"g\xff\"}", 400, "not valid UTF-8"},
		{"POST", "/api/groups", big, 413, "over the limit"},
	} {
		p := r.do(t, tt.method, tt.path, tt.body)
		if text := p.sentence(t); p.status != tt.status || !strings.Contains(text, tt.says) {
			t.Errorf("%s %s %.60s = %d %q, want %d with %q", tt.method, tt.path, tt.body, p.status, text, tt.status, tt.says)
		}
	}
	if list := r.groups.List(); len(list) != 1 || len(list[0].Servers) != 1 {
		t.Errorf("after all that the groups are %v", list)
	}
	if p := r.do(t, "POST", "/api/groups", `{"name":"g","servers":[]}`, "Content-Type", "text/plain"); p.status != 415 {
		t.Errorf("a form = %d, want 415", p.status)
	}
	if p := r.do(t, "POST", "/api/groups", `{"name":"g","servers":[]}`, "Content-Encoding", "gzip"); p.status != 415 {
		t.Errorf("a compressed body = %d, want 415", p.status)
	}
}

// Who manages groups needs proof that a change stands; without Redis there is none.
func TestGroupsWithoutRedis(t *testing.T) {
	r := newServer(t, grouped, nil)
	r.groups.set(store.Group{Name: "team", Updated: noon})
	r.groups.err = fmt.Errorf("create group g: dial 10.0.0.7:6379: %w", store.ErrUnavailable)
	r = r.run(t)
	for _, call := range []string{`POST /api/groups {"name":"g","servers":[]}`, `PUT /api/groups/team {"servers":[]}`, `DELETE /api/groups/team `} {
		part := strings.SplitN(call, " ", 3)
		p := r.do(t, part[0], part[1], part[2])
		if p.status != 503 || p.header.Get("Retry-After") == "" || strings.Contains(p.body, "10.0.0.7") {
			t.Errorf("%s = %d %s, want 503 with Retry-After and no address", call, p.status, p.body)
		}
	}
	if p := r.do(t, "GET", "/api/groups/team", ""); p.status != 200 {
		t.Errorf("what is known = %d", p.status)
	}
	r.groups.unread()
	if p := r.do(t, "GET", "/api/groups/team", ""); p.status != 503 {
		t.Errorf("a group before they are read = %d, want 503", p.status)
	}
}

func TestAHubWithoutGroups(t *testing.T) {
	s := newServer(t, grouped, nil)
	s.Server = New(grouped, Deps{Carrier: s.carrier, Fleet: s.fleet, Registrar: s.registrar, Store: s.store, Log: s.deps.Log})
	r := s.run(t)
	same(t, "list", r.do(t, "GET", "/api/groups", "").body, `{"success":true,"data":[]}`)
	if p := r.do(t, "POST", "/api/groups", `{"name":"g","servers":[]}`); p.status != 404 {
		t.Errorf("POST = %d", p.status)
	}
	if p := r.do(t, "DELETE", "/api/groups/g", ""); p.status != 404 {
		t.Errorf("DELETE = %d", p.status)
	}
	if p := r.do(t, "GET", "/metrics", ""); p.status != 404 || !strings.Contains(p.sentence(t), "no metrics") {
		t.Errorf("GET /metrics = %d %s", p.status, p.body)
	}
}

func FuzzGroupServers(f *testing.F) {
	for _, seed := range []string{`"a"`, `{"name":"a","tools":["x"]}`, `{"name":"a","tools":"all"}`, `null`, ` "a" `, `{"name":"a","Tools":[]}`, `[]`, `7`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) {
			return // never gets so far
		}
		srv, err := groupServerOf(json.RawMessage(text))
		if err != nil {
			return
		}
		// What is taken is what the store will read back.
		raw, err := json.Marshal(srv)
		if err != nil {
			t.Fatal(err)
		}
		var back store.GroupServer
		if err := json.Unmarshal(raw, &back); err != nil || back.Name != srv.Name || len(back.Tools) != len(srv.Tools) || (back.Tools == nil) != (srv.Tools == nil) {
			t.Errorf("%s is taken for %s and comes back as %+v: %v", text, raw, back, err)
		}
	})
}

var _ Groups = (*router.Groups)(nil)
