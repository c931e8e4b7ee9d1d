package store

import (
	"errors"
	"testing"
)

func FuzzCursor(f *testing.F) {
	f.Add(place{shard: 5, expiry: "1767261600123", sid: "05000000000000000000000000000001"}.String())
	f.Add("")
	f.Add("MS4wNS4xLjA1")
	f.Fuzz(func(t *testing.T, cursor string) {
		p, err := parsePlace(cursor)
		switch {
		case err != nil && !errors.Is(err, ErrCursor):
			t.Errorf("parsePlace(%q) = %v", cursor, err)
		case err == nil && cursor != "" && p.String() != cursor:
			t.Errorf("parsePlace(%q) reads back as %q", cursor, p.String())
		}
	})
}

func FuzzBinding(f *testing.F) {
	f.Add("n1#7")
	f.Add("#")
	f.Fuzz(func(t *testing.T, text string) {
		if b, err := ParseBinding(text); err == nil {
			if again, err := ParseBinding(b.String()); err != nil || again != b {
				t.Errorf("%q is %+v, which reads back as %+v, %v", text, b, again, err)
			}
		}
	})
}
