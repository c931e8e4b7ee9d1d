package router

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mcphub-go/mcphub/store"
)

const indexURI = `{"uri":"docs://index"}`

// subscriptions are the messages about subscriptions that servers of a node got, oldest first.
func (n *fakeNode) subscriptions() (out []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, b := range n.bodies {
		for _, method := range []string{"subscribe", "unsubscribe"} {
			if _, rest, ok := strings.Cut(b, `"method":"resources/`+method+`","params":{"uri":"`); ok {
				uri, _, _ := strings.Cut(rest, `"`)
				out = append(out, method+" "+uri)
			}
		}
	}
	return out
}

func subscriptionsOf(t *testing.T, h *hub, session string) (out []string) {
	t.Helper()
	all, err := h.store.Subscriptions(context.Background(), mustToken(t, h.rs[0], session).SessionID())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		out = append(out, string(s.Server)+" "+s.URI)
	}
	slices.Sort(out)
	return out
}

// A subscription goes to the server that owns the URI, and again to the one that takes its place, by
// whichever coordinator; one that was taken back does not.
func TestWideSubscription(t *testing.T) {
	h := newDocsHub(t, 2)
	session, _ := begin(t, h.rs[0], "")
	post(t, h.rs[1], "", session, message("1", "ping", "")) // cached there without any
	for i, uri := range []string{"docs://index", "docs://page/7", "file:///etc/motd"} {
		p := post(t, h.rs[0], "", session, message("5", "resources/subscribe", `{"uri":"`+uri+`"}`))
		if want := []string{"docs", "docs", "files"}[i]; p.get("result", "server") != want || p.get("result", "method") != "resources/subscribe" {
			t.Fatalf("%s: %s, want it answered by %s", uri, p.Body, want)
		}
	}
	post(t, h.rs[1], "", session, message("6", "resources/unsubscribe", `{"uri":"docs://page/7"}`))
	if got, want := subscriptionsOf(t, h, session), []string{"docs docs://index", "files file:///etc/motd"}; !slices.Equal(got, want) {
		t.Fatalf("stored are %q, want %q", got, want)
	}
	rec, _ := h.store.get(mustToken(t, h.rs[0], session).SessionID())
	home := rec.Bindings["docs"].Node
	if got, want := h.node(home).subscriptions(), []string{"subscribe docs://index", "subscribe docs://page/7"}; !slices.Equal(got[:2], want) {
		t.Fatalf("the server got %q, want %q", got, want)
	}
	h.node(home).kill()
	before := h.other(home).subscriptions()
	if p := post(t, h.rs[1], "", session, message("7", "resources/read", indexURI)); p.get("result", "initialized") != "true" {
		t.Fatalf("after a move: %s", p.Body)
	}
	if got, want := h.other(home).subscriptions()[len(before):], []string{"subscribe docs://index"}; !slices.Equal(got, want) {
		t.Errorf("the server was given %q at its new place, want %q", got, want)
	}
}

