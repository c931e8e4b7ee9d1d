package storetest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

var restCases = []testCase{
	{"a catalog is kept by its digest", func(t *testing.T, e Env) {
		catalog := []byte("{\"tools\":[\"\x00é\"]}")
		d := store.DigestOf(catalog)
		_, err := e.Store.Catalog(t.Context(), d)
		wantErr(t, "Catalog before", err, store.ErrNotFound)
		wantErr(t, "PutCatalog", e.Store.PutCatalog(t.Context(), d, catalog, ttl), nil)
		if got, err := e.Second.Catalog(t.Context(), d); err != nil || !bytes.Equal(got, catalog) {
			t.Fatalf("Catalog = %q, %v", got, err)
		}
		e.Advance(ttl + time.Second)
		_, err = e.Store.Catalog(t.Context(), d)
		wantErr(t, "Catalog after its life", err, store.ErrNotFound)
	}},
	{"a catalog that is not its digest's is refused, and not read", func(t *testing.T, e Env) {
		d := store.DigestOf([]byte("a"))
		wantErr(t, "PutCatalog", e.Store.PutCatalog(t.Context(), d, []byte("b"), ttl), store.ErrInvalid)
		for _, bad := range []store.Digest{"", "abc", store.Digest(strings.ToUpper(string(d))), d + "0", "*"} {
			wantErr(t, "PutCatalog", e.Store.PutCatalog(t.Context(), bad, []byte("a"), ttl), store.ErrInvalid)
			_, err := e.Store.Catalog(t.Context(), bad)
			wantErr(t, "Catalog", err, store.ErrInvalid)
			_, err = e.Store.TouchCatalogs(t.Context(), []store.Digest{bad}, ttl)
			wantErr(t, "TouchCatalogs", err, store.ErrInvalid)
		}
		must(t, nil, second(e.Do("SET", e.Key("catalog:"+string(d)), "other")))
		_, err := e.Store.Catalog(t.Context(), d)
		wantErr(t, "Catalog", err, store.ErrNotFound)
		must(t, nil, second(e.Do("DEL", e.Key("catalog:"+string(d)))))
		must(t, nil, second(e.Do("HSET", e.Key("catalog:"+string(d)), "a", "b")))
		_, err = e.Store.Catalog(t.Context(), d)
		wantErr(t, "Catalog", err, store.ErrNotFound)
	}},
	{"touching catalogs names the missing and keeps the others", func(t *testing.T, e Env) {
		kept, gone := store.DigestOf([]byte("a")), store.DigestOf([]byte("b"))
		wantErr(t, "PutCatalog", e.Store.PutCatalog(t.Context(), kept, []byte("a"), ttl), nil)
		e.Advance(ttl / 2)
		missing, err := e.Store.TouchCatalogs(t.Context(), []store.Digest{kept, gone}, ttl)
		if err != nil || len(missing) != 1 || missing[0] != gone {
			t.Fatalf("TouchCatalogs = %v, %v", missing, err)
		}
		e.Advance(ttl/2 + time.Minute)
		_, err = e.Store.Catalog(t.Context(), kept)
		wantErr(t, "Catalog", err, nil)
		missing, err = e.Store.TouchCatalogs(t.Context(), nil, ttl)
		if err != nil || len(missing) != 0 {
			t.Fatalf("TouchCatalogs of none = %v, %v", missing, err)
		}
	}},
	{"events come newest first", func(t *testing.T, e Env) {
		if got, err := e.Store.Events(t.Context(), 10); err != nil || len(got) != 0 {
			t.Fatalf("Events = %v, %v", got, err)
		}
		sid := newSID()
		want := store.Event{Kind: store.EventSessionMoved, Node: "n1", Server: "time", Session: sid, Coordinator: "c1", Text: "moved: é"}
		wantErr(t, "AppendEvent", e.Store.AppendEvent(t.Context(), store.Event{Kind: store.EventNodeRegistered, Node: "n1"}), nil)
		wantErr(t, "AppendEvent", e.Second.AppendEvent(t.Context(), want), nil)
		got, err := e.Store.Events(t.Context(), 10)
		if err != nil || len(got) != 2 || got[1].Kind != store.EventNodeRegistered || got[1].Text != "" {
			t.Fatalf("Events = %+v, %v", got, err)
		}
		want.ID, want.Time = got[0].ID, got[0].Time
		if got[0] != want || want.ID == "" || want.Time.IsZero() {
			t.Fatalf("Events[0] = %+v, want %+v", got[0], want)
		}
		if got, err := e.Store.Events(t.Context(), 1); err != nil || len(got) != 1 || got[0].Kind != want.Kind {
			t.Fatalf("Events(1) = %+v, %v", got, err)
		}
	}},
	{"events can be followed, oldest first", func(t *testing.T, e Env) {
		if got, err := e.Store.EventsAfter(t.Context(), "", 10); err != nil || len(got) != 0 {
			t.Fatalf("EventsAfter = %v, %v", got, err)
		}
		for i := range 5 {
			wantErr(t, "AppendEvent", e.Store.AppendEvent(t.Context(), store.Event{Kind: store.EventGroupChanged, Text: fmt.Sprint(i)}), nil)
		}
		last, text := "", ""
		for range 4 { // pages of two: 01 23 4 and nothing
			page, err := e.Second.EventsAfter(t.Context(), last, 2)
			if err != nil || len(page) > 2 {
				t.Fatalf("EventsAfter(%q) = %v, %v", last, page, err)
			}
			for _, ev := range page {
				last, text = ev.ID, text+ev.Text
			}
		}
		if text != "01234" {
			t.Fatalf("followed %q", text)
		}
		newest, err := e.Store.Events(t.Context(), 1)
		if err != nil || len(newest) != 1 || newest[0].ID != last {
			t.Fatalf("Events(1) = %v, %v; the last followed is %s", newest, err, last)
		}
		wantErr(t, "AppendEvent", e.Store.AppendEvent(t.Context(), store.Event{Kind: store.EventNodeDraining}), nil)
		if got, err := e.Store.EventsAfter(t.Context(), last, 0); err != nil || len(got) != 1 || got[0].Kind != store.EventNodeDraining {
			t.Fatalf("EventsAfter(%s) = %v, %v", last, got, err)
		}
		for _, bad := range []string{"x", "1", "1-", "-1", "1-2-3", "1-x", "+", "$", "(1-1", "01-1", "1-1 ", "-", "99999999999999999999-0", strings.Repeat("1", 5000)} {
			_, err := e.Store.EventsAfter(t.Context(), bad, 1)
			if wantErr(t, "EventsAfter", err, store.ErrInvalid); len(err.Error()) > 200 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		}
	}},
	{"events are capped, and long texts cut", func(t *testing.T, e Env) {
		for i := range 1300 {
			wantErr(t, "AppendEvent", e.Store.AppendEvent(t.Context(), store.Event{Kind: store.EventNodeRemoved, Text: fmt.Sprint(i)}), nil)
		}
		n, err := e.Do("XLEN", e.Key("events"))
		if length, _ := must(t, n, err).(int64); length < 1000 || length > 1200 {
			t.Fatalf("XLEN = %v, want about 1000", n)
		}
		wantErr(t, "AppendEvent", e.Store.AppendEvent(t.Context(), store.Event{Kind: "x", Text: strings.Repeat("é", 10000)}), nil)
		got, err := e.Store.Events(t.Context(), 5000)
		if err != nil || len(got) < 1000 || len(got[0].Text) > 1000 || strings.Trim(got[0].Text, "é") != "" || got[1].Text != "1299" {
			t.Fatalf("%d events, %v", len(got), err)
		}
		wantErr(t, "AppendEvent without kind", e.Store.AppendEvent(t.Context(), store.Event{}), store.ErrInvalid)
	}},
	{"the fleet agrees on the first key", func(t *testing.T, e Env) {
		keys := make([][]byte, 8)
		together(len(keys), func(i int) {
			var err error
			if keys[i], err = []*store.Store{e.Store, e.Second}[i%2].FleetKey(t.Context(), bytes.Repeat([]byte{byte(i)}, 32)); err != nil {
				t.Errorf("FleetKey = %v", err)
			}
		})
		for _, k := range keys {
			if len(k) != 32 || !bytes.Equal(k, keys[0]) {
				t.Fatalf("keys %x and %x", keys[0], k)
			}
		}
		e.Flush()
		if k, err := e.Second.FleetKey(t.Context(), keys[0]); err != nil || !bytes.Equal(k, keys[0]) {
			t.Fatalf("after a flush: %x, %v", k, err)
		}
	}},
	{"a short or damaged fleet key is refused", func(t *testing.T, e Env) {
		_, err := e.Store.FleetKey(t.Context(), make([]byte, 15))
		wantErr(t, "FleetKey", err, store.ErrInvalid)
		for _, damage := range []string{"", "zz", "00"} {
			must(t, nil, second(e.Do("SET", e.Key("fleetkey"), damage)))
			_, err = e.Store.FleetKey(t.Context(), make([]byte, 32))
			wantErr(t, "FleetKey", err, store.ErrUnavailable)
		}
	}},
	{"hints reach the others", func(t *testing.T, e Env) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		hints, err := e.Second.Subscribe(ctx)
		wantErr(t, "Subscribe", err, nil)
		if h := nextHint(t, hints); h.Kind != store.HintRev {
			t.Fatalf("first hint %+v, want one to read everything", h)
		}
		sid := newSID()
		must(t, nil, second(e.Do("PUBLISH", e.Key("notify"), "nonsense")))
		must(t, nil, second(e.Do("PUBLISH", e.Key("notify"), "session:nonsense")))
		wantErr(t, "Notify", e.Store.Notify(t.Context(), store.Hint{Kind: store.HintSession, Session: sid}), nil)
		if h := nextHint(t, hints); h != (store.Hint{Kind: store.HintSession, Session: sid}) {
			t.Fatalf("hint %+v", h)
		}
		wantErr(t, "Notify", e.Store.Notify(t.Context(), store.Hint{Kind: store.HintRev}), nil)
		if h := nextHint(t, hints); h != (store.Hint{Kind: store.HintRev}) {
			t.Fatalf("hint %+v", h)
		}
		wantErr(t, "Notify", e.Store.Notify(t.Context(), store.Hint{Kind: "x"}), store.ErrInvalid)
		stop()
		for range hints { // ends, for the channel is closed
		}
	}},
	{"closing the store ends its subscriptions", func(t *testing.T, e Env) {
		hints, err := e.Second.Subscribe(t.Context())
		wantErr(t, "Subscribe", err, nil)
		nextHint(t, hints)
		wantErr(t, "Close", e.Second.Close(), nil)
		for range hints {
		}
		wantErr(t, "Close again", e.Second.Close(), nil)
		_, err = e.Second.Subscribe(t.Context())
		wantErr(t, "Subscribe", err, store.ErrUnavailable)
		wantErr(t, "Ping", e.Second.Ping(t.Context()), store.ErrUnavailable)
	}},
	{"the schema number is read, and one that is known is no obstacle", func(t *testing.T, e Env) {
		if n, err := e.Store.SchemaVersion(t.Context()); n != 0 || err != nil {
			t.Fatalf("SchemaVersion = %d, %v", n, err)
		}
		must(t, nil, second(e.Do("SET", e.Key("schema"), "1")))
		if n, err := e.Store.SchemaVersion(t.Context()); n != 1 || err != nil {
			t.Fatalf("SchemaVersion = %d, %v", n, err)
		}
		register(t, e.Store, node("n1", "a"))
	}},
}

// nextHint waits for a hint.
func nextHint(t *testing.T, hints <-chan store.Hint) store.Hint {
	t.Helper()
	select {
	case h, ok := <-hints:
		if !ok {
			t.Fatal("the channel is closed")
		}
		return h
	case <-time.After(20 * time.Second):
		t.Fatal("no hint within 20 s")
	}
	return store.Hint{}
}
