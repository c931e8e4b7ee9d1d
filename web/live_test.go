package web

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

func TestNewestSessionsAreShown(t *testing.T) {
	f := &fakeReader{snapshot: &store.Snapshot{Taken: noon}, redis: Redis{OK: true, State: "ok"}, total: 1200}
	for i := range sessionsRead {
		f.sessions = append(f.sessions, store.Session{ID: store.SessionID(fmt.Sprintf("%08d-rest", i)), Created: noon.Add(time.Duration(i-500) * time.Second)})
	}
	got := body(t, get(t, newPage(f), "/fragment"))
	if !strings.Contains(got, "25 of 1200") {
		t.Error("the page does not say that it shows 25 of 1200")
	}
	if !strings.Contains(got, ">00000199<") || strings.Contains(got, ">00000174<") || !strings.Contains(got, ">00000175<") {
		t.Error("the 25 shown are not the newest of those read")
	}
}

// While Redis is away the snapshot stands still; what it says of heartbeats grows old all the
// same.
func TestAgesGrowWhileTheSnapshotStands(t *testing.T) {
	p := newPage(fleet())
	clock := noon
	p.now = func() time.Time { return clock }
	if got := body(t, get(t, p, "/fragment")); !strings.Contains(got, ">2 s</td>") {
		t.Error("node-1 was heard of 2 s before the snapshot, and the page does not say so")
	}
	clock = clock.Add(58 * time.Second)
	if got := body(t, get(t, p, "/fragment")); !strings.Contains(got, ">1 min</td>") || strings.Contains(got, ">2 s</td>") {
		t.Error("58 s later with the same snapshot the page does not say 1 min")
	}
}

func TestServerOnItsWayIsNoProblem(t *testing.T) {
	f := &fakeReader{redis: Redis{OK: true, State: "ok"}, snapshot: &store.Snapshot{Taken: noon, Nodes: []store.Node{{
		ID: "n", State: store.NodeActive, Servers: []store.Server{{ID: "slow", Status: store.ServerStarting}},
	}}}}
	got := body(t, get(t, newPage(f), "/fragment"))
	if strings.Contains(got, "callable on no node") || !strings.Contains(got, `"state warn">0 of 1 ready`) {
		t.Errorf("a server that is starting is shown as a problem:\n%s", got)
	}
	if !strings.Contains(got, "<strong>0<small> / 1</small></strong><span>servers callable") {
		t.Error("a server that is starting is counted as callable")
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "now", 0: "now", 999 * time.Millisecond: "now", time.Second: "1 s", 59*time.Second + 999*time.Millisecond: "59 s",
		time.Minute: "1 min", 59 * time.Minute: "59 min", time.Hour: "1 h", 192 * time.Minute: "3 h 12 min",
		24 * time.Hour: "1 d", 98 * time.Hour: "4 d 2 h",
	} {
		if got := age(noon, noon.Add(-d)); got != want {
			t.Errorf("age(%s) = %q, want %q", d, got, want)
		}
	}
	if got := age(noon, time.Time{}); got != "–" {
		t.Errorf("age of no time = %q", got)
	}
}

func TestNotices(t *testing.T) {
	node := func(id, version string, state store.NodeState, servers ...store.Server) store.Node {
		return store.Node{ID: store.NodeID(id), Version: version, State: state, Servers: servers}
	}
	full := store.Server{ID: "browser", Status: store.ServerReady, Full: true}
	room := store.Server{ID: "browser", Status: store.ServerReady}
	failed := store.Server{ID: "db", Status: store.ServerFailed}
	ready := func(id, version, key string) store.Coordinator {
		return store.Coordinator{ID: store.CoordinatorID(id), Version: version, KeyPrint: key, Ready: true}
	}
	self := Config{Version: "v2", CoordinatorID: "c1"}
	for name, tc := range map[string]struct {
		look look
		want []noticeView
	}{
		"all is well": {look{redis: Redis{OK: true}, coordinators: []store.Coordinator{ready("c1", "v2", "k")}, snapshot: &store.Snapshot{
			Nodes: []store.Node{node("n1", "v2", store.NodeActive, room), node("n2", "v2", store.NodeDraining, full)},
		}}, nil},
		"Redis": {look{redis: Redis{State: "slow"}}, []noticeView{{"bad", "Redis is slow: what you see is the last that was known. Existing sessions go on."}}},
		"nodes": {look{redis: Redis{OK: true}, snapshot: &store.Snapshot{
			Nodes: []store.Node{node("n1", "v2", store.NodeActive, full), node("n2", "v2", store.NodeUnhealthy, room, failed)},
		}}, []noticeView{
			{"bad", "Node n2 has stopped sending heartbeats."},
			{"bad", "Server db is callable on no node."},
			{"warn", "Server browser takes no new session now: every process it may have is taken."},
		}},
		"coordinators": {look{redis: Redis{OK: true}, coordinators: []store.Coordinator{ready("c1", "v2", "a"), ready("c2", "v3", "b"), {ID: "c3", Version: "v2"}}}, []noticeView{
			{"bad", "The coordinators have different keys, so that sessions of one are unknown to another: give them the same cluster.secret. a (c1); b (c2)."},
			{"warn", "Coordinator c3 is not ready."},
			{"warn", "The coordinators run different releases: v2 (c1, c3); v3 (c2)."},
		}},
		"other releases": {look{redis: Redis{OK: true}, snapshot: &store.Snapshot{
			Nodes: []store.Node{node("n1", "v1", store.NodeActive), node("n2", "v2", store.NodeActive), node("n3", "", store.NodeActive)},
		}}, []noticeView{{"warn", "Nodes run other releases than this coordinator, which runs v2: unnamed (n3); v1 (n1)."}}},
	} {
		if got := notices(&tc.look, newServerViews(tc.look.nodes()), self); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", name, got, tc.want)
		}
	}
}

