package store_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/store"
	"github.com/mcphub-go/mcphub/store/storetest"
)

// timeout is the one that coordinators use; slack is what a busy machine may add, and still far from
// the 5 s and more after which go-redis gives up by itself.
const (
	timeout = 250 * time.Millisecond
	slack   = 3500 * time.Millisecond
)

// silent is a server that accepts and never answers.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Add(1)
			go func() {
				defer wg.Done()
				_, _ = io.Copy(io.Discard, c) // until the client hangs up
				_ = c.Close()
			}()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

// refusing is an address where nobody listens.
func refusing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func open(t *testing.T, url string, opts ...store.Option) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{URL: url, Schema: 1}, opts...)
	if err != nil {
		t.Fatalf("Open(%s) = %v; Redis being away is no error", url, err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// everyCall is one call of each kind.
func everyCall(s *store.Store) map[string]func(context.Context) error {
	n := store.Node{ID: "n", Instance: "a", Epoch: 1}
	id := store.SessionID("05000000000000000000000000000001")
	d := store.DigestOf([]byte("x"))
	return map[string]func(context.Context) error{
		"Ping":         s.Ping,
		"RegisterNode": func(ctx context.Context) error { _, err := s.RegisterNode(ctx, n, time.Minute, false); return err },
		"BeatNode":     func(ctx context.Context) error { _, err := s.BeatNode(ctx, n, time.Minute); return err },
		"Deregister":   func(ctx context.Context) error { return s.DeregisterNode(ctx, "n", 1) },
		"SweepNodes":   func(ctx context.Context) error { _, err := s.SweepNodes(ctx); return err },
		"RemoveNodes":  func(ctx context.Context) error { _, err := s.RemoveNodes(ctx, time.Minute); return err },
		"Snapshot":     func(ctx context.Context) error { _, err := s.Snapshot(ctx, nil); return err },
		"Create":       func(ctx context.Context) error { return s.CreateSession(ctx, store.Session{ID: id}, time.Minute) },
		"Claim":        func(ctx context.Context) error { return s.ClaimSession(ctx, id, "a", 1, time.Minute) },
		"Unclaim":      func(ctx context.Context) error { return s.UnclaimSession(ctx, id, "a") },
		"Session":      func(ctx context.Context) error { _, err := s.Session(ctx, id); return err },
		"Bind": func(ctx context.Context) error {
			_, err := s.Bind(ctx, id, "a", store.Binding{}, store.Binding{Node: "n", Epoch: 1}, time.Minute)
			return err
		},
		"Subscription": func(ctx context.Context) error {
			_, _, err := s.AddSubscription(ctx, id, store.Subscription{Server: "a", URI: "a:b"}, time.Hour)
			return err
		},
		"Subscriptions": func(ctx context.Context) error { _, err := s.Subscriptions(ctx, id); return err },
		"Level":         func(ctx context.Context) error { return s.SetSessionLevel(ctx, id, "info") },
		"Touch":         func(ctx context.Context) error { return s.TouchSessions(ctx, []store.SessionID{id}, time.Minute) },
		"EndSession":    func(ctx context.Context) error { return s.EndSession(ctx, id, time.Minute) },
		"Sessions":      func(ctx context.Context) error { _, _, err := s.Sessions(ctx, "", 10); return err },
		"CountSessions": func(ctx context.Context) error { _, err := s.CountSessions(ctx); return err },
		"PutCatalog":    func(ctx context.Context) error { return s.PutCatalog(ctx, d, []byte("x"), time.Minute) },
		"Catalog":       func(ctx context.Context) error { _, err := s.Catalog(ctx, d); return err },
		"TouchCatalogs": func(ctx context.Context) error {
			_, err := s.TouchCatalogs(ctx, []store.Digest{d}, time.Minute)
			return err
		},
		"PutCoordinator": func(ctx context.Context) error {
			_, err := s.PutCoordinator(ctx, store.Coordinator{ID: "c"}, time.Minute)
			return err
		},
		"RemoveCoordinator": func(ctx context.Context) error { return s.RemoveCoordinator(ctx, "c") },
		"Coordinators":      func(ctx context.Context) error { _, err := s.Coordinators(ctx); return err },
		"AppendEvent":       func(ctx context.Context) error { return s.AppendEvent(ctx, store.Event{Kind: "x"}) },
		"Events":            func(ctx context.Context) error { _, err := s.Events(ctx, 1); return err },
		"EventsAfter":       func(ctx context.Context) error { _, err := s.EventsAfter(ctx, "1-1", 1); return err },
		"FleetKey":          func(ctx context.Context) error { _, err := s.FleetKey(ctx, make([]byte, 32)); return err },
		"PutGroup":          func(ctx context.Context) error { return s.PutGroup(ctx, store.Group{Name: "g"}, true) },
		"DeleteGroup":       func(ctx context.Context) error { return s.DeleteGroup(ctx, "g") },
		"RestoreGroups":     func(ctx context.Context) error { return s.RestoreGroups(ctx, []store.Group{{Name: "g"}}) },
		"Groups":            func(ctx context.Context) error { _, _, err := s.Groups(ctx, 0); return err },
		"Notify":            func(ctx context.Context) error { return s.Notify(ctx, store.Hint{Kind: store.HintRev}) },
		"SchemaVersion":     func(ctx context.Context) error { _, err := s.SchemaVersion(ctx); return err },
	}
}

// tickingClock moves on a minute at each look, so that the breaker lets every call through.
func tickingClock() store.Option {
	var n atomic.Int64
	return store.WithClock(func() time.Time { return time.Unix(n.Add(60), 0) })
}

// Every call ends within the limit, also the ones that connect, and says ErrUnavailable.
func TestEveryCallIsBoundedWhenRedisIsAway(t *testing.T) {
	away := map[string]struct {
		url    func(t *testing.T) string
		states string
	}{
		"silent":            {func(t *testing.T) string { return "redis://" + silent(t) }, "slow"},
		"refusing":          {func(t *testing.T) string { return "redis://" + refusing(t) }, "down"},
		"silent tls":        {func(t *testing.T) string { return "rediss://" + silent(t) }, "slow"},
		"silent cluster":    {func(t *testing.T) string { return "redis+cluster://" + silent(t) + "," + silent(t) }, "slow down"},
		"refusing cluster":  {func(t *testing.T) string { return "redis+cluster://" + refusing(t) + "," + refusing(t) }, "down"},
		"silent sentinel":   {func(t *testing.T) string { return "redis+sentinel://" + silent(t) + "?master_name=m" }, "slow down"},
		"refusing sentinel": {func(t *testing.T) string { return "redis+sentinel://" + refusing(t) + "?master_name=m" }, "down"},
		"frozen": {func(t *testing.T) string {
			server := storetest.StartServer(t)
			server.Freeze(t)
			return server.URL()
		}, "slow"},
	}
	for name, c := range away {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, c.url(t), tickingClock())
			worst := time.Duration(0)
			for call, f := range everyCall(s) {
				start := time.Now()
				err := f(t.Context())
				took := time.Since(start)
				if worst = max(worst, took); took > timeout+slack {
					t.Errorf("%s took %v", call, took)
				}
				if !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("%s = %v, want ErrUnavailable", call, err)
				}
				if h := s.Health(); h.OK || h.Err == "" {
					t.Errorf("after %s: Health = %+v", call, h)
				}
			}
			t.Logf("slowest call %v; %+v", worst, s.Health())
		})
	}
}

