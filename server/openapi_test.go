package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/mcphub-go/mcphub/store"
)

// described reads the document from a running hub and checks it against OpenAPI 3.1.
func described(t *testing.T, r *rig) *openapi3.T {
	t.Helper()
	p := r.do(t, "GET", "/api/openapi.json", "")
	if p.status != 200 || p.header.Get("Content-Type") != "application/json" {
		t.Fatalf("GET /api/openapi.json = %d %v", p.status, p.header)
	}
	doc, err := openapi3.NewLoader().LoadFromData([]byte(p.body))
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(context.Background(), openapi3.EnableExamplesValidation()); err != nil {
		t.Fatalf("the document is no OpenAPI %s: %v", doc.OpenAPI, err)
	}
	return doc
}

// What is served under /api and beside it is described, and what is described is served.
func TestEveryRouteIsDescribed(t *testing.T) {
	r := newRig(t, global, nil)
	doc := described(t, r)
	var served, told []string
	for _, rt := range r.echo.Routes() {
		rest := strings.HasPrefix(rt.Path, "/api/") || rt.Path == "/health" || rt.Path == "/ready" || rt.Path == "/metrics"
		mcp := isMCP(rt.Path) || strings.HasPrefix(rt.Path, "/sse") || strings.HasPrefix(rt.Path, "/message")
		if !rest && !mcp {
			t.Errorf("%s %s is neither MCP nor REST: say here what it is", rt.Method, rt.Path)
		}
		if rest && rt.Method != http.MethodHead {
			served = append(served, rt.Method+" "+pathOf(rt.Path))
		}
	}
	ids := map[string]bool{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			told = append(told, method+" "+path)
			if op.Summary == "" || op.OperationID == "" || ids[op.OperationID] || len(op.Tags) != 1 || doc.Tags.Get(op.Tags[0]) == nil {
				t.Errorf("%s %s has summary %q, id %q and tags %v", method, path, op.Summary, op.OperationID, op.Tags)
			}
			ids[op.OperationID] = true
		}
	}
	sort.Strings(served)
	sort.Strings(told)
	if !slices.Equal(served, told) {
		t.Errorf("served:\n%s\ndescribed:\n%s", strings.Join(served, "\n"), strings.Join(told, "\n"))
	}
}

// apiCalls are one good call of each route, over the rig's fleet.
var apiCalls = map[string]struct{ path, body string }{
	"GET /health":                            {path: "/health"},
	"GET /ready":                             {path: "/ready"},
	"GET /metrics":                           {path: "/metrics"},
	"GET /api/openapi.json":                  {path: "/api/openapi.json"},
	"GET /api/cluster/status":                {path: "/api/cluster/status"},
	"GET /api/cluster/nodes":                 {path: "/api/cluster/nodes"},
	"GET /api/cluster/nodes/{id}":            {path: "/api/cluster/nodes/node-1"},
	"GET /api/cluster/servers":               {path: "/api/cluster/servers"},
	"GET /api/cluster/servers/{id}/replicas": {path: "/api/cluster/servers/everything/replicas"},
	"GET /api/cluster/coordinators":          {path: "/api/cluster/coordinators"},
	"GET /api/cluster/events":                {path: "/api/cluster/events?limit=5"},
	"GET /api/cluster/sessions":              {path: "/api/cluster/sessions"},
	"GET /api/cluster/sessions/{id}":         {path: "/api/cluster/sessions/" + string(sidWide)},
	"DELETE /api/cluster/sessions/{id}":      {path: "/api/cluster/sessions/" + string(sidOne)},
	"GET /api/cluster/explain":               {path: "/api/cluster/explain?session=" + string(sidOne) + "&without=node-1"},
	"GET /api/cluster/conflicts":             {path: "/api/cluster/conflicts?scope=memory"},
	"GET /api/groups":                        {path: "/api/groups"},
	"POST /api/groups":                       {path: "/api/groups", body: `{"name":"made","description":"d","servers":["memory",{"name":"nobody-has-it","tools":["x"]}]}`},
	"GET /api/groups/{name}":                 {path: "/api/groups/team"},
	"PUT /api/groups/{name}":                 {path: "/api/groups/team", body: `{"servers":[]}`},
	"DELETE /api/groups/{name}":              {path: "/api/groups/team"},
	"POST /api/cluster/register":             {path: "/api/cluster/register", body: record},
	"POST /api/cluster/heartbeat":            {path: "/api/cluster/heartbeat", body: record},
	"POST /api/cluster/deregister":           {path: "/api/cluster/deregister", body: `{"id":"node-9","instance":"` + instance + `","epoch":7}`},
	"POST /api/cluster/catalogs":             {path: "/api/cluster/catalogs", body: `{"digest":"` + strings.Repeat("ab", 32) + `","catalog":{"tools":[]}}`},
}

