package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	mcpgotransport "github.com/mark3labs/mcp-go/client/transport"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// burst is how many messages a client posts without waiting for answers.
const burst = 1000

// HTTP+SSE of 2024-11-05 from both sides: towards clients, whose stream is at one coordinator and
// whose messages reach them all, and towards a server of that kind.
func TestLegacySSE(t *testing.T) {
	long(t)
	f := startLegacyFleet(t)
	t.Run("SDKs", f.sdks)
	t.Run("a burst", f.burst)
	t.Run("questions", f.questions)
	t.Run("a server of that transport", f.upstream)
	t.Run("whole URLs", f.absolute)
	t.Run("keys", f.keys)
	t.Run("the owner dies", f.ownerDies) // for good
}

// legacyFleet is fixtures and server-everything on two nodes; "older" on node-1 is the latter over
// HTTP+SSE.
type legacyFleet struct{ *harness.Cluster }

func startLegacyFleet(t *testing.T) *legacyFleet {
	t.Helper()
	port := strconv.Itoa(harness.FreePort(t))
	script := harness.Script(t, "@modelcontextprotocol/server-everything", "mcp-server-everything")
	harness.Start(t, "everything over SSE", []string{"PORT=" + port}, harness.Node(t), script, "sse")
	waitListens(t, "127.0.0.1:"+port)
	var nodes []harness.NodeOptions
	for _, id := range []string{"node-1", "node-2"} {
		n := fixtureNode(t, id)
		own := n.Servers["local"]
		own.Isolation, own.MaxProcesses = "session", 20
		n.Servers["own"], n.Servers["everything"] = own, npmServers(t)["everything"]
		if id == "node-1" {
			n.Servers["older"] = harness.Server{Type: "sse", URL: "http://127.0.0.1:" + port + "/sse"}
		}
		nodes = append(nodes, n)
	}
	return &legacyFleet{harness.StartCluster(t, harness.Options{
		Secret: "a-secret-of-the-tests", Nodes: nodes,
		Coordinator: harness.Object{"groups": []any{harness.Object{"name": "desk", "servers": []any{"everything"}}}},
	})}
}

