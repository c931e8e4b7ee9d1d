package storetest

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// lease is how long a coordinator's record lives under test.
const lease = 15 * time.Second

// put writes a coordinator's record; it must succeed.
func put(t *testing.T, s *store.Store, c store.Coordinator) store.Coordinator {
	t.Helper()
	got, err := s.PutCoordinator(t.Context(), c, lease)
	if err != nil {
		t.Fatalf("PutCoordinator(%s) = %v", c.ID, err)
	}
	return got
}

// coordinators lists them; it must succeed.
func coordinators(t *testing.T, s *store.Store) []store.Coordinator {
	t.Helper()
	list, err := s.Coordinators(t.Context())
	if err != nil {
		t.Fatalf("Coordinators = %v", err)
	}
	return list
}

// coordinatorIDs are the ids, in the order of the list.
func coordinatorIDs(list []store.Coordinator) []store.CoordinatorID {
	out := []store.CoordinatorID{}
	for _, c := range list {
		out = append(out, c.ID)
	}
	return out
}

var coordinatorCases = []testCase{
	{"a coordinator is stored whole and read back", func(t *testing.T, e Env) {
		if list := coordinators(t, e.Store); len(list) != 0 {
			t.Fatalf("Coordinators = %+v", list)
		}
		want := put(t, e.Store, store.Coordinator{
			ID: "host-1.a1b2", Address: "127.0.0.1:3000", Version: "1.0.0", Started: time.UnixMilli(5).UTC(), Sessions: 3, InFlight: 2,
			Mode: "coordinator", KeyPrint: "0a1b", Ready: true,
		})
		if want.Joined.IsZero() || !want.Seen.Equal(want.Joined) {
			t.Fatalf("PutCoordinator = %+v", want)
		}
		put(t, e.Second, store.Coordinator{ID: "a"})
		list := coordinators(t, e.Second)
		if len(list) != 2 || list[0].ID != "a" || list[0].Ready || !reflect.DeepEqual(list[1], want) {
			t.Fatalf("Coordinators = %+v, want a and %+v", list, want)
		}
	}},
	{"the record is plain to redis-cli", func(t *testing.T, e Env) {
		put(t, e.Store, store.Coordinator{
			ID: "c1", Address: "127.0.0.1:3000", Version: "1.0.0", Started: time.UnixMilli(5), Sessions: 3, InFlight: 2, Mode: "demo", Ready: true,
		})
		h := hash(t, e, e.Key("coordinator:c1"))
		for field, want := range map[string]string{
			"id": "c1", "address": "127.0.0.1:3000", "version": "1.0.0", "started": "5", "sessions": "3", "inFlight": "2",
			"mode": "demo", "ready": "true", "keyPrint": "",
		} {
			if h[field] != want {
				t.Errorf("field %s = %q, want %q", field, h[field], want)
			}
		}
	}},
	{"a coordinator that says nothing more lapses, and leaves the index with the next write", func(t *testing.T, e Env) {
		put(t, e.Store, store.Coordinator{ID: "c1"})
		put(t, e.Store, store.Coordinator{ID: "c2"})
		e.Advance(10 * time.Second)
		put(t, e.Store, store.Coordinator{ID: "c2"})
		e.Advance(10 * time.Second)
		if got := coordinatorIDs(coordinators(t, e.Second)); !slices.Equal(got, []store.CoordinatorID{"c2"}) {
			t.Fatalf("Coordinators = %v", got)
		}
		put(t, e.Second, store.Coordinator{ID: "c3"})
		if n, err := e.Do("ZCARD", e.Key("coordinators")); err != nil || n != int64(2) {
			t.Fatalf("ZCARD = %v, %v", n, err)
		}
		e.Advance(20 * time.Second)
		if n, err := e.Do("EXISTS", e.Key("coordinators")); err != nil || n != int64(0) {
			t.Fatalf("the index never expires: EXISTS = %v, %v", n, err)
		}
	}},
	{"a shorter life does not shorten the index's", func(t *testing.T, e Env) {
		put(t, e.Store, store.Coordinator{ID: "c1"})
		_, err := e.Store.PutCoordinator(t.Context(), store.Coordinator{ID: "c2"}, time.Second)
		wantErr(t, "PutCoordinator", err, nil)
		e.Advance(5 * time.Second)
		if got := coordinatorIDs(coordinators(t, e.Store)); !slices.Equal(got, []store.CoordinatorID{"c1"}) {
			t.Fatalf("Coordinators = %v", got)
		}
	}},
	{"when a coordinator joined stands", func(t *testing.T, e Env) {
		first := put(t, e.Store, store.Coordinator{ID: "c1"})
		e.Advance(3 * time.Second)
		again := put(t, e.Second, store.Coordinator{ID: "c1"}) // the first answer may have been lost
		if d := again.Seen.Sub(again.Joined); d < 2*time.Second || d > 10*time.Second {
			t.Fatalf("joined %v, seen %v; first %v", again.Joined, again.Seen, first.Joined)
		}
		e.Flush()
		e.Advance(3 * time.Second)
		back := put(t, e.Store, again)
		if !back.Joined.Equal(again.Joined) {
			t.Fatalf("after a flush: joined %v, was %v", back.Joined, again.Joined)
		}
		if later := put(t, e.Store, store.Coordinator{ID: "c0"}); !later.Joined.After(back.Joined) {
			t.Fatalf("joined %v, before the one that was first, %v", later.Joined, back.Joined)
		}
	}},
	{"a coordinator that stops is forgotten at once", func(t *testing.T, e Env) {
		put(t, e.Store, store.Coordinator{ID: "c1"})
		put(t, e.Store, store.Coordinator{ID: "c2"})
		wantErr(t, "RemoveCoordinator", e.Store.RemoveCoordinator(t.Context(), "c1"), nil)
		if got := coordinatorIDs(coordinators(t, e.Second)); !slices.Equal(got, []store.CoordinatorID{"c2"}) {
			t.Fatalf("Coordinators = %v", got)
		}
		if n, err := e.Do("EXISTS", e.Key("coordinator:c1")); err != nil || n != int64(0) {
			t.Fatalf("EXISTS = %v, %v", n, err)
		}
		wantErr(t, "RemoveCoordinator again", e.Store.RemoveCoordinator(t.Context(), "c1"), nil)
	}},
	{"coordinators that cannot be are refused or passed over", func(t *testing.T, e Env) {
		_, err := e.Store.PutCoordinator(t.Context(), store.Coordinator{ID: "a b"}, lease)
		wantErr(t, "PutCoordinator", err, store.ErrInvalid)
		_, err = e.Store.PutCoordinator(t.Context(), store.Coordinator{ID: "c1"}, 0)
		wantErr(t, "PutCoordinator without ttl", err, store.ErrInvalid)
		wantErr(t, "RemoveCoordinator", e.Store.RemoveCoordinator(t.Context(), "*"), store.ErrInvalid)
		for i := range 5 {
			put(t, e.Store, store.Coordinator{ID: store.CoordinatorID(fmt.Sprint("c", i))})
		}
		far := time.Now().Add(1000 * time.Hour).UnixMilli()
		must(t, nil, second(e.Do("ZADD", e.Key("coordinators"), far, "a b", far, "ghost")))
		must(t, nil, second(e.Do("HSET", e.Key("coordinator:c1"), "id", "c9")))
		must(t, nil, second(e.Do("SET", e.Key("coordinator:c2"), "oops")))
		if got := coordinatorIDs(coordinators(t, e.Store)); !slices.Equal(got, []store.CoordinatorID{"c0", "c3", "c4"}) {
			t.Fatalf("Coordinators = %v", got)
		}
	}},
}
