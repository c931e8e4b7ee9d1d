package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// slowStart is how long the servers of a process for each session take to start.
const slowStart = 700 * time.Millisecond

// scratch is a server of which each session has a process, and that is slow to start.
func scratch(t *testing.T, id string, most, warm int) harness.Server {
	t.Helper()
	return harness.Server{
		Command: harness.FixtureBinary(t), Args: []string{"-start-delay", slowStart.String()}, Env: map[string]string{"FIXTURE_NAME": id},
		Isolation: "session", MaxProcesses: most, Warm: warm,
	}
}

// plain is an ordinary server that tells a name.
func plain(t *testing.T, name string) harness.Server {
	t.Helper()
	return harness.Server{Command: harness.FixtureBinary(t), Env: map[string]string{"FIXTURE_NAME": name}}
}

// plainMarked is plain for a settings file that is rewritten.
func plainMarked(t *testing.T, name string) harness.Server {
	t.Helper()
	return harness.Marked(harness.Servers{name: plain(t, name)})[name]
}

// everythingSSE starts npm's server-everything over the older HTTP+SSE transport.
func everythingSSE(t *testing.T) harness.Server {
	t.Helper()
	port := harness.FreePort(t)
	p := harness.Start(t, "everything over SSE", []string{"PORT=" + strconv.Itoa(port)},
		harness.Node(t), harness.Script(t, "@modelcontextprotocol/server-everything", "mcp-server-everything"), "sse")
	harness.Eventually(t, 20*time.Second, p.Name+" listens", func() error {
		c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			_ = c.Close()
		}
		return err
	})
	return harness.Server{Type: "sse", URL: harness.Loopback(port) + "/sse"}
}

// kindsOfNodes is a fleet of nodes with every kind of server.
type kindsOfNodes struct{ *harness.Cluster }

// Every kind of server, of node and of change, on one fleet.
func TestKindsOfServersAndNodes(t *testing.T) {
	long(t)
	brief := scratch(t, "node-1", 4, 0)
	brief.Args, brief.IdleTimeoutMS = nil, 1000
	one := harness.NodeOptions{ID: "node-1", Servers: harness.Servers{
		"scratch": scratch(t, "node-1", 3, 2), "brief": brief, "old": everythingSSE(t), "plain": plain(t, "plain"), "going": plain(t, "going"),
	}}
	browser := hasBrowser(t)
	if browser {
		one.Servers["browser"] = harness.Server{
			Command: harness.Node(t), Isolation: "session", MaxProcesses: 2, StartTimeout: 60_000,
			Args: []string{
				harness.Script(t, "@playwright/mcp", "playwright-mcp"), "--headless", "--isolated", "--no-sandbox", "--executable-path", chromium,
			},
		}
	}
	two := harness.NodeOptions{ID: "node-2", Servers: harness.Servers{"scratch": scratch(t, "node-2", 2, 0)}}
	f := &kindsOfNodes{harness.StartCluster(t, harness.Options{Secret: "a-secret-of-the-tests", Nodes: []harness.NodeOptions{one, two}})}

	t.Run("SSE", f.overSSE)
	t.Run("a process for each session", f.processes)
	t.Run("a rush", f.rush)
	t.Run("idle", f.idleProcessEnds)
	t.Run("browsers", func(t *testing.T) {
		if !browser {
			harness.Skip(t, "REQUIRE_BROWSER", "there is no "+chromium+" (apt-get install chromium)")
		}
		f.browsers(t)
	})
	t.Run("crash", f.crashedComesBack)
	t.Run("a hundred servers", f.hundredServers)
	t.Run("reload", f.reload)
	t.Run("join", f.join)
	t.Run("coordinator with servers", f.coordinatorWithServers)
	t.Run("versions", f.versions)
	t.Run("isolated sessions of a killed node", f.killed) // node-1
}

