package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// owner is the coordinator whose inbox is under test.
const owner = store.CoordinatorID("host-1a2b3c")

// keep makes a stream at the owner.
func keep(t *testing.T, s *store.Store) store.SessionID {
	t.Helper()
	id := newSID()
	wantErr(t, "KeepStreams", s.KeepStreams(t.Context(), owner, []store.SessionID{id}, lease), nil)
	return id
}

// openInbox opens the owner's.
func openInbox(t *testing.T, s *store.Store) *store.Inbox {
	t.Helper()
	in, err := s.OpenInbox(owner)
	wantErr(t, "OpenInbox", err, nil)
	t.Cleanup(func() { _ = in.Close() })
	return in
}

// take reads n messages.
func take(t *testing.T, in *store.Inbox, n int) []store.InboxMessage {
	t.Helper()
	var all []store.InboxMessage
	for deadline := time.Now().Add(20 * time.Second); len(all) < n; {
		if time.Now().After(deadline) {
			t.Fatalf("%d messages, want %d", len(all), n)
		}
		page, err := in.Next(t.Context())
		wantErr(t, "Next", err, nil)
		all = append(all, page...)
	}
	return all
}

func push(t *testing.T, s *store.Store, id store.SessionID, n int) {
	t.Helper()
	m := store.InboxMessage{Session: id, ID: fmt.Sprint("m", n), Body: []byte(fmt.Sprint("body ", n))}
	wantErr(t, "PushInbox", s.PushInbox(t.Context(), owner, m), nil)
}

