package config

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestTrail(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	at := func(name string) string { return filepath.Join(top, name) }
	must(t, os.MkdirAll(at("a/b"), 0o700))
	write(t, at("a/b/file"), "")
	link(t, "a", at("relative"))
	link(t, at("a/b"), at("absolute"))
	link(t, "../../relative/b/file", at("a/b/up"))
	link(t, "loop", at("loop"))
	link(t, "nowhere/file", at("broken"))
	for _, c := range []struct {
		path string
		want []string
	}{
		{"a/b/file", []string{"a/b/file"}},
		{"relative/b/file", []string{"relative", "a/b/file"}},
		{"absolute/file", []string{"absolute", "a/b/file"}},
		{"absolute/up", []string{"absolute", "a/b/up", "relative", "a/b/file"}},
		{"a/none/file", []string{"a/none"}},
		{"broken", []string{"broken", "nowhere"}},
		{"a/b/file/x", []string{"a/b/file/x"}},
	} {
		var want []string
		for _, name := range c.want {
			want = append(want, at(name))
		}
		if got := trail(at(c.path)); !slices.Equal(got, want) {
			t.Errorf("trail(%s) = %q, want %q", c.path, got, want)
		}
	}
	if got := trail(at("loop")); len(got) == 0 || got[0] != at("loop") || len(got) > maxLinks+1 {
		t.Errorf("trail of a loop = %q, want it once for each link followed", got)
	}
}
