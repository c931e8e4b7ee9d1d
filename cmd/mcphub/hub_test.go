package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Two coordinators on one Redis, each with a node, a group in the settings, keys of three kinds and
// the cookie strategy: a small hub with everything on that has a door.
const hubText = `"systemConfig": {
	"cluster": {"enabled": true, "mode": "coordinator", "secret": "a-cluster-secret-of-32-characters", "stickySession": {"strategy": "cookie"}%s},
	"routing": {"enableBearerAuth": true}},
	"groups": [{"name": "desk", "servers": ["child"]}],
	"bearerKeys": [
		{"id": "1", "name": "ops", "token": "key-of-ops-0123456789abcdef", "enabled": true, "accessType": "all"},
		{"id": "2", "name": "desk", "token": "key-of-desk-0123456789abcde", "enabled": true, "accessType": "groups", "allowedGroups": ["desk"]},
		{"id": "3", "name": "off", "token": "key-of-off-0123456789abcdef", "enabled": false, "accessType": "all"}]`

// answered is an answer to an MCP request.
type answered struct {
	status int
	header http.Header
	body   string
}

// ask sends one message with a key; headers come in pairs.
func ask(t *testing.T, endpoint, key, session, message string, headers ...string) answered {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(message))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("Authorization", "Bearer "+key)
	if session != "" {
		req.Header.Set("Mcp-Session-Id", session)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answered{resp.StatusCode, resp.Header, string(body)}
}

const (
	listTools = `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`
	opsKey    = "key-of-ops-0123456789abcdef"
	deskKey   = "key-of-desk-0123456789abcde"
)

// twoCoordinators starts the hub and returns its two addresses.
func twoCoordinators(t *testing.T) (a, b string) {
	t.Helper()
	env := []string{"REDIS_URL=" + embeddedRedis(t).URL()}
	var urls []string
	for i := range 2 {
		text := fmt.Sprintf(hubText, fmt.Sprintf(`, "node": {"id": "node-%d"}`, i+1))
		r := start(t, env, "--config", writeSettings(t, "{"+childServers(t)+","+text+"}"), "--port", "0", "--host", "127.0.0.1")
		urls = append(urls, r.url(t))
		r.ready(t, urls[i], i+1)
		t.Cleanup(func() {
			if code := r.stop(t); code != exitOK {
				t.Errorf("exit %d", code)
			}
			for _, key := range []string{opsKey, deskKey, "key-of-off"} {
				if strings.Contains(r.stderr.String(), key) {
					t.Errorf("the log holds a key:\n%s", r.stderr.String())
				}
			}
		})
	}
	return urls[0], urls[1]
}

func TestGroupsKeysAndCookiesOfAHub(t *testing.T) {
	a, b := twoCoordinators(t)
	t.Run("keys", func(t *testing.T) { keysOfAHub(t, a, b) })
	t.Run("groups", func(t *testing.T) { groupsOfAHub(t, a, b) })
	t.Run("cookies", func(t *testing.T) { cookiesOfAHub(t, a, b) })
	t.Run("events", func(t *testing.T) { eventsOfAHub(t, a, b) })
	t.Run("views", func(t *testing.T) { viewsOfAHub(t, a, b) })
}

func keysOfAHub(t *testing.T, a, b string) {
	for key, want := range map[string]int{opsKey: 200, deskKey: 404, "key-of-off-0123456789abcdef": 401, "none": 401} {
		if got := ask(t, a+"/mcp/child", key, "", initialize); got.status != want {
			t.Errorf("initialize at the server with %.8s… = %d %s, want %d", key, got.status, got.body, want)
		}
	}
	began := ask(t, a+"/mcp/desk", deskKey, "", initialize)
	session := began.header.Get("Mcp-Session-Id")
	if began.status != 200 || session == "" {
		t.Fatalf("initialize at the group = %d %s", began.status, began.body)
	}
	if got := ask(t, b+"/mcp/desk", deskKey, session, listTools); got.status != 200 || !strings.Contains(got.body, "child-pid") {
		t.Errorf("tools of the group at the other coordinator = %d %s", got.status, got.body)
	}
	other := ask(t, b+"/mcp/desk", opsKey, session, listTools)
	made := ask(t, b+"/mcp/desk", opsKey, "made-up", listTools)
	if other.status != 404 || other.body != made.body {
		t.Errorf("with another key the session = %d %s, want what a made-up one gets: %s", other.status, other.body, made.body)
	}
	wide := ask(t, a+"/mcp", deskKey, "", initialize)
	if got := ask(t, b+"/mcp", deskKey, wide.header.Get("Mcp-Session-Id"), listTools); got.status != 200 || !strings.Contains(got.body, "child-pid") {
		t.Errorf("tools over all servers that the key may use = %d %s", got.status, got.body)
	}
}

