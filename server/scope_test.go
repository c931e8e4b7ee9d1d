package server

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

var grouped = Config{EnableGlobalRoute: true, EnableGroupNameRoute: true}

// mint makes a session id for a scope.
func (r *rig) mint(t *testing.T, scope string, issued time.Time) string {
	t.Helper()
	tok, err := r.carrier.keys.Mint(scope, "", "", 0, issued)
	if err != nil {
		t.Fatal(err)
	}
	return tok.String()
}

func TestNamesOfGroupsAreEndpoints(t *testing.T) {
	r := newServer(t, grouped, nil)
	r.groups.set(store.Group{Name: "team"}, store.Group{Name: "memory"})
	r = r.run(t)
	if p := r.do(t, "POST", "/mcp/team", ping); p.status != 200 || r.carrier.last().Scope != "group/team" {
		t.Errorf("POST /mcp/team = %d with scope %q", p.status, r.carrier.last().Scope)
	}
	// A node registered a server with the name of a group.
	p := r.do(t, "POST", "/mcp/memory", ping)
	if text := p.sentence(t); p.status != 409 || !strings.Contains(text, "a group and a server named memory") {
		t.Errorf("POST /mcp/memory = %d %s, want 409 that names both", p.status, p.body)
	}
	for _, scope := range []string{"memory", "group/memory"} {
		for _, method := range []string{"POST", "DELETE"} {
			p := r.do(t, method, "/mcp/memory", "", wire.HeaderSession, r.mint(t, scope, noon), "Content-Type", "application/json")
			if got := r.carrier.last(); p.status != 200 || got.Scope != scope || got.HTTPMethod != method {
				t.Errorf("%s in a session over %s = %d %s with scope %q", method, scope, p.status, p.body, got.Scope)
			}
		}
	}
	if p := r.do(t, "POST", "/mcp/everything", ping); p.status != 200 || r.carrier.last().Scope != "everything" {
		t.Errorf("POST /mcp/everything = %d with scope %q", p.status, r.carrier.last().Scope)
	}
	if p := r.do(t, "POST", "/mcp/group/team", ping); p.status != 404 {
		t.Errorf("POST /mcp/group/team = %d, want 404: the prefix is ours", p.status)
	}
}

func TestGroupsCanBeClosed(t *testing.T) {
	r := newServer(t, global, nil)
	r.carrier.judge = true
	r.groups.set(store.Group{Name: "team"}, store.Group{Name: "memory"})
	r = r.run(t)
	if p := r.do(t, "POST", "/mcp/team", ping); p.status != 404 || !strings.Contains(p.sentence(t), "enableGroupNameRoute") {
		t.Errorf("POST /mcp/team = %d %s, want 404 with the reason", p.status, p.body)
	}
	if p := r.do(t, "POST", "/mcp/memory", ping); p.status != 200 || r.carrier.last().Scope != "memory" {
		t.Errorf("POST /mcp/memory = %d with scope %q, want the server", p.status, r.carrier.last().Scope)
	}
	for _, name := range []string{"team", "memory"} {
		if p := r.do(t, "POST", "/mcp/"+name, ping, wire.HeaderSession, r.mint(t, "group/"+name, noon)); p.status != 404 {
			t.Errorf("in a session over the group %s = %d, want 404", name, p.status)
		}
	}
}

// The news of a group may come here later than the session that was begun over it elsewhere.
func TestASessionWaitsForItsGroup(t *testing.T) {
	r := newServer(t, grouped, nil)
	r.carrier.judge = true
	r = r.run(t)
	fresh := r.mint(t, "group/team", time.Now())
	r.groups.comes("team", 3)
	if p := r.do(t, "POST", "/mcp/team", ping, wire.HeaderSession, fresh); p.status != 200 || r.carrier.last().Scope != "group/team" {
		t.Errorf("before the group is known = %d %s with scope %q", p.status, p.body, r.carrier.last().Scope)
	}
}

func TestASessionEndsWithItsGroup(t *testing.T) {
	r := newServer(t, grouped, nil)
	r.carrier.judge = true
	r = r.run(t)
	old := r.mint(t, "group/team", time.Now().Add(-time.Minute))
	start := time.Now()
	p := r.do(t, "POST", "/mcp/team", ping, wire.HeaderSession, old)
	if p.status != 404 || !strings.Contains(p.sentence(t), "unknown session") {
		t.Errorf("over a deleted group = %d %s, want 404 as of an unknown session", p.status, p.body)
	}
	if d := time.Since(start); d > groupLag {
		t.Errorf("that took %s: nobody waits for a group that is gone", d)
	}
	r.groups.unread()
	if p := r.do(t, "POST", "/mcp/team", ping, wire.HeaderSession, old); p.status != http.StatusServiceUnavailable {
		t.Errorf("before the groups are read = %d %s, want 503", p.status, p.body)
	}
	if p := r.do(t, "POST", "/mcp/team", ping); p.status != http.StatusServiceUnavailable {
		t.Errorf("a new session before the groups are read = %d %s, want 503", p.status, p.body)
	}
	if p := r.do(t, "POST", "/mcp/everything", ping); p.status != 200 {
		t.Errorf("a server before the groups are read = %d", p.status)
	}
}

// What a node registers is known by the next snapshot.
func TestNamesFollowTheSnapshot(t *testing.T) {
	r := newRig(t, grouped, nil)
	if p := r.do(t, "POST", "/mcp/late", ping); p.status != 404 {
		t.Fatalf("before = %d", p.status)
	}
	snap := aSnapshot()
	snap.Nodes[0].Servers = append(snap.Nodes[0].Servers, store.Server{ID: "late", Status: store.ServerStarting})
	r.fleet.show(snap)
	if p := r.do(t, "POST", "/mcp/late", ping); p.status != 200 {
		t.Errorf("after = %d %s", p.status, p.body)
	}
}
