package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	mcpgotypes "github.com/mark3labs/mcp-go/mcp"
	gosdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// The fixture is reached in two ways by every test here: over HTTP, and as the node's child.
var fixtureServers = []string{"fixture", "local"}

// Progress comes on the call's own stream, event by event and while the call is running, with
// the client's token byte for byte and the answer last.
func TestProgressComesAsItHappens(t *testing.T) {
	long(t)
	c := fleet(t, 2, harness.Options{})
	for _, server := range fixtureServers {
		for _, scope := range []struct{ path, tool string }{{"/mcp/" + server, toolSleep}, {"/mcp", server + "-" + toolSleep}} {
			for _, token := range []string{`"tok-1"`, `7`, `9007199254740993`, `"ü\u00fc"`} {
				t.Run(server+scope.path+token, func(t *testing.T) {
					s := harness.MustOpen(t, c.Front.URL+scope.path)
					st, err := s.Stream(t.Context(), http.MethodPost, fmt.Appendf(nil,
						`{"jsonrpc":"2.0","id":"c1","method":"tools/call","params":{"name":%q,"arguments":{"ms":600},"_meta":{"progressToken":%s}}}`, scope.tool, token))
					if err != nil {
						t.Fatal(err)
					}
					defer st.Close()
					checkProgress(t, st, token)
				})
			}
		}
	}
}

func checkProgress(t *testing.T, st *harness.Stream, token string) {
	t.Helper()
	var events []harness.Event
	for {
		ev, err := st.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(ev.Data) > 0 {
			events = append(events, ev)
		}
	}
	if len(events) < 3 {
		t.Fatalf("%d events, want progress and an answer", len(events))
	}
	last := events[len(events)-1]
	if !bytes.Contains(last.Data, []byte(`"id":"c1"`)) || !bytes.Contains(last.Data, []byte(`"result"`)) {
		t.Errorf("the last event is %s, want the answer to c1", last.Data)
	}
	for _, ev := range events[:len(events)-1] {
		if !bytes.Contains(ev.Data, []byte("notifications/progress")) || !bytes.Contains(ev.Data, []byte(`"progressToken":`+token)) {
			t.Errorf("event %s, want progress under token %s", ev.Data, token)
		}
	}
	// The call takes 600 ms: had its events been held back, they would all have come at its end.
	if d := last.At.Sub(events[0].At); d < 200*time.Millisecond {
		t.Errorf("the first event came %v before the answer, want it while the call was running", d)
	}
}

