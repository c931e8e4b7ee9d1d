package storetest

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

var sessionCases = []testCase{
	{"a session is stored whole and read back", func(t *testing.T, e Env) {
		want := store.Session{
			ID: newSID(), Subject: "s1", Scope: "time", Era: "2025-11-25", Init: []byte("{\"x\":\"\x00\\u0000é\"}"), Level: "notice",
			Bindings: map[store.ServerID]store.Binding{"time": {Node: "n1", Epoch: 3}},
		}
		wantErr(t, "CreateSession", e.Store.CreateSession(t.Context(), want, ttl), nil)
		got, err := e.Second.Session(t.Context(), want.ID)
		if err != nil {
			t.Fatal(err)
		}
		if d := got.Expires.Sub(got.Created); d < ttl-time.Second || d > ttl+time.Second || !got.Seen.Equal(got.Created) {
			t.Fatalf("created %v, seen %v, expires %v", got.Created, got.Seen, got.Expires)
		}
		want.Created, want.Seen, want.Expires = got.Created, got.Seen, got.Expires
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("Session = %+v, want %+v", got, want)
		}
	}},
	{"the session is plain to redis-cli", func(t *testing.T, e Env) {
		id := store.SessionID("7f000000000000000000000000000001")
		err := e.Store.CreateSession(t.Context(), store.Session{
			ID: id, Subject: "s", Scope: "*", Era: "2025-06-18", Init: []byte("{}"),
			Bindings: map[store.ServerID]store.Binding{"db": {Node: "n1", Epoch: 7}},
		}, ttl)
		wantErr(t, "CreateSession", err, nil)
		h := hash(t, e, e.Key("session:{"+string(id)+"}"))
		for field, want := range map[string]string{
			"id": string(id), "subject": "s", "scope": "*", "era": "2025-06-18", "bind:db": "n1#7",
		} {
			if h[field] != want {
				t.Errorf("field %s = %q, want %q", field, h[field], want)
			}
		}
		if got, err := e.Do("GET", e.Key("init:"+h["initDigest"])); err != nil || got != "{}" {
			t.Errorf("init:%s = %v, %v", h["initDigest"], got, err)
		}
		score, err := e.Do("ZSCORE", e.Key("sessions:3f"), string(id)) // 7f & 3f
		if err != nil || score == nil {
			t.Errorf("index entry: %v, %v", score, err)
		}
		left, err := e.Do("PTTL", e.Key("sessions:3f"))
		if ms, _ := must(t, left, err).(int64); ms < 1 {
			t.Errorf("the index never expires: PTTL %v", left)
		}
	}},
	{"an unknown session is not found", func(t *testing.T, e Env) {
		_, err := e.Store.Session(t.Context(), newSID())
		wantErr(t, "Session", err, store.ErrNotFound)
	}},
	{"a session expires", func(t *testing.T, e Env) {
		id := create(t, e.Store)
		e.Advance(ttl + time.Second)
		_, err := e.Store.Session(t.Context(), id)
		wantErr(t, "Session", err, store.ErrNotFound)
		if n, err := e.Store.CountSessions(t.Context()); n != 0 || err != nil {
			t.Fatalf("CountSessions = %d, %v", n, err)
		}
	}},
	{"writing a session back keeps what stands and its age", func(t *testing.T, e Env) {
		id := create(t, e.Store)
		first, err := e.Store.Session(t.Context(), id)
		wantErr(t, "Session", err, nil)
		_, err = e.Store.Bind(t.Context(), id, "time", store.Binding{}, store.Binding{Node: "n1", Epoch: 1}, ttl)
		wantErr(t, "Bind", err, nil)
		e.Advance(time.Minute)
		stale := store.Session{ID: id, Scope: "other", Bindings: map[store.ServerID]store.Binding{
			"time": {Node: "n2", Epoch: 2}, "db": {Node: "n2", Epoch: 2},
		}}
		wantErr(t, "CreateSession", e.Second.CreateSession(t.Context(), stale, ttl), nil)
		got, err := e.Store.Session(t.Context(), id)
		wantErr(t, "Session", err, nil)
		if got.Bindings["time"].Node != "n1" || got.Bindings["db"].Node != "n2" || got.Scope != store.ScopeAll {
			t.Fatalf("Session = %+v", got)
		}
		if !got.Seen.After(first.Seen.Add(30*time.Second)) && !got.Created.Before(first.Created.Add(time.Second)) {
			t.Fatalf("created %v, seen %v", got.Created, got.Seen)
		}
	}},
	{"a flushed Redis takes a session back with its bindings valid", func(t *testing.T, e Env) {
		id := create(t, e.Store)
		b := store.Binding{Node: "n1", Epoch: 4}
		_, err := e.Store.Bind(t.Context(), id, "time", store.Binding{}, b, ttl)
		wantErr(t, "Bind", err, nil)
		cached, err := e.Store.Session(t.Context(), id)
		wantErr(t, "Session", err, nil)
		e.Flush()
		_, err = e.Store.Bind(t.Context(), id, "time", b, store.Binding{Node: "n2", Epoch: 5}, ttl)
		wantErr(t, "Bind after the flush", err, store.ErrNotFound)
		wantErr(t, "CreateSession", e.Store.CreateSession(t.Context(), cached, ttl), nil)
		got, err := e.Second.Session(t.Context(), id)
		if err != nil || got.Bindings["time"] != b || !got.Created.Equal(cached.Created) {
			t.Fatalf("Session = %+v, %v", got, err)
		}
	}},
	{"an ended session stays ended", func(t *testing.T, e Env) {
		id := create(t, e.Store)
		wantErr(t, "EndSession", e.Store.EndSession(t.Context(), id, ttl), nil)
		wantErr(t, "EndSession again", e.Second.EndSession(t.Context(), id, ttl), nil)
		_, err := e.Second.Session(t.Context(), id)
		wantErr(t, "Session", err, store.ErrEnded)
		wantErr(t, "CreateSession", e.Second.CreateSession(t.Context(), store.Session{ID: id}, ttl), store.ErrEnded)
		_, err = e.Second.Bind(t.Context(), id, "time", store.Binding{}, store.Binding{Node: "n1", Epoch: 1}, ttl)
		wantErr(t, "Bind", err, store.ErrEnded)
		err = e.Second.TouchSessions(t.Context(), []store.SessionID{id}, 10*ttl)
		var lost *store.MissingSessionsError
		if !errors.As(err, &lost) || len(lost.Ended) != 1 || lost.Ended[0] != id || len(lost.Missing) != 0 {
			t.Fatalf("TouchSessions = %v", err)
		}
		if n, err := e.Store.CountSessions(t.Context()); n != 0 || err != nil {
			t.Fatalf("CountSessions = %d, %v", n, err)
		}
		e.Advance(ttl + time.Second)
		_, err = e.Second.Session(t.Context(), id)
		wantErr(t, "Session after the tombstone", err, store.ErrNotFound)
	}},
	{"an unknown session can be ended in advance", func(t *testing.T, e Env) {
		id := newSID()
		wantErr(t, "EndSession", e.Store.EndSession(t.Context(), id, ttl), nil)
		wantErr(t, "CreateSession", e.Store.CreateSession(t.Context(), store.Session{ID: id}, ttl), store.ErrEnded)
	}},
	{"the last log level that is set stands, and is kept like the rest", func(t *testing.T, e Env) {
		id := create(t, e.Store)
		wantErr(t, "SetSessionLevel", e.Store.SetSessionLevel(t.Context(), id, "debug"), nil)
		wantErr(t, "SetSessionLevel again", e.Second.SetSessionLevel(t.Context(), id, "warning"), nil)
		wantErr(t, "CreateSession", e.Store.CreateSession(t.Context(), store.Session{ID: id, Level: "info"}, ttl), nil)
		got, err := e.Store.Session(t.Context(), id)
		if err != nil || got.Level != "warning" {
			t.Fatalf("Session = %+v, %v; want the level that was set last", got, err)
		}
		for _, bad := range []string{"", "a level of more than sixteen bytes"} {
			wantErr(t, "SetSessionLevel "+bad, e.Store.SetSessionLevel(t.Context(), id, bad), store.ErrInvalid)
		}
		wantErr(t, "SetSessionLevel of no id", e.Store.SetSessionLevel(t.Context(), "x", "info"), store.ErrInvalid)
		e.Advance(ttl + time.Second)
		wantErr(t, "SetSessionLevel after it expired", e.Store.SetSessionLevel(t.Context(), id, "info"), store.ErrNotFound)
		if n, err := e.Do("EXISTS", e.Key("session:{"+string(id)+"}")); err != nil || n != int64(0) {
			t.Fatalf("a stump is left: %v, %v", n, err)
		}
		id = create(t, e.Store)
		wantErr(t, "EndSession", e.Store.EndSession(t.Context(), id, ttl), nil)
		wantErr(t, "SetSessionLevel of an ended one", e.Second.SetSessionLevel(t.Context(), id, "info"), store.ErrEnded)
	}},
	{"touching lets sessions live on and names the missing", func(t *testing.T, e Env) {
		all := make([]store.SessionID, 150)
		for i := range all {
			all[i] = create(t, e.Store)
		}
		left := create(t, e.Store)
		before, err := e.Store.Session(t.Context(), all[0])
		wantErr(t, "Session", err, nil)
		e.Advance(ttl / 2)
		unknown := newSID()
		err = e.Second.TouchSessions(t.Context(), append([]store.SessionID{unknown}, all...), ttl)
		var lost *store.MissingSessionsError
		if !errors.As(err, &lost) || !errors.Is(err, store.ErrNotFound) || len(lost.Missing) != 1 || lost.Missing[0] != unknown {
			t.Fatalf("TouchSessions = %v, want one missing", err)
		}
		if got, err := e.Store.Session(t.Context(), all[0]); err != nil || got.Seen.Sub(got.Created) < ttl/2-time.Second ||
			(got.Expires.Sub(before.Expires) < ttl/2-time.Second && got.Expires.Sub(got.Seen) < ttl-time.Second) {
			t.Fatalf("Session = %+v, %v", got, err)
		}
		e.Advance(ttl/2 + time.Minute)
		for _, id := range []store.SessionID{all[0], all[149]} {
			_, err := e.Store.Session(t.Context(), id)
			wantErr(t, "a touched session", err, nil)
		}
		_, err = e.Store.Session(t.Context(), left)
		wantErr(t, "the untouched session", err, store.ErrNotFound)
		if n, err := e.Store.CountSessions(t.Context()); n != 150 || err != nil {
			t.Fatalf("CountSessions = %d, %v; want 150", n, err)
		}
	}},
	{"touching nothing is nothing", func(t *testing.T, e Env) {
		wantErr(t, "TouchSessions", e.Store.TouchSessions(t.Context(), nil, ttl), nil)
	}},
	{"touching an expired session leaves nothing behind", func(t *testing.T, e Env) {
		id := newSID()
		err := e.Store.TouchSessions(t.Context(), []store.SessionID{id}, ttl)
		wantErr(t, "TouchSessions", err, store.ErrNotFound)
		if n, err := e.Do("EXISTS", e.Key("session:{"+string(id)+"}")); err != nil || n != int64(0) {
			t.Fatalf("EXISTS = %v, %v", n, err)
		}
	}},
	{"a hash that carries another id is not this session", func(t *testing.T, e Env) {
		id := create(t, e.Store)
		must(t, nil, second(e.Do("HSET", e.Key("session:{"+string(id)+"}"), "id", string(newSID()))))
		_, err := e.Store.Session(t.Context(), id)
		wantErr(t, "Session", err, store.ErrNotFound)
		_, err = e.Store.Bind(t.Context(), id, "time", store.Binding{}, store.Binding{Node: "n", Epoch: 1}, ttl)
		wantErr(t, "Bind", err, store.ErrNotFound)
		must(t, nil, second(e.Do("SET", e.Key("session:{"+string(id)+"}"), "oops")))
		_, err = e.Store.Session(t.Context(), id)
		wantErr(t, "Session", err, store.ErrNotFound)
	}},
	{"a damaged binding is none", func(t *testing.T, e Env) {
		id := create(t, e.Store)
		must(t, nil, second(e.Do("HSET", e.Key("session:{"+string(id)+"}"), "bind:time", "n1#x", "bind:db", "n1#2")))
		got, err := e.Store.Session(t.Context(), id)
		if err != nil || len(got.Bindings) != 1 || got.Bindings["db"].Epoch != 2 {
			t.Fatalf("Session = %+v, %v", got, err)
		}
	}},
	{"ids that cannot be one are refused", func(t *testing.T, e Env) {
		for _, id := range []store.SessionID{
			"", "short", "7F000000000000000000000000000001", "7f00000000000000000000000000000", "7f0000000000000000000000000000012",
			"7f00000000000000000000000000000}", "7f0000000000000000000000000000 1", "gf000000000000000000000000000001",
		} {
			_, err := e.Store.Session(t.Context(), id)
			wantErr(t, "Session", err, store.ErrInvalid)
			wantErr(t, "CreateSession", e.Store.CreateSession(t.Context(), store.Session{ID: id}, ttl), store.ErrInvalid)
			wantErr(t, "EndSession", e.Store.EndSession(t.Context(), id, ttl), store.ErrInvalid)
			wantErr(t, "TouchSessions", e.Store.TouchSessions(t.Context(), []store.SessionID{newSID(), id}, ttl), store.ErrInvalid)
			_, err = e.Store.Bind(t.Context(), id, "time", store.Binding{}, store.Binding{}, ttl)
			wantErr(t, "Bind", err, store.ErrInvalid)
			wantErr(t, "Notify", e.Store.Notify(t.Context(), store.Hint{Kind: store.HintSession, Session: id}), store.ErrInvalid)
		}
		id := newSID()
		wantErr(t, "CreateSession without ttl", e.Store.CreateSession(t.Context(), store.Session{ID: id}, 0), store.ErrInvalid)
		wantErr(t, "TouchSessions without ttl", e.Store.TouchSessions(t.Context(), []store.SessionID{id}, 0), store.ErrInvalid)
		wantErr(t, "EndSession without ttl", e.Store.EndSession(t.Context(), id, 0), store.ErrInvalid)
		bad := store.Session{ID: id, Bindings: map[store.ServerID]store.Binding{"a b": {Node: "n", Epoch: 1}}}
		wantErr(t, "CreateSession with a bad server", e.Store.CreateSession(t.Context(), bad, ttl), store.ErrInvalid)
		bad = store.Session{ID: id, Bindings: map[store.ServerID]store.Binding{"a": {Node: "n#1", Epoch: 1}}}
		wantErr(t, "CreateSession with a bad node", e.Store.CreateSession(t.Context(), bad, ttl), store.ErrInvalid)
	}},
}

