package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// everythingServer is the cheapest real server: go-sdk's, over stdio.
func everythingServer(t *testing.T) harness.Servers {
	t.Helper()
	return harness.Servers{"everything": {Command: harness.EverythingBinary(t)}}
}

// countLines counts the log lines with all parts over all coordinators.
func countLines(c *harness.Cluster, parts ...string) int {
	n := 0
	for _, co := range c.Coordinators {
		n += co.Log.Count(parts...)
	}
	return n
}

func TestGuideLogLinesToTheLetterAndOncePerFleet(t *testing.T) {
	long(t)
	servers := everythingServer(t)
	servers["second"] = servers["everything"]
	c := harness.StartCluster(t, harness.Options{
		Nodes: []harness.NodeOptions{{ID: "node-1", Name: "Worker Node 1", Servers: servers}},
	})
	harness.Eventually(t, 10*time.Second, "the registration is announced", func() error {
		if n := countLines(c, "Node registered: Worker Node 1 (node-1) with 2 servers"); n != 1 {
			return fmt.Errorf("%d lines over the fleet, want 1", n)
		}
		return nil
	})

	// A frozen node keeps its connections and sends nothing: its lease lapses.
	c.Nodes["node-1"].Signal(syscall.SIGSTOP)
	defer c.Nodes["node-1"].Signal(syscall.SIGCONT)
	c.WaitNodeStatus("node-1", "unhealthy", harness.ReadyLimit)
	line := regexp.MustCompile(`Marking node node-1 as unhealthy \(last heartbeat: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\)`)
	harness.Eventually(t, 5*time.Second, "the lapse is announced", func() error {
		n := 0
		for _, co := range c.Coordinators {
			n += len(line.FindAllString(co.Log.String(), -1))
		}
		if n != 1 {
			return fmt.Errorf("%d lines %v over the fleet, want 1", n, line)
		}
		return nil
	})

	c.Nodes["node-1"].Signal(syscall.SIGCONT)
	c.WaitNodeStatus("node-1", "active", harness.ReadyLimit)
}

func TestSecondProcessUnderALiveIDIsRefused(t *testing.T) {
	long(t)
	opts := harness.NodeOptions{ID: "node-1", Servers: everythingServer(t)}
	c := harness.StartCluster(t, harness.Options{Nodes: []harness.NodeOptions{opts}})
	first := c.Nodes["node-1"]

	second := c.StartNode(opts)
	// It says so, naming the holder, and the first is not disturbed.
	second.Log.WaitFor(t, harness.ReadyLimit, "node-1", first.URL)
	rec, err := c.Coordinators[0].Node("node-1")
	if err != nil || rec.URL != first.URL || rec.Status != "active" {
		t.Errorf("node-1 = %+v, %v, want active at %s", rec, err, first.URL)
	}

	// The same by hand, to see the status and the sentence.
	body := fmt.Sprintf(`{"id":"node-1","name":"x","host":"127.0.0.1","port":9,"url":"http://127.0.0.1:9","servers":[],"instance":"%032x"}`, 1)
	status, answer, err := harness.Do(t.Context(), http.MethodPost, c.Front.URL+"/api/cluster/register",
		http.Header{"Content-Type": {"application/json"}}, strings.NewReader(body))
	if err != nil || status != http.StatusConflict || !strings.Contains(string(answer), first.URL) {
		t.Errorf("register = %d %s %v, want 409 naming %s", status, answer, err, first.URL)
	}

	// Once the first has died, the id is free for another process.
	second.Kill()
	first.Kill()
	third := c.StartNode(opts)
	for _, co := range c.Coordinators {
		harness.Eventually(t, harness.ReadyLimit, "node-1 is the third process", func() error {
			rec, err := co.Node("node-1")
			if err == nil && (rec.URL != third.URL || rec.Status != "active") {
				err = fmt.Errorf("node-1 is %+v", rec)
			}
			return err
		})
	}
	s := harness.MustOpen(t, c.Front.URL+"/mcp/everything")
	if _, err := s.Call(t.Context(), "test_simple_text", nil); err != nil {
		t.Errorf("a call at the third process: %v", err)
	}
}

func TestNodeForgottenByRedisIsRelearned(t *testing.T) {
	long(t)
	opts := harness.NodeOptions{ID: "node-1", Servers: everythingServer(t)}
	c := harness.StartCluster(t, harness.Options{Nodes: []harness.NodeOptions{opts}})
	s := harness.MustOpen(t, c.Front.URL+"/mcp/everything")
	if got := c.Redis.CLI("FLUSHALL"); got != "OK" {
		t.Fatalf("FLUSHALL: %s", got)
	}
	for i := range 6 { // while Redis knows nothing
		if _, err := s.Call(t.Context(), "test_simple_text", nil); err != nil {
			t.Errorf("call %d after the flush: %v", i, err)
		}
	}
	harness.Eventually(t, 10*time.Second, "Redis knows node-1 again", func() error {
		if got := c.Redis.CLI("EXISTS", "mcphub:{nodes}:node:node-1"); got != "1" {
			return fmt.Errorf("EXISTS = %s", got)
		}
		return nil
	})
	c.WaitActive(opts)
	if _, err := s.Call(t.Context(), "test_simple_text", nil); err != nil {
		t.Errorf("call after the node was relearned: %v", err)
	}
}

