package browser

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

var pictures = flag.String("pictures", "", "a `folder` for new pictures of the page, such as docs/img")

func TestMain(m *testing.M) { os.Exit(harness.Main(m.Run)) }

// limit bounds every wait; it only bounds failures.
const limit = 30 * time.Second

// tab is a page of a browser, and what went wrong in it.
type tab struct {
	t    *testing.T
	ctx  context.Context
	home string // the hub that it may talk to

	mu       sync.Mutex // guards the rest
	troubles []string
	requests []string
}

// openBrowser starts a browser with one tab. When the test ends, whatever the page complained of, or
// asked for elsewhere than at home, fails it.
func openBrowser(t *testing.T, home string) *tab {
	t.Helper()
	tb := &tab{t: t, home: home}
	bin := findBrowser(t)
	dir := t.TempDir() // made before the browser starts, so removed after it has ended
	name, mark := harness.MarkerEnv()
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(bin), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(dir), chromedp.WindowSize(1360, 900),
		chromedp.Env(name+"="+mark, "HOME="+dir),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("hide-scrollbars", true),
		// Whatever a browser wants of the world, it is to leave the machine alone.
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"))
	ctx, endBrowser := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, endTab := chromedp.NewContext(ctx, chromedp.WithErrorf(t.Logf))
	t.Cleanup(func() { endTab(); endBrowser() })
	if err := chromedp.Do(ctx); err != nil { // starts the browser, which lives as long as this context
		t.Fatalf("start %s: %v", bin, err)
	}
	if err := chromedp.Listen(ctx, tb.note); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	tb.ctx = ctx
	t.Cleanup(func() {
		if t.Failed() {
			tb.picture("failed.png")
		}
		tb.report()
		cancel()
	})
	return tb
}

func findBrowser(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: starts processes (-short)")
	}
	bin, err := exec.LookPath(cmp.Or(os.Getenv("CHROMIUM"), "chromium"))
	if err != nil && os.Getenv("REQUIRE_BROWSER") != "" {
		t.Fatalf("REQUIRE_BROWSER is set, and there is no Chromium: %v", err)
	}
	if err != nil {
		t.Skipf("SKIPPED (no Chromium; install it, or name one in CHROMIUM): %v", err)
	}
	return bin
}

// note takes down what a tab tells of itself.
func (tb *tab) note(event any) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		tb.requests = append(tb.requests, e.Request.URL)
	case *runtime.EventExceptionThrown:
		tb.troubles = append(tb.troubles, "exception: "+fmt.Sprint(e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
	case *runtime.EventConsoleAPICalled:
		for _, a := range e.Args {
			tb.troubles = append(tb.troubles, fmt.Sprintf("console.%s: %s %s", e.Type, a.Value, a.Description))
		}
	case *log.EventEntryAdded: // what a policy blocks, what cannot be loaded, what is deprecated
		tb.troubles = append(tb.troubles, fmt.Sprintf("%s, %s: %s %s", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL))
	}
}

// report fails the test for everything that a page should not do.
func (tb *tab) report() {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	for _, s := range tb.troubles {
		tb.t.Errorf("the page complains: %s", s)
	}
	home, err := url.Parse(tb.home)
	if err != nil {
		tb.t.Error(err)
		return
	}
	if len(tb.requests) == 0 {
		tb.t.Error("no request was seen; the test of where they go has not worked")
	}
	for _, r := range tb.requests {
		if u, err := url.Parse(r); err != nil || u.Host != home.Host {
			tb.t.Errorf("the page asks for %s, which is not at %s", r, tb.home)
		}
	}
}

// expect takes troubles that were meant to be off the list; there must be some.
func (tb *tab) expect(part string) {
	tb.t.Helper()
	tb.mu.Lock()
	defer tb.mu.Unlock()
	var other []string
	for _, s := range tb.troubles {
		if !strings.Contains(s, part) {
			other = append(other, s)
		}
	}
	if len(other) == len(tb.troubles) {
		tb.t.Errorf("the page should complain of %q", part)
	}
	tb.troubles = other
}

