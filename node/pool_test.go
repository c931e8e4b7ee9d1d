package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// bubble is an isolated server in a bubble, whose processes a test scripts.
type bubble struct {
	t    *testing.T
	s    *server
	stop context.CancelFunc
	all  sync.WaitGroup

	mu    sync.Mutex // guards the rest
	ups   []*poolUp  // every process, in the order of their starts
	most  int        // processes at one time
	delay time.Duration
	fail  error // of starts
}

// poolUp is one process.
type poolUp struct {
	scriptUp
	b       *bubble
	n       int      // which it is, from 0
	methods []string // that it has seen, guarded by b.mu
	hello   string   // the params of its initialize, guarded by b.mu
}

func (u *poolUp) send(ctx context.Context, m message) error {
	f, err := wire.Scan(m.frame, wire.ServerLimits)
	if err != nil {
		return err
	}
	u.b.mu.Lock()
	u.methods = append(u.methods, f.Method)
	if f.Method == "initialize" {
		u.hello = string(f.ParamsBytes())
	}
	delay := u.b.delay
	u.b.mu.Unlock()
	if f.Method == "initialize" && delay > 0 {
		if !u.link.spawn(func() {
			if pause(ctx, delay) == nil {
				_ = u.scriptUp.send(ctx, m)
			}
		}) {
			return errLost
		}
		return nil
	}
	return u.scriptUp.send(ctx, m)
}

// negotiating answers with the version it is asked for, as servers do that know them all.
func (u *poolUp) negotiating(f *wire.Frame) string {
	if f.Method != "initialize" {
		if f.Method == "hang" {
			return ""
		}
		return goodServer(f)
	}
	at, _ := f.Lookup("params", "protocolVersion")
	return `{"protocolVersion":` + string(at.Of(f.Raw)) + `,"capabilities":{"tools":{}},"serverInfo":{"name":"` + fmt.Sprint(u.n) + `","version":"1"}}`
}

func isolated(change func(*ServerConfig)) ServerConfig {
	sc := ServerConfig{Name: "a", Command: "x", Enabled: true, Isolation: IsolationSession}
	if change != nil {
		change(&sc)
	}
	return sc
}

// startBubble runs the server and waits for its first process.
func startBubble(t *testing.T, change func(*ServerConfig)) *bubble {
	b := &bubble{t: t}
	b.s = supervisedAs(isolated(change), newStarts(8), b.dial)
	b.run()
	return b
}

func (b *bubble) run() {
	ctx, stop := context.WithCancel(b.t.Context())
	b.stop = stop
	b.all.Go(func() { b.s.run(ctx) })
	<-b.s.tried
	synctest.Wait()
}

// end stops the server and checks that nothing of it is left.
func (b *bubble) end() {
	b.t.Helper()
	b.stop()
	b.all.Wait()
	for _, u := range b.ups {
		if !u.closed.Load() {
			b.t.Errorf("process %d was not closed", u.n)
		}
	}
	if p := b.s.pool; len(p.procs)+len(p.sessions)+len(p.spares) != 0 {
		b.t.Errorf("%d processes, %d sessions, %d spares are left", len(p.procs), len(p.sessions), len(p.spares))
	}
	if b.most > b.s.pool.most {
		b.t.Errorf("%d processes at one time, over the bound of %d", b.most, b.s.pool.most)
	}
}

func (b *bubble) dial(l *link) (upstream, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return nil, b.fail
	}
	u := &poolUp{b: b, n: len(b.ups)}
	u.link, u.answer = l, u.negotiating
	b.ups = append(b.ups, u)
	live := 0
	for _, u := range b.ups {
		if !u.closed.Load() {
			live++
		}
	}
	b.most = max(b.most, live)
	return u, nil
}

func (b *bubble) up(n int) *poolUp {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ups[n]
}

func (b *bubble) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

