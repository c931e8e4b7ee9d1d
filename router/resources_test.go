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

// Every resource and every template of a merged list is answered for by the server that it is
// listed of, in whatever order replicas come to know the servers; and so is what is made of a
// template, unless a more fitting one is listed.
func TestListedResourcesLeadBack(t *testing.T) {
	h := newHub(t, 1, map[store.ServerID]string{"x": "{}"})
	uri := rapid.StringMatching(`[ab]:/?[abc]{0,2}(/[ab])?`)
	template := rapid.StringMatching(`[ab]:/?[abc]?\{[+/?]?x\}[ab]?`)
	rapid.Check(t, func(t *rapid.T) {
		items := func(key string, of *rapid.Generator[string]) string {
			var out []string
			for _, text := range rapid.SliceOfN(of, 0, 4).Draw(t, key) {
				out = append(out, `{"`+key+`":`+string(wire.Quote(text))+`}`)
			}
			return "[" + strings.Join(out, ",") + "]"
		}
		catalogs := map[store.ServerID]string{}
		for s := range rapid.IntRange(1, 4).Draw(t, "servers") {
			catalogs[store.ServerID(fmt.Sprint("s", s))] = fmt.Sprintf(`{"capabilities":{"resources":{}},"resources":%s,"resourceTemplates":%s}`, items("uri", uri), items("uriTemplate", template))
		}
		h.offer(catalogs)
		r := New(Config{Keys: testKeys(h.t, 1)}, h.fleet, h.store, h.rs[0].log)
		v, _ := r.view("", nil)
		have := r.stock(context.Background(), v)
		for _, i := range r.merged(v, listings["resources/list"], have) {
			if o, ok := have.owner(i.key); !ok || o.server != i.server {
				t.Fatalf("%s is listed of %s, and %+v answers for it", i.key, i.server, o)
			}
		}
		for _, i := range r.merged(v, listings["resources/templates/list"], have) {
			if o, ok := have.templateOwner(i.key); !ok || o.server != i.server {
				t.Fatalf("%s is listed of %s, and %+v answers for it", i.key, i.server, o)
			}
		}
		// The rule as it is written, for a URI that may be anyone's.
		asked := uri.Draw(t, "asked")
		o, ok := have.offering(asked)
		if want := ownerByTheRule(have, asked); want != "" && (!ok || o.server != want) || want == "" && ok {
			t.Fatalf("%s: %+v, want %q", asked, o, want)
		}
	})
}

// ownerByTheRule finds the owner of a URI the slow way: all claims, sorted.
func ownerByTheRule(have stock, uri string) store.ServerID {
	type claim struct {
		server store.ServerID
		rank   [5]int
	}
	var claims []claim
	for _, s := range have {
		if s.cat.uris[uri] {
			claims = append(claims, claim{server: s.server})
		}
		for _, p := range s.cat.patterns {
			if ok, loose := p.match(exactly(uri), new(matchBudget)); ok {
				rank := [5]int{1, 0, -p.literals, p.open, p.expressions}
				if loose {
					rank[1] = 1
				}
				claims = append(claims, claim{s.server, rank})
			}
		}
	}
	slices.SortFunc(claims, func(a, b claim) int {
		if d := slices.Compare(a.rank[:], b.rank[:]); d != 0 {
			return d
		}
		return strings.Compare(string(a.server), string(b.server))
	})
	if len(claims) == 0 {
		return ""
	}
	return claims[0].server
}

func TestSchemeOf(t *testing.T) {
	for uri, want := range map[string]string{
		"file:///x": "file", "FILE:x": "file", "a+b-c.1:x": "a+b-c.1", "1a:x": "", "": "", ":x": "", "x": "", "{scheme}:x": "", "a b:x": "", "é:x": "", "[:x": "",
	} {
		if got, ok := schemeOf(uri); got != want || ok != (want != "") {
			t.Errorf("schemeOf(%q) = %q, %t; want %q", uri, got, ok, want)
		}
	}
}

// A server whose templates are made to be slow costs a request so much and no more, and takes
// nothing from the others.
func TestSlowTemplatesOfAServerHarmNoOther(t *testing.T) {
	slow := &catalog{}
	for range maxPatterns - 1 {
		slow.patterns = append(slow.patterns, mustPattern(t, strings.Repeat("{+a}{+b}{+c}x", 10)))
	}
	// This one would match, but what the server may cost is used up before its turn.
	slow.patterns = append(slow.patterns, mustPattern(t, "{+any}"))
	good := &catalog{patterns: []*pattern{mustPattern(t, "{+any}")}}
	have := stock{{server: "a-slow", cat: slow}, {server: "good", cat: good}}
	o, ok := have.owner(strings.Repeat("x", maxMatched-1) + "y")
	if !ok || o.server != "good" {
		t.Errorf("owner = %v, %t; want good", o, ok)
	}
}
