package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// Whatever bytes an id is written with, the answer has the same.
func TestIDsComeBackByteForByte(t *testing.T) {
	long(t)
	c := fleet(t, 1, harness.Options{})
	ids := []string{
		`9007199254740993`, `-9007199254740993`, `1.0`, `0`, `-1`, `1e3`, `123456789012345678901234567890`, `18446744073709551616`,
		`"1"`, `""`, `"é"`, `"\u00e9"`, `"\ud83d\ude00"`, `"a\"b\\c"`, `"` + strings.Repeat("x", 500) + `"`, `" 1 "`,
	}
	for _, server := range fixtureServers {
		for _, scope := range []struct{ path, tool string }{{"/mcp/" + server, "echo"}, {"/mcp", server + "-echo"}} {
			s := harness.MustOpen(t, c.Front.URL+scope.path)
			for _, id := range ids {
				for _, frame := range []string{
					`{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"name":"` + scope.tool + `","arguments":{"text":"x"}}}`,
					`{"method":"ping","id": ` + id + ` ,"jsonrpc":"2.0"}`,
					`{"jsonrpc":"2.0","id":` + id + `,"method":"tools/list"}`,
				} {
					r, err := s.Post(t.Context(), []byte(frame))
					var answer struct{ ID, Result json.RawMessage }
					if err != nil || json.Unmarshal(r.Last(), &answer) != nil || string(answer.ID) != id || answer.Result == nil {
						t.Errorf("%s at %s: %v, answer %.300s, want a result with that id", frame, scope.path, err, r.Last())
					}
				}
			}
		}
	}
}

// Parameters reach the server, and results the client, as the bytes they were: unknown fields,
// numbers that float64 would change, escapes, order, white space between.
func TestUnknownMethodsAndFieldsPassUnchanged(t *testing.T) {
	long(t)
	c := fleet(t, 1, harness.Options{})
	params := []string{
		`{}`, `{"a":1.0}`, `{"a":9007199254740993,"b":1e400,"c":-0.0}`, `{"z":1,"a":2,"m":{"z":null,"a":[]}}`,
		`{ "a" : [ 1 , 2 ] , "b":"\u00e9\/\ud83d\ude00" }`, `{"_meta":{"vendor/x":[1.0],"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}`,
		`{"<script>":"&"}`, `{"a":"` + strings.Repeat("y", 100_000) + `"}`,
	}
	for _, server := range fixtureServers {
		s := harness.MustOpen(t, c.Front.URL+"/mcp/"+server)
		for _, p := range params {
			frame := `{"jsonrpc":"2.0","id":1.0,"method":"fixture/raw","params":` + p + `,"unknown":{"k":1.0}}`
			r, err := s.Post(t.Context(), []byte(frame))
			if err != nil || !bytes.Contains(r.Last(), []byte(`"params":`+p)) || !bytes.Contains(r.Last(), []byte(`"id":1.0`)) {
				t.Errorf("%s: %.200s: %v, answer %.400s, want params and id as sent", server, frame, err, r.Last())
			}
		}
		r, err := s.Post(t.Context(), []byte(`{"jsonrpc":"2.0","id":2,"method":"nobody/knows/this"}`))
		if err != nil || !bytes.Contains(r.Last(), []byte("no method nobody/knows/this")) {
			t.Errorf("%s: an unknown method was answered %s, %v, want the server's own words", server, r.Last(), err)
		}
		checkToolBytes(t, s, "", server)
		checkToolBytes(t, harness.MustOpen(t, c.Front.URL+"/mcp"), server+"-", server)
	}
}

// checkToolBytes wants arguments and results of tools unchanged in either scope.
func checkToolBytes(t *testing.T, s *harness.Session, prefix, server string) {
	t.Helper()
	args := `{"text":"x","unknown":9007199254740993,"nested":{"b":1.0,"a":[1e2]}}`
	r, err := s.Post(t.Context(), []byte(`{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"`+prefix+toolEchoRaw+`","arguments":`+args+`,"future":1.0}}`))
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Result struct {
			Content []struct{ Text string }
			Fixture json.RawMessage
		}
	}
	if err := json.Unmarshal(r.Last(), &answer); err != nil || len(answer.Result.Content) != 1 {
		t.Fatalf("%s%s of %s: %v: %s", prefix, toolEchoRaw, server, err, r.Last())
	}
	if got := answer.Result.Content[0].Text; !strings.Contains(got, `"arguments":`+args) || !strings.Contains(got, `"future":1.0`) || !strings.Contains(got, `"name":"`+toolEchoRaw+`"`) {
		t.Errorf("%s was sent params %s, want the arguments %s, the field future, and its own tool's name", server, got, args)
	}
	if got := string(answer.Result.Fixture); got != `{"n":1.0,"big":9007199254740993}` {
		t.Errorf("the result of %s has %s where the server wrote {\"n\":1.0,\"big\":9007199254740993}", server, got)
	}
	r, err = s.Post(t.Context(), []byte(`{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"`+prefix+`rpc_error","arguments":{}}}`))
	if err != nil || !bytes.Contains(r.Last(), []byte(`"code":-4242`)) || !bytes.Contains(r.Last(), []byte(`{"n":1.0,"big":9007199254740993}`)) {
		t.Errorf("the server's own error came as %s, %v", r.Last(), err)
	}
}