// open opens a session and returns the number of its process, as serverInfo tells it.
func (b *bubble) open(id, version string) (int, error) {
	f, err := wire.Scan([]byte(initBody(version)), wire.ClientLimits)
	if err != nil {
		b.t.Fatal(err)
	}
	result, _, err := b.s.open(b.t.Context(), id, &f, version)
	if err != nil {
		return -1, err
	}
	at, _ := wire.Lookup(result, "serverInfo", "name")
	var n int
	if _, err := fmt.Sscanf(string(at.Of(result)), `"%d"`, &n); err != nil {
		b.t.Fatal(err)
	}
	if at, _ := wire.Lookup(result, "protocolVersion"); string(at.Of(result)) != `"`+version+`"` {
		b.t.Errorf("session %s asked for %s and was answered %s", id, version, at.Of(result))
	}
	return n, nil
}

func (b *bubble) mustOpen(id string) int {
	b.t.Helper()
	n, err := b.open(id, wire.LatestLegacy)
	if err != nil {
		b.t.Fatalf("open %s: %v", id, err)
	}
	return n
}

// call sends a request of a session and returns its outcome later.
func (b *bubble) call(id, method string) (*call, error) {
	l, ses, err := b.s.find(b.t.Context(), id)
	if err != nil {
		return nil, err
	}
	f, err := wire.Scan([]byte(`{"jsonrpc":"2.0","id":1,"method":"`+method+`"}`), wire.ClientLimits)
	if err != nil {
		b.t.Fatal(err)
	}
	return l.dispatch(b.t.Context(), ses, &f, "")
}

// is compares how the server is described with "status processes/spares/sessions".
func (b *bubble) is(want string) {
	b.t.Helper()
	synctest.Wait()
	d := b.s.describe()
	got := fmt.Sprintf("%s %d/%d/%d", d.Status, d.Processes, d.Spares, d.Sessions)
	if d.Full {
		got += " full"
	}
	if got != want {
		b.t.Errorf("described as %s (%s), want %s", got, d.Error, want)
	}
}

func TestSparesAreGivenAndRefilledBelowTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBubble(t, func(sc *ServerConfig) { sc.MaxProcesses, sc.Warm = 3, 2 })
		defer b.end()
		b.is("ready 2/2/0")
		b.set(func() { b.delay = 700 * time.Millisecond })
		begun := time.Now()
		first, second := b.mustOpen("s1"), b.mustOpen("s2")
		if took := time.Since(begun); took != 0 || first == second || first > 1 || second > 1 {
			t.Errorf("sessions got processes %d and %d after %s, want both spares at once", first, second, took)
		}
		time.Sleep(time.Second)
		b.is("ready 3/1/2") // there is room for one
		if third := b.mustOpen("s3"); third != 2 {
			t.Errorf("the third session got process %d, want the spare started since", third)
		}
		time.Sleep(time.Minute)
		b.is("ready 3/0/3 full")
		if !b.s.end("s2") {
			t.Error("s2 is not known")
		}
		time.Sleep(time.Minute)
		b.is("ready 3/1/2")
		if n := b.mustOpen("s4"); n != 3 {
			t.Errorf("after the end of another a session got process %d, want a new one", n)
		}
		if got := b.up(3).methods; !slices.Equal(got, []string{"initialize", "notifications/initialized", "tools/list"}) {
			t.Errorf("a spare has seen %v before its session, want the handshake, and the lists since they are old", got)
		}
		if n := b.s.stats.sparesGiven.Load(); n != 4 {
			t.Errorf("%d spares counted as given, want 4", n)
		}
	})
}

