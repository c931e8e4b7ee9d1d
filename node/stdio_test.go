package node

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

func TestReadyServerIsDescribedWithItsCatalog(t *testing.T) {
	r := startRig(t, nil, fake("alpha"))
	s := r.server("alpha")
	if s.Status != store.ServerReady || s.Tools != 2 || s.Transport != "stdio" || s.Weight != 1 {
		t.Fatalf("described as %+v, want ready with 2 tools over stdio", s)
	}
	b, ok := r.node.Catalog(s.Catalog)
	if !ok {
		t.Fatalf("Catalog(%s) is not there", s.Catalog)
	}
	want := `{"protocolVersion":"2025-11-25","serverInfo":{"name":"fake","version":"1.0"},` +
		`"capabilities":{"tools":{"listChanged":true},"logging":{},"resources":{"subscribe":true}},` +
		`"tools":[{"name":"tool0", "inputSchema":{"type":"object"},"x":9007199254740993},` +
		`{"name":"tool1", "inputSchema":{"type":"object"},"x":9007199254740993}],"prompts":[],` +
		`"resources":[{"uri":"test://a","name":"a"}],"resourceTemplates":[]}`
	if string(b) != want {
		t.Errorf("catalog =\n%s\nwant\n%s", b, want)
	}
	if _, ok := r.node.Catalog("beef"); ok {
		t.Error("Catalog of an unknown digest is there")
	}
}

func TestDescriptionCountsWhatTheListsHold(t *testing.T) {
	r := startRig(t, nil, fake("alpha"))
	if s := r.server("alpha"); s.Tools != 2 || s.Resources != 1 || s.Prompts != 0 || s.Templates != 0 {
		t.Errorf("described with %d tools, %d resources, %d prompts, %d templates, want 2, 1, 0, 0",
			s.Tools, s.Resources, s.Prompts, s.Templates)
	}
}

func TestChangedListsMakeANewCatalog(t *testing.T) {
	r := startRig(t, nil, fake("alpha"))
	before := r.server("alpha").Catalog
	select {
	case <-r.node.Changed(): // of the start
	default:
		t.Fatal("Changed() is silent after the start")
	}
	r.open("alpha", "s1")
	r.post("alpha", "s1", tool("1", "grow", ""))
	select {
	case <-r.node.Changed():
	case <-time.After(5 * time.Second):
		t.Fatal("Changed() is silent after list_changed")
	}
	if s := r.server("alpha"); s.Tools != 3 || s.Catalog == before {
		t.Errorf("after list_changed: %d tools under digest %.8s, want 3 under another than %.8s", s.Tools, s.Catalog, before)
	}
}

func TestServerThatCannotStartIsShownAsFailed(t *testing.T) {
	missing := ServerConfig{Name: "missing", Command: "no-such-command-anywhere", Enabled: true}
	off := fake("off")
	off.Enabled = false
	r := startRig(t, nil, fake("broken", "FAKE_MODE=exit"), missing, off, fake("good"),
		ServerConfig{Name: "odd", Command: "x", URL: "http://x/", Enabled: true})
	broken := r.server("broken")
	if broken.Status != store.ServerFailed || !strings.Contains(broken.Error, "exited with status 3") {
		t.Errorf("broken is %s (%q), want failed with its exit status", broken.Status, broken.Error)
	}
	if got := strings.Join(broken.Stderr, "|"); !strings.HasPrefix(got, "cannot find the thing|it is not there") {
		t.Errorf("stderr of broken = %q", got)
	}
	if s := r.server("missing"); s.Status != store.ServerFailed || !strings.Contains(s.Error, "not found in PATH") {
		t.Errorf("missing is %s (%q)", s.Status, s.Error)
	}
	if s := r.server("off"); s.Status != store.ServerDisabled {
		t.Errorf("off is %s, want disabled", s.Status)
	}
	if s := r.server("odd"); s.Status != store.ServerFailed {
		t.Errorf("odd is %s, want failed for its settings", s.Status)
	}
	if s := r.server("good"); s.Status != store.ServerReady {
		t.Errorf("good is %s, want ready whatever the others are", s.Status)
	}
	for _, name := range []string{"broken", "off", "odd"} {
		a := r.post(name, "s1", initBody("2025-11-25"))
		if a.status != 503 || a.header.Get(wire.HeaderRefused) != wire.RefusedServer {
			t.Errorf("initialize of %s: %d refused %q, want 503 refused server", name, a.status, a.header.Get(wire.HeaderRefused))
		}
	}
}

