package router

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/mcphub-go/mcphub/store"
)

// newRedisWorld is a world over the real store on an embedded Redis, each router with a
// connection of its own.
func newRedisWorld(t testing.TB, nodes, routers int) (*world, *miniredis.Miniredis, []*store.Store) {
	t.Helper()
	redis := miniredis.RunT(t)
	w := newWorld(t, nodes, 0)
	var stores []*store.Store
	for range routers {
		s, err := store.Open(context.Background(), store.Config{URL: "redis://" + redis.Addr(), Timeout: 5 * time.Second, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		stores = append(stores, s)
		w.rs = append(w.rs, w.router(s, nil))
	}
	return w, redis, stores
}

// Counted at Redis itself: no command for a request in a known session.
func TestRedisIsNotOnTheRequestPath(t *testing.T) {
	w, redis, _ := newRedisWorld(t, 3, 3)
	session, home := begin(t, w.rs[0], testServer)
	wide, _ := begin(t, w.rs[0], "")
	for _, r := range w.rs {
		invoke(t, r, session)
		post(t, r, "", wide, message("1", "tools/call", `{"name":"memory-inc"}`))
	}
	before := redis.CommandCount()
	for i := range 60 {
		if got := invoke(t, w.rs[i%3], session).get("result", "node"); got != string(home) {
			t.Fatalf("call %d ran on %s, want %s", i, got, home)
		}
		post(t, w.rs[i%3], "", wide, message("1", "tools/call", `{"name":"memory-inc"}`))
	}
	if got := redis.CommandCount() - before; got != 0 {
		t.Errorf("120 calls in known sessions cost %d commands, want 0", got)
	}
}

func TestRedisConcurrentFailover(t *testing.T) {
	w, _, stores := newRedisWorld(t, 4, 3)
	var sessions []string
	for range 30 {
		s, _ := begin(t, w.rs[0], testServer)
		for _, r := range w.rs {
			invoke(t, r, s)
		}
		sessions = append(sessions, s)
	}
	dead := w.nodes[0]
	dead.kill()
	var all sync.WaitGroup
	got := make([]string, 3*len(sessions))
	for i, s := range sessions {
		for j, r := range w.rs {
			all.Go(func() {
				p := do(r, Request{Scope: testServer, SessionID: s, Body: []byte(message("1", "tools/call", "{}"))})
				if got[3*i+j] = p.get("result", "node"); p.err != nil || got[3*i+j] == "" {
					t.Errorf("session %d at replica %d: %v %s", i, j, p.err, p.Body)
				}
			})
		}
	}
	all.Wait()
	for i, s := range sessions {
		rec, err := stores[0].Session(t.Context(), mustToken(t, w.rs[0], s).SessionID())
		if err != nil {
			t.Fatal(err)
		}
		at := string(rec.Bindings[testServer].Node)
		for j := range w.rs {
			if got[3*i+j] != at {
				t.Errorf("session %d: replica %d sent its call to %s, the binding is %s", i, j, got[3*i+j], at)
			}
		}
	}
	held := 0
	for _, n := range w.nodes[1:] {
		h, _ := n.held()
		held += h
	}
	if held != len(sessions) {
		t.Errorf("the survivors hold %d sessions, want %d: whoever lost closed what it had opened", held, len(sessions))
	}
}

// Redis stops and comes back: no session sees it, new ones are begun meanwhile, and what was
// begun and moved without it is there afterwards.
func TestRedisStopsAndComesBack(t *testing.T) {
	for _, empty := range []bool{false, true} {
		t.Run("empty="+strconv.FormatBool(empty), func(t *testing.T) {
			w, redis, stores := newRedisWorld(t, 3, 2)
			for _, r := range w.rs {
				running(t, r)
			}
			before, home := begin(t, w.rs[0], testServer)
			invoke(t, w.rs[1], before)
			redis.Close()
			start := time.Now()
			during, at := begin(t, w.rs[0], testServer)
			if d := time.Since(start); d > 2*time.Second {
				t.Errorf("a session took %v to begin without Redis", d)
			}
			for i := range 20 {
				if got := invoke(t, w.rs[i%2], before).get("result", "node"); got != string(home) {
					t.Errorf("call %d ran on %s, want %s", i, got, home)
				}
				if got := invoke(t, w.rs[i%2], during).get("result", "node"); got != string(at) {
					t.Errorf("call %d ran on %s, want %s", i, got, at)
				}
			}
			w.node(home).kill()
			moved := invoke(t, w.rs[0], before).get("result", "node")
			if empty {
				redis.FlushAll()
			}
			if err := redis.Restart(); err != nil {
				t.Fatal(err)
			}
			for name, s := range map[string]string{"before": before, "during": during} {
				want := invoke(t, w.rs[0], s).get("result", "node")
				if name == "before" && want != moved {
					t.Errorf("the moved session is served by %s, was by %s", want, moved)
				}
				if empty && name == "before" {
					continue // written back with the next renewal; see TestEmptiedStoreIsFilledAgain
				}
				eventually(t, name+" is stored where it is served", func() bool {
					rec, err := stores[1].Session(t.Context(), mustToken(t, w.rs[0], s).SessionID())
					return err == nil && string(rec.Bindings[testServer].Node) == want && string(rec.Init) == initParams
				})
			}
		})
	}
}
