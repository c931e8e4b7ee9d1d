package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

var demoAddress = regexp.MustCompile(`(http://127\.0\.0\.1:\d+)/mcp `)

// startDemo starts `mcphub demo` and returns it once it has introduced itself.
func startDemo(t *testing.T) *harness.Hub {
	t.Helper()
	return startDemoOf(t, harness.HubBinary(t))
}

func startDemoOf(t *testing.T, binary string) *harness.Hub {
	t.Helper()
	p := harness.Start(t, "demo", nil, binary, "demo", "--port", "0")
	p.Log.WaitFor(t, harness.ReadyLimit, "Ctrl-C stops everything.")
	return &harness.Hub{Proc: p, URL: demoAddress.FindStringSubmatch(p.Log.String())[1]}
}

// restID is what REST calls the newest session that is none of but.
func restID(t *testing.T, hub *harness.Hub, but ...string) string {
	t.Helper()
	var all struct {
		Sessions []harness.SessionRecord `json:"sessions"`
	}
	if err := hub.API("/sessions", &all); err != nil {
		t.Fatal(err)
	}
	for _, s := range all.Sessions {
		if !slices.Contains(but, s.SessionID) {
			return s.SessionID
		}
	}
	t.Fatalf("REST lists %+v, and no session but %v", all.Sessions, but)
	return ""
}

func row(kind, id string) string { return `[data-key="` + kind + " " + id + `"]` }

// A page that is open shows what happens, and is not loaded anew for it.
func TestDemoIsSeenLive(t *testing.T) {
	findBrowser(t)
	hub := startDemo(t)
	tb := openBrowser(t, hub.URL)
	tb.open("/")
	tb.sees("h1", "Overview")
	tb.sees("#pulse", "live")
	for _, node := range []string{"demo-1", "demo-2", "demo-3"} {
		tb.sees(row("node", node), "active", "clock", "counter", "notes")
	}
	for _, server := range []string{"clock", "counter", "notes"} {
		tb.sees(row("server", server), "3 of 3 ready", "demo-1", "demo-2", "demo-3", "shared")
	}
	tb.sees("#coordinators", "coordinator-1", "coordinator-2", "ready", "answers")
	tb.sees("#sessions", "No client is connected.")
	must[int](tb, "window.untouched = 1")

	s := harness.MustOpen(t, hub.URL+"/mcp/counter")
	id := restID(t, hub)
	tb.sees(row("session", id), id[:8], "server counter", "2025-11-25", "counter → demo-")
	wide := harness.MustOpen(t, hub.URL+"/mcp")
	wideID := restID(t, hub, id)
	tb.sees(row("session", wideID), "all servers", "nothing yet")
	if _, err := wide.Call(t.Context(), "counter-increment", nil); err != nil {
		t.Fatal(err)
	}
	tb.sees(row("session", wideID), "counter → demo-")
	tb.sees("#figures", "2 sessions")

	if status, err := s.Delete(t.Context()); err != nil || status/100 != 2 {
		t.Fatalf("end the session: %d, %v", status, err)
	}
	tb.lacks(row("session", id))
	tb.sees("#events li:first-child", "session ended")
	if must[int](tb, "window.untouched") != 1 {
		t.Error("the page was loaded anew to show this")
	}
	tb.picture("overview.png")
}

// What a server offers is loaded when its row is opened, by mouse or keyboard, and stays while the
// page goes on looking.
func TestServerIsOpened(t *testing.T) {
	findBrowser(t)
	hub := startDemo(t)
	names, err := harness.MustOpen(t, hub.URL+"/mcp/counter").Tools(t.Context())
	if err != nil || len(names) == 0 {
		t.Fatalf("tools of counter: %q, %v", names, err)
	}
	tb := openBrowser(t, hub.URL)
	tb.open("/")
	tb.sees("#pulse", "live")
	counter := row("server", "counter")
	if tb.asked("/catalog?") != 0 {
		t.Error("catalogs are loaded before anybody wants to see them")
	}
	tb.click(counter + " summary")
	tb.sees(counter+" .inside", append([]string{"It calls itself", "counter", "A counter for each session", "replica on", "builtin"}, names...)...)
	tb.sees(counter+" .inside", "by", "integer = 1", "How much to add", "read-only")
	tb.refreshed("/fragment")
	tb.sees(counter+" .inside", names...)
	tb.lacks(".new") // nothing has happened
	if n := tb.asked("/catalog?"); n != 1 {
		t.Errorf("the catalog was loaded %d times, want once", n)
	}
	tb.picture("opened.png")

	notes := row("server", "notes")
	must[any](tb, "document.querySelector("+quote(notes+" summary")+").focus()")
	tb.do(chromedp.KeyEvent("\r"))
	tb.sees(notes+" .inside", "add_note", "text", "required")
	tb.refreshed("/fragment")
	if !must[bool](tb, "document.activeElement === document.querySelector("+quote(notes+" summary")+")") {
		t.Error("the row that was opened by keyboard has lost the focus")
	}

	tb.open("/server?name=counter")
	tb.sees("h1", "Server counter")
	tb.sees("#offers", names...)
	tb.sees("#replicas", "demo-1", "demo-2", "demo-3", "ready")
	asked := tb.asked("/catalog?")
	tb.refreshed("/server?part")
	tb.sees("#offers", names...)
	if n := tb.asked("/catalog?"); n != asked {
		t.Errorf("the page of a server, which came with the catalog, loads it %d times", n-asked)
	}
}

