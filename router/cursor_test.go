package router

import (
	"encoding/base64"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mcphub-go/mcphub/store"
)

func itemsOf(text string) (out []item) {
	for _, name := range strings.Fields(text) {
		server, key, _ := strings.Cut(name, "/")
		out = append(out, item{server: store.ServerID(server), key: key})
	}
	return out
}

func TestPositionInAListThatChanged(t *testing.T) {
	before := itemsOf("a/1 a/2 a/3 c/1 c/2")
	for _, c := range []struct {
		name string
		last int // item of before that was the last of a page
		now  string
		want string // first item of the next page; empty for none
	}{
		{"unchanged", 1, "a/1 a/2 a/3 c/1 c/2", "a/3"},
		{"unchanged, between servers", 2, "a/1 a/2 a/3 c/1 c/2", "c/1"},
		{"unchanged, at the end", 4, "a/1 a/2 a/3 c/1 c/2", ""},
		{"one inserted before", 1, "a/0 a/1 a/2 a/3 c/1 c/2", "a/3"},
		{"one removed before", 1, "a/2 a/3 c/1 c/2", "a/3"},
		{"the last one removed", 1, "a/1 a/3 c/1 c/2", "a/3"},
		{"the last ones of a server removed", 2, "a/1 c/1 c/2", "c/1"},
		{"the server removed", 1, "c/1 c/2", "c/1"},
		{"the server removed, another one in its place", 1, "b/1 c/1", "b/1"},
		{"a server before it added", 1, "0/1 a/1 a/2 a/3", "a/3"},
		{"reordered", 1, "a/3 a/2 a/1 c/1", "a/1"},
		{"everything removed", 1, "", ""},
		{"the last server removed", 4, "a/1 a/2 a/3", ""},
	} {
		now := itemsOf(c.now)
		at, got := positionOf(before, c.last).next(now), ""
		if at < len(now) {
			got = string(now[at].server) + "/" + now[at].key
		}
		if got != c.want {
			t.Errorf("%s: goes on with %q, want %q", c.name, got, c.want)
		}
	}
}

// Whatever has changed, the next place is in the list or right behind it, and in a list that has
// not changed every item comes exactly once, whatever the size of the pages.
func TestPagesHoldEachItemOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := func(label string) (out []item) {
			for _, server := range []store.ServerID{"a", "a-b", "c"} {
				for i := range rapid.IntRange(0, 7).Draw(t, label) {
					out = append(out, item{server: server, key: strconv.Itoa(i * rapid.IntRange(1, 2).Draw(t, "step"))})
				}
			}
			return out
		}
		items, size := list("before"), rapid.IntRange(1, 5).Draw(t, "page")
		seen := 0
		for from := 0; from < len(items); {
			to := min(from+size, len(items))
			seen += to - from
			if from = positionOf(items, to-1).next(items); from != to {
				t.Fatalf("after item %d it goes on with %d", to-1, from)
			}
		}
		if seen != len(items) {
			t.Fatalf("%d of %d items came", seen, len(items))
		}
		if len(items) == 0 {
			return
		}
		now := list("after")
		if at := positionOf(items, rapid.IntRange(0, len(items)-1).Draw(t, "last")).next(now); at < 0 || at > len(now) {
			t.Fatalf("goes on with %d of %d", at, len(now))
		}
	})
}

func TestCursorIsForOneListOfOneScope(t *testing.T) {
	k := testKeys(t, 1)
	want := position{server: "a-b", index: 7, key: 1 << 60}
	text := k.cursor('t', "group/x", want)
	if got, ok := k.parseCursor('t', "group/x", text); !ok || got != want {
		t.Errorf("read back as %+v, %t; want %+v", got, ok, want)
	}
	other := testKeys(t, 2)
	for name, ok := range map[string]bool{
		"of another list":  second(k.parseCursor('p', "group/x", text)),
		"of another scope": second(k.parseCursor('t', store.ScopeAll, text)),
		"of another fleet": second(other.parseCursor('t', "group/x", text)),
		"shortened":        second(k.parseCursor('t', "group/x", text[:len(text)-1])),
		"with a newline":   second(k.parseCursor('t', "group/x", text+"\n")),
		"twice":            second(k.parseCursor('t', "group/x", text+text)),
	} {
		if ok {
			t.Errorf("a cursor %s is taken", name)
		}
	}
	raw, _ := base64.RawURLEncoding.DecodeString(text)
	for i := range raw {
		raw[i] ^= 1
		if _, ok := k.parseCursor('t', "group/x", base64.RawURLEncoding.EncodeToString(raw)); ok {
			t.Errorf("a cursor with another byte %d is taken", i)
		}
		raw[i] ^= 1
	}
}

func second[T any](_ T, ok bool) bool { return ok }

// A session id is no cursor and a cursor no session id, though both carry the same kind of MAC.
func TestCursorsAndTokensDoNotMix(t *testing.T) {
	h := newDocsHub(t, 1)
	session, _ := begin(t, h.rs[0], "")
	k := h.rs[0].cfg.Keys
	if _, ok := k.parseCursor('t', store.ScopeAll, session); ok {
		t.Error("a session id is taken for a cursor")
	}
	if _, err := k.Parse(k.cursor('t', store.ScopeAll, position{server: store.ServerID(strings.Repeat("s", 63))})); err == nil {
		t.Error("a cursor is taken for a session id")
	}
}

// FuzzCursor: nothing but what was given out is taken, and that is given back.
func FuzzCursor(f *testing.F) {
	k := testKeys(f, 1)
	f.Add(k.cursor('t', "*", position{server: "a", index: 1, key: 2}), "a", uint32(1), uint64(2))
	f.Add("", "", uint32(0), uint64(0))
	f.Add("wQ", "server", ^uint32(0), ^uint64(0))
	f.Fuzz(func(t *testing.T, text, server string, index uint32, key uint64) {
		if p, ok := k.parseCursor('t', "*", text); ok && k.cursor('t', "*", p) != text {
			t.Errorf("%q is taken as %+v and was never given out", text, p)
		}
		if len(server) == 0 || len(server) > 63 {
			return
		}
		want := position{server: store.ServerID(server), index: index, key: key}
		if got, ok := k.parseCursor('t', "*", k.cursor('t', "*", want)); !ok || got != want {
			t.Errorf("%+v is read back as %+v, %t", want, got, ok)
		}
	})
}
