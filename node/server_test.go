package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// scriptUp is an upstream without a process or a socket, for supervisors in a bubble.
type scriptUp struct {
	link   *link
	answer func(f *wire.Frame) string // the result, or an error object after "!"; empty is silence
	closed atomic.Bool
}

func (u *scriptUp) send(_ context.Context, m message) error {
	if err := m.clear(); err != nil {
		return err
	}
	if m.call == nil {
		return nil
	}
	f, err := wire.Scan(m.frame, wire.ServerLimits)
	if err != nil {
		return err
	}
	result := u.answer(&f)
	if object, isError := strings.CutPrefix(result, "!"); isError {
		u.link.receive([]byte(`{"jsonrpc":"2.0","id":`+string(f.IDBytes())+`,"error":`+object+`}`), nil)
	} else if result != "" {
		u.link.receive(wire.Result(f.IDBytes(), []byte(result)), nil)
	}
	return nil
}

func (u *scriptUp) close()           { u.closed.Store(true) }
func (u *scriptUp) stderr() []string { return nil }

const helloTools = `{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"prompts":{}},"serverInfo":{"name":"s","version":"1"}}`

// goodServer answers what a supervisor asks.
func goodServer(f *wire.Frame) string {
	switch f.Method {
	case "initialize":
		return helloTools
	case "tools/list":
		return `{"tools":[{"name":"t"}]}`
	case "prompts/list":
		return `{"prompts":[{"name":"p"},{"name":"q"}]}`
	}
	return `{}`
}

// supervised is a server whose connections a test makes.
func supervised(name string, slots *starts, dial func(*link) (upstream, error)) *server {
	return supervisedAs(ServerConfig{Name: name, Command: "x", Enabled: true}, slots, dial)
}

func supervisedAs(sc ServerConfig, slots *starts, dial func(*link) (upstream, error)) *server {
	cfg := Config{ID: "n1"}.withDefaults()
	s := newServer(sc, &cfg, discard())
	s.stats, s.fence, s.slots, s.dial = &counters{}, always, slots, dial
	s.back.rand = func() float64 { return 0.5 }
	return s
}

func TestFailedStartsAreSpacedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		begun := time.Now()
		s := supervised("a", newStarts(1), func(*link) (upstream, error) {
			at = append(at, time.Since(begun))
			return nil, errors.New("no luck")
		})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		s.run(ctx)
		var got []string
		for i := range at[1:] {
			got = append(got, (at[i+1] - at[i]).String())
		}
		if want := "500ms 1s 2s 4s 8s 16s 30s 30s"; strings.Join(got, " ") != want {
			t.Errorf("waits between attempts = %v, want %s", got, want)
		}
		if d := s.describe(); d.Status != store.ServerFailed || d.Error != "no luck" || d.Restarts != len(at)-1 {
			t.Errorf("described as %+v, want failed with %d restarts", d, len(at)-1)
		}
	})
}

func TestBackoffStaysInItsBounds(t *testing.T) {
	for _, r := range []float64{0, 0.25, 0.999999} {
		b := backoff{rand: func() float64 { return r }}
		for i := range 40 {
			d := b.next()
			if d < 400*time.Millisecond || d > backoffMost {
				t.Fatalf("wait %d with jitter %v = %s, want 0.4 s to 30 s", i, r, d)
			}
		}
		b.reset()
		if d := b.next(); d > 600*time.Millisecond {
			t.Errorf("wait after reset = %s, want the first again", d)
		}
	}
	one, two := backoff{}, backoff{}
	same := true
	for range 20 {
		same = same && one.next() == two.next()
	}
	if same {
		t.Error("two back-offs wait in step, want jitter")
	}
}

func TestStartsAreBoundedInNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const servers, parallel = 20, 3
		var now, most atomic.Int32
		slots := newStarts(parallel)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		var list []*server
		for i := range servers {
			s := supervised(fmt.Sprint("s", i), slots, func(l *link) (upstream, error) {
				n := now.Add(1)
				for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
				}
				time.Sleep(time.Second) // of the bubble
				now.Add(-1)
				return &scriptUp{link: l, answer: goodServer}, nil
			})
			list = append(list, s)
			all.Go(func() { s.run(ctx) })
		}
		for _, s := range list {
			<-s.tried
		}
		if got := most.Load(); got != parallel {
			t.Errorf("%d starts at the same time, want %d", got, parallel)
		}
		for _, s := range list {
			if d := s.describe(); d.Status != store.ServerReady {
				t.Errorf("%s is %s", d.ID, d.Status)
			}
		}
		cancel()
		all.Wait()
	})
}

func TestServerGoesThroughItsStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made := make(chan *scriptUp, 9)
		s := supervised("a", newStarts(1), func(l *link) (upstream, error) {
			u := &scriptUp{link: l, answer: goodServer}
			made <- u
			return u, nil
		})
		if d := s.describe(); d.Status != store.ServerStarting {
			t.Errorf("before Run: %s, want starting", d.Status)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { s.run(ctx) })
		synctest.Wait()
		if d := s.describe(); d.Status != store.ServerReady || d.Tools != 1 || d.Prompts != 2 || d.Catalog == "" {
			t.Fatalf("after the start: %+v, want ready", d)
		}
		up := <-made
		up.link.lose(errors.New("gone"))
		synctest.Wait()
		d := s.describe()
		if d.Status != store.ServerFailed || d.Error != "gone" || d.Catalog != "" || !up.closed.Load() {
			t.Errorf("after the loss: %+v, closed %v, want failed, without a catalog, and closed", d, up.closed.Load())
		}
		time.Sleep(499 * time.Millisecond)
		synctest.Wait()
		if len(made) != 0 {
			t.Error("started again before its time")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if d := s.describe(); d.Status != store.ServerReady || d.Restarts != 1 {
			t.Errorf("after the wait: %+v, want ready again", d)
		}
		time.Sleep(stableAfter + time.Second)
		(<-made).link.lose(errors.New("gone again"))
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		if d := s.describe(); d.Status != store.ServerReady {
			t.Errorf("%s half a second after a stable run, want the first wait again", d.Status)
		}
		cancel()
		all.Wait()
		up = <-made
		if d := s.describe(); d.Status != store.ServerFailed || !up.closed.Load() {
			t.Errorf("after the end: %s, closed %v", d.Status, up.closed.Load())
		}
	})
}