func TestServerThatSaysNothingFailsInTime(t *testing.T) {
	r := startRig(t, func(c *Config) { c.StartTimeout = 200 * time.Millisecond }, fake("mute", "FAKE_MODE=mute"))
	if s := r.server("mute"); s.Status != store.ServerFailed || !strings.Contains(s.Error, "not ready after 200ms") {
		t.Errorf("mute is %s (%q), want failed for the time", s.Status, s.Error)
	}
}

func TestChildEnvironmentHoldsOnlyWhatItWasGiven(t *testing.T) {
	r := startRig(t, func(c *Config) {
		c.Environ = []string{"PATH=/bin", "HOME=/root", "REDIS_URL=redis://:pw@x", "MCPHUB_CLUSTER_SECRET=s", "LANG=C", "AWS_KEY=k", "USER=u"}
	}, fake("alpha", "USER=own", "KEY=value"))
	r.open("alpha", "s1")
	var env []string
	if err := json.Unmarshal([]byte(textOf(t, r.post("alpha", "s1", tool("1", "env", "")).body)), &env); err != nil {
		t.Fatal(err)
	}
	want := "HOME=/root LANG=C PATH=/bin FAKE_SERVER=1 KEY=value USER=own"
	if got := strings.Join(env, " "); got != want {
		t.Errorf("environment = %s\nwant %s", got, want)
	}
}

func TestChildThatDiesAnswersItsCallsAndComesBack(t *testing.T) {
	r := startRig(t, nil, fake("alpha"))
	r.open("alpha", "s1")
	r.open("alpha", "s2")
	hanging := r.async("alpha", "s2", tool(`"h"`, "hang", ""))
	reading := r.async("alpha", "s2", `{"jsonrpc":"2.0","id":"l","method":"completion/complete","params":{}}`)
	eventually(t, "2 in flight", func() bool { return r.server("alpha").InFlight == 2 })
	begun := time.Now()
	dying := r.post("alpha", "s1", tool("1", "die", ""))
	for name, a := range map[string]*answer{"the deadly call": dying, "a call in flight": within(t, 2*time.Second, hanging)} {
		if a.status != 200 || errorCode(t, a.last()) != wire.CodeOutcomeUnknown ||
			!strings.Contains(a.body, `"reason":"server_lost"`) || !strings.Contains(a.body, `"node":"n1"`) {
			t.Errorf("%s was answered %d %s, want error 1001", name, a.status, a.body)
		}
	}
	if a := within(t, 2*time.Second, reading); a.status != 503 || a.header.Get(wire.HeaderRefused) != wire.RefusedServer {
		t.Errorf("a request that only reads was answered %d %s, want it refused", a.status, a.body)
	}
	if took := time.Since(begun); took > time.Second {
		t.Errorf("the loss took %s to be told", took)
	}
	s := r.awaitStatus("alpha", store.ServerFailed)
	if !strings.Contains(s.Error, "exited with status 7") {
		t.Errorf("after the death: %s (%q), want failed with the status", s.Status, s.Error)
	}
	s = r.awaitStatus("alpha", store.ServerReady)
	if s.Restarts != 1 || s.Sessions != 0 {
		t.Errorf("after the restart: %d restarts, %d sessions, want 1 and 0", s.Restarts, s.Sessions)
	}
	a := r.post("alpha", "s1", tool("2", "echo", "x"))
	if a.status != 404 || a.header.Get(wire.HeaderRefused) != wire.RefusedSession {
		t.Errorf("a session of the lost process: %d %s, want 404 refused session", a.status, a.body)
	}
	r.open("alpha", "s1")
	if got := textOf(t, r.post("alpha", "s1", tool("2", "echo", "again")).body); got != "again" {
		t.Errorf("echo after the restart = %q", got)
	}
}

func TestStderrOfADeadServerIsShown(t *testing.T) {
	r := startRig(t, nil, fake("alpha"))
	r.open("alpha", "s1")
	r.post("alpha", "s1", tool("1", "die", ""))
	eventually(t, "stderr line", func() bool {
		return strings.HasPrefix(strings.Join(r.server("alpha").Stderr, "|"), "dying as told")
	})
}