// overSSE wants a server over HTTP+SSE to serve two sessions, tools and progress included.
func (f *kindsOfNodes) overSSE(t *testing.T) {
	for range 2 {
		s := harness.MustOpen(t, f.Front.URL+"/mcp/old")
		if got, err := s.Call(t.Context(), "echo", map[string]any{"message": "grüße"}); err != nil || got != "Echo: grüße" {
			t.Errorf("echo = %q, %v", got, err)
		}
		r, err := s.Post(t.Context(), []byte(`{"jsonrpc":"2.0","id":"p","method":"tools/call","params":{"name":"trigger-long-running-operation","arguments":{"duration":0.3,"steps":3},"_meta":{"progressToken":"mine"}}}`))
		if err != nil || len(r.Frames) != 4 || !bytes.Contains(r.Frames[0], []byte(`"progressToken":"mine"`)) {
			t.Errorf("a call with progress = %+v, %v, want three reports and a result", r, err)
		}
	}
	wide := harness.MustOpen(t, f.Front.URL+"/mcp")
	if got, err := wide.Call(t.Context(), "old-get-sum", map[string]any{"a": 1, "b": 2}); err != nil || !strings.Contains(got, "3") {
		t.Errorf("old-get-sum = %q, %v", got, err)
	}
}

// pidOf asks a fixture for its node and process.
func pidOf(t *testing.T, s *harness.Session, tool string) (node string, pid int) {
	t.Helper()
	text, err := s.Call(t.Context(), tool, nil)
	if err != nil {
		t.Fatal(err)
	}
	var who struct {
		Name string
		PID  int
	}
	if err := json.Unmarshal([]byte(text), &who); err != nil {
		t.Fatal(err)
	}
	return who.Name, who.PID
}

// replica is a node's server as REST tells it.
func (f *kindsOfNodes) replica(node, server string) (r struct{ Processes, Spares, Sessions int }, err error) {
	var n struct {
		ServerDetails []struct {
			ID                          string
			Processes, Spares, Sessions int
		}
	}
	if err = f.Coordinators[0].API("/nodes/"+node, &n); err != nil {
		return r, err
	}
	for _, s := range n.ServerDetails {
		if s.ID == server {
			r.Processes, r.Spares, r.Sessions = s.Processes, s.Spares, s.Sessions
			return r, nil
		}
	}
	return r, fmt.Errorf("%s has no %s: %+v", node, server, n)
}

// processes wants each session to have a process of its own, spares to save the start, and
// the limits of both nodes together to hold: three sessions on one, two on the other, and 503
// for the sixth, until one ends.
func (f *kindsOfNodes) processes(t *testing.T) {
	f.settled(t)
	var sessions []*harness.Session
	count, pids := map[string]int{}, map[int]bool{}
	for i := range 5 {
		began := time.Now()
		s := harness.MustOpen(t, f.Front.URL+"/mcp/scratch")
		took := time.Since(began)
		node, pid := pidOf(t, s, toolWhoami)
		t.Logf("session %d on %s after %v", i+1, node, took.Round(time.Millisecond))
		if node == "node-1" && count[node] < 2 && took > slowStart {
			t.Errorf("session %d took %v on a node with a spare, a start takes %v", i+1, took, slowStart)
		}
		if node == "node-2" && took < slowStart {
			t.Errorf("session %d took %v on a node without spares, a start takes %v: the test proves nothing", i+1, took, slowStart)
		}
		sessions = append(sessions, s)
		count[node]++
		pids[pid] = true
	}
	if count["node-1"] != 3 || count["node-2"] != 2 || len(pids) != 5 {
		t.Errorf("five sessions are on %v in %d processes, want 3 and 2, each in its own", count, len(pids))
	}
	for i, s := range sessions { // what one does the others do not see
		for n := range i + 1 {
			if got, err := s.Call(t.Context(), "count", nil); err != nil || got != strconv.Itoa(n+1) {
				t.Errorf("count %d of session %d = %q, %v", n+1, i+1, got, err)
			}
		}
	}
	r, err := harness.NewSession(f.Front.URL+"/mcp/scratch").Post(t.Context(), []byte(initialize))
	if err != nil || r.Status != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" {
		t.Fatalf("a sixth session = %+v, %v, want 503 with Retry-After", r, err)
	}
	for _, part := range []string{"1002", "scratch", "maxProcesses"} {
		if !strings.Contains(string(r.Body), part) {
			t.Errorf("the answer to a sixth session does not say %s: %s", part, r.Body)
		}
	}
	if status, err := sessions[0].Delete(t.Context()); err != nil || status/100 != 2 {
		t.Errorf("DELETE = %d, %v", status, err)
	}
	harness.Eventually(t, 15*time.Second, "there is room for another session", func() error {
		s, err := harness.Open(t.Context(), f.Front.URL+"/mcp/scratch")
		if err == nil {
			sessions[0] = s
		}
		return err
	})
	for _, s := range sessions {
		_, pid := pidOf(t, s, toolWhoami)
		if _, err := s.Delete(t.Context()); err != nil {
			t.Error(err)
		}
		checkGone(t, "an ended session", []int{pid})
	}
}

