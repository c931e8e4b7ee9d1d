package server

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/router"
)

const (
	ping     = `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	instance = "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"
	record   = `{"id":"node-9","name":"n","host":"10.0.0.9","port":3001,"url":"http://10.0.0.9:3001","servers":[],"instance":"` + instance + `"}`
)

// badCase is one request as bytes, and what it must be answered with.
type badCase struct {
	name string
	raw  string
	want int
	says string // part of the sentence
}

// request puts bytes together; it adds the headers of a good POST unless they are given.
func request(method, path, body string, headers ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", method, path)
	has := func(name string) bool {
		for _, h := range headers {
			if n, _, _ := strings.Cut(h, ":"); strings.EqualFold(n, name) {
				return true
			}
		}
		return false
	}
	if !has("Host") {
		b.WriteString("Host: localhost\r\n")
	}
	if !has("Content-Length") && !has("Transfer-Encoding") && (body != "" || method == "POST") {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	if method == "POST" && !has("Content-Type") {
		b.WriteString("Content-Type: application/json\r\n")
	}
	for _, h := range headers {
		if !strings.HasSuffix(h, ": -") { // "Name: -" leaves a header out
			b.WriteString(h + "\r\n")
		}
	}
	b.WriteString("\r\n" + body)
	return b.String()
}

func post(path, body string, headers ...string) string {
	return request("POST", path, body, headers...)
}

func badMethods() []badCase {
	var out []badCase
	for _, m := range []string{"PUT", "PATCH", "HEAD"} {
		for _, path := range []string{"/mcp", "/mcp/everything"} {
			out = append(out, badCase{m + " " + path, request(m, path, ""), 405, "POST"})
		}
	}
	return append(out,
		badCase{"CONNECT", "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", 405, "proxy"},
		badCase{"TRACE", request("TRACE", "/mcp", ""), 405, "proxy"},
		badCase{"an own method", request("FROB", "/mcp", ""), 405, "method"},
		badCase{"lower-case method", request("post", "/mcp/everything", ping), 405, "method"},
		badCase{"upgrade to h2c", post("/mcp/everything", ping, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"), 405, "upgraded"},
		badCase{"websocket", request("GET", "/mcp/everything", "", "Connection: Upgrade", "Upgrade: websocket"), 405, "upgraded"},
		badCase{"GET without a session", request("GET", "/mcp", ""), 400, "initialize"},
		badCase{"GET with Last-Event-ID and no session", request("GET", "/mcp/everything", "", "Last-Event-ID: 7"), 400, "initialize"},
		badCase{"GET of JSON", request("GET", "/mcp/everything", "", "Accept: application/json", "Mcp-Session-Id: x"), 406, "text/event-stream"},
		badCase{"GET of no stream", request("GET", "/mcp/everything", "", "Accept: text/event-stream;q=0", "Mcp-Session-Id: x"), 406, "text/event-stream"},
		badCase{"GET with a body", request("GET", "/mcp/everything", ping, "Mcp-Session-Id: x"), 400, "body"},
		badCase{"GET with a blank in Last-Event-ID", request("GET", "/mcp/everything", "", "Mcp-Session-Id: x", "Last-Event-ID: 7 8"), 400, "Last-Event-ID"},
		badCase{"GET with a long Last-Event-ID", request("GET", "/mcp/everything", "", "Mcp-Session-Id: x", "Last-Event-ID: "+strings.Repeat("7", maxLastEvent+1)), 400, "Last-Event-ID"},
		badCase{"OPTIONS *", request("OPTIONS", "*", ""), 400, "path"},
		badCase{"POST to status", post("/api/cluster/status", "{}"), 405, "Allow"},
		badCase{"DELETE nodes", request("DELETE", "/api/cluster/nodes", ""), 405, "Allow"},
		badCase{"GET register", request("GET", "/api/cluster/register", ""), 405, "Allow"},
		badCase{"PUT session", request("PUT", "/api/cluster/sessions/"+string(sidOne), ""), 405, "Allow"},
		badCase{"POST health", post("/health", "{}"), 405, "Allow"},
		badCase{"POST to a stream", post("/sse", ping), 405, "GET"},
		badCase{"GET of messages", request("GET", "/messages", ""), 405, "POST"},
		badCase{"SSE of JSON", request("GET", "/sse", "", "Accept: application/json"), 406, "text/event-stream"},
		badCase{"SSE of an unknown server", request("GET", "/sse/nobody", ""), 404, "nobody"},
		badCase{"a message without a sessionId", post("/messages", ping), 404, "GET /sse"},
		badCase{"a message for a made-up sessionId", post("/messages?sessionId=1", ping), 404, "GET /sse"},
		badCase{"a message that is no JSON by its type", request("POST", "/messages?sessionId=1", ping, "Content-Type: text/plain"), 415, "application/json"},
	)
}

func badPaths() []badCase {
	var out []badCase
	for path, c := range map[string]struct {
		want int
		says string
	}{
		"/mcp/a%2fb":                        {400, "escaped slash"},
		"/mcp/a%2Fb":                        {400, "escaped slash"},
		"/mcp%2feverything":                 {400, "escaped slash"},
		"/mcp/..%2fapi":                     {400, "path"},
		"/mcp/a%5cb":                        {400, "backslash"},
		"/mcp/a\\b":                         {400, "backslash"},
		"/mcp/%2e%2e/health":                {400, ".."},
		"/mcp/../health":                    {400, ".."},
		"/mcp/./everything":                 {400, ".."},
		"/mcp/..":                           {400, ".."},
		"/mcp/.":                            {400, ".."},
		"//mcp":                             {400, ""},
		"/mcp//everything":                  {400, "slash"},
		"/mcp/everything;v=1":               {400, "semicolon"},
		"/mcp/everything%3bv=1":             {400, "semicolon"},
		"/mcp/a%00b":                        {400, "control"},
		"/mcp/a%0d%0ab":                     {400, "control"},
		"/mcp/a%7fb":                        {400, "control"},
		"/mcp/a%2525":                       {400, "percent"},
		"/mcp/a%20b":                        {400, "not a valid name"},
		"/mcp/-x":                           {400, "not a valid name"},
		"/mcp/.x":                           {400, "not a valid name"},
		"/mcp/caf%C3%A9":                    {400, "not a valid name"},
		"/mcp/%ff":                          {400, "not a valid name"},
		"/mcp/*":                            {400, "not a valid name"},
		"/mcp/{nodes}":                      {400, "not a valid name"},
		"/mcp/a:b":                          {400, "not a valid name"},
		"/mcp/a|b":                          {400, "not a valid name"},
		"/mcp/" + strings.Repeat("a", 64):   {400, "63"},
		"/mcp/" + strings.Repeat("a", 8000): {400, "63"},
		"/mcp/no-such":                      {404, "no-such"},
		"/mcp/everything/x":                 {404, "/mcp"},
		"/mcpx":                             {404, "/mcp"},
		"/MCP":                              {404, "/mcp"},
		"/nowhere":                          {404, "/mcp"},
		"/api":                              {404, "/api/openapi.json"},
		"/api/cluster":                      {404, "/api/openapi.json"},
		"/api/cluster/nothing":              {404, "/api/openapi.json"},
		"http://localhost/mcp":              {400, "path"},
	} {
		out = append(out, badCase{"path " + path[:min(len(path), 40)], post(path, ping), c.want, c.says})
	}
	return out
}

func badHeaders() []badCase {
	mcp := func(name string, want int, says string, headers ...string) badCase {
		return badCase{name, post("/mcp/everything", ping, headers...), want, says}
	}
	var out []badCase
	for _, h := range []string{
		"Mcp-Session-Id", "Mcp-Protocol-Version", "Authorization", "Mcp-Method", "Mcp-Name", "Last-Event-ID", "Content-Type", "Content-Encoding", "Origin", "X-MCPHub-Epoch",
	} {
		out = append(out, mcp("two of "+h, 400, "only once", h+": x", strings.ToLower(h)+": x"))
	}
	for _, h := range []string{
		"Mcp_Session_Id", "mcp_protocol-version", "X_MCPHub_Epoch", "Content_Length", "Content_Type", "X_Forwarded_For", "Last_Event_ID", "authorization_", "Transfer_Encoding",
	} {
		out = append(out, mcp("alias "+h, 400, "underscores", h+": 1"))
	}
	for _, v := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx", "application/json; charset=utf-16", "text/json", "-", ""} {
		out = append(out, mcp("Content-Type "+v, 415, "application/json", "Content-Type: "+v))
	}
	for _, v := range []string{"gzip", "br", "identity, gzip", "x"} {
		out = append(out, mcp("Content-Encoding "+v, 415, "compressed", "Content-Encoding: "+v))
	}
	for _, v := range []string{"image/png", "text/html", "application/json;q=0", "application/json; q=0.0, text/event-stream;q=0", "nonsense", ""} {
		out = append(out, mcp("Accept "+v, 406, "application/json", "Accept: "+v))
	}
	for _, v := range []string{"1999-01-01", "2025-11-26", "yes please", "2025-11-25 ", "2025-06-18, 2025-11-25", "latest", strings.Repeat("9", 500)} {
		want := 400
		if v == "2025-11-25 " { // whitespace around a value is not part of it
			continue
		}
		out = append(out, mcp("version "+v[:min(len(v), 20)], want, "2025-11-25", "Mcp-Protocol-Version: "+v))
	}
	for _, v := range []string{"x\tFLUSHALL", "a b", "caf\xc3\xa9", "\xff", strings.Repeat("A", 257), strings.Repeat("A", 5000)} {
		out = append(out, mcp("session id "+v[:min(len(v), 20)], 400, "Mcp-Session-Id", "Mcp-Session-Id: "+v))
	}
	for _, h := range []string{"evil.example.com", "evil.example.com:3000", "10.0.0.1", "[fd00::1]:80", "localhost.evil.com", "127.0.0.1.evil.com", "0"} {
		out = append(out, mcp("Host "+h, 403, "allowedHosts", "Host: "+h))
	}
	for _, h := range []string{"user@localhost", "localhost/x", "local host"} {
		out = append(out, mcp("Host "+h, 400, "", "Host: "+h))
	}
	for _, o := range []string{
		"http://evil.example.com", "https://evil.example.com:443", "null", "http://localhost.evil.com", "http://127.0.0.1.evil.com", "file://", "chrome-extension://abc",
		"http://localhost@evil.com", "http://localhost/path", "javascript:alert(1)", "http://", "localhost",
	} {
		out = append(out, mcp("Origin "+o, 403, "allowedOrigins", "Origin: "+o))
	}
	return append(out,
		mcp("headers over 32 KiB", 431, "32 KiB", "X-Big: "+strings.Repeat("x", 34<<10)),
		mcp("many headers", 431, "32 KiB", strings.TrimSuffix(strings.Repeat("X-Small: 0123456789\r\n", 1700), "\r\n")),
		badCase{"foreign origin at REST", request("DELETE", "/api/cluster/sessions/"+string(sidOne), "", "Origin: http://evil.example.com"), 403, "origin"},
		badCase{"foreign host at REST", request("GET", "/api/cluster/nodes", "", "Host: evil.example.com"), 403, "allowedHosts"},
		badCase{"foreign host at the page", request("GET", "/", "", "Host: evil.example.com"), 403, "allowedHosts"},
	)
}

func badBodies() []badCase {
	big := strings.Repeat("x", 5<<20)
	return []badCase{
		{"body over 4 MiB", post("/mcp/everything", big), 413, "4194304"},
		{"chunked body over 4 MiB", post("/mcp/everything", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(big), big), "Transfer-Encoding: chunked"), 413, "4194304"},
		{"a promise of 1 TiB", post("/mcp/everything", "", "Content-Length: 1099511627776", "Expect: 100-continue"), 413, "limit"},
		{"broken chunk", post("/mcp/everything", "zz\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), 400, "framed"},
		{"chunk without an end", post("/mcp/everything", "3\r\nabcX0\r\n\r\n", "Transfer-Encoding: chunked"), 400, "framed"},
		{"registration over 256 KiB", post("/api/cluster/register", `{"id":"`+strings.Repeat("x", 300<<10)+`"}`), 413, "262144"},
		{"catalog over 4 MiB", post("/api/cluster/catalogs", `{"catalog":"`+big+`"}`), 413, "limit"},
		{"registration as text", post("/api/cluster/register", record, "Content-Type: text/plain"), 415, "application/json"},
		{"registration compressed", post("/api/cluster/register", record, "Content-Encoding: gzip"), 415, "compressed"},
	}
}

func badRecords() []badCase {
	bodies := map[string]string{
		"empty":                    "",
		"not JSON":                 "hello",
		"a list":                   "[" + record + "]",
		"a string":                 `"x"`,
		"null":                     "null",
		"cut short":                record[:40],
		"trailing object":          record + "{}",
		"trailing text":            record + "x",
		"not UTF-8":                `{"id":"` + "\xff" + `"}`,
		"id twice":                 `{"id":"a","id":"b"}`,
		"id in another case":       `{"ID":"a"}`,
		"both cases":               `{"id":"a","Id":"b"}`,
		"instance with a long s":   "{\"in\u017ftance\":\"x\"}",
		"unknown key twice":        `{"x":1,"x":2}`,
		"escaped duplicate":        `{"id":"a","\u0069d":"b"}`,
		"duplicate in a server":    `{"serverDetails":[{"id":"a","id":"b"}]}`,
		"other case in a server":   `{"serverDetails":[{"Status":"ready"}]}`,
		"id a number":              `{"id":7}`,
		"servers a string":         `{"servers":"a"}`,
		"serverDetails an object":  `{"serverDetails":{}}`,
		"epoch a fraction":         `{"epoch":1.5}`,
		"epoch too large":          `{"epoch":9223372036854775808}`,
		"port not finite":          `{"port":1e999}`,
		"NaN":                      `{"port":NaN}`,
		"comment":                  `{/*x*/"id":"a"}`,
		"nested far too deep":      `{"x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`,
		"a server nested too deep": `{"serverDetails":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`,
	}
	var out []badCase
	for name, body := range bodies {
		for _, call := range []string{"register", "heartbeat"} {
			out = append(out, badCase{call + " " + name, post("/api/cluster/"+call, body), 400, ""})
		}
	}
	return append(out,
		badCase{"deregister nonsense", post("/api/cluster/deregister", `{"epoch":"x"}`), 400, "epoch"},
		badCase{"catalog twice", post("/api/cluster/catalogs", `{"digest":"x","catalog":{},"catalog":{}}`), 400, "twice"},
	)
}