// apiRig is a hub in which every call of REST finds something.
func apiRig(t *testing.T, cfg Config) *rig {
	t.Helper()
	r := newServer(t, cfg, nil)
	r.deps.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("mcphub_ready 1\n")) })
	r.store.happen("hello")
	r.store.fleet = []store.Coordinator{{ID: "c1", Address: "10.0.0.2:3000", Version: "v1", Mode: "coordinator", Started: noon, Seen: noon, Ready: true}}
	r.groups.set(store.Group{Name: "team", Updated: noon, Servers: []store.GroupServer{{Name: "memory"}, {Name: "everything", Tools: []string{"echo"}}}})
	return r.run(t)
}

// The answers have the shapes that are described, and the examples have those of the answers.
func TestAnswersAreAsDescribed(t *testing.T) {
	doc := described(t, newRig(t, global, nil))
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			call, ok := apiCalls[method+" "+path]
			if !ok {
				t.Errorf("%s %s: this test does not know how to call it", method, path)
				continue
			}
			p := apiRig(t, global).do(t, method, call.path, call.body)
			answer := op.Responses.Value(fmt.Sprint(p.status))
			if answer == nil || p.status >= 300 {
				t.Errorf("%s %s = %d %s, which is not described as its success", method, call.path, p.status, p.body)
				continue
			}
			media := answer.Value.Content.Get(p.header.Get("Content-Type"))
			if media == nil {
				t.Errorf("%s %s answers with %s, described are %v", method, path, p.header.Get("Content-Type"), answer.Value.Content)
				continue
			}
			if !strings.HasPrefix(p.header.Get("Content-Type"), "application/json") {
				continue
			}
			var got any
			if err := json.Unmarshal([]byte(p.body), &got); err != nil {
				t.Fatal(err)
			}
			if err := media.Schema.Value.VisitJSON(got, openapi3.EnableJSONSchema2020(), openapi3.MultiErrors()); err != nil {
				t.Errorf("%s %s answers %s, which is not as described: %v", method, path, p.body, err)
			}
			if path != "/api/openapi.json" {
				allDescribed(t, method+" "+path, media.Schema, got)
				checkBody(t, op, method+" "+path, call.body)
			}
		}
	}
}

func checkBody(t *testing.T, op *openapi3.Operation, name, body string) {
	t.Helper()
	if (op.RequestBody != nil) != (body != "") {
		t.Errorf("%s: a body is described: %t, and needed: %t", name, op.RequestBody != nil, body != "")
	}
}

// allDescribed says which keys of an answer the schema does not know.
func allDescribed(t *testing.T, at string, ref *openapi3.SchemaRef, v any) {
	t.Helper()
	sc := ref.Value
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			p := sc.Properties[key]
			if p == nil && len(sc.OneOf) == 0 {
				t.Errorf("%s: the key %s is not described", at, key)
			} else if p != nil {
				allDescribed(t, at+"."+key, p, value)
			}
		}
	case []any:
		for _, value := range v {
			allDescribed(t, at+"[]", sc.Items, value)
		}
	}
}