func TestServerWithoutSparesStartsAProcessForEachSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBubble(t, nil)
		defer b.end()
		b.is("ready 0/0/0")
		d := b.s.describe()
		if d.Tools != 1 || d.Catalog == "" || d.MaxProcesses != defaultMaxProcesses || d.Isolation != IsolationSession {
			t.Errorf("described as %+v, want the catalog of the process that was tried", d)
		}
		if a, c := b.mustOpen("s1"), b.mustOpen("s2"); a != 1 || c != 2 {
			t.Errorf("sessions got processes %d and %d, want 1 and 2, and nobody the one that was tried", a, c)
		}
		if again := b.mustOpen("s1"); again != 1 {
			t.Errorf("initialize again got process %d, want the session's own", again)
		}
		b.is("ready 2/0/2")
	})
}

func TestProcessOfItsOwnIsGreetedAsTheClientDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBubble(t, nil)
		defer b.end()
		for i, tc := range []struct{ params, want string }{
			{
				`{"protocolVersion":"2025-03-26","capabilities":{"roots":{}},"clientInfo":{"name":"c","version":"9"},"x":1.0}`,
				`{"protocolVersion":"2025-03-26","capabilities":{},"clientInfo":{"name":"c","version":"9"},"x":1.0}`,
			},
			{
				`{"protocolVersion":"2099-01-01","clientInfo":{"name":"c","version":"9"}}`,
				`{"protocolVersion":"` + wire.LatestLegacy + `","clientInfo":{"name":"c","version":"9"}}`,
			},
		} {
			f, err := wire.Scan([]byte(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":`+tc.params+`}`), wire.ClientLimits)
			if err != nil {
				t.Fatal(err)
			}
			version, _ := f.Lookup("params", "protocolVersion")
			v, _ := wire.Unquote(version.Of(f.Raw))
			if _, _, err := b.s.open(t.Context(), fmt.Sprint("s", i), &f, v); err != nil {
				t.Fatal(err)
			}
			if got := b.up(i + 1).hello; got != tc.want {
				t.Errorf("the process was greeted with\n%s, want\n%s", got, tc.want)
			}
		}
	})
}

func TestSpareIsNotGivenToAClientThatWouldBeAnsweredOtherwise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBubble(t, func(sc *ServerConfig) { sc.MaxProcesses, sc.Warm = 2, 1 })
		defer b.end()
		b.is("ready 1/1/0")
		if n, err := b.open("s1", "2025-03-26"); err != nil || n != 1 {
			t.Errorf("a client of an older version got process %d (%v), want a new one", n, err)
		}
		b.is("ready 2/1/1")
		// At the bound the spare makes way, since it is of no use to this session either.
		if n, err := b.open("s2", "2025-03-26"); err != nil || n != 2 || !b.up(0).closed.Load() {
			t.Errorf("another got process %d (%v), want a new one in place of the spare", n, err)
		}
		b.is("ready 2/0/2 full")
		b.s.end("s1")
		b.is("ready 2/1/1")
	})
}

func TestSpareFitsAsTheServerNegotiates(t *testing.T) {
	for _, tc := range []struct {
		server, client string
		want           bool
	}{
		{"2025-11-25", "2025-11-25", true},
		{"2025-11-25", "2025-06-18", false},
		{"2025-11-25", "2024-11-05", false},
		{"2025-06-18", "2025-11-25", true}, // asked for our latest, as the spare was
		{"2025-06-18", "2025-06-18", true},
		{"2025-06-18", "2025-03-26", false},
		{"2025-06-18", "2026-07-28", true}, // is offered what we speak
		{"2025-11-25", "1.0", true},
	} {
		if got := (&hello{version: tc.server}).fits(tc.client); got != tc.want {
			t.Errorf("a spare of a server at %s fits a client at %s: %v, want %v", tc.server, tc.client, got, tc.want)
		}
	}
}

func TestSessionsThatRaceForTheLastProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most, racers = 5, 40
		b := startBubble(t, func(sc *ServerConfig) { sc.MaxProcesses, sc.Warm = most, 2 })
		defer b.end()
		b.set(func() { b.delay = time.Second })
		for round := range 3 {
			var mu sync.Mutex
			var in []string
			var full int
			var all sync.WaitGroup
			for i := range racers {
				all.Go(func() {
					id := fmt.Sprintf("r%d/%d", round, i)
					_, _, err := b.s.pool.open(t.Context(), id, greeting{version: wire.LatestLegacy, params: []byte(initParams)})
					var fe *fullError
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err == nil:
						in = append(in, id)
					case errors.As(err, &fe):
						full++
					default:
						t.Errorf("open = %v", err)
					}
				})
			}
			all.Wait()
			if len(in) != most || full != racers-most {
				t.Errorf("%d sessions open and %d refused, want %d and %d", len(in), full, most, racers-most)
			}
			b.is(fmt.Sprintf("ready %d/0/%d full", most, most))
			for _, id := range in {
				if !b.s.end(id) {
					t.Errorf("%s is not known", id)
				}
			}
			time.Sleep(time.Minute)
			b.is("ready 2/2/0")
		}
		if n := b.s.stats.full.Load(); n != 3*(racers-most) {
			t.Errorf("%d refusals counted, want %d", n, 3*(racers-most))
		}
	})
}

const initParams = `{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}`

func TestFullFlipsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBubble(t, func(sc *ServerConfig) { sc.MaxProcesses = 1 })
		defer b.end()
		var told []bool
		b.s.tell = func() { told = append(told, b.s.describe().Full) }
		b.mustOpen("s1")
		b.s.end("s1")
		synctest.Wait()
		if !slices.Equal(told, []bool{true, false}) {
			t.Errorf("told %v, want full and then not", told)
		}
	})
}

func TestSessionWaitsForAProcessThatIsEnding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBubble(t, func(sc *ServerConfig) { sc.MaxProcesses = 1 })
		defer b.end()
		b.mustOpen("s1")
		c, err := b.call("s1", "hang")
		if err != nil {
			t.Fatal(err)
		}
		b.s.end("s1")
		b.is("ready 1/0/0") // the call is let finish
		begun := time.Now()
		if n := b.mustOpen("s2"); n != 2 {
			t.Errorf("the session got process %d, want a new one", n)
		}
		if took := time.Since(begun); took != b.s.lim.DrainTimeout {
			t.Errorf("the place came free after %s, want %s", took, b.s.lim.DrainTimeout)
		}
		if o := c.take(); !o.done || errorCode(t, string(o.answer)) != wire.CodeOutcomeUnknown {
			t.Errorf("the call cut off was answered %s (%v), want error 1001", o.answer, o.err)
		}
	})
}

func TestEndOfASessionLetsItsCallsFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBubble(t, nil)
		defer b.end()
		b.mustOpen("s1")
		c, err := b.call("s1", "hang")
		if err != nil {
			t.Fatal(err)
		}
		b.s.end("s1")
		time.Sleep(time.Second)
		if _, err := b.call("s1", "ping"); !errors.Is(err, errSessionUnknown) {
			t.Errorf("a call after the end = %v, want errSessionUnknown", err)
		}
		if b.s.end("s1") {
			t.Error("the session is known twice")
		}
		b.up(1).link.receive(wire.Result([]byte(fmt.Sprint(c.up)), []byte(`{"late":1}`)), nil)
		if o := c.take(); !o.done || !strings.Contains(string(o.answer), "late") {
			t.Errorf("the call in flight was answered %s (%v)", o.answer, o.err)
		}
		time.Sleep(time.Second)
		b.is("ready 0/0/0")
	})
}

func TestIdleSessionsLoseTheirProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBubble(t, func(sc *ServerConfig) { sc.IdleTimeout = time.Minute })
		defer b.end()
		b.mustOpen("idle")
		b.mustOpen("busy")
		b.mustOpen("used")
		if _, err := b.call("busy", "hang"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Second)
		if _, err := b.call("used", "ping"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Second)
		b.s.expire(time.Hour)
		b.is("ready 2/0/2")
		if _, err := b.call("idle", "ping"); !errors.Is(err, errSessionUnknown) {
			t.Errorf("a call of the idle session = %v, want errSessionUnknown", err)
		}
		if n := b.mustOpen("idle"); n != 4 {
			t.Errorf("opened again it got process %d, want a new one", n)
		}
		if got := [2]int64{b.s.stats.idled.Load(), b.s.stats.expired.Load()}; got != [2]int64{1, 0} {
			t.Errorf("idled and expired counted %v, want 1 and 0", got)
		}
		// What the fleet has given up is no loss.
		time.Sleep(30 * time.Second)
		b.s.expire(10 * time.Second)
		b.is("ready 1/0/1")
		if got := [2]int64{b.s.stats.idled.Load(), b.s.stats.expired.Load()}; got != [2]int64{1, 2} {
			t.Errorf("idled and expired counted %v, want 1 and 2", got)
		}
	})
}

func TestLostProcessEndsOnlyItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBubble(t, nil)
		defer b.end()
		b.mustOpen("s1")
		b.mustOpen("s2")
		c, err := b.call("s1", "hang")
		if err != nil {
			t.Fatal(err)
		}
		b.up(1).link.lose(errors.New("exited with status 7"))
		synctest.Wait()
		if o := c.take(); !o.done || !strings.Contains(string(o.answer), "server_lost") {
			t.Errorf("the call in flight was answered %s (%v), want error 1001", o.answer, o.err)
		}
		if _, err := b.call("s1", "ping"); !errors.Is(err, errSessionUnknown) {
			t.Errorf("the next call = %v, want errSessionUnknown", err)
		}
		if _, err := b.call("s2", "ping"); err != nil {
			t.Errorf("a call of the other session = %v", err)
		}
		if n := b.mustOpen("s1"); n != 3 {
			t.Errorf("opened again the session got process %d, want a new one", n)
		}
		b.is("ready 2/0/2")
		if n := b.s.stats.crashed.Load(); n != 1 {
			t.Errorf("%d lost processes counted, want 1", n)
		}
	})
}

func TestProcessesThatKeepEndingMakeTheServerFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBubble(t, func(sc *ServerConfig) { sc.Warm = 1 })
		defer b.end()
		b.mustOpen("steady")
		lose := func() {
			n := b.mustOpen("s1")
			b.up(n).link.lose(errors.New("exited with status 7"))
			synctest.Wait()
		}
		for range maxTrouble {
			lose()
			time.Sleep(stableAfter) // between them, so these have not ended soon
			n := b.mustOpen("s1")
			time.Sleep(stableAfter)
			b.up(n).link.lose(errors.New("at last"))
		}
		b.is("ready 2/1/1")
		for range maxTrouble {
			lose()
		}
		b.is("failed 1/0/1")
		if d := b.s.describe(); d.Error != "exited with status 7" || d.Catalog != "" {
			t.Errorf("failed with %q and catalog %q, want why and none", d.Error, d.Catalog)
		}
		if _, err := b.open("s2", wire.LatestLegacy); !errors.Is(err, errNotReady) {
			t.Errorf("a new session = %v, want errNotReady", err)
		}
		if _, err := b.call("steady", "ping"); err != nil {
			t.Errorf("a call of a session that has its process = %v", err)
		}
		time.Sleep(500 * time.Millisecond)
		b.is("ready 2/1/1")
		for range maxTrouble {
			lose()
		}
		time.Sleep(500 * time.Millisecond)
		b.is("failed 1/0/1") // the wait has grown
		time.Sleep(500 * time.Millisecond)
		b.is("ready 2/1/1")
		if d := b.s.describe(); d.Restarts != 2 {
			t.Errorf("%d restarts, want 2", d.Restarts)
		}
	})
}

