package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

var (
	demoURL   = regexp.MustCompile(`(http://127\.0\.0\.1:\d+)/mcp `)
	demoTook  = regexp.MustCompile(`ready in (\S+)\.\n`)
	demoRedis = regexp.MustCompile(`redis-cli -p (\d+)`)
)

// startDemo starts the demo on a free port and waits until it has introduced itself.
func startDemo(t *testing.T, args ...string) (r *running, front string) {
	t.Helper()
	r = start(t, nil, append([]string{"demo", "--port", "0"}, args...)...)
	r.until(t, "the introduction", func() bool { return strings.Contains(r.stdout.String(), "Ctrl-C stops everything.") })
	return r, demoURL.FindStringSubmatch(r.stdout.String())[1]
}

// rpc posts one JSON-RPC message and returns status, session id and body.
func rpc(t *testing.T, endpoint, session, message string) (int, string, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(message))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	if session != "" {
		req.Header.Set("Mcp-Session-Id", session)
	}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var body bytes.Buffer
	if _, err := body.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Mcp-Session-Id"), body.String()
}

const initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}`

// A session of the demo keeps its count although each of its requests goes to another
// coordinator than the one before.
func TestDemoSessionKeepsItsCount(t *testing.T) {
	r, front := startDemo(t)
	took, err := time.ParseDuration(demoTook.FindStringSubmatch(r.stdout.String())[1])
	if err != nil || took > 3*time.Second {
		t.Errorf("ready in %s, %v; want under 3 s", took, err)
	}
	for _, endpoint := range []string{"/mcp", "/mcp/counter"} {
		tool := map[string]string{"/mcp": "counter-increment", "/mcp/counter": "increment"}[endpoint]
		status, session, body := rpc(t, front+endpoint, "", initialize)
		if status != http.StatusOK || session == "" {
			t.Fatalf("initialize at %s = %d %s", endpoint, status, body)
		}
		for i := 1; i <= 20; i++ {
			status, _, body := rpc(t, front+endpoint, session, fmt.Sprintf(
				`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":%q,"arguments":{}}}`, i+1, tool))
			if want := fmt.Sprintf(`"text":"%d"`, i); status != http.StatusOK || !strings.Contains(body, want) {
				t.Fatalf("call %d at %s = %d %s, want %s", i, endpoint, status, body, want)
			}
		}
	}
	if code := r.stop(t); code != exitOK {
		t.Errorf("the demo exits %d", code)
	}
	if r.stderr.String() != "" {
		t.Errorf("a demo that went well logged:\n%s", r.stderr.String())
	}
}

// Every command works on the demo with no more than the address.
func TestCommandsOnTheDemo(t *testing.T) {
	r, front := startDemo(t)
	env := []string{"MCPHUB_URL=" + front}
	for args, want := range map[string]string{
		"status":                         "nodes        3 active of 3",
		"nodes":                          "demo-3",
		"servers":                        "clock",
		"servers counter":                "demo-2",
		"tools":                          "counter-increment",
		"tools --server notes":           "add_note",
		"call counter-increment":         "1\n",
		"call counter-increment by=5":    "5\n",
		"call counter-whoami":            "demo-",
		"call --server counter whoami":   "demo-",
		"call counter-whoami -o json":    "structuredContent",
		"call notes-add_note text=hello": "1\n",
		"sessions":                       "No client has a session.\n",
	} {
		if got := command(t, env, "", strings.Fields(args)...); got.code != exitOK || !strings.Contains(got.stdout, want) {
			t.Errorf("mcphub %s = %+v, want %q", args, got, want)
		}
	}
	if got := command(t, env, "", "call", "counter-nothing"); got.code != exitFailed || got.stderr == "" {
		t.Errorf("an unknown tool = %+v", got)
	}
	_, session, _ := rpc(t, front+"/mcp/counter", "", initialize)
	sessions := command(t, env, "", "sessions")
	id := regexp.MustCompile(`(?m)^[0-9a-f]{32}`).FindString(sessions.stdout)
	if id == "" || strings.Contains(sessions.stdout, session) {
		t.Fatalf("sessions = %+v, want the one session and not its token", sessions)
	}
	if got := command(t, env, "", "sessions", "show", id); !strings.Contains(got.stdout, `"counter"`) {
		t.Errorf("sessions show = %+v", got)
	}
	if got := command(t, env, "", "sessions", "end", id); got.code != exitOK {
		t.Errorf("sessions end = %+v", got)
	}
	// The coordinator that was not asked to end it hears of the end a moment later.
	gone := 0
	r.until(t, "the end of the session at both coordinators", func() bool {
		status, _, _ := rpc(t, front+"/mcp/counter", session, `{"jsonrpc":"2.0","id":9,"method":"ping"}`)
		if status != http.StatusNotFound {
			gone = -1
		}
		gone++
		return gone == 2*demoCoordinators
	})
	if code := r.stop(t); code != exitOK {
		t.Errorf("the demo exits %d", code)
	}
}

