package router

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// wideSession is a session over several servers, and where it sits for one of them.
func wideSession(t testing.TB, w *world, server string) (session string, s *wideState, at *fakeNode) {
	t.Helper()
	session, _ = begin(t, w.rs[0], "")
	post(t, w.rs[0], "", session, tool(server+"-inc"))
	tok, err := w.rs[0].ParseToken(session)
	if err != nil {
		t.Fatal(err)
	}
	s, _ = w.rs[0].cache.Get(tok.random)
	place, ok := s.place(store.ServerID(server))
	if !ok {
		t.Fatalf("the session sits nowhere for %s", server)
	}
	return session, s, w.node(place.Node)
}

// wideState is what a replica remembers of a session; session is the name of many an id here.
type wideState = session

func TestToClient(t *testing.T) {
	w := newWideWorld(t, 1)
	r := w.rs[0]
	_, s, _ := wideSession(t, w, "a")
	signed := string(r.cfg.Keys.signRequestID(s.tok.random, "a", []byte(`"aaaaaaaa.r1"`)))
	for _, c := range []struct{ name, data, want string }{
		{"response", `{"jsonrpc":"2.0","id":"aaaaaaaa.r1","result":{}}`, `{"jsonrpc":"2.0","id":"aaaaaaaa.r1","result":{}}`},
		{"request", message(`"aaaaaaaa.r1"`, "elicitation/create", `{"message":"?"}`), message(signed, "elicitation/create", `{"message":"?"}`)},
		{"request with a strange id", message(`7`, "elicitation/create", `{}`), ""},
		{"log", message("", "notifications/message", `{"level":"info"}`), message("", "notifications/message", `{"level":"info"}`)},
		{"progress", message("", "notifications/progress", `{"progressToken":"aaaaaaaa.r1"}`), message("", "notifications/progress", `{"progressToken":"aaaaaaaa.r1"}`)},
		{
			"cancelled", message("", "notifications/cancelled", `{"requestId": "aaaaaaaa.r1", "reason":"x"}`),
			message("", "notifications/cancelled", `{"requestId": `+signed+`, "reason":"x"}`),
		},
		{"cancelled what", message("", "notifications/cancelled", `{"requestId":7}`), message("", "notifications/cancelled", `{"requestId":7}`)},
		{"tools changed", message("", "notifications/tools/list_changed", ""), ""},
		{"prompts changed", message("", "notifications/prompts/list_changed", "{}"), ""},
		{"resources changed", message("", "notifications/resources/list_changed", ""), ""},
		{"one resource updated", message("", "notifications/resources/updated", `{"uri":"a:b"}`), message("", "notifications/resources/updated", `{"uri":"a:b"}`)},
		{"no message", `{"x":`, `{"x":`},
	} {
		got, drop := r.toClient(s, "a", []byte(c.data))
		if string(got) != c.want || drop != (c.want == "") {
			t.Errorf("%s: %s, dropped %t, want %s", c.name, got, drop, c.want)
		}
	}
}

// On an endpoint over several servers the answer to a call names the server in its event ids, and is
// gone on with on any replica.
func TestWideCallIsTakenUp(t *testing.T) {
	ask := "id: aaaaaaaa.c4.1.Ingi\ndata: " + message(`"aaaaaaaa.r1"`, "elicitation/create", "{}") + "\n\n"
	final := "event: message\nid: aaaaaaaa.c4.3.Ingi\ndata: {\"jsonrpc\":\"2.0\",\"id\":\"x\",\"result\":{}}\n\n"
	w := newWideWorld(t, 2)
	session, s, at := wideSession(t, w, "a")
	w.rs[0].tapPause, w.rs[1].tapPause = 1, 1
	at.setHook(streaming("tools/call", sent(
		"id: aaaaaaaa.c4.0.Ingi\ndata: \n\n", comment, ask,
		"id: aaaaaaaa.c4.2.Ingi\ndata: "+message("", "notifications/tools/list_changed", "")+"\n\n", "id: x\ndata:\n\n", "retry: 7\n\n",
	), breakOff))
	at.setStream(scripts(script(nil, final)))
	signed := string(w.rs[0].cfg.Keys.signRequestID(s.tok.random, "a", []byte(`"aaaaaaaa.r1"`)))
	lastly := "event: message\nid: c~a~aaaaaaaa.c4.3.Ingi\ndata: {\"jsonrpc\":\"2.0\",\"id\":\"x\",\"result\":{}}\n\n"
	want := "id: c~a~aaaaaaaa.c4.0.Ingi\ndata: \n\n" + comment +
		"id: c~a~aaaaaaaa.c4.1.Ingi\ndata: " + message(signed, "elicitation/create", "{}") + "\n\n" + "data: \n\n" + "retry: 7\n\n"

	resp := postTo(t, front(t, w.rs[0], ""), session, tool("a-inc"))
	reads(t, resp, want)
	// The stream's last id is not one that could be taken up, so the break is told.
	if ev, err := wire.NewEventReader(resp.Body, 1<<20).Next(); err != nil || parsed(ev.Data).get("error", "code") != "1001" {
		t.Errorf("then %q, %v", ev.Raw, err)
	}
	ends(t, listen(t.Context(), t, front(t, w.rs[1], ""), session, "c~a~aaaaaaaa.c4.2.Ingi"), lastly)
	if got := at.asked(); !slices.Equal(got, []string{"aaaaaaaa.c4.2.Ingi"}) {
		t.Errorf("asked for %q", got)
	}

	at.setHook(streaming("tools/call", sent("id: aaaaaaaa.c4.0.Ingi\ndata: \n\n"), breakOff))
	ends(t, postTo(t, front(t, w.rs[0], ""), session, tool("a-inc")), "id: c~a~aaaaaaaa.c4.0.Ingi\ndata: \n\n"+lastly)
}

// A key that may not use a server any more is not given what is left of its calls.
func TestWideResumeOutsideOfTheKey(t *testing.T) {
	w := newWideWorld(t, 1)
	session, _, at := wideSession(t, w, "a")
	at.setStream(scripts(script(nil, callFinal)))
	p := do(w.rs[0], Request{
		SessionID: session, HTTPMethod: http.MethodGet, LastEvent: "c~a~aaaaaaaa.c4.0.Nw",
		Limit: &Limit{Name: "b", Servers: map[store.ServerID]bool{"b": true}},
	})
	if p.err != nil || !strings.Contains(p.Body.String(), `"id":7`) || !strings.Contains(p.Body.String(), "1001") || len(at.asked()) != 0 {
		t.Errorf("%v, %s; asked %d times", p.err, p.Body, len(at.asked()))
	}
}

func TestSameBytes(t *testing.T) {
	a := []byte("ab")
	for _, c := range []struct {
		b    []byte
		want bool
	}{{a, true}, {a[:1], false}, {bytes.Clone(a), false}, {nil, false}} {
		if got := sameBytes(a, c.b); got != c.want {
			t.Errorf("sameBytes(%s) = %t", fmt.Sprint(c.b), got)
		}
	}
}
