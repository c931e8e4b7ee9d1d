package e2e

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// refusal is a request that is refused, and how.
type refusal struct {
	says   string // a part of the sentence
	status int
	code   int    // of the JSON-RPC error; 0: the answer is {"success":false,…}
	at     string // who is asked, see refusals.hosts; empty: a coordinator
	method string // empty: POST with a body, GET without
	path   string
	header string // lines "Name: value", joined by |
	body   string
	// session is the endpoint whose session the request is in; empty: none.
	session string
	// raw is the whole request, for what no client library sends. The writing end is closed
	// behind it.
	raw string
}

// Bodies and headers that many use.
const (
	jsonBody  = "Content-Type: application/json"
	mcpBody   = jsonBody + "|Accept: application/json, text/event-stream"
	asFollows = "Accept: text/event-stream"
	asNode    = jsonBody + "|Authorization: Bearer a-secret-of-the-tests"
	someNonce = "0123456789abcdef0123456789abcdef"
)

func frame(method, params string) string {
	return `{"jsonrpc":"2.0","id":5,"method":"` + method + `","params":` + params + `}`
}

// refusedAtTheGate are requests that are wrong whatever they ask for.
func refusedAtTheGate() []refusal {
	return []refusal{
		{says: "there is nothing at this path", status: 404, path: "/api/nowhere"},
		{says: "this path does not take this method", status: 405, method: "POST", path: "/api/cluster/status"},
		{says: "this is not a proxy", status: 405, method: "TRACE", path: "/health"},
		{says: "connections cannot be upgraded here", status: 405, raw: "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"},
		{says: "the request line must hold a path", status: 400, raw: "GET http://localhost/health HTTP/1.1\r\nHost: localhost\r\n\r\n"},
		{says: "the path must not hold control characters", status: 400, path: "/api;x"},
		{says: "the path must not hold two slashes", status: 400, path: "/api//cluster"},
		{says: "the path must not hold . or ..", status: 400, path: "/api/../metrics"},
		{says: "the path must not hold an escaped slash", status: 400, code: -32600, path: "/mcp/a%2fb"},
		{says: " may come only once", status: 400, raw: "GET /api/groups HTTP/1.1\r\nHost: localhost\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n"},
		{says: "header names are written with hyphens", status: 400, path: "/api/groups", header: "Mcp_Session_Id: x"},
		{says: "the headers are over 32 KiB", status: 431, path: "/api/groups", header: "X-Big: " + strings.Repeat("x", 33<<10)},
		{says: "the Host header must be a host name", status: 400, raw: "GET /api/groups HTTP/1.1\r\nHost:\r\n\r\n"},
		{says: "does not answer for other host names", status: 403, path: "/api/groups", header: "Host: evil.example.com"},
		{says: "requests from pages of that origin", status: 403, path: "/api/groups", header: "Origin: http://evil.example.com"},
		{says: "the body ended early", status: 400, code: -32600,
			raw: "POST /mcp/plain HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\nabc"},
		{says: "the body is over the limit of ", status: 413, code: -32600, path: "/mcp/plain", header: mcpBody, body: oversized(maxBody + 1)},
		{says: "the body is over the limit of ", status: 413, path: "/api/groups", header: jsonBody, body: oversized(maxBody + 1)},
	}
}

