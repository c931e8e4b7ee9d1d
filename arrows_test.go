package mcphub_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// module is the prefix of our own import paths.
const module = "github.com/mcphub-go/mcphub/"

// arrows says which packages of ours each package may import. A package not named here may
// import none, so a new one has to be given its place. "x/..." stands for x and what is
// below it. The open packages may be imported by all.
var arrows = map[string][]string{
	"cmd/...": {
		"server", "node", "router", "heartbeat", "web", "store", "migrations", "internal/...",
	},
	"server":             {"router", "heartbeat", "web", "store"},
	"node":               {"heartbeat", "store"},
	"router":             {"store"},
	"heartbeat":          {"store"},
	"web":                {"store"},
	"store":              {},
	"store/storetest":    {"store"},
	"migrations":         {"store"},
	"internal/wire":      {},
	"internal/config":    {"internal/wire"},
	"internal/telemetry": {"internal/wire"},
	"internal/fixture":   {"internal/wire"},
	"internal/...":       {"internal/..."},
	"e2e/...":            {"e2e/...", "internal/fixture/..."},
	"bench/...":          {"e2e/harness", "internal/fixture/..."},
}

// open packages may be imported by every package; by each other as arrows says.
var open = []string{"internal/wire", "internal/config", "internal/telemetry"}

// homes says which packages may import an outside library outside of tests. A library that is
// not named here may be used nowhere, so that a new dependency is a decision. "*" is anywhere.
var homes = map[string][]string{
	"github.com/redis/go-redis":                   {"store/...", "migrations"},
	"github.com/alicebob/miniredis":               {"store/..."},
	"github.com/labstack/echo":                    {"server", "web", "node"},
	"github.com/mark3labs/mcp-go":                 {"node", "internal/wire", "internal/fixture/...", "cmd/..."},
	"github.com/modelcontextprotocol":             {"internal/fixture/..."},
	"github.com/spf13/cobra":                      {"cmd/..."},
	"github.com/spf13/pflag":                      {"cmd/..."},
	"github.com/tailscale/hujson":                 {"internal/config"},
	"github.com/fsnotify/fsnotify":                {"internal/config"},
	"github.com/prometheus/client_golang":         {"internal/telemetry"},
	"go.opentelemetry.io/otel":                    {"internal/telemetry"},
	"github.com/hashicorp/golang-lru":             {"router"},
	"github.com/cespare/xxhash":                   {"router"},
	"go.uber.org/goleak":                          {},
	"pgregory.net/rapid":                          {"store/storetest"},
	"golang.org/x":                                {"*"},
	"github.com/santhosh-tekuri/jsonschema":       {},
	"github.com/getkin/kin-openapi":               {},
	"github.com/yosida95/uritemplate":             {},
	"github.com/google/jsonschema-go":             {"internal/fixture/..."},
	"github.com/testcontainers/testcontainers-go": {},
	"github.com/chromedp":                         {},
}

// testHomes adds to homes what only the tests of a package may import. Tests use miniredis,
// goleak and rapid anywhere.
var testHomes = map[string][]string{
	"github.com/alicebob/miniredis":         {"*"},
	"go.uber.org/goleak":                    {"*"},
	"pgregory.net/rapid":                    {"*"},
	"github.com/mark3labs/mcp-go":           {"*"},
	"github.com/modelcontextprotocol":       {"*"},
	"github.com/labstack/echo":              {"router", "heartbeat"},
	"github.com/yosida95/uritemplate":       {"router"},          // what templates can mean, by another reading
	"github.com/santhosh-tekuri/jsonschema": {"internal/config"}, // tries the published schema
	"github.com/chromedp":                   {"e2e/browser"},     // a browser
	"github.com/getkin/kin-openapi":         {"server"},          // validates the API document
}

// testArrows adds to arrows what only the tests of a package may import.
var testArrows = map[string][]string{
	"server":          {"store/storetest", "node", "internal/..."},
	"node":            {"store/storetest", "internal/..."},
	"router":          {"store/storetest", "internal/..."},
	"heartbeat":       {"store/storetest", "internal/..."},
	"web":             {"store/storetest"},
	"store":           {"store/storetest", "migrations"},
	"migrations":      {"store/storetest"},
	"internal/wire":   {"internal/..."},
	"internal/config": {"internal/..."},
}

// pkg is the part of `go list -json` that the rules need.
type pkg struct {
	ImportPath, Name                   string
	Imports, TestImports, XTestImports []string
}

func TestImportArrowsPointDown(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Name,Imports,TestImports,XTestImports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderrOf(err))
	}
	dec := json.NewDecoder(bytes.NewReader(out))
	seen := 0
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen++
		for _, v := range violations(p) {
			t.Error(v)
		}
	}
	if seen < len(arrows)/2 {
		t.Errorf("go list named %d packages; the rules cannot have been tried", seen)
	}
}