func badQueries() []badCase {
	var out []badCase
	for path, c := range map[string]struct {
		want int
		says string
	}{
		"/api/cluster/nodes?active=maybe":                          {400, "active"},
		"/api/cluster/nodes?active=true&active=false":              {400, "only once"},
		"/api/cluster/nodes?status=active":                         {400, "status"},
		"/api/cluster/nodes?Active=true":                           {400, "Active"},
		"/api/cluster/sessions?node=node-1":                        {400, "node"},
		"/api/cluster/sessions?server=everything":                  {400, "not supported"},
		"/api/cluster/sessions?limit=0":                            {400, "limit"},
		"/api/cluster/sessions?limit=1001":                         {400, "limit"},
		"/api/cluster/sessions?limit=ten":                          {400, "limit"},
		"/api/cluster/sessions?limit=99999999999999999":            {400, "limit"},
		"/api/cluster/sessions?cursor=../../x":                     {400, "cursor"},
		"/api/cluster/sessions?a=%zz":                              {400, "query"},
		"/api/cluster/sessions?a;b":                                {400, "query"},
		"/api/cluster/status?x=1":                                  {400, "takes none"},
		"/api/cluster/events?limit=-1":                             {400, "limit"},
		"/api/cluster/sessions/no-such":                            {404, "no such session"},
		"/api/cluster/sessions/*":                                  {404, "no such session"},
		"/api/cluster/sessions/" + strings.Repeat("0", 32):         {404, "no such session"},
		"/api/cluster/sessions/" + strings.ToUpper(string(sidOne)): {404, "no such session"},
		"/api/cluster/nodes/node-9":                                {404, "node-9"},
		"/api/cluster/nodes/a:b":                                   {400, "not a valid name"},
		"/api/cluster/servers/none/replicas":                       {404, "none"},
		"/api/cluster/servers/a%20b/replicas":                      {400, "not a valid name"},
		"/api/cluster/servers/everything":                          {404, ""},
	} {
		out = append(out, badCase{"GET " + path[:min(len(path), 60)], request("GET", path, ""), c.want, c.says})
	}
	return append(out,
		badCase{"end no session", request("DELETE", "/api/cluster/sessions/no-such", ""), 404, "no such session"},
		badCase{"end with a query", request("DELETE", "/api/cluster/sessions/"+string(sidOne)+"?force=1", ""), 400, "force"},
	)
}