// A group that is made at one coordinator is an endpoint of the other within a second.
func groupsOfAHub(t *testing.T, a, b string) {
	if got := command(t, nil, "", "groups", "create", "tiny", "child:pid", "later", "--url", a); got.code != exitOK || !strings.Contains(got.stdout, "so far: later") {
		t.Fatalf("groups create = %+v", got)
	}
	deadline := time.Now().Add(time.Second)
	began := ask(t, b+"/mcp/tiny", opsKey, "", initialize)
	for began.status == http.StatusNotFound && time.Now().Before(deadline) {
		began = ask(t, b+"/mcp/tiny", opsKey, "", initialize)
	}
	session := began.header.Get("Mcp-Session-Id")
	if began.status != 200 || session == "" {
		t.Fatalf("initialize at the new group = %d %s", began.status, began.body)
	}
	if got := ask(t, a+"/mcp/tiny", opsKey, session, listTools); got.status != 200 || strings.Count(got.body, `"name"`) != 1 || !strings.Contains(got.body, "child-pid") {
		t.Errorf("tools of the new group = %d %s, want the one that was chosen", got.status, got.body)
	}
	if got := command(t, nil, "", "groups", "create", "child", "--url", b); got.code != exitFailed || !strings.Contains(got.stderr, "a server has that name") {
		t.Errorf("a group with the name of a server = %+v", got)
	}
	if got := command(t, nil, "", "groups", "delete", "desk", "--url", b); got.code != exitFailed || !strings.Contains(got.stderr, "settings file") {
		t.Errorf("deleting a group of the settings file = %+v", got)
	}
	if got := command(t, nil, "", "groups", "--url", b); got.code != exitOK || !strings.Contains(got.stdout, "desk   settings  child") {
		t.Errorf("groups = %+v", got)
	}
	if got := command(t, nil, "", "sessions", "-o", "json", "--url", a); !strings.Contains(got.stdout, `"scope": "group/tiny"`) {
		t.Errorf("sessions = %+v, want one over the group", got)
	}
	if got := command(t, nil, "", "groups", "delete", "tiny", "--url", b); got.code != exitOK {
		t.Errorf("groups delete = %+v", got)
	}
	if got := ask(t, b+"/mcp/tiny", opsKey, session, listTools); got.status != 404 {
		t.Errorf("in a session over a deleted group = %d %s, want 404", got.status, got.body)
	}
}

func cookiesOfAHub(t *testing.T, a, b string) {
	for _, node := range []string{"node-1", "node-2"} {
		got := ask(t, a+"/mcp/child", opsKey, "", initialize, "Cookie", "MCPHUB_NODE="+node)
		if got.status != 200 || got.header.Get("Set-Cookie") != "" {
			t.Fatalf("initialize with a cookie of %s = %d, Set-Cookie %q; want no other one", node, got.status, got.header.Get("Set-Cookie"))
		}
		session := got.header.Get("Mcp-Session-Id")
		x := command(t, nil, "", "explain", session, "--url", b)
		if x.code != exitOK || !strings.Contains(x.stdout, "goes to "+node+", by binding") {
			t.Errorf("explain = %+v, want %s", x, node)
		}
		// Where the session sits counts for more than a cookie, which is put right.
		other := ask(t, b+"/mcp/child", opsKey, session, listTools, "Cookie", "MCPHUB_NODE=node-9")
		if c := other.header.Get("Set-Cookie"); other.status != 200 || !strings.HasPrefix(c, "MCPHUB_NODE="+node+"; Path=/; HttpOnly; SameSite=Lax") {
			t.Errorf("with a cookie of no node = %d, Set-Cookie %q, want %s", other.status, c, node)
		}
	}
	first := ask(t, a+"/mcp/child", opsKey, "", initialize)
	if c := first.header.Get("Set-Cookie"); first.status != 200 || !strings.HasPrefix(c, "MCPHUB_NODE=node-") {
		t.Errorf("without a cookie = %d, Set-Cookie %q", first.status, c)
	}
}

// What happens at one coordinator is seen by who follows the other.
func eventsOfAHub(t *testing.T, a, b string) {
	follower := start(t, nil, "events", "-f", "-n", "1", "--url", b)
	follower.until(t, "the last event", func() bool { return follower.stdout.String() != "" })
	if got := command(t, nil, "", "groups", "create", "seen", "child", "--url", a); got.code != exitOK {
		t.Fatalf("groups create = %+v", got)
	}
	follower.until(t, "the event of the group", func() bool { return strings.Contains(follower.stdout.String(), "group seen was made: 1 servers") })
	if code := follower.stop(t); code != exitOK {
		t.Errorf("exit %d after an interrupt", code)
	}
}

func viewsOfAHub(t *testing.T, a, b string) {
	got := command(t, nil, "", "coordinators", "-o", "json", "--url", a)
	var fleet []coordinatorAnswer
	if err := json.Unmarshal([]byte(got.stdout), &fleet); err != nil || len(fleet) != 2 || !fleet[0].Ready || !fleet[1].Ready || fleet[0].Self == fleet[1].Self {
		t.Errorf("coordinators = %+v", got)
	}
	if got := command(t, nil, "", "events", "-o", "json", "--url", b); got.code != exitOK || !strings.Contains(got.stdout, `"node_registered"`) {
		t.Errorf("events = %+v", got)
	}
	if got := command(t, nil, "", "status", "-o", "json", "--url", b); !strings.Contains(got.stdout, `"warnings": []`) {
		t.Errorf("status = %+v, want no warnings", got)
	}
	if got := command(t, nil, "", "explain", "--key", "somebody", "--server", "child", "--with", "node-9", "--url", a); got.code != exitOK || !strings.Contains(got.stdout, "with node-9") {
		t.Errorf("explain = %+v", got)
	}
}
