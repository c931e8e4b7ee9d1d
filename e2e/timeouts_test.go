package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// impatience is the callTimeout and the startTimeout of these tests, and sluggish how long
// starts take there: long enough for it.
const (
	impatience = 600 * time.Millisecond
	sluggish   = 2 * time.Second
)

// slowToStart is a server that is to have started within limit, and takes longer than impatience.
func slowToStart(t *testing.T, name string, takes, limit time.Duration) harness.Server {
	t.Helper()
	s := plain(t, name)
	s.Args, s.StartTimeout = []string{"-start-delay", takes.String()}, int(limit.Milliseconds())
	return s
}

// hasty is a fleet with servers whose time runs out: "calls" is on node-1 and has callTimeout,
// "never" is there too and does not start in time, and "late" does so on node-2 only.
type hasty struct{ *harness.Cluster }

// Times of a server's own that run out: what clients see of it, and what REST and the metrics
// show.
func TestTimesOfServersRunOut(t *testing.T) {
	long(t)
	two := harness.NodeOptions{ID: "node-2", Servers: harness.Servers{"late": slowToStart(t, "node-2", sluggish, time.Minute)}}
	f := &hasty{harness.StartCluster(t, harness.Options{Secret: "a-secret-of-the-tests", Nodes: []harness.NodeOptions{two}})}
	calls := plain(t, "node-1")
	calls.CallTimeout = int(impatience.Milliseconds())
	calls.Env["FIXTURE_LEDGER"] = ledger(t)
	f.StartNode(harness.NodeOptions{ID: "node-1", Servers: harness.Servers{
		"calls": calls, "never": slowToStart(t, "node-1", time.Hour, impatience), "late": slowToStart(t, "node-1", sluggish, impatience),
	}})
	f.WaitActive(harness.NodeOptions{ID: "node-1", Servers: harness.Servers{"calls": calls}})
	t.Run("a call", f.call)
	t.Run("a start", f.start)
	t.Run("a start, elsewhere in time", f.startElsewhere)
}

// call wants a call without an answer and without progress to end with error 1001, the server
// to hear of it, and both the session and the process to go on.
func (f *hasty) call(t *testing.T) {
	for path, prefix := range map[string]string{"/mcp/calls": "", "/mcp": "calls-"} {
		s := harness.MustOpen(t, f.Front.URL+path)
		_, pid := pidOf(t, s, prefix+toolWhoami)
		key := "too slow at " + path
		began := time.Now()
		_, err := s.Call(t.Context(), prefix+toolBlock, blockArgs(key))
		took := time.Since(began)
		var rpc *harness.RPCError
		var data struct{ Outcome, Reason string }
		if !errors.As(err, &rpc) || rpc.Code != 1001 || json.Unmarshal(rpc.Data, &data) != nil || data.Outcome != "unknown" || data.Reason != "call_timeout" {
			t.Errorf("%s: a call that takes too long = %v, want error 1001, call_timeout", path, err)
		}
		if took < impatience || executions(t, key) != 1 {
			t.Errorf("%s: it ended after %v and ran %d times, want %v at least and once", path, took, executions(t, key), impatience)
		}
		if got, err := s.Call(t.Context(), prefix+toolCancellations, nil); err != nil || got == "[]" {
			t.Errorf("%s: the server heard of cancellations %s, %v, want one", path, got, err)
		}
		// Progress is a sign of life: what reports it may take as long as it likes.
		r, err := s.Post(t.Context(), fmt.Appendf(nil,
			`{"jsonrpc":"2.0","id":"p","method":"tools/call","params":{"name":"%s","arguments":{"ms":%d},"_meta":{"progressToken":1}}}`,
			prefix+toolSleep, 3*impatience.Milliseconds()))
		if err != nil || len(r.Frames) < 2 || !strings.Contains(string(r.Last()), `"result"`) {
			t.Errorf("%s: a call of %v with progress = %+v, %v, want a result", path, 3*impatience, r, err)
		}
		if _, again := pidOf(t, s, prefix+toolWhoami); again != pid {
			t.Errorf("%s: the server was restarted", path)
		}
	}
	for _, co := range f.Coordinators {
		checkShape(t, co, "/servers/calls/replicas", "status", `"status":"active"`, `"restarts":0`)
	}
	status, body, err := harness.Get(t.Context(), f.Nodes["node-1"].URL+"/metrics")
	if want := `mcphub_node_calls_total{outcome="lost",server="calls"} 2`; err != nil || status != http.StatusOK || !strings.Contains(string(body), want) {
		t.Errorf("/metrics of the node = %d, %v, want %s in it", status, err, want)
	}
}

