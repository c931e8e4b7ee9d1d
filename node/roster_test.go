package node

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

func (r *rig) set(servers ...ServerConfig) {
	r.t.Helper()
	if err := r.node.SetServers(servers); err != nil {
		r.t.Fatalf("SetServers() = %v", err)
	}
}

// shown are the names in the description.
func (r *rig) shown() string {
	var all []string
	for _, s := range r.node.Describe().Servers {
		all = append(all, string(s.ID))
	}
	return strings.Join(all, " ")
}

func TestUntouchedServersKeepProcessesAndSessions(t *testing.T) {
	kept, iso := fake("kept"), isolatedFake("iso", 3, 1)
	r := startRig(t, nil, kept, iso, fake("gone"), fake("other", "A=1"))
	for _, name := range []string{"kept", "iso", "gone", "other"} {
		r.open(name, "s1")
	}
	pids := map[string]string{}
	for _, name := range []string{"kept", "iso", "gone", "other"} {
		pids[name], _ = r.keeps(name, "s1", name)
	}
	hanging := r.async("kept", "s1", tool("7", "hang", ""))
	eventually(t, "in flight", func() bool { return r.server("kept").InFlight == 1 })

	again := fake("kept")
	again.Args, again.Isolation, again.Weight = []string{}, IsolationShared, 7 // which is the same, but for the weight
	r.set(fake("new"), fake("other", "A=2"), again, iso)

	if got := r.shown(); got != "iso kept new other" {
		t.Errorf("described are %s, want the new list in order", got)
	}
	for _, name := range []string{"kept", "iso"} {
		if pid, before := r.keeps(name, "s1", name); pid != pids[name] || before != name {
			t.Errorf("the session of %s is in process %s, which knows %q, want %s still", name, pid, before, pids[name])
		}
	}
	if s := r.server("kept"); s.Weight != 7 || s.InFlight != 1 || s.Restarts != 0 {
		t.Errorf("kept is described as %+v, want its call in flight and the new weight", s)
	}
	r.awaitStatus("new", store.ServerReady)
	eventually(t, "the changed server has taken over", func() bool { return !alive(pidOf(t, pids["other"])) })
	if a := r.post("other", "s1", tool("1", "echo", "x")); a.status != 404 || a.header.Get(wire.HeaderRefused) != wire.RefusedSession {
		t.Errorf("a session of the changed server: %d refused %q, want 404 session", a.status, a.header.Get(wire.HeaderRefused))
	}
	r.open("other", "s1")
	if env := textOf(t, r.post("other", "s1", tool("1", "env", "")).body); !strings.Contains(env, `"A=2"`) {
		t.Errorf("the changed server has the environment %s", env)
	}
	if a := r.post("gone", "s1", tool("1", "echo", "x")); a.status != 404 || a.header.Get(wire.HeaderRefused) != wire.RefusedServer {
		t.Errorf("the removed server: %d refused %q, want 404 server", a.status, a.header.Get(wire.HeaderRefused))
	}
	eventually(t, "process of the removed server gone", func() bool { return !alive(pidOf(t, pids["gone"])) })
	r.post("kept", "s1", tool("8", "die", ""))
	within(t, 5*time.Second, hanging)
}

func TestReplacedServerFinishesItsCalls(t *testing.T) {
	old := &gateServer{release: make(chan struct{}), entered: make(chan struct{}, 1)}
	r := startRig(t, nil, ServerConfig{Name: "gate", Builtin: old, Enabled: true})
	r.open("gate", "s1")
	call := r.async("gate", "s1", tool("1", "wait", ""))
	<-old.entered
	r.set(ServerConfig{Name: "gate", Builtin: echoServer{}, Enabled: true})
	eventually(t, "the new server serves", func() bool { // which does not know the session; the old one answers
		return r.post("gate", "s1", `{"jsonrpc":"2.0","id":2,"method":"ping"}`).status == 404
	})
	close(old.release)
	if a := within(t, 5*time.Second, call); textOf(t, a.last()) != "released" {
		t.Errorf("the call in flight was answered %s", a.body)
	}
	eventually(t, "nothing of the old one is left", func() bool { return len(r.node.roster.now.Load().all) == 1 })
}

func TestRemovedServerCutsOffCallsThatTakeTooLong(t *testing.T) {
	cut := &gateServer{release: make(chan struct{}), entered: make(chan struct{}, 1)}
	r := startRig(t, func(c *Config) { c.DrainTimeout = 50 * time.Millisecond },
		fake("alpha"), ServerConfig{Name: "cut", Builtin: cut, Enabled: true})
	r.open("cut", "s1")
	lost := r.async("cut", "s1", tool("1", "wait", ""))
	<-cut.entered
	r.set(fake("alpha"))
	if got := r.shown(); got != "alpha" {
		t.Errorf("described are %s, want alpha alone", got)
	}
	a := within(t, 5*time.Second, lost)
	if errorCode(t, a.last()) != wire.CodeOutcomeUnknown || !strings.Contains(a.last(), "server_replaced") {
		t.Errorf("the call that took too long was answered %s, want error 1001", a.body)
	}
	eventually(t, "nothing of the old one is left", func() bool { return len(r.node.roster.now.Load().all) == 1 })
}

