package storetest

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// someInit is what a real client sends, in size.
var someInit = []byte(`{"protocolVersion":"2025-11-25","capabilities":{"roots":{"listChanged":true},"sampling":{}},"clientInfo":{"name":"client","version":"1.0.0"}}`)

// createWith writes a session with the given params of initialize.
func createWith(t *testing.T, s *store.Store, init []byte) store.SessionID {
	t.Helper()
	id := newSID()
	wantErr(t, "CreateSession", s.CreateSession(t.Context(), store.Session{ID: id, Scope: "time", Era: "2025-11-25", Init: init}, ttl), nil)
	return id
}

// wantInit reads the session with a store that has seen nothing yet.
func wantInit(t *testing.T, e Env, id store.SessionID, init []byte) {
	t.Helper()
	got, err := e.Open().Session(t.Context(), id)
	if err != nil || !bytes.Equal(got.Init, init) {
		t.Fatalf("Session = init %.200s, %v; want %.200s", got.Init, err, init)
	}
}

// initKey is where params are shared.
func initKey(e Env, init []byte) string { return e.Key("init:" + string(store.DigestOf(init)[:32])) }

var initCases = []testCase{
	{"sessions of one kind of client share its initialize", func(t *testing.T, e Env) {
		one, two := createWith(t, e.Store, someInit), createWith(t, e.Second, someInit)
		for _, id := range []store.SessionID{one, two} {
			wantInit(t, e, id, someInit)
			if h := hash(t, e, e.Key("session:{"+string(id)+"}")); h["init"] != "" || h["initDigest"] != string(store.DigestOf(someInit)[:32]) {
				t.Fatalf("hash = %v", h)
			}
		}
		if got, err := e.Do("GET", initKey(e, someInit)); err != nil || got != string(someInit) {
			t.Fatalf("the params are not where their digest says: %v, %v", got, err)
		}
		wantErr(t, "EndSession", e.Store.EndSession(t.Context(), one, ttl), nil)
		wantInit(t, e, two, someInit)
	}},
	{"a large initialize stays in the session and goes with it", func(t *testing.T, e Env) {
		large := []byte(`{"x":"` + strings.Repeat("y", 2100) + `"}`)
		id := createWith(t, e.Store, large)
		wantInit(t, e, id, large)
		h := hash(t, e, e.Key("session:{"+string(id)+"}"))
		if h["init"] != string(large) || h["initDigest"] != "" {
			t.Fatalf("fields %.100s and %s", h["init"], h["initDigest"])
		}
	}},
	{"a session of the first release is read", func(t *testing.T, e Env) {
		id := createWith(t, e.Store, nil)
		must(t, nil, second(e.Do("HSET", e.Key("session:{"+string(id)+"}"), "init", string(someInit))))
		wantInit(t, e, id, someInit)
		wantErr(t, "CreateSession", e.Store.CreateSession(t.Context(), store.Session{ID: id, Init: someInit}, ttl), nil)
		wantErr(t, "TouchSessions", e.Store.TouchSessions(t.Context(), []store.SessionID{id}, ttl), nil)
		wantInit(t, e, id, someInit)
	}},
	{"an initialize lives as long as any session that needs it", func(t *testing.T, e Env) {
		id := createWith(t, e.Store, someInit)
		for range 3 {
			e.Advance(ttl * 9 / 10)
			// In use again, which is noted with the next batch.
			_, err := e.Store.Bind(t.Context(), id, "time", store.Binding{}, store.Binding{Node: "n1", Epoch: 1}, ttl)
			wantErr(t, "Bind", err, nil)
			e.Advance(ttl / 10)
			wantInit(t, e, id, someInit)
			wantErr(t, "TouchSessions", e.Store.TouchSessions(t.Context(), []store.SessionID{id}, ttl), nil)
		}
		// Somebody with a shorter life does not cut it short.
		short := store.Session{ID: newSID(), Init: someInit}
		wantErr(t, "CreateSession", e.Store.CreateSession(t.Context(), short, time.Minute), nil)
		wantErr(t, "TouchSessions", e.Store.TouchSessions(t.Context(), []store.SessionID{short.ID}, time.Minute), nil)
		e.Advance(ttl / 2)
		wantInit(t, e, id, someInit)
		e.Advance(2 * ttl)
		if n, err := e.Do("EXISTS", initKey(e, someInit)); err != nil || n != int64(0) {
			t.Fatalf("an initialize that nobody needs is kept: %v, %v", n, err)
		}
	}},
	{"a session whose initialize is lost is written back by whoever has it", func(t *testing.T, e Env) {
		id, other := createWith(t, e.Store, someInit), createWith(t, e.Store, nil)
		key := initKey(e, someInit)
		for _, damage := range [][]any{{"DEL", key}, {"SET", key, "{}"}} {
			must(t, nil, second(e.Do("DEL", key)))
			must(t, nil, second(e.Do(damage...)))
			_, err := e.Open().Session(t.Context(), id)
			wantErr(t, "Session", err, store.ErrNotFound)
			if damage[0] == "DEL" {
				var lost *store.MissingSessionsError
				err = e.Second.TouchSessions(t.Context(), []store.SessionID{id, other}, ttl)
				if !errors.As(err, &lost) || len(lost.Missing) != 1 || lost.Missing[0] != id || len(lost.Ended) != 0 {
					t.Fatalf("TouchSessions = %v, want one missing", err)
				}
			}
			wantErr(t, "CreateSession", e.Second.CreateSession(t.Context(), store.Session{ID: id, Init: someInit}, ttl), nil)
			wantInit(t, e, id, someInit)
		}
		must(t, nil, second(e.Do("HSET", e.Key("session:{"+string(id)+"}"), "initDigest", "*")))
		_, err := e.Open().Session(t.Context(), id)
		wantErr(t, "Session with a damaged digest", err, store.ErrNotFound)
	}},
	{"a listing leaves it out", func(t *testing.T, e Env) {
		createWith(t, e.Store, someInit)
		createWith(t, e.Store, bytes.Repeat([]byte("x"), 3000))
		page, _, err := e.Store.Sessions(t.Context(), "", 10)
		if err != nil || len(page) != 2 || page[0].Init != nil || page[1].Init != nil || page[0].Era == "" {
			t.Fatalf("Sessions = %d sessions, %v", len(page), err)
		}
	}},
}