func TestStartsThatKeepFailingMakeTheServerFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBubble(t, nil)
		defer b.end()
		b.mustOpen("steady")
		b.set(func() { b.fail = errors.New("no such thing") })
		for range maxTrouble {
			b.is("ready 1/0/1")
			if _, err := b.open("s1", wire.LatestLegacy); err == nil || !strings.Contains(err.Error(), "no such thing") {
				t.Errorf("open = %v, want why not", err)
			}
		}
		b.is("failed 1/0/1")
		time.Sleep(time.Minute)
		b.is("failed 1/0/1")
		if d := b.s.describe(); d.Error != "no such thing" {
			t.Errorf("failed with %q", d.Error)
		}
		b.set(func() { b.fail = nil })
		time.Sleep(time.Minute)
		b.is("ready 1/0/1")
		if _, err := b.call("steady", "ping"); err != nil {
			t.Errorf("a call of the session that had its process all the time = %v", err)
		}
		b.mustOpen("s1")
	})
}

func TestServerWithSparesIsReadyWhileTheyLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBubble(t, func(sc *ServerConfig) { sc.Warm = 2 })
		defer b.end()
		b.set(func() { b.fail = errors.New("no such thing") })
		b.mustOpen("s1")
		time.Sleep(time.Minute)
		b.is("ready 2/1/1")
		b.mustOpen("s2")
		time.Sleep(time.Minute)
		b.is("failed 2/0/2")
		b.set(func() { b.fail = nil })
		time.Sleep(time.Minute)
		b.is("ready 4/2/2")
	})
}

func TestStartsOfSparesThatFailAreSpacedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{t: t}
		var at []time.Duration
		begun := time.Now()
		b.s = supervisedAs(isolated(func(sc *ServerConfig) { sc.Warm = 2 }), newStarts(8), func(l *link) (upstream, error) {
			at = append(at, time.Since(begun))
			return b.dial(l)
		})
		b.run()
		defer b.end()
		b.set(func() { b.fail = errors.New("no such thing") })
		b.mustOpen("s1")
		time.Sleep(20 * time.Second)
		synctest.Wait()
		var got []string
		for i := range at[3:] {
			got = append(got, (at[i+3] - at[i+2]).String())
		}
		// After three the server would be failed, were there not a spare left.
		if want := "500ms 1s 2s 4s 8s"; strings.Join(got, " ") != want {
			t.Errorf("waits between starts = %v, want %s", got, want)
		}
	})
}

func TestSpareThatIsLostIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBubble(t, func(sc *ServerConfig) { sc.Warm, sc.MaxProcesses = 1, 1 })
		defer b.end()
		b.up(0).link.lose(errors.New("gone"))
		b.is("ready 1/1/0")
		if n := b.mustOpen("s1"); n != 1 {
			t.Errorf("the session got process %d, want the second", n)
		}
	})
}