func TestManyNoticesAreCut(t *testing.T) {
	l := look{redis: Redis{OK: true}, snapshot: &store.Snapshot{}, coordinators: []store.Coordinator{{ID: "c1"}}}
	for i := range 20 {
		l.snapshot.Nodes = append(l.snapshot.Nodes, store.Node{ID: store.NodeID(fmt.Sprintf("n%02d", i)), State: store.NodeUnhealthy})
	}
	got := notices(&l, nil, Config{})
	if len(got) != noticesShown+1 || got[0].Class != "bad" || got[noticesShown].Text != fmt.Sprintf("And %d more of this kind, below.", 21-noticesShown) {
		t.Errorf("%q", got)
	}
}

// A fleet far beyond what can be read makes no page that cannot be loaded, and says what is left out.
func TestLargeFleetIsCut(t *testing.T) {
	f := &fakeReader{redis: Redis{OK: true, State: "ok"}, snapshot: &store.Snapshot{Taken: noon}, total: 100_000}
	var servers []store.Server
	for i := range 400 {
		servers = append(servers, store.Server{ID: store.ServerID(fmt.Sprintf("server-%03d", i)), Status: store.ServerReady, Catalog: notesDigest, Tools: 9})
	}
	for i := range 300 {
		f.snapshot.Nodes = append(f.snapshot.Nodes, store.Node{ID: store.NodeID(fmt.Sprintf("node-%03d", i)), State: store.NodeActive, Servers: servers})
	}
	f.snapshot.Nodes[250].State = store.NodeUnhealthy
	for i := range 300 {
		f.groups = append(f.groups, store.Group{Name: fmt.Sprintf("group-%03d", i)})
		f.conflicts = append(f.conflicts, Conflict{Name: fmt.Sprintf("file:///%03d", i)})
	}
	wide := store.Session{ID: "00112233445566778899aabbccddeeff", Scope: store.ScopeAll, Bindings: map[store.ServerID]store.Binding{}}
	for _, s := range servers {
		wide.Bindings[s.ID] = store.Binding{Node: "node-001", Epoch: 1}
	}
	f.sessions = append(f.sessions, wide)
	got := body(t, get(t, newPage(f), "/fragment"))
	if len(got) > 4<<20 {
		t.Errorf("the part that is loaded again and again has %d bytes", len(got))
	}
	for _, want := range []string{
		"Nodes <small>200 of 300</small>", "Servers <small>300 of 400</small>", "Groups <small>100 of 300</small>", "twice <small>50 of 300</small>", "Sessions <small>1 of 100000</small>",
		`And 290 more replicas, on <a href="server?name=server-000">`, "and 392 more", "299 of 300 ready", "and 388 more",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if first, _, _ := strings.Cut(got[strings.Index(got, `data-key="server server-000"`):], "</table>"); !strings.Contains(first, "node-250") {
		t.Error("of 300 replicas the one that is not well is not among those shown")
	}
}

// The lists of all servers are compared seldom, however often the page is loaded.
func TestConflictsAreWorkedOutSeldom(t *testing.T) {
	f := fleet()
	p := newPage(f)
	clock := noon
	p.now = func() time.Time { return clock }
	for range 40 {
		get(t, p, "/fragment")
		clock = clock.Add(500 * time.Millisecond)
	}
	if n := f.compared.Load(); n != 2 {
		t.Errorf("worked out %d times in 20 s, want 2", n)
	}
}

// Most replicas decide what is shown of a server's lists, as for clients; whoever has others is
// named.
func TestServerWithTwoCatalogs(t *testing.T) {
	var nodes []store.Node
	for i, d := range []store.Digest{otherDigest, notesDigest, notesDigest, counterDigest} {
		nodes = append(nodes, store.Node{ID: store.NodeID(fmt.Sprintf("n%d", i)), State: store.NodeActive, Servers: []store.Server{
			{ID: "s", Status: store.ServerReady, Catalog: d, Tools: i + 1},
		}})
	}
	nodes[3].State = store.NodeUnhealthy // and does not count
	v := newServerViews(nodes)[0]
	if len(v.Catalogs) != 2 || v.Catalogs[0].Digest != notesDigest || v.Catalogs[0].Nodes != "n1, n2" || v.Catalogs[1].Nodes != "n0" {
		t.Errorf("catalogs %+v", v.Catalogs)
	}
	if v.Offers.Tools != 3 {
		t.Errorf("it offers %d tools, want the 3 of the last of most replicas", v.Offers.Tools)
	}
	var odd []string
	for _, r := range v.Replicas {
		if r.OtherCatalog {
			odd = append(odd, r.Node)
		}
	}
	if strings.Join(odd, " ") != "n0" {
		t.Errorf("other lists than most are on %v, want n0", odd)
	}
}

func TestBindingsSayWhatIsOddAboutTheNode(t *testing.T) {
	fleet := &store.Snapshot{Nodes: nodes()}
	for binding, want := range map[store.Binding]string{
		{Node: "node-1", Epoch: 4}: "", {Node: "node-1", Epoch: 3}: "warn", {Node: "node-2", Epoch: 1}: "bad",
		{Node: "node-3", Epoch: 2}: "warn", {Node: "node-9", Epoch: 1}: "bad",
	} {
		if got := newBindingView("s", binding, fleet); got.Class != want {
			t.Errorf("binding to %s: %+v, want class %q", binding, got, want)
		}
		if got := newBindingView("s", binding, nil); got.Class != "" {
			t.Errorf("binding to %s, of a fleet that is not known: %+v", binding, got)
		}
	}
}
