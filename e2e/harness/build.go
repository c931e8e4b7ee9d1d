package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// Root is the folder of the module.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// buildDir is where binaries go; Main makes and removes it.
var buildDir string

// Main runs what a TestMain or a program wraps: it lends a folder for binaries, and afterwards
// insists that no process of the run is left. It returns the exit code.
func Main(run func() int) int {
	dir, err := os.MkdirTemp("", "mcphub-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	buildDir = dir
	code := run()
	var left []string
	err = Poll(context.Background(), 10*time.Second, func() error {
		if left = Leftovers(); len(left) > 0 {
			return fmt.Errorf("%d processes are left", len(left))
		}
		return nil
	})
	if err != nil {
		fmt.Fprintf(os.Stderr, "FAIL: %v: %s\n", err, strings.Join(left, "; "))
		return 1
	}
	return code
}

// binary is a program that is built once, when it is first asked for.
type binary struct {
	name string
	args []string // of go build
	once sync.Once
	path string
	err  error
}

func (b *binary) get(t T) string {
	t.Helper()
	b.once.Do(func() {
		b.path = filepath.Join(buildDir, b.name)
		args := append([]string{"build", "-o", b.path}, b.args...)
		cmd := exec.Command("go", args...)
		cmd.Dir = Root()
		if out, err := cmd.CombinedOutput(); err != nil {
			b.err = fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	})
	if b.err != nil {
		t.Fatalf("%v", b.err)
	}
	return b.path
}

var (
	hubBinary        = &binary{name: "mcphub", args: hubArgs()}
	otherBinary      = &binary{name: "mcphub-other", args: plainArgs(OtherVersion)}
	fixtureBinary    = &binary{name: "mcpfixture", args: []string{"./internal/fixture/mcpfixture"}}
	everythingBinary = &binary{name: "everything-server", args: []string{"github.com/modelcontextprotocol/go-sdk/conformance/everything-server"}}
)

// version and OtherVersion are what HubBinary and OtherHubBinary call themselves.
const (
	version      = "e2e"
	OtherVersion = "e2e-next"
)

// hubArgs builds mcphub with the race detector when E2E_RACE is set.
func hubArgs() []string {
	args := plainArgs(version)
	if os.Getenv("E2E_RACE") != "" {
		args = append([]string{"-race"}, args...)
	}
	return args
}

func plainArgs(version string) []string {
	return []string{"-ldflags", "-X main.version=" + version, "./cmd/mcphub"}
}

// HubBinary is the path of mcphub.
func HubBinary(t T) string { t.Helper(); return hubBinary.get(t) }

// OtherHubBinary is the path of mcphub under another version.
func OtherHubBinary(t T) string { t.Helper(); return otherBinary.get(t) }

// FixtureBinary is the path of internal/fixture/mcpfixture, an MCP server that tells what
// reached it.
func FixtureBinary(t T) string { t.Helper(); return fixtureBinary.get(t) }

// EverythingBinary is the path of go-sdk's conformance server.
func EverythingBinary(t T) string { t.Helper(); return everythingBinary.get(t) }