// Whatever a stranger sends is answered with the right 4xx and a sentence, reaches nothing
// behind the doors, and leaves the next good request to work.
func TestBadInput(t *testing.T) {
	r := newRig(t, global, http.NotFoundHandler())
	var cases []badCase
	for _, list := range [][]badCase{badMethods(), badPaths(), badHeaders(), badBodies(), badRecords(), badQueries()} {
		cases = append(cases, list...)
	}
	if len(cases) < 200 {
		t.Errorf("only %d cases", len(cases))
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			before := r.carrier.count() + r.registrar.count()
			p := r.raw(t, c.raw)
			if p.status != c.want {
				t.Fatalf("status %d, want %d: %.300s", p.status, c.want, p.body)
			}
			if !strings.HasPrefix(c.raw, "HEAD") && p.header.Get("Content-Type") != "text/plain; charset=utf-8" {
				if text := p.sentence(t); !strings.Contains(text, c.says) {
					t.Errorf("%q does not mention %q", text, c.says)
				}
			}
			if p.status == http.StatusMethodNotAllowed && p.header.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
			if r.carrier.count()+r.registrar.count() != before || len(r.carrier.ended) > 0 {
				t.Error("the request got through")
			}
		})
	}
	if p := r.do(t, "POST", "/mcp/everything", ping); p.status != 200 || p.body != ping {
		t.Errorf("a good request after all that = %d %s", p.status, p.body)
	}
	if n := r.held.Load(); n != 0 {
		t.Errorf("%d bytes of bodies are still counted", n)
	}
}

