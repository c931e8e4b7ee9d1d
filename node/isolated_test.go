package node

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// isolatedFake is a stdio server with a process for each session.
func isolatedFake(name string, most, warm int, env ...string) ServerConfig {
	sc := fake(name, env...)
	sc.Isolation, sc.MaxProcesses, sc.Warm = IsolationSession, most, warm
	return sc
}

func (r *rig) end(server, session string) *answer {
	r.t.Helper()
	return do(r.t, r.request(context.Background(), http.MethodDelete, server, session, ""))
}

// keeps says something to a session's process and returns its pid and what it was told before.
func (r *rig) keeps(server, session, text string) (pid, before string) {
	r.t.Helper()
	a := r.post(server, session, tool("1", "keep", text))
	if a.status != 200 {
		r.t.Fatalf("call in session %s of %s: %d %s", session, server, a.status, a.body)
	}
	pid, before, _ = strings.Cut(textOf(r.t, a.body), " ")
	return pid, before
}

func TestSessionsHaveProcessesOfTheirOwn(t *testing.T) {
	r := startRig(t, nil, isolatedFake("iso", 4, 0), fake("shared"))
	pids := map[string]string{}
	for _, id := range []string{"s1", "s2", "s3"} {
		if a := r.open("iso", id); a.header.Get(wire.HeaderSessions) != fmt.Sprint(len(pids)+1) {
			t.Errorf("initialize of %s tells of %s sessions", id, a.header.Get(wire.HeaderSessions))
		}
		pid, before := r.keeps("iso", id, "of "+id)
		if other, ok := pids[pid]; ok || before != "" {
			t.Errorf("%s has the process of %q, which knows %q", id, other, before)
		}
		pids[pid] = id
	}
	for pid, id := range pids {
		if again, before := r.keeps("iso", id, "x"); again != pid || before != "of "+id {
			t.Errorf("%s has process %s, which knows %q, want %s with its own", id, again, before, pid)
		}
	}
	eventually(t, "no process but theirs", func() bool { return r.server("iso").Processes == 3 })
	if s := r.server("iso"); s.Sessions != 3 || s.Full {
		t.Errorf("described with %d sessions, full %v", s.Sessions, s.Full)
	}
	if s := r.server("shared"); s.Isolation != "" || s.MaxProcesses != 0 {
		t.Errorf("the shared server is described as %+v", s)
	}
	if a := r.end("iso", "s2"); a.status != 204 {
		t.Errorf("DELETE: %d %s", a.status, a.body)
	}
	for pid, id := range pids {
		if id == "s2" {
			eventually(t, "process of the ended session gone", func() bool { return !alive(pidOf(t, pid)) })
		} else if !alive(pidOf(t, pid)) {
			t.Errorf("the process of %s is gone too", id)
		}
	}
	if a := r.post("iso", "s2", tool("1", "keep", "x")); a.status != 404 || a.header.Get(wire.HeaderRefused) != wire.RefusedSession {
		t.Errorf("the ended session: %d refused %q, want 404 session", a.status, a.header.Get(wire.HeaderRefused))
	}
	r.open("iso", "s2")
	if pid, before := r.keeps("iso", "s2", "x"); pids[pid] != "" || before != "" {
		t.Errorf("opened again s2 has process %s, which knows %q, want a new one", pid, before)
	}
}

func TestFullServerSaysSo(t *testing.T) {
	r := startRig(t, nil, isolatedFake("iso", 2, 1))
	r.open("iso", "s1")
	r.open("iso", "s2")
	a := r.post("iso", "s3", initBody("2025-11-25"))
	if a.status != 503 || a.header.Get(wire.HeaderRefused) != wire.RefusedFull || a.header.Get("Retry-After") == "" {
		t.Errorf("answered %d refused %q, Retry-After %q, want 503 full with a time", a.status,
			a.header.Get(wire.HeaderRefused), a.header.Get("Retry-After"))
	}
	var m struct {
		ID    string
		Error struct {
			Code    int
			Message string
			Data    struct {
				Outcome, Reason, Server, Limit string
				MaxProcesses                   int
			}
		}
	}
	if err := json.Unmarshal([]byte(a.body), &m); err != nil {
		t.Fatal(err)
	}
	e := m.Error
	if m.ID != "init" || e.Code != wire.CodeNotExecuted || !strings.Contains(e.Message, "server iso") || !strings.Contains(e.Message, "maxProcesses, 2") {
		t.Errorf("error = %s, want 1002 that names server and limit", a.body)
	}
	if d := e.Data; d.Outcome != "not_executed" || d.Reason != "full" || d.Server != "iso" || d.Limit != "maxProcesses" || d.MaxProcesses != 2 {
		t.Errorf("data = %+v", d)
	}
	if s := r.server("iso"); !s.Full || s.Status != store.ServerReady || s.Processes != 2 || s.MaxProcesses != 2 || s.Spares != 0 {
		t.Errorf("described as %+v, want ready and full", s)
	}
	if n := r.node.Stats().RefusedFull; n != 1 {
		t.Errorf("RefusedFull = %d, want 1", n)
	}
	r.end("iso", "s1")
	r.open("iso", "s3") // waits for the process of s1
	if got := textOf(t, r.post("iso", "s3", tool("1", "echo", "x")).body); got != "x" {
		t.Errorf("echo = %q", got)
	}
}