// rush opens three times as many sessions at once as there is room for: as many as fit get a
// process, nobody waits in vain, and when they have gone nothing is left but the spares.
func (f *kindsOfNodes) rush(t *testing.T) {
	const room, crowd = 5, 15
	f.settled(t)
	sessions := make([]*harness.Session, crowd)
	var g errgroup.Group
	for i := range crowd {
		g.Go(func() error {
			s := harness.NewSession(f.Front.URL + "/mcp/scratch")
			r, err := s.Post(t.Context(), []byte(initialize))
			switch {
			case err != nil:
				return err
			case r.Status == http.StatusOK:
				s.ID, s.Version = r.Header.Get("Mcp-Session-Id"), "2025-11-25"
				sessions[i] = s
			case r.Status != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" || !strings.Contains(string(r.Body), "maxProcesses"):
				return fmt.Errorf("status %d: %s", r.Status, r.Body)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	pids := map[int]bool{}
	for _, s := range sessions {
		if s != nil {
			_, pid := pidOf(t, s, toolWhoami)
			pids[pid] = true
		}
	}
	open := len(slices.DeleteFunc(sessions, func(s *harness.Session) bool { return s == nil }))
	if open != room || len(pids) != room {
		t.Errorf("%d of %d sessions were opened, in %d processes, want %d", open, crowd, len(pids), room)
	}
	for _, s := range sessions {
		if s != nil {
			if status, err := s.Delete(t.Context()); err != nil || status/100 != 2 {
				t.Errorf("DELETE = %d, %v", status, err)
			}
		}
	}
	f.settled(t)
}

// settled waits until scratch has its spares and no other process.
func (f *kindsOfNodes) settled(t *testing.T) {
	t.Helper()
	harness.Eventually(t, harness.ReadyLimit, "the spares are there, and nothing else", func() error {
		for node, want := range map[string]int{"node-1": 2, "node-2": 0} {
			r, err := f.replica(node, "scratch")
			if err != nil {
				return err
			}
			if r.Spares != want || r.Processes != want || r.Sessions != 0 {
				return fmt.Errorf("%s: %+v", node, r)
			}
		}
		return nil
	})
}

// idleProcessEnds wants the process of an idle session to end, and the session to go on in a
// new one.
func (f *kindsOfNodes) idleProcessEnds(t *testing.T) {
	s := harness.MustOpen(t, f.Front.URL+"/mcp/brief")
	_, pid := pidOf(t, s, toolWhoami)
	checkGone(t, "an idle session", []int{pid})
	if _, again := pidOf(t, s, toolWhoami); again == pid {
		t.Errorf("process %d answers although it is gone", pid)
	}
}

// crashedComesBack wants a server that ends by itself to be started again, and its session to go on.
func (f *kindsOfNodes) crashedComesBack(t *testing.T) {
	s := harness.MustOpen(t, f.Front.URL+"/mcp/plain")
	_, pid := pidOf(t, s, toolWhoami)
	_, err := s.Call(t.Context(), "crash", nil)
	var rpc *harness.RPCError
	if !errors.As(err, &rpc) || rpc.Code != 1001 {
		t.Errorf("the call that ended the server = %v, want error 1001", err)
	}
	harness.Eventually(t, 20*time.Second, "the server is back", func() error {
		_, err := s.Call(t.Context(), toolWhoami, nil)
		return err
	})
	if _, again := pidOf(t, s, toolWhoami); again == pid {
		t.Errorf("process %d answers although it has ended", pid)
	}
}

// hundredServers starts a node with a hundred servers, of which two cannot start and one is
// not to: the log tells how it goes, and the API what is wrong.
func (f *kindsOfNodes) hundredServers(t *testing.T) {
	off := false
	o := harness.NodeOptions{ID: "node-many", Servers: harness.Servers{}}
	for i := range 98 {
		o.Servers[fmt.Sprintf("s-%02d", i+1)] = plain(t, "many")
	}
	h := f.StartNode(harness.NodeOptions{ID: o.ID, Servers: with(o.Servers, harness.Servers{
		"bad-exit": {Command: harness.FixtureBinary(t), Args: []string{"-fail-start"}},
		"bad-path": {Command: "/nowhere/to/be/found"},
		"off":      {Command: harness.FixtureBinary(t), Enabled: &off},
	})})
	f.WaitActive(o)
	h.Log.WaitFor(t, 20*time.Second, "starting servers", "servers=100", "disabled=1")
	h.Log.WaitFor(t, 20*time.Second, "servers have been started", "ready=98", "bad-exit", "bad-path")
	for server, why := range map[string]string{"bad-exit": "told not to start", "bad-path": "/nowhere/to/be/found"} {
		checkShape(t, f.Coordinators[0], "/servers/"+server+"/replicas", "error", `"status":"failed"`, why)
	}
	tools, err := harness.MustOpen(t, f.Front.URL+"/mcp").Tools(t.Context())
	if err != nil || !slices.Contains(tools, "s-98-whoami") {
		t.Errorf("Tools = %s, %v, want s-98's among them", brief(tools), err)
	}
	for _, tool := range tools {
		if strings.HasPrefix(tool, "off-") || strings.HasPrefix(tool, "bad-") {
			t.Errorf("Tools shows %s, of a server that does not run", tool)
		}
	}
	children := harness.Descendants(h.Pid())
	if len(children) != 98 {
		t.Errorf("the node has %d processes, want 98", len(children))
	}
	if err := h.Stop(); err != nil {
		t.Error(err)
	}
	checkGone(t, o.ID, children)
	f.WaitNodeStatus(o.ID, "", 15*time.Second)
}

// with is two sets of servers together.
func with(a, b harness.Servers) harness.Servers {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// chromium is Debian's.
const chromium = "/usr/bin/chromium"

func hasBrowser(t *testing.T) bool {
	t.Helper()
	_, err := os.Stat(chromium)
	return err == nil
}

// browsers wants two sessions with a real browser to see each its own page.
func (f *kindsOfNodes) browsers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	site := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		if cookie, err := r.Cookie("was"); err == nil {
			fmt.Fprintf(w, "<title>back from %s</title>", cookie.Value)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "was", Value: r.URL.Path[1:]})
		fmt.Fprintf(w, "<title>the page %s</title>", r.URL.Path[1:])
	})}
	go func() { _ = site.Serve(l) }()
	defer site.Close()

	visit := func(s *harness.Session, page, want string) {
		t.Helper()
		got, err := s.Call(t.Context(), "browser_navigate", map[string]any{"url": "http://" + l.Addr().String() + "/" + page})
		if err != nil || !strings.Contains(got, want) {
			t.Errorf("browser_navigate %s = %.300q, %v, want %q", page, got, err, want)
		}
	}
	a, b := harness.MustOpen(t, f.Front.URL+"/mcp/browser"), harness.MustOpen(t, f.Front.URL+"/mcp/browser")
	visit(a, "one", "the page one")
	visit(b, "two", "the page two")
	visit(a, "three", "back from one") // over another coordinator, in the same browser
	visit(b, "four", "back from two")
	for _, s := range []*harness.Session{a, b} {
		if status, err := s.Delete(t.Context()); err != nil || status/100 != 2 {
			t.Errorf("DELETE = %d, %v", status, err)
		}
	}
}

