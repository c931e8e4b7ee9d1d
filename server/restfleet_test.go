package server

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mcphub-go/mcphub/store"
)

func TestCoordinatorsAreListed(t *testing.T) {
	r := newServer(t, global, nil)
	r.store.fleet = []store.Coordinator{
		{ID: "c2", Address: "10.0.0.3:3000", Version: "v1", Mode: "coordinator", Started: noon, Seen: noon},
		{ID: "c1", Address: "10.0.0.2:3000", Version: "v1", Mode: "coordinator", Started: noon, Sessions: 3, InFlight: 2, Ready: true, KeyPrint: "abcd", Seen: noon},
	}
	r = r.run(t)
	p := r.do(t, "GET", "/api/cluster/coordinators", "")
	same(t, "coordinators", p.body, `{"success":true,"data":[
		{"id":"c1","address":"10.0.0.2:3000","version":"v1","mode":"coordinator","startedAt":1767268800000,"sessions":3,"inFlight":2,"ready":true,"self":true,"lastSeen":1767268800000},
		{"id":"c2","address":"10.0.0.3:3000","version":"v1","mode":"coordinator","startedAt":1767268800000,"sessions":0,"inFlight":0,"ready":false,"self":false,"lastSeen":1767268800000}]}`)
	r.store.set(store.ErrUnavailable, store.Health{State: store.HealthDown})
	if p := r.do(t, "GET", "/api/cluster/coordinators", ""); p.status != http.StatusServiceUnavailable {
		t.Errorf("without Redis = %d", p.status)
	}
	if p := r.do(t, "GET", "/api/cluster/status", ""); p.status != 200 || !strings.Contains(p.body, `"warnings":["nodes run`) {
		t.Errorf("status without Redis = %d %s, want the warnings that are known", p.status, p.body)
	}
}

func TestWarningsOfTheFleet(t *testing.T) {
	snap := func(versions ...string) *store.Snapshot {
		s := &store.Snapshot{}
		for i, v := range versions {
			s.Nodes = append(s.Nodes, store.Node{ID: store.NodeID("node-" + string(rune('1'+i))), Version: v})
		}
		return s
	}
	is := func(id store.CoordinatorID, version, key string) store.Coordinator {
		return store.Coordinator{ID: id, Version: version, KeyPrint: key}
	}
	for name, tt := range map[string]struct {
		fleet []store.Coordinator
		snap  *store.Snapshot
		want  []string
	}{
		"one of each": {[]store.Coordinator{is("a", "v2", "k"), is("b", "v2", "k")}, snap("v2", "v2"), []string{}},
		"no record":   {nil, snap(), []string{}},
		"no key yet":  {[]store.Coordinator{is("a", "v2", ""), is("b", "v2", "k")}, snap(), []string{}},
		"keys": {
			[]store.Coordinator{is("b", "v2", "k1"), is("a", "v2", "k1"), is("c", "v2", "k2")}, snap(),
			[]string{"the coordinators have different keys, so sessions of one are unknown to another: they need the same cluster.secret: k1 (a, b); k2 (c)"},
		},
		"coordinators": {[]store.Coordinator{is("a", "v2", ""), is("b", "v1", "")}, snap("v2"), []string{"the coordinators run different releases: v1 (b); v2 (a)"}},
		"nodes": {
			[]store.Coordinator{is("a", "v2", "")}, snap("v2", "v1", "v1", "v1", "v1", "v1", "v1", "v1"),
			[]string{"nodes run other releases than this coordinator, which runs v2: v1 (node-2, node-3, node-4, node-5, node-6 and 2 more)"},
		},
	} {
		got := append(keyWarnings(tt.fleet), versionWarnings("v2", tt.fleet, tt.snap)...)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestMetricsAreForAdmins(t *testing.T) {
	r := apiRig(t, Config{Access: Access{AdminToken: "adm1n"}})
	if p := r.do(t, "GET", "/metrics", ""); p.status != 401 || strings.Contains(p.body, "mcphub_ready") {
		t.Errorf("without credentials = %d %s", p.status, p.body)
	}
	if p := r.do(t, "GET", "/metrics?name=x", "", "Authorization", "Bearer adm1n"); p.status != 200 || p.body != "mcphub_ready 1\n" {
		t.Errorf("with the token = %d %s", p.status, p.body)
	}
	open := apiRig(t, Config{})
	if p := open.do(t, "GET", "/metrics", ""); p.status != 200 {
		t.Errorf("from loopback where no admin is configured = %d", p.status)
	}
	if p := open.do(t, "GET", "/metrics", "", "X-Forwarded-For", "203.0.113.9"); p.status != 403 {
		t.Errorf("from elsewhere where no admin is configured = %d, want 403", p.status)
	}
}

func TestReplicasOfIsolatedServers(t *testing.T) {
	r := newServer(t, global, nil)
	r.fleet.snap.Nodes[0].Servers = []store.Server{{
		ID: "browser", Status: store.ServerReady, Transport: "stdio", Tools: 3, Prompts: 2, Resources: 4, Templates: 1, Weight: 1,
		Isolation: "session", Processes: 5, Spares: 2, MaxProcesses: 5, Full: true,
	}}
	r = r.run(t)
	same(t, "replicas", r.do(t, "GET", "/api/cluster/servers/browser/replicas", "").body, `{"success":true,"data":[{
		"serverId":"browser","nodeId":"node-1","nodeUrl":"http://10.0.0.5:3001","status":"active","weight":1,"transport":"stdio","tools":3,"prompts":2,"resources":4,"templates":1,
		"sessions":0,"inFlight":0,"restarts":0,"isolation":"session","processes":5,"spares":2,"maxProcesses":5,"full":true}]}`)
}