// The server answers initialize only while a file is there; so what opens without it was
// greeted before.
func TestSpareIsGreetedAheadOfItsSession(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := startRig(t, nil, isolatedFake("iso", 4, 2, "FAKE_GATE="+gate))
	eventually(t, "2 spares", func() bool { return r.server("iso").Spares == 2 })
	if err := os.Remove(gate); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"s1", "s2"} {
		a := r.open("iso", id)
		if !strings.HasPrefix(a.body, `{"jsonrpc":"2.0","id":"init","result":{"protocolVersion" : "2025-11-25",`) {
			t.Errorf("%s was answered %s, want the server's own words under the client's id", id, a.body)
		}
		if _, before := r.keeps("iso", id, id); before != "" {
			t.Errorf("%s got a process that knows %q", id, before)
		}
	}
	third := r.async("iso", "s3", initBody("2025-11-25"))
	eventually(t, "a process for the third", func() bool { return r.server("iso").Sessions == 3 })
	select {
	case a := <-third:
		t.Fatalf("the third was answered %d %s without a spare", a.status, a.body)
	default:
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if a := within(t, 10*time.Second, third); a.status != 200 {
		t.Errorf("the third was answered %d %s", a.status, a.body)
	}
	if n := r.node.Stats().SparesGiven; n != 2 {
		t.Errorf("SparesGiven = %d, want 2", n)
	}
}

func TestIdleProcessIsEndedByTheNode(t *testing.T) {
	sc := isolatedFake("iso", 2, 0)
	sc.IdleTimeout = 100 * time.Millisecond
	r := startRig(t, nil, sc)
	r.open("iso", "s1")
	pid, _ := r.keeps("iso", "s1", "x")
	eventually(t, "process gone", func() bool { return !alive(pidOf(t, pid)) })
	if a := r.post("iso", "s1", tool("1", "echo", "x")); a.status != 404 || a.header.Get(wire.HeaderRefused) != wire.RefusedSession {
		t.Errorf("answered %d refused %q, want 404 session", a.status, a.header.Get(wire.HeaderRefused))
	}
	if st := r.node.Stats(); st.IdledSessions != 1 || st.ExpiredSessions != 0 {
		t.Errorf("stats = %+v, want one idled", st)
	}
}

func TestIsolatedProcessThatDiesAnswersItsCalls(t *testing.T) {
	r := startRig(t, nil, isolatedFake("iso", 3, 0))
	r.open("iso", "s1")
	r.open("iso", "s2")
	hanging := r.async("iso", "s1", tool("7", "hang", ""))
	other := r.async("iso", "s2", tool("7", "hang", ""))
	eventually(t, "2 in flight", func() bool { return r.server("iso").InFlight == 2 })
	dying := r.post("iso", "s1", tool("8", "die", ""))
	for name, a := range map[string]*answer{"the deadly call": dying, "a call in flight": within(t, 5*time.Second, hanging)} {
		if errorCode(t, a.last()) != wire.CodeOutcomeUnknown || !strings.Contains(a.last(), "server_lost") {
			t.Errorf("%s was answered %s, want error 1001", name, a.body)
		}
	}
	if a := r.post("iso", "s1", tool("9", "echo", "x")); a.status != 404 {
		t.Errorf("the session: %d %s, want 404", a.status, a.body)
	}
	r.open("iso", "s1") // as a coordinator then does
	if got := textOf(t, r.post("iso", "s1", tool("9", "echo", "again")).body); got != "again" {
		t.Errorf("echo = %q", got)
	}
	if s := r.server("iso"); s.Status != store.ServerReady || s.InFlight != 1 {
		t.Errorf("the server is %s with %d in flight, want ready with the other session's call", s.Status, s.InFlight)
	}
	if n := r.node.Stats().LostProcesses; n != 1 {
		t.Errorf("LostProcesses = %d, want 1", n)
	}
	r.post("iso", "s2", tool("8", "die", ""))
	within(t, 5*time.Second, other)
	r.close()
	if n := r.node.stats.tails.Load(); n != 0 {
		t.Errorf("%d bytes of stderr are counted when all processes are gone", n)
	}
}

