package router

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/yosida95/uritemplate/v3"
	"pgregory.net/rapid"
)

func mustPattern(t testing.TB, text string) *pattern {
	t.Helper()
	p, err := parsePattern(text)
	if err != nil {
		t.Fatalf("parsePattern(%q): %v", text, err)
	}
	return p
}

func TestPatternMatch(t *testing.T) {
	const no, strict, loose = "no", "strict", "loose"
	for _, c := range []struct{ template, uri, want string }{
		{"test://static", "test://static", strict},
		{"test://static", "test://static/", no},
		{"test://{id}", "test://7", strict},
		{"test://{id}", "test://", strict},
		{"test://{id}", "test://7/8", no},
		{"test://{id}", "test://7?x=1", loose},
		{"test://{id}/data", "test://7/data", strict},
		{"test://{id}/data", "test://7/datum", no},
		{"test://{a}-{b}", "test://1-2-3", strict},
		{"file:///{+path}", "file:///a/b/c.txt?x#y", strict},
		{"repo://{owner}/{repo}/contents{/path*}", "repo://o/r/contents", strict},
		{"repo://{owner}/{repo}/contents{/path*}", "repo://o/r/contents/a/b", strict},
		{"repo://{owner}/{repo}/contents{/path*}", "repo://o/r/contentsa", no},
		{"x:find{?q,lang}", "x:find", strict},
		{"x:find{?q,lang}", "x:find?q=a&lang=b", strict},
		{"x:find{?q,lang}", "x:find#part", no},
		{"x:{y}{#part}", "x:1#a/b", strict},
		{"x{.ext}", "x.json", strict},
		{"x{.ext}", "xjson", no},
		{"x{;a,b}", "x;a=1;b=2", strict},
		{"x?fixed=1{&more*}", "x?fixed=1&a=2", strict},
		{"{+all}", "anything://at/all", strict},
		{"a{x}b{x}c", "abc", strict},
		{"a{x}b{x}c", "ab", no},
		{"test://{id}", "TEST://7", no},
		{"note://{name}", "note://é ü", strict},
	} {
		got := no
		switch ok, isLoose := mustPattern(t, c.template).match(exactly(c.uri), new(matchBudget)); {
		case ok && isLoose:
			got = loose
		case ok:
			got = strict
		}
		if got != c.want {
			t.Errorf("%s against %s: %s, want %s", c.template, c.uri, got, c.want)
		}
	}
}

func TestPatternRefused(t *testing.T) {
	for text, want := range map[string]error{
		"a{": errPatternSyntax, "a}b": errPatternSyntax, "{}": errPatternSyntax, "{{x}}": errPatternSyntax, "{x y}": errPatternSyntax,
		"{=x}": errPatternSyntax, "{|x}": errPatternSyntax, "{x:0}": errPatternSyntax, "{x:12345}": errPatternSyntax, "{x,}": errPatternSyntax, "{+}": errPatternSyntax,
		"{x:3*}": errPatternSyntax, "{x:}": errPatternSyntax,
		strings.Repeat("{x}", 33): errPatternSize, strings.Repeat("x", 513): errPatternSize,
	} {
		if _, err := parsePattern(text); !errors.Is(err, want) {
			t.Errorf("parsePattern(%.20q) = %v, want %v", text, err, want)
		}
	}
	for _, text := range []string{"", "{x:12}", "{x*}", "{x,y,z}", "{a.b_c%20}", strings.Repeat("{x}", 32)} {
		mustPattern(t, text)
	}
}

func TestMoreSpecific(t *testing.T) {
	ordered := []string{"x://a/{b}/c", "x://a/{b}", "x://{b}", "x://{b}{c}", "x://{+b}", "x:{b}"}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := mustPattern(t, a).moreSpecific(mustPattern(t, b)); got != (i < j) {
				t.Errorf("%s is more specific than %s: %t", a, b, got)
			}
		}
	}
}

func TestOverlaps(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"x://{id}", "x://{name}", true},
		{"x://{id}", "y://{id}", false},
		{"x://{id}", "x://{a}/{b}", false},
		{"x://{id}", "x://{+any}", true},
		{"x://{id}.md", "x://doc{rest}", true},
		{"x://{id}.md", "x://{id}.txt", false},
		{"x://a{/p*}", "x://{b}", true},
		{"x://a/{p}", "x://{b}", false},
		{"{+any}", "x://{b}", true},
		{"x:a", "x:{b}", true},
	} {
		if got := mustPattern(t, c.a).overlaps(mustPattern(t, c.b)); got != c.want {
			t.Errorf("%s overlaps %s: %t", c.a, c.b, got)
		}
		if got := mustPattern(t, c.b).overlaps(mustPattern(t, c.a)); got != c.want {
			t.Errorf("%s overlaps %s: %t", c.b, c.a, got)
		}
	}
}