// Two calls of one session at once each get their own progress, also where their tokens look
// alike in another session.
func TestProgressGoesToItsOwnCall(t *testing.T) {
	long(t)
	c := fleet(t, 1, harness.Options{})
	type outcome struct {
		token string
		reply *harness.Reply
		err   error
	}
	results := make(chan outcome)
	for _, server := range fixtureServers {
		a, b := harness.MustOpen(t, c.Front.URL+"/mcp/"+server), harness.MustOpen(t, c.Front.URL+"/mcp/"+server)
		n := 0
		for _, s := range []*harness.Session{a, b} {
			for _, token := range []string{"1", "2", `"1"`} {
				n++
				go func() {
					// The same id in both sessions, too.
					r, err := s.Post(t.Context(), fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":"sleep","arguments":{"ms":300},"_meta":{"progressToken":%s}}}`, token, token))
					results <- outcome{token, r, err}
				}()
			}
		}
		for range n {
			o := <-results
			if o.err != nil || len(o.reply.Frames) != 4 {
				t.Errorf("%s: call %s: %v, %d frames, want 3 of progress and the answer", server, o.token, o.err, len(o.reply.Frames))
				continue
			}
			for _, f := range o.reply.Frames[:3] {
				if !bytes.Contains(f, []byte(`"progressToken":`+o.token+`,`)) {
					t.Errorf("%s: call %s was sent %s", server, o.token, f)
				}
			}
			if !bytes.Contains(o.reply.Last(), []byte(`"id":`+o.token+`,`)) {
				t.Errorf("%s: call %s was answered %s", server, o.token, o.reply.Last())
			}
		}
	}
}

func TestLogMessagesComeOnTheCallsOwnStream(t *testing.T) {
	long(t)
	c := fleet(t, 1, harness.Options{}) // so that both sessions share a connection to the server
	for _, server := range fixtureServers {
		s, quiet := harness.MustOpen(t, c.Front.URL+"/mcp/"+server), harness.MustOpen(t, c.Front.URL+"/mcp/"+server)
		if _, err := quiet.Request(t.Context(), "logging/setLevel", map[string]any{"level": "error"}); err != nil {
			t.Errorf("%s: setLevel: %v", server, err)
		}
		r, err := s.Post(t.Context(), []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"log","arguments":{"level":"warning","n":3}}}`))
		if err != nil || len(r.Frames) != 4 || !r.IsSSE() {
			t.Fatalf("%s: %v, %+v, want 3 log messages and the answer", server, err, r)
		}
		for i, f := range r.Frames[:3] {
			if want := fmt.Sprintf(`"data":{"i":%d}`, i+1); !bytes.Contains(f, []byte(want)) || !bytes.Contains(f, []byte("notifications/message")) {
				t.Errorf("%s: message %d is %s, want %s in it", server, i, f, want)
			}
		}
	}
}

// The SDKs see progress too.
func TestProgressThroughTheSDKs(t *testing.T) {
	long(t)
	c := fleet(t, 2, harness.Options{})
	url := c.Front.URL + "/mcp/local"
	t.Run("go-sdk", func(t *testing.T) {
		got := make(chan float64, 100)
		cl := gosdk.NewClient(&gosdk.Implementation{Name: "e2e", Version: "1"}, &gosdk.ClientOptions{
			ProgressNotificationHandler: func(_ context.Context, r *gosdk.ProgressNotificationClientRequest) { got <- r.Params.Progress },
		})
		s, err := cl.Connect(t.Context(), &gosdk.StreamableClientTransport{Endpoint: url}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		params := &gosdk.CallToolParams{Name: toolSleep, Arguments: map[string]any{"ms": 300}}
		params.SetProgressToken("p")
		if _, err := s.CallTool(t.Context(), params); err != nil {
			t.Fatal(err)
		}
		// The SDK hands them over beside the result, which may be there first.
		harness.Eventually(t, 5*time.Second, "three progress notifications", func() error {
			if len(got) != 3 {
				return fmt.Errorf("%d", len(got))
			}
			return nil
		})
	})
	t.Run("mcp-go", func(t *testing.T) {
		cl := connectMCPGo(t, url).(mcpGoClient)
		got := make(chan string, 100)
		cl.OnNotification(func(n mcpgotypes.JSONRPCNotification) { got <- n.Method })
		var req mcpgotypes.CallToolRequest
		req.Params.Name, req.Params.Arguments = toolSleep, map[string]any{"ms": 300}
		req.Params.Meta = &mcpgotypes.Meta{ProgressToken: "p"}
		if _, err := cl.CallTool(t.Context(), req); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, 5*time.Second, "three notifications", func() error {
			if len(got) != 3 {
				return fmt.Errorf("%d", len(got))
			}
			return nil
		})
	})
	t.Run("typescript", func(t *testing.T) {
		cl := connectTypeScript(t, url).(*typeScriptClient)
		a, err := cl.do(t.Context(), map[string]any{"op": "call", "name": toolSleep, "arguments": map[string]any{"ms": 300}})
		if err != nil || len(a.Progress) != 3 {
			t.Errorf("progress %v, %v, want 3 notifications", a.Progress, err)
		}
	})
}

// A cancellation that reaches another coordinator than the call does reaches the call's node,
// under the id by which the server knows the call.
func TestCancellationThroughAnotherCoordinator(t *testing.T) {
	long(t)
	c := fleet(t, 3, harness.Options{})
	for _, server := range fixtureServers {
		for _, scope := range []struct{ path, prefix string }{{"/mcp/" + server, ""}, {"/mcp", server + "-"}} {
			for n, id := range []string{`7`, `"seven"`, `9007199254740993`} {
				t.Run(server+scope.path+id, func(t *testing.T) {
					first := harness.MustOpen(t, c.Coordinators[0].URL+scope.path)
					second := harness.NewSession(c.Coordinators[1+n%2].URL + scope.path)
					second.ID, second.Version = first.ID, first.Version
					checkCancel(t, first, second, scope.prefix, id)
				})
			}
		}
	}
}

func checkCancel(t *testing.T, first, second *harness.Session, prefix, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	type outcome struct {
		reply *harness.Reply
		err   error
	}
	done := make(chan outcome, 1)
	key := strings.ReplaceAll(t.Name(), `"`, "")
	go func() {
		r, err := first.Post(ctx, fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":"%s%s","arguments":{"key":%q,"ms":120000}}}`, id, prefix, toolBlock, key))
		done <- outcome{r, err}
	}()
	waitRunning(t, key)
	before := cancellations(t, second, prefix)
	r, err := second.Post(ctx, fmt.Appendf(nil, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%s,"reason":"changed my mind"}}`, id))
	if err != nil || r.Status != http.StatusAccepted {
		t.Fatalf("cancelled: %+v, %v, want 202", r, err)
	}
	harness.Eventually(t, 10*time.Second, "the server has heard of the cancellation", func() error {
		if n := cancellations(t, second, prefix); n != before+1 {
			return fmt.Errorf("%d cancellations, want %d", n, before+1)
		}
		return nil
	})
	// The call's own request ends: there is nothing to wait for any more. That it carries no
	// result is what counts; the specification leaves open what it carries.
	select {
	case o := <-done:
		if o.err == nil && bytes.Contains(o.reply.Last(), []byte(`"result"`)) {
			t.Errorf("the cancelled call was answered %s", o.reply.Last())
		}
	case <-ctx.Done():
		t.Errorf("the cancelled call's request does not end")
	}
}

// cancellations is how many the session's fixture has heard of.
func cancellations(t *testing.T, s *harness.Session, prefix string) int {
	t.Helper()
	text, err := s.Call(t.Context(), prefix+toolCancellations, nil)
	if err != nil {
		t.Fatal(err)
	}
	var ids []json.RawMessage
	if err := json.Unmarshal([]byte(text), &ids); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return len(ids)
}

// A client that goes away has not cancelled (2025-11-25, Transports): the call runs to its end.
func TestDisconnectIsNotCancel(t *testing.T) {
	long(t)
	c := fleet(t, 1, harness.Options{})
	for _, server := range fixtureServers {
		s := harness.MustOpen(t, c.Front.URL+"/mcp/"+server)
		before := cancellations(t, s, "")
		key := "left-" + server
		ctx, leave := context.WithCancel(t.Context())
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			_, _ = s.Post(ctx, fmt.Appendf(nil, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ledger","arguments":{"key":%q,"ms":700}}}`, key))
		}()
		waitRunning(t, key)
		leave()
		<-gone
		// A call that takes as long as the other one had left: had that been cancelled, the
		// fixture would have heard of it by now.
		if _, err := s.Call(t.Context(), toolSleep, map[string]any{"ms": 800}); err != nil {
			t.Errorf("%s: %v", server, err)
		}
		if n := cancellations(t, s, "") - before; n != 0 {
			t.Errorf("%s: the server was sent %d cancellations, want none", server, n)
		}
	}
}

