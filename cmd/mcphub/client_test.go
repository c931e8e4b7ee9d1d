package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"
)

const token = "an-admin-token"

// hub is a small stand-in for a running hub: canned REST answers, guarded by a token where
// one is set, and a real MCP server.
type hub struct {
	*httptest.Server
	answers  map[string]string // "METHOD /path?query" → whole body
	statuses map[string]int
	token    string
	bearer   string
	ended    atomic.Int32 // MCP sessions that clients ended
}

func newHub(t *testing.T) *hub {
	t.Helper()
	h := &hub{answers: map[string]string{}, statuses: map[string]int{}}
	tools := mcpserver.NewMCPServer("fake", "1")
	tools.AddTool(mcp.NewTool("counter-increment", mcp.WithDescription("Adds to the counter. Starts at zero."),
		mcp.WithNumber("by"), mcp.WithString("label", mcp.Required()), mcp.WithObject("extra")), echoArguments)
	tools.AddTool(mcp.NewTool("broken"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultError("the disk is \x1b[31mfull"), nil
	})
	tools.AddTool(mcp.NewTool("picture"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{mcp.NewImageContent("AAAA", "image/png")}}, nil
	})
	mcpHandler := mcpserver.NewStreamableHTTPServer(tools, mcpserver.WithStateful(true))
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/mcp" || r.URL.Path == "/mcp/counter" {
			h.serveMCP(w, r, mcpHandler)
			return
		}
		h.serveREST(w, r)
	}))
	t.Cleanup(h.Close)
	return h
}

// echoArguments answers with the arguments as they were sent, number by number.
func echoArguments(_ context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	raw, err := json.Marshal(req.Params.Arguments)
	if err != nil {
		return nil, err
	}
	return mcp.NewToolResultText(string(raw)), nil
}

func (h *hub) serveMCP(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if h.bearer != "" && r.Header.Get("Authorization") != "Bearer "+h.bearer {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprint(w, `{"success":false,"message":"a bearer key is needed"}`)
		return
	}
	if r.Method == http.MethodDelete {
		h.ended.Add(1)
	}
	next.ServeHTTP(w, r)
}