// What net/http refuses by itself it answers in plain text; the process must live on.
func TestBadFraming(t *testing.T) {
	r := newRig(t, global, nil)
	for name, raw := range map[string]string{
		"two lengths":          "POST /mcp/everything HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
		"signed length":        "POST /mcp/everything HTTP/1.1\r\nHost: localhost\r\nContent-Length: +3\r\n\r\nabc",
		"two hosts":            "POST /mcp/everything HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
		"no host":              "POST /mcp/everything HTTP/1.1\r\n\r\n",
		"space before a colon": "POST /mcp/everything HTTP/1.1\r\nHost: localhost\r\nAccept : x\r\n\r\n",
		"NUL in a header":      "POST /mcp/everything HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
		"unknown coding":       "POST /mcp/everything HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
		"not HTTP":             "hello\r\n\r\n",
		"HTTP/2 in the clear":  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"headers over 64 KiB":  "POST /mcp/everything HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 100<<10) + "\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			p := r.raw(t, raw)
			if p.status < 400 || p.status > 505 || p.status == 500 || p.status == 502 || p.status == 503 {
				t.Errorf("status %d", p.status)
			}
		})
	}
	if r.carrier.count() != 0 {
		t.Error("something got through")
	}
	if p := r.do(t, "POST", "/mcp/everything", ping); p.status != 200 {
		t.Errorf("a good request after all that = %d", p.status)
	}
}