func TestReadyServerServesUntilTheNextHasBeenTried(t *testing.T) {
	gate := t.TempDir() + "/gate"
	r := startRig(t, nil, fake("alpha"))
	r.open("alpha", "s1")
	pid, _ := r.keeps("alpha", "s1", "first")
	slow := fake("alpha", "FAKE_GATE="+gate)
	r.set(slow)
	for range 3 {
		if again, before := r.keeps("alpha", "s1", "first"); again != pid || before != "first" {
			t.Errorf("process %s serves, which knows %q, want %s still", again, before, pid)
		}
		r.set(slow) // is on its way already
	}
	if n := len(r.node.roster.now.Load().all); n != 2 {
		t.Errorf("%d servers run, want the old and the new", n)
	}
	// Back to what serves: the other is ended untried.
	r.set(fake("alpha"))
	eventually(t, "only the first is left", func() bool { return len(r.node.roster.now.Load().all) == 1 })
	if again, before := r.keeps("alpha", "s1", "x"); again != pid || before != "first" {
		t.Errorf("process %s serves, which knows %q, want %s still", again, before, pid)
	}
	// One that cannot start takes over all the same, and says so; what mends it does so at once.
	r.set(fake("alpha", "FAKE_MODE=exit"))
	s := r.awaitStatus("alpha", store.ServerFailed)
	if !strings.Contains(s.Error, "exited with status 3") {
		t.Errorf("alpha is %s (%s), want failed with its exit", s.Status, s.Error)
	}
	r.set(fake("alpha", "B=1"))
	if s := r.server("alpha"); s.Status == store.ServerFailed {
		t.Error("alpha is failed still, want its new settings tried")
	}
	r.awaitStatus("alpha", store.ServerReady)
	off := fake("alpha", "B=1")
	off.Enabled = false
	r.set(off)
	r.awaitStatus("alpha", store.ServerDisabled)
}

func TestWrongServersChangeNothing(t *testing.T) {
	r := startRig(t, nil, fake("alpha"))
	r.open("alpha", "s1")
	before := r.server("alpha")
	for want, list := range map[string][]ServerConfig{
		"the name is used twice": {fake("b"), fake("b")},
		"exactly one":            {fake("c"), {Name: "d"}},
		"warm must be":           {{Name: "e", Command: "x", Isolation: IsolationSession, Warm: 99}},
	} {
		if err := r.node.SetServers(list); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("SetServers() = %v, want %q in it", err, want)
		}
	}
	if got := r.shown(); got != "alpha" || r.server("alpha").Sessions != before.Sessions {
		t.Errorf("described are %s, want alpha with its session", got)
	}
	r.close()
	if err := r.node.SetServers([]ServerConfig{fake("b")}); err == nil || !strings.Contains(err.Error(), "stopping") {
		t.Errorf("SetServers() after the end = %v, want an error", err)
	}
	if got := r.shown(); got != "alpha" {
		t.Errorf("described are %s", got)
	}
}

func TestServersSetBeforeRunAreThoseThatRun(t *testing.T) {
	r := newRig(t, nil, fake("alpha"), fake("beta"))
	r.set(fake("gamma"), fake("beta", "X=1"))
	if got := r.shown(); got != "beta gamma" {
		t.Errorf("described are %s", got)
	}
	r.run()
	for _, name := range []string{"beta", "gamma"} {
		if s := r.server(name); s.Status != store.ServerReady {
			t.Errorf("%s is %s (%s)", name, s.Status, s.Error)
		}
	}
	r.open("beta", "s1")
	if env := textOf(t, r.post("beta", "s1", tool("1", "env", "")).body); !strings.Contains(env, `"X=1"`) {
		t.Errorf("beta has the environment %s", env)
	}
}