// refusedByREST are management calls that make no sense, and those of nodes.
func refusedByREST() []refusal {
	long := strings.Repeat("x", 300)
	many := strings.Repeat("without=a&", 33)
	group := func(says string, status int, method, path, body string) refusal {
		return refusal{says: says, status: status, method: method, path: "/api/groups" + path, header: jsonBody, body: body}
	}
	return []refusal{
		{says: "an admin is needed here", status: 401, at: "keyed", path: "/api/cluster/status"},
		{says: "this user is not an admin", status: 403, at: "keyed", path: "/api/cluster/status",
			header: "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("bob:open sesame"))},
		{says: "the cluster secret is missing or another one", status: 401, path: "/api/cluster/register", header: jsonBody, body: `{}`},
		{says: "the Content-Type must be application/json", status: 415, path: "/api/groups", header: "Content-Type: text/plain", body: `{}`},
		{says: "compressed bodies are not accepted", status: 415, path: "/api/groups", header: jsonBody + "|Content-Encoding: gzip", body: `{}`},
		{says: "the query is not well formed", status: 400, path: "/api/cluster/sessions?limit=%zz"},
		{says: " is not supported here", status: 400, path: "/api/cluster/status?all=true"},
		{says: "the query parameter ", status: 400, path: "/api/cluster/sessions?limit=1&limit=2"},
		{says: "limit: must be a number from 1 to 1000", status: 400, path: "/api/cluster/sessions?limit=0"},
		{says: "cursor: not one that this call has given", status: 400, path: "/api/cluster/sessions?cursor=made-up"},
		{says: "active: must be true or false", status: 400, path: "/api/cluster/nodes?active=perhaps"},
		{says: "node id", status: 400, path: "/api/cluster/nodes/a%20b"},
		{says: "there is no node ", status: 404, path: "/api/cluster/nodes/nobody"},
		{says: "no node has a server named ", status: 404, path: "/api/cluster/servers/nothing/replicas"},
		{says: "no node has a server named ", status: 404, path: "/api/cluster/conflicts?scope=nothing"},
		{says: "; want *, group/<name> or a server's name", status: 400, path: "/api/cluster/conflicts?scope=a%20b"},
		{says: "unknown group: this hub has no group", status: 404, path: "/api/cluster/conflicts?scope=group/nothing"},
		{says: "there is no such session; give the sessionId", status: 404, path: "/api/cluster/sessions/somebody's"},
		{says: "there is no such session; it may have ended", status: 404, path: "/api/cluster/sessions/" + strings.Repeat("0", 32)},
		{says: "Last-Event-ID: want the id of an event", status: 400, path: "/api/cluster/events", header: asFollows + "|Last-Event-Id: seven"},
		{says: "a stream of events takes no query parameters", status: 400, path: "/api/cluster/events?limit=1", header: asFollows},
		{says: "session, key: longer than any", status: 400, path: "/api/cluster/explain?key=" + long},
		{says: "give a session or a key, not both", status: 400, path: "/api/cluster/explain?key=a&session=" + someNonce},
		{says: "give a session: its whole id", status: 400, path: "/api/cluster/explain?server=plain"},
		{says: " nodes in without and with", status: 400, path: "/api/cluster/explain?" + many + "key=a&server=plain"},
		{says: "unknown session: give the whole id", status: 404, path: "/api/cluster/explain?server=plain&session=" + someNonce},
		{says: "unknown server: no node of this hub", status: 404, path: "/api/cluster/explain?key=a&server=nothing"},
		{says: "name a server: this session may use several", status: 400, path: "/api/cluster/explain?session={/mcp}"},
		{says: "this session is one with server ", status: 400, path: "/api/cluster/explain?server=clash&session={/mcp/plain}"},
		{says: ", which does not have that server", status: 400, path: "/api/cluster/explain?server=clash&session={/mcp/team}"},
		group("there is no group ", 404, "GET", "/nothing", ""),
		group("there is no group ", 404, "DELETE", "/nothing", ""),
		group("; make it with POST /api/groups", 404, "PUT", "/nothing", `{"servers":[]}`),
		group(" already; change it with PUT", 409, "POST", "", `{"name":"made","servers":[]}`),
		group("name: groups cannot be renamed", 400, "PUT", "/made", `{"name":"other","servers":[]}`),
		group("servers: a list is needed", 400, "POST", "", `{"name":"other"}`),
		group("servers, entry ", 400, "POST", "", `{"name":"other","servers":[7]}`),
		group("settings", 409, "DELETE", "/team", ""),
		group("server", 409, "POST", "", `{"name":"plain","servers":[]}`),
		group("the body is not JSON", 400, "POST", "", `{"name":`),
		group("there is more after the JSON object", 400, "POST", "", `{"name":"other","servers":[]}{}`),
		group("the body must be one JSON object", 400, "POST", "", `[]`),
		group("is not known here; known are", 400, "POST", "", `{"nam":"other"}`),
		group("must be written in just that case", 400, "POST", "", `{"Name":"other"}`),
		group("a key comes twice", 400, "POST", "", `{"name":"other","name":"another"}`),
		group("not valid UTF-8", 400, "POST", "", "{\"name\":\"\xff\"}"),
	}
}

// refusedByMCP are messages of clients.
func refusedByMCP() []refusal {
	post := func(says string, status, code int, path, header, body string) refusal {
		return refusal{says: says, status: status, code: code, path: path, header: mcpBody + header, body: body}
	}
	within := func(path, says string, status, code int, body string) refusal {
		return refusal{says: says, status: status, code: code, path: path, session: path, header: mcpBody, body: body}
	}
	keyed, closed, group := post("a bearer key is needed", 401, -32600, "/mcp", "", ping), post("the endpoint over all servers is switched off", 404, -32600, "/mcp", "", initialize),
		post(" is a group, and the endpoints of groups are switched off", 404, -32600, "/mcp/team", "", initialize)
	keyed.at, closed.at, group.at = "keyed", "closed", "closed"
	return []refusal{
		keyed, closed, group,
		{says: "a stream belongs to a session: send initialize by POST first", status: 400, code: -32600, path: "/mcp"},
		{says: "the Last-Event-ID is none that this hub gives", status: 400, code: -32600, path: "/mcp", header: "Mcp-Session-Id: a|Last-Event-ID: b c"},
		{says: "a GET has no body: messages are sent by POST", status: 400, code: -32600, method: "GET", path: "/mcp", body: ping},
		{says: "the Accept header must allow text/event-stream: GET opens a stream", status: 406, code: -32600, path: "/mcp", header: "Accept: application/json"},
		{says: "this endpoint takes ", status: 405, code: -32600, method: "PUT", path: "/mcp"},
		{says: "unknown sessionId: its stream has ended, or was never here", status: 404, code: -32600, path: "/messages?sessionId=made-up", header: mcpBody, body: initialize},
		post("a batch belongs to a session: send initialize first", 400, -32600, "/mcp", "", "["+ping+"]"),
		{says: "the Content-Type must be application/json", status: 415, code: -32600, path: "/mcp/plain", header: "Content-Type: text/plain", body: ping},
		{says: "the Accept header must allow", status: 406, code: -32600, path: "/mcp/plain", header: jsonBody + "|Accept: text/html, */*;q=0", body: ping},
		post("compressed bodies are not accepted: send none", 415, -32600, "/mcp/plain", "|Content-Encoding: gzip", ping),
		post("the Mcp-Protocol-Version is none that is known", 400, -32600, "/mcp/plain", "|Mcp-Protocol-Version: 1999-01-01", ping),
		post("unsupported protocol version", 400, -32022, "/mcp/plain", "|Mcp-Protocol-Version: 2026-07-28", frame("tools/list", "{}")),
		post("the Mcp-Session-Id is longer than any", 400, -32600, "/mcp/plain", "|Mcp-Session-Id: "+strings.Repeat("a", 257), ping),
		post("the Mcp-Session-Id must be visible ASCII", 400, -32600, "/mcp/plain", "|Mcp-Session-Id: a b", ping),
		post("unknown session: it has ended or expired", 404, -32600, "/mcp/plain", "|Mcp-Session-Id: made-up", ping),
		post("missing Mcp-Session-Id", 400, -32600, "/mcp/plain", "", ping),
		post("there is no server and no group named ", 404, -32600, "/mcp/nothing", "", initialize),
		post("server or group", 400, -32600, "/mcp/a%20b", "", initialize),
		post(" could mean either", 409, -32600, "/mcp/clash", "", initialize),
		post("initialize needs params: protocolVersion", 400, -32602, "/mcp/plain", "", `{"jsonrpc":"2.0","id":5,"method":"initialize"}`),
		post("initialize needs params.protocolVersion, a string", 400, -32602, "/mcp", "", frame("initialize", `{"protocolVersion":7}`)),
		post("params.protocolVersion must be a string", 400, -32602, "/mcp/plain", "", frame("initialize", `{"protocolVersion":7}`)),
		post(" KiB: they are kept for the whole session", 400, -32602, "/mcp/plain", "", frame("initialize", `{"protocolVersion":"2025-11-25","x":"`+strings.Repeat("x", 256<<10)+`"}`)),
		within("/mcp", "this session is initialized already", 400, -32600, initialize),
		within("/mcp", "unknown tool: names here are <server>", 200, -32602, frame("tools/call", `{"name":"nothing-at-all"}`)),
		within("/mcp", "unknown cursor", 200, -32602, frame("tools/list", `{"cursor":"made-up"}`)),
		within("/mcp", "params.level must be one of ", 200, -32602, frame("logging/setLevel", `{"level":"loud"}`)),
		within("/mcp/plain", "params.level must be one of debug", 200, -32602, frame("logging/setLevel", `{"level":"loud"}`)),
		within("/mcp/plain", "params.uri must be a string", 200, -32602, frame("resources/subscribe", `{"uri":7}`)),
		within("/mcp", "completion/complete needs params.ref", 200, -32602, frame("completion/complete", `{}`)),
		within("/mcp", "params.ref.type must be ref/prompt or ref/resource", 200, -32602, frame("completion/complete", `{"ref":{"type":"ref/tool","name":"a"}}`)),
		within("/mcp", "unknown resource or template: params.ref.uri", 200, -32602, frame("completion/complete", `{"ref":{"type":"ref/resource","uri":"nobody://has/this"}}`)),
		within("/mcp/plain", "the id is of no request that this session was asked", 400, -32600, `{"jsonrpc":"2.0","id":5,"result":{}}`),
		within("/mcp", "no request with this id was sent in this session", 400, -32600, `{"jsonrpc":"2.0","id":5,"result":{}}`),
		within("/mcp", " can be subscribed to", 200, -32602, frame("resources/subscribe", `{"uri":""}`)),
		within("/mcp", "Task not found: ids of tasks here are <server>~<id>", 200, -32602, frame("tasks/get", `{"taskId":"made-up"}`)),
	}
}

// refusedByNodes are requests at a node's own listener, from whoever finds it.
func refusedByNodes() []refusal {
	join := func(says string, status int, header, body string) refusal {
		return refusal{says: says, status: status, at: "node", path: "/api/node/join", header: header, body: body}
	}
	challenge := func(says string, status int, body string) refusal {
		return refusal{says: says, status: status, at: "node", path: "/api/node/challenge", header: jsonBody, body: body}
	}
	return []refusal{
		{says: "credential", status: 401, at: "node", path: "/mcp/plain", header: mcpBody, body: initialize},
		{says: "a node serves coordinators, and no web page", status: 403, at: "node", path: "/health", header: "Origin: http://localhost"},
		{says: "that host name may be anybody's: ask this node by its address", status: 403, at: "node", path: "/health", header: "Host: evil.example.com"},
		challenge("the body must be a small JSON object", 400, `[]`),
		challenge("nonce must be 32 hex digits", 400, `{"nonce":"x","id":"node-1"}`),
		challenge("another node lives at this address", 404, `{"nonce":"`+someNonce+`","id":"node-2"}`),
		join("the cluster secret is missing or another one: send", 401, jsonBody, `{}`),
		join("POST /api/node/join tells this node", 400, asNode, `{"coordinator":"x"}`),
		{says: "POST /api/node/join tells this node", status: 405, at: "node", method: "PUT", path: "/api/node/join", header: asNode, body: "{}"},
		join("the body is too large; ", 413, asNode, `{"coordinatorUrl":"`+strings.Repeat("x", 5<<10)+`"}`),
		join("the Content-Type must be application/json", 415, "Authorization: Bearer a-secret-of-the-tests|Content-Type: text/plain", `{}`),
		join("coordinatorUrl: it is empty", 400, asNode, `{"coordinatorUrl":""}`),
		{says: "the body could not be read to its end", status: 400, at: "node", raw: "POST /api/node/join HTTP/1.1\r\nHost: localhost\r\n" +
			"Authorization: Bearer a-secret-of-the-tests\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{"},
	}
}

// refusals is a fleet of which everything is asked that it refuses.
type refusals struct {
	hosts    map[string]string // URLs by name
	sessions map[string]string // session ids by endpoint
}

// Every refusal says what is wrong, in the form and with the status that its path has.
func TestRefusals(t *testing.T) {
	long(t)
	over := harness.Object{"groups": []any{
		harness.Object{"name": "team", "servers": []any{"plain"}}, harness.Object{"name": "clash", "servers": []any{"plain"}},
	}}
	node := harness.NodeOptions{ID: "node-1", Servers: harness.Servers{"plain": plain(t, "node-1"), "clash": plain(t, "node-1")}}
	c := harness.StartCluster(t, harness.Options{Secret: "a-secret-of-the-tests", Coordinators: 2, Coordinator: over, Nodes: []harness.NodeOptions{node}})
	_, keyed := c.StartFront("keyed", 1, keySettings(t))
	_, closed := c.StartFront("closed", 1, harness.Object{"systemConfig": harness.Object{"routing": harness.Object{"enableGlobalRoute": false, "enableGroupNameRoute": false}}})
	f := &refusals{
		hosts:    map[string]string{"": c.Coordinators[0].URL, "keyed": keyed[0].URL, "closed": closed[0].URL, "node": c.Nodes["node-1"].URL},
		sessions: map[string]string{},
	}
	for _, path := range []string{"/mcp", "/mcp/plain", "/mcp/team"} {
		f.sessions[path] = harness.MustOpen(t, c.Coordinators[0].URL+path).ID
	}
	admin(t, http.MethodPost, c.Coordinators[0].URL+"/api/groups", map[string]any{"name": "made", "servers": []any{}}, http.StatusCreated)
	for _, r := range everyRefusal() {
		t.Run(strings.TrimSpace(strings.ReplaceAll(fmt.Sprintf("%s %.60s: %s", r.at, r.path, r.says), "/", "|")), func(t *testing.T) { f.check(t, r) })
	}
}

func everyRefusal() []refusal {
	return slices.Concat(refusedAtTheGate(), refusedByREST(), refusedByMCP(), refusedByNodes())
}

// check makes the request and wants it refused as the row says.
func (f *refusals) check(t *testing.T, r refusal) {
	var got asked
	if r.raw != "" {
		got = askRaw(t, strings.TrimPrefix(f.hosts[r.at], "http://"), r.raw)
	} else {
		got = f.ask(t, r)
	}
	if got.status != r.status {
		t.Fatalf("status %d, want %d: %.300s", got.status, r.status, got.body)
	}
	checkSentence(t, got.status, []byte(got.body))
	var body struct {
		Message string
		Error   *struct {
			Code    int
			Message string
		}
	}
	if err := json.Unmarshal([]byte(got.body), &body); err != nil {
		t.Fatalf("%v: %.300s", err, got.body)
	}
	text, code := body.Message, 0
	if body.Error != nil {
		text, code = body.Error.Message, body.Error.Code
	}
	if code != r.code || !strings.Contains(text, r.says) {
		t.Errorf("code %d %q, want %d and %q", code, text, r.code, r.says)
	}
	switch {
	case got.status == http.StatusServiceUnavailable && got.header.Get("Retry-After") == "",
		got.status == http.StatusMethodNotAllowed && got.header.Get("Allow") == "",
		got.status == http.StatusUnauthorized && got.header.Get("Www-Authenticate") == "" && got.header.Get("X-Mcphub-Refused") == "":
		t.Errorf("status %d without the header that belongs to it: %v", got.status, got.header)
	}
}

func (f *refusals) ask(t *testing.T, r refusal) asked {
	t.Helper()
	method, header, path := r.method, map[string]string{}, r.path
	switch {
	case method == "" && r.body != "":
		method = http.MethodPost
	case method == "":
		method = http.MethodGet
	}
	for line := range strings.SplitSeq(r.header, "|") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			header[name] = value
		}
	}
	if r.session != "" {
		maps.Copy(header, map[string]string{"Mcp-Session-Id": f.sessions[r.session], "Mcp-Protocol-Version": "2025-11-25"})
	}
	for endpoint, id := range f.sessions {
		path = strings.ReplaceAll(path, "{"+endpoint+"}", id)
	}
	return ask(t, method, f.hosts[r.at]+path, header, r.body)
}

// askRaw sends bytes and reads the answer.
func askRaw(t *testing.T, addr, request string) asked {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return asked{resp.StatusCode, resp.Header, string(b)}
}
