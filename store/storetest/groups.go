package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// group is a group with a whole server, a part of one, and one that offers no tools.
func group(name string) store.Group {
	return store.Group{
		Name: name, Description: "for <tests> & é",
		Servers: []store.GroupServer{
			{Name: "time"}, {Name: "db", Tools: []string{"query", "list tables"}}, {Name: "docs", Tools: []string{}},
		},
	}
}

// groups reads all; it must succeed.
func groups(t *testing.T, s *store.Store) ([]store.Group, int64) {
	t.Helper()
	list, rev, err := s.Groups(t.Context(), -1)
	if err != nil || list == nil {
		t.Fatalf("Groups = %v, %d, %v", list, rev, err)
	}
	return list, rev
}

// names are the names of groups, joined.
func names(list []store.Group) string {
	var all []string
	for _, g := range list {
		all = append(all, g.Name)
	}
	return strings.Join(all, " ")
}

var groupCases = []testCase{
	{"a group is stored whole and read back", func(t *testing.T, e Env) {
		want := group("dev")
		wantErr(t, "PutGroup", e.Store.PutGroup(t.Context(), want, true), nil)
		list, rev := groups(t, e.Second)
		if len(list) != 1 || list[0].Updated.IsZero() || rev == 0 {
			t.Fatalf("Groups = %+v, %d", list, rev)
		}
		want.Updated = list[0].Updated
		if !reflect.DeepEqual(list[0], want) {
			t.Fatalf("Groups = %+v, want %+v", list[0], want)
		}
		if tools := list[0].Servers; tools[0].Tools != nil || tools[2].Tools == nil {
			t.Fatalf("all tools and no tools are not told apart: %+v", tools)
		}
	}},
	{"the groups are plain to redis-cli", func(t *testing.T, e Env) {
		wantErr(t, "PutGroup", e.Store.PutGroup(t.Context(), group("dev"), true), nil)
		const want = `{"name":"dev","description":"for <tests> & é","servers":["time",{"name":"db","tools":["query","list tables"]},{"name":"docs","tools":[]}],"updated":`
		if got := hash(t, e, e.Key("{groups}:all"))["dev"]; !strings.HasPrefix(got, want) {
			t.Fatalf("field dev = %s, want %s…", got, want)
		}
	}},
	{"groups are sorted, and an empty one has a list of servers", func(t *testing.T, e Env) {
		for _, name := range []string{"b", "a10", "a2"} {
			wantErr(t, "PutGroup", e.Store.PutGroup(t.Context(), store.Group{Name: name}, true), nil)
		}
		list, _ := groups(t, e.Store)
		if names(list) != "a10 a2 b" || list[0].Servers == nil {
			t.Fatalf("Groups = %+v", list)
		}
	}},
	{"creating needs a new name, changing one that stands", func(t *testing.T, e Env) {
		g := group("dev")
		wantErr(t, "change what is not there", e.Store.PutGroup(t.Context(), g, false), store.ErrNotFound)
		wantErr(t, "create", e.Store.PutGroup(t.Context(), g, true), nil)
		before, rev := groups(t, e.Store)
		wantErr(t, "create again", e.Second.PutGroup(t.Context(), store.Group{Name: "dev"}, true), store.ErrExists)
		if list, again := groups(t, e.Store); again != rev || len(list[0].Servers) != 3 {
			t.Fatalf("the refused group changed something: %+v, revision %d, was %d", list, again, rev)
		}
		e.Advance(time.Minute)
		g.Description, g.Servers = "other", g.Servers[:1]
		wantErr(t, "change", e.Second.PutGroup(t.Context(), g, false), nil)
		list, next := groups(t, e.Store)
		if next <= rev || len(list) != 1 || list[0].Description != "other" || len(list[0].Servers) != 1 || list[0].Updated.Before(before[0].Updated) {
			t.Fatalf("Groups = %+v, revision %d, was %d", list, next, rev)
		}
	}},
	{"a deleted group is gone", func(t *testing.T, e Env) {
		wantErr(t, "DeleteGroup", e.Store.DeleteGroup(t.Context(), "dev"), store.ErrNotFound)
		wantErr(t, "PutGroup", e.Store.PutGroup(t.Context(), group("dev"), true), nil)
		_, rev := groups(t, e.Store)
		wantErr(t, "DeleteGroup", e.Second.DeleteGroup(t.Context(), "dev"), nil)
		if list, next := groups(t, e.Store); len(list) != 0 || next <= rev {
			t.Fatalf("Groups = %+v, revision %d, was %d", list, next, rev)
		}
		wantErr(t, "DeleteGroup again", e.Store.DeleteGroup(t.Context(), "dev"), store.ErrNotFound)
	}},
	{"groups are sent only when they have changed", func(t *testing.T, e Env) {
		list, rev, err := e.Store.Groups(t.Context(), 0)
		if list != nil || rev != 0 || err != nil {
			t.Fatalf("Groups of an empty Redis = %v, %d, %v", list, rev, err)
		}
		wantErr(t, "PutGroup", e.Store.PutGroup(t.Context(), group("dev"), true), nil)
		list, rev, err = e.Second.Groups(t.Context(), 0)
		if names(list) != "dev" || err != nil {
			t.Fatalf("Groups = %v, %d, %v", list, rev, err)
		}
		if list, again, err := e.Second.Groups(t.Context(), rev); list != nil || again != rev || err != nil {
			t.Fatalf("Groups without a change = %v, %d, %v", list, again, err)
		}
	}},
	{"of those who create one group at once one wins", func(t *testing.T, e Env) {
		var won, lost atomic.Int32
		together(8, func(i int) {
			s := []*store.Store{e.Store, e.Second}[i%2]
			switch err := s.PutGroup(t.Context(), store.Group{Name: "dev", Description: fmt.Sprint(i)}, true); {
			case err == nil:
				won.Add(1)
			case errors.Is(err, store.ErrExists):
				lost.Add(1)
			default:
				t.Errorf("PutGroup = %v", err)
			}
		})
		if won.Load() != 1 || lost.Load() != 7 {
			t.Fatalf("%d created it, %d were told that it exists", won.Load(), lost.Load())
		}
	}},
	{"an emptied Redis says so, and takes the groups back from one", func(t *testing.T, e Env) {
		for _, name := range []string{"a", "b"} {
			wantErr(t, "PutGroup", e.Store.PutGroup(t.Context(), group(name), true), nil)
		}
		known, rev := groups(t, e.Store)
		e.Flush()
		e.Advance(time.Second)
		list, zero, err := e.Second.Groups(t.Context(), rev)
		if len(list) != 0 || list == nil || zero != 0 || err != nil {
			t.Fatalf("Groups after the flush = %v, %d, %v", list, zero, err)
		}
		wantErr(t, "RestoreGroups", e.Store.RestoreGroups(t.Context(), known), nil)
		back, next := groups(t, e.Second)
		if !reflect.DeepEqual(back, known) || next <= rev {
			t.Fatalf("restored %+v, want %+v; revision %d, was %d", back, known, next, rev)
		}
		wantErr(t, "DeleteGroup", e.Second.DeleteGroup(t.Context(), "a"), nil)
		wantErr(t, "RestoreGroups, late", e.Store.RestoreGroups(t.Context(), known), nil)
		if list, _ := groups(t, e.Store); names(list) != "b" {
			t.Fatalf("a late restoration brought back what was deleted: %s", names(list))
		}
	}},
	{"groups that cannot be are refused and change nothing", func(t *testing.T, e Env) {
		many := func(n int) (list []string) {
			for i := range n {
				list = append(list, fmt.Sprint("tool-", i))
			}
			return list
		}
		var servers []store.GroupServer
		for i := range 201 {
			servers = append(servers, store.GroupServer{Name: store.ServerID(fmt.Sprint("s", i))})
		}
		for what, g := range map[string]store.Group{
			"no name":          {},
			"name":             {Name: "a/b"},
			"long name":        {Name: strings.Repeat("a", 64)},
			"server name":      {Name: "g", Servers: []store.GroupServer{{Name: "a b"}}},
			"server twice":     {Name: "g", Servers: []store.GroupServer{{Name: "a"}, {Name: "a", Tools: []string{"x"}}}},
			"201 servers":      {Name: "g", Servers: servers},
			"empty tool":       {Name: "g", Servers: []store.GroupServer{{Name: "a", Tools: []string{""}}}},
			"long tool":        {Name: "g", Servers: []store.GroupServer{{Name: "a", Tools: []string{strings.Repeat("x", 257)}}}},
			"tool twice":       {Name: "g", Servers: []store.GroupServer{{Name: "a", Tools: []string{"x", "x"}}}},
			"tool not text":    {Name: "g", Servers: []store.GroupServer{{Name: "a", Tools: []string{"\xff"}}}},
			"1001 tools":       {Name: "g", Servers: []store.GroupServer{{Name: "a", Tools: many(501)}, {Name: "b", Tools: many(500)}}},
			"long description": {Name: "g", Description: strings.Repeat("é", 1025)},
			"size": {Name: "g", Servers: []store.GroupServer{{Name: "a", Tools: func() (list []string) {
				for _, s := range many(600) {
					list = append(list, s+strings.Repeat("x", 120))
				}
				return list
			}()}}},
		} {
			err := e.Store.PutGroup(t.Context(), g, true)
			wantErr(t, "PutGroup with bad "+what, err, store.ErrInvalid)
			if len(err.Error()) > 300 {
				t.Errorf("bad %s: an error of %d bytes", what, len(err.Error()))
			}
			wantErr(t, "RestoreGroups with bad "+what, e.Store.RestoreGroups(t.Context(), []store.Group{g}), store.ErrInvalid)
		}
		wantErr(t, "DeleteGroup", e.Store.DeleteGroup(t.Context(), "a b"), wire.ErrName)
		wantErr(t, "DeleteGroup", e.Store.DeleteGroup(t.Context(), ""), store.ErrInvalid)
		if list, rev := groups(t, e.Store); len(list) != 0 || rev != 0 {
			t.Fatalf("Groups = %v, %d", list, rev)
		}
		largest := store.Group{Name: "g", Servers: servers[:200]}
		largest.Servers[0].Tools = many(1000)
		wantErr(t, "PutGroup at the limits", e.Store.PutGroup(t.Context(), largest, true), nil)
	}},
	{"there are only so many groups", func(t *testing.T, e Env) {
		for i := range 500 {
			must(t, nil, second(e.Do("HSET", e.Key("{groups}:all"), fmt.Sprint("g", i), fmt.Sprintf(`{"name":"g%d","servers":[]}`, i))))
		}
		err := e.Store.PutGroup(t.Context(), store.Group{Name: "more"}, true)
		wantErr(t, "the 501st", err, store.ErrTooMany)
		wantErr(t, "and", err, store.ErrInvalid)
		wantErr(t, "one that stands", e.Store.PutGroup(t.Context(), store.Group{Name: "g7"}, false), nil)
	}},
	{"a damaged group hides no other", func(t *testing.T, e Env) {
		wantErr(t, "PutGroup", e.Store.PutGroup(t.Context(), group("good"), true), nil)
		for i, raw := range []string{"", "{", "[]", `{"name":"other"}`, `{"name":"x","servers":["a b"]}`, `{"name":"x","servers":["a","a"]}`} {
			name := "x"
			must(t, nil, second(e.Do("HSET", e.Key("{groups}:all"), name, raw)))
			if list, _ := groups(t, e.Store); names(list) != "good" {
				t.Fatalf("case %d, %s: %s", i, raw, names(list))
			}
			must(t, nil, second(e.Do("HDEL", e.Key("{groups}:all"), name)))
		}
		must(t, nil, second(e.Do("SET", e.Key("{groups}:all"), "oops")))
		_, _, err := e.Store.Groups(t.Context(), -1)
		wantErr(t, "Groups", err, store.ErrUnavailable)
	}},
	{"a revision deleted or written over by hand moves on", func(t *testing.T, e Env) {
		wantErr(t, "PutGroup", e.Store.PutGroup(t.Context(), group("dev"), true), nil)
		_, last := groups(t, e.Store)
		for _, damage := range [][]any{{"DEL", e.Key("{groups}:rev")}, {"SET", e.Key("{groups}:rev"), "x"}} {
			must(t, nil, second(e.Do(damage...)))
			e.Advance(time.Second)
			wantErr(t, "PutGroup", e.Store.PutGroup(t.Context(), group("dev"), false), nil)
			_, rev := groups(t, e.Store)
			if rev <= last {
				t.Fatalf("after %v: revision %d, was %d", damage, rev, last)
			}
			last = rev
		}
	}},
	{"a hint of groups reaches the others", func(t *testing.T, e Env) {
		hints, err := e.Second.Subscribe(t.Context())
		wantErr(t, "Subscribe", err, nil)
		nextHint(t, hints)
		must(t, nil, second(e.Do("PUBLISH", e.Key("notify"), "groups:x")))
		wantErr(t, "Notify", e.Store.Notify(t.Context(), store.Hint{Kind: store.HintGroups}), nil)
		if h := nextHint(t, hints); h != (store.Hint{Kind: store.HintGroups}) {
			t.Fatalf("hint %+v", h)
		}
	}},
}