var inboxCases = []testCase{
	{"messages are read in the order in which they were left", func(t *testing.T, e Env) {
		one, two := keep(t, e.Store), keep(t, e.Store)
		in := openInbox(t, e.Second)
		for n := range 50 {
			push(t, []*store.Store{e.Store, e.Second}[n%2], []store.SessionID{one, two}[n%2], n)
		}
		got := take(t, in, 50)
		for n, m := range got {
			if want := []store.SessionID{one, two}[n%2]; m.Session != want || m.ID != fmt.Sprint("m", n) || string(m.Body) != fmt.Sprint("body ", n) {
				t.Fatalf("message %d = %+v", n, m)
			}
		}
		wantErr(t, "AckInbox", e.Store.AckInbox(t.Context(), owner, got), nil)
		wantErr(t, "AckInbox again", e.Store.AckInbox(t.Context(), owner, got[:10]), nil)
		for _, id := range []store.SessionID{one, two} {
			if h := hash(t, e, e.Key("sse:{"+string(owner)+"}:"+string(id))); h["waiting"] != "0" || h["bytes"] != "0" {
				t.Fatalf("after all was taken the stream has %v", h)
			}
		}
		if n, err := e.Do("XLEN", e.Key("inbox:{"+string(owner)+"}")); err != nil || n != int64(0) {
			t.Fatalf("%v messages are left, %v", n, err)
		}
		if n, err := e.Do("GET", e.Key("inboxsize:{"+string(owner)+"}")); err != nil || n != "0" {
			t.Fatalf("the inbox has %v bytes, %v", n, err)
		}
	}},
	{"a reader waits for a message", func(t *testing.T, e Env) {
		id, in := keep(t, e.Store), openInbox(t, e.Store)
		got := make(chan []store.InboxMessage, 1)
		go func() {
			for {
				if page, err := in.Next(t.Context()); err != nil || len(page) > 0 {
					got <- page
					return
				}
			}
		}()
		push(t, e.Second, id, 1)
		select {
		case page := <-got:
			if len(page) != 1 || page[0].ID != "m1" {
				t.Fatalf("Next = %v", page)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("Next does not return")
		}
	}},
	{"a reader of an inbox with nothing in it comes back", func(t *testing.T, e Env) {
		page, err := openInbox(t, e.Store).Next(t.Context())
		if err != nil || len(page) != 0 {
			t.Fatalf("Next = %v, %v", page, err)
		}
	}},
	{"a stream that has ended or lapsed takes nothing", func(t *testing.T, e Env) {
		id, other := keep(t, e.Store), keep(t, e.Store)
		m := store.InboxMessage{Session: id, ID: "m", Body: []byte("x")}
		wantErr(t, "PushInbox elsewhere", e.Store.PushInbox(t.Context(), "another", m), store.ErrNotFound)
		wantErr(t, "DropStream", e.Store.DropStream(t.Context(), owner, id), nil)
		wantErr(t, "DropStream again", e.Store.DropStream(t.Context(), owner, id), nil)
		wantErr(t, "PushInbox after the end", e.Second.PushInbox(t.Context(), owner, m), store.ErrNotFound)
		e.Advance(lease * 2 / 3)
		wantErr(t, "KeepStreams", e.Store.KeepStreams(t.Context(), owner, []store.SessionID{other}, lease), nil)
		e.Advance(lease * 2 / 3)
		push(t, e.Second, other, 1)
		e.Advance(lease)
		m.Session = other
		wantErr(t, "PushInbox after it lapsed", e.Second.PushInbox(t.Context(), owner, m), store.ErrNotFound)
	}},
	{"a full stream takes nothing more and others do", func(t *testing.T, e Env) {
		full, free := keep(t, e.Store), keep(t, e.Store)
		m := store.InboxMessage{Session: full, ID: "m", Body: bytes.Repeat([]byte("x"), 4<<20)}
		for range store.MaxWaitingBytes / len(m.Body) {
			wantErr(t, "PushInbox", e.Store.PushInbox(t.Context(), owner, m), nil)
		}
		m.Body = []byte("x")
		wantErr(t, "PushInbox when full", e.Store.PushInbox(t.Context(), owner, m), store.ErrTooMany)
		push(t, e.Second, free, 1)
		got := take(t, openInbox(t, e.Store), store.MaxWaitingBytes/(4<<20)+1)
		wantErr(t, "AckInbox", e.Store.AckInbox(t.Context(), owner, got[:1]), nil)
		wantErr(t, "PushInbox with room again", e.Store.PushInbox(t.Context(), owner, m), nil)
		must(t, nil, second(e.Do("HSET", e.Key("sse:{"+string(owner)+"}:"+string(free)), "waiting", store.MaxWaiting)))
		m.Session = free
		wantErr(t, "PushInbox with too many waiting", e.Store.PushInbox(t.Context(), owner, m), store.ErrTooMany)
	}},
	{"a full inbox takes nothing more", func(t *testing.T, e Env) {
		id := keep(t, e.Store)
		push(t, e.Store, id, 1)
		must(t, nil, second(e.Do("SET", e.Key("inboxsize:{"+string(owner)+"}"), store.MaxInboxBytes)))
		m := store.InboxMessage{Session: id, ID: "m", Body: []byte("x")}
		wantErr(t, "PushInbox", e.Store.PushInbox(t.Context(), owner, m), store.ErrTooMany)
		got := take(t, openInbox(t, e.Store), 1)
		wantErr(t, "AckInbox", e.Store.AckInbox(t.Context(), owner, got), nil)
		wantErr(t, "PushInbox into an empty one, whatever its size says", e.Store.PushInbox(t.Context(), owner, m), nil)
	}},
	{"what nobody takes lapses", func(t *testing.T, e Env) {
		id := keep(t, e.Store)
		push(t, e.Store, id, 1)
		e.Advance(10 * time.Minute)
		for _, key := range []string{"inbox:{" + string(owner) + "}", "inboxsize:{" + string(owner) + "}"} {
			if n, err := e.Do("EXISTS", e.Key(key)); err != nil || n != int64(0) {
				t.Fatalf("%s is there still: %v, %v", key, n, err)
			}
		}
	}},
	{"bad names are refused", func(t *testing.T, e Env) {
		m := store.InboxMessage{Session: "short", ID: "m"}
		wantErr(t, "PushInbox", e.Store.PushInbox(t.Context(), owner, m), store.ErrInvalid)
		wantErr(t, "KeepStreams", e.Store.KeepStreams(t.Context(), owner, []store.SessionID{"short"}, lease), store.ErrInvalid)
		wantErr(t, "KeepStreams for no time", e.Store.KeepStreams(t.Context(), owner, nil, 0), store.ErrInvalid)
		wantErr(t, "DropStream", e.Store.DropStream(t.Context(), "}", newSID()), store.ErrInvalid)
		wantErr(t, "AckInbox", e.Store.AckInbox(t.Context(), "", nil), store.ErrInvalid)
		_, err := e.Store.OpenInbox("a b")
		wantErr(t, "OpenInbox", err, store.ErrInvalid)
		m.Session = newSID()
		if err := e.Store.PushInbox(ended(), owner, m); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("PushInbox for nobody = %v", err)
		}
	}},
}
