package node

import (
	"strings"
	"testing"
)

func TestEventIDs(t *testing.T) {
	long := `"` + strings.Repeat("x", maxNamedID) + `"`
	for _, request := range []string{`1`, `"a"`, `-7`, `"ü \"q\""`, long} {
		st := &stream{key: streamKey{callStream, 12}, tail: tailOf([]byte(request))}
		text := string(appendEventID(nil, "0a1b2c3d", st, 345))
		id, ok := parseEventID(text)
		want := request
		if request == long {
			want = ""
		}
		if !ok || id.inc != "0a1b2c3d" || id.stream != st.key || id.seq != 345 || string(id.request) != want {
			t.Errorf("%s read as %+v, %v, want request %q", text, id, ok, want)
		}
		if len(text) > maxEventID {
			t.Errorf("%s is longer than %d", text, maxEventID)
		}
	}
	biggest := &stream{key: streamKey{callStream, 999999999999999999}, tail: tailOf([]byte(long[:maxNamedID-1] + `"`))}
	if text := appendEventID(nil, "zzzzzzzz", biggest, 999999999999999999); len(text) > maxEventID {
		t.Errorf("%s is longer than %d", text, maxEventID)
	}
	for _, bad := range []string{
		"", ".", "..", "abcdefgh", "abcdefgh.c1", "abcdefgh.c1.", "abcdefgh..1", "abcdefgh.c.1", "abcdefgh.x1.1", "abcdefg.c1.1",
		"abcdefghi.c1.1", "ABCDEFGH.c1.1", "abcdefgh.c01.1", "abcdefgh.c1.01", "abcdefgh.c+1.1", "abcdefgh.c1.-1", "abcdefgh.g1.1.MQ",
		"abcdefgh.c1.1.", "abcdefgh.c1.1.MQ==", "abcdefgh.c1.1.MQ.MQ", "abcdefgh.c1.1.bnVsbA", "abcdefgh.c1.1.e30", "abcdefgh.c1.1.MSwyOg",
		"abcdefgh.c1.1.M\nQ", "abcdefgh.c1234567890123456789.1", "abcdefgh.c1.1." + strings.Repeat("x", 200),
	} {
		if id, ok := parseEventID(bad); ok {
			t.Errorf("%q read as %+v", bad, id)
		}
	}
}

// What is read is written the same again: each id means one thing.
func FuzzEventID(f *testing.F) {
	f.Add("abcdefgh.c1.2.MQ")
	f.Add("abcdefgh.g0.0")
	f.Add("0a1b2c3d.c12.345.ImEi")
	f.Fuzz(func(t *testing.T, s string) {
		id, ok := parseEventID(s)
		if !ok {
			return
		}
		st := &stream{key: id.stream, tail: tailOf(id.request)}
		if again := string(appendEventID(nil, id.inc, st, id.seq)); again != s {
			t.Errorf("%q is written again as %q", s, again)
		}
	})
}
