package router

import (
	"net/http"
	"testing"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// Two servers may ask for progress under the same token: what a client says of it reaches the one that
// is meant, under its own token.
func TestWideProgress(t *testing.T) {
	h := newDocsHub(t, 1)
	session := opensWide(t, h.rs[0], "docs-search", "files-read")
	s, err := h.rs[0].session(t.Context(), &Request{SessionID: session})
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{`5`, `"t\"ok~en"`, `-1.5e3`} {
		asked, _ := h.rs[0].toClient(s, "docs", []byte(message(`"aaaaaaaa.r1"`, "roots/list", `{"_meta":{"progressToken":`+token+`}}`)))
		at, ok := wire.Lookup(asked, "params", "_meta", "progressToken")
		if !ok || string(at.Of(asked)) == token {
			t.Fatalf("the client gets %s", asked)
		}
		before := h.posts()
		p := post(t, h.rs[0], "", session, message("", "notifications/progress", `{"progressToken":`+string(at.Of(asked))+`,"progress":1}`))
		if p.Code != http.StatusAccepted || h.posts() != before+1 {
			t.Errorf("status %d, and %d servers heard of it, want the one that asked", p.Code, h.posts()-before)
		}
		if got, want := h.asked("notifications/progress"), message("", "notifications/progress", `{"progressToken":`+token+`,"progress":1}`); got != want {
			t.Errorf("the server got %s, want %s", got, want)
		}
	}
	before := h.posts()
	for _, token := range []string{`5`, `"docs"`, `"docs~"`, `"docs~x"`, `"../x~5"`, `null`, `"docs~{}"`} {
		post(t, h.rs[0], "", session, message("", "notifications/progress", `{"progressToken":`+token+`,"progress":1}`))
	}
	if got := h.posts(); got != before {
		t.Errorf("%d messages about nothing that was asked reached a node", got-before)
	}
	post(t, h.rs[0], "", session, message("", "notifications/roots/list_changed", ""))
	if got := h.posts(); got != before+2 {
		t.Errorf("%d servers heard that the roots have changed, want both", got-before)
	}
}
