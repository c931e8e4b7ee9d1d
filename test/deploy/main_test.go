package deploy

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// root is the repository.
const root = "../.."

func inRepo(parts ...string) string { return filepath.Join(append([]string{root}, parts...)...) }

// program finds a program in .bin, where test/install.sh puts it, or on PATH. Without it the test is
// skipped, or fails with REQUIRE_DEPLOY=1.
func program(t *testing.T, name string) string {
	t.Helper()
	own, err := filepath.Abs(inRepo(".bin", name))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{own, "/usr/sbin/" + name} {
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("REQUIRE_DEPLOY") == "1" {
			t.Fatalf("REQUIRE_DEPLOY=1 but %s is missing: test/install.sh deploy", name)
		}
		t.Skipf("SKIPPED (no %s: test/install.sh deploy)", name)
	}
	return path
}

// outcome is what a program said and whether it was content.
type outcome struct {
	stdout, stderr string
	err            error
}

func run(t *testing.T, dir string, env []string, words ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	return outcome{stdout.String(), stderr.String(), err}
}

// must runs a program that has to succeed and returns what it printed.
func must(t *testing.T, words ...string) string {
	t.Helper()
	o := run(t, ".", nil, words...)
	if o.err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(words, " "), o.err, o.stdout, o.stderr)
	}
	return o.stdout
}

func readFile(t *testing.T, parts ...string) string {
	t.Helper()
	b, err := os.ReadFile(inRepo(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