// start wants a server that is not ready in time to be shown with that reason, tried again and
// again, and refused to clients with the same reason.
func (f *hasty) start(t *testing.T) {
	why := "not ready after " + impatience.String()
	for _, co := range f.Coordinators {
		f.replicas(t, co, "never", func(by map[string]replica) error {
			if r := by["node-1"]; len(by) != 1 || r.Status != "failed" || !strings.Contains(r.Error, why) || r.Restarts < 1 {
				return fmt.Errorf("never: %+v, want it failed, %q, and tried again", by, why)
			}
			return nil
		})
		r, err := harness.NewSession(co.URL+"/mcp/never").Post(t.Context(), []byte(initialize))
		if err != nil || r.Status != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" {
			t.Fatalf("%s: a session with a server that does not start = %+v, %v, want 503 with Retry-After", co.Name, r, err)
		}
		for _, part := range []string{`"code":1002`, "never", "node-1", why} {
			if !strings.Contains(string(r.Body), part) {
				t.Errorf("%s: a session with a server that does not start: %s, want %s in it", co.Name, r.Body, part)
			}
		}
	}
	s := harness.MustOpen(t, f.Front.URL+"/mcp")
	tools, err := s.Tools(t.Context())
	if err != nil || strings.Contains(fmt.Sprint(tools), "never-") {
		t.Errorf("Tools = %s, %v, want none of a server that does not start", brief(tools), err)
	}
	_, err = s.Call(t.Context(), "never-whoami", nil)
	var rpc *harness.RPCError
	if !errors.As(err, &rpc) || rpc.Code != 1002 || !strings.Contains(rpc.Message, why) {
		t.Errorf("a call of a server that does not start = %v, want error 1002 with the reason", err)
	}
	// What was started and given up does not live on: between two tries there is "calls" alone.
	harness.Eventually(t, harness.ReadyLimit, "only the process of calls is there", func() error {
		if n := len(harness.Descendants(f.Nodes["node-1"].Pid())); n != 1 {
			return fmt.Errorf("node-1 has %d processes", n)
		}
		return nil
	})
}

// startElsewhere wants sessions to go where the server has started in time, and the other node
// to have it once its settings give it the time.
func (f *hasty) startElsewhere(t *testing.T) {
	for _, co := range f.Coordinators {
		f.replicas(t, co, "late", func(by map[string]replica) error {
			if by["node-1"].Status != "failed" || !strings.Contains(by["node-1"].Error, "not ready after") || by["node-2"].Status != "active" {
				return fmt.Errorf("late: %+v, want it failed on node-1 and active on node-2", by)
			}
			return nil
		})
	}
	for range 6 {
		if node, err := whoami(t.Context(), rawClient{harness.MustOpen(t, f.Front.URL+"/mcp/late")}); err != nil || node != "node-2" {
			t.Errorf("a session is on %q, %v, want node-2, where the server runs", node, err)
		}
	}
	f.Nodes["node-1"].Rewrite(t, func(settings harness.Object) {
		settings["mcpServers"].(harness.Object)["late"].(harness.Object)["startTimeout"] = 60_000
	})
	for _, co := range f.Coordinators {
		f.replicas(t, co, "late", func(by map[string]replica) error {
			if r := by["node-1"]; r.Status != "active" || r.Error != "" {
				return fmt.Errorf("late on node-1, which gives it a minute now: %+v", r)
			}
			return nil
		})
	}
}

// replica is one replica of a server, as REST shows it.
type replica struct {
	NodeID, Status, Error string
	Restarts              int
}

// replicas waits until what a coordinator shows of a server's replicas, by node, is as wanted.
func (f *hasty) replicas(t *testing.T, co *harness.Hub, server string, ok func(by map[string]replica) error) {
	t.Helper()
	harness.Eventually(t, harness.ReadyLimit, co.Name+" shows it", func() error {
		var list []replica
		if err := co.API("/servers/"+server+"/replicas", &list); err != nil {
			return err
		}
		by := map[string]replica{}
		for _, r := range list {
			by[r.NodeID] = r
		}
		return ok(by)
	})
}