// Credentials are described where they are asked for, and nowhere else.
func TestCredentialsAreDescribed(t *testing.T) {
	r := apiRig(t, Config{ClusterSecret: "s3cret", Access: Access{AdminToken: "adm1n"}})
	doc := described(t, newRig(t, global, nil))
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			var asked []string
			for _, choice := range *op.Security {
				for name := range choice {
					asked = append(asked, name)
					if doc.Components.SecuritySchemes[name] == nil {
						t.Errorf("%s %s wants %s, which is not described", method, path, name)
					}
				}
			}
			call := apiCalls[method+" "+path]
			if p := r.do(t, method, call.path, call.body); (p.status == 401) != (len(asked) > 0) {
				t.Errorf("%s %s without credentials = %d, described are %v", method, path, p.status, asked)
			}
			for name, auth := range map[string]string{"adminToken": "Bearer adm1n", "clusterSecret": "Bearer s3cret"} {
				if p := r.do(t, method, call.path, call.body, "Authorization", auth); len(asked) > 0 && (p.status == 401) == slices.Contains(asked, name) {
					t.Errorf("%s %s with %s = %d, described are %v", method, path, name, p.status, asked)
				}
			}
		}
	}
}

// What fails is described too, at least by its kind.
func TestFailuresAreAsDescribed(t *testing.T) {
	doc := described(t, newRig(t, global, nil))
	fails := func(name string, op *openapi3.Operation, p reply) {
		t.Helper()
		answer := op.Responses.Value(fmt.Sprint(p.status))
		if answer == nil {
			t.Errorf("%s = %d %s, which is not described", name, p.status, p.body)
			return
		}
		var got any
		if err := json.Unmarshal([]byte(p.body), &got); err != nil {
			t.Errorf("%s = %d %s: %v", name, p.status, p.body, err)
		} else if err := answer.Value.Content.Get("application/json").Schema.Value.VisitJSON(got, openapi3.EnableJSONSchema2020()); err != nil {
			t.Errorf("%s = %d %s: %v", name, p.status, p.body, err)
		}
	}
	locked := apiRig(t, Config{ClusterSecret: "s3cret", Access: Access{AdminToken: "adm1n"}})
	away := apiRig(t, global)
	away.store.set(store.ErrUnavailable, store.Health{State: store.HealthDown})
	away.groups.err, away.registrar.err, away.carrier.endFail, away.explainer.err = store.ErrUnavailable, store.ErrUnavailable, store.ErrUnavailable, store.ErrUnavailable
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			call := apiCalls[method+" "+path]
			name := method + " " + path
			if op.Security != nil && len(*op.Security) > 0 {
				fails(name+" without credentials", op, locked.do(t, method, call.path, call.body))
			}
			fails(name+" from elsewhere", op, away.do(t, method, call.path, call.body, "Origin", "http://evil.example"))
			if p := away.do(t, method, call.path, call.body); p.status >= 300 {
				fails(name+" without Redis", op, p)
			}
			if call.body != "" {
				fails(name+" with a bad body", op, away.do(t, method, call.path, "{"))
				fails(name+" with a form", op, away.do(t, method, call.path, "a=b", "Content-Type", "text/plain"))
				fails(name+" with too much", op, away.do(t, method, call.path, strings.Repeat(" ", 8<<20)))
			}
			if strings.Contains(path, "{") {
				fails(name+" of nothing", op, apiRig(t, global).do(t, method, strings.NewReplacer("{id}", "nothing", "{name}", "nothing").Replace(path), call.body))
			}
		}
	}
}

// The document says of itself what it is for; nothing in it is a Go name by accident.
func TestTheDocumentIsForPeople(t *testing.T) {
	r := newRig(t, global, nil)
	doc := described(t, r)
	for name := range doc.Components.Schemas {
		if strings.HasSuffix(name, "View") || strings.ToUpper(name[:1]) != name[:1] {
			t.Errorf("a schema is called %s", name)
		}
	}
	raw, err := document("v1", restRoutes())
	if err != nil {
		t.Fatal(err)
	}
	again, _ := document("v1", restRoutes())
	if !bytes.Equal(raw, again) {
		t.Error("the document is another one each time")
	}
}
