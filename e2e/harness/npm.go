package harness

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// NPM is the folder with package.json and node_modules.
func NPM() string { return filepath.Join(Root(), "e2e", "npm") }

// Node is a node binary of at least version 22: the one of the lockfile, else the system's.
func Node(t T) string {
	t.Helper()
	arch := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	own := filepath.Join(NPM(), "node_modules", "node-"+runtime.GOOS+"-"+arch, "bin", "node")
	if _, err := os.Stat(own); err == nil {
		return own
	}
	if sys, err := exec.LookPath("node"); err == nil && nodeMajor(t, sys) >= 22 {
		return sys
	}
	Skip(t, "REQUIRE_NPM", "the npm packages of e2e/npm are not installed (make tools)")
	return ""
}

func nodeMajor(t T, bin string) int {
	out, err := exec.CommandContext(t.Context(), bin, "-p", "process.versions.node").Output()
	if err != nil {
		return 0
	}
	major, _, _ := strings.Cut(strings.TrimSpace(string(out)), ".")
	n, _ := strconv.Atoi(major)
	return n
}

// Script is the path of the file that a package of e2e/npm runs as its command bin.
func Script(t T, pkg, bin string) string {
	t.Helper()
	dir := filepath.Join(NPM(), "node_modules", filepath.FromSlash(pkg))
	b, err := os.ReadFile(filepath.Join(dir, "package.json"))
	if err != nil {
		Skip(t, "REQUIRE_NPM", "npm package "+pkg+" is not installed (make tools)")
	}
	var p struct {
		Bin map[string]string `json:"bin"`
	}
	if err := json.Unmarshal(b, &p); err != nil || p.Bin[bin] == "" {
		t.Fatalf("%s has no command %s: %v", pkg, bin, err)
	}
	return filepath.Join(dir, filepath.FromSlash(p.Bin[bin]))
}