func TestIsolatedServerThatCannotStart(t *testing.T) {
	r := startRig(t, nil, isolatedFake("iso", 2, 1, "FAKE_MODE=exit"))
	s := r.server("iso")
	if s.Status != store.ServerFailed || !strings.Contains(s.Error, "exited with status 3") ||
		strings.Contains(s.Error, "thing") || strings.Contains(s.Error, "not there") || // clients are told of the error
		!strings.HasPrefix(strings.Join(s.Stderr, "|"), "cannot find the thing|it is not there") {
		t.Errorf("described as %+v, want failed with status and stderr", s)
	}
	if a := r.post("iso", "s1", initBody("2025-11-25")); a.status != 503 || a.header.Get(wire.HeaderRefused) != wire.RefusedServer {
		t.Errorf("initialize: %d refused %q, want 503 server", a.status, a.header.Get(wire.HeaderRefused))
	}
}

func TestSessionIsToldWhyItsProcessDidNotStart(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	sc := isolatedFake("iso", 2, 0, "FAKE_GATE="+gate)
	sc.StartTimeout = 2 * time.Second
	r := startRig(t, nil, sc)
	if err := os.Remove(gate); err != nil {
		t.Fatal(err)
	}
	a := within(t, 10*time.Second, r.async("iso", "s1", initBody("2025-11-25")))
	if a.status != 503 || a.header.Get(wire.HeaderRefused) != wire.RefusedServer || !strings.Contains(a.body, "not ready after 2s") {
		t.Errorf("answered %d refused %q: %s, want 503 server and why", a.status, a.header.Get(wire.HeaderRefused), a.body)
	}
	eventually(t, "nothing left", func() bool { return r.server("iso").Processes == 0 })
}

func TestIsolatedProcessesObeyTheRulesOfAllChildren(t *testing.T) {
	dir := t.TempDir()
	r := startRig(t, func(c *Config) {
		c.Environ = []string{"PATH=/bin", "MCPHUB_CLUSTER_SECRET=s"}
		c.WriteTimeout = 200 * time.Millisecond
	}, isolatedFake("iso", 4, 0, "FAKE_MODE=stubborn", "FAKE_PIDS="+dir+"/pids"))
	r.open("iso", "s1")
	r.open("iso", "s2")
	var env []string
	if err := json.Unmarshal([]byte(textOf(t, r.post("iso", "s1", tool("1", "env", "")).body)), &env); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(env, " "); got != "PATH=/bin FAKE_MODE=stubborn FAKE_PIDS="+dir+"/pids FAKE_SERVER=1" {
		t.Errorf("environment = %s", got)
	}
	grandchild := pidOf(t, textOf(t, r.post("iso", "s1", tool("1", "grandchild", "")).body))
	r.post("iso", "s2", tool("1", "deaf", ""))
	a := within(t, 5*time.Second, r.async("iso", "s2", tool("2", "echo", strings.Repeat("x", 3<<20))))
	if errorCode(t, a.last()) != wire.CodeOutcomeUnknown {
		t.Errorf("a call that was written in part: %d %.200s, want error 1001", a.status, a.body)
	}
	if _, before := r.keeps("iso", "s1", "x"); before != "" {
		t.Errorf("s1 knows %q", before)
	}
	r.close()
	for _, pid := range lines(t, dir+"/pids") {
		if alive(pidOf(t, pid)) {
			t.Errorf("process %s has outlived the node", pid)
		}
	}
	eventually(t, "grandchild gone", func() bool { return !alive(grandchild) })
}

func TestFiftyProcessesLeaveNothingBehind(t *testing.T) {
	const sessions = 50
	pids := filepath.Join(t.TempDir(), "pids")
	before := openFiles(t)
	r := startRig(t, nil, isolatedFake("iso", sessions, 5, "FAKE_PIDS="+pids))
	for round := range 2 {
		var all sync.WaitGroup
		for i := range sessions {
			all.Go(func() {
				id := fmt.Sprint("s", i)
				r.open("iso", id)
				if got := textOf(t, r.post("iso", id, tool("1", "echo", id)).body); got != id {
					t.Errorf("%s was answered %q", id, got)
				}
			})
		}
		all.Wait()
		if s := r.server("iso"); s.Sessions != sessions || !s.Full || s.Processes != sessions {
			t.Errorf("round %d: %d sessions, %d processes, full %v", round, s.Sessions, s.Processes, s.Full)
		}
		for i := range sessions {
			all.Go(func() { r.end("iso", fmt.Sprint("s", i)) })
		}
		all.Wait()
		eventually(t, "only spares left", func() bool { s := r.server("iso"); return s.Processes == 5 && s.Spares == 5 })
	}
	all := lines(t, pids)
	if len(all) < 2*sessions {
		t.Errorf("%d processes were started for %d sessions", len(all), 2*sessions)
	}
	r.close()
	for _, pid := range all {
		if alive(pidOf(t, pid)) {
			t.Errorf("process %s has outlived the node", pid)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	eventually(t, "files closed", func() bool { return openFiles(t) <= before })
}
