package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// Tools of internal/fixture/mcpfixture.
const (
	toolWhoami        = "whoami"        // which node's fixture, as JSON
	toolEchoRaw       = "echo_raw"      // the params as they came
	toolSleep         = "sleep"         // waits ms, with progress every 100 ms
	toolCancellations = "cancellations" // ids that were cancelled
	toolLog           = "log"           // n log messages of a level
	toolBlock         = "ledger"        // notes its key down, then waits ms
	toolExecutions    = "executions"    // how often a key was noted down
)

// ledgers is the folder of the ledgers. It stays until all tests are done: a fixture that notes
// something down between two subtests has to find it.
var ledgers = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "mcphub-e2e-ledger-") })

// ledger is where all fixtures of a test note down what they execute. A subtest uses its test's.
func ledger(t *testing.T) string {
	t.Helper()
	dir, err := ledgers()
	if err != nil {
		t.Fatal(err)
	}
	whole, _, sub := strings.Cut(t.Name(), "/")
	file := filepath.Join(dir, whole)
	if !sub {
		t.Cleanup(func() { _ = os.Remove(file) }) // it may be that nothing was noted down
	}
	return file
}

// fixtureNode is a node with two fixtures that tell its name: "fixture" is a process that
// listens for streamable HTTP and "local" is the node's own child.
func fixtureNode(t *testing.T, id string) harness.NodeOptions {
	t.Helper()
	addr := "127.0.0.1:" + strconv.Itoa(harness.FreePort(t))
	startFixture(t, id, addr)
	return harness.NodeOptions{ID: id, Servers: harness.Servers{
		"fixture": {Type: "streamable-http", URL: "http://" + addr + "/mcp"},
		"local": {Command: harness.FixtureBinary(t), Env: map[string]string{
			"FIXTURE_NAME": id, "FIXTURE_LEDGER": ledger(t),
		}},
	}}
}

// startFixture starts a fixture that listens at addr.
func startFixture(t *testing.T, name, addr string, args ...string) *harness.Proc {
	t.Helper()
	env := []string{"FIXTURE_NAME=" + name, "FIXTURE_LEDGER=" + ledger(t)}
	p := harness.Start(t, "fixture of "+name, env, append([]string{harness.FixtureBinary(t), "-http", addr}, args...)...)
	harness.Eventually(t, 10*time.Second, p.Name+" listens", func() error {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err
	})
	return p
}

// whoami asks a session on one server which node's fixture answers.
func whoami(ctx context.Context, c client) (string, error) {
	text, err := c.Call(ctx, toolWhoami, map[string]any{})
	if err != nil {
		return "", err
	}
	if node := nodeOf(text); node != "" {
		return node, nil
	}
	return "", fmt.Errorf("whoami answered %q", text)
}

// nodeOf reads the answer of whoami.
func nodeOf(text string) string {
	var who struct{ Name string }
	if json.Unmarshal([]byte(text), &who) != nil {
		return ""
	}
	return who.Name
}

// blockArgs are for a call of toolBlock that does not end by itself within the test.
func blockArgs(key string) map[string]any { return map[string]any{"key": key, "ms": 120_000} }

// waitRunning waits until a fixture has noted key down: the call is running.
func waitRunning(t *testing.T, key string) {
	t.Helper()
	harness.Eventually(t, 15*time.Second, "the call "+key+" runs", func() error {
		if n := executions(t, key); n != 1 {
			return fmt.Errorf("executed %d times", n)
		}
		return nil
	})
}

// executions is how often a call of toolBlock with key has begun, on whichever node.
func executions(t *testing.T, key string) int {
	t.Helper()
	b, err := os.ReadFile(ledger(t))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	n, want := 0, strconv.Quote(key)
	for line := range strings.Lines(string(b)) { // not strings.Count: lines that are alike may follow each other
		if strings.TrimSuffix(line, "\n") == want {
			n++
		}
	}
	return n
}
