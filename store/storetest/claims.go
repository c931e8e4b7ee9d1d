package storetest

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// minute is how long a place is kept for a session in these cases.
const minute = time.Minute

var claimCases = []testCase{
	{"a subject has as many sessions as it may", func(t *testing.T, e Env) {
		one, two, three := of(t, e.Store, "s"), newSID(), newSID()
		wantErr(t, "ClaimSession", e.Second.ClaimSession(t.Context(), two, "s", 2, minute), nil)
		wantErr(t, "ClaimSession again", e.Store.ClaimSession(t.Context(), two, "s", 2, minute), nil)
		wantErr(t, "ClaimSession of one more", e.Store.ClaimSession(t.Context(), three, "s", 2, minute), store.ErrTooMany)
		wantErr(t, "ClaimSession of another's", e.Store.ClaimSession(t.Context(), three, "other", 2, minute), nil)
		wantErr(t, "UnclaimSession", e.Store.UnclaimSession(t.Context(), two, "s"), nil)
		wantErr(t, "ClaimSession of what was given back", e.Store.ClaimSession(t.Context(), three, "s", 2, minute), nil)
		wantErr(t, "EndSession", e.Second.EndSession(t.Context(), one, ttl), nil)
		wantErr(t, "ClaimSession of what has ended", e.Store.ClaimSession(t.Context(), two, "s", 2, minute), nil)
	}},
	{"places of sessions that were never begun expire", func(t *testing.T, e Env) {
		wantErr(t, "ClaimSession", e.Store.ClaimSession(t.Context(), newSID(), "s", 1, minute), nil)
		e.Advance(minute + time.Second)
		if n, err := e.Do("EXISTS", e.Key("subject:{s}")); err != nil || n != int64(0) {
			t.Errorf("EXISTS = %v, %v; the key should have expired", n, err)
		}
		wantErr(t, "ClaimSession", e.Store.ClaimSession(t.Context(), newSID(), "s", 1, minute), nil)
	}},
	{"sessions count as long as they live", func(t *testing.T, e Env) {
		id, next := newSID(), newSID()
		wantErr(t, "ClaimSession", e.Store.ClaimSession(t.Context(), id, "s", 1, minute), nil)
		wantErr(t, "CreateSession", e.Store.CreateSession(t.Context(), store.Session{ID: id, Subject: "s", Scope: "x"}, ttl), nil)
		for range 3 {
			e.Advance(ttl - time.Minute)
			wantErr(t, "ClaimSession of one more", e.Store.ClaimSession(t.Context(), next, "s", 1, minute), store.ErrTooMany)
			wantErr(t, "TouchSessions", e.Second.TouchSessions(t.Context(), []store.SessionID{id}, ttl), nil)
		}
		other := of(t, e.Store, "s") // keeps the key, while the first one's entry expires
		e.Advance(ttl - time.Minute)
		wantErr(t, "TouchSessions", e.Second.TouchSessions(t.Context(), []store.SessionID{other}, ttl), nil)
		e.Advance(2 * time.Minute)
		wantErr(t, "ClaimSession of the place of the expired", e.Store.ClaimSession(t.Context(), next, "s", 2, minute), nil)
		wantErr(t, "ClaimSession of one more", e.Store.ClaimSession(t.Context(), newSID(), "s", 2, minute), store.ErrTooMany)
	}},
	{"a session that was written by an older release counts from its next touch", func(t *testing.T, e Env) {
		id := of(t, e.Store, "s")
		must(t, nil, second(e.Do("DEL", e.Key("subject:{s}"))))
		wantErr(t, "TouchSessions", e.Store.TouchSessions(t.Context(), []store.SessionID{id}, ttl), nil)
		wantErr(t, "ClaimSession", e.Store.ClaimSession(t.Context(), newSID(), "s", 1, minute), store.ErrTooMany)
	}},
	{"sessions without a subject are not counted", func(t *testing.T, e Env) {
		id := create(t, e.Store)
		wantErr(t, "TouchSessions", e.Store.TouchSessions(t.Context(), []store.SessionID{id}, ttl), nil)
		wantErr(t, "EndSession", e.Store.EndSession(t.Context(), id, ttl), nil)
		if n, err := e.Do("EXISTS", e.Key("subject:{}")); err != nil || n != int64(0) {
			t.Errorf("EXISTS = %v, %v", n, err)
		}
		for _, bad := range []error{
			e.Store.ClaimSession(t.Context(), id, "", 1, minute), e.Store.ClaimSession(t.Context(), id, "s", 0, minute),
			e.Store.ClaimSession(t.Context(), "x", "s", 1, minute), e.Store.ClaimSession(t.Context(), id, "s", 1, 0),
			e.Store.UnclaimSession(t.Context(), "x", "s"),
		} {
			wantErr(t, "a bad call", bad, store.ErrInvalid)
		}
	}},
	{"of many that begin at once only so many may", func(t *testing.T, e Env) {
		const most = 5
		var won atomic.Int32
		together(20, func(i int) {
			s := []*store.Store{e.Store, e.Second}[i%2]
			switch err := s.ClaimSession(t.Context(), newSID(), "s", most, minute); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, store.ErrTooMany):
				t.Errorf("ClaimSession = %v", err)
			}
		})
		if won.Load() != most {
			t.Errorf("%d had a place, want %d", won.Load(), most)
		}
	}},
}

// of writes a session of a subject.
func of(t *testing.T, s *store.Store, subject string) store.SessionID {
	t.Helper()
	id := newSID()
	wantErr(t, "CreateSession", s.CreateSession(t.Context(), store.Session{ID: id, Subject: subject, Scope: "x"}, ttl), nil)
	return id
}
