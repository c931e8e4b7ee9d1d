package storetest

import (
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

var listingCases = []testCase{
	{"an empty keyspace lists nothing", func(t *testing.T, e Env) {
		page, next, err := e.Store.Sessions(t.Context(), "", 10)
		if err != nil || len(page) != 0 || next != "" {
			t.Fatalf("Sessions = %v, %q, %v", page, next, err)
		}
	}},
	{"pages hold each session once, whatever their size", func(t *testing.T, e Env) {
		want := map[store.SessionID]bool{}
		for range 130 {
			want[create(t, e.Store)] = true
		}
		for _, limit := range []int{1, 7, 64, 129, 130, 131, 1000, 0} {
			var again []store.SessionID
			got := map[store.SessionID]int{}
			pages := 0
			for cursor := ""; ; {
				page, next, err := e.Second.Sessions(t.Context(), cursor, limit)
				if err != nil {
					t.Fatal(err)
				}
				if limit > 0 && len(page) > limit {
					t.Fatalf("limit %d: %d sessions on a page", limit, len(page))
				}
				for _, s := range page {
					got[s.ID]++
					again = append(again, s.ID)
					if s.Scope != store.ScopeAll || s.Expires.IsZero() {
						t.Fatalf("session = %+v", s)
					}
				}
				if pages++; next == "" {
					break
				}
				cursor = next
			}
			if most := (130 + max(limit, 1) - 1) / max(limit, 1); limit > 0 && pages != most {
				t.Errorf("limit %d: %d pages, want %d", limit, pages, most)
			}
			if len(got) != len(want) || len(again) != len(want) {
				t.Fatalf("limit %d: %d sessions, %d different, want %d", limit, len(again), len(got), len(want))
			}
			for id := range want {
				if got[id] != 1 {
					t.Fatalf("limit %d: a session came %d times", limit, got[id])
				}
			}
		}
	}},
	{"sessions created meanwhile change nothing for the others", func(t *testing.T, e Env) {
		want := map[store.SessionID]int{}
		for range 60 {
			want[create(t, e.Store)] = 0
		}
		for cursor := ""; ; {
			page, next, err := e.Store.Sessions(t.Context(), cursor, 7)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range page {
				if _, ok := want[s.ID]; ok {
					want[s.ID]++
				}
			}
			if next == "" {
				break
			}
			cursor = next
			for i := range 5 {
				later := ttl + time.Duration(i)*time.Second
				wantErr(t, "CreateSession", e.Second.CreateSession(t.Context(), store.Session{ID: newSID()}, later), nil)
			}
			if len(cursor) > 100 {
				t.Fatalf("cursor of %d bytes", len(cursor))
			}
		}
		for _, n := range want {
			if n != 1 {
				t.Fatalf("a session came %d times", n)
			}
		}
	}},
	{"a session touched meanwhile is not left out", func(t *testing.T, e Env) {
		var all []store.SessionID
		got := map[store.SessionID]bool{}
		for i := range 40 { // one shard, one expiry: the order is by id
			id := store.SessionID(fmt.Sprintf("05%030x", i))
			all = append(all, id)
			wantErr(t, "CreateSession", e.Store.CreateSession(t.Context(), store.Session{ID: id}, ttl), nil)
		}
		wantErr(t, "TouchSessions", e.Store.TouchSessions(t.Context(), all, ttl), nil)
		for cursor, later := "", ttl; ; later += time.Second {
			page, next, err := e.Store.Sessions(t.Context(), cursor, 3)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range page {
				got[s.ID] = true
			}
			if next == "" || len(got) == len(all) {
				break
			}
			cursor = next
			touched := []store.SessionID{all[len(got)%40], page[len(page)-1].ID}
			wantErr(t, "TouchSessions", e.Second.TouchSessions(t.Context(), touched, later), nil)
		}
		if len(got) != len(all) {
			t.Fatalf("%d of %d sessions came", len(got), len(all))
		}
	}},
	{"ended, expired and lost sessions are left out", func(t *testing.T, e Env) {
		keep, end, lose := create(t, e.Store), create(t, e.Store), create(t, e.Store)
		short := newSID()
		wantErr(t, "CreateSession", e.Store.CreateSession(t.Context(), store.Session{ID: short}, time.Minute), nil)
		wantErr(t, "EndSession", e.Store.EndSession(t.Context(), end, ttl), nil)
		must(t, nil, second(e.Do("DEL", e.Key("session:{"+string(lose)+"}"))))
		e.Advance(2 * time.Minute)
		page, next, err := e.Store.Sessions(t.Context(), "", 10)
		if err != nil || next != "" || len(page) != 1 || page[0].ID != keep {
			t.Fatalf("Sessions = %+v, %q, %v", page, next, err)
		}
	}},
	{"counting and listing trim what has expired", func(t *testing.T, e Env) {
		id := store.SessionID("05000000000000000000000000000001")
		wantErr(t, "CreateSession", e.Store.CreateSession(t.Context(), store.Session{ID: id}, time.Minute), nil)
		other := store.SessionID("05000000000000000000000000000002")
		wantErr(t, "CreateSession", e.Store.CreateSession(t.Context(), store.Session{ID: other}, ttl), nil)
		if n, err := e.Store.CountSessions(t.Context()); n != 2 || err != nil {
			t.Fatalf("CountSessions = %d, %v", n, err)
		}
		e.Advance(2 * time.Minute)
		if n, err := e.Store.CountSessions(t.Context()); n != 1 || err != nil {
			t.Fatalf("CountSessions = %d, %v", n, err)
		}
		if n, err := e.Do("ZCARD", e.Key("sessions:05")); err != nil || n != int64(1) {
			t.Fatalf("ZCARD = %v, %v", n, err)
		}
	}},
	{"touching trims what has expired in its shard", func(t *testing.T, e Env) {
		short, long := store.SessionID("05000000000000000000000000000001"), store.SessionID("05000000000000000000000000000002")
		wantErr(t, "CreateSession", e.Store.CreateSession(t.Context(), store.Session{ID: short}, time.Minute), nil)
		wantErr(t, "CreateSession", e.Store.CreateSession(t.Context(), store.Session{ID: long}, ttl), nil)
		e.Advance(2 * time.Minute)
		wantErr(t, "TouchSessions", e.Store.TouchSessions(t.Context(), []store.SessionID{long}, ttl), nil)
		if n, err := e.Do("ZCARD", e.Key("sessions:05")); err != nil || n != int64(1) {
			t.Fatalf("ZCARD = %v, %v", n, err)
		}
	}},
	{"strangers in the index are passed over", func(t *testing.T, e Env) {
		id := create(t, e.Store)
		far := time.Now().Add(1000 * time.Hour).UnixMilli()
		must(t, nil, second(e.Do("ZADD", e.Key("sessions:00"), far, "nonsense")))
		must(t, nil, second(e.Do("ZADD", e.Key("sessions:01"), far, "00000000000000000000000000000000")))
		page, next, err := e.Store.Sessions(t.Context(), "", 10)
		if err != nil || next != "" || len(page) != 1 || page[0].ID != id {
			t.Fatalf("Sessions = %+v, %q, %v", page, next, err)
		}
	}},
	{"a wrong cursor is refused", func(t *testing.T, e Env) {
		for range 5 {
			create(t, e.Store)
		}
		_, good, err := e.Store.Sessions(t.Context(), "", 1)
		if err != nil || good == "" {
			t.Fatalf("Sessions = %q, %v", good, err)
		}
		enc := base64.RawURLEncoding.EncodeToString
		for _, bad := range []string{
			"x", "!!!", good + "A", good[1:], good[:len(good)-1], enc([]byte("1.00..")), enc([]byte("2.05.1.05000000000000000000000000000001")),
			enc([]byte("1.06.1.05000000000000000000000000000001")), enc([]byte("1.05.+1.05000000000000000000000000000001")),
			enc([]byte("1.05.(1.05000000000000000000000000000001")), enc([]byte("1.05.-5.05000000000000000000000000000001")),
			enc([]byte("1.05.99999999999999999999.05000000000000000000000000000001")), enc([]byte("1.05.1.xyz")), enc(make([]byte, 10000)),
		} {
			_, _, err := e.Store.Sessions(t.Context(), bad, 10)
			wantErr(t, fmt.Sprintf("Sessions(%.40q)", bad), err, store.ErrCursor)
			wantErr(t, "and", err, store.ErrInvalid)
		}
	}},
	{"a cursor outlives the session it names", func(t *testing.T, e Env) {
		for range 6 {
			create(t, e.Store)
		}
		page, cursor, err := e.Store.Sessions(t.Context(), "", 3)
		wantErr(t, "Sessions", err, nil)
		for _, s := range page {
			wantErr(t, "EndSession", e.Store.EndSession(t.Context(), s.ID, ttl), nil)
		}
		rest, next, err := e.Store.Sessions(t.Context(), cursor, 10)
		if err != nil || len(rest) != 3 || next != "" {
			t.Fatalf("Sessions = %d sessions, %q, %v", len(rest), next, err)
		}
		e.Advance(ttl + time.Hour)
		rest, next, err = e.Store.Sessions(t.Context(), cursor, 10)
		if err != nil || len(rest) != 0 || next != "" {
			t.Fatalf("after they expired: Sessions = %d sessions, %q, %v", len(rest), next, err)
		}
	}},
}
