package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/mcphub-go/mcphub/store"
)

// prefix is the key prefix of every Env; it is not the default, so that a key spelled without
// it shows.
const prefix = "t:hub"

// Env is one backend under test, empty and owned by a single test.
type Env struct {
	// Store and Second are two coordinators' stores on the one backend.
	Store, Second *store.Store
	// Open opens one more, which has seen nothing yet.
	Open func() *store.Store
	// Advance moves the backend's clock by d: what was to happen in that time has happened.
	Advance func(d time.Duration)
	// Do sends one raw command, as a person with redis-cli would.
	Do func(args ...any) (any, error)
	// Flush empties the backend.
	Flush func()
	// Running says that the backend's clock also runs by itself.
	Running bool
}

// Key is a key of the backend, for Do.
func (Env) Key(rest string) string { return prefix + ":" + rest }

// Miniredis is an Env on a miniredis whose clock moves only with Advance.
func Miniredis(t *testing.T) Env {
	t.Helper()
	m := miniredis.NewMiniRedis()
	now := time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC)
	m.SetTime(now)
	m.ClockTTL(true)
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	env := Dial(t, "redis://"+m.Addr())
	env.Running = false
	env.Advance = func(d time.Duration) {
		now = now.Add(d)
		m.SetTime(now)
	}
	return env
}

// Dial is an Env on the server, or the cluster, at url, which is emptied first. Its Advance
// takes d off all that the store has dated there.
func Dial(t *testing.T, url string) Env {
	t.Helper()
	rdb, err := store.NewClient(store.Config{URL: url, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	env := Env{
		Do:      func(args ...any) (any, error) { return rdb.Do(context.Background(), args...).Result() },
		Advance: func(d time.Duration) { advance(t, rdb, d) },
		Flush: func() {
			err := eachMaster(context.Background(), rdb, func(ctx context.Context, c redis.Cmdable) error {
				return c.FlushAll(ctx).Err()
			})
			if err != nil {
				t.Fatal(err)
			}
		},
	}
	env.Running = true
	env.Flush()
	env.Open = func() *store.Store { return OpenAt(t, url) }
	env.Store, env.Second = env.Open(), env.Open()
	return env
}

// OpenAt opens a store as the Envs have it, with a generous timeout: the machine may be busy.
func OpenAt(t *testing.T, url string, opts ...store.Option) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{URL: url, KeyPrefix: prefix, Timeout: 5 * time.Second, Schema: 1}, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func eachMaster(ctx context.Context, rdb redis.UniversalClient, f func(context.Context, redis.Cmdable) error) error {
	if c, ok := rdb.(*redis.ClusterClient); ok {
		return c.ForEachMaster(ctx, func(ctx context.Context, one *redis.Client) error { return f(ctx, one) })
	}
	return f(ctx, rdb)
}

// advance makes a real server look as if d had passed: expiries come nearer, and stored times
// lie further back.
func advance(t *testing.T, rdb redis.UniversalClient, d time.Duration) {
	t.Helper()
	err := eachMaster(context.Background(), rdb, func(ctx context.Context, c redis.Cmdable) error {
		it := c.Scan(ctx, 0, prefix+":*", 1000).Iterator()
		for it.Next(ctx) {
			if err := age(ctx, c, it.Val(), d); err != nil {
				return fmt.Errorf("%s: %w", it.Val(), err)
			}
		}
		return it.Err()
	})
	if err != nil {
		t.Fatalf("advance: %v", err)
	}
}

func age(ctx context.Context, c redis.Cmdable, key string, d time.Duration) error {
	ttl, err := c.PTTL(ctx, key).Result()
	if err != nil {
		return err
	}
	if ttl > 0 && ttl <= d {
		return c.Del(ctx, key).Err()
	}
	if ttl > 0 {
		if err := c.PExpire(ctx, key, ttl-d).Err(); err != nil {
			return err
		}
	}
	switch kind, err := c.Type(ctx, key).Result(); {
	case err != nil:
		return err
	case kind == "zset":
		members, err := c.ZRange(ctx, key, 0, -1).Result()
		for _, m := range members {
			err = errors.Join(err, c.ZIncrBy(ctx, key, -float64(d.Milliseconds()), m).Err())
		}
		return err
	case kind == "hash":
		for _, field := range []string{"registered", "lapsed", "created", "joined", "seen"} {
			text, err := c.HGet(ctx, key, field).Result()
			ms, nerr := strconv.ParseInt(text, 10, 64)
			if err != nil || nerr != nil {
				continue
			}
			if err := c.HSet(ctx, key, field, ms-d.Milliseconds()).Err(); err != nil {
				return err
			}
		}
	}
	return nil
}
