package migrations

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/mcphub-go/mcphub/store"
	"github.com/mcphub-go/mcphub/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// released are the files that data somewhere has been migrated with: they may not change.
var released = map[string]string{
	"0001_schema": "a2c5367f58b5ffcec5c3e6aa1e95f827c9c6b103d037cd62b25846171e984343",
}

func TestReleasedMigrationsAreFrozen(t *testing.T) {
	for _, m := range List() {
		src, err := files.ReadFile(m.Name + ".lua")
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(src)
		if got := hex.EncodeToString(sum[:]); got != released[m.Name] {
			t.Errorf("%s has the sum %s, want %q: add a migration instead of changing one", m.Name, got, released[m.Name])
		}
	}
	if Latest() != len(released) {
		t.Errorf("Latest() = %d, want %d", Latest(), len(released))
	}
}

// three is a later release: it gives each session a revision, and renames the fleet's key.
func three(t *testing.T) []Migration {
	t.Helper()
	first, err := files.ReadFile("0001_schema.lua")
	if err != nil {
		t.Fatal(err)
	}
	list, err := load(fstest.MapFS{
		"0001_schema.lua": {Data: first},
		"0002_revision.lua": {Data: []byte(`-- Match: session:*
return redis.call('HSETNX', KEYS[1], 'revision', '1')`)},
		"0003_mark.lua": {Data: []byte(`return redis.call('EXISTS', KEYS[1])`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// backends runs a test on the embedded server and on a real one.
func backends(t *testing.T, test func(*testing.T, redis.UniversalClient)) {
	t.Run("embedded", func(t *testing.T) {
		e, err := store.StartEmbedded("")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(e.Close)
		test(t, client(t, e.URL()))
	})
	t.Run("redis-server", func(t *testing.T) {
		test(t, client(t, storetest.StartServer(t).URL()))
	})
}

// andCluster also runs it on a Redis Cluster, where keys lie on several servers.
func andCluster(t *testing.T, test func(*testing.T, redis.UniversalClient)) {
	backends(t, test)
	t.Run("cluster", func(t *testing.T) {
		if testing.Short() {
			t.Skip("SKIPPED (-short): Redis Cluster")
		}
		url, _ := storetest.StartCluster(t)
		test(t, client(t, url))
	})
}

func client(t *testing.T, url string) redis.UniversalClient {
	t.Helper()
	rdb, err := store.NewClient(store.Config{URL: url, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

func runner(rdb redis.UniversalClient, list []Migration) *Runner {
	r := New(rdb, "hub", slog.New(slog.DiscardHandler))
	r.list = list
	return r
}

func wantStatus(t *testing.T, r *Runner, want int) {
	t.Helper()
	if n, err := r.Status(t.Context()); n != want || err != nil {
		t.Fatalf("Status = %d, %v; want %d", n, err, want)
	}
}

func TestAnEmptyKeyspaceIsNumbered(t *testing.T) {
	backends(t, func(t *testing.T, rdb redis.UniversalClient) {
		r := runner(rdb, all)
		wantStatus(t, r, 0)
		want := []Step{{1, "0001_schema", 1, 0}}
		if got, err := r.Run(t.Context(), true); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("dry run = %+v, %v", got, err)
		}
		wantStatus(t, r, 0)
		want[0].Changed = 1
		if got, err := r.Run(t.Context(), false); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("Run = %+v, %v", got, err)
		}
		wantStatus(t, r, Latest())
		if got, err := r.Run(t.Context(), false); err != nil || len(got) != 0 {
			t.Fatalf("the second Run = %+v, %v", got, err)
		}
	})
}

func TestMigrationsVisitEveryKeyOnceThrough(t *testing.T) {
	andCluster(t, func(t *testing.T, rdb redis.UniversalClient) {
		const sessions = 1200
		for i := range sessions {
			rdb.HSet(t.Context(), fmt.Sprintf("hub:session:{%032x}", i), "id", i)
		}
		rdb.HSet(t.Context(), "other:session:{1}", "id", 1)
		if _, err := runner(rdb, all).Run(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		r := runner(rdb, three(t))
		dry, err := r.Run(t.Context(), true)
		if err != nil || len(dry) != 2 || dry[0].Keys < sessions || dry[0].Changed != 0 {
			t.Fatalf("dry run = %+v, %v", dry, err)
		}
		if rdb.HExists(t.Context(), fmt.Sprintf("hub:session:{%032x}", 7), "revision").Val() {
			t.Fatal("the dry run wrote")
		}
		got, err := r.Run(t.Context(), false)
		if err != nil || len(got) != 2 || got[0].Name != "0002_revision" || got[0].Changed != sessions || got[1].Changed != 1 {
			t.Fatalf("Run = %+v, %v", got, err)
		}
		wantStatus(t, r, 3)
		for i := range sessions {
			if v := rdb.HGet(t.Context(), fmt.Sprintf("hub:session:{%032x}", i), "revision").Val(); v != "1" {
				t.Fatalf("session %d has revision %q", i, v)
			}
		}
		if rdb.HExists(t.Context(), "other:session:{1}", "revision").Val() {
			t.Fatal("a key of another prefix was changed")
		}
		if n := rdb.Exists(t.Context(), r.leaseKey()).Val(); n != 0 {
			t.Fatal("the lease was not given back")
		}
	})
}

func TestNewerDataIsRefused(t *testing.T) {
	backends(t, func(t *testing.T, rdb redis.UniversalClient) {
		if _, err := runner(rdb, three(t)).Run(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		old := runner(rdb, all)
		for _, dry := range []bool{true, false} {
			if steps, err := old.Run(t.Context(), dry); !errors.Is(err, ErrNewer) || len(steps) != 0 {
				t.Fatalf("Run(dry %v) = %+v, %v; want ErrNewer", dry, steps, err)
			}
		}
		wantStatus(t, old, 3)
		rdb.Set(t.Context(), old.schemaKey(), "banana", 0)
		if _, err := old.Run(t.Context(), false); !errors.Is(err, ErrDamaged) {
			t.Fatalf("Run = %v, want ErrDamaged", err)
		}
		if n := rdb.Exists(t.Context(), old.leaseKey()).Val(); n != 0 {
			t.Fatal("the lease was not given back")
		}
	})
}

func TestOneRunnerAtATime(t *testing.T) {
	backends(t, func(t *testing.T, rdb redis.UniversalClient) {
		r := runner(rdb, all)
		if err := r.acquire(t.Context(), "another"); err != nil {
			t.Fatal(err)
		}
		if steps, err := r.Run(t.Context(), false); !errors.Is(err, ErrBusy) || len(steps) != 0 {
			t.Fatalf("Run = %+v, %v; want ErrBusy", steps, err)
		}
		wantStatus(t, r, 0)
		if v := rdb.Get(t.Context(), r.leaseKey()).Val(); v != "another" {
			t.Fatalf("the other's lease is now %q", v)
		}
		if ttl := rdb.PTTL(t.Context(), r.leaseKey()).Val(); ttl <= 0 || ttl > leaseTTL {
			t.Fatalf("the lease lapses in %v", ttl)
		}
		if _, err := r.Run(t.Context(), true); err != nil {
			t.Fatalf("a dry run needs no lease: %v", err)
		}
	})
}

// A runner that was away for longer than its lease must not write over its successor.
func TestALapsedRunnerStops(t *testing.T) {
	backends(t, func(t *testing.T, rdb redis.UniversalClient) {
		for i := range 3 * batch {
			rdb.HSet(t.Context(), fmt.Sprintf("hub:session:{%032x}", i), "id", i)
		}
		r := runner(rdb, three(t))
		if err := r.acquire(t.Context(), "mine"); err != nil {
			t.Fatal(err)
		}
		rdb.Set(t.Context(), r.leaseKey(), "another", 0)
		steps, err := r.run(t.Context(), "mine")
		if !errors.Is(err, ErrBusy) || len(steps) != 0 {
			t.Fatalf("run = %+v, %v; want ErrBusy", steps, err)
		}
		if err := r.renew(t.Context(), "mine"); !errors.Is(err, ErrBusy) {
			t.Fatalf("renew = %v", err)
		}
		rdb.Set(t.Context(), r.leaseKey(), "mine", 0)
		rdb.Set(t.Context(), r.schemaKey(), "3", 0)
		if err := r.advance(t.Context(), r.list[0], "mine"); !errors.Is(err, ErrBusy) {
			t.Fatalf("advance to 1 over 3 = %v", err)
		}
		wantStatus(t, r, 3)
	})
}

func TestAnInterruptedRunIsFinishedByTheNext(t *testing.T) {
	backends(t, func(t *testing.T, rdb redis.UniversalClient) {
		rdb.HSet(t.Context(), "hub:session:{1}", "id", 1)
		rdb.Set(t.Context(), "hub:session:{2}", "a string: HSETNX fails on it", 0)
		r := runner(rdb, three(t))
		steps, err := r.Run(t.Context(), false)
		if err == nil || !strings.Contains(err.Error(), "0002_revision") || len(steps) != 1 {
			t.Fatalf("Run = %+v, %v", steps, err)
		}
		wantStatus(t, r, 1)
		rdb.Del(t.Context(), "hub:session:{2}")
		if steps, err = r.Run(t.Context(), false); err != nil || len(steps) != 2 {
			t.Fatalf("the next Run = %+v, %v", steps, err)
		}
		wantStatus(t, r, 3)
	})
}

func TestRunWithoutRedis(t *testing.T) {
	rdb := client(t, "redis://127.0.0.1:1")
	if _, err := runner(rdb, all).Run(t.Context(), false); err == nil {
		t.Fatal("Run without Redis succeeded")
	}
	if _, err := runner(rdb, all).Status(t.Context()); err == nil {
		t.Fatal("Status without Redis succeeded")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := runner(rdb, all).Run(ctx, true); err == nil {
		t.Fatal("Run after its context ended succeeded")
	}
}

func TestFilesWithGapsAreRefused(t *testing.T) {
	for _, names := range [][]string{
		{"0002_a.lua"}, {"0001_a.lua", "0003_b.lua"}, {"1_a.lua"}, {"0001.lua"}, {"0001_a.lua", "0001_b.lua"}, {"x_a.lua"},
	} {
		dir := fstest.MapFS{}
		for _, n := range names {
			dir[n] = &fstest.MapFile{Data: []byte("return 0")}
		}
		if _, err := load(dir); err == nil {
			t.Errorf("%v were taken", names)
		}
	}
}
