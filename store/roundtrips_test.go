package store

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// tripCounter counts what go-redis sends and waits for: a command or a pipeline.
type tripCounter struct{ n atomic.Int64 }

func (c *tripCounter) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *tripCounter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.n.Add(1)
		return next(ctx, cmd)
	}
}

func (c *tripCounter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.n.Add(1)
		return next(ctx, cmds)
	}
}

// What is done often costs few round trips, whatever the number of things it is done to.
func TestRoundTrips(t *testing.T) {
	m := miniredis.RunT(t)
	s := openTest(t, "redis://"+m.Addr())
	var trips tripCounter
	s.rdb.AddHook(&trips)
	ctx := t.Context()
	n := Node{ID: "n1", Instance: "a"}
	var ids []SessionID
	var snap *Snapshot
	do := map[string]func() error{
		"register": func() (err error) {
			n, err = s.RegisterNode(ctx, n, time.Minute, false)
			return err
		},
		"beat":   func() error { _, err := s.BeatNode(ctx, n, time.Minute); return err },
		"sweep":  func() error { _, err := s.SweepNodes(ctx); return err },
		"remove": func() error { _, err := s.RemoveNodes(ctx, time.Minute); return err },
		"snapshot": func() (err error) {
			snap, err = s.Snapshot(ctx, snap)
			return err
		},
		"create": func() error {
			id := SessionID(fmt.Sprintf("%02x%030x", len(ids)%256, len(ids)))
			ids = append(ids, id)
			return s.CreateSession(ctx, Session{ID: id, Subject: "a", Init: []byte("{}")}, time.Hour)
		},
		"claim": func() error { return s.ClaimSession(ctx, ids[0], "a", 1000, time.Hour) },
		"read":  func() error { _, err := s.Session(ctx, ids[0]); return err },
		"bind": func() error {
			_, err := s.Bind(ctx, ids[0], "a", Binding{}, Binding{"n1", 1}, time.Hour)
			return err
		},
		"level": func() error { return s.SetSessionLevel(ctx, ids[0], "info") },
		"subscription": func() error {
			_, _, err := s.AddSubscription(ctx, ids[0], Subscription{Server: "a", URI: "a:b"}, time.Hour)
			return err
		},
		"touch 100": func() error { return s.TouchSessions(ctx, ids[:100], time.Hour) },
		"coordinator": func() error {
			_, err := s.PutCoordinator(ctx, Coordinator{ID: "c1"}, time.Minute)
			return err
		},
		"coordinators": func() error { _, err := s.Coordinators(ctx); return err },
		"groups":       func() error { _, _, err := s.Groups(ctx, -1); return err },
		"count":        func() error { _, err := s.CountSessions(ctx); return err },
		"page":         func() error { _, _, err := s.Sessions(ctx, "", 50); return err },
	}
	run := func(name string) int64 {
		before := trips.n.Load()
		if err := do[name](); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return trips.n.Load() - before
	}
	for range 130 {
		run("create")
	}
	for i := range 20 {
		if _, err := s.PutCoordinator(ctx, Coordinator{ID: CoordinatorID(fmt.Sprint("other-", i))}, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	run("register")
	for name := range do { // warm the script cache
		run(name)
	}
	for name, want := range map[string]int64{
		"register": 1, "beat": 1, "sweep": 1, "remove": 1, "snapshot": 1,
		"create": 2, "claim": 1, "read": 1, "bind": 1, "level": 1, "subscription": 1, "touch 100": 2, "count": 2, "page": 4,
		"coordinator": 1, "coordinators": 2, "groups": 1,
	} {
		if got := run(name); got != want {
			t.Errorf("%s: %d round trips, want %d", name, got, want)
		}
	}
}

// A server that has lost its scripts (restart, SCRIPT FLUSH, failover) is given them again.
func TestScriptsAreLoadedAgain(t *testing.T) {
	m := miniredis.RunT(t)
	s := openTest(t, "redis://"+m.Addr())
	for range 3 {
		if err := s.rdb.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.RegisterNode(t.Context(), Node{ID: "n", Instance: "a"}, time.Minute, false); err != nil {
			t.Fatal(err)
		}
		if n, err := s.CountSessions(t.Context()); err != nil || n != 0 {
			t.Fatalf("CountSessions = %d, %v", n, err)
		}
	}
}

// An answer that belongs to another key, as after a desynchronised connection, is not believed.
func TestAnAnswerForAnotherKeyIsRefused(t *testing.T) {
	for _, r := range []reply{nil, {"n2", int64(1)}, {"n1"}, {int64(5), "n1"}} {
		if err := r.belongs("beat", "n1"); err == nil {
			t.Errorf("%v passed for n1's", r)
		}
	}
	if err := (reply{"n1", int64(1)}).belongs("beat", "n1"); err != nil {
		t.Error(err)
	}
}
