package browser

import (
	_ "embed"
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

//go:embed testdata/access.js
var accessJS string

// The pages, a session given.
func paths(id string) []string {
	return []string{"/", "/server?name=counter", "/sessions", "/explain?session=" + id + "&server=counter&without=demo-1&with=demo-9", "/nowhere"}
}

// What stands on a page can be told from what it stands on, in light and dark; everything that is
// entered has a label; on a phone nothing has to be pushed aside to be read.
func TestLooks(t *testing.T) {
	findBrowser(t)
	hub := startDemo(t)
	harness.MustOpen(t, hub.URL+"/mcp/counter")
	id := restID(t, hub)
	tb := openBrowser(t, hub.URL)
	for _, scheme := range []string{"light", "dark"} {
		tb.scheme(scheme)
		for _, width := range []int64{1360, 1000, 390, 320} {
			tb.do(chromedp.EmulateViewport(width, 900))
			for i, path := range paths(id) {
				tb.open(path)
				must[any](tb, "document.querySelectorAll('details').forEach(d => d.open = true)")
				for _, fault := range must[[]string](tb, accessJS) {
					t.Errorf("%s, %d pixels, %s: %s", path, width, scheme, fault)
				}
				tb.picture(fmt.Sprintf("%s-%d-%d.png", scheme, width, i))
			}
		}
	}
	tb.expect("404") // of /nowhere
}

// Everything can be read without the script.
func TestWithoutScript(t *testing.T) {
	findBrowser(t)
	hub := startDemo(t)
	harness.MustOpen(t, hub.URL+"/mcp/counter")
	id := restID(t, hub)
	tb := openBrowser(t, hub.URL)
	_, err := chromedp.Call(tb.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]string{
		"/":                                     {"demo-1", "counter", "active", id, "as of page load", `href="server?name=counter"`, `http-equiv="refresh"`},
		"/server?name=counter":                  {"increment", "How much to add", "demo-3"},
		"/sessions":                             {id},
		"/explain?server=counter&session=" + id: {"binding", "demo-2", "Candidates"},
	} {
		tb.open(path)
		html, err := chromedp.Run(tb.ctx, chromedp.OuterHTML(chromedp.CSS("html")))
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range want {
			if !strings.Contains(html, part) {
				t.Errorf("%s without the script does not show %q", path, part)
			}
		}
	}
	if n := tb.asked("/fragment"); n != 0 {
		t.Errorf("the script has run: it asked %d times", n)
	}
}