func TestOversizedLineKillsTheChild(t *testing.T) {
	r := startRig(t, nil, fake("alpha"))
	r.open("alpha", "s1")
	a := within(t, 10*time.Second, r.async("alpha", "s1", tool("1", "flood", "")))
	if errorCode(t, a.last()) != wire.CodeOutcomeUnknown {
		t.Errorf("the call was answered %s, want error 1001", a.body)
	}
	eventually(t, "failed for the size", func() bool { return strings.Contains(r.server("alpha").Error, "over 8 MiB") })
	r.awaitStatus("alpha", store.ServerReady)
}

func TestChildThatDoesNotReadIsReplaced(t *testing.T) {
	r := startRig(t, func(c *Config) { c.WriteTimeout = 200 * time.Millisecond }, fake("alpha"))
	r.open("alpha", "s1")
	r.post("alpha", "s1", tool("1", "deaf", ""))
	big := strings.Repeat("x", 3<<20)
	partly := r.async("alpha", "s1", tool("2", "echo", big))
	a := within(t, 5*time.Second, partly)
	if errorCode(t, a.last()) != wire.CodeOutcomeUnknown {
		t.Errorf("a call written in part was answered %d %.200s, want error 1001", a.status, a.body)
	}
	eventually(t, "failed for not reading", func() bool {
		return strings.Contains(r.server("alpha").Error, "did not read its stdin")
	})
	r.awaitStatus("alpha", store.ServerReady)
}

func TestNoiseOnStdoutIsPassedOver(t *testing.T) {
	r := startRig(t, nil, fake("alpha", "FAKE_NOISE=1"))
	if s := r.server("alpha"); s.Status != store.ServerReady {
		t.Fatalf("alpha is %s (%s)", s.Status, s.Error)
	}
	if n := r.node.Stats().ForeignLines; n != 2 {
		t.Errorf("ForeignLines = %d, want 2", n)
	}
}

func TestGarbledAnswerEndsItsCall(t *testing.T) {
	r := startRig(t, nil, fake("alpha"))
	r.open("alpha", "s1")
	a := within(t, 5*time.Second, r.async("alpha", "s1", tool("1", "garbled", "")))
	if errorCode(t, a.last()) != wire.CodeOutcomeUnknown || !strings.Contains(a.body, "bad_answer") {
		t.Errorf("answered %s, want error 1001 for a bad answer", a.body)
	}
	if s := r.server("alpha"); s.Status != store.ServerReady {
		t.Errorf("alpha is %s after one garbled answer, want ready", s.Status)
	}
}

func TestServersRequestsAreAnsweredByTheNode(t *testing.T) {
	r := startRig(t, nil, fake("alpha"))
	r.open("alpha", "s1")
	got := textOf(t, r.post("alpha", "s1", tool("1", "ask", "")).body)
	if !strings.HasPrefix(got, "{} ") || !strings.Contains(got, "-32601") || !strings.Contains(got, "capability roots") {
		t.Errorf("the server was answered %q, want {} to ping and -32601 to roots/list", got)
	}
}

// alive reports whether a process exists and is no zombie.
func alive(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func pidOf(t *testing.T, s string) int {
	t.Helper()
	pid, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestNothingIsLeftOfAServerAfterRun(t *testing.T) {
	for _, tc := range []struct {
		name, mode string
		most       time.Duration
	}{
		{"one that ends when stdin is closed", "", 2 * time.Second},
		{"one that ignores stdin and SIGTERM", "stubborn", 5 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			pids := filepath.Join(t.TempDir(), "pids")
			r := startRig(t, nil, fake("alpha", "FAKE_PIDS="+pids, "FAKE_MODE="+tc.mode))
			r.open("alpha", "s1")
			child := pidOf(t, lines(t, pids)[0])
			grandchild := pidOf(t, textOf(t, r.post("alpha", "s1", tool("1", "grandchild", "")).body))
			if !alive(child) || !alive(grandchild) {
				t.Fatal("the processes were not there to begin with")
			}
			begun := time.Now()
			r.close()
			if took := time.Since(begun); took > tc.most {
				t.Errorf("Run took %s to end, want at most %s", took, tc.most)
			}
			if alive(child) {
				t.Error("the child has outlived Run")
			}
			eventually(t, "grandchild gone", func() bool { return !alive(grandchild) })
		})
	}
}

func TestGrandchildOutsideTheGroupCannotHoldUsUp(t *testing.T) {
	r := startRig(t, nil, fake("alpha"))
	r.open("alpha", "s1")
	pid := pidOf(t, textOf(t, r.post("alpha", "s1", tool("1", "grandchild", "away")).body))
	defer func() { _ = syscall.Kill(pid, syscall.SIGKILL) }()
	a := within(t, 2*time.Second, r.async("alpha", "s1", tool("2", "die", "")))
	if errorCode(t, a.last()) != wire.CodeOutcomeUnknown {
		t.Errorf("answered %s, want error 1001", a.body)
	}
	if !alive(pid) {
		t.Fatal("the grandchild did not hold the pipe")
	}
	begun := time.Now()
	r.close()
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("Run took %s to end", took)
	}
}

