package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// maxBody is the limit of a body, 4 MiB (DESIGN 11).
const maxBody = 4 << 20

// badRequest is one thing a stranger may send.
type badRequest struct {
	name   string
	method string // empty: POST
	path   string // empty: /mcp/everything
	header map[string]string
	body   string
	// A session of the path's scope is sent unless header has one of its own, foreign asks for
	// one of another scope, or noSession is set.
	noSession, foreign bool
	want               []int
}

// ping is a good frame.
const ping = `{"jsonrpc":"2.0","id":1,"method":"ping"}`

// initialize is a good first frame.
const initialize = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"e2e","version":"1"}}}`

func badFrames() []badRequest {
	nested := func(depth int) string {
		return `{"jsonrpc":"2.0","id":1,"method":"ping","params":` + strings.Repeat(`{"a":`, depth) + `1` + strings.Repeat(`}`, depth) + `}`
	}
	frames := map[string]string{
		"empty body":             ``,
		"not JSON":               `hello`,
		"cut short":              `{"jsonrpc":"2.0","id":1,"method":`,
		"trailing data":          ping + ping,
		"trailing garbage":       ping + `x`,
		"bad UTF-8":              "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{\"a\":\"\xff\"}}",
		"params an array":        `{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}`,
		"duplicate method":       `{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}`,
		"duplicate id":           `{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}`,
		"method in another case": `{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}`,
		"escaped duplicate":      `{"jsonrpc":"2.0","id":1,"method":"ping","m\u0065thod":"tools/call"}`,
		"no jsonrpc":             `{"id":1,"method":"ping"}`,
		"jsonrpc 1.0":            `{"jsonrpc":"1.0","id":1,"method":"ping"}`,
		"id null":                `{"jsonrpc":"2.0","id":null,"method":"ping"}`,
		"id object":              `{"jsonrpc":"2.0","id":{},"method":"ping"}`,
		"id true":                `{"jsonrpc":"2.0","id":true,"method":"ping"}`,
		"method not a string":    `{"jsonrpc":"2.0","id":1,"method":7}`,
		"params not a container": `{"jsonrpc":"2.0","id":1,"method":"ping","params":7}`,
		"a number":               `7`,
		"a string":               `"ping"`,
		"a batch":                `[` + ping + `]`,
		"an empty batch":         `[]`,
		"too deep":               nested(65),
		"far too deep":           nested(100_000),
		"byte order mark":        "\ufeff" + ping,
		"raw control character":  "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"pi\nng\"}",
		"leading zero":           `{"jsonrpc":"2.0","id":01,"method":"ping"}`,
		"NaN":                    `{"jsonrpc":"2.0","id":NaN,"method":"ping"}`,
		"comment":                `{"jsonrpc":"2.0",/* */"id":1,"method":"ping"}`,
	}
	var out []badRequest
	for name, body := range frames {
		for _, path := range []string{"/mcp/everything", "/mcp"} {
			out = append(out, badRequest{name: name + " at " + path, path: path, body: body, want: []int{400}})
		}
	}
	return out
}

func badHeaders() []badRequest {
	return []badRequest{
		{name: "body of 4 MiB and a byte", body: oversized(maxBody + 1), want: []int{413}},
		{name: "content type text", header: map[string]string{"Content-Type": "text/plain"}, body: ping, want: []int{415}},
		{name: "content type form", header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, body: ping, want: []int{415}},
		{name: "accept nothing of ours", header: map[string]string{"Accept": "image/png"}, body: ping, want: []int{406}},
		{name: "unknown protocol version", header: map[string]string{"Mcp-Protocol-Version": "1999-01-01"}, body: ping, want: []int{400}},
		{name: "nonsense protocol version", header: map[string]string{"Mcp-Protocol-Version": "yes please"}, body: ping, want: []int{400}},
		{name: "stateless era", header: map[string]string{"Mcp-Protocol-Version": "2026-07-28"}, noSession: true,
			body: `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`, want: []int{400}},
		{name: "foreign host", header: map[string]string{"Host": "evil.example.com"}, body: ping, want: []int{403, 421}},
		{name: "foreign origin", header: map[string]string{"Origin": "http://evil.example.com"}, body: ping, want: []int{403}},
		{name: "headers of 40 KiB", header: map[string]string{"X-Big": strings.Repeat("x", 40<<10)}, body: ping, want: []int{431}},
		{name: "GET with a body", method: http.MethodGet, body: ping, want: []int{400}},
		{name: "GET with an event id that is none", method: http.MethodGet, header: map[string]string{"Last-Event-Id": "7 8"}, want: []int{400}},
		{name: "PUT", method: http.MethodPut, body: ping, want: []int{405}},
		{name: "GET at /mcp for JSON", method: http.MethodGet, path: "/mcp", header: map[string]string{"Accept": "application/json"}, want: []int{406}},
		{name: "GET without a session", method: http.MethodGet, path: "/mcp", noSession: true, want: []int{400}},
		{name: "GET /sse for JSON", method: http.MethodGet, path: "/sse", noSession: true, header: map[string]string{"Accept": "application/json"}, want: []int{406}},
		{name: "no session", noSession: true, body: ping, want: []int{400}},
		{name: "session of another scope", path: "/mcp", foreign: true, body: ping, want: []int{400, 403, 404}},
		{name: "DELETE without a session", method: http.MethodDelete, noSession: true, want: []int{400}},
	}
}

func badNames() []badRequest {
	var out []badRequest
	for _, path := range []string{
		"/mcp/no-such-server", "/mcp/everything/extra", "/mcp/-leading", "/mcp/.", "/mcp/%2e%2e", "/mcp/a%20b", "/mcp/a%2fb",
		"/mcp/a%00b", "/mcp/" + strings.Repeat("a", 64), "/mcp/%ff", "/mcp/caf%C3%A9", "/mcp/a%0d%0ab", "/mcp/%7b%7d", "/mcp/*",
		"/api/cluster/servers/a%20b/replicas", "/api/cluster/nodes/%2e%2e", "/nowhere",
	} {
		out = append(out, badRequest{name: "name " + path, path: path, noSession: true, body: initialize, want: []int{400, 404, 405}})
	}
	return out
}

// badSessions are session ids that somebody made up, beginning with a good one bent.
func badSessions(good string) []badRequest {
	flip := func(i int) string {
		b := []byte(good)
		if b[i] == 'A' {
			b[i] = 'B'
		} else {
			b[i] = 'A'
		}
		return string(b)
	}
	var out []badRequest
	for name, id := range map[string]string{
		"a word": "hello", "a UUID": "123e4567-e89b-12d3-a456-426614174000", "32 digits": strings.Repeat("0", 32),
		"the first byte": flip(0), "the middle byte": flip(len(good) / 2), "the last byte but one": flip(len(good) - 2),
		"cut short": good[:len(good)-4], "longer": good + "AAAA", "twice": good + good, "very long": strings.Repeat("A", 5000),
		"path": "../../etc/passwd", "redis command": "x\tFLUSHALL", "braces": "{nodes}:rev", "not base64": strings.Repeat("!", len(good)),
		"random": base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{0x5a}, len(good)*3/4)),
	} {
		out = append(out, badRequest{name: "session id: " + name, header: map[string]string{"Mcp-Session-Id": id}, body: ping, want: []int{400, 404}})
	}
	return out
}

func badRegistrations() []badRequest {
	record := func(change string) string {
		rec := map[string]any{"id": "evil", "name": "x", "host": "127.0.0.1", "port": 9, "url": "http://127.0.0.1:9",
			"servers": []string{"stolen"}, "instance": strings.Repeat("0a", 16)}
		key, value, _ := strings.Cut(change, "=")
		var v any
		if json.Unmarshal([]byte(value), &v) != nil {
			v = value
		}
		rec[key] = v
		b, _ := json.Marshal(rec)
		return string(b)
	}
	bodies := map[string]string{
		"empty": "", "not JSON": "x", "no id": record(`id=`), "id with a blank": record(`id=a b`), "id too long": record("id=" + strings.Repeat("a", 64)),
		"id with a colon": record(`id=a:b`), "id with braces": record(`id={nodes}`), "id a number": record(`id=7`),
		"link-local URL": record(`url=http://169.254.169.254`), "public URL": record(`url=http://93.184.216.34:80`), "file URL": record(`url=file:///etc/passwd`),
		"URL with a path": record(`url=http://127.0.0.1:9/x`), "URL with a user": record(`url=http://a:b@127.0.0.1:9`), "unproven URL": record(`name=fine`),
		"server with a blank": record(`servers=["a b"]`), "servers no list": record(`servers="a"`), "no instance": record(`instance=`),
		"instance of another form": record(`instance=zz`), "name with a newline": record(`name="a\nNode registered: b"`), "trailing data": record(`name=fine`) + "{}",
		"port out of range": record(`port=70000`),
	}
	var out []badRequest
	for name, body := range bodies {
		out = append(out, badRequest{name: "registration: " + name, path: "/api/cluster/register", noSession: true, body: body, want: []int{400, 403}})
	}
	return append(out,
		badRequest{name: "beat of an unknown node", path: "/api/cluster/heartbeat", noSession: true, body: record(`epoch=7`), want: []int{400, 403, 404, 409}},
		badRequest{name: "farewell of an unknown node", path: "/api/cluster/deregister", noSession: true, body: `{"id":"evil","instance":"` + strings.Repeat("0a", 16) + `","epoch":1}`, want: []int{400, 404, 409}},
		badRequest{name: "catalog under a wrong digest", path: "/api/cluster/catalogs", noSession: true, body: `{"digest":"` + strings.Repeat("0", 64) + `","catalog":{}}`, want: []int{400}},
		badRequest{name: "registration of 4 MiB", path: "/api/cluster/register", noSession: true, body: oversized(maxBody + 1), want: []int{413}},
	)
}

