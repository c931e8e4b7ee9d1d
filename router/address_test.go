package router

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

func TestPromptGoesToItsServer(t *testing.T) {
	h := newDocsHub(t, 2)
	session, _ := begin(t, h.rs[0], "")
	body := message(`9007199254740993`, "prompts/get", `{"arguments":{"path":"a","n":1.0},"name":"files-review","_meta":{"progressToken":1}}`)
	p := post(t, h.rs[1], "", session, body)
	if p.get("result", "server") != "files" || p.get("id") != "9007199254740993" {
		t.Errorf("%s", p.Body)
	}
	if got, want := h.asked("prompts/get"), strings.Replace(body, "files-review", "review", 1); got != want {
		t.Errorf("the server got %s, want %s", got, want)
	}
	for _, bad := range []string{`{"name":"review"}`, `{"name":"nope-review"}`, `{"name":7}`, `{}`, `{"name":"docs-review","NAME":"docs-summary"}`} {
		if p := post(t, h.rs[0], "", session, message("1", "prompts/get", bad)); p.get("error", "code") != "-32602" {
			t.Errorf("%s: %s, want -32602", bad, p.Body)
		}
	}
}

// A wish for a task is left out: there are none here, and the client gets the result itself.
func TestTaskIsLeftOut(t *testing.T) {
	h := newDocsHub(t, 1)
	session, _ := begin(t, h.rs[0], "")
	for params, want := range map[string]string{
		`{"name":"files-read","task":{"ttl":1}}`:                 `{"name":"read"}`,
		`{"task":{"ttl":1},"name":"files-read"}`:                 `{"name":"read"}`,
		`{"name":"files-read", "task":{} , "arguments":{"a":1}}`: `{"name":"read" , "arguments":{"a":1}}`,
		`{"_meta":{},"ta\u0073k":null,"name":"files-read"}`:      `{"_meta":{},"name":"read"}`,
		`{ "task":{"ttl":1},"arguments":{},"name":"files-read"}`: `{ "arguments":{},"name":"read"}`,
		`{"name":"files-read","arguments":{"task":{"ttl":1.0}}}`: `{"name":"read","arguments":{"task":{"ttl":1.0}}}`,
	} {
		post(t, h.rs[0], "", session, message("1", "tools/call", params))
		if got := h.asked("tools/call"); got != message("1", "tools/call", want) {
			t.Errorf("%s: the server got %s, want %s", params, got, want)
		}
		for _, n := range h.nodes {
			n.mu.Lock()
			n.bodies = nil
			n.mu.Unlock()
		}
	}
}

func TestResourceGoesToItsOwner(t *testing.T) {
	h := newHub(t, 2, map[store.ServerID]string{
		"files": catalogFiles, "docs": catalogDocs,
		"wiki":  `{"capabilities":{"resources":{}},"resources":[{"uri":"wiki://home"}],"resourceTemplates":[{"uriTemplate":"docs://page/{id}/{part}"},{"uriTemplate":"{broken"}]}`,
		"wiki2": `{"capabilities":{"resources":{}},"resourceTemplates":[{"uriTemplate":"docs://page/{number}"}]}`,
		"gen":   `{"capabilities":{"resources":{}},"resourceTemplates":[{"uriTemplate":"gen://{id}"}]}`,
	})
	session, _ := begin(t, h.rs[0], "")
	for uri, want := range map[string]string{
		"file:///etc/motd":      "files", // listed
		"test://both":           "docs",  // listed by two: the first name
		"file:///x/y":           "files", // by template
		"file:///docs/a.md":     "docs",  // the more specific template
		"file:///docs/a/b.md":   "files", // only the wider one
		"docs://page/7":         "docs",  // the same template by two: the first name
		"docs://page/7/8":       "wiki",
		"docs://page/7?x=1":     "docs", // loosely
		"wiki://unlisted/page":  "wiki", // nobody else has wiki URIs
		"WIKI://x":              "wiki",
		"gen://a/b/c":           "gen",
		"file:///etc/motd#part": "files",
	} {
		for i, r := range h.rs {
			p := post(t, r, "", session, message(`"r"`, "resources/read", `{"uri":`+string(wire.Quote(uri))+`}`))
			if got := p.get("result", "server"); got != want {
				t.Errorf("replica %d: %s is read from %q, want %s: %s", i, uri, got, want, p.Body)
			}
		}
	}
	if got, want := h.asked("resources/read"), `"uri":"`; !strings.Contains(got, want) {
		t.Errorf("the server got %s", got)
	}
	for _, uri := range []string{"nope://x", "docs://other", "", "no uri", "test://else", strings.Repeat("nope:", 2000)} {
		p := post(t, h.rs[0], "", session, message("1", "resources/read", `{"uri":`+string(wire.Quote(uri))+`}`))
		if p.get("error", "code") != "-32002" || p.get("error", "data", "uri") != uri {
			t.Errorf("%q: %.200s, want -32002 with the URI", uri, p.Body)
		}
	}
	for _, bad := range []string{`{}`, `{"uri":7}`, `{"uri":"wiki://home","URI":"docs://index"}`} {
		if p := post(t, h.rs[0], "", session, message("1", "resources/read", bad)); p.get("error", "code") != "-32602" {
			t.Errorf("%s: %s, want -32602", bad, p.Body)
		}
	}
}

