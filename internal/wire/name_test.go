package wire

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	for _, good := range []string{"a", "Z", "0", "node-1", "a.b_c-D9", strings.Repeat("x", 63), "1..-__"} {
		if err := CheckName("node id", good); err != nil {
			t.Errorf("CheckName(%q): %v", good, err)
		}
	}
	cases := map[string]string{
		"":                            "empty",
		"-a":                          "start with a letter or digit",
		".":                           "start with a letter or digit",
		"_x":                          "start with a letter or digit",
		"a b":                         "' ' at position 2",
		"a/b":                         "'/' at position 2",
		"a:b":                         "':' at position 2",
		"{a}":                         "'{' at position 1",
		"a*":                          "'*' at position 2",
		"a\n":                         `'\n' at position 2`,
		"a\x00":                       `'\x00' at position 2`,
		"é":                           "'é' at position 1",
		"a\xff":                       "at position 2",
		strings.Repeat("x", 64):       "64 bytes long",
		strings.Repeat("x", 1<<16):    "65536 bytes long",
		strings.Repeat("x", 63) + "é": "65 bytes long",
	}
	for bad, want := range cases {
		err := CheckName("node id", bad)
		if !errors.Is(err, ErrName) || !strings.HasPrefix(err.Error(), "node id: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("CheckName(%.70q) = %v, want %q", bad, err, want)
		}
		if err != nil && len(err.Error()) > 200 {
			t.Errorf("the error is %d bytes long", len(err.Error()))
		}
	}
}

func FuzzCheckName(f *testing.F) {
	f.Add("node-1")
	f.Add("a{b}:*")
	f.Fuzz(func(t *testing.T, s string) {
		if CheckName("name", s) != nil {
			return
		}
		if len(s) == 0 || len(s) > MaxName || strings.ContainsAny(s, "{}:*/\\ \n\r\x00\"'") || s != strings.ToValidUTF8(s, "") {
			t.Errorf("%q was accepted", s)
		}
	})
}

func TestVersions(t *testing.T) {
	for v, want := range map[string][2]bool{
		"2024-11-05": {true, false}, "2025-03-26": {true, false}, "2025-06-18": {true, false}, "2025-11-25": {true, false},
		"2026-07-28": {false, true}, "2027-01-01": {false, true}, "2024-10-07": {false, false}, "2026-07-27": {false, false},
		"": {false, false}, "DRAFT-2026": {false, false}, "9999-99-9x": {false, false}, "2026/07/28": {false, false}, "2026-07-28 ": {false, false},
	} {
		if IsLegacy(v) != want[0] || IsModern(v) != want[1] {
			t.Errorf("%q: IsLegacy %v, IsModern %v, want %v", v, IsLegacy(v), IsModern(v), want)
		}
	}
	if l := Legacy(); l[len(l)-1] != LatestLegacy {
		t.Errorf("the last of %v is not %s", l, LatestLegacy)
	}
}