// oversized is a good frame of n bytes.
func oversized(n int) string {
	head, tail := `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"`, `"}}`
	return head + strings.Repeat("x", n-len(head)-len(tail)) + tail
}

// Whatever strangers send gets a 4xx and a sentence, stores nothing, and leaves every process
// alive and working.
func TestBadInput(t *testing.T) {
	long(t)
	c := harness.StartCluster(t, harness.Options{Nodes: []harness.NodeOptions{{ID: "node-1", Servers: everythingServer(t)}}})
	s := harness.MustOpen(t, c.Front.URL+"/mcp/everything")
	wide := harness.MustOpen(t, c.Front.URL+"/mcp")
	if _, err := wide.Call(t.Context(), "everything-test_simple_text", nil); err != nil {
		t.Fatal(err)
	}
	before := keyspace(c)

	var cases []badRequest
	for _, list := range [][]badRequest{badFrames(), badHeaders(), badNames(), badSessions(s.ID), badRegistrations()} {
		cases = append(cases, list...)
	}
	for _, bad := range cases {
		t.Run(bad.name, func(t *testing.T) {
			if bad.path == "/mcp" && !bad.foreign {
				bad.check(t, c, wide)
			} else {
				bad.check(t, c, s)
			}
		})
	}

	if after := keyspace(c); after != before {
		t.Errorf("something was stored: keys before\n%s\nafter\n%s", before, after)
	}
	for i := range 3 { // each coordinator
		if _, err := s.Call(t.Context(), "test_simple_text", nil); err != nil {
			t.Errorf("call %d after all that: %v", i, err)
		}
	}
	if n := countLines(c, "Node registered"); n != 1 {
		t.Errorf("%d lines say that a node registered, want 1", n)
	}
}

