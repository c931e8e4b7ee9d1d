package server

import (
	"context"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/store"
)

// fakeExplainer remembers what it was asked.
type fakeExplainer struct {
	mu    sync.Mutex
	asked router.ExplainRequest
	scope string
	err   error
}

func (f *fakeExplainer) Explain(_ context.Context, req router.ExplainRequest) (router.Explanation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = req
	return router.Explanation{
		Server: "everything", Existing: true, Rule: router.RuleBinding, Choice: "node-1",
		Candidates: []router.Candidate{{Node: "node-1", Score: 1.5, Load: 2, Limit: 3, Weight: 1, State: store.NodeActive}},
		Moves:      []router.Move{{Node: "node-1", Change: "without", Moves: true, To: "node-2", Rule: "consistent-hash", Share: 0.5}},
	}, f.err
}

func (f *fakeExplainer) Conflicts(_ context.Context, scope string) ([]router.Conflict, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.scope = scope
	return []router.Conflict{{URI: "file:///a", Owner: "everything", Others: []store.ServerID{"memory"}}}, f.err
}

func TestExplain(t *testing.T) {
	r := newRig(t, global, nil)
	p := r.do(t, "GET", "/api/cluster/explain?session="+string(sidOne)+"&server=everything&without=node-1&without=node-2&with=node-9&prefer=node-2", "")
	same(t, "explain", p.body, `{"success":true,"data":{"server":"everything","existing":true,"rule":"binding","choice":"node-1",
		"candidates":[{"nodeId":"node-1","score":1.5,"load":2,"limit":3,"weight":1,"status":"active","reason":""}],
		"moves":[{"nodeId":"node-1","change":"without","moves":true,"to":"node-2","rule":"consistent-hash","share":0.5}]}}`)
	want := router.ExplainRequest{Session: string(sidOne), Server: "everything", Prefer: "node-2", Without: []store.NodeID{"node-1", "node-2"}, With: []store.NodeID{"node-9"}}
	if !reflect.DeepEqual(r.explainer.asked, want) {
		t.Errorf("the router is asked %+v, want %+v", r.explainer.asked, want)
	}
	for query, says := range map[string]string{
		"server=a%20b":            "server: not a valid name",
		"key=x&server=a/b":        "server: not a valid name",
		"without=a%0ab":           "without: not a valid name",
		"with=":                   "with: not a valid name",
		"prefer=http://10.0.0.1":  "prefer: not a valid name",
		"server=a&server=b":       "may come only once",
		"node=node-1":             "takes session, key, server, prefer, without, with",
		"session=" + long(257):    "longer than any",
		"key=" + long(257):        "longer than any",
		"session=%zz":             "not well formed",
		"session=a;server=memory": "not well formed",
	} {
		if p := r.do(t, "GET", "/api/cluster/explain?"+query, ""); p.status != 400 || !strings.Contains(p.sentence(t), says) {
			t.Errorf("explain?%.40s = %d %s, want 400 with %q", query, p.status, p.body, says)
		}
	}
	for status, err := range map[int]error{
		404: &router.Error{Err: router.ErrUnknownSession, Message: "unknown session: x"},
		400: &router.Error{Err: router.ErrBadRequest, Message: "give a session or a key"},
		503: &router.Error{Err: router.ErrUnavailable, Message: "Redis cannot be asked"},
	} {
		r.explainer.err = err
		if p := r.do(t, "GET", "/api/cluster/explain?session=x", ""); p.status != status || p.sentence(t) != err.Error() {
			t.Errorf("%v = %d %s, want %d", err, p.status, p.body, status)
		}
	}
}

func long(n int) string { return strings.Repeat("x", n) }

func TestConflicts(t *testing.T) {
	r := newRig(t, global, nil)
	for query, scope := range map[string]string{"": "", "?scope=": "", "?scope=*": "", "?scope=group/team": "group/team", "?scope=memory": "memory"} {
		p := r.do(t, "GET", "/api/cluster/conflicts"+query, "")
		same(t, "conflicts"+query, p.body, `{"success":true,"data":[{"uri":"file:///a","owner":"everything","others":["memory"]}]}`)
		if r.explainer.scope != scope {
			t.Errorf("conflicts%s asks for %q, want %q", query, r.explainer.scope, scope)
		}
	}
	for query, status := range map[string]int{"scope=a%20b": 400, "scope=group/": 400, "scope=group/a/b": 400, "scope=none": 404, "scopes=a": 400} {
		if p := r.do(t, "GET", "/api/cluster/conflicts?"+query, ""); p.status != status || p.sentence(t) == "" {
			t.Errorf("conflicts?%s = %d %s, want %d", query, p.status, p.body, status)
		}
	}
	r.explainer.err = &router.Error{Err: router.ErrUnknownServer, Message: "unknown group: this hub has no group of that name"}
	if p := r.do(t, "GET", "/api/cluster/conflicts?scope=group/none", ""); p.status != 404 {
		t.Errorf("of no group = %d %s", p.status, p.body)
	}
}

func TestAHubThatExplainsNothing(t *testing.T) {
	r := newServer(t, global, nil)
	r.deps.Explainer = nil
	r.run(t)
	for _, path := range []string{"/api/cluster/explain", "/api/cluster/conflicts"} {
		if p := r.do(t, "GET", path, ""); p.status != http.StatusNotFound {
			t.Errorf("GET %s = %d", path, p.status)
		}
	}
}

var _ Explainer = (*router.Router)(nil)
