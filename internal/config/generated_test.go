package config

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the generated documents")

// TestGenerated holds that the committed documents are those of the table.
func TestGenerated(t *testing.T) {
	for name, got := range map[string][]byte{
		"settings.md":              Reference(),
		"mcp_settings.schema.json": Schema(),
	} {
		path := filepath.Join("..", "..", "docs", name)
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil { //nolint:gosec // a public document
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("docs/%s is not what the table says; run: go generate ./internal/config", name)
		}
	}
}