// sdks has clients of that transport do what server-everything offers; mcp-go's cannot be asked.
func (f *legacyFleet) sdks(t *testing.T) {
	for _, at := range []struct{ path, prefix string }{{"/sse/everything", ""}, {"/sse", "everything-"}, {"/sse/desk", "everything-"}} {
		t.Run("typescript "+at.path, func(t *testing.T) {
			e := &everythingClient{t: t, talker: talkTypeScript("sse")(t, f.Front.URL+at.path, "ann"), name: "ann", prefix: at.prefix}
			e.calls()
			e.progress()
			e.asked()
			e.updates()
			if err := e.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
		t.Run("mcp-go "+at.path, func(t *testing.T) {
			tr, err := mcpgotransport.NewSSE(f.Front.URL + at.path)
			if err != nil {
				t.Fatal(err)
			}
			e := &everythingClient{t: t, talker: startMCPGo(t, tr, "bob"), name: "bob", prefix: at.prefix}
			e.calls()
			e.progress()
			e.updates()
		})
	}
}

// sseSession is a raw client of HTTP+SSE.
type sseSession struct {
	st       *harness.Stream
	endpoint string
	header   http.Header
}

// openSSE opens a stream and reads the endpoint.
func openSSE(t *testing.T, url string, header http.Header) *sseSession {
	t.Helper()
	s := harness.NewSession(url)
	s.Header = header.Clone()
	st, err := s.Listen(t.Context(), "")
	if err != nil || st.Status != http.StatusOK {
		t.Fatalf("GET %s: %+v, %v", url, st, err)
	}
	t.Cleanup(st.Close)
	ev, err := st.Next()
	if err != nil || ev.Name != "endpoint" {
		t.Fatalf("GET %s: the first event is %+v, %v, want the endpoint", url, ev, err)
	}
	return &sseSession{st, string(ev.Data), header}
}

// post posts a frame by way of a replica and returns the status.
func (c *sseSession) post(ctx context.Context, base string, frame []byte) (int, error) {
	s := harness.NewSession(base + c.endpoint)
	s.Header = c.header.Clone()
	r, err := s.Post(ctx, frame)
	if err != nil {
		return 0, err
	}
	return r.Status, nil
}

// mustPost wants a frame to be accepted, and tries again when Redis is too slow for it.
func (c *sseSession) mustPost(t *testing.T, base string, frame []byte) {
	t.Helper()
	var status int
	var err error
	_ = harness.Poll(t.Context(), 10*time.Second, func() error {
		if status, err = c.post(t.Context(), base, frame); status == http.StatusServiceUnavailable {
			return fmt.Errorf("status %d", status)
		}
		return nil
	})
	if err != nil || status != http.StatusAccepted {
		t.Fatalf("POST %.100s = %d, %v, want 202", frame, status, err)
	}
}

// begin does the handshake, each message by way of another replica.
func (c *sseSession) begin(t *testing.T, bases ...string) {
	t.Helper()
	c.mustPost(t, bases[0], []byte(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":`+talkClient+`,"clientInfo":{"name":"e2e","version":"1"}}}`))
	ev, err := c.next()
	if err != nil || ev.Name != "message" || !strings.Contains(string(ev.Data), `"2024-11-05"`) {
		t.Fatalf("initialize was answered %+v, %v", ev, err)
	}
	c.mustPost(t, bases[len(bases)-1], []byte(`{"jsonrpc":"2.0","method":"notifications/initialized"}`))
}

// next is the next event with data.
func (c *sseSession) next() (harness.Event, error) {
	for {
		if ev, err := c.st.Next(); err != nil || len(ev.Data) > 0 {
			return ev, err
		}
	}
}

func (f *legacyFleet) urls() []string {
	var out []string
	for _, co := range f.Coordinators {
		out = append(out, co.URL)
	}
	return out
}

// burst posts many requests to all replicas in turns. The server gets them in their order, the
// client an answer to each; and of one call that says as much nothing is lost either.
func (f *legacyFleet) burst(t *testing.T) {
	bases := f.urls()
	c := openSSE(t, bases[0]+"/sse/local", nil)
	c.begin(t, bases...)
	answered := make(chan error, 1)
	go func() {
		seen := map[string]bool{}
		for len(seen) < burst {
			ev, err := c.next()
			if err != nil {
				answered <- err
				return
			}
			s, _, err := readSpoken(ev.Data)
			if err != nil || seen[string(s.ID)] || string(s.Result) != "{}" {
				answered <- fmt.Errorf("%w: after %d answers came %s", err, len(seen), ev.Data)
				return
			}
			seen[string(s.ID)] = true
		}
		answered <- nil
	}()
	for i := range burst {
		c.mustPost(t, bases[i%len(bases)], fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":"fixture/note","params":{"n":%d}}`, i+1, i+1))
	}
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	c.mustPost(t, bases[1], []byte(`{"jsonrpc":"2.0","id":"numbers","method":"tools/call","params":{"name":"numbers","arguments":{}}}`))
	ev, err := c.next()
	if err != nil {
		t.Fatal(err)
	}
	var a struct {
		Result struct{ Content []struct{ Text string } }
	}
	var numbers []int
	if err := json.Unmarshal(ev.Data, &a); err != nil || len(a.Result.Content) != 1 || json.Unmarshal([]byte(a.Result.Content[0].Text), &numbers) != nil {
		t.Fatalf("numbers = %.200s, %v", ev.Data, err)
	}
	for i := range burst {
		if i >= len(numbers) || numbers[i] != i+1 {
			t.Fatalf("the server got %d messages, number %d at %d", len(numbers), numbers[min(i, len(numbers)-1)], i+1)
		}
	}
	k := &talk{id: "1", key: "burst", tool: toolTalk, n: burst, asks: 0}
	c.mustPost(t, bases[2], k.frame())
	c.converse(t, k, bases)
}

// converse reads the stream until k is answered, and answers questions at all replicas in turns.
func (c *sseSession) converse(t *testing.T, k *talk, bases []string) {
	t.Helper()
	for answered := 0; k.outcomes == 0; {
		ev, err := c.next()
		if err == nil {
			err = k.take(ev)
		}
		if err != nil {
			t.Errorf("%s: %v", k.key, err)
			return
		}
		for ; answered < len(k.asked); answered++ {
			c.mustPost(t, bases[answered%len(bases)], fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"result":{"action":"accept","content":{"said":"answer %d"}}}`, k.asked[answered], answered))
		}
	}
	if err := k.whole(); err != nil {
		t.Error(err)
	}
	for i := range k.asks {
		if !strings.Contains(string(k.answer), fmt.Sprintf(`answer %d`, i)) {
			t.Errorf("%s: answered %s, want answer %d in it", k.key, k.answer, i)
		}
	}
}

// questions has servers ask clients of that transport.
func (f *legacyFleet) questions(t *testing.T) {
	for _, at := range []struct{ path, prefix string }{
		{"/sse/fixture", ""}, {"/sse/local", ""}, {"/sse/own", ""}, {"/sse", "fixture-"}, {"/sse", "own-"},
	} {
		c := openSSE(t, f.Front.URL+at.path, nil)
		c.begin(t, f.urls()...)
		k := &talk{id: `"q"`, key: "asks at " + at.path, tool: at.prefix + toolTalk, n: 3, asks: 3}
		c.mustPost(t, f.Front.URL, k.frame())
		c.converse(t, k, f.urls())
	}
}

// upstream reaches a server of that transport as every other.
func (f *legacyFleet) upstream(t *testing.T) {
	for _, kind := range []string{"go-sdk", "typescript-v2"} {
		for _, at := range []struct{ path, prefix string }{{"/mcp/older", ""}, {"/mcp", "older-"}} {
			t.Run(kind+" "+at.path, func(t *testing.T) {
				e := &everythingClient{t: t, talker: talkers[kind](t, f.Front.URL+at.path, kind), name: kind, prefix: at.prefix}
				e.calls()
				e.progress()
				e.asked()
				if err := e.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
		}
	}
	t.Run("and a client of it", func(t *testing.T) {
		e := &everythingClient{t: t, talker: talkTypeScript("sse")(t, f.Front.URL+"/sse/older", "eve"), name: "eve"}
		e.calls()
		e.asked()
	})
}

// absolute has clients told a whole URL.
func (f *legacyFleet) absolute(t *testing.T) {
	front, _ := f.StartFront("absolute", 2, harness.Object{"systemConfig": harness.Object{"routing": harness.Object{"sseEndpoint": "absolute"}}})
	c := openSSE(t, front.URL+"/sse/local", nil)
	if !strings.HasPrefix(c.endpoint, front.URL+"/messages?sessionId=") {
		t.Errorf("the endpoint is %s, want it below %s", c.endpoint, front.URL)
	}
	c.begin(t, "") // the endpoint has it all
	e := &everythingClient{t: t, talker: talkTypeScript("sse")(t, front.URL+"/sse/everything", "ann"), name: "ann"}
	e.calls()
	e.asked()
}

// keys are asked for on both halves, and only the one that has opened a stream may post to it.
func (f *legacyFleet) keys(t *testing.T) {
	front, _ := f.StartFront("keyed", 2, harness.Object{
		"bearerKeys": []any{
			harness.Object{"name": "everybody", "token": keyAll, "accessType": "all"},
			harness.Object{"name": "narrow", "token": keyServer, "accessType": "servers", "allowedServers": []string{"local"}},
		},
		"systemConfig": harness.Object{"routing": harness.Object{"enableBearerAuth": true}},
	})
	header := func(key string) http.Header {
		if key == "" {
			return http.Header{}
		}
		return http.Header{"Authorization": {"Bearer " + key}}
	}
	for _, at := range []struct {
		path, key string
		want      int
	}{{"/sse/local", "", 401}, {"/sse/local", "nobody's", 401}, {"/sse/fixture", keyServer, 404}, {"/sse/local", keyServer, 200}, {"/sse", keyAll, 200}} {
		s := harness.NewSession(front.URL + at.path)
		s.Header = header(at.key)
		st, err := s.Listen(t.Context(), "")
		if err != nil || st.Status != at.want {
			t.Errorf("GET %s with key %q: %+v, %v, want %d", at.path, at.key, st, err, at.want)
		}
		if err == nil {
			st.Close()
		}
	}
	c := openSSE(t, front.URL+"/sse/local", header(keyServer))
	c.begin(t, front.URL)
	for key, want := range map[string]int{"": 401, "nobody's": 401, keyAll: 404, keyServer: 202} {
		thief := &sseSession{endpoint: c.endpoint, header: header(key)}
		for range 2 { // both replicas
			if status, err := thief.post(t.Context(), front.URL, []byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)); err != nil || status != want {
				t.Errorf("POST with key %q = %d, %v, want %d", key, status, err, want)
			}
		}
	}
}

// ownerDies kills the coordinator with the stream: that ends at once, and the client comes back.
func (f *legacyFleet) ownerDies(t *testing.T) {
	owner, others := f.Coordinators[0], f.urls()[1:]
	c := openSSE(t, owner.URL+"/sse/local", nil)
	c.begin(t, others...)
	k := &talk{id: "1", key: "owner dies", tool: toolTalk, n: 10_000, ms: 20}
	c.mustPost(t, others[0], k.frame())
	if ev, err := c.next(); err != nil || k.take(ev) != nil {
		t.Fatalf("the call's first message: %+v, %v", ev, err)
	}
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := c.next(); err != nil {
				ended <- err
				return
			}
		}
	}()
	owner.Signal(syscall.SIGKILL)
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the stream goes on after its coordinator was killed")
	}
	again := openSSE(t, others[0]+"/sse/local", nil)
	again.begin(t, others...)
	k = &talk{id: "1", key: "owner died", tool: toolTalk, n: 3}
	again.mustPost(t, others[1], k.frame())
	again.converse(t, k, others)
}