// reload rewrites the settings file of a running node.
func (f *kindsOfNodes) reload(t *testing.T) {
	h := f.Nodes["node-1"]
	kept := harness.MustOpen(t, f.Front.URL+"/mcp/scratch")
	_, keptPID := pidOf(t, kept, toolWhoami)
	changed, going := harness.MustOpen(t, f.Front.URL+"/mcp/plain"), harness.MustOpen(t, f.Front.URL+"/mcp/going")
	_, changedPID := pidOf(t, changed, toolWhoami)
	_, goingPID := pidOf(t, going, toolWhoami)
	wide := harness.MustOpen(t, f.Front.URL+"/mcp")
	// A call that is running ends well, whatever becomes of its server, and others go on.
	var running sync.WaitGroup
	for _, s := range []*harness.Session{changed, going} {
		slow := harness.NewSession(s.URL)
		slow.ID, slow.Version = s.ID, s.Version
		running.Go(func() {
			r, err := slow.Post(t.Context(), []byte(`{"jsonrpc":"2.0","id":"slow","method":"tools/call","params":{"name":"sleep","arguments":{"ms":1500}}}`))
			if err != nil || !bytes.Contains(r.Last(), []byte("slept 1500 ms")) {
				t.Errorf("a call that ran on %s as the settings changed = %+v, %v", s.URL, r, err)
			}
		})
	}
	others := startLoad(t, []*harness.Session{kept})
	others.more(t, 5)
	began := time.Now()
	h.Rewrite(t, func(settings harness.Object) {
		servers := settings["mcpServers"].(map[string]any)
		delete(servers, "going")
		servers["plain"].(map[string]any)["env"].(map[string]any)["FIXTURE_NAME"] = "changed"
		servers["added"] = plainMarked(t, "added")
	})
	harness.Eventually(t, 20*time.Second, "the new server is everywhere, and the one taken out nowhere", func() error {
		for _, co := range f.Coordinators {
			tools, err := through(wide, co, "/mcp").Tools(t.Context())
			if err != nil {
				return err
			}
			if !slices.Contains(tools, "added-whoami") || slices.Contains(tools, "going-whoami") || !slices.Contains(tools, "plain-whoami") {
				return fmt.Errorf("%s shows %s", co.Name, brief(tools))
			}
		}
		return nil
	})
	t.Logf("new settings of a node were known everywhere after %v", time.Since(began).Round(time.Millisecond))
	if got, err := wide.Call(t.Context(), "added-whoami", nil); err != nil || nodeOf(got) != "added" {
		t.Errorf("the new server = %q, %v", got, err)
	}
	harness.Eventually(t, 10*time.Second, "the changed server runs as it is set now", func() error {
		got, err := changed.Call(t.Context(), toolWhoami, nil)
		if err == nil && nodeOf(got) != "changed" {
			err = fmt.Errorf("it answers %s", got)
		}
		return err
	})
	running.Wait()
	checkGone(t, "changed and removed servers", []int{changedPID, goingPID})
	others.more(t, 20)
	if calls, errs := others.end(); len(errs) > 0 {
		t.Errorf("%d of %d calls of an untouched server failed meanwhile: %v", len(errs), calls, errs[0])
	}
	f.keeps(t, h, kept, keptPID)
	if _, err := going.Call(t.Context(), toolWhoami, nil); err == nil {
		t.Error("a session of the server that was taken out still has answers")
	}

	// A file with a mistake changes nothing; SIGHUP makes it look at once, and say what it found.
	h.Rewrite(t, func(settings harness.Object) {
		settings["mcpServers"].(map[string]any)["added"].(map[string]any)["enabeld"] = true
	})
	h.Log.WaitFor(t, 10*time.Second, "enabeld")
	if got, err := wide.Call(t.Context(), "added-whoami", nil); err != nil || nodeOf(got) != "added" {
		t.Errorf("after a file with a mistake: %q, %v", got, err)
	}
	h.Rewrite(t, func(settings harness.Object) { delete(settings["mcpServers"].(map[string]any), "added") })
	h.Signal(syscall.SIGHUP)
	harness.Eventually(t, 20*time.Second, "SIGHUP had the file read again", func() error {
		if _, err := wide.Call(t.Context(), "added-whoami", nil); err == nil {
			return errors.New("the server is still there")
		}
		return nil
	})
	h.Signal(syscall.SIGHUP)
	h.Log.WaitFor(t, 10*time.Second, "nothing has changed")
	f.keeps(t, h, kept, keptPID)
	if _, err := kept.Delete(t.Context()); err != nil {
		t.Error(err)
	}
}