// Some balancers ask by HTTP/1.0, which needs no Host.
func TestProbesNeedNoHost(t *testing.T) {
	r := newRig(t, global, nil)
	for head, want := range map[string]int{
		"GET /health": 200, "GET /ready": 200, "GET /health?x=1": 200,
		"GET /api/cluster/status": 400, "GET /": 400, "POST /mcp/everything": 400, "GET /health/x": 400,
	} {
		if p := r.raw(t, head+" HTTP/1.0\r\n\r\n"); p.status != want {
			t.Errorf("%s without Host = %d %s, want %d", head, p.status, p.body, want)
		}
	}
	if p := r.raw(t, "GET /health HTTP/1.0\r\nOrigin: http://elsewhere.example\r\n\r\n"); p.status != 400 {
		t.Errorf("GET /health without Host for a page = %d, want 400", p.status)
	}
}

// A request hidden behind another one is not run with it.
func TestSmuggledRequest(t *testing.T) {
	r := newRig(t, global, nil)
	hidden := post("/mcp/everything", ping, "X-Hidden: yes")
	p := r.raw(t, post("/mcp/everything", "0\r\n\r\n"+hidden, "Content-Length: 5", "Transfer-Encoding: chunked"))
	if p.status != 200 && p.status != 400 {
		t.Errorf("status %d", p.status)
	}
	if r.carrier.count() > 1 {
		for _, q := range r.carrier.seen {
			if q.Header.Get("X-Hidden") != "" && len(q.Body) == 0 {
				t.Error("the hidden request was taken apart differently")
			}
		}
	}
}