// While the owner is away its clients hear that, if anybody remembers what it offered; and a URI
// that nobody knows may be one of a server that is away.
func TestResourceOfAServerThatIsAway(t *testing.T) {
	h := newDocsHub(t, 2)
	session, _ := begin(t, h.rs[0], "")
	post(t, h.rs[0], "", session, message("1", "resources/list", ""))
	h.fail("docs", "spawn npx\n ENOENT")
	read := func(r *Router, uri string) reply {
		return do(r, Request{SessionID: session, Body: []byte(message("1", "resources/read", `{"uri":"`+uri+`"}`))})
	}
	if got, _ := h.names(t, h.rs[0], Request{SessionID: session}, "resources/list", ""); len(got) != 2 || got[1] != "test://both" {
		t.Errorf("listed are %q, want what files has", got)
	}
	if p := read(h.rs[0], "test://both"); p.get("result", "server") != "files" {
		t.Errorf("what another server offers too: %v %s", p.err, p.Body)
	}
	e := fails(t, read(h.rs[0], "docs://index"), ErrNoReplica)
	if want := "Not executed: server docs is not available: failed on node-1: spawn npx ENOENT; failed on node-2: spawn npx ENOENT"; e.Message != want || e.Code != wire.CodeNotExecuted {
		t.Errorf("message %q, want %q", e.Message, want)
	}
	p := read(newDocsHubRouter(h), "docs://index") // this one has never seen what docs offers
	if p.get("error", "code") != "-32002" || !strings.Contains(p.get("error", "message"), "docs (failed on node-1: spawn npx ENOENT") {
		t.Errorf("%v %s", p.err, p.Body)
	}
}

func TestCompletion(t *testing.T) {
	h := newDocsHub(t, 1)
	session, _ := begin(t, h.rs[0], "")
	ask := func(params string) reply {
		return post(t, h.rs[0], "", session, message("1", "completion/complete", params))
	}
	p := ask(`{"argument":{"name":"x","value":"y"},"ref":{"name":"docs-review","type":"ref/prompt"},"context":{"arguments":{"a":"b"}}}`)
	if p.get("result", "server") != "docs" {
		t.Errorf("of a prompt: %s", p.Body)
	}
	want := message("1", "completion/complete", `{"argument":{"name":"x","value":"y"},"ref":{"name":"review","type":"ref/prompt"},"context":{"arguments":{"a":"b"}}}`)
	if got := h.asked("completion/complete"); got != want {
		t.Errorf("the server got %s, want %s", got, want)
	}
	for _, uri := range []string{"docs://page/{id}", "docs://page/7", "docs://index"} {
		if p := ask(`{"ref":{"type":"ref/resource","uri":"` + uri + `"},"argument":{"name":"id","value":""}}`); p.get("result", "server") != "docs" {
			t.Errorf("of %s: %s", uri, p.Body)
		}
	}
	before := h.posts()
	for _, silent := range []string{`{"ref":{"type":"ref/prompt","name":"files-review"}}`, `{"ref":{"type":"ref/resource","uri":"file:///{+path}"}}`} {
		if p := ask(silent); p.get("result", "completion", "values") != "[]" {
			t.Errorf("%s: %s, want no suggestions", silent, p.Body)
		}
	}
	for _, bad := range []string{
		`{}`, `{"ref":7}`, `{"ref":{}}`, `{"ref":{"type":"ref/other"}}`, `{"ref":{"type":"ref/prompt"}}`, `{"ref":{"type":"ref/prompt","name":"review"}}`,
		`{"ref":{"type":"ref/resource"}}`, `{"ref":{"type":"ref/resource","uri":"nope://{x}"}}`, `{"ref":{"type":"ref/prompt","name":"docs-review","Name":"x"}}`,
		`{"ref":{"type":"ref/prompt","Type":"ref/resource","name":"docs-review"}}`,
	} {
		if p := ask(bad); p.get("error", "code") != "-32602" || len(p.get("error", "message")) < 10 {
			t.Errorf("%s: %s, want -32602", bad, p.Body)
		}
	}
	if h.posts() != before {
		t.Error("something that could be answered here reached a node")
	}
}