func TestRedisIsReadableByHand(t *testing.T) {
	long(t)
	c := harness.StartCluster(t, harness.Options{
		Nodes: []harness.NodeOptions{{ID: "node-1", Name: "Worker Node 1", Servers: everythingServer(t)}},
	})
	s := harness.MustOpen(t, c.Front.URL+"/mcp/everything")
	for field, want := range map[string]string{
		"name": "Worker Node 1", "host": "127.0.0.1", "url": c.Nodes["node-1"].URL, "state": "active",
		"port": strconv.Itoa(c.Nodes["node-1"].Port),
	} {
		if got := c.Redis.CLI("HGET", "mcphub:{nodes}:node:node-1", field); got != want {
			t.Errorf("HGET node-1 %s = %q, want %q", field, got, want)
		}
	}
	if got := c.Redis.CLI("PTTL", "mcphub:{nodes}:lease:node-1"); strings.HasPrefix(got, "-") {
		t.Errorf("the lease has no expiry: PTTL = %s", got)
	}
	keys := strings.Fields(c.Redis.CLI("KEYS", "*"))
	for _, k := range keys {
		if !strings.HasPrefix(k, "mcphub:") {
			t.Errorf("key %s does not begin with the prefix", k)
		}
		if strings.Contains(k, s.ID) {
			t.Errorf("key %s holds a usable session id", k)
		}
	}
	sessions := slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return !strings.HasPrefix(k, "mcphub:session:") })
	if len(sessions) != 1 {
		t.Fatalf("session keys = %v, want one", sessions)
	}
	fields := c.Redis.CLI("HGETALL", sessions[0])
	if strings.Contains(fields, s.ID) {
		t.Errorf("the session's record holds a usable session id:\n%s", fields)
	}
	for _, want := range []string{"scope", "everything", "era", "2025-11-25"} {
		if !strings.Contains(fields, want) {
			t.Errorf("the session's record has no %s:\n%s", want, fields)
		}
	}
}

// The guide's REST calls, field by field, on every coordinator.
func TestGuideRESTShapes(t *testing.T) {
	long(t)
	c := harness.StartCluster(t, harness.Options{
		Nodes: []harness.NodeOptions{{ID: "node-1", Name: "Worker Node 1", Servers: everythingServer(t)}},
	})
	s := harness.MustOpen(t, c.Front.URL+"/mcp/everything")
	if _, err := s.Call(t.Context(), "test_simple_text", nil); err != nil {
		t.Fatal(err)
	}
	for _, co := range c.Coordinators {
		checkShape(t, co, "/status", "enabled mode nodeId stats", `"mode":"coordinator"`, `"nodeId":"coordinator"`)
		checkShape(t, co, "/nodes?active=true", "id name host port url status lastHeartbeat servers", `"id":"node-1"`, `"status":"active"`)
		checkShape(t, co, "/servers/everything/replicas", "serverId nodeId nodeUrl status weight", `"serverId":"everything"`, `"nodeId":"node-1"`)
		checkShape(t, co, "/sessions/"+s.ID, "sessionId nodeId serverId createdAt lastAccessed expiresAt", `"nodeId":"node-1"`, `"serverId":"everything"`)
		checkShape(t, co, "/servers", "")
		var list struct {
			Sessions []harness.SessionRecord `json:"sessions"`
		}
		if err := co.API("/sessions", &list); err != nil || len(list.Sessions) != 1 {
			t.Errorf("%s: sessions = %+v, %v, want one", co.Name, list, err)
		} else if strings.Contains(fmt.Sprint(list), s.ID) {
			t.Errorf("%s: the list shows a usable session id", co.Name)
		}
		for path, want := range map[string]int{"/health": 200, "/ready": 200, "/api/cluster/sessions/no-such": 404, "/api/cluster/nothing": 404} {
			if status, body, err := harness.Get(t.Context(), co.URL+path); err != nil || status != want {
				t.Errorf("%s: GET %s = %d %.200s %v, want %d", co.Name, path, status, body, err, want)
			}
		}
	}
	status, body, err := harness.Do(t.Context(), http.MethodDelete, c.Front.URL+"/api/cluster/sessions/"+s.ID, nil, nil)
	if err != nil || status != 200 {
		t.Errorf("DELETE session = %d %s %v, want 200", status, body, err)
	}
	checkEnded(t, s, 6)
}

// checkShape reads data of a GET, takes the first of it if it is a list, and wants fields and
// parts of the text.
func checkShape(t *testing.T, h *harness.Hub, path, fields string, parts ...string) {
	t.Helper()
	var raw json.RawMessage
	if err := h.API(path, &raw); err != nil {
		t.Errorf("%s: %v", h.Name, err)
		return
	}
	var list []json.RawMessage
	one := raw
	if json.Unmarshal(raw, &list) == nil {
		if len(list) == 0 {
			t.Errorf("%s: GET %s is empty", h.Name, path)
			return
		}
		one = list[0]
	}
	var got map[string]json.RawMessage
	if err := json.Unmarshal(one, &got); err != nil {
		t.Errorf("%s: GET %s: %v: %s", h.Name, path, err, raw)
		return
	}
	for f := range strings.FieldsSeq(fields) {
		if _, ok := got[f]; !ok {
			t.Errorf("%s: GET %s has no %s: %s", h.Name, path, f, one)
		}
	}
	for _, p := range parts {
		if !strings.Contains(string(raw), p) {
			t.Errorf("%s: GET %s does not say %s: %s", h.Name, path, p, raw)
		}
	}
}

// checkEnded wants 404 for the session from every coordinator; n requests reach them all. A
// replica that holds the route in its cache may take the announcement's time to know.
func checkEnded(t *testing.T, s *harness.Session, n int) {
	t.Helper()
	harness.Eventually(t, 10*time.Second, "the session has ended everywhere", func() error {
		for range n {
			r, err := s.Post(t.Context(), []byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
			if err != nil {
				return err
			}
			if r.Status != http.StatusNotFound {
				return fmt.Errorf("status %d: %.200s", r.Status, r.Body)
			}
		}
		return nil
	})
}
