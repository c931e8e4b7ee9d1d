package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// everythingCall is a call of a tool of npm's server-everything, and what its answer says.
type everythingCall struct {
	tool string
	args map[string]any
	says string
}

// everythingCalls are all its tools that any client is shown, but for the two that switch
// something on.
func everythingCalls() []everythingCall {
	return []everythingCall{
		{"echo", map[string]any{"message": "grüße"}, "Echo: grüße"},
		{"get-annotated-message", map[string]any{"messageType": "success"}, "successfully"},
		{"get-env", map[string]any{}, "PATH"},
		{"get-resource-links", map[string]any{"count": 2}, "2 resource links"},
		{"get-resource-reference", map[string]any{"resourceType": "Text", "resourceId": 1}, "resource reference"},
		{"get-structured-content", map[string]any{"location": "New York"}, "temperature"},
		{"get-sum", map[string]any{"a": 20, "b": 22}, "42"},
		{"get-tiny-image", map[string]any{}, "image"},
		{"gzip-file-as-resource", map[string]any{"name": "hi.gz", "data": "data:text/plain;base64,aGk=", "outputType": "resource"}, ""},
	}
}

// askingCalls are those of its tools that ask their client; %s is the client's name.
func askingCalls() []everythingCall {
	return []everythingCall{
		{"trigger-elicitation-request", map[string]any{}, "provided the requested information"},
		{"trigger-url-elicitation", map[string]any{"url": "https://example.com/x", "message": "open it"}, "completed the URL elicitation"},
		{"trigger-sampling-request", map[string]any{"prompt": "say it", "maxTokens": 9}, "said by %s"},
		{"get-roots-list", map[string]any{}, "file:///"},
	}
}