// What servers put into results crosses untouched, links to their resources too.
func TestResultsCrossUntouched(t *testing.T) {
	h := newDocsHub(t, 1)
	session, _ := begin(t, h.rs[0], "")
	result := `{"contents":[{"uri":"docs://index","text":"a\u0041","n":1.0}],"content":[{"type":"resource_link","uri":"docs://x","name":"read"}],"_meta":{"x":9007199254740993}}`
	for _, n := range h.nodes {
		n.setHook(answerWith(result))
	}
	for _, body := range []string{
		message("1", "resources/read", `{"uri":"docs://index"}`), message("1", "prompts/get", `{"name":"docs-review"}`), tool("files-read"),
	} {
		p := post(t, h.rs[0], "", session, body)
		id := "1"
		if strings.Contains(body, "tools/call") {
			id = `"x"`
		}
		if want := `{"jsonrpc":"2.0","id":` + id + `,"result":` + result + `}`; p.Body.String() != want {
			t.Errorf("%s: got %s, want %s", body, p.Body, want)
		}
	}
}

func TestConflicts(t *testing.T) {
	h := newHub(t, 1, map[store.ServerID]string{
		"files": catalogFiles, "docs": catalogDocs,
		"wiki": `{"resources":[{"uri":"docs://index"}],"resourceTemplates":[{"uriTemplate":"docs://page/{number}"},{"uriTemplate":"wiki://{x}"},{"uriTemplate":"docs://page/{id}"}]}`,
	})
	h.book.put("team", "files", "wiki")
	for scope, want := range map[string]string{
		"": `[{"uri":"docs://index","owner":"docs","others":["wiki"]},` +
			`{"uri":"test://both","owner":"docs","others":["files"]},` +
			`{"uriTemplate":"docs://page/{id}","owner":"docs","others":["wiki"]},` +
			`{"uriTemplate":"file:///docs/{name}.md","owner":"docs","others":["files"]}]`,
		"group/team": `[]`,
		"files":      `[]`,
	} {
		got, err := h.rs[0].Conflicts(t.Context(), scope)
		text, _ := json.Marshal(got)
		if err != nil || string(text) != want {
			t.Errorf("Conflicts(%q) = %s, %v; want %s", scope, text, err, want)
		}
	}
	if _, err := h.rs[0].Conflicts(t.Context(), "group/nope"); err == nil {
		t.Error("a group that does not exist has conflicts")
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.rs[0].Conflicts(over, ""); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Conflicts without time for it = %v, want ErrUnavailable and no half of a list", err)
	}
}

// What Conflicts says is what reading does.
func TestConflictsNameTheOwner(t *testing.T) {
	same := `{"capabilities":{"resources":{}},"resources":[{"uri":"x:1"}],"resourceTemplates":[{"uriTemplate":"y:{a}"}]}`
	h := newHub(t, 1, map[store.ServerID]string{
		"b": same, "a": `{"capabilities":{"resources":{}},"resourceTemplates":[{"uriTemplate":"{+z}"}]}`, "c": same, "d": same,
	})
	session, _ := begin(t, h.rs[0], "")
	conflicts, err := h.rs[0].Conflicts(t.Context(), "")
	if err != nil || len(conflicts) != 2 {
		t.Fatalf("Conflicts = %+v, %v", conflicts, err)
	}
	for _, c := range conflicts {
		uri := c.URI
		if uri == "" {
			uri = "y:7"
		}
		p := post(t, h.rs[0], "", session, message("1", "resources/read", `{"uri":"`+uri+`"}`))
		if got := p.get("result", "server"); got != string(c.Owner) || c.Owner != "b" || len(c.Others) != 3 {
			t.Errorf("%+v, and %s is read from %s", c, uri, got)
		}
	}
}
