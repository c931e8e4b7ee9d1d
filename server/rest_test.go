package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/mcphub-go/mcphub/heartbeat"
	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/store"
)

func tcpAddr(t *testing.T, s string) *net.TCPAddr {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// same compares JSON by meaning.
func same(t *testing.T, what, got, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Errorf("%s: %q is not JSON", what, got)
		return
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(g, w) {
		t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

func TestShapes(t *testing.T) {
	r := newRig(t, Config{ClusterEnabled: true, Embedded: true}, nil)
	r.store.health.Latency, r.store.health.Since = 1500*time.Microsecond, noon
	r.store.events = []store.Event{{ID: "1-0", Time: noon, Kind: store.EventNodeRegistered, Node: "node-1", Coordinator: "c1", Text: "hello"}}
	const (
		node1 = `{"id":"node-1","name":"Worker Node 1","host":"10.0.0.5","port":3001,"url":"http://10.0.0.5:3001","status":"active","lastHeartbeat":1767268800000,
			"servers":["everything"],"version":"v1","epoch":4,"weight":1,"sessions":2,"inFlight":0,"startedAt":1767268800000,"registeredAt":1767268800000,"serverDetails":[
			{"id":"everything","status":"ready","transport":"stdio","tools":8,"sessions":2,"inFlight":0,"restarts":0,"weight":1},
			{"id":"broken","status":"failed","transport":"","error":"exit status 1","stderr":["boom"],"tools":0,"sessions":0,"inFlight":0,"restarts":0,"weight":1}]}`
		node2 = `{"id":"node-2","name":"node-2","host":"10.0.0.6","port":3001,"url":"http://10.0.0.6:3001","status":"unhealthy","lastHeartbeat":1767268800000,
			"servers":["everything","memory"],"version":"","epoch":5,"weight":1,"sessions":4,"inFlight":0,"serverDetails":[
			{"id":"everything","status":"ready","transport":"stdio","tools":8,"sessions":2,"inFlight":0,"restarts":0,"weight":1},
			{"id":"memory","status":"ready","transport":"stdio","tools":3,"sessions":2,"inFlight":0,"restarts":0,"weight":1}]}`
		ev1     = `{"serverId":"everything","nodeId":"node-1","nodeUrl":"http://10.0.0.5:3001","status":"active","weight":1,"transport":"stdio","tools":8,"sessions":2,"inFlight":0,"restarts":0}`
		ev2     = `{"serverId":"everything","nodeId":"node-2","nodeUrl":"http://10.0.0.6:3001","status":"unhealthy","weight":1,"transport":"stdio","tools":8,"sessions":2,"inFlight":0,"restarts":0}`
		broken  = `{"serverId":"broken","nodeId":"node-1","nodeUrl":"http://10.0.0.5:3001","status":"failed","weight":1,"tools":0,"sessions":0,"inFlight":0,"restarts":0,"error":"exit status 1","stderr":["boom"]}`
		mem     = `{"serverId":"memory","nodeId":"node-2","nodeUrl":"http://10.0.0.6:3001","status":"unhealthy","weight":1,"transport":"stdio","tools":3,"sessions":2,"inFlight":0,"restarts":0}`
		session = `{"sessionId":"00112233445566778899aabbccddeeff","nodeId":"node-1","serverId":"everything","createdAt":1767268800000,"lastAccessed":1767268860000,
			"expiresAt":1767272400000,"scope":"everything","protocolVersion":"2025-11-25","bindings":[{"serverId":"everything","nodeId":"node-1","epoch":4}]}`
		wide = `{"sessionId":"ffeeddccbbaa99887766554433221100","nodeId":"node-2","serverId":"memory","createdAt":1767268800000,"lastAccessed":1767268800000,
			"expiresAt":1767272400000,"scope":"*","protocolVersion":"","bindings":[{"serverId":"everything","nodeId":"node-1","epoch":4},{"serverId":"memory","nodeId":"node-2","epoch":5}]}`
	)
	for path, want := range map[string]string{
		"/api/cluster/status": `{"enabled":true,"mode":"coordinator","nodeId":"coordinator","stats":{"nodes":2,"activeNodes":1,"servers":1,"sessions":2},"coordinatorId":"c1",
			"version":"v1","inFlight":1,"redis":{"ok":true,"state":"ok","since":1767268800000,"latencyMs":1.5,"embedded":true},"warnings":["nodes run other releases than this coordinator, which runs v1: unnamed (node-2)"]}`,
		"/api/cluster/nodes":                       "[" + node1 + "," + node2 + "]",
		"/api/cluster/nodes?active=true":           "[" + node1 + "]",
		"/api/cluster/nodes?active=false":          "[" + node1 + "," + node2 + "]",
		"/api/cluster/nodes/node-2":                node2,
		"/api/cluster/servers/everything/replicas": "[" + ev1 + "," + ev2 + "]",
		"/api/cluster/servers": `[{"serverId":"broken","name":"broken","status":"failed","activeReplicas":0,"tools":0,"sessions":0,"replicas":[` + broken + `]},
			{"serverId":"everything","name":"everything","status":"active","activeReplicas":1,"tools":8,"sessions":4,"replicas":[` + ev1 + "," + ev2 + `]},
			{"serverId":"memory","name":"memory","status":"unhealthy","activeReplicas":0,"tools":0,"sessions":2,"replicas":[` + mem + `]}]`,
		"/api/cluster/sessions/" + string(sidOne):  session,
		"/api/cluster/sessions/" + string(sidWide): wide,
		"/api/cluster/events?limit=5":              `[{"id":"1-0","time":1767268800000,"kind":"node_registered","nodeId":"node-1","coordinatorId":"c1","text":"hello"}]`,
	} {
		p := r.do(t, "GET", path, "")
		if p.status != 200 || p.header.Get("Content-Type") != "application/json" || p.header.Get("Cache-Control") != "no-store" {
			t.Errorf("GET %s = %d %v", path, p.status, p.header)
		}
		same(t, path, p.body, `{"success":true,"data":`+want+`}`)
		if strings.Contains(p.body, "secret-instance") {
			t.Errorf("GET %s shows the instance, with which a node proves itself", path)
		}
		if h := r.do(t, "HEAD", path, ""); h.status != 200 || h.body != "" {
			t.Errorf("HEAD %s = %d %q", path, h.status, h.body)
		}
	}
	same(t, "/health", r.do(t, "GET", "/health", "").body, `{"status":"ok","id":"c1","mode":"coordinator"}`)
	same(t, "/ready", r.do(t, "GET", "/ready", "").body, `{"status":"ready","reasons":[]}`)
}

func TestSessionsArePaged(t *testing.T) {
	r := newRig(t, Config{}, nil)
	var got struct {
		Data struct {
			Sessions   []json.RawMessage
			NextCursor string
		}
	}
	p := r.do(t, "GET", "/api/cluster/sessions?limit=1", "")
	if err := json.Unmarshal([]byte(p.body), &got); err != nil || len(got.Data.Sessions) != 1 || got.Data.NextCursor != "more" {
		t.Errorf("first page %s", p.body)
	}
	if p := r.do(t, "GET", "/api/cluster/sessions?cursor=more", ""); p.status != 200 {
		t.Errorf("second page = %d", p.status)
	}
	r.store.sessions = nil
	same(t, "no sessions", r.do(t, "GET", "/api/cluster/sessions", "").body, `{"success":true,"data":{"sessions":[],"nextCursor":"more"}}`)
}

func TestSessionByWholeToken(t *testing.T) {
	r := newRig(t, Config{}, nil)
	tok, err := r.carrier.keys.Mint("everything", "", "node-1", 4, noon)
	if err != nil {
		t.Fatal(err)
	}
	r.store.sessions[tok.SessionID()] = store.Session{ID: tok.SessionID(), Scope: "everything", Created: noon}
	if p := r.do(t, "GET", "/api/cluster/sessions/"+tok.String(), ""); p.status != 200 || !strings.Contains(p.body, string(tok.SessionID())) || strings.Contains(p.body, tok.String()) {
		t.Errorf("GET by token = %d %s, want the session without its token", p.status, p.body)
	}
	p := r.do(t, "DELETE", "/api/cluster/sessions/"+tok.String(), "")
	if p.status != 200 || len(r.carrier.ended) != 1 || r.carrier.ended[0] != tok.SessionID() {
		t.Errorf("DELETE by token = %d %s, ended %v", p.status, p.body, r.carrier.ended)
	}
	r.carrier.keys = nil // the router is not there yet
	if p := r.do(t, "GET", "/api/cluster/sessions/"+tok.String(), ""); p.status != 503 || p.header.Get("Retry-After") == "" {
		t.Errorf("GET by token without keys = %d %s, want 503", p.status, p.body)
	}
	r.carrier.endFail = &router.Error{Err: router.ErrUnavailable, Message: "try again shortly", RetryAfter: time.Second}
	if p := r.do(t, "DELETE", "/api/cluster/sessions/"+string(sidOne), ""); p.status != 503 || p.header.Get("Retry-After") != "1" || !strings.Contains(p.body, `"success":false`) {
		t.Errorf("DELETE without Redis = %d %s", p.status, p.body)
	}
	r.carrier.endFail = &router.Error{Err: router.ErrUnknownSession, Message: "unknown session"}
	if p := r.do(t, "DELETE", "/api/cluster/sessions/"+string(sidOne), ""); p.status != 404 || !strings.Contains(p.sentence(t), "no such session") {
		t.Errorf("DELETE of no session = %d %s", p.status, p.body)
	}
}

// A session's whole id is like a password: it stays out of the log.
func TestSessionIDsStayOutOfTheLog(t *testing.T) {
	r := newRig(t, global, nil)
	tok, err := r.carrier.keys.Mint("everything", "", "node-1", 4, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r.store.set(store.ErrUnavailable, store.Health{})
	p := r.do(t, "GET", "/api/cluster/sessions/"+tok.String(), "")
	_ = r.stop()
	if log := r.log.String(); p.status != 503 || strings.Contains(log, tok.String()) || !strings.Contains(log, "/sessions/:id") {
		t.Errorf("status %d, want 503 and a log without the id: %s", p.status, log)
	}
}

func TestWithoutRedis(t *testing.T) {
	r := newRig(t, global, nil)
	if p := r.do(t, "GET", "/api/cluster/status", ""); p.status != 200 {
		t.Fatalf("status = %d", p.status)
	}
	r.store.set(fmt.Errorf("list sessions: dial 10.0.0.7:6379: %w", store.ErrUnavailable), store.Health{State: store.HealthDown, Err: "dial tcp 10.0.0.7:6379: refused"})
	r.fleet.set(true, "serving from the last snapshot: redis unavailable")
	p := r.do(t, "GET", "/ready", "")
	if p.status != 200 || strings.Contains(p.body, "10.0.0.7") {
		t.Errorf("/ready = %d %s, want 200 without addresses", p.status, p.body)
	}
	same(t, "/ready", p.body, `{"status":"degraded","reasons":["serving from the last snapshot: redis unavailable","redis: down"]}`)
	for _, path := range []string{"/api/cluster/sessions", "/api/cluster/sessions/" + string(sidOne), "/api/cluster/events"} {
		p := r.do(t, "GET", path, "")
		if p.status != 503 || p.header.Get("Retry-After") == "" || strings.Contains(p.body, "10.0.0.7") {
			t.Errorf("GET %s = %d %s, want 503 with Retry-After and no address", path, p.status, p.body)
		}
	}
	if p := r.do(t, "GET", "/api/cluster/status", ""); p.status != 200 || !strings.Contains(p.body, `"sessions":2`) || !strings.Contains(p.body, `"ok":false`) {
		t.Errorf("status = %d %s, want 200 with the last count and redis.ok false", p.status, p.body)
	}
	if p := r.do(t, "GET", "/health", ""); p.status != 200 {
		t.Errorf("/health = %d, want 200", p.status)
	}
	r.fleet.set(false, "no snapshot of the nodes yet: redis unavailable")
	if p := r.do(t, "GET", "/ready", ""); p.status != 503 || !strings.Contains(p.body, `"not ready"`) {
		t.Errorf("/ready = %d %s, want 503", p.status, p.body)
	}
}

func TestNodeCalls(t *testing.T) {
	r := newRig(t, Config{}, nil)
	digest := strings.Repeat("ab", 32)
	const catalog = `{"tools":[ {"name":"<&>","URL":1,"url":2} ]}`
	for _, c := range []struct{ path, body, call string }{
		{"register", record, "register node-9"},
		{"heartbeat", strings.Replace(record, `{`, `{"epoch":7,"fromTheFuture":{"a":1,"A":2},`, 1), "beat node-9"},
		{"deregister", `{"id":"node-9","instance":"` + instance + `","epoch":7}`, "deregister node-9"},
		{"catalogs", `{"digest":"` + digest + `","catalog":` + catalog + `}`, "catalog " + digest},
	} {
		p := r.do(t, "POST", "/api/cluster/"+c.path, c.body)
		if p.status != 200 || !strings.Contains(p.body, `"success":true`) {
			t.Errorf("%s = %d %s", c.path, p.status, p.body)
		}
		if got := r.registrar.calls[len(r.registrar.calls)-1]; got != c.call {
			t.Errorf("%s reached %q, want %q", c.path, got, c.call)
		}
	}
	if got := string(r.registrar.catalog); got != catalog {
		t.Errorf("catalog %s, want the bytes as they were sent: %s", got, catalog)
	}
	same(t, "grant", r.do(t, "POST", "/api/cluster/register", record).body,
		`{"success":true,"data":{"epoch":7,"credential":"c","heartbeatInterval":0,"nodeTimeout":15000,"sessionTimeout":0,"missingCatalogs":[]}}`)
}

func TestNodeCallErrors(t *testing.T) {
	r := newRig(t, Config{}, nil)
	for _, tt := range []struct {
		err    error
		status int
		says   string
	}{
		{fmt.Errorf("%w: id is bad", heartbeat.ErrRecord), 400, "id is bad"},
		{fmt.Errorf("%w: not private", heartbeat.ErrAddress), 403, "not private"},
		{fmt.Errorf("%w: http://x", heartbeat.ErrUnproven), 403, "http://x"},
		{fmt.Errorf("register: %w", &store.DuplicateNodeError{Holder: store.Node{ID: "node-9", URL: "http://10.0.0.1:3001"}}), 409, "http://10.0.0.1:3001"},
		{fmt.Errorf("beat: %w", store.ErrEpoch), 409, "epoch is over"},
		{fmt.Errorf("x: %w", store.ErrNotFound), 404, "no such thing"},
		{fmt.Errorf("dial 10.1.1.1: %w", store.ErrUnavailable), 503, "Redis"},
		{fmt.Errorf("x: %w", store.ErrSchema), 503, "newer"},
		{errors.New("hunter2"), 500, "internal error"},
	} {
		r.registrar.err = tt.err
		p := r.do(t, "POST", "/api/cluster/register", record)
		text := ""
		if tt.status != 500 {
			text = p.sentence(t)
		}
		if p.status != tt.status || !strings.Contains(p.body, tt.says) || strings.Contains(p.body, "10.1.1.1") || strings.Contains(p.body, "hunter2") {
			t.Errorf("%v = %d %s (%s), want %d that says %q", tt.err, p.status, p.body, text, tt.status, tt.says)
		}
	}
}

func TestClusterSecret(t *testing.T) {
	r := newRig(t, Config{ClusterSecret: "s3cret", Access: Access{AdminToken: "adm1n"}}, nil)
	for auth, want := range map[string]int{"": 401, "Bearer wrong": 401, "Bearer adm1n": 401, "Basic s3cret": 401, "s3cret": 401, "Bearer s3cret": 200} {
		for _, call := range []string{"register", "heartbeat", "deregister", "catalogs"} {
			p := r.raw(t, post("/api/cluster/"+call, record, "Authorization: "+auth))
			if p.status != want {
				t.Errorf("%s with %q = %d, want %d", call, auth, p.status, want)
			}
		}
	}
	if p := r.do(t, "GET", "/api/cluster/nodes", "", "Authorization", "Bearer s3cret"); p.status != 401 {
		t.Errorf("the nodes' secret opens management calls: %d", p.status)
	}
}

// management are all calls that want an admin, out of the table of routes, and what is the page's.
func management(t *testing.T) []string {
	t.Helper()
	calls := []string{"GET /", "GET /static/x.css"}
	for _, rt := range restRoutes() {
		if rt.door == forAdmins {
			call, ok := apiCalls[rt.method+" "+pathOf(rt.path)]
			if !ok {
				t.Fatalf("%s %s: this test does not know how to call it", rt.method, rt.path)
			}
			calls = append(calls, rt.method+" "+call.path)
		}
	}
	if len(calls) < 15 {
		t.Fatalf("only %d calls want an admin: %v", len(calls), calls)
	}
	return calls
}

// Who may do what: a route that says nothing else is for admins.
func TestRoutesThatAreNotForAdmins(t *testing.T) {
	want := map[string]door{
		"/health": forAll, "/ready": forAll,
		"/api/cluster/register": forNodes, "/api/cluster/heartbeat": forNodes, "/api/cluster/deregister": forNodes, "/api/cluster/catalogs": forNodes,
	}
	for _, rt := range restRoutes() {
		if d, ok := want[rt.path]; rt.door != forAdmins && (!ok || d != rt.door) {
			t.Errorf("%s %s is open to %d", rt.method, rt.path, rt.door)
		}
		if ofNodes[rt.path] != (rt.door == forNodes) {
			t.Errorf("%s %s: the gate and the door do not agree on who comes there", rt.method, rt.path)
		}
	}
}

func TestManagementWantsAnAdmin(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("pass:word"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, Config{ClusterSecret: "s3cret", Access: Access{AdminToken: "adm1n", Users: []User{
		{Name: "ann", PasswordHash: string(hash), IsAdmin: true}, {Name: "bob", PasswordHash: string(hash)},
	}}}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	basic := func(user, password string) string {
		req := httptest.NewRequest("GET", "/", nil)
		req.SetBasicAuth(user, password)
		return req.Header.Get("Authorization")
	}
	for auth, want := range map[string]int{
		"": 401, "Bearer wrong": 401, "Bearer s3cret": 401, "Bearer": 401, "Basic !!": 401, "Digest x": 401,
		basic("ann", ""): 401, basic("ann", "wrong"): 401, basic("nobody", "pass:word"): 401, basic("", ""): 401, basic("ann", strings.Repeat("x", 100)): 401,
		basic("bob", "pass:word"): 403, "Bearer adm1n": 200, basic("ann", "pass:word"): 200,
	} {
		for _, call := range management(t) {
			method, path, _ := strings.Cut(call, " ")
			p := r.raw(t, request(method, path, "", "Authorization: "+auth))
			if want == 200 && p.status != 401 && p.status != 403 {
				continue // whether there is something to be found is another matter
			}
			if p.status != want {
				t.Errorf("%s with %q = %d, want %d", call, auth, p.status, want)
			}
			if want == 401 && len(p.header.Values("WWW-Authenticate")) != 2 {
				t.Errorf("%s: challenges %q, want Basic and Bearer", call, p.header.Values("WWW-Authenticate"))
			}
		}
	}
	for _, path := range []string{"/health", "/ready"} {
		if p := r.do(t, "GET", path, ""); p.status != 200 {
			t.Errorf("GET %s = %d, want 200 for everyone", path, p.status)
		}
	}
	if got := len(r.access.Load().admins.verified.at); got != 2 {
		t.Errorf("%d passwords remembered, want those that were right: 2", got)
	}
}

// How much work a refusal is does not tell whose password was tried, or whether there is such a
// user. Each step of cost doubles the work.
func TestRefusalsTakeTheSameWork(t *testing.T) {
	const low, high = bcrypt.MinCost, bcrypt.MinCost + 3
	hash := func(cost int) string {
		h, err := bcrypt.GenerateFromPassword([]byte("secret"), cost)
		if err != nil {
			t.Fatal(err)
		}
		return string(h)
	}
	a := newAdmins("", []User{{Name: "low", PasswordHash: hash(low), IsAdmin: true}, {Name: "high", PasswordHash: hash(high), IsAdmin: true}})
	work, really := 0, a.bcrypt
	a.bcrypt = func(hash, password []byte) error {
		err := really(hash, password)
		if cost, bad := bcrypt.Cost(hash); bad == nil && cost >= bcrypt.MinCost {
			work += 1 << cost
		}
		return err
	}
	for _, name := range []string{"low", "high", "nobody"} {
		work = 0
		req := httptest.NewRequest("GET", "/", nil)
		req.SetBasicAuth(name, "wrong")
		if p := a.check(req); p == nil || p.status != http.StatusUnauthorized {
			t.Fatalf("%s with a wrong password: %v", name, p)
		}
		if work != 1<<high {
			t.Errorf("refusing %s is %d of work, want %d", name, work, 1<<high)
		}
	}
	for _, name := range []string{"low", "high"} {
		req := httptest.NewRequest("GET", "/", nil)
		req.SetBasicAuth(name, "secret")
		if p := a.check(req); p != nil {
			t.Errorf("%s with the right password: %v", name, p)
		}
	}
}

func TestPasswordsRememberedAreBounded(t *testing.T) {
	v := newVerified()
	for i := range 3 * maxVerified {
		v.mark(User{Name: fmt.Sprint(i)}, "x")
	}
	if len(v.at) > maxVerified {
		t.Errorf("%d remembered, want at most %d", len(v.at), maxVerified)
	}
	u := User{Name: "ann", PasswordHash: "h1"}
	v.mark(u, "x")
	if !v.has(u, "x") || v.has(u, "y") || v.has(User{Name: "ann", PasswordHash: "h2"}, "x") || v.has(User{Name: "bob", PasswordHash: "h1"}, "x") {
		t.Error("a password is remembered for another user, another hash, or not at all")
	}
}

// Without an admin, management answers to private addresses, and not to a client elsewhere for
// whom a balancer in the private network speaks.
func TestManagementWithoutAnAdmin(t *testing.T) {
	r := newServer(t, Config{}, nil)
	tests := []struct {
		peer string
		name string
		line string
		want int
	}{
		{"127.0.0.1:5", "", "", 200},
		{"[::1]:5", "", "", 200},
		{"10.1.2.3:5", "", "", 200},
		{"[fd00::5]:5", "", "", 200},
		{"[::ffff:10.1.2.3]:5", "", "", 200},
		{"203.0.113.9:5", "", "", 403},
		{"[2001:db8::1]:5", "", "", 403},
		{"169.254.1.1:5", "", "", 403},
		{"100.64.0.1:5", "", "", 403},
		{"nonsense", "", "", 403},
		{"", "", "", 403},
		{"10.1.2.3:5", "X-Forwarded-For", "10.9.9.9", 200},
		{"10.1.2.3:5", "X-Forwarded-For", "10.9.9.9:1234, 192.168.1.1", 200},
		{"10.1.2.3:5", "X-Forwarded-For", "203.0.113.9", 403},
		{"10.1.2.3:5", "X-Forwarded-For", "10.9.9.9, 203.0.113.9", 403},
		{"10.1.2.3:5", "X-Forwarded-For", "203.0.113.9, 10.9.9.9", 403},
		{"10.1.2.3:5", "X-Forwarded-For", "unknown", 403},
		{"10.1.2.3:5", "X-Forwarded-For", "", 403},
		{"10.1.2.3:5", "X-Real-IP", "203.0.113.9", 403},
		{"10.1.2.3:5", "X-Real-IP", "192.168.0.1", 200},
		{"10.1.2.3:5", "Forwarded", `for="[2001:db8::1]:99";proto=https`, 403},
		{"10.1.2.3:5", "Forwarded", `proto=https;For="[fd00::1]:99", for=10.0.0.1`, 200},
		{"10.1.2.3:5", "Forwarded", `for=_hidden`, 403},
		{"10.1.2.3:5", "Forwarded", `proto=https`, 403},
		{"10.1.2.3:5", "CF-Connecting-IP", "203.0.113.9", 403},
		{"203.0.113.9:5", "X-Forwarded-For", "10.0.0.1", 403},
	}
	for _, tt := range tests {
		for _, call := range []string{"GET /api/cluster/nodes", "POST /api/cluster/register"} {
			method, path, _ := strings.Cut(call, " ")
			req := httptest.NewRequest(method, path, strings.NewReader(record))
			req.RemoteAddr, req.Host = tt.peer, "10.0.0.5:3000"
			req.Header.Set("Content-Type", "application/json")
			if tt.name != "" {
				req.Header.Set(tt.name, tt.line)
			}
			w := httptest.NewRecorder()
			r.Handler().ServeHTTP(w, req)
			if w.Code != tt.want {
				t.Errorf("%s from %q with %s: %s = %d, want %d", call, tt.peer, tt.name, tt.line, w.Code, tt.want)
			}
		}
	}
}

func TestThePageGetsWhatNobodyElseWants(t *testing.T) {
	var paths []string
	web := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.URL.Path)
		_, _ = w.Write([]byte("page"))
	})
	r := newRig(t, global, web)
	for path, want := range map[string]bool{"/": true, "/fragment": true, "/static/a.css": true, "/favicon.ico": true, "/api/x": false, "/mcp/a/b": false, "/api": false} {
		if p := r.do(t, "GET", path, ""); (p.body == "page") != want {
			t.Errorf("GET %s = %d %s, want the page %v", path, p.status, p.body, want)
		}
	}
	if p := r.do(t, "POST", "/", "{}"); p.status != 404 || strings.Contains(p.body, "page") {
		t.Errorf("POST / = %d %s, want 404", p.status, p.body)
	}
	if len(paths) != 4 {
		t.Errorf("the page got %v", paths)
	}
}

func TestWarnings(t *testing.T) {
	r := newRig(t, Config{}, nil)
	_ = r.do(t, "GET", "/health", "")
	_ = r.stop()
	for _, part := range []string{"no admin is configured", "no cluster secret is configured"} {
		if strings.Count(r.log.String(), part) != 1 {
			t.Errorf("want one line in the log with %q", part)
		}
	}
	r = newRig(t, Config{Access: Access{AdminToken: "x"}, ClusterSecret: "y"}, nil)
	_ = r.do(t, "GET", "/health", "")
	_ = r.stop()
	if strings.Contains(r.log.String(), "configured") {
		t.Errorf("warnings where there is nothing to warn of: %s", r.log)
	}
}

// A replica that has just started lets requests wait until it knows what its siblings know,
// instead of refusing what they would serve.
func TestRequestsWaitForTheFirstPicture(t *testing.T) {
	r := newServer(t, global, nil)
	r.fleet.set(false, "no snapshot yet")
	r.carrier.asleep.Store(true)
	r.run(t)
	answered := make(chan reply, 1)
	go func() { answered <- r.do(t, "POST", "/mcp/everything", ping) }()
	for i, step := range []func(){func() { r.fleet.set(true, "") }, func() { r.carrier.asleep.Store(false) }} {
		select {
		case p := <-answered:
			t.Fatalf("answered %d before step %d", p.status, i)
		case <-time.After(50 * time.Millisecond):
		}
		step()
	}
	if p := <-answered; p.status != 200 {
		t.Errorf("status %d, want 200", p.status)
	}
}

func TestRequestsDoNotWaitForever(t *testing.T) {
	cfg := global
	cfg.StartWait = 50 * time.Millisecond
	r := newServer(t, cfg, nil)
	r.carrier.asleep.Store(true)
	r.run(t)
	if p := r.do(t, "GET", "/ready", ""); p.status != 503 || !strings.Contains(p.body, "keys") {
		t.Errorf("/ready of a replica that cannot carry = %d %s, want 503", p.status, p.body)
	}
	if p := r.do(t, "GET", "/health", ""); p.status != 200 {
		t.Errorf("/health = %d, want 200", p.status)
	}
}

func TestGracefulStop(t *testing.T) {
	cfg := global
	cfg.LameDuck, cfg.DrainTime = 300*time.Millisecond, 10*time.Second
	r := newRig(t, cfg, nil)
	inside, release := make(chan struct{}), make(chan struct{})
	r.carrier.carry = carryWith(func(w http.ResponseWriter) error {
		inside <- struct{}{}
		<-release
		_, err := w.Write([]byte("done"))
		return err
	})
	inHand := make(chan reply, 1)
	go func() { inHand <- r.do(t, "POST", "/mcp/everything", ping) }()
	<-inside
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	// While it is a lame duck it says so, and serves.
	deadline := time.Now().Add(5 * time.Second)
	for {
		p := r.do(t, "GET", "/ready", "")
		if p.status == 503 {
			if !strings.Contains(p.body, "stopping") || !p.close {
				t.Errorf("/ready = %s, closing %v, want the reason and the end of the connection", p.body, p.close)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("readiness was not withdrawn")
		}
	}
	close(release)
	if p := <-inHand; p.status != 200 || p.body != "done" {
		t.Errorf("the request in hand = %d %q", p.status, p.body)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Run() = %v, want nil", err)
	}
	if _, err := http.Get(r.url + "/health"); err == nil {
		t.Error("still listening after Run returned")
	}
}

func TestStopCutsOffWhatTakesTooLong(t *testing.T) {
	cfg := global
	cfg.DrainTime = 100 * time.Millisecond
	r := newRig(t, cfg, nil)
	inside := make(chan struct{})
	r.carrier.carry = func(ctx context.Context, _ http.ResponseWriter, _ router.Request) error {
		close(inside)
		<-ctx.Done()
		return ctx.Err()
	}
	failed := make(chan error, 1)
	go func() {
		resp, err := http.Post(r.url+"/mcp/everything", "application/json", strings.NewReader(ping))
		if err == nil {
			resp.Body.Close()
		}
		failed <- err
	}()
	<-inside
	begun := time.Now()
	if err := r.stop(); err != nil {
		t.Errorf("Run() = %v, want nil", err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	if err := <-failed; err == nil {
		t.Error("the request that was cut off looks answered")
	}
}