// DELETE ends a session for all coordinators; whoever uses it afterwards is told 404.
func TestDeleteEndsTheSessionEverywhere(t *testing.T) {
	long(t)
	c := fleet(t, 2, harness.Options{})
	for _, path := range []string{"/mcp/fixture", "/mcp/local", "/mcp"} {
		s := harness.MustOpen(t, c.Front.URL+path)
		for range 6 { // known to every coordinator
			if _, err := s.Request(t.Context(), "ping", map[string]any{}); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
		}
		status, err := s.Delete(t.Context())
		if err != nil || status/100 != 2 {
			t.Errorf("%s: DELETE = %d, %v, want 2xx", path, status, err)
		}
		checkEnded(t, s, 6)
		for range 3 {
			if status, err := s.Delete(t.Context()); err != nil || status != http.StatusNotFound {
				t.Errorf("%s: DELETE again = %d, %v, want 404", path, status, err)
			}
		}
	}
	if keys := strings.Fields(c.Redis.CLI("KEYS", "mcphub:session:*")); len(keys) > 3 {
		t.Errorf("more is left than three tombstones: %v", keys)
	}
}

// Revisions that are not negotiated here are answered with one that is.
func TestVersions(t *testing.T) {
	long(t)
	c := fleet(t, 1, harness.Options{})
	for asked, want := range map[string]string{
		"2025-03-26": "2025-03-26", "2025-06-18": "2025-06-18", "2025-11-25": "2025-11-25", "2026-07-28": "2025-11-25", "1999-01-01": "2025-11-25",
	} {
		for _, path := range []string{"/mcp/fixture", "/mcp/local", "/mcp"} {
			s := harness.NewSession(c.Front.URL + path)
			if err := s.Initialize(t.Context(), asked); err != nil {
				t.Errorf("%s at %s: %v", asked, path, err)
				continue
			}
			if s.Version != want {
				t.Errorf("%s at %s: negotiated %s, want %s", asked, path, s.Version, want)
			}
			if _, err := s.Tools(t.Context()); err != nil {
				t.Errorf("%s at %s: tools/list: %v", asked, path, err)
			}
			s.Version = "" // 2025-03-26 has no such header, and its absence is no error later
			if _, err := s.Tools(t.Context()); err != nil {
				t.Errorf("%s at %s: tools/list without the version header: %v", asked, path, err)
			}
		}
	}
}