// keeps wants a session of an untouched server to be in the process it was in, with what it had.
func (f *kindsOfNodes) keeps(t *testing.T, h *harness.Hub, s *harness.Session, pid int) {
	t.Helper()
	if _, now := pidOf(t, s, toolWhoami); now != pid || !h.Alive() {
		t.Errorf("a session of an untouched server is in process %d, it was in %d", now, pid)
	}
}

// join starts a node that waits, and lets it in.
func (f *kindsOfNodes) join(t *testing.T) {
	o := harness.NodeOptions{
		ID: "node-3", Servers: harness.Servers{"late": plain(t, "late")},
		Settings: harness.Object{"systemConfig": harness.Object{"cluster": harness.Object{"node": harness.Object{"registerOnStartup": false}}}},
	}
	h := f.StartNode(o)
	h.WaitHealthy(t)
	if _, body, err := harness.Get(t.Context(), h.URL+"/health"); err != nil || !strings.Contains(string(body), "waiting to join") {
		t.Errorf("/health of a node that waits = %s, %v", body, err)
	}
	r, err := harness.NewSession(f.Front.URL+"/mcp/late").Post(t.Context(), []byte(initialize))
	if err != nil || r.Status != http.StatusNotFound {
		t.Errorf("its server, before it has joined = %+v, %v, want 404", r, err)
	}
	for _, auth := range []string{"", "Bearer wrong"} {
		header := http.Header{"Content-Type": {"application/json"}}
		if auth != "" {
			header.Set("Authorization", auth)
		}
		if status, body, err := harness.Do(t.Context(), http.MethodPost, h.URL+"/api/node/join", header, strings.NewReader("{}")); err != nil || status != http.StatusUnauthorized {
			t.Errorf("join with Authorization %q = %d %s %v, want 401", auth, status, body, err)
		}
	}
	if nodes, err := f.Coordinators[0].ListNodes(); err != nil || len(nodes) != 2 {
		t.Errorf("nodes = %+v, %v, want the two that have joined", nodes, err)
	}
	// Somebody gives a group the name of a server that nobody knows yet.
	admin(t, http.MethodPost, f.Front.URL+"/api/groups", map[string]any{"name": "late", "servers": []any{"plain"}}, http.StatusCreated)
	out, code := runHub(t, "join", "--url", h.URL, "--config", h.Settings)
	if code != 0 || !strings.Contains(out, "joined") {
		t.Errorf("mcphub join: code %d:\n%s", code, out)
	}
	f.WaitActive(o)
	r, err = harness.NewSession(f.Front.URL+"/mcp/late").Post(t.Context(), []byte(initialize))
	if err != nil || r.Status != http.StatusConflict || !strings.Contains(string(r.Body), "late") {
		t.Errorf("an address that a group and a server share = %+v, %v, want 409 naming it", r, err)
	}
	admin(t, http.MethodDelete, f.Front.URL+"/api/groups/late", nil, http.StatusOK)
	harness.Eventually(t, groupLimit+groupSlack, "the name is the server's again", func() error {
		_, err := harness.Open(t.Context(), f.Front.URL+"/mcp/late")
		return err
	})
	if got, err := harness.MustOpen(t, f.Front.URL+"/mcp/late").Call(t.Context(), toolWhoami, nil); err != nil || nodeOf(got) != "late" {
		t.Errorf("its server = %q, %v", got, err)
	}
	if out, code := runHub(t, "join", "--url", h.URL, "--config", h.Settings); code != 0 || !strings.Contains(out, "joined") {
		t.Errorf("mcphub join once more: code %d:\n%s", code, out)
	}
}

