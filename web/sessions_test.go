package web

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/mcphub-go/mcphub/store"
)

// Whoever goes from page to page sees every session once.
func TestSessionsPageByPage(t *testing.T) {
	f := &fakeReader{snapshot: &store.Snapshot{Taken: noon}, redis: Redis{OK: true, State: "ok"}, total: 250}
	for i := range 250 {
		f.sessions = append(f.sessions, store.Session{ID: store.SessionID(fmt.Sprintf("%032x", i)), Scope: "counter"})
	}
	p := newPage(f)
	row := regexp.MustCompile(`data-key="session ([0-9a-f]{32})"`)
	next := regexp.MustCompile(`rel="next" href="(sessions\?cursor=\d+)"`)
	seen := map[string]int{}
	pages := 0
	for path := "sessions"; path != ""; pages++ {
		got := body(t, get(t, p, "/"+path))
		for _, m := range row.FindAllStringSubmatch(got, -1) {
			seen[m[1]]++
		}
		path = ""
		if m := next.FindStringSubmatch(got); m != nil {
			path = m[1]
		}
	}
	if pages != 3 || len(seen) != 250 {
		t.Errorf("%d sessions on %d pages, want 250 on 3", len(seen), pages)
	}
}

func TestBadCursorIsSaidSo(t *testing.T) {
	resp := get(t, newPage(fleet()), "/sessions?cursor=elsewhere")
	if got := body(t, resp); resp.StatusCode != http.StatusBadRequest || !strings.Contains(got, "Begin with its first page.") {
		t.Errorf("%d\n%s", resp.StatusCode, got)
	}
}
