package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

var subscriptionCases = []testCase{
	{"subscriptions are kept with the session, and each change shows", func(t *testing.T, e Env) {
		id := create(t, e.Store)
		a, b := store.Subscription{Server: "docs", URI: "docs://a b"}, store.Subscription{Server: "db", URI: "db://é"}
		if got, err := e.Store.Session(t.Context(), id); err != nil || got.Subs != "" {
			t.Fatalf("Session = %+v, %v", got, err)
		}
		before, first, err := e.Store.AddSubscription(t.Context(), id, a, ttl)
		if err != nil || before != "" || first == "" {
			t.Fatalf("AddSubscription = %q, %q, %v", before, first, err)
		}
		before, second, err := e.Second.AddSubscription(t.Context(), id, b, ttl)
		if err != nil || before != first || second == first {
			t.Fatalf("AddSubscription = %q, %q, %v; the one before was %q", before, second, err, first)
		}
		if before, now, err := e.Store.AddSubscription(t.Context(), id, a, ttl); err != nil || before != second || now != second {
			t.Fatalf("AddSubscription of what stands = %q, %q, %v; want %q", before, now, err, second)
		}
		wantSubscriptions(t, e.Second, id, b, a)
		if members, err := e.Do("SCARD", e.Key("session:{"+string(id)+"}:subs")); err != nil || members != int64(2) {
			t.Fatalf("SCARD = %v, %v", members, err)
		}
		if got, err := e.Second.Session(t.Context(), id); err != nil || got.Subs != second {
			t.Fatalf("Session = %+v, %v; want Subs %q", got, err, second)
		}
		_, third, err := e.Second.DropSubscription(t.Context(), id, a, ttl)
		if err != nil || third == second {
			t.Fatalf("DropSubscription = %q, %v", third, err)
		}
		if before, now, err := e.Store.DropSubscription(t.Context(), id, a, ttl); err != nil || before != third || now != third {
			t.Fatalf("DropSubscription of none = %q, %q, %v; want %q", before, now, err, third)
		}
		wantSubscriptions(t, e.Store, id, b)
	}},
	{"subscriptions live as long as their session is used", func(t *testing.T, e Env) {
		id := create(t, e.Store)
		sub := store.Subscription{Server: "docs", URI: "docs://a"}
		_, _, err := e.Store.AddSubscription(t.Context(), id, sub, ttl)
		wantErr(t, "AddSubscription", err, nil)
		for range 3 {
			e.Advance(ttl - time.Minute)
			wantErr(t, "TouchSessions", e.Second.TouchSessions(t.Context(), []store.SessionID{id}, ttl), nil)
		}
		wantSubscriptions(t, e.Store, id, sub)
		e.Advance(2 * ttl)
		wantSubscriptions(t, e.Store, id)
		_, _, err = e.Store.AddSubscription(t.Context(), id, sub, ttl)
		wantErr(t, "AddSubscription after it expired", err, store.ErrNotFound)
		if n, err := e.Do("EXISTS", e.Key("session:{"+string(id)+"}"), e.Key("session:{"+string(id)+"}:subs")); err != nil || n != int64(0) {
			t.Fatalf("something is left: %v, %v", n, err)
		}
	}},
	{"subscriptions end with their session", func(t *testing.T, e Env) {
		id := create(t, e.Store)
		sub := store.Subscription{Server: "docs", URI: "docs://a"}
		_, _, err := e.Store.AddSubscription(t.Context(), id, sub, ttl)
		wantErr(t, "AddSubscription", err, nil)
		wantErr(t, "EndSession", e.Second.EndSession(t.Context(), id, ttl), nil)
		wantSubscriptions(t, e.Store, id)
		_, _, err = e.Store.AddSubscription(t.Context(), id, sub, ttl)
		wantErr(t, "AddSubscription", err, store.ErrEnded)
		_, _, err = e.Store.DropSubscription(t.Context(), id, sub, ttl)
		wantErr(t, "DropSubscription", err, store.ErrEnded)
	}},
	{"a session has a bounded number of subscriptions", func(t *testing.T, e Env) {
		id := create(t, e.Store)
		add := func(n int) error {
			_, _, err := e.Store.AddSubscription(t.Context(), id, store.Subscription{Server: "docs", URI: fmt.Sprint("docs://", n)}, ttl)
			return err
		}
		for n := range store.MaxSubscriptions {
			wantErr(t, "AddSubscription", add(n), nil)
		}
		wantErr(t, "AddSubscription of one more", add(store.MaxSubscriptions), store.ErrTooMany)
		wantErr(t, "AddSubscription of one that stands", add(0), nil)
		_, _, err := e.Store.DropSubscription(t.Context(), id, store.Subscription{Server: "docs", URI: "docs://0"}, ttl)
		wantErr(t, "DropSubscription", err, nil)
		wantErr(t, "AddSubscription in its place", add(store.MaxSubscriptions), nil)
	}},
	{"subscriptions that cannot be one are refused", func(t *testing.T, e Env) {
		id := create(t, e.Store)
		good := store.Subscription{Server: "docs", URI: "docs://a"}
		for _, c := range []struct {
			id  store.SessionID
			sub store.Subscription
			ttl time.Duration
		}{
			{"x", good, ttl}, {id, good, 0}, {id, store.Subscription{Server: "docs"}, ttl}, {id, store.Subscription{Server: "a b", URI: "a:b"}, ttl},
			{id, store.Subscription{Server: "docs", URI: "docs://" + strings.Repeat("x", store.MaxSubscribed)}, ttl},
		} {
			_, _, err := e.Store.AddSubscription(t.Context(), c.id, c.sub, c.ttl)
			wantErr(t, "AddSubscription", err, store.ErrInvalid)
		}
		_, err := e.Store.Subscriptions(t.Context(), "x")
		wantErr(t, "Subscriptions", err, store.ErrInvalid)
		must(t, nil, second(e.Do("SADD", e.Key("session:{"+string(id)+"}:subs"), "nonsense", "docs docs://a")))
		wantSubscriptions(t, e.Store, id, good)
	}},
}

// wantSubscriptions checks those that a session has.
func wantSubscriptions(t *testing.T, s *store.Store, id store.SessionID, want ...store.Subscription) {
	t.Helper()
	got, err := s.Subscriptions(t.Context(), id)
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("Subscriptions = %v, %v; want %v", got, err, want)
	}
}