// What the demo prints to paste is pasted here, into a real shell.
func TestTheBlockToPasteWorks(t *testing.T) {
	for _, tool := range []string{"bash", "curl", "awk"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("SKIPPED: ", err)
		}
	}
	r, _ := startDemo(t)
	text := r.stdout.String()
	from, to := strings.Index(text, "  SID="), strings.Index(text, "Connect a client")
	out, err := exec.CommandContext(t.Context(), "bash", "-c", text[from:to]).Output() //nolint:gosec // our own text
	if err != nil || !strings.Contains(string(out), `"text":"1"`) || !strings.Contains(string(out), `"text":"2"`) {
		t.Errorf("the pasted block prints %q, %v; want the counts 1 and 2", out, err)
	}
	if cli, err := exec.LookPath("redis-cli"); err == nil {
		port := demoRedis.FindStringSubmatch(text)[1]
		out, err := exec.CommandContext(t.Context(), cli, "-p", port, "hgetall", "mcphub:{nodes}:node:demo-1").Output() //nolint:gosec // as printed
		if err != nil || !strings.Contains(string(out), "counter") {
			t.Errorf("the redis-cli line prints %q, %v", out, err)
		}
	} else {
		t.Log("SKIPPED the redis-cli line: ", err)
	}
	if code := r.stop(t); code != exitOK {
		t.Errorf("the demo exits %d", code)
	}
}

func TestDemoShowsItsPage(t *testing.T) {
	r, front := startDemo(t)
	for path, want := range map[string]string{"/": "demo-2", "/fragment": "counter", "/static/app.js": "fetch(", "/favicon.ico": "<svg"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, front+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if status, body := fetch(t, req); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("GET %s = %d %.300s, want %q", path, status, body, want)
		}
	}
	if code := r.stop(t); code != exitOK {
		t.Errorf("the demo exits %d", code)
	}
}

func TestDemoOnATakenPort(t *testing.T) {
	l, err := listen(t.Context(), "127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	got := command(t, nil, "", "demo", "--port", fmt.Sprint(portOf(l)))
	if got.code != exitFailed || !strings.Contains(got.stderr, "is taken by another program") {
		t.Errorf("a port that was asked for and is taken = %+v", got)
	}
	port := []string{"PORT=" + fmt.Sprint(portOf(l))}
	if got := command(t, port, "", "demo"); got.code != exitFailed || !strings.Contains(got.stderr, "is taken by another program") {
		t.Errorf("a PORT that is taken = %+v", got)
	}
	if got := command(t, []string{"PORT=http"}, "", "demo"); got.code != exitUsage || !strings.Contains(got.stderr, "PORT") {
		t.Errorf("PORT=http = %+v", got)
	}
	if got := command(t, nil, "", "demo", "--port", "70000"); got.code != exitUsage {
		t.Errorf("--port 70000 = %+v", got)
	}
}

// elsewhere is a listener that is reached through something at another address.
type elsewhere struct {
	net.Listener
	addr net.Addr
}

func (l elsewhere) Addr() net.Addr { return l.addr }

// nodesKnown says whether every coordinator knows every node with its servers.
func (d *demo) nodesKnown() bool {
	for _, c := range d.coordinators {
		nodes := c.watcher.Snapshot().Nodes
		for i := range nodes {
			if slices.ContainsFunc(nodes[i].Servers, func(s store.Server) bool { return s.Status != store.ServerReady }) {
				return false
			}
		}
		if len(nodes) < demoNodes {
			return false
		}
	}
	return true
}

// A node says which servers it has before it sends what they offer. The demo is ready when every
// coordinator knows both, however long that takes.
func TestDemoIsReadyWithItsLists(t *testing.T) {
	l, err := listen(t.Context(), "127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	var held atomic.Int32
	release := make(chan struct{})
	to := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: l.Addr().String()})
	pool := &http.Transport{}
	to.Transport, to.ErrorLog = pool, slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug) // the demo stops in the midst of calls
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/cluster/catalogs" {
			held.Add(1)
			<-release
		}
		to.ServeHTTP(w, r)
	}))
	defer pool.CloseIdleConnections()
	defer srv.Close()

	d := &demo{log: slog.New(slog.DiscardHandler), front: elsewhere{l, srv.Listener.Addr()}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err = d.start(ctx)
	let := sync.OnceFunc(func() { close(release) })
	defer func() {
		let()
		if err := d.stop(); err != nil {
			t.Error(err)
		}
	}()
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); held.Load() < demoNodes || !d.nodesKnown(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the nodes do not come, or do not send what their servers offer")
		}
	}
	if d.ready(ctx) {
		t.Error("the demo is ready before anybody knows what its servers offer")
	}
	let()
	if err := d.waitReady(ctx); err != nil {
		t.Fatal(err)
	}
	for _, c := range d.coordinators {
		got := command(t, []string{"MCPHUB_URL=http://" + c.cfg.Listener.Addr().String()}, "", "tools")
		for _, tool := range []string{"counter-increment", "notes-add_note", "clock-"} {
			if !strings.Contains(got.stdout, tool) {
				t.Errorf("mcphub tools at %s = %+v, want %s", c.cfg.ID, got, tool)
			}
		}
	}
}
