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
)

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
		if d.Tools != 1 || d.Catalog == "" || d.MaxProcesses != defaultMaxProcesses || d.Isolation != IsolationSession || d.StartSeconds != 30 {
			t.Errorf("described as %+v, want the catalog of the process that was tried, and the default bounds", d)
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
				`{"protocolVersion":"2025-03-26","capabilities":{"roots":{}},"clientInfo":{"name":"c","version":"9"},"x":1.0}`,
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

// Whose client went away was not refused for want of room.
func TestClientThatWaitsNoLongerIsNotCountedAsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBubble(t, func(sc *ServerConfig) { sc.MaxProcesses = 1 })
		defer b.end()
		b.mustOpen("s1")
		if _, err := b.call("s1", "hang"); err != nil {
			t.Fatal(err)
		}
		b.s.end("s1") // its process has a call to finish, so s2 waits
		ctx, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		f, err := wire.Scan([]byte(initBody(wire.LatestLegacy)), wire.ClientLimits)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.s.open(ctx, "s2", &f, wire.LatestLegacy); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("open = %v, want that the client went away", err)
		}
		if full, abandoned := b.s.stats.full.Load(), b.s.stats.abandoned.Load(); full != 0 || abandoned != 1 {
			t.Errorf("%d counted as refused, %d as abandoned; want 0 and 1", full, abandoned)
		}
	})
}