func stderrOf(err error) string {
	var ee *exec.ExitError
	if errors.As(err, &ee) {
		return string(ee.Stderr)
	}
	return ""
}

// violations lists what p imports against the rules.
func violations(p pkg) []string {
	self := strings.TrimPrefix(p.ImportPath, module)
	if self+"/" == module { // this test's own package
		return nil
	}
	var out []string
	check := func(imports []string, test bool) {
		for _, imp := range imports {
			if !allowed(self, imp, test) {
				out = append(out, fmt.Sprintf("%s imports %s%s: DESIGN.md 3 has no such arrow (rules: arrows_test.go)",
					self, strings.TrimPrefix(imp, module), map[bool]string{true: " in its tests"}[test]))
			}
		}
	}
	check(p.Imports, false)
	check(p.TestImports, true)
	check(p.XTestImports, true)
	return out
}

// allowed reports whether package self (without the module's prefix) may import imp.
func allowed(self, imp string, test bool) bool {
	target, ours := strings.CutPrefix(imp, module)
	if !ours {
		return allowedOutside(self, imp, test)
	}
	if target == self { // an external test package
		return true
	}
	if slices.Contains(open, target) && (test || !slices.Contains(open, self)) {
		return true
	}
	return matches(rule(arrows, self), target) || test && matches(rule(testArrows, self), target)
}

func allowedOutside(self, imp string, test bool) bool {
	if !strings.Contains(strings.SplitN(imp, "/", 2)[0], ".") { // standard library
		return true
	}
	for lib, where := range homes {
		if imp == lib || strings.HasPrefix(imp, lib+"/") {
			return matches(where, self) || test && matches(testHomes[lib], self) ||
				strings.HasPrefix(self, "e2e") && matches(testHomes[lib], self)
		}
	}
	return false
}

// rule finds the entry for a package: its own, else the nearest "x/..." above it.
func rule(rules map[string][]string, self string) []string {
	if r, ok := rules[self]; ok {
		return r
	}
	for dir := self; ; {
		if r, ok := rules[dir+"/..."]; ok {
			return r
		}
		i := strings.LastIndexByte(dir, '/')
		if i < 0 {
			return nil
		}
		dir = dir[:i]
	}
}

// matches reports whether target is in patterns, where "x/..." is x and what is below it.
func matches(patterns []string, target string) bool {
	for _, p := range patterns {
		dir, tree := strings.CutSuffix(p, "/...")
		if p == "*" || target == dir || tree && strings.HasPrefix(target, dir+"/") {
			return true
		}
	}
	return false
}

// The rules themselves are tried on arrows that must be refused, so that the test above
// cannot pass by letting everything through.
func TestTurnedArrowsAreSeen(t *testing.T) {
	tests := []struct {
		self, imp string
		test, ok  bool
	}{
		{self: "server", imp: module + "router", ok: true},
		{self: "router", imp: module + "store", ok: true},
		{self: "router", imp: module + "internal/wire", ok: true},
		{self: "cmd/mcphub", imp: module + "internal/fixture/demo", ok: true},
		{self: "router", imp: module + "store/storetest", test: true, ok: true},
		{self: "router", imp: module + "store/storetest"},
		{self: "store", imp: module + "router"},
		{self: "store", imp: module + "server"},
		{self: "router", imp: module + "heartbeat"},
		{self: "heartbeat", imp: module + "router"},
		{self: "web", imp: module + "router"},
		{self: "node", imp: module + "router"},
		{self: "node", imp: module + "router", test: true},
		{self: "server", imp: module + "node"},
		{self: "internal/wire", imp: module + "store"},
		{self: "internal/wire", imp: module + "internal/config"},
		{self: "internal/config", imp: module + "internal/wire", ok: true},
		{self: "router", imp: module + "cmd/mcphub"},
		{self: "brandnew", imp: module + "store"},
		{self: "store", imp: "github.com/redis/go-redis/v9", ok: true},
		{self: "router", imp: "github.com/redis/go-redis/v9"},
		{self: "router", imp: "github.com/redis/go-redis/v9", test: true},
		{self: "server", imp: "github.com/labstack/echo/v4", ok: true},
		{self: "node", imp: "github.com/labstack/echo/v4/middleware", ok: true},
		{self: "store", imp: "github.com/labstack/echo/v4"},
		{self: "router", imp: "github.com/alicebob/miniredis/v2"},
		{self: "router", imp: "github.com/alicebob/miniredis/v2", test: true, ok: true},
		{self: "store", imp: "example.com/never/heard/of"},
		{self: "store", imp: "encoding/json", ok: true},
		{self: "store", imp: "golang.org/x/sync/errgroup", ok: true},
	}
	for _, tt := range tests {
		if got := allowed(tt.self, tt.imp, tt.test); got != tt.ok {
			t.Errorf("allowed(%s, %s, test=%v) = %v, want %v", tt.self, tt.imp, tt.test, got, tt.ok)
		}
	}
}
