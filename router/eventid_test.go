package router

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/mcphub-go/mcphub/store"
)

func TestEventIDs(t *testing.T) {
	for _, c := range []struct {
		text string
		want string // kind, server, id of the node, id of the request
	}{
		{"0a9zzzzz.g0.0", "1  0a9zzzzz.g0.0 "},
		{"0a9zzzzz.g12.18446744073709551615", "1  0a9zzzzz.g12.18446744073709551615 "},
		{"0a9zzzzz.c3.7", "1  0a9zzzzz.c3.7 "},
		{"0a9zzzzz.c3.7.Nw", "1  0a9zzzzz.c3.7.Nw 7"},
		{"0a9zzzzz.c3.7.ImEi", `1  0a9zzzzz.c3.7.ImEi "a"`},
		{"c~memory~0a9zzzzz.c3.7.Nw", "2 memory 0a9zzzzz.c3.7.Nw 7"},
		{"c~a.b_c-d~0a9zzzzz.c3.7", "2 a.b_c-d 0a9zzzzz.c3.7 "},
		{"m~AAAAAA", "3   "},

		{"", ""}, {"s-1", ""}, {".g0.0", ""},
		{"0a9zzzz.g0.0", ""}, {"0a9zzzzzz.g0.0", ""}, {"0A9zzzzz.g0.0", ""}, // the incarnation
		{"0a9zzzzz.x0.0", ""}, {"0a9zzzzz.g.0", ""}, {"0a9zzzzz.g0", ""}, {"0a9zzzzz.g0.", ""}, {"0a9zzzzz.g00.0", ""}, // numbers
		{"0a9zzzzz.g0.+1", ""}, {"0a9zzzzz.g0.-1", ""}, {"0a9zzzzz.g0.18446744073709551616", ""},
		{"0a9zzzzz.g0.0.Nw", ""}, {"0a9zzzzz.c0.0.", ""}, {"0a9zzzzz.c0.0.Nw.", ""}, // the request
		{"0a9zzzzz.c0.0.Nx", ""}, {"0a9zzzzz.c0.0.N\nw", ""}, {"0a9zzzzz.c0.0.e30", ""}, {"0a9zzzzz.c0.0.bnVsbA", ""},
		{"0a9zzzzz.c0.0." + strings.Repeat("M", 200), ""},
		{"c~memory~0a9zzzzz.g3.7", ""}, {"c~~0a9zzzzz.c3.7", ""}, {"c~../x~0a9zzzzz.c3.7", ""}, {"c~memory", ""},
		{"m~", ""}, {"m~AAA", ""}, {"m~AAAAAAA", ""}, {"m~AAAAA\n", ""}, {"m~" + strings.Repeat("A", maxMergedEvent), ""},
	} {
		id := parseEventID(c.text)
		got := ""
		if id.kind != noEvent {
			got = fmt.Sprintf("%d %s %s %s", id.kind, id.server, id.text, id.node.request)
		}
		if got != c.want {
			t.Errorf("%q is read as %q, want %q", c.text, got, c.want)
		}
		if id.text != "" && id.node.text() != id.text {
			t.Errorf("%q is spelled %q", id.text, id.node.text())
		}
	}
}

func TestMergedIDs(t *testing.T) {
	p := positions{}
	p.set("memory", "0a9zzzzz.g1.2")
	p.set("github", "zzzzzzzz.g0.900000")
	p.set("calls", "zzzzzzzz.c0.1") // of no own stream
	p.set("other", "nonsense")
	id := parseEventID(mergedID(p, 7))
	if id.kind != mergedEvent || id.print != 7 || len(id.positions) != 2 {
		t.Fatalf("read back as %+v", id)
	}
	for server, want := range map[store.ServerID]string{"memory": "0a9zzzzz.g1.2", "github": "zzzzzzzz.g0.900000", "calls": "", "other": ""} {
		if got := id.positions.of(server); got != want {
			t.Errorf("%s is taken up at %q, want %q", server, got, want)
		}
	}
	if again := mergedID(id.positions, 7); again != mergedID(p, 7) {
		t.Errorf("spelled %q and %q", again, mergedID(p, 7))
	}
}

// Of more servers than an id has room for, as many as fit are named, whatever their numbers.
func TestMergedIDIsBounded(t *testing.T) {
	for _, stream := range []string{"zzzzzzzz.g0.1", "zzzzzzzz.g18446744073709551615.18446744073709551615"} {
		p := positions{}
		for i := range 2 * maxParts {
			p.set(store.ServerID(fmt.Sprint("s", i)), stream)
		}
		text := mergedID(p, ^uint32(0))
		id := parseEventID(text)
		if len(text) > maxMergedEvent || id.kind != mergedEvent || len(id.positions) < 70 || len(id.positions) > maxParts {
			t.Errorf("%d characters name %d servers", len(text), len(id.positions))
		}
	}
}

// FuzzEventID: what is taken is what would be written, to the letter.
func FuzzEventID(f *testing.F) {
	p := positions{}
	p.set("memory", "0a9zzzzz.g1.2")
	p.set("github", "zzzzzzzz.g0.900000")
	for _, text := range []string{"", "0a9zzzzz.g12.3", "0a9zzzzz.c3.7.Nw", "c~memory~0a9zzzzz.c3.7.Nw", mergedID(p, 7), "m~AAAAAA"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id := parseEventID(text)
		again := text
		switch id.kind {
		case nodesEvent:
			again = id.node.text()
		case callEvent:
			again = callEventID(id.server, id.node.text())
		case mergedEvent:
			again = mergedID(maps.Clone(id.positions), id.print)
		}
		if again != text {
			t.Errorf("%q is taken and spelled %q", text, again)
		}
	})
}