// A template made to be slow costs no more than the product of the two lengths.
func TestPatternIsNotSlow(t *testing.T) {
	p := mustPattern(t, "x:"+strings.Repeat("{a}b", 32))
	u := exactly("x:" + strings.Repeat("b", maxMatched-3) + "c")
	left := matchBudget
	if ok, _ := p.match(u, &left); ok {
		t.Error("it matches")
	}
	if left < 0 { // it looks at each pair of places once, and they are half of it
		t.Errorf("one match has cost %d of %d", matchBudget-left, matchBudget)
	}
	if ok, _ := p.match(exactly("x:"+strings.Repeat("b", maxMatched)), new(matchBudget)); ok {
		t.Error("a URI over the limit was matched")
	}
}

// Templates that are made to be slow use up what matching may cost; after that nothing matches.
func TestMatchingIsBounded(t *testing.T) {
	slow := mustPattern(t, strings.Repeat("{+a}{+b}{+c}x", 10))
	u := exactly(strings.Repeat("x", maxMatched-1) + "y")
	left := matchBudget
	for range maxPatterns {
		if ok, _ := slow.match(u, &left); ok {
			t.Fatal("it matches")
		}
	}
	if left >= 0 || left < -maxPattern*maxMatched/64 {
		t.Errorf("%d are left of %d, want no more than the bound to be used", left, matchBudget)
	}
	if ok, _ := mustPattern(t, "{+any}").match(u, &left); ok {
		t.Error("a template was matched when nothing was left for it")
	}
}

// A client may send a URI of megabytes.
func TestLongURICostsLittle(t *testing.T) {
	long := "x:" + strings.Repeat("y", 4<<20)
	if got := testing.AllocsPerRun(10, func() { exactly(long) }); got > 1 { // the states of one grow step by step
		t.Errorf("a URI of 4 MiB cost %v allocations", got)
	}
}

// What a server makes of its template by RFC 6570, whatever the values, is one of the template's:
// another implementation expands it.
func TestExpansionsMatch(t *testing.T) {
	name := rapid.StringMatching(`[a-z]{1,2}`)
	expr := rapid.Custom(func(t *rapid.T) string {
		op := rapid.SampledFrom([]string{"", "+", "#", ".", "/", ";", "?", "&"}).Draw(t, "operator")
		var specs []string
		for range rapid.IntRange(1, 3).Draw(t, "variables") {
			specs = append(specs, name.Draw(t, "name")+rapid.SampledFrom([]string{"", "*", ":3"}).Draw(t, "modifier"))
		}
		return "{" + op + strings.Join(specs, ",") + "}"
	})
	part := rapid.OneOf(rapid.StringMatching(`[a-z/:?#.-]{0,4}`), expr)
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(part, 0, 5).Draw(t, "template"), "")
		theirs, err := uritemplate.New(text)
		if err != nil {
			t.Skip("the other implementation does not take it")
		}
		ours, err := parsePattern(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		values := uritemplate.Values{}
		for _, n := range theirs.Varnames() {
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0: // undefined
			case 1:
				values.Set(n, uritemplate.String(rapid.String().Draw(t, "string")))
			case 2:
				values.Set(n, uritemplate.List(rapid.SliceOfN(rapid.String(), 1, 3).Draw(t, "list")...))
			case 3:
				values.Set(n, uritemplate.KV("k", rapid.String().Draw(t, "value"), "é", "/"))
			}
		}
		uri, err := theirs.Expand(values)
		if err != nil {
			t.Skip("no such expansion")
		}
		if len(uri) > maxMatched {
			return
		}
		if ok, loose := ours.match(exactly(uri), new(matchBudget)); !ok || loose {
			t.Fatalf("%q: its expansion %q matches: %t, loosely: %t", text, uri, ok, loose)
		}
		if !ours.overlaps(exactly(uri)) {
			t.Fatalf("%q does not overlap with its expansion %q", text, uri)
		}
	})
}

// FuzzPattern: no template and no URI is slow or panics, a template without expressions means
// itself alone, and one overlaps with itself.
func FuzzPattern(f *testing.F) {
	f.Add("test://{id}/data", "test://7/data")
	f.Add("{+a}{+b}{+c}", "////????####")
	f.Add("{?a*}{&b}", "?a=1&b=2")
	f.Add("x{", "x{")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, text, uri string) {
		p, err := parsePattern(text)
		if err != nil {
			return
		}
		start := time.Now()
		ok, _ := p.match(exactly(uri), new(matchBudget))
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%q against %q took %v", text, uri, d)
		}
		if !strings.Contains(text, "{") && ok != (text == uri && len(uri) <= maxMatched) {
			t.Errorf("%q matches %q: %t", text, uri, ok)
		}
		if !p.overlaps(p) {
			t.Errorf("%q does not overlap with itself", text)
		}
	})
}