func TestListsAreThoseOfSpares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBubble(t, func(sc *ServerConfig) { sc.Warm = 1 })
		defer b.end()
		own := b.mustOpen("s1")
		before := b.s.describe().Catalog
		more := func(n int) {
			up := b.up(n)
			up.answer = func(f *wire.Frame) string {
				if f.Method == "tools/list" {
					return `{"tools":[{"name":"t"},{"name":"u"}]}`
				}
				return goodServer(f)
			}
			up.link.receive([]byte(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`), nil)
			time.Sleep(relistDelay)
			synctest.Wait()
		}
		more(own)
		if d := b.s.describe(); d.Catalog != before {
			t.Error("what a session has changed in its process shows in the catalog of all")
		}
		more(own + 1)
		if d := b.s.describe(); d.Tools != 2 {
			t.Errorf("%d tools after a spare has told of a change, want 2", d.Tools)
		}
	})
}

func TestStartGoesOnWithoutItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBubble(t, nil)
		defer b.end()
		b.set(func() { b.delay = 10 * time.Second })
		g := greeting{version: wire.LatestLegacy, params: []byte(initParams)}
		for _, id := range []string{"comes back", "stays away"} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, _, err := b.s.pool.open(ctx, id, g); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("open = %v, want the caller's own end", err)
			}
			cancel()
		}
		time.Sleep(20 * time.Second)
		b.is("ready 2/0/2")
		begun := time.Now()
		if n := b.mustOpen("comes back"); n != 1 || time.Since(begun) != 0 {
			t.Errorf("whoever came back got process %d after %s, want the one started, at once", n, time.Since(begun))
		}
		time.Sleep(orphanTime)
		b.s.expire(time.Hour)
		b.is("ready 1/0/1")
		if _, err := b.call("stays away", "ping"); !errors.Is(err, errSessionUnknown) {
			t.Errorf("a call of the other = %v, want errSessionUnknown", err)
		}
	})
}

func TestOneStartServesAllWhoOpenASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBubble(t, nil)
		defer b.end()
		b.set(func() { b.delay = time.Second })
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				if n := b.mustOpen("s1"); n != 1 {
					t.Errorf("one got process %d, want the same for all", n)
				}
			})
		}
		synctest.Wait()
		all.Go(func() { // another coordinator thinks that the session is open
			if _, err := b.call("s1", "ping"); err != nil {
				t.Errorf("a call while the process starts = %v, want it to wait", err)
			}
		})
		all.Wait()
		b.is("ready 1/0/1")
	})
}

func TestSessionThatEndsWhileItsProcessStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBubble(t, nil)
		defer b.end()
		b.set(func() { b.delay = time.Second })
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := b.open("s1", wire.LatestLegacy); !errors.Is(err, errSessionUnknown) {
				t.Errorf("open = %v, want errSessionUnknown", err)
			}
		})
		synctest.Wait()
		if !b.s.end("s1") {
			t.Error("the session is not known while its process starts")
		}
		b.is("ready 1/0/0")
		all.Wait()
		b.is("ready 0/0/0")
	})
}

func TestServersOwnRefusalReachesTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBubble(t, nil)
		defer b.end()
		old := b.s.dial
		b.s.dial = func(l *link) (upstream, error) {
			up, err := old(l)
			up.(*poolUp).answer = func(*wire.Frame) string { return `!{"code":-32602,"message":"not you"}` }
			return up, err
		}
		for range 2 * maxTrouble {
			if _, err := b.open("s1", wire.LatestLegacy); !isAnswer(err) || !strings.Contains(err.Error(), "not you") {
				t.Fatalf("open = %v, want the server's answer", err)
			}
		}
		b.is("ready 0/0/0")
	})
}

func TestStopWhileProcessesStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBubble(t, func(sc *ServerConfig) { sc.Warm = 2 })
		b.set(func() { b.delay = time.Hour })
		b.mustOpen("s1")
		b.mustOpen("s2")
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := b.open("s3", wire.LatestLegacy); err == nil {
				t.Error("a session has opened after the end")
			}
		})
		synctest.Wait()
		begun := time.Now()
		b.end()
		all.Wait()
		if took := time.Since(begun); took != 0 {
			t.Errorf("the end took %s, want it at once", took)
		}
		if d := b.s.describe(); d.Status != store.ServerFailed || !strings.Contains(d.Error, "shutting down") {
			t.Errorf("afterwards %s (%s), want failed for the end", d.Status, d.Error)
		}
		if _, err := b.open("s4", wire.LatestLegacy); err == nil {
			t.Error("a session has opened long after the end")
		}
	})
}

func TestNoProcessIsStartedForAClientWithoutALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBubble(t, nil)
		defer b.end()
		b.s.fence = func() error { return errFenced }
		for range 2 * maxTrouble {
			if _, err := b.open("s1", wire.LatestLegacy); !errors.Is(err, errFenced) {
				t.Fatalf("open = %v, want errFenced", err)
			}
		}
		b.is("ready 0/0/0")
		if n := len(b.ups); n != 1 {
			t.Errorf("%d processes were started, want none but the first", n)
		}
	})
}