// keyspace is the names of what Redis keeps of nodes, sessions and catalogs. A farewell, even
// of a node that nobody knows, leaves a mark for a minute so that a beat still under way does
// not bring the node back; it is left out here, as it says of nothing that it exists.
func keyspace(c *harness.Cluster) string {
	var out []string
	for k := range strings.FieldsSeq(c.Redis.CLI("KEYS", "*")) {
		if strings.Contains(k, ":gone:") {
			continue
		}
		if strings.Contains(k, ":node:") || strings.Contains(k, ":session:") || strings.Contains(k, ":catalog:") || strings.Contains(k, "evil") {
			out = append(out, k)
		}
	}
	return strings.Join(sorted(out), "\n")
}

func (bad badRequest) check(t *testing.T, c *harness.Cluster, s *harness.Session) {
	method, path := bad.method, bad.path
	if method == "" {
		method = http.MethodPost
	}
	if path == "" {
		path = "/mcp/everything"
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	// Straight to a coordinator: what the round robin would refuse itself proves nothing.
	req, err := http.NewRequestWithContext(ctx, method, c.Coordinators[0].URL+path, strings.NewReader(bad.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	if !bad.noSession {
		req.Header.Set("Mcp-Session-Id", s.ID)
		req.Header.Set("Mcp-Protocol-Version", s.Version)
	}
	for k, v := range bad.header {
		if k == "Host" {
			req.Host = v
		}
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		t.Errorf("read the answer: %v", err)
	}
	ok := false
	for _, w := range bad.want {
		ok = ok || resp.StatusCode == w
	}
	if !ok {
		t.Errorf("status %d, want one of %v: %.300s", resp.StatusCode, bad.want, body)
	}
	checkSentence(t, resp.StatusCode, body)
}

// checkSentence wants an error's body short, clean, and with something a person can read.
func checkSentence(t *testing.T, status int, body []byte) {
	t.Helper()
	if status == http.StatusRequestHeaderFieldsTooLarge {
		return // answered by net/http, in plain text, before anything of ours runs
	}
	if len(body) > 2048 {
		t.Errorf("the body has %d bytes, want at most 2048: %.200s…", len(body), body)
	}
	var answer struct {
		Success *bool
		Message string
		Error   *struct{ Message string }
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Errorf("the body is not JSON: %q", body)
		return
	}
	text := answer.Message
	if answer.Error != nil {
		text = answer.Error.Message
	} else if answer.Success == nil || *answer.Success {
		t.Errorf(`the body is neither a JSON-RPC error nor {"success":false,…}: %s`, body)
	}
	if len(strings.Fields(text)) < 2 || strings.ContainsAny(text, "\n\r\x00") || strings.Contains(text, "goroutine") {
		t.Errorf("the sentence is %q", text)
	}
}

func TestLargestBodyAndDeepestFrameGoThrough(t *testing.T) {
	long(t)
	c := harness.StartCluster(t, harness.Options{Nodes: []harness.NodeOptions{{ID: "node-1", Servers: everythingServer(t)}}})
	s := harness.MustOpen(t, c.Front.URL+"/mcp/everything")
	for name, body := range map[string]string{
		"4 MiB":   oversized(maxBody),
		"64 deep": `{"jsonrpc":"2.0","id":1,"method":"ping","params":` + strings.Repeat(`{"a":`, 62) + `{}` + strings.Repeat(`}`, 62) + `}`,
	} {
		r, err := s.Post(t.Context(), []byte(body))
		if err != nil || r.Status != 200 || !bytes.Contains(r.Last(), []byte(`"result"`)) {
			t.Errorf("%s: %v %+v, want a result", name, err, r)
		}
	}
}

// A coordinator with a secret talks to nodes that know it, and to nobody else.
func TestClusterSecretIsAsked(t *testing.T) {
	long(t)
	opts := harness.NodeOptions{ID: "node-1", Servers: everythingServer(t)}
	c := harness.StartCluster(t, harness.Options{Coordinators: 1, Secret: "right", Nodes: []harness.NodeOptions{opts}})
	record := fmt.Sprintf(`{"id":"evil","name":"x","host":"127.0.0.1","port":9,"url":"http://127.0.0.1:9","servers":[],"instance":"%032x"}`, 1)
	for _, auth := range []string{"", "Bearer wrong", "Bearer right ", "Basic cmlnaHQ=", "right"} {
		for _, path := range []string{"register", "heartbeat", "deregister", "catalogs"} {
			h := http.Header{"Content-Type": {"application/json"}}
			if auth != "" {
				h.Set("Authorization", auth)
			}
			status, body, err := harness.Do(t.Context(), http.MethodPost, c.Front.URL+"/api/cluster/"+path, h, strings.NewReader(record))
			if want := 401; auth != "Bearer right " && (err != nil || status != want) {
				t.Errorf("%s with Authorization %q = %d %s %v, want %d", path, auth, status, body, err, want)
			}
		}
	}
	// The node serves MCP to nobody who lacks the fleet's credential, a client of the hub included.
	s := harness.NewSession(c.Nodes["node-1"].URL + "/mcp/everything")
	r, err := s.Post(t.Context(), []byte(initialize))
	if err != nil || r.Status != 401 {
		t.Errorf("initialize at the node itself = %+v, %v, want 401", r, err)
	}
}

// A settings file that is wrong stops the start with file, line and column, and what to write.
func TestBadSettingsAreRefusedWithTheirPlace(t *testing.T) {
	long(t)
	place := regexp.MustCompile(`mcp_settings\.json:\d+:\d+`)
	tests := []struct{ name, settings, says string }{
		{"unknown key", "{\n  \"systemConfig\": {\"cluster\": {\"enabeld\": true}}\n}", "enabled"},
		{"wrong type", "{\n  \"systemConfig\": {\"cluster\": {\"enabled\": \"yes\"}}\n}", "enabled"},
		{"unknown mode", `{"systemConfig": {"cluster": {"enabled": true, "mode": "leader"}}}`, "coordinator"},
		{"unknown strategy", `{"systemConfig": {"cluster": {"enabled": true, "mode": "coordinator", "stickySession": {"strategy": "cookies"}}}}`, "cookie"},
		{"option of a later release", `{"mcpServers": {"a": {"command": "x", "state": "pinned"}}}`, "not yet supported"},
		{"isolation of a server elsewhere", `{"mcpServers": {"a": {"url": "http://127.0.0.1:9/mcp", "isolation": "session"}}}`, "isolation"},
		{"more spares than processes", `{"mcpServers": {"a": {"command": "x", "isolation": "session", "maxProcesses": 2, "warm": 3}}}`, "maxProcesses"},
		{"a group and a server of one name", `{"mcpServers": {"a": {"command": "x"}}, "groups": [{"name": "a", "servers": ["a"]}]}`, "server"},
		{"a key twice", `{"bearerKeys": [{"name": "a", "token": "a-key-of-sixteen-chars"}, {"name": "b", "token": "a-key-of-sixteen-chars"}]}`, "token"},
		{"a password in the clear", `{"users": [{"username": "a", "password": "secret", "isAdmin": true}]}`, "bcrypt"},
		{"name with a blank", `{"mcpServers": {"a b": {"command": "x"}}}`, "a b"},
		{"unset variable", `{"mcpServers": {"a": {"command": "x", "env": {"K": "${E2E_SURELY_UNSET}"}}}}`, "E2E_SURELY_UNSET"},
		{"not JSON", "{\n  \"mcpServers\": {,}\n}", ""},
		{"negative time", `{"systemConfig": {"cluster": {"enabled": true, "mode": "coordinator", "coordinator": {"nodeTimeout": -1}}}}`, "nodeTimeout"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := harness.WriteSettings(t, tt.settings)
			out, code := runHub(t, "config", "check", file)
			if code == 0 || !place.MatchString(out) || !strings.Contains(out, tt.says) {
				t.Errorf("config check: code %d:\n%s\nwant a failure that shows the place and %q", code, out, tt.says)
			}
			checkRefusedAtStart(t, file, tt.says, place)
		})
	}
}

func checkRefusedAtStart(t *testing.T, file, says string, place *regexp.Regexp) {
	t.Helper()
	h := harness.StartHub(t, "refused", 0, file, nil)
	code, err := h.Exit(15 * time.Second)
	if err != nil || code == 0 {
		t.Errorf("start: exit code %d, %v, want another than 0", code, err)
	}
	if !place.MatchString(h.Log.String()) || !strings.Contains(h.Log.String(), says) {
		t.Errorf("start says\n%s\nwant the place and %q", h.Log.String(), says)
	}
}