// coordinatorWithServers starts a coordinator that runs a server itself, which the others then have too.
func (f *kindsOfNodes) coordinatorWithServers(t *testing.T) {
	_, hubs := f.StartFront("hybrid", 1, harness.Object{
		"mcpServers":   harness.Marked(harness.Servers{"own": plain(t, "own")}),
		"systemConfig": harness.Object{"cluster": harness.Object{"node": harness.Object{"id": "inside"}}},
	})
	f.WaitActive(harness.NodeOptions{ID: "inside", Servers: harness.Servers{"own": {}}})
	for _, co := range append(slices.Clone(f.Coordinators), hubs...) {
		s := harness.MustOpen(t, co.URL+"/mcp")
		for tool, want := range map[string]string{"own-whoami": "own", "late-whoami": "late"} {
			harness.Eventually(t, 10*time.Second, co.Name+" reaches "+tool, func() error {
				got, err := s.Call(t.Context(), tool, nil)
				if err == nil && nodeOf(got) != want {
					err = fmt.Errorf("it answers %s", got)
				}
				return err
			})
		}
	}
	children := harness.Descendants(hubs[0].Pid())
	if err := hubs[0].Stop(); err != nil {
		t.Error(err)
	}
	checkGone(t, hubs[0].Name, children)
	f.WaitNodeStatus("inside", "", 15*time.Second)
}