func (h *hub) serveREST(w http.ResponseWriter, r *http.Request) {
	key := r.Method + " " + r.URL.RequestURI()
	body, ok := h.answers[key]
	status := h.statuses[key]
	switch {
	case h.token != "" && r.Header.Get("Authorization") != "Bearer "+h.token:
		status, body = http.StatusUnauthorized, `{"success":false,"message":"an admin token is needed"}`
	case !ok:
		status, body = http.StatusNotFound, `{"success":false,"message":"no such thing"}`
	case status == 0:
		status = http.StatusOK
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprint(w, body)
}

// withAnswers fills in what a fleet of two nodes would say.
func (h *hub) withAnswers() *hub {
	beat := noon.UnixMilli()
	h.answers["GET /ready"] = `{"status":"ok","reasons":[]}`
	h.answers["GET /api/cluster/status"] = `{"success":true,"data":{"enabled":true,"mode":"coordinator","nodeId":"coordinator","coordinatorId":"host-1a2b3c",
		"version":"v0.1.0","stats":{"nodes":2,"activeNodes":1,"servers":2,"sessions":7},"warnings":["the coordinators run different releases: v0.1.0 (a); v0.2.0 (b)"]}}`
	nodes := fmt.Sprintf(`{"id":"node-1","name":"Worker Node 1","host":"10.0.0.1","port":3001,"url":"http://10.0.0.1:3001","status":"active","lastHeartbeat":%d,
		"epoch":4,"version":"v0.1.0","servers":["counter"],"serverDetails":[{"id":"counter","status":"ready","sessions":6,"tools":3,"weight":1},
		{"id":"notes","status":"failed","error":"exited with status 1","stderr":["boom"],"weight":1}]}`, beat-2000)
	gone := fmt.Sprintf(`{"id":"node-2","name":"node-2","host":"10.0.0.2","port":3001,"url":"http://10.0.0.2:3001","status":"unhealthy","lastHeartbeat":%d,
		"epoch":1,"version":"v0.1.0","servers":[],"serverDetails":[]}`, beat-190_000)
	h.answers["GET /api/cluster/nodes"] = `{"success":true,"data":[` + nodes + `,` + gone + `]}`
	h.answers["GET /api/cluster/nodes?active=true"] = `{"success":true,"data":[` + nodes + `]}`
	replica := `{"serverId":"counter","nodeId":"node-1","nodeUrl":"http://10.0.0.1:3001","status":"ready","weight":1,"tools":3,"sessions":6,
		"isolation":"session","processes":7,"maxProcesses":16}`
	failed := `{"serverId":"notes","nodeId":"node-1","nodeUrl":"http://10.0.0.1:3001","status":"failed","weight":1,"tools":0,"sessions":0,
		"error":"exited with status 1","stderr":["loading","boom"]}`
	h.answers["GET /api/cluster/servers"] = `{"success":true,"data":[{"serverId":"counter","replicas":[` + replica + `]},{"serverId":"notes","replicas":[` + failed + `]}]}`
	h.answers["GET /api/cluster/servers/notes/replicas"] = `{"success":true,"data":[` + failed + `]}`
	session := func(i int) string {
		return fmt.Sprintf(`{"sessionId":"%032d","nodeId":"node-1","serverId":"counter","scope":"counter","createdAt":%d,"lastAccessed":%d,"expiresAt":%d,"bindings":[]}`,
			i, beat-3_600_000, beat-1000, beat+1)
	}
	h.answers["GET /api/cluster/sessions"] = `{"success":true,"data":{"sessions":[` + session(1) + `,` + session(2) + `],"nextCursor":"c2"}}`
	h.answers["GET /api/cluster/sessions?cursor=c2"] = `{"success":true,"data":{"sessions":[` + session(3) + `],"nextCursor":""}}`
	h.answers["GET /api/cluster/sessions/abc"] = `{"success":true,"data":` + session(1) + `}`
	h.answers["DELETE /api/cluster/sessions/abc"] = `{"success":true,"data":{}}`
	return h
}

func TestTablesLookAsReviewed(t *testing.T) {
	h := newHub(t).withAnswers()
	for name, args := range map[string][]string{
		"status": {"status"}, "nodes": {"nodes"}, "nodes_active": {"nodes", "--active"}, "servers": {"servers"}, "servers_notes": {"servers", "notes"},
		"sessions": {"sessions"}, "sessions_limit": {"sessions", "--limit", "2"}, "sessions_show": {"sessions", "show", "abc"},
		"sessions_end": {"sessions", "end", "abc"}, "tools": {"tools"}, "nodes_json": {"nodes", "--active", "-o", "json"},
		"tools_json": {"tools", "-o", "json"}, "call_json": {"call", "counter-increment", "label=x", "-o", "json"},
	} {
		t.Run(name, func(t *testing.T) {
			got := command(t, []string{"MCPHUB_URL=" + h.URL}, "", args...)
			if got.code != exitOK || got.stderr != "" {
				t.Fatalf("mcphub %s: exit %d, stderr %q", strings.Join(args, " "), got.code, got.stderr)
			}
			golden(t, name, strings.ReplaceAll(got.stdout, h.URL, "http://HUB"))
		})
	}
}

func TestEmptyHubSaysSo(t *testing.T) {
	h := newHub(t)
	for cmd, path := range map[string]string{"nodes": "nodes", "servers": "servers"} {
		h.answers["GET /api/cluster/"+path] = `{"success":true,"data":[]}`
		if got := command(t, nil, "", cmd, "--url", h.URL); got.code != exitOK || !strings.HasPrefix(got.stdout, "No ") {
			t.Errorf("%s of an empty hub = %+v", cmd, got)
		}
		if got := command(t, nil, "", cmd, "--url", h.URL, "-o", "json"); got.stdout != "[]\n" {
			t.Errorf("%s -o json of an empty hub = %q, want []", cmd, got.stdout)
		}
	}
	h.answers["GET /api/cluster/sessions"] = `{"success":true,"data":{"sessions":[]}}`
	if got := command(t, nil, "", "sessions", "--url", h.URL); got.stdout != "No client has a session.\n" {
		t.Errorf("sessions of an empty hub = %+v", got)
	}
	if got := command(t, nil, "", "sessions", "--url", h.URL, "-o", "json"); got.stdout != "[]\n" {
		t.Errorf("sessions -o json of an empty hub = %q, want []", got.stdout)
	}
}

// A hub whose cursor does not move must not hold the command forever.
func TestSessionsEndWithACursorThatStands(t *testing.T) {
	h := newHub(t)
	page := `{"success":true,"data":{"sessions":[{"sessionId":"a"}],"nextCursor":"c"}}`
	h.answers["GET /api/cluster/sessions"], h.answers["GET /api/cluster/sessions?cursor=c"] = page, page
	if got := command(t, nil, "", "sessions", "--url", h.URL); got.code != exitOK || strings.Count(got.stdout, "\na ") != 2 {
		t.Errorf("sessions = %+v, want two pages and the end", got)
	}
}

func TestStatusOfAHubThatIsNotReady(t *testing.T) {
	h := newHub(t).withAnswers()
	h.answers["GET /ready"] = `{"status":"not ready","reasons":["the fleet has never been read"]}`
	h.statuses["GET /ready"] = http.StatusServiceUnavailable
	got := command(t, nil, "", "status", "--url", h.URL)
	if got.code != exitFailed || !strings.Contains(got.stderr, "is not ready: not ready; the fleet has never been read") {
		t.Errorf("status = %+v", got)
	}
	if !strings.Contains(got.stdout, "coordinator") {
		t.Errorf("the table is missing: %q", got.stdout)
	}
}

func TestAdminToken(t *testing.T) {
	h := newHub(t).withAnswers()
	h.token = token
	for name, tc := range map[string]struct {
		env  []string
		args []string
		want int
	}{
		"none":        {nil, nil, exitFailed},
		"wrong":       {nil, []string{"--token", "guess"}, exitFailed},
		"flag":        {nil, []string{"--token", token}, exitOK},
		"environment": {[]string{"MCPHUB_ADMIN_TOKEN=" + token}, nil, exitOK},
		"flag wins":   {[]string{"MCPHUB_ADMIN_TOKEN=" + token}, []string{"--token", "guess"}, exitFailed},
	} {
		t.Run(name, func(t *testing.T) {
			got := command(t, tc.env, "", append([]string{"nodes", "--url", h.URL}, tc.args...)...)
			if got.code != tc.want {
				t.Errorf("exit %d, want %d: %s", got.code, tc.want, got.stderr)
			}
			if tc.want != exitOK && (!strings.Contains(got.stderr, "an admin token is needed") || !strings.Contains(got.stderr, "--token")) {
				t.Errorf("stderr = %q, want the reason and the remedy", got.stderr)
			}
			if strings.Contains(got.stdout+got.stderr, token) {
				t.Error("the token is printed")
			}
		})
	}
}

func TestRefusalsAndStrangers(t *testing.T) {
	h := newHub(t)
	h.answers["GET /api/cluster/nodes"] = `<html>a web shop</html>`
	h.answers["GET /api/cluster/servers"] = `{"success":true,"data":{"not":"a list"}}`
	for args, says := range map[string]string{
		"nodes":              "does not answer like a hub",
		"servers":            "does not answer like a hub",
		"servers nothing":    "says: no such thing",
		"sessions end other": "says: no such thing",
	} {
		got := command(t, nil, "", append(strings.Fields(args), "--url", h.URL)...)
		if got.code != exitFailed || !strings.Contains(got.stderr, says) || got.stdout != "" {
			t.Errorf("%s = %+v, want exit 1 and %q", args, got, says)
		}
	}
}

// A name is one segment of the path, whatever is in it.
func TestNamesCannotLeaveTheirPath(t *testing.T) {
	h := newHub(t)
	h.answers["DELETE /api/cluster/sessions/..%2Fnodes%2Fnode-1%3Fx"] = `{"success":true,"data":{}}`
	if got := command(t, nil, "", "sessions", "end", "../nodes/node-1?x", "--url", h.URL); got.code != exitOK {
		t.Errorf("sessions end = %+v", got)
	}
}

// unusedAddress is a loopback address at which nothing listens.
func unusedAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return "http://" + l.Addr().String()
}