// Whatever a client of session revisions can do with npm's server-everything it can do through
// coordinators that take turns: four SDKs, one server or all or a group of them, a process for
// everybody and one for each session.
func TestEverythingThroughEveryStreamingClient(t *testing.T) {
	long(t)
	c, web := startEverythingFleet(t)
	for kind, connect := range talkers {
		for _, at := range []struct{ server, path, prefix string }{
			{"everything", "/mcp/everything", ""}, {"everything", "/mcp", "everything-"}, {"everything", "/mcp/desk", "everything-"},
			{"apart", "/mcp/apart", ""}, {"apart", "/mcp", "apart-"}, {"web", "/mcp/web", ""},
		} {
			t.Run(kind+" "+at.server+" "+at.path, func(t *testing.T) {
				name := strings.ReplaceAll(kind+at.server+at.path, "/", "-")
				e := &everythingClient{t: t, talker: connect(t, c.Front.URL+at.path, name), name: name, prefix: at.prefix}
				e.calls()
				e.progress()
				e.asked()
				if at.server != "everything" || at.path != "/mcp" { // over all servers the resources of both are those of apart
					e.updates()
				}
				if at.server == "apart" {
					e.ownRoots()
					e.logs()
				}
				if err := e.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
		}
	}
	t.Run("tasks", func(t *testing.T) { checkTasks(t, c) })
	t.Run("a server that answers 400 for sessions it has forgotten", func(t *testing.T) { checkForgetful(t, c, web) })
	t.Run("a link before the call", func(t *testing.T) { checkURLRequired(t, c) })
	checkSpread(t, c.Front, 3)
}

// startEverythingFleet is server-everything on two nodes: a process for all sessions of a node, one
// for each, and one over streamable HTTP for both nodes. That has the quirks of many servers: it
// answers 400 for sessions it does not know, allows one stream by GET, needs both types in Accept,
// and asked for the rest of one stream it sends what was on all others.
func startEverythingFleet(t *testing.T) (*harness.Cluster, *everythingWeb) {
	t.Helper()
	web := &everythingWeb{port: strconv.Itoa(harness.FreePort(t))}
	web.start(t)
	var nodes []harness.NodeOptions
	for _, id := range []string{"node-1", "node-2"} {
		shared := npmServers(t)["everything"]
		apart := shared
		apart.Isolation, apart.MaxProcesses = "session", 20
		nodes = append(nodes, harness.NodeOptions{ID: id, Servers: harness.Servers{
			"everything": shared, "apart": apart, "web": {Type: "streamable-http", URL: "http://127.0.0.1:" + web.port + "/mcp"},
		}})
	}
	return harness.StartCluster(t, harness.Options{
		Secret: "a-secret-of-the-tests", Nodes: nodes,
		Coordinator: harness.Object{"groups": []any{harness.Object{"name": "desk", "servers": []any{"everything"}}}},
	}), web
}

// everythingWeb is server-everything over streamable HTTP.
type everythingWeb struct {
	port string
	proc *harness.Proc
}

func (w *everythingWeb) start(t *testing.T) {
	t.Helper()
	script := harness.Script(t, "@modelcontextprotocol/server-everything", "mcp-server-everything")
	w.proc = harness.Start(t, "everything over HTTP", []string{"PORT=" + w.port}, harness.Node(t), script, "streamableHttp")
	waitListens(t, "127.0.0.1:"+w.port)
}

// waitListens waits until somebody takes connections at addr.
func waitListens(t *testing.T, addr string) {
	t.Helper()
	harness.Eventually(t, 20*time.Second, addr+" is listened at", func() error {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err
	})
}

// everythingClient is one client of server-everything.
type everythingClient struct {
	talker
	t            *testing.T
	name, prefix string
}

func (e *everythingClient) calls() {
	e.t.Helper()
	tools, err := e.Tools(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	for _, call := range everythingCalls() {
		if !slices.Contains(tools, e.prefix+call.tool) {
			e.t.Errorf("Tools = %v, want %s among them", tools, e.prefix+call.tool)
		}
		e.call(call)
	}
}

func (e *everythingClient) call(call everythingCall) {
	e.t.Helper()
	text, _, err := e.CallWith(e.t.Context(), e.prefix+call.tool, call.args)
	want := call.says
	if strings.Contains(want, "%s") {
		want = fmt.Sprintf(want, e.name)
	}
	if err != nil || !strings.Contains(text, want) {
		e.t.Errorf("%s = %.200q, %v, want %q in it", call.tool, text, err, want)
	}
}

func (e *everythingClient) progress() {
	e.t.Helper()
	text, told, err := e.CallWith(e.t.Context(), e.prefix+"trigger-long-running-operation", map[string]any{"duration": 0.4, "steps": 4})
	if err != nil || !strings.Contains(text, "completed") || !slices.IsSorted(told) || len(told) < 3 || told[0] != 1 {
		// The SDKs may hand on the last progress after the answer.
		e.t.Errorf("trigger-long-running-operation = %q, %v, progress %v, want 1 to 4", text, err, told)
	}
}

func (e *everythingClient) asked() {
	e.t.Helper()
	for _, call := range askingCalls() {
		e.call(call)
	}
}

// ownRoots wants the server to know this client's roots and no other's.
func (e *everythingClient) ownRoots() {
	e.t.Helper()
	e.call(everythingCall{"get-roots-list", map[string]any{}, "file:///%s"})
}

// updates subscribes to a resource that is said to change at once, and every five seconds.
func (e *everythingClient) updates() {
	e.t.Helper()
	const uri = "demo://resource/dynamic/text/1"
	if err := e.Subscribe(e.t.Context(), uri); err != nil {
		e.t.Errorf("subscribe: %v", err)
		return
	}
	e.toggle("toggle-subscriber-updates", "Started")
	harness.Eventually(e.t, 15*time.Second, "the update of "+uri, func() error {
		return e.noted("notifications/resources/updated", uri)
	})
	e.toggle("toggle-subscriber-updates", "Stopped")
	if err := e.Unsubscribe(e.t.Context(), uri); err != nil {
		e.t.Errorf("unsubscribe: %v", err)
	}
}

// logs has the server log, at once and every five seconds.
func (e *everythingClient) logs() {
	e.t.Helper()
	if err := e.Level(e.t.Context(), "debug"); err != nil {
		e.t.Errorf("setLevel: %v", err)
	}
	e.toggle("toggle-simulated-logging", "Started")
	harness.Eventually(e.t, 15*time.Second, "a log message", func() error { return e.noted("notifications/message", "") })
	e.toggle("toggle-simulated-logging", "Stopped")
}

// toggle switches until the server says want: with a process for all, somebody else may have
// left it on.
func (e *everythingClient) toggle(tool, want string) {
	e.t.Helper()
	var text string
	var err error
	for range 2 {
		if text, err = e.Call(e.t.Context(), e.prefix+tool, map[string]any{}); err == nil && strings.HasPrefix(text, want) {
			return
		}
	}
	e.t.Errorf("%s = %q, %v, want %s", tool, text, err, want)
}

func (e *everythingClient) noted(method, uri string) error {
	notes, err := e.Notes(e.t.Context())
	if err != nil {
		return err
	}
	for _, n := range notes {
		if n.Method == method && n.Params.URI == uri {
			return nil
		}
	}
	return fmt.Errorf("%d notifications, none is %s %s", len(notes), method, uri)
}

// openTalking is a session of a raw client that answers.
func openTalking(t *testing.T, url string) *harness.Session {
	t.Helper()
	s := harness.NewSession(url)
	s.Capabilities = `{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{}}`
	if err := s.Initialize(t.Context(), "2025-11-25"); err != nil {
		t.Fatal(err)
	}
	return s
}

// checkTasks has servers work in the background, asks for it at every replica, and wants nobody
// else to see it.
func checkTasks(t *testing.T, c *harness.Cluster) {
	t.Helper()
	type work struct {
		path     string
		s, other *harness.Session
		id       string
	}
	var all []work
	for _, at := range []struct{ path, prefix string }{{"/mcp/everything", ""}, {"/mcp/apart", ""}, {"/mcp", "everything-"}} {
		s, other := openTalking(t, c.Front.URL+at.path), openTalking(t, c.Front.URL+at.path)
		raw, err := s.Request(t.Context(), "tools/call", map[string]any{
			"name": at.prefix + "simulate-research-query", "arguments": map[string]any{"topic": "streams"}, "task": map[string]any{"ttl": 60_000},
		})
		var made struct{ Task struct{ TaskID string } }
		if err != nil || json.Unmarshal(raw, &made) != nil || made.Task.TaskID == "" {
			t.Errorf("%s: a task: %s, %v", at.path, raw, err)
			continue
		}
		all = append(all, work{at.path, s, other, made.Task.TaskID})
	}
	for _, w := range all {
		id := map[string]any{"taskId": w.id}
		if raw, err := w.other.Request(t.Context(), "tasks/get", id); err == nil {
			t.Errorf("%s: another session was told of the task: %s", w.path, raw)
		}
		harness.Eventually(t, 30*time.Second, "the task is done", func() error {
			raw, err := w.s.Request(t.Context(), "tasks/get", id)
			if err == nil && !bytes.Contains(raw, []byte(`"completed"`)) {
				err = fmt.Errorf("%s", raw)
			}
			return err
		})
		raw, err := w.s.Request(t.Context(), "tasks/result", id)
		if err != nil || !bytes.Contains(raw, []byte("streams")) {
			t.Errorf("%s: tasks/result = %.300s, %v", w.path, raw, err)
		}
		if raw, err = w.other.Request(t.Context(), "tasks/list", map[string]any{}); err == nil && bytes.Contains(raw, []byte(w.id)) {
			t.Errorf("%s: another session lists the task: %s", w.path, raw)
		}
	}
}

// checkURLRequired wants the error that has a client open a link first to come through whole.
func checkURLRequired(t *testing.T, c *harness.Cluster) {
	t.Helper()
	for _, at := range []struct{ path, prefix string }{{"/mcp/apart", ""}, {"/mcp", "apart-"}} {
		s := openTalking(t, c.Front.URL+at.path)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		st, err := s.Stream(ctx, http.MethodPost, fmt.Appendf(nil,
			`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q,"arguments":{"url":"https://example.com/x","message":"m","errorPath":true}}}`, at.prefix+"trigger-url-elicitation"))
		if err != nil {
			t.Fatal(err)
		}
		body, err := st.Rest()
		if err != nil || !bytes.Contains(body, []byte(`-32042`)) || !bytes.Contains(body, []byte("elicitationId")) {
			t.Errorf("%s: %.400s, %v, want error -32042 with its elicitations", at.path, body, err)
		}
	}
}

// checkForgetful has the server start anew, for which all sessions are unknown: those of clients go
// on, and what they are subscribed to is told them as before.
func checkForgetful(t *testing.T, c *harness.Cluster, web *everythingWeb) {
	t.Helper()
	e := &everythingClient{t: t, talker: talkGoSDK(t, c.Front.URL+"/mcp/web", "ann"), name: "ann"}
	const uri = "demo://resource/dynamic/text/7"
	if err := e.Subscribe(t.Context(), uri); err != nil {
		t.Fatal(err)
	}
	web.proc.Kill()
	web.start(t)
	harness.Eventually(t, 40*time.Second, "calls go on", func() error {
		text, err := e.Call(t.Context(), "echo", map[string]any{"message": "again"})
		if err == nil && text != "Echo: again" {
			err = errors.New(text)
		}
		return err
	})
	for _, call := range askingCalls()[:3] { // what belongs to no call waits until the node has opened the stream again
		e.call(call)
	}
	e.toggle("toggle-subscriber-updates", "Started")
	harness.Eventually(t, 15*time.Second, "the update of "+uri, func() error {
		return e.noted("notifications/resources/updated", uri)
	})
}