func TestChangesAtTheSameTimeLeaveTheLastOfThem(t *testing.T) {
	pids := t.TempDir() + "/pids"
	r := startRig(t, func(c *Config) { c.DrainTimeout = 200 * time.Millisecond }, fake("alpha", "FAKE_PIDS="+pids))
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 3 {
				list := []ServerConfig{fake("alpha", "FAKE_PIDS="+pids, fmt.Sprintf("V=%d.%d", i, j))}
				if (i+j)%2 == 0 {
					list = append(list, isolatedFake("iso", 3, 1, "FAKE_PIDS="+pids))
				}
				if err := r.node.SetServers(list); err != nil {
					t.Error(err)
				}
				r.post("alpha", fmt.Sprint("s", i), initBody("2025-11-25"))
				r.post("iso", fmt.Sprint("s", i), initBody("2025-11-25"))
				r.post("alpha", fmt.Sprint("s", i), tool("1", "echo", "x"))
			}
		})
	}
	all.Wait()
	r.set(fake("alpha", "FAKE_PIDS="+pids, "V=last"))
	eventually(t, "only the last is left", func() bool {
		return len(r.node.roster.now.Load().all) == 1 && r.server("alpha").Status == store.ServerReady
	})
	r.open("alpha", "new")
	if env := textOf(t, r.post("alpha", "new", tool("1", "env", "")).body); !strings.Contains(env, `"V=last"`) {
		t.Errorf("the server that runs has the environment %s", env)
	}
	living := 0
	for _, pid := range lines(t, pids) {
		if alive(pidOf(t, pid)) {
			living++
		}
	}
	if living != 1 {
		t.Errorf("%d processes live, want 1", living)
	}
}

func TestNodeStopsInTheMidstOfAChange(t *testing.T) {
	dir := t.TempDir()
	r := startRig(t, func(c *Config) { c.DrainTimeout = 300 * time.Millisecond }, fake("alpha", "FAKE_PIDS="+dir+"/pids"))
	r.open("alpha", "s1")
	call := r.async("alpha", "s1", tool("1", "hang", ""))
	eventually(t, "in flight", func() bool { return r.server("alpha").InFlight == 1 })
	r.set(fake("alpha", "FAKE_GATE="+dir+"/never", "FAKE_PIDS="+dir+"/pids"))
	eventually(t, "both processes", func() bool { return len(lines(t, dir+"/pids")) == 2 })
	r.stop()
	if a := within(t, 5*time.Second, call); errorCode(t, a.last()) != wire.CodeOutcomeUnknown || !strings.Contains(a.last(), "node_shutdown") {
		t.Errorf("the call was answered %s, want error 1001", a.body)
	}
	r.close()
	for _, pid := range lines(t, dir+"/pids") {
		if alive(pidOf(t, pid)) {
			t.Errorf("process %s has outlived the node", pid)
		}
	}
}

func TestSameSettings(t *testing.T) {
	type odd struct { // which == does not take
		Builtin
		List []int
	}
	base := ServerConfig{Name: "a", Command: "x", Args: []string{"1"}, Env: map[string]string{"A": "1"}, Enabled: true}
	with := func(change func(*ServerConfig)) ServerConfig {
		sc := base
		sc.Args = slices.Clone(sc.Args)
		change(&sc)
		return sc
	}
	gate := &gateServer{}
	for _, tc := range []struct {
		name string
		a, b ServerConfig
		want bool
	}{
		{"equal", base, with(func(*ServerConfig) {}), true},
		{"weight", base, with(func(sc *ServerConfig) { sc.Weight = 9 }), true},
		{"headers nil and empty", base, with(func(sc *ServerConfig) { sc.Headers = map[string]string{} }), true},
		{"shared by default", base, with(func(sc *ServerConfig) { sc.Isolation = IsolationShared }), true},
		{"default bound", isolated(nil), isolated(func(sc *ServerConfig) { sc.MaxProcesses = defaultMaxProcesses }), true},
		{"args", base, with(func(sc *ServerConfig) { sc.Args[0] = "2" }), false},
		{"env", base, with(func(sc *ServerConfig) { sc.Env = map[string]string{"A": "2"} }), false},
		{"enabled", base, with(func(sc *ServerConfig) { sc.Enabled = false }), false},
		{"isolation", base, with(func(sc *ServerConfig) { sc.Isolation = IsolationSession }), false},
		{"spares", isolated(nil), isolated(func(sc *ServerConfig) { sc.Warm = 1 }), false},
		{"call timeout", base, with(func(sc *ServerConfig) { sc.CallTimeout = 1 }), false},
		{"same builtin", ServerConfig{Builtin: gate}, ServerConfig{Builtin: gate}, true},
		{"other builtin", ServerConfig{Builtin: gate}, ServerConfig{Builtin: &gateServer{}}, false},
		{"builtin and none", ServerConfig{Builtin: gate}, ServerConfig{}, false},
		{"builtin that cannot be compared", ServerConfig{Builtin: odd{}}, ServerConfig{Builtin: odd{}}, false},
	} {
		if got := same(tc.a, tc.b); got != tc.want {
			t.Errorf("%s: same() = %v, want %v", tc.name, got, tc.want)
		}
	}
}