func TestShutdownLetsCallsFinishAndCutsOffTheRest(t *testing.T) {
	r := startRig(t, func(c *Config) { c.DrainTimeout = 300 * time.Millisecond }, fake("alpha"))
	r.open("alpha", "s1")
	slow := r.async("alpha", "s1", tool("1", "echo", "done", `,"delay":1`))
	within(t, 5*time.Second, slow)
	hanging := r.async("alpha", "s1", tool("2", "hang", ""))
	eventually(t, "in flight", func() bool { return r.server("alpha").InFlight == 1 })
	r.stop()
	eventually(t, "draining", func() bool { return r.node.Describe().State == store.NodeDraining })
	if a := r.post("alpha", "s2", initBody("2025-11-25")); a.status != 503 || a.header.Get(wire.HeaderRefused) != wire.RefusedDraining {
		t.Errorf("initialize while draining: %d refused %q, want 503 draining", a.status, a.header.Get(wire.HeaderRefused))
	}
	if a := r.post("alpha", "s1", tool("3", "echo", "x")); a.status != 503 || a.header.Get(wire.HeaderRefused) != wire.RefusedServer {
		t.Errorf("a new call while stopping: %d refused %q, want 503 server", a.status, a.header.Get(wire.HeaderRefused))
	}
	a := within(t, 5*time.Second, hanging)
	if errorCode(t, a.last()) != wire.CodeOutcomeUnknown || !strings.Contains(a.body, "node_shutdown") {
		t.Errorf("the call cut off was answered %s, want error 1001", a.body)
	}
}

func TestShutdownWaitsForACallInFlight(t *testing.T) {
	b := &gateServer{release: make(chan struct{}), entered: make(chan struct{}, 1)}
	r := startRig(t, nil, ServerConfig{Name: "gate", Builtin: b, Enabled: true})
	r.open("gate", "s1")
	call := r.async("gate", "s1", tool("1", "wait", ""))
	<-b.entered
	r.stop()
	eventually(t, "draining", func() bool { return r.node.Describe().State == store.NodeDraining })
	close(b.release)
	if a := within(t, 5*time.Second, call); textOf(t, a.body) != "released" {
		t.Errorf("the call in flight was answered %s", a.body)
	}
}

// gateServer is a builtin whose calls wait until they are released or cancelled.
type gateServer struct {
	release, entered chan struct{}
}

func (g *gateServer) Forget(string) {}

func (g *gateServer) Handle(ctx context.Context, _ string, frame []byte, _ func([]byte)) []byte {
	f, err := wire.Scan(frame, wire.ServerLimits)
	if err != nil {
		panic(err)
	}
	switch f.Method {
	case "initialize":
		return wire.Result(f.IDBytes(), []byte(`{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"gate","version":"1"}}`))
	case "tools/list":
		return wire.Result(f.IDBytes(), []byte(`{"tools":[]}`))
	case "tools/call":
		g.entered <- struct{}{}
		select {
		case <-g.release:
			return wire.Result(f.IDBytes(), []byte(text("released")))
		case <-ctx.Done():
			return nil
		}
	case "panic":
		panic("as told")
	}
	return wire.Result(f.IDBytes(), []byte(`{}`))
}

func TestNodeRunsOnce(t *testing.T) {
	r := startRig(t, nil)
	if err := r.node.Run(context.Background()); err == nil {
		t.Error("a second Run() = nil, want an error")
	}
}
