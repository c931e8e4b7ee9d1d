package router

import (
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// A node names its catalogs before it sends them. A replica that asked in between asks again when
// it hears that something came, and not only when the time for another attempt has.
func TestCatalogThatComesAfterItsNode(t *testing.T) {
	w := newWideWorld(t, 1)
	r := w.rs[0]
	w.store.mu.Lock()
	delete(w.store.catalogs, "da")
	w.store.mu.Unlock()
	session, _ := begin(t, r, "")
	list := func() string { return post(t, r, "", session, message("1", "tools/list", "")).Body.String() }
	if got := list(); strings.Contains(got, "a-inc") || !strings.Contains(got, "z-only") {
		t.Fatalf("without a's catalog the list is %s", got)
	}
	if got := r.Unread(t.Context()); len(got) != 1 || got[0] != "a" {
		t.Fatalf("Unread = %q, want a", got)
	}
	r.library.mu.Lock()
	for d, f := range r.library.failed { // as if the next attempt were an hour away
		r.library.failed[d] = failedRead{time.Now().Add(time.Hour), f.err}
	}
	r.library.mu.Unlock()
	w.store.mu.Lock()
	w.store.catalogs["da"] = []byte(catalogA)
	w.store.mu.Unlock()

	running(t, r)
	eventually(t, "a's catalog is read, which is there and was announced", func() bool {
		// Again and again: Run may not listen yet.
		if err := w.store.Notify(t.Context(), store.Hint{Kind: store.HintRev}); err != nil {
			t.Error(err)
		}
		return len(r.Unread(t.Context())) == 0
	})
	if got := list(); !strings.Contains(got, "a-inc") {
		t.Errorf("with a's catalog the list is %s", got)
	}
}
