package storetest

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

var snapshotCases = []testCase{
	{"an empty keyspace has an empty snapshot", func(t *testing.T, e Env) {
		snap := snapshot(t, e.Store, nil)
		if snap.Revision != 0 || len(snap.Nodes) != 0 || snap.Taken.IsZero() {
			t.Fatalf("Snapshot = %+v", snap)
		}
		if again := snapshot(t, e.Store, snap); again.Revision != 0 || len(again.Nodes) != 0 {
			t.Fatalf("Snapshot = %+v", again)
		}
	}},
	{"nodes are sorted by id", func(t *testing.T, e Env) {
		for _, id := range []store.NodeID{"n2", "b", "n10", "a"} {
			register(t, e.Store, node(id, "i"))
		}
		if got := ids(snapshot(t, e.Store, nil).Nodes); got != "a b n10 n2" {
			t.Fatalf("nodes %q", got)
		}
	}},
	{"without a change only heartbeats and counts are new", func(t *testing.T, e Env) {
		n := register(t, e.Store, node("n1", "a"))
		prev := snapshot(t, e.Second, nil)
		kept := *prev.Node("n1")
		keptServers := append([]store.Server(nil), kept.Servers...)
		e.Advance(3 * time.Second)
		n.Servers[0].Sessions, n.Servers[0].InFlight, n.Servers[0].Full = 41, 0, false
		b := beat(t, e.Store, n)
		next := snapshot(t, e.Second, prev)
		got := next.Node("n1")
		if next.Revision != prev.Revision || !got.LastHeartbeat.Equal(b.Node.LastHeartbeat) ||
			got.Servers[0].Sessions != 41 || got.Servers[0].InFlight != 0 || got.Servers[0].Full || got.Servers[0].Processes != 4 || next.Taken.Before(prev.Taken) {
			t.Fatalf("next = %+v", next)
		}
		if !reflect.DeepEqual(*prev.Node("n1"), kept) || !reflect.DeepEqual(prev.Node("n1").Servers, keptServers) {
			t.Fatal("the previous snapshot was changed")
		}
	}},
	{"a change made by another coordinator is seen", func(t *testing.T, e Env) {
		register(t, e.Store, node("n1", "a"))
		prev := snapshot(t, e.Second, nil)
		register(t, e.Store, node("n2", "b"))
		if got := ids(snapshot(t, e.Second, prev).Nodes); got != "n1 n2" {
			t.Fatalf("nodes %q", got)
		}
	}},
	{"an index changed by hand is noticed although the revision stands", func(t *testing.T, e Env) {
		register(t, e.Store, node("n1", "a"))
		register(t, e.Store, node("n2", "b"))
		prev := snapshot(t, e.Store, nil)
		must(t, nil, second(e.Do("ZREM", e.Key("{nodes}:index"), "n1")))
		if got := ids(snapshot(t, e.Store, prev).Nodes); got != "n2" {
			t.Fatalf("nodes %q", got)
		}
		must(t, nil, second(e.Do("ZREM", e.Key("{nodes}:index"), "n2")))
		must(t, nil, second(e.Do("ZADD", e.Key("{nodes}:index"), 1, "n1")))
		if got := ids(snapshot(t, e.Store, prev).Nodes); got != "n1" {
			t.Fatalf("nodes %q", got)
		}
	}},
	{"a damaged record hides no other", func(t *testing.T, e Env) {
		register(t, e.Store, node("n1", "a"))
		register(t, e.Store, node("n2", "b"))
		for _, damage := range [][]any{
			{"HSET", e.Key("{nodes}:node:n1"), "id", "n2"},
			{"HSET", e.Key("{nodes}:node:n1"), "id", "n1", "epoch", "0"},
			{"SET", e.Key("{nodes}:node:n1"), "oops"},
			{"DEL", e.Key("{nodes}:node:n1")},
		} {
			must(t, nil, second(e.Do(damage...)))
			if got := ids(snapshot(t, e.Store, nil).Nodes); got != "n2" {
				t.Fatalf("after %v: nodes %q", damage, got)
			}
		}
	}},
	{"a hundred nodes read whole", func(t *testing.T, e Env) {
		for i := range 100 {
			register(t, e.Store, node(store.NodeID(fmt.Sprint("n", i)), "a"))
		}
		snap := snapshot(t, e.Second, nil)
		if len(snap.Nodes) != 100 || snap.Node("n77").URL == "" || snap.Node("n100") != nil {
			t.Fatalf("%d nodes", len(snap.Nodes))
		}
	}},
}