// A caller in a hurry is not held up by the longer limit.
func TestACallEndsWithItsContext(t *testing.T) {
	s := open(t, "redis://"+silent(t), tickingClock())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := s.Ping(ctx); !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Ping = %v", err)
	}
	if took := time.Since(start); took > 200*time.Millisecond {
		t.Fatalf("Ping took %v", took)
	}
}

// While the breaker is open calls cost nothing; Redis back, the next probe closes it.
func TestBreakerOverAFrozenRedis(t *testing.T) {
	server := storetest.StartServer(t)
	var now atomic.Int64
	s := open(t, server.URL(), store.WithClock(func() time.Time { return time.UnixMilli(now.Load()) }))
	server.Freeze(t)
	for range 3 {
		if err := s.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("Ping = %v", err)
		}
	}
	start := time.Now()
	for range 1000 {
		if _, err := s.Snapshot(t.Context(), nil); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("Snapshot = %v", err)
		}
	}
	if took := time.Since(start); took > timeout {
		t.Fatalf("1000 calls under an open breaker took %v", took)
	}
	if h := s.Health(); h.State != store.HealthSlow {
		t.Fatalf("Health = %+v", h)
	}
	server.Thaw(t)
	now.Add(1000)
	storetest.WaitFor(t, "the probe that closes the breaker", func() bool {
		now.Add(1000)
		return s.Ping(t.Context()) == nil
	})
	for range 100 {
		if err := s.Ping(t.Context()); err != nil {
			t.Fatalf("Ping after the breaker closed = %v", err)
		}
	}
	if h := s.Health(); !h.OK || h.State != store.HealthOK {
		t.Fatalf("Health = %+v", h)
	}
}

// A coordinator may start before Redis.
func TestOpenBeforeRedis(t *testing.T) {
	addr := refusing(t)
	s := open(t, "redis://"+addr, tickingClock())
	if h := s.Health(); h.State != store.HealthDown {
		t.Fatalf("Health = %+v", h)
	}
	e, err := store.StartEmbedded(addr)
	if err != nil {
		t.Skipf("SKIPPED (port taken meanwhile): %v", err)
	}
	defer e.Close()
	storetest.WaitFor(t, "Redis to be noticed", func() bool {
		_, err := s.Snapshot(t.Context(), nil)
		return err == nil
	})
}