func TestHandshakesAndListsThatAreNoGood(t *testing.T) {
	with := func(method, result string) func(*wire.Frame) string {
		return func(f *wire.Frame) string {
			if f.Method == method {
				return result
			}
			return goodServer(f)
		}
	}
	for _, tc := range []struct {
		name, method, result, want string
	}{
		{"refused", "initialize", `!{"code":-32603,"message":"not today"}`, "server answered error -32603: not today"},
		{"no version", "initialize", `{"capabilities":{}}`, "named no protocolVersion"},
		{"odd version", "initialize", `{"protocolVersion":7}`, "not a string"},
		{"future version", "initialize", `{"protocolVersion":"2026-07-28"}`, `speaks MCP "2026-07-28"`},
		{"silent", "initialize", ``, "not ready after 30s"},
		{"no list", "tools/list", `{}`, `has no list "tools"`},
		{"list refused", "tools/list", `!{"code":-32601,"message":"no"}`, "-32601"},
		{"endless list", "tools/list", `{"tools":[],"nextCursor":"a"}`, "same cursor"},
		{"list silent", "tools/list", ``, "not ready after 30s"},
		{"huge list", "tools/list", `{"tools":["` + strings.Repeat("x", 8<<20) + `"]}`, "no usable answer"},
		{"long list", "tools/list", `{"tools":["` + strings.Repeat("x", maxCatalog-100) + `"]}`, "over 4 MiB"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := supervised("a", newStarts(1), func(l *link) (upstream, error) {
					return &scriptUp{link: l, answer: with(tc.method, tc.result)}, nil
				})
				ctx, cancel := context.WithCancel(t.Context())
				var all sync.WaitGroup
				all.Go(func() { s.run(ctx) })
				<-s.tried
				if d := s.describe(); d.Status != store.ServerFailed || !strings.Contains(d.Error, tc.want) {
					t.Errorf("%s (%q), want failed with %q", d.Status, d.Error, tc.want)
				}
				cancel()
				all.Wait()
			})
		})
	}
}

// The exit of a server that ends at once is noticed by whoever writes to it and by whoever
// reads, in any order.
func TestServerThatExitsAtOnceIsShownWithItsExit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := supervised("a", newStarts(1), func(l *link) (upstream, error) {
			return &exitedUp{scriptUp{link: l, answer: goodServer}}, nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { s.run(ctx) })
		<-s.tried
		if d := s.describe(); !strings.Contains(d.Error, "exited with status 1") {
			t.Errorf("described with %q, want the exit", d.Error)
		}
		cancel()
		all.Wait()
	})
}

// exitedUp is lost right before the first message.
type exitedUp struct{ scriptUp }

func (u *exitedUp) send(ctx context.Context, m message) error {
	u.link.lose(fmt.Errorf("%w: the process exited with status 1", errLost))
	return u.scriptUp.send(ctx, m)
}

func TestListsThatMayBeMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := supervised("a", newStarts(1), func(l *link) (upstream, error) {
			return &scriptUp{link: l, answer: func(f *wire.Frame) string {
				if f.Method == "prompts/list" {
					return `!{"code":-32601,"message":"no"}`
				}
				return goodServer(f)
			}}, nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { s.run(ctx) })
		<-s.tried
		d := s.describe()
		b, _ := s.catalogBytes(d.Catalog)
		if d.Status != store.ServerReady || !strings.Contains(string(b), `"prompts":[],`) {
			t.Errorf("%s with catalog %s, want ready without prompts", d.Status, b)
		}
		cancel()
		all.Wait()
	})
}

func TestListsThatFailLaterAreReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lists atomic.Int32
		var up *scriptUp
		s := supervised("a", newStarts(1), func(l *link) (upstream, error) {
			up = &scriptUp{link: l, answer: func(f *wire.Frame) string {
				if f.Method == "tools/list" {
					switch lists.Add(1) {
					case 1:
					case 2:
						return `!{"code":-32603,"message":"busy"}`
					default:
						return `{"tools":[{"name":"t"},{"name":"u"}]}`
					}
				}
				return goodServer(f)
			}}
			return up, nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { s.run(ctx) })
		<-s.tried
		for range 50 { // announced one by one, read once
			up.link.receive([]byte(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`), nil)
		}
		time.Sleep(relistDelay)
		synctest.Wait()
		if d := s.describe(); d.Status != store.ServerReady || d.Tools != 1 || lists.Load() != 2 {
			t.Errorf("after lists that failed: %s with %d tools, read %d times, want the old ones", d.Status, d.Tools, lists.Load())
		}
		time.Sleep(relistRetry)
		synctest.Wait()
		if d := s.describe(); d.Tools != 2 {
			t.Errorf("after the retry: %d tools, want 2", d.Tools)
		}
		time.Sleep(relistDelay)
		synctest.Wait()
		if n := lists.Load(); n > 4 {
			t.Errorf("lists read %d times for 50 announcements", n)
		}
		cancel()
		all.Wait()
	})
}