// A server that answers with JSON is passed on as JSON and one that streams as a stream.
func TestAnswersAreJSONOrStreamsAsTheServerMadeThem(t *testing.T) {
	long(t)
	c := fleet(t, 1, harness.Options{})
	for _, path := range []string{"/mcp/fixture", "/mcp/local", "/mcp"} {
		s := harness.MustOpen(t, c.Front.URL+path)
		prefix := ""
		if path == "/mcp" {
			prefix = "local-"
		}
		r, err := s.Post(t.Context(), []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+prefix+`echo","arguments":{"text":"x"}}}`))
		if err != nil || r.IsSSE() || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") || len(r.Frames) != 1 {
			t.Errorf("%s: an answer without notifications = %+v, %v, want JSON", path, r, err)
		}
		r, err = s.Post(t.Context(), []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+prefix+`log","arguments":{"level":"error","n":2}}}`))
		if err != nil || !r.IsSSE() || len(r.Frames) != 3 {
			t.Errorf("%s: an answer with two notifications = %+v, %v, want a stream of three messages", path, r, err)
		}
		r, err = s.Post(t.Context(), []byte(`{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`))
		if err != nil || r.Status != http.StatusAccepted || len(r.Body) != 0 {
			t.Errorf("%s: a notification = %+v, %v, want 202 without a body", path, r, err)
		}
	}
}

// Large results pass whole, in either scope.
func TestLargeResults(t *testing.T) {
	long(t)
	c := fleet(t, 1, harness.Options{})
	const size = 3 << 20
	for path, prefix := range map[string]string{"/mcp/fixture": "", "/mcp/local": "", "/mcp": "local-"} {
		s := harness.MustOpen(t, c.Front.URL+path)
		got, err := s.Call(t.Context(), prefix+"big", map[string]any{"bytes": size})
		if err != nil || len(got) != size {
			t.Errorf("%s: %d bytes, %v, want %d", path, len(got), err, size)
		}
	}
}

// The list over the whole hub has every tool of every server under its server's name, in an
// order that is the same on every coordinator, and calls find their way back.
func TestHubScopeListsAndCalls(t *testing.T) {
	long(t)
	c := fleet(t, 2, harness.Options{})
	one := harness.MustOpen(t, c.Front.URL+"/mcp/local")
	names, err := one.Tools(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, server := range fixtureServers {
		for _, n := range names {
			want = append(want, server+"-"+n)
		}
	}
	var lists [][]string
	for range 6 {
		s := harness.MustOpen(t, c.Front.URL+"/mcp")
		got, err := s.Tools(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		lists = append(lists, got)
	}
	for i, l := range lists {
		if !slices.Equal(l, lists[0]) {
			t.Errorf("list %d is in another order: %v, the first %v", i, l, lists[0])
		}
	}
	if got, all := sorted(slices.Clone(lists[0])), sorted(want); !slices.Equal(got, all) {
		t.Errorf("tools/list = %v, want %v", got, all)
	}
	s := harness.MustOpen(t, c.Front.URL+"/mcp")
	for _, server := range fixtureServers {
		if got, err := s.Call(t.Context(), server+"-echo", map[string]any{"text": server}); err != nil || got != server {
			t.Errorf("%s-echo = %q, %v", server, got, err)
		}
	}
	for _, tool := range []string{"echo", "nosuch-echo", "fixture-nosuch", "fixture", "-echo", ""} {
		raw, err := s.Request(t.Context(), "tools/call", map[string]any{"name": tool, "arguments": map[string]any{}})
		if err == nil && !strings.Contains(string(raw), `"isError":true`) {
			t.Errorf("tools/call of %q = %s, want an error", tool, raw)
		}
	}
	// What nobody can serve is refused with a sentence, not with silence.
	for _, method := range []string{"resources/subscribe", "tasks/get", "completion/complete", "nobody/knows/this"} {
		_, err := s.Request(t.Context(), method, map[string]any{})
		if err == nil || len(strings.Fields(err.Error())) < 4 {
			t.Errorf("%s over the whole hub: %v, want an error that says something", method, err)
		}
	}
	if !bytes.Contains(s.Init, []byte(`"tools"`)) {
		t.Errorf("initialize over the whole hub declares no tools: %s", s.Init)
	}
}