// What a server refuses reaches the client, and what cannot be asked for is refused at once.
func TestSubscriptionRefusals(t *testing.T) {
	h := newDocsHub(t, 1)
	session, _ := begin(t, h.rs[0], "")
	for params, code := range map[string]string{
		"": "-32602", `{"uri":7}`: "-32602", `{"uri":""}`: "-32602", `{"uri":"a:b","URI":"c:d"}`: "-32602",
		`{"uri":"docs://` + strings.Repeat("x", store.MaxSubscribed) + `"}`: "-32602", `{"uri":"nobody://has/it"}`: "-32002",
	} {
		for _, method := range []string{"resources/subscribe", "resources/unsubscribe"} {
			if p := post(t, h.rs[0], "", session, message("1", method, params)); p.get("error", "code") != code || len(p.get("error", "message")) < 10 {
				t.Errorf("%s with %.40s: %s, want %s", method, params, p.Body, code)
			}
		}
	}
	id := mustToken(t, h.rs[0], session).SessionID()
	for n := range store.MaxSubscriptions {
		if _, _, err := h.store.AddSubscription(t.Context(), id, store.Subscription{Server: "docs", URI: fmt.Sprint("docs://page/", n)}, 0); err != nil {
			t.Fatal(err)
		}
	}
	p := post(t, h.rs[0], "", session, message("1", "resources/subscribe", indexURI))
	if p.get("error", "code") != "-32602" || !strings.Contains(p.get("error", "message"), "1000") {
		t.Errorf("one too many: %s", p.Body)
	}
	if p := post(t, h.rs[0], "", session, message("1", "resources/subscribe", `{"uri":"docs://page/3"}`)); p.get("result", "server") != "docs" {
		t.Errorf("one that stands: %s", p.Body)
	}
	if p := do(h.rs[0], Request{SessionID: session, HTTPMethod: "DELETE"}); p.err != nil {
		t.Fatal(p.err)
	}
	fails(t, do(h.rs[0], Request{SessionID: session, Body: []byte(message("1", "resources/subscribe", indexURI))}), ErrUnknownSession)
}

// With the store away a subscription is made all the same, and stored later; a store that has lost
// them is given them again.
func TestSubscriptionsOutliveTheStore(t *testing.T) {
	h := newDocsHub(t, 2)
	session, _ := begin(t, h.rs[0], "")
	post(t, h.rs[0], "", session, message("1", "tools/list", ""))
	post(t, h.rs[0], "", session, message("2", "resources/subscribe", `{"uri":"docs://page/7"}`))
	h.store.setDown(true)
	if p := post(t, h.rs[0], "", session, message("3", "resources/subscribe", indexURI)); p.get("result", "server") != "docs" {
		t.Fatalf("with the store away: %s", p.Body)
	}
	post(t, h.rs[0], "", session, message("4", "resources/unsubscribe", `{"uri":"docs://page/7"}`))
	h.store.setDown(false)
	h.rs[0].catchUp(context.Background())
	want := []string{"docs docs://index"}
	if got := subscriptionsOf(t, h, session); !slices.Equal(got, want) {
		t.Fatalf("stored are %q, want %q", got, want)
	}
	h.store.wipe()
	for range 3 { // it is found missing, written back, and its subscriptions after it
		post(t, h.rs[0], "", session, message("5", "ping", ""))
		h.rs[0].renew(context.Background())
		h.rs[0].catchUp(context.Background())
	}
	if got := subscriptionsOf(t, h, session); !slices.Equal(got, want) {
		t.Fatalf("stored after a loss are %q, want %q", got, want)
	}
}

// A session with one server is given its subscriptions again as well, though its messages are
// not taken apart.
func TestSingleSubscription(t *testing.T) {
	w := newWorld(t, 2, 2)
	h := &hub{world: w}
	session, home := begin(t, w.rs[0], testServer)
	post(t, w.rs[1], testServer, session, message("1", "ping", ""))
	for _, body := range []string{
		message("2", "resources/subscribe", indexURI), message("3", `resources\/subscribe`, `{"uri":"docs:\/\/page"}`),
		message("4", "resources/unsubscribe", indexURI), message("5", "resources/subscribe", `{"uri":"x://y"}`),
		message("6", "tools/call", `{"name":"subscribe"}`), message("", "resources/subscribe", `{"uri":"no://request"}`),
	} {
		post(t, w.rs[0], testServer, session, body)
	}
	if got, want := subscriptionsOf(t, h, session), []string{testServer + " docs://page", testServer + " x://y"}; !slices.Equal(got, want) {
		t.Fatalf("stored are %q, want %q", got, want)
	}
	w.node(home).kill()
	invoke(t, w.rs[1], session)
	got := w.other(home).subscriptions()
	slices.Sort(got)
	if want := []string{"subscribe docs://page", "subscribe x://y"}; !slices.Equal(got, want) {
		t.Errorf("the new place got %q, want %q", got, want)
	}
}
