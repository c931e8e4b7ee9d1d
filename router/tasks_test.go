package router

import (
	"net/http"
	"strings"
	"testing"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

const (
	catalogTasks = `{"capabilities":{"tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}},"tools":[{"name":"x"}]}`
	catalogMore  = `{"capabilities":{"tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}},"tools":[{"name":"y"}]}`
)

// taskHub has servers a and a-b with tasks, and one without.
func taskHub(t *testing.T, routers int) *hub {
	h := newHub(t, routers, map[store.ServerID]string{"a": catalogTasks, "a-b": catalogMore, "plain": `{"tools":[{"name":"x"}]}`})
	for _, n := range h.nodes {
		n.setHook(func(w http.ResponseWriter, req *http.Request, f *wire.Frame) bool {
			answer, ok := map[string]string{
				"tools/call":   `{"task":{"taskId":"t~1","status":"working","createdAt":"x","ttl":1.0}}`,
				"tasks/get":    `{"taskId":"t~1","status":"working","createdAt":"x"}`,
				"tasks/cancel": `{"createdAt":"x","status":"cancelled","taskId":"t~1"}`,
				"tasks/result": `{"content":[],"taskId":"of the tool","_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t~1"}}}`,
				"tasks/list":   `{"tasks":[{"taskId":"t~1"},{"status":"working","taskId":"t2"}]}`,
			}[f.Method]
			if cursor, paged := f.Lookup("params", "cursor"); paged && string(cursor.Of(f.Raw)) == `"p2"` {
				answer = `{"tasks":[{"taskId":"t3"}]}`
			} else if f.Method == "tasks/list" && strings.HasSuffix(req.URL.Path, "/a-b") {
				answer = `{"tasks":[{"taskId":"t1"}],"nextCursor":"p2"}`
			}
			if !ok || strings.HasSuffix(req.URL.Path, "/plain") {
				return false
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(wire.Result(f.IDBytes(), []byte(answer)))
			return true
		})
	}
	return h
}

// The ids of tasks say at which server they are; each request about one reaches it with the server's
// own id, from any replica.
func TestWideTasks(t *testing.T) {
	h := taskHub(t, 2)
	session, _ := begin(t, h.rs[0], "")
	ask := func(i int, method, params string) string {
		t.Helper()
		return post(t, h.rs[i], "", session, message("5", method, params)).Body.String()
	}
	result := func(text string) string { return `{"jsonrpc":"2.0","id":5,"result":` + text + `}` }
	if got, want := ask(0, "tools/call", `{"name":"a-x","task":{"ttl":1.0}}`), result(`{"task":{"taskId":"a~t~1","status":"working","createdAt":"x","ttl":1.0}}`); got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
	if got, want := h.asked("tools/call"), message("5", "tools/call", `{"name":"x","task":{"ttl":1.0}}`); got != want {
		t.Errorf("the server got %s, want %s", got, want)
	}
	for method, want := range map[string]string{
		"tasks/get":    `{"taskId":"a~t~1","status":"working","createdAt":"x"}`,
		"tasks/cancel": `{"createdAt":"x","status":"cancelled","taskId":"a~t~1"}`,
		"tasks/result": `{"content":[],"taskId":"of the tool","_meta":{"io.modelcontextprotocol/related-task":{"taskId":"a~t~1"}}}`,
	} {
		if got := ask(1, method, `{"taskId":"a~t~1"}`); got != result(want) {
			t.Errorf("%s: %s, want %s", method, got, result(want))
		}
		if got, want := h.asked(method), message("5", method, `{"taskId":"t~1"}`); got != want {
			t.Errorf("the server got %s, want %s", got, want)
		}
	}
	ask(1, "tools/call", `{"name":"a-b-y","task":{}}`)
	ask(1, "tools/call", `{"name":"plain-x"}`)
	if got, want := ask(0, "tasks/list", ""), result(`{"tasks":[{"taskId":"a~t~1"},{"status":"working","taskId":"a~t2"},{"taskId":"a-b~t1"},{"taskId":"a-b~t3"}]}`); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, n := range h.nodes {
		if n.count("tasks/list") != 0 {
			t.Error("a server without tasks was asked for them")
		}
	}
	// A server without tasks is not asked for one.
	post(t, h.rs[0], "", session, message("9", "tools/call", `{"name":"plain-x","task":{}}`))
	asked := 0
	for _, n := range h.nodes {
		n.mu.Lock()
		for _, b := range n.bodies {
			if b == message("9", "tools/call", `{"name":"x"}`) {
				asked++
			}
		}
		n.mu.Unlock()
	}
	if asked != 1 {
		t.Error("the call did not reach the server without the wish for a task")
	}
}

// Whatever a server says of a task names it as its answers did, and what a client answers names it as
// the server does.
func TestTasksInMessages(t *testing.T) {
	h := taskHub(t, 1)
	session, _ := begin(t, h.rs[0], "")
	s, err := h.rs[0].session(t.Context(), &Request{SessionID: session})
	if err != nil {
		t.Fatal(err)
	}
	related := `"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"%"}}`
	for _, c := range []string{
		message("", "notifications/tasks/status", `{"taskId":"%","status":"completed"}`),
		message("", "notifications/tasks/status", `{"taskId":"%",`+related+`}`),
		message("", "notifications/message", `{"data":1,`+related+`}`),
		`{"jsonrpc":"2.0","id":1,"result":{"task":{"taskId":"%"}}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"content":[],"taskId":"t",` + related + `}}`,
	} {
		got, drop := h.rs[0].toClient(s, "a", []byte(strings.ReplaceAll(c, "%", "t")))
		if want := strings.ReplaceAll(c, "%", "a~t"); drop || string(got) != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	asked, _ := h.rs[0].toClient(s, "a", []byte(message(`"aaaaaaaa.r1"`, "elicitation/create", "{"+strings.ReplaceAll(related, "%", "t")+"}")))
	if !strings.Contains(string(asked), strings.ReplaceAll(related, "%", "a~t")) {
		t.Errorf("the client is asked %s", asked)
	}
	for id, want := range map[string]string{"a~t": "t", "a~b~t": "b~t", "a-b~t": "a-b~t", "own": "own"} {
		body := `{"jsonrpc":"2.0","id":1,"result":{"action":"accept",` + related + `}}`
		if got := taskFromClient("a", []byte(strings.ReplaceAll(body, "%", id))); string(got) != strings.ReplaceAll(body, "%", want) {
			t.Errorf("an answer about %s reaches the server as %s", id, got)
		}
	}
}
