package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Root is the folder of the module.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Binaries are what Build has built, by absolute path.
type Binaries struct {
	Hub        string // mcphub
	Fixture    string // internal/fixture/mcpfixture: an MCP server that tells what reached it
	Everything string // go-sdk's conformance server
}

// Bin is set by the TestMain of each package that starts processes.
var Bin Binaries

// Build builds everything into dir. With E2E_RACE set, mcphub is built with the race detector.
func Build(ctx context.Context, dir string) (Binaries, error) {
	b := Binaries{
		Hub:        filepath.Join(dir, "mcphub"),
		Fixture:    filepath.Join(dir, "mcpfixture"),
		Everything: filepath.Join(dir, "everything-server"),
	}
	hub := []string{"-ldflags", "-X main.version=e2e", "-o", b.Hub, "./cmd/mcphub"}
	if os.Getenv("E2E_RACE") != "" {
		hub = append([]string{"-race"}, hub...)
	}
	for _, args := range [][]string{
		hub,
		{"-o", b.Fixture, "./internal/fixture/mcpfixture"},
		{"-o", b.Everything, "github.com/modelcontextprotocol/go-sdk/conformance/everything-server"},
	} {
		cmd := exec.CommandContext(ctx, "go", append([]string{"build"}, args...)...)
		cmd.Dir = Root()
		if out, err := cmd.CombinedOutput(); err != nil {
			return b, fmt.Errorf("go build %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return b, nil
}
