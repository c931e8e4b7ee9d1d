package router

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/mcphub-go/mcphub/store"
)

func stockOf(texts map[store.ServerID]string, order ...store.ServerID) (s stock) {
	for _, server := range order {
		s = append(s, served{server: server, cat: &catalog{instructions: texts[server]}})
	}
	return s
}

func TestInstructions(t *testing.T) {
	h := newDocsHub(t, 1)
	p := post(t, h.rs[0], "", "", message("1", "initialize", initParams))
	if got, want := p.get("result", "instructions"), "# docs\n\nRead docs.\n\n# files\n\nUse files."; got != want {
		t.Errorf("instructions = %q, want %q", got, want)
	}
	h.fail("files", "x")
	if p := post(t, h.rs[0], "", "", message("1", "initialize", initParams)); strings.Contains(p.get("result", "instructions"), "files") {
		t.Errorf("instructions of a server that is away: %s", p.Body)
	}
	silent := newHub(t, 1, map[store.ServerID]string{"a": `{"instructions":" \n"}`, "b": `{"instructions":7}`})
	if p := post(t, silent.rs[0], "", "", message("1", "initialize", initParams)); strings.Contains(p.Body.String(), "instructions") {
		t.Errorf("without any: %s", p.Body)
	}
}

// A server that says much is cut, and crowds nobody out.
func TestLongInstructionsAreCut(t *testing.T) {
	texts := map[store.ServerID]string{"a": strings.Repeat("é", 20_000), "b": "short", "c": strings.Repeat("x", 15_000)}
	got := stockOf(texts, "a", "b", "c").instructions()
	if len(got) > maxInstructions || len(got) < maxInstructions-100 || !utf8.ValidString(got) {
		t.Errorf("%d bytes, valid: %t; want nearly %d", len(got), utf8.ValidString(got), maxInstructions)
	}
	if !strings.Contains(got, "# b\n\nshort\n\n# c") || strings.Count(got, cutNote) != 2 {
		t.Errorf("%.100s…", got)
	}
}

func TestInstructionsStayBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s stock
		for i := range rapid.IntRange(0, 300).Draw(t, "servers") {
			text := strings.Repeat(rapid.SampledFrom([]string{"x", "é", "日", " "}).Draw(t, "text"), rapid.IntRange(0, 3000).Draw(t, "length"))
			s = append(s, served{server: store.ServerID(strings.Repeat("s", 1+i%63)), cat: &catalog{instructions: text}})
		}
		got := s.instructions()
		if len(got) > maxInstructions || !utf8.ValidString(got) {
			t.Fatalf("%d bytes, valid: %t", len(got), utf8.ValidString(got))
		}
		if again := s.instructions(); again != got {
			t.Fatal("asked twice, two answers")
		}
	})
}
