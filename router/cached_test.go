package router

import (
	"errors"
	"strings"
	"testing"
)

// That a session is cached spares the check of its own id, and of no other one: an id that
// differs in a single character is as unknown as ever.
func TestIDsLikeThatOfACachedSessionAreUnknown(t *testing.T) {
	w := newWorld(t, 1, 1)
	r := w.rs[0]
	id, _ := begin(t, r, testServer)
	tok, s, err := r.cached(id)
	if err != nil || s == nil || tok.text != id || tok.random != randomOf(id) {
		t.Fatalf("cached = %v, %v, %v for the id itself", tok, s, err)
	}
	for i := range len(id) {
		for _, c := range []string{"A", "Q", "_", "\n"} {
			if other := id[:i] + c + id[i+1:]; other != id {
				if _, _, err := r.cached(other); !errors.Is(err, ErrToken) {
					t.Fatalf("character %d made %q: err = %v, want ErrToken", i, c, err)
				}
			}
		}
	}
	for name, other := range map[string]string{
		"longer": id + "A", "shorter": id[:len(id)-1], "the session's part alone": id[68:92], "nothing": "", "line breaks": strings.Repeat("\n", len(id)),
	} {
		if _, _, err := r.cached(other); !errors.Is(err, ErrToken) {
			t.Errorf("%s: err = %v, want ErrToken", name, err)
		}
	}
}
