package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLoadChoosesTheFile(t *testing.T) {
	t.Chdir(t.TempDir())
	named := filepath.Join(t.TempDir(), "named.json")
	write(t, named, `{"systemConfig": {"nameSeparator": "named"}}`)

	got, err := Load("", env())
	if err != nil {
		t.Fatal(err)
	}
	same(t, *got, defaults(""))
	write(t, DefaultPath, `{"systemConfig": {"nameSeparator": "default"}}`)
	for _, c := range []struct{ path, variable, separator, wantPath string }{
		{"", "", "default", DefaultPath},
		{"", named, "named", named},
		{named, "", "named", named},
		{DefaultPath, named, "default", DefaultPath},
	} {
		got, err := Load(c.path, env("MCPHUB_SETTINGS", c.variable))
		if err != nil || got.NameSeparator != c.separator || got.Path != c.wantPath {
			t.Errorf("Load(%q) with MCPHUB_SETTINGS=%q: %+v, %v; want %q", c.path, c.variable, got, err, c.wantPath)
		}
	}
}

func TestLoadRefusesANamedFileThatIsMissing(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, c := range []struct{ path, variable string }{{"no.json", ""}, {"", "no.json"}, {DefaultPath, ""}} {
		s, err := Load(c.path, env("MCPHUB_SETTINGS", c.variable))
		if s != nil || !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "read settings: ") {
			t.Errorf("Load(%q) with MCPHUB_SETTINGS=%q: %v, %v; want fs.ErrNotExist", c.path, c.variable, s, err)
		}
	}
}

func TestLoadErrors(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, DefaultPath, "{\n \"mcpServer\": {}}")
	_, err := Load("", env("PORT", "x"))
	want := "mcp_settings.json:2:2: unknown key \"mcpServer\"; did you mean \"mcpServers\"?\n" +
		`environment variable PORT: "x" is not a port from 1 to 65535`
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	var p Problem
	if !errors.As(err, &p) || p.Line != 2 || p.Column != 2 || p.File != DefaultPath {
		t.Errorf("errors.As: %+v; want the first problem", p)
	}
	if _, err := Load(t.TempDir(), env()); err == nil {
		t.Error("a directory was read as settings")
	}
}
