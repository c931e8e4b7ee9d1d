package config

import (
	"testing"

	"pgregory.net/rapid"
)

func TestNearest(t *testing.T) {
	known := []string{"command", "args", "env", "url", "headers", "type", "enabled", "coordinatorUrl"}
	for _, c := range []struct{ word, want string }{
		{"arg", "args"}, {"rul", "url"}, {"URL", "url"}, {"coordinator_url", "coordinatorUrl"}, {"coordinatorURI", "coordinatorUrl"},
		{"disabled", "enabled"}, {"header", "headers"}, {"x", ""}, {"", ""}, {"cmd", ""}, {"completely different", ""},
	} {
		if got := nearest(c.word, known, maxEdits); got != c.want {
			t.Errorf("nearest(%q) = %q, want %q", c.word, got, c.want)
		}
	}
}

// TestDistance checks the laws of a distance on random words.
func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "abc", 0}, {"mode", "moed", 1}, {"coordinater", "coordinator", 1}, {"kitten", "sitting", 3}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.StringMatching(`[abc]{0,8}`).Draw(t, "a"), rapid.StringMatching(`[abc]{0,8}`).Draw(t, "b")
		d := distance(a, b)
		if d != distance(b, a) || (d == 0) != (a == b) || d > max(len(a), len(b)) {
			t.Fatalf("distance(%q, %q) = %d, the other way %d", a, b, d, distance(b, a))
		}
	})
}
