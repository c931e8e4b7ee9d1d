package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

var nodeCases = []testCase{
	{"a registration is stored whole and read back", func(t *testing.T, e Env) {
		n := node("n1", "a")
		got := register(t, e.Store, n)
		if got.Epoch != 1 || got.Registered.IsZero() || !got.Registered.Equal(got.LastHeartbeat) {
			t.Fatalf("RegisterNode = epoch %d, registered %v, heartbeat %v", got.Epoch, got.Registered, got.LastHeartbeat)
		}
		if read := snapshot(t, e.Second, nil).Node("n1"); read == nil || !reflect.DeepEqual(*read, got) {
			t.Fatalf("read back\n%+v, want\n%+v", read, got)
		}
	}},
	{"the record is plain to redis-cli", func(t *testing.T, e Env) {
		register(t, e.Store, node("n1", "a"))
		h := hash(t, e, e.Key("{nodes}:node:n1"))
		for field, want := range map[string]string{
			"id": "n1", "name": "Worker n1", "host": "10.0.0.1", "port": "3001", "url": "http://10.0.0.1:3001", "instance": "a",
			"version": "1.0.0", "weight": "2", "state": "active", "epoch": "1", "servers": `["time"]`, "started": "1767261600123",
		} {
			if h[field] != want {
				t.Errorf("field %s = %q, want %q", field, h[field], want)
			}
		}
		for _, count := range []string{`"sessions"`, `"inFlight"`, `"processes"`, `"spares"`, `"full"`} {
			if strings.Contains(h["details"], count) {
				t.Errorf("details hold %s: %s", count, h["details"])
			}
		}
		lease := hash(t, e, e.Key("{nodes}:lease:n1"))
		left, err := e.Do("PTTL", e.Key("{nodes}:lease:n1"))
		if ms, _ := must(t, left, err).(int64); lease["instance"] != "a" || lease["epoch"] != "1" || ms < 10000 || ms > 15000 {
			t.Errorf("lease = %v, PTTL %v", lease, left)
		}
		load := hash(t, e, e.Key("{nodes}:load"))
		if want := `{"time":{"sessions":3,"inFlight":1,"processes":4,"spares":1,"full":true}}`; load["n1"] != want {
			t.Errorf("load = %s, want %s", load["n1"], want)
		}
		if score, err := e.Do("ZSCORE", e.Key("{nodes}:index"), "n1"); err != nil || fmt.Sprint(score) == "" {
			t.Errorf("index: %v, %v", score, err)
		}
	}},
	{"defaults are filled in", func(t *testing.T, e Env) {
		got := register(t, e.Store, store.Node{ID: "n1", Instance: "a"})
		if got.State != store.NodeActive || got.Weight != 1 {
			t.Fatalf("state %q, weight %d", got.State, got.Weight)
		}
		read := snapshot(t, e.Store, nil).Node("n1")
		if read.State != store.NodeActive || read.Weight != 1 || !read.Started.IsZero() || len(read.Servers) != 0 {
			t.Fatalf("read back %+v", read)
		}
	}},
	{"another live process is refused and named", func(t *testing.T, e Env) {
		first := register(t, e.Store, node("n1", "a"))
		other := node("n1", "b")
		other.URL = "http://10.0.0.2:3001"
		_, err := e.Second.RegisterNode(t.Context(), other, nodeTimeout, false)
		var dup *store.DuplicateNodeError
		if !errors.As(err, &dup) || dup.Holder.URL != first.URL || dup.Holder.Instance != "a" {
			t.Fatalf("RegisterNode = %v, want a DuplicateNodeError naming %s", err, first.URL)
		}
		if beat(t, e.Store, first); snapshot(t, e.Store, nil).Node("n1").Instance != "a" {
			t.Fatal("the refused registration changed the record")
		}
	}},
	{"the same process may register again under a new epoch", func(t *testing.T, e Env) {
		first := register(t, e.Store, node("n1", "a"))
		again := register(t, e.Second, node("n1", "a"))
		if again.Epoch <= first.Epoch {
			t.Fatalf("epoch %d after %d", again.Epoch, first.Epoch)
		}
		_, err := e.Store.BeatNode(t.Context(), first, nodeTimeout)
		wantErr(t, "beat under the earlier epoch", err, store.ErrEpoch)
	}},
	{"a restarted process gets the id once the lease has lapsed", func(t *testing.T, e Env) {
		first := register(t, e.Store, node("n1", "a"))
		e.Advance(nodeTimeout + time.Second)
		next := register(t, e.Store, node("n1", "b"))
		if next.Epoch <= first.Epoch {
			t.Fatalf("epoch %d after %d", next.Epoch, first.Epoch)
		}
		_, err := e.Store.BeatNode(t.Context(), first, nodeTimeout)
		wantErr(t, "the frozen predecessor's beat", err, store.ErrEpoch)
	}},
	{"takeOver takes a live lease", func(t *testing.T, e Env) {
		first := register(t, e.Store, node("n1", "a"))
		next, err := e.Second.RegisterNode(t.Context(), node("n1", "b"), nodeTimeout, true)
		if err != nil || next.Epoch <= first.Epoch {
			t.Fatalf("RegisterNode = epoch %d, %v", next.Epoch, err)
		}
		_, err = e.Store.BeatNode(t.Context(), first, nodeTimeout)
		wantErr(t, "the loser's beat", err, store.ErrEpoch)
	}},
	{"of processes that register one id at once one wins", func(t *testing.T, e Env) {
		won := make([]bool, 8)
		together(len(won), func(i int) {
			s := []*store.Store{e.Store, e.Second}[i%2]
			_, err := s.RegisterNode(t.Context(), node("n1", store.Instance(fmt.Sprint("i", i))), nodeTimeout, false)
			var dup *store.DuplicateNodeError
			if won[i] = err == nil; err != nil && !errors.As(err, &dup) {
				t.Errorf("RegisterNode = %v", err)
			}
		})
		winners := 0
		for _, w := range won {
			if w {
				winners++
			}
		}
		if winners != 1 {
			t.Fatalf("%d winners, want 1", winners)
		}
	}},
	{"epochs differ between nodes and grow", func(t *testing.T, e Env) {
		last := store.Epoch(0)
		for i := range 5 {
			n := register(t, e.Store, node(store.NodeID(fmt.Sprint("n", i)), "a"))
			if n.Epoch <= last {
				t.Fatalf("epoch %d after %d", n.Epoch, last)
			}
			last = n.Epoch
		}
	}},
	{"a beat of the same epoch by another instance is refused", func(t *testing.T, e Env) {
		n := register(t, e.Store, node("n1", "a"))
		n.Instance = "b"
		_, err := e.Store.BeatNode(t.Context(), n, nodeTimeout)
		wantErr(t, "BeatNode", err, store.ErrEpoch)
		e.Advance(nodeTimeout + time.Second)
		_, err = e.Store.BeatNode(t.Context(), n, nodeTimeout)
		wantErr(t, "BeatNode after the lease has lapsed", err, store.ErrEpoch)
	}},
	{"a beat renews the lease", func(t *testing.T, e Env) {
		n := register(t, e.Store, node("n1", "a"))
		for range 3 {
			e.Advance(10 * time.Second)
			if b := beat(t, e.Second, n); b.Relearned || b.Recovered {
				t.Fatalf("Beat = %+v", b)
			}
		}
		swept, err := e.Store.SweepNodes(t.Context())
		if wantErr(t, "SweepNodes", err, nil); len(swept) != 0 {
			t.Fatalf("swept %s", ids(swept))
		}
	}},
	{"revision moves with the record and not with the counts", func(t *testing.T, e Env) {
		n := register(t, e.Store, node("n1", "a"))
		rev := snapshot(t, e.Store, nil).Revision
		srv := &n.Servers[0]
		srv.Sessions, srv.InFlight, srv.Processes, srv.Spares, srv.Full = 99, 7, 9, 0, false
		beat(t, e.Store, n)
		if got := snapshot(t, e.Store, nil); got.Revision != rev || !reflect.DeepEqual(got.Nodes[0].Servers, n.Servers) {
			t.Fatalf("after new counts: revision %d -> %d, read\n%+v, want\n%+v", rev, got.Revision, got.Nodes[0].Servers, n.Servers)
		}
		for what, change := range map[string]func(){
			"url":     func() { n.URL = "http://10.0.0.9:1" },
			"state":   func() { n.State = store.NodeDraining },
			"status":  func() { n.Servers[1].Status = store.ServerReady },
			"catalog": func() { n.Servers[0].Catalog = store.DigestOf([]byte("new")) },
			"weight":  func() { n.Weight = 5 },
			"limit":   func() { srv.MaxProcesses = 17 },
			"start":   func() { srv.StartSeconds = 31 },
			"prompts": func() { srv.Prompts, srv.Resources, srv.Templates = 7, 8, 9 },
			"version": func() { n.Version = "2.0.0" },
		} {
			change()
			b := beat(t, e.Store, n)
			got := snapshot(t, e.Store, nil)
			if got.Revision <= rev {
				t.Errorf("after a new %s: revision %d, was %d", what, got.Revision, rev)
			}
			if rev = got.Revision; !reflect.DeepEqual(got.Nodes[0], b.Node) {
				t.Errorf("after a new %s: read\n%+v, want\n%+v", what, got.Nodes[0], b.Node)
			}
		}
	}},
	{"a draining node's state comes with its beat", func(t *testing.T, e Env) {
		n := register(t, e.Store, node("n1", "a"))
		n.State = store.NodeDraining
		beat(t, e.Store, n)
		if got := snapshot(t, e.Second, nil).Node("n1").State; got != store.NodeDraining {
			t.Fatalf("state %q", got)
		}
	}},
	{"a flushed Redis relearns a node from one beat, under its epoch", func(t *testing.T, e Env) {
		for range 3 {
			register(t, e.Store, node("n1", "a"))
		}
		n := register(t, e.Store, node("n1", "a")) // epoch 4
		before := snapshot(t, e.Second, nil)
		e.Flush()
		if got := snapshot(t, e.Second, before); len(got.Nodes) != 0 {
			t.Fatalf("after the flush: %s", ids(got.Nodes))
		}
		b := beat(t, e.Second, n)
		if !b.Relearned || b.Node.Epoch != n.Epoch {
			t.Fatalf("Beat = %+v", b)
		}
		got := snapshot(t, e.Second, before)
		if got.Revision == before.Revision || len(got.Nodes) != 1 || got.Nodes[0].Epoch != n.Epoch || got.Nodes[0].URL != n.URL {
			t.Fatalf("snapshot = %+v", got)
		}
		if next := register(t, e.Open(), node("n2", "b")); next.Epoch <= n.Epoch {
			t.Fatalf("the next epoch is %d, not above %d", next.Epoch, n.Epoch)
		}
		if beat(t, e.Store, n).Relearned {
			t.Fatal("the second beat relearned again")
		}
	}},
	{"a flushed Redis gives no epoch that a store has seen", func(t *testing.T, e Env) {
		n := register(t, e.Store, node("n1", "a"))
		n = register(t, e.Store, n)
		snapshot(t, e.Second, nil) // has seen n's epoch, has not given it
		e.Flush()
		if next := register(t, e.Second, node("n1", "b")); next.Epoch <= n.Epoch {
			t.Fatalf("epoch %d after %d", next.Epoch, n.Epoch)
		}
		_, err := e.Store.BeatNode(t.Context(), n, nodeTimeout)
		wantErr(t, "the predecessor's beat", err, store.ErrEpoch)
	}},
	{"a record older than the beat is replaced", func(t *testing.T, e Env) {
		n := register(t, e.Store, node("n1", "a")) // stays in Redis, as after a failover that lost the next
		lost := n
		lost.Epoch, lost.Instance = n.Epoch+1, "b"
		if b := beat(t, e.Store, lost); !b.Relearned || b.Node.Epoch != lost.Epoch {
			t.Fatalf("Beat = %+v", b)
		}
		_, err := e.Store.BeatNode(t.Context(), n, nodeTimeout)
		wantErr(t, "the older one's beat", err, store.ErrEpoch)
	}},
	{"a record deleted or written over by hand heals", func(t *testing.T, e Env) {
		n := register(t, e.Store, node("n1", "a"))
		for _, damage := range [][]any{
			{"DEL", e.Key("{nodes}:node:n1")},
			{"DEL", e.Key("{nodes}:index")},
			{"DEL", e.Key("{nodes}:rev")},
			{"DEL", e.Key("{nodes}:lease:n1")},
			{"DEL", e.Key("{nodes}:epoch")},
			{"DEL", e.Key("{nodes}:load")},
			{"HSET", e.Key("{nodes}:node:n1"), "id", "n7"},
			{"HSET", e.Key("{nodes}:node:n1"), "details", "{"},
			{"HSET", e.Key("{nodes}:node:n1"), "state", "drunk"},
			{"HSET", e.Key("{nodes}:node:n1"), "epoch", "many"},
			{"SET", e.Key("{nodes}:rev"), "x"},
			{"SET", e.Key("{nodes}:load"), "x"},
		} {
			must(t, nil, second(e.Do(damage...)))
			snapshot(t, e.Second, nil) // must not fail whatever it finds
			if damage[1] == e.Key("{nodes}:load") && damage[0] == "SET" {
				must(t, nil, second(e.Do("DEL", damage[1])))
			}
			b := beat(t, e.Store, n)
			got := snapshot(t, e.Second, nil)
			if len(got.Nodes) != 1 || !reflect.DeepEqual(got.Nodes[0], b.Node) {
				t.Fatalf("after %v: read\n%+v, want\n%+v", damage, got.Nodes, b.Node)
			}
			next := register(t, e.Store, node("other", "x"))
			if next.Epoch <= n.Epoch {
				t.Fatalf("after %v: next epoch %d, not above %d", damage, next.Epoch, n.Epoch)
			}
			wantErr(t, "DeregisterNode", e.Store.DeregisterNode(t.Context(), "other", next.Epoch), nil)
		}
	}},
	{"a key of another type in a record's place is cleared away", func(t *testing.T, e Env) {
		n := register(t, e.Store, node("n1", "a"))
		must(t, nil, second(e.Do("SET", e.Key("{nodes}:node:n1"), "oops")))
		if got := snapshot(t, e.Store, nil); len(got.Nodes) != 0 {
			t.Fatalf("snapshot = %s", ids(got.Nodes))
		}
		e.Advance(nodeTimeout + time.Second)
		if _, err := e.Store.SweepNodes(t.Context()); err != nil {
			t.Fatal(err)
		}
		if b := beat(t, e.Store, n); !b.Relearned {
			t.Fatalf("Beat = %+v", b)
		}
	}},
	{"deregistering forgets the node and stops late beats", func(t *testing.T, e Env) {
		n := register(t, e.Store, node("n1", "a"))
		rev := snapshot(t, e.Store, nil).Revision
		wantErr(t, "DeregisterNode", e.Second.DeregisterNode(t.Context(), "n1", n.Epoch), nil)
		got := snapshot(t, e.Store, nil)
		if len(got.Nodes) != 0 || got.Revision <= rev {
			t.Fatalf("snapshot = %+v, revision was %d", got, rev)
		}
		_, err := e.Store.BeatNode(t.Context(), n, nodeTimeout)
		wantErr(t, "a late beat", err, store.ErrEpoch)
		next := register(t, e.Store, node("n1", "b"))
		if next.Epoch <= n.Epoch {
			t.Fatalf("epoch %d after %d", next.Epoch, n.Epoch)
		}
		beat(t, e.Store, next)
	}},
	{"deregistering under an old epoch is refused", func(t *testing.T, e Env) {
		first := register(t, e.Store, node("n1", "a"))
		next := register(t, e.Store, node("n1", "a"))
		wantErr(t, "DeregisterNode", e.Store.DeregisterNode(t.Context(), "n1", first.Epoch), store.ErrEpoch)
		beat(t, e.Store, next)
	}},
	{"deregistering an unknown node says so and stops late beats too", func(t *testing.T, e Env) {
		wantErr(t, "DeregisterNode", e.Store.DeregisterNode(t.Context(), "n1", 3), store.ErrNotFound)
		n := node("n1", "a")
		n.Epoch = 3
		_, err := e.Store.BeatNode(t.Context(), n, nodeTimeout)
		wantErr(t, "a late beat", err, store.ErrEpoch)
		e.Advance(2 * time.Minute)
		if b := beat(t, e.Store, n); !b.Relearned {
			t.Fatalf("Beat = %+v", b)
		}
	}},
	{"bad arguments are refused and store nothing", func(t *testing.T, e Env) {
		good := node("n1", "a")
		good.Epoch = 1
		bad := map[string]func(n *store.Node) time.Duration{
			"id with braces":  func(n *store.Node) time.Duration { n.ID = "{x}"; return nodeTimeout },
			"id with newline": func(n *store.Node) time.Duration { n.ID = "a\nb"; return nodeTimeout },
			"long id":         func(n *store.Node) time.Duration { n.ID = store.NodeID(strings.Repeat("a", 64)); return nodeTimeout },
			"no id":           func(n *store.Node) time.Duration { n.ID = ""; return nodeTimeout },
			"no instance":     func(n *store.Node) time.Duration { n.Instance = ""; return nodeTimeout },
			"state":           func(n *store.Node) time.Duration { n.State = store.NodeUnhealthy; return nodeTimeout },
			"server name":     func(n *store.Node) time.Duration { n.Servers = []store.Server{{ID: "a:b"}}; return nodeTimeout },
			"server twice": func(n *store.Node) time.Duration {
				n.Servers = []store.Server{{ID: "a"}, {ID: "a"}}
				return nodeTimeout
			},
			"ttl":              func(*store.Node) time.Duration { return 0 },
			"epoch out of all": func(n *store.Node) time.Duration { n.Epoch = 1 << 60; return nodeTimeout },
		}
		for what, change := range bad {
			n := good
			life := change(&n)
			_, err := e.Store.RegisterNode(t.Context(), n, life, true)
			wantErr(t, "RegisterNode with bad "+what, err, store.ErrInvalid)
			_, err = e.Store.BeatNode(t.Context(), n, life)
			wantErr(t, "BeatNode with bad "+what, err, store.ErrInvalid)
		}
		n := good
		n.Epoch = 0
		_, err := e.Store.BeatNode(t.Context(), n, nodeTimeout)
		wantErr(t, "BeatNode without epoch", err, store.ErrInvalid)
		wantErr(t, "DeregisterNode", e.Store.DeregisterNode(t.Context(), "a b", 1), store.ErrInvalid)
		wantErr(t, "DeregisterNode", e.Store.DeregisterNode(t.Context(), "n1", 0), store.ErrInvalid)
		if snap := snapshot(t, e.Store, nil); len(snap.Nodes) != 0 || snap.Revision != 0 {
			t.Fatalf("stored all the same: %+v", snap)
		}
	}},
	{"a caller that has left gets its context's error", func(t *testing.T, e Env) {
		_, err := e.Store.RegisterNode(ended(), node("n1", "a"), nodeTimeout, false)
		wantErr(t, "RegisterNode", err, store.ErrUnavailable)
		if h := e.Store.Health(); !h.OK {
			t.Fatalf("Health = %+v: a caller that left says nothing about Redis", h)
		}
	}},
}

// second drops a value.
func second(_ any, err error) error { return err }
