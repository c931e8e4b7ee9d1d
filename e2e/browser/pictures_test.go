package browser

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// release is what the pictures say that they are of.
const release = "v0.2.0"

// TestPictures makes the pictures of the documentation, of a demo with some life in it:
//
//	go test ./e2e/browser -run Pictures -pictures docs/img
func TestPictures(t *testing.T) {
	if *pictures == "" {
		t.Skip("SKIPPED: makes pictures; give a folder with -pictures")
	}
	dir := *pictures
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(harness.Root(), dir)
	}
	binary := filepath.Join(t.TempDir(), "mcphub")
	build := exec.Command("go", "build", "-ldflags", "-X main.version="+release, "-o", binary, "./cmd/mcphub")
	build.Dir = harness.Root()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	hub := startDemoOf(t, binary)
	sessions := enliven(t, hub)
	tb := openBrowser(t, hub.URL)
	tb.do(chromedp.EmulateViewport(1280, 1180))
	tb.open("/")
	tb.sees("#figures", "7 sessions")
	tb.sees("#groups", "desk")
	tb.click(row("server", "notes") + " summary")
	tb.sees(row("server", "notes")+" .inside", "add_note")
	tb.refreshed("/fragment")
	must[any](tb, "scrollTo(0, 0)")
	tb.save(dir, "status-page.png")

	tb.do(chromedp.EmulateViewport(1280, 900))
	tb.open("/explain?server=counter&session=" + sessions[1] + "&without=demo-1&without=demo-2&without=demo-3&with=demo-4")
	tb.sees("[aria-labelledby=h-moves]", "with demo-4")
	tb.save(dir, "explain.png")
}

// enliven makes a group and some sessions, and returns what REST calls them.
func enliven(t *testing.T, hub *harness.Hub) (ids []string) {
	t.Helper()
	if err := groupOf(t.Context(), hub, `{"name":"desk","description":"Time and notes","servers":["clock",{"name":"notes","tools":["add_note","list_notes"]}]}`); err != nil {
		t.Fatal(err)
	}
	use := map[string][]string{"/mcp": {"counter-increment", "notes-list_notes"}, "/mcp/desk": {"clock-now"}}
	for _, at := range []string{"/mcp", "/mcp/counter", "/mcp/notes", "/mcp/desk", "/mcp", "/mcp/counter", "/mcp/clock"} {
		s := harness.MustOpen(t, hub.URL+at)
		for _, tool := range use[at] {
			if _, err := s.Call(t.Context(), tool, nil); err != nil {
				t.Fatal(err)
			}
		}
		ids = append(ids, restID(t, hub, ids...))
	}
	return ids
}