func TestOpenRefusesAWrongPassword(t *testing.T) {
	server := storetest.StartServer(t, "--requirepass", "right")
	for _, userinfo := range []string{"", ":wrong@", "nobody:right@"} {
		s, err := store.Open(t.Context(), store.Config{URL: "redis://" + userinfo + server.Addr, Timeout: 5 * time.Second})
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("Open with %q = %v, want ErrUnavailable", userinfo, err)
		}
		if s != nil {
			t.Errorf("Open with %q also returned a store", userinfo)
		}
	}
	s := open(t, "redis://:right@"+server.Addr)
	if err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// What real servers answer, not what we believe they answer.
func TestRealRefusals(t *testing.T) {
	t.Run("out of memory", func(t *testing.T) {
		server := storetest.StartServer(t, "--maxmemory", "1", "--maxmemory-policy", "noeviction")
		s := open(t, server.URL())
		if _, err := s.RegisterNode(t.Context(), store.Node{ID: "n", Instance: "a"}, time.Minute, false); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("RegisterNode = %v", err)
		}
		if h := s.Health(); h.State != store.HealthMemory {
			t.Fatalf("Health = %+v", h)
		}
		for range 5 {
			if _, err := s.Snapshot(t.Context(), nil); err != nil {
				t.Fatalf("Snapshot = %v: reading still works", err)
			}
		}
	})
	t.Run("replica", func(t *testing.T) {
		primary := storetest.StartServer(t)
		host, port, _ := net.SplitHostPort(primary.Addr)
		replica := storetest.StartServer(t, "--replicaof", host+" "+port)
		s := open(t, replica.URL())
		storetest.WaitFor(t, "READONLY", func() bool {
			err := s.AppendEvent(t.Context(), store.Event{Kind: "x"})
			return err != nil && s.Health().State == store.HealthReadOnly
		})
		if _, err := s.Snapshot(t.Context(), nil); err != nil {
			t.Fatalf("Snapshot on a replica = %v", err)
		}
	})
	t.Run("acl", func(t *testing.T) {
		server := storetest.StartServer(t, "--user", "hub", "on", ">pw", "~mcphub:*", "&mcphub:*", "+@all", "-@dangerous")
		s := open(t, "redis://hub:pw@"+server.Addr)
		if err := s.AppendEvent(t.Context(), store.Event{Kind: "x"}); err != nil {
			t.Fatalf("AppendEvent as a user bound to the prefix = %v", err)
		}
		if _, err := s.RegisterNode(t.Context(), store.Node{ID: "n", Instance: "a"}, time.Minute, false); err != nil {
			t.Fatalf("RegisterNode = %v", err)
		}
		if _, err := s.SweepNodes(t.Context()); err != nil {
			t.Fatalf("SweepNodes = %v", err)
		}
		other, err := store.Open(t.Context(), store.Config{URL: "redis://hub:pw@" + server.Addr, KeyPrefix: "other"})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = other.Close() }()
		if err := other.AppendEvent(t.Context(), store.Event{Kind: "x"}); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("AppendEvent outside the prefix = %v", err)
		}
		if h := other.Health(); h.State != store.HealthAuth {
			t.Fatalf("Health = %+v", h)
		}
	})
}

// A failover costs nothing but the time it takes: the store finds the new primary by itself.
func TestSentinelFailover(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED (-short): Sentinel failover")
	}
	url, primary := storetest.StartSentinel(t)
	s := open(t, url, tickingClock())
	n, err := s.RegisterNode(t.Context(), store.Node{ID: "n", Instance: "a"}, time.Minute, false)
	if err != nil {
		t.Fatalf("RegisterNode through Sentinel = %v", err)
	}
	primary.Kill()
	storetest.WaitFor(t, "the new primary", func() bool {
		_, err := s.BeatNode(t.Context(), n, time.Minute)
		return err == nil
	})
	if snap, err := s.Snapshot(t.Context(), nil); err != nil || len(snap.Nodes) != 1 || snap.Nodes[0].Epoch != n.Epoch {
		t.Fatalf("Snapshot = %+v, %v", snap, err)
	}
}

// A subscription comes back by itself, and says that something may have been missed.
func TestSubscriptionIsMadeAgain(t *testing.T) {
	server := storetest.StartServer(t)
	e := storetest.Dial(t, server.URL())
	hints, err := e.Second.Subscribe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	<-hints
	if _, err := e.Do("CLIENT", "KILL", "TYPE", "pubsub"); err != nil {
		t.Fatal(err)
	}
	if h := <-hints; h.Kind != store.HintRev {
		t.Fatalf("hint %+v", h)
	}
	want := store.Hint{Kind: store.HintSession, Session: "05000000000000000000000000000001"}
	if err := e.Store.Notify(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if h := <-hints; h != want {
		t.Fatalf("hint %+v, want %+v", h, want)
	}
}

// Subscribing while Redis is away waits for it, and ends with its context.
func TestSubscribeWithoutRedis(t *testing.T) {
	s := open(t, "redis://"+silent(t), tickingClock())
	ctx, stop := context.WithCancel(t.Context())
	hints, err := s.Subscribe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	stop()
	for range hints {
		t.Fatal("a hint from nowhere")
	}
}
