package router

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

func namesOf(sep string, servers ...store.ServerID) *names {
	n := &names{sep: sep, known: map[store.ServerID]bool{}}
	for _, s := range servers {
		n.known[s] = true
	}
	return n
}

func TestResolveSeparators(t *testing.T) {
	for _, c := range []struct {
		sep, full, server, name string
	}{
		{"__", "a__b", "a", "b"},
		{"__", "a___b", "a", "_b"},
		{"__", "a_b", "", ""},
		{".", "a.b.c", "a.b", "c"},
		{".", "a.b", "a", "b"},
		{"-.", "a-.x", "a", "x"},
		{"-", "-a", "", ""},
	} {
		n := namesOf(c.sep, "a", "a.b", "a-b")
		server, name, ok := n.resolve(c.full)
		if string(server) != c.server || name != c.name || ok != (c.server != "") {
			t.Errorf("resolve(%q) with %q = %q, %q, %t; want %q, %q", c.full, c.sep, server, name, ok, c.server, c.name)
		}
	}
}

// FuzzResolve: a name leads to the longest known server that it begins with, as a search through
// all of them finds it.
func FuzzResolve(f *testing.F) {
	f.Add("a-b-c", "-", "a a-b b")
	f.Add("a--", "-", "a")
	f.Add("", "", "")
	f.Add(strings.Repeat("x", 70)+"-y", "-", strings.Repeat("x", 70))
	f.Fuzz(func(t *testing.T, full, sep, servers string) {
		if sep == "" {
			return
		}
		var list []store.ServerID
		for _, s := range strings.Fields(servers) {
			if wire.CheckName("server", s) == nil {
				list = append(list, store.ServerID(s))
			}
		}
		server, name, ok := namesOf(sep, list...).resolve(full)
		var want store.ServerID
		for _, s := range list {
			rest, found := strings.CutPrefix(full, string(s)+sep)
			if found && rest != "" && len(s) > len(want) {
				want = s
			}
		}
		if server != want || ok != (want != "") || ok && string(server)+sep+name != full {
			t.Errorf("resolve(%q) = %q, %q, %t; want %q", full, server, name, ok, want)
		}
	})
}

// Every item of every merged list leads back to exactly its server and its own name, whatever the
// servers and their tools are called; and none is listed twice.
func TestListedNamesLeadBack(t *testing.T) {
	h := newHub(t, 1, map[store.ServerID]string{"x": "{}"})
	serverName := rapid.StringMatching(`[ab]([-._ab]{0,5}[ab])?`)
	ownName := rapid.StringMatching(`[-._ab"é/ ]{0,6}`)
	rapid.Check(t, func(t *rapid.T) {
		sep := rapid.SampledFrom([]string{"-", "_", ".", "--", "-a", "a"}).Draw(t, "sep")
		r := New(Config{Keys: testKeys(h.t, 1), NameSeparator: sep, Groups: h.book}, h.fleet, h.store, h.rs[0].log)
		catalogs := map[store.ServerID]string{}
		for _, s := range rapid.SliceOfN(serverName, 1, 6).Draw(t, "servers") {
			quoted := func(names []string) string {
				var out []string
				for _, n := range names {
					out = append(out, `{"name":`+string(wire.Quote(n))+`}`)
				}
				return "[" + strings.Join(out, ",") + "]"
			}
			catalogs[store.ServerID(s)] = fmt.Sprintf(`{"tools":%s,"prompts":%s}`,
				quoted(rapid.SliceOfN(ownName, 0, 5).Draw(t, "tools")), quoted(rapid.SliceOfN(ownName, 0, 5).Draw(t, "prompts")))
		}
		h.offer(catalogs)
		v, _ := r.view("", nil)
		for _, method := range []string{"tools/list", "prompts/list"} {
			seen := map[string]bool{}
			for _, i := range r.merged(v, listings[method], r.stock(context.Background(), v)) {
				at, _ := wire.Lookup(i.raw, "name")
				full, _ := wire.Unquote(at.Of(i.raw))
				server, name, ok := v.names.resolve(full)
				if !ok || server != i.server || name != i.key || seen[full] {
					t.Fatalf("%s: %q of %s leads to %q of %s, listed before: %t", method, i.key, i.server, name, server, seen[full])
				}
				if !strings.Contains(catalogs[server], string(wire.Quote(name))) {
					t.Fatalf("%s: %s has no %q", method, server, name)
				}
				seen[full] = true
			}
		}
	})
}

// Of a server's items only those are missing that could not be asked for.
func TestNothingIsLeftOutForNothing(t *testing.T) {
	h := newHub(t, 1, map[store.ServerID]string{
		"a":   `{"tools":[{"name":"x"},{"name":"b-x"},{"name":"x"},{"title":"none"},{"name":""},{"name":7},{"name":"b"},{"name":"bc"}]}`,
		"a-b": `{"tools":[{"name":"x"}]}`,
	})
	session, _ := begin(t, h.rs[0], "")
	got, _ := h.names(t, h.rs[0], Request{SessionID: session}, "tools/list", "")
	if want := []string{"a-x", "a-b", "a-bc", "a-b-x"}; !slices.Equal(got, want) {
		t.Errorf("listed are %q, want %q", got, want)
	}
}