var bindCases = []testCase{
	{"binding compares and sets", func(t *testing.T, e Env) {
		id := create(t, e.Store)
		a, b, c := store.Binding{Node: "n1", Epoch: 1}, store.Binding{Node: "n2", Epoch: 2}, store.Binding{Node: "n3", Epoch: 3}
		for i, step := range []struct {
			prev, next, want store.Binding
		}{
			{a, b, store.Binding{}},                     // not what stands: nothing is bound
			{store.Binding{}, a, a},                     // wins
			{store.Binding{}, a, a},                     // the same again: has won already
			{store.Binding{}, b, a},                     // too late
			{a, b, b},                                   // moves
			{a, c, b},                                   // the other coordinator was first
			{b, store.Binding{}, store.Binding{}},       // unbinds
			{store.Binding{}, c, c},                     // binds anew
			{c, c, c},                                   // stays
			{store.Binding{Node: "n3", Epoch: 2}, a, c}, // an older epoch of the same node is another binding
		} {
			got, err := []*store.Store{e.Store, e.Second}[i%2].Bind(t.Context(), id, "time", step.prev, step.next, ttl)
			if err != nil || got != step.want {
				t.Fatalf("step %d: Bind(%v -> %v) = %v, %v; want %v", i, step.prev, step.next, got, err, step.want)
			}
		}
		sess, err := e.Store.Session(t.Context(), id)
		if err != nil || len(sess.Bindings) != 1 || sess.Bindings["time"] != c {
			t.Fatalf("Session = %+v, %v", sess, err)
		}
	}},
	{"servers of a session are bound apart", func(t *testing.T, e Env) {
		id := create(t, e.Store)
		for _, server := range []store.ServerID{"time", "db"} {
			b := store.Binding{Node: store.NodeID("node-" + server), Epoch: 1}
			if got, err := e.Store.Bind(t.Context(), id, server, store.Binding{}, b, ttl); err != nil || got != b {
				t.Fatalf("Bind(%s) = %v, %v", server, got, err)
			}
		}
		sess, err := e.Store.Session(t.Context(), id)
		if err != nil || sess.Bindings["time"].Node != "node-time" || sess.Bindings["db"].Node != "node-db" {
			t.Fatalf("Session = %+v, %v", sess, err)
		}
	}},
	{"binding refreshes the session", func(t *testing.T, e Env) {
		id := create(t, e.Store)
		e.Advance(ttl / 2)
		_, err := e.Store.Bind(t.Context(), id, "time", store.Binding{}, store.Binding{Node: "n", Epoch: 1}, ttl)
		wantErr(t, "Bind", err, nil)
		e.Advance(ttl/2 + time.Minute)
		_, err = e.Store.Session(t.Context(), id)
		wantErr(t, "Session", err, nil)
	}},
	{"an unknown session is not bound", func(t *testing.T, e Env) {
		id := newSID()
		_, err := e.Store.Bind(t.Context(), id, "time", store.Binding{}, store.Binding{Node: "n", Epoch: 1}, ttl)
		wantErr(t, "Bind", err, store.ErrNotFound)
		_, err = e.Store.Session(t.Context(), id)
		wantErr(t, "Session", err, store.ErrNotFound)
	}},
	{"two coordinators that move one session at once agree", func(t *testing.T, e Env) {
		for range 20 {
			id := create(t, e.Store)
			old := store.Binding{Node: "dead", Epoch: 1}
			_, err := e.Store.Bind(t.Context(), id, "time", store.Binding{}, old, ttl)
			wantErr(t, "Bind", err, nil)
			var won [2]store.Binding
			together(2, func(i int) {
				s := []*store.Store{e.Store, e.Second}[i]
				next := store.Binding{Node: []store.NodeID{"n1", "n2"}[i], Epoch: 2}
				var err error
				if won[i], err = s.Bind(t.Context(), id, "time", old, next, ttl); err != nil {
					t.Errorf("Bind = %v", err)
				}
			})
			sess, err := e.Store.Session(t.Context(), id)
			wantErr(t, "Session", err, nil)
			if won[0] != won[1] || won[0] == old || sess.Bindings["time"] != won[0] {
				t.Fatalf("one was told %v, the other %v, stored is %v", won[0], won[1], sess.Bindings["time"])
			}
		}
	}},
	{"bad bindings are refused", func(t *testing.T, e Env) {
		id := create(t, e.Store)
		good := store.Binding{Node: "n", Epoch: 1}
		for _, c := range []struct {
			server     store.ServerID
			prev, next store.Binding
			ttl        time.Duration
		}{
			{"a b", store.Binding{}, good, ttl}, {"", store.Binding{}, good, ttl},
			{"a", store.Binding{Node: "n"}, good, ttl}, {"a", store.Binding{}, store.Binding{Epoch: 1}, ttl},
			{"a", store.Binding{}, store.Binding{Node: "x#9", Epoch: 1}, ttl}, {"a", store.Binding{}, good, 0},
		} {
			_, err := e.Store.Bind(t.Context(), id, c.server, c.prev, c.next, c.ttl)
			wantErr(t, "Bind", err, store.ErrInvalid)
		}
	}},
}