func TestNoHubAtTheAddress(t *testing.T) {
	addr := unusedAddress(t)
	for _, args := range []string{
		"status", "nodes", "servers", "servers x", "sessions", "sessions show x", "sessions end x", "tools", "call x", "call x a=1",
	} {
		got := command(t, []string{"MCPHUB_URL=" + addr}, "", strings.Fields(args)...)
		if got.code != exitUnreachable || !strings.Contains(got.stderr, "cannot reach a hub at "+addr) || !strings.Contains(got.stderr, "connection refused") {
			t.Errorf("%s = %+v, want exit %d", args, got, exitUnreachable)
		}
		if n := strings.Count(got.stderr, "\n"); n != 1 {
			t.Errorf("%s: stderr has %d lines, want 1:\n%s", args, n, got.stderr)
		}
	}
}

func TestCallArguments(t *testing.T) {
	h := newHub(t)
	for name, tc := range map[string]struct {
		args  []string
		stdin string
		want  string
	}{
		"none":            {nil, "", `{}`},
		"typed pairs":     {[]string{"by=2", "label=3", `extra={"a":1}`}, "", `{"by":2,"extra":{"a":1},"label":"3"}`},
		"unknown pairs":   {[]string{"x=true", "y=maybe"}, "", `{"x":true,"y":"maybe"}`},
		"value with =":    {[]string{"label=a=b"}, "", `{"label":"a=b"}`},
		"empty value":     {[]string{"label="}, "", `{"label":""}`},
		"object":          {[]string{`{"label":"z"}`}, "", `{"label":"z"}`},
		"standard input":  {[]string{"-"}, "\n {\"label\":\"in\"}\n", `{"label":"in"}`},
		"value with dash": {[]string{"label=-"}, "", `{"label":"-"}`},
	} {
		t.Run(name, func(t *testing.T) {
			got := command(t, nil, tc.stdin, append([]string{"call", "--url", h.URL, "counter-increment"}, tc.args...)...)
			if got.code != exitOK || strings.TrimSpace(got.stdout) != tc.want {
				t.Errorf("call %q = %+v, want %s", tc.args, got, tc.want)
			}
		})
	}
	if got := command(t, nil, "", "call", "--url", h.URL, "counter-increment", "by=two"); got.code != exitUsage || !strings.Contains(got.stderr, `argument by: "two" is not a JSON number`) {
		t.Errorf("call by=two = %+v", got)
	}
}