// asked counts the requests for an address that contains part.
func (tb *tab) asked(part string) (n int) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	for _, r := range tb.requests {
		if strings.Contains(r, part) {
			n++
		}
	}
	return n
}

func (tb *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, limit)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		tb.t.Fatal(err)
	}
}

// open loads a page of the hub.
func (tb *tab) open(path string) {
	tb.t.Helper()
	tb.do(chromedp.Navigate(tb.home + path))
}

// click clicks on what a selector finds.
func (tb *tab) click(selector string) {
	tb.t.Helper()
	tb.do(chromedp.Click(chromedp.CSS(selector)))
}

// eval is the value of a JavaScript expression. It is not evaluated by the page, whose policy
// forbids that, but by the browser.
func eval[V any](tb *tab, expression string) (V, error) {
	ctx, cancel := context.WithTimeout(tb.ctx, limit)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[V](expression))
}

func must[V any](tb *tab, expression string) V {
	tb.t.Helper()
	v, err := eval[V](tb, expression)
	if err != nil {
		tb.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// text is the visible text of what a selector finds, each space once; empty if there is nothing.
func (tb *tab) text(selector string) (string, error) {
	s, err := eval[string](tb, "(document.querySelector("+quote(selector)+")?.innerText ?? '')")
	return strings.Join(strings.Fields(s), " "), err
}

// sees waits until the text of what a selector finds contains all of parts.
func (tb *tab) sees(selector string, parts ...string) {
	tb.t.Helper()
	harness.Eventually(tb.t, limit, fmt.Sprintf("%s shows %q", selector, parts), func() error {
		got, err := tb.text(selector)
		for _, p := range parts {
			if err == nil && !strings.Contains(got, p) {
				err = fmt.Errorf("it shows %q", got)
			}
		}
		return err
	})
}

// lacks waits until a selector finds nothing.
func (tb *tab) lacks(selector string) {
	tb.t.Helper()
	harness.Eventually(tb.t, limit, selector+" is gone", func() error {
		there, err := eval[bool](tb, "!!document.querySelector("+quote(selector)+")")
		if err == nil && there {
			err = errors.New("it is there")
		}
		return err
	})
}

// refreshed waits until the script has looked at the hub twice more, so that what it had got before
// is in place.
func (tb *tab) refreshed(part string) {
	tb.t.Helper()
	from := tb.asked(part)
	harness.Eventually(tb.t, limit, "the page looks again", func() error {
		if n := tb.asked(part) - from; n < 2 {
			return fmt.Errorf("it has asked %d times for %s", n, part)
		}
		return nil
	})
}

// scheme makes the browser ask for light or dark pages.
func (tb *tab) scheme(name string) {
	tb.t.Helper()
	_, err := chromedp.Call(tb.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}},
	})
	if err != nil {
		tb.t.Fatal(err)
	}
}

// block keeps the page from loading what a pattern matches, or no longer.
func (tb *tab) block(pattern string, block bool) {
	tb.t.Helper()
	_, err := chromedp.Call(tb.ctx, network.SetBlockedURLs, network.SetBlockedURLsParams{URLPatterns: []*network.BlockPattern{{URLPattern: pattern, Block: block}}})
	if err != nil {
		tb.t.Fatal(err)
	}
}

// picture keeps a picture of what is in the window where E2E_ARTIFACTS says.
func (tb *tab) picture(name string) {
	tb.t.Helper()
	if dir := os.Getenv("E2E_ARTIFACTS"); dir != "" {
		tb.save(filepath.Join(dir, tb.t.Name()), name)
	}
}

func (tb *tab) save(dir, name string) {
	tb.t.Helper()
	png, err := chromedp.Run(tb.ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name), png, 0o644)
	}
	if err != nil {
		tb.t.Logf("no picture %s: %v", name, err)
	}
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}
