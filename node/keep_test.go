package node

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

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
		if st := b.s.stats.stats(); st.ExpiredSessions+st.IdledSessions != 0 {
			t.Errorf("stats = %+v, want nothing counted that nobody had", st)
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
		begun := time.Now()
		all.Wait()
		b.is("ready 0/0/0")
		if took := time.Since(begun); took != 0 {
			t.Errorf("the start went on for %s, want it given up", took)
		}
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

// A coordinator may open the session again before anybody has looked at the end of its process.
func TestProcessThatEndsCountsThoughItsSessionIsOpenedAgainAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBubble(t, nil)
		defer b.end()
		for range maxTrouble {
			b.up(b.mustOpen("s1")).link.lose(errors.New("exited with status 7"))
		}
		b.is("failed 0/0/0")
	})
}