func TestCallOutcomes(t *testing.T) {
	h := newHub(t)
	for args, want := range map[string]outcome{
		"broken":                             {exitFailed, "the disk is  [31mfull\n", "mcphub: tool broken reported an error\n"},
		"picture":                            {exitOK, "[image image/png, 4 characters of base64; -o json prints them]\n", ""},
		"picture --server counter":           {exitOK, "[image image/png, 4 characters of base64; -o json prints them]\n", ""},
		"nothing a=1":                        {exitFailed, "", "mcphub: " + h.URL + "/mcp has no tool \"nothing\"; 'mcphub tools' lists them\n"},
		"picture --server elsewhere":         {exitFailed, "", "mcphub: " + h.URL + "/mcp/elsewhere refuses: no such thing\n"},
		"picture --server ../api --bearer x": {exitFailed, "", "mcphub: " + h.URL + "/mcp/..%2Fapi refuses: no such thing\n"},
	} {
		got := command(t, []string{"MCPHUB_URL=" + h.URL}, "", append([]string{"call"}, strings.Fields(args)...)...)
		if got != want {
			t.Errorf("call %s = %+v, want %+v", args, got, want)
		}
	}
	got := command(t, nil, "", "call", "--url", h.URL, "nothing")
	if got.code != exitFailed || !strings.Contains(got.stderr, "nothing") {
		t.Errorf("call of an unknown tool = %+v", got)
	}
}

// What a command opened it closes: the hub need not wait for a session to expire.
func TestSessionsAreEndedAfterwards(t *testing.T) {
	h := newHub(t)
	command(t, nil, "", "tools", "--url", h.URL)
	command(t, nil, "", "call", "broken", "--url", h.URL)
	if n := h.ended.Load(); n != 2 {
		t.Errorf("%d sessions were ended, want 2", n)
	}
}

func TestBearerKey(t *testing.T) {
	h := newHub(t)
	h.bearer = "a-client-key"
	if got := command(t, nil, "", "tools", "--url", h.URL); got.code != exitFailed || !strings.Contains(got.stderr, "a bearer key is needed (key: --bearer") {
		t.Errorf("without the key = %+v", got)
	}
	for _, extra := range [][]string{{"--bearer", h.bearer}, nil} {
		env := []string{"MCPHUB_URL=" + h.URL}
		if extra == nil {
			env = append(env, "MCPHUB_BEARER="+h.bearer)
		}
		if got := command(t, env, "", append([]string{"tools"}, extra...)...); got.code != exitOK {
			t.Errorf("with the key (%v) = %+v", extra, got)
		}
	}
}

func TestExitCodesAreDistinct(t *testing.T) {
	codes := []int{exitOK, exitFailed, exitUsage, exitUnreachable}
	if !slices.Equal(codes, []int{0, 1, 2, 3}) {
		t.Errorf("exit codes = %v; the help says 0, 1, 2, 3", codes)
	}
}