func TestSlowBodyIsCutOff(t *testing.T) {
	cfg := global
	cfg.BodyGrace, cfg.BodyTime, cfg.MinRate = 100*time.Millisecond, 400*time.Millisecond, 1<<20
	r := newRig(t, cfg, nil)
	begun := time.Now()
	p := r.raw(t, post("/mcp/everything", `{"json`, "Content-Length: 100"))
	if p.status != http.StatusRequestTimeout || !strings.Contains(p.sentence(t), "slowly") {
		t.Errorf("status %d %s, want 408", p.status, p.body)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	if !p.close {
		t.Error("the connection is kept")
	}
}

// A refusal does not wait for a body that was announced and never comes.
func TestRefusalWithoutTheBody(t *testing.T) {
	r := newRig(t, global, nil)
	for name, raw := range map[string]string{
		"media type":     "POST /mcp/everything HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 100000\r\n\r\n",
		"unknown server": "POST /mcp/nosuch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n",
		"no such path":   "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n",
		"chunked":        "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			if p := r.raw(t, raw); p.status < 400 || p.status > 499 || !p.close {
				t.Errorf("status %d, connection closed %v; want a refusal that ends the connection", p.status, p.close)
			}
		})
	}
}

// The deadline of a body is gone once it has come: a call may take as long as it likes.
func TestDeadlineEndsWithTheBody(t *testing.T) {
	cfg := global
	cfg.BodyGrace, cfg.BodyTime = 50*time.Millisecond, 50*time.Millisecond
	r := newRig(t, cfg, nil)
	release := make(chan struct{})
	r.carrier.carry = func(ctx context.Context, w http.ResponseWriter, _ router.Request) error {
		<-release
		if ctx.Err() != nil {
			return ctx.Err()
		}
		_, err := w.Write([]byte("late"))
		return err
	}
	go func() {
		timer := time.NewTimer(300 * time.Millisecond)
		defer timer.Stop()
		<-timer.C
		close(release)
	}()
	if p := r.do(t, "POST", "/mcp/everything", ping); p.status != 200 || p.body != "late" {
		t.Errorf("a call longer than BodyTime = %d %q", p.status, p.body)
	}
}