// versions starts a node of another release: both ends say so, and so does the status.
func (f *kindsOfNodes) versions(t *testing.T) {
	o := harness.NodeOptions{ID: "node-next", Servers: harness.Servers{"next": plain(t, "next")}, Binary: harness.OtherHubBinary(t)}
	h := f.StartNode(o)
	f.WaitActive(o)
	h.Log.WaitFor(t, 10*time.Second, "coordinator is of another version", harness.OtherVersion)
	harness.Eventually(t, 10*time.Second, "a coordinator says so", func() error {
		if n := countLines(f.Cluster, "node is of another version", harness.OtherVersion); n < 1 || n > len(f.Coordinators) {
			return fmt.Errorf("%d lines, want one of each coordinator that heard of it", n)
		}
		return nil
	})
	for _, co := range f.Coordinators {
		var status struct{ Warnings []string }
		if err := co.API("/status", &status); err != nil || !strings.Contains(strings.Join(status.Warnings, " "), harness.OtherVersion) {
			t.Errorf("%s: status warns %q, %v, want the version %s named", co.Name, status.Warnings, err, harness.OtherVersion)
		}
	}
	if out, code := runHub(t, "status", "--url", f.Front.URL); code != 0 || !strings.Contains(out, harness.OtherVersion) {
		t.Errorf("mcphub status: code %d:\n%s", code, out)
	}
	if got, err := harness.MustOpen(t, f.Front.URL+"/mcp/next").Call(t.Context(), toolWhoami, nil); err != nil || nodeOf(got) != "next" {
		t.Errorf("its server = %q, %v", got, err)
	}
}

// killed kills a node with isolated sessions: their processes go with it, and the sessions go
// on in new ones elsewhere while there is room.
func (f *kindsOfNodes) killed(t *testing.T) {
	f.settled(t)
	var moved, others []*harness.Session
	var pids []int
	for range 4 { // node-2 has room for two
		s := harness.MustOpen(t, f.Front.URL+"/mcp/scratch")
		if node, pid := pidOf(t, s, toolWhoami); node == "node-1" {
			moved, pids = append(moved, s), append(pids, pid)
		} else {
			others = append(others, s)
		}
	}
	for _, s := range others {
		if _, err := s.Delete(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if len(moved) == 0 {
		t.Fatal("no session is on node-1, so nothing would be tried")
	}
	f.Nodes["node-1"].Kill()
	checkGone(t, "node-1", pids)
	for i, s := range moved {
		text, err := s.Call(t.Context(), toolWhoami, nil)
		var status *harness.StatusError
		var rpc *harness.RPCError
		switch {
		case err == nil && nodeOf(text) != "node-2":
			t.Errorf("session %d was answered by %s", i, text)
		case err != nil && i < 2:
			t.Errorf("session %d found no room on node-2, which has two places: %v", i, err)
		case err != nil && !(errors.As(err, &rpc) && rpc.Code == 1002) && !errors.As(err, &status):
			t.Errorf("session %d: %v, want error 1002 where there is no room", i, err)
		}
	}
}