// What cannot be loaded when a row is opened is there as soon as it can.
func TestCatalogComesLate(t *testing.T) {
	findBrowser(t)
	hub := startDemo(t)
	tb := openBrowser(t, hub.URL)
	tb.open("/")
	tb.sees("#pulse", "live")
	tb.block("*://*:*/catalog*", true)
	counter := row("server", "counter")
	tb.click(counter + " summary")
	tb.refreshed("/fragment")
	tb.sees(counter+" .inside", "What counter offers: tools, prompts and resources")
	tb.block("*://*:*/catalog*", false)
	tb.sees(counter+" .inside", "increment", "whoami")
	if n := tb.asked("/catalog?"); n < 2 {
		t.Errorf("the catalog was asked for %d times; it was to fail once at least", n)
	}
}

// explanation is the part of REST's answer that the page shows too.
type explanation struct {
	Rule, Choice string
	Candidates   []struct {
		NodeID string  `json:"nodeId"`
		Score  float64 `json:"score"`
		Load   int     `json:"load"`
	}
	Moves []struct {
		NodeID, To string
		Moves      bool
	}
}

// The form gives the answer that REST gives, for a session and for one that does not exist.
func TestExplain(t *testing.T) {
	findBrowser(t)
	hub := startDemo(t)
	s := harness.MustOpen(t, hub.URL+"/mcp")
	if _, err := s.Call(t.Context(), "counter-increment", nil); err != nil {
		t.Fatal(err)
	}
	id := restID(t, hub)
	tb := openBrowser(t, hub.URL)
	for _, text := range []string{id, "somebody new"} {
		tb.open("/")
		tb.do(chromedp.SendKeys(chromedp.CSS("#f-session"), text), chromedp.SetValue(chromedp.CSS("#f-server"), "counter"))
		tb.click("#explain button")
		query := url.Values{"server": {"counter"}, "session": {text}}
		if text != id {
			query = url.Values{"server": {"counter"}, "key": {text}}
		}
		x := askREST(t, hub, query)
		tb.sees(".verdict", x.Choice, x.Rule)
		if got := must[string](tb, "document.querySelector('tr.chosen th').innerText"); got != x.Choice {
			t.Errorf("%q: the page chooses %s, REST %s", text, got, x.Choice)
		}
		want := []string{}
		for _, c := range x.Candidates {
			want = append(want, fmt.Sprintf("%s %.3f %d", c.NodeID, c.Score, c.Load))
		}
		got := must[[]string](tb, `[...document.querySelectorAll('[aria-labelledby=h-candidates] tbody tr')].map(r =>
			[r.cells[0], r.cells[2], r.cells[3]].map(c => c.innerText.trim()).join(' '))`)
		if !slices.Equal(got, want) {
			t.Errorf("%q: candidates\npage %q\nREST %q", text, got, want)
		}

		// One click asks what would be without the node that was chosen.
		tb.click("tr.chosen a")
		tb.sees("[aria-labelledby=h-moves] tbody", "without "+x.Choice)
		query.Set("without", x.Choice)
		if m := askREST(t, hub, query).Moves[0]; !m.Moves {
			t.Errorf("%q stays on %s without that node", text, x.Choice)
		} else {
			tb.sees("[aria-labelledby=h-moves] tbody", "moves to "+m.To)
		}
		tb.picture("explain.png")
	}
	tb.open("/explain?session=x")
	tb.sees("[role=alert]", "No answer: name a server")
}

func askREST(t *testing.T, hub *harness.Hub, query url.Values) (x explanation) {
	t.Helper()
	if err := hub.API("/explain?"+query.Encode(), &x); err != nil {
		t.Fatal(err)
	}
	return x
}

// A session's id is a credential. None is on a page or in the address of one, even if somebody
// enters it.
func TestNoCredentialIsShown(t *testing.T) {
	findBrowser(t)
	hub := startDemo(t)
	s := harness.MustOpen(t, hub.URL+"/mcp/counter")
	id := restID(t, hub)
	tb := openBrowser(t, hub.URL)
	clean := func() {
		t.Helper()
		seen := must[string](tb, "location.href + document.documentElement.outerHTML + [...document.querySelectorAll('input')].map(i => i.value)")
		if strings.Contains(seen, s.ID) || strings.Contains(seen, s.ID[:40]) {
			t.Errorf("%s shows the whole session id", must[string](tb, "location.href"))
		}
		if !strings.Contains(seen, id) {
			t.Errorf("%s does not show the session at all", must[string](tb, "location.href"))
		}
	}
	tb.open("/")
	tb.sees(row("session", id), "counter")
	clean()
	tb.open("/sessions")
	tb.sees(row("session", id), id)
	clean()
	tb.open("/explain")
	tb.do(chromedp.SendKeys(chromedp.CSS("#f-session"), s.ID), chromedp.Submit(chromedp.CSS("#f-session")))
	tb.sees(".verdict", "demo-", "binding")
	clean()
}

// groupOf makes a group by REST.
func groupOf(ctx context.Context, hub *harness.Hub, body string) error {
	status, answer, err := harness.Do(ctx, "POST", hub.URL+"/api/groups", map[string][]string{"Content-Type": {"application/json"}}, strings.NewReader(body))
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("status %d: %s", status, answer)
	}
	return err
}

// A group that is made is there without a reload, too.
func TestGroupsAreSeen(t *testing.T) {
	findBrowser(t)
	hub := startDemo(t)
	tb := openBrowser(t, hub.URL)
	tb.open("/")
	tb.sees("#groups", "There are none.")
	body, err := json.Marshal(map[string]any{
		"name": "team", "description": "<b>for</b> all of us", "servers": []any{"clock", map[string]any{"name": "notes", "tools": []string{"add_note"}}, "elsewhere"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := groupOf(t.Context(), hub, string(body)); err != nil {
		t.Fatal(err)
	}
	tb.sees("#groups "+row("group", "team"), "<b>for</b> all of us", "clock", "notes add_note", "elsewhere", "Redis")
	tb.sees("#events", "group changed")
}
