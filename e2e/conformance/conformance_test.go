package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// revision is the frozen set of scenarios that is scored.
const revision = "2025-11-25"

func TestMain(m *testing.M) { os.Exit(harness.Main(m.Run)) }

// The same server, direct over its own HTTP and over stdio behind a whole fleet: no check may
// get worse, but for those that expected.json names.
func TestThroughTheHubAsDirect(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: starts processes (-short)")
	}
	node := harness.Node(t)
	direct := run(t, node, startDirect(t))
	t.Logf("direct: %d checks passed", direct.Passed())

	server := harness.Servers{"everything": {Command: harness.EverythingBinary(t)}}
	c := harness.StartCluster(t, harness.Options{
		Secret: "a-secret-of-the-tests", // a fleet as it should be run
		Nodes:  []harness.NodeOptions{{ID: "node-1", Servers: server}, {ID: "node-2", Servers: server}},
	})
	hub := run(t, node, c.Front.URL+"/mcp/everything")
	t.Logf("through the hub: %d checks passed; requests to each coordinator: %v", hub.Passed(), c.Front.Counts())

	b, err := os.ReadFile("expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var want Expected
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&want); err != nil {
		t.Fatalf("expected.json: %v", err)
	}
	for _, d := range Differences(direct, hub) {
		t.Logf("differs: %-60s direct %-8s hub %s", d.Check, d.Direct, d.Hub)
	}
	for _, complaint := range want.Compare(direct, hub) {
		t.Error(complaint)
	}
}

// startDirect starts the fixture over HTTP with sessions and returns its endpoint.
func startDirect(t *testing.T) string {
	t.Helper()
	addr := "127.0.0.1:" + strconv.Itoa(harness.FreePort(t))
	harness.Start(t, "everything-server", nil, harness.EverythingBinary(t), "-http="+addr, "-stateless=false")
	harness.Eventually(t, 10*time.Second, "everything-server listens", func() error {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err
	})
	return "http://" + addr + "/"
}

// run runs the suite against url. Its exit code is not looked at, nor its ticks: a scenario
// may print one without having checked anything. What counts is the checks.
func run(t *testing.T, node, url string) Verdicts {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dir := t.TempDir()
	out, _ := exec.CommandContext(ctx, node, harness.Script(t, "@modelcontextprotocol/conformance", "conformance"),
		"server", "--url", url, "--requirements", revision, "-o", dir).CombinedOutput()
	v, err := ReadVerdicts(dir)
	if err != nil || ctx.Err() != nil {
		t.Fatalf("conformance against %s: %v %v\n%s", url, err, ctx.Err(), out)
	}
	if i := bytes.Index(out, []byte("=== SUMMARY")); i >= 0 && v.Passed() != len(v) {
		t.Logf("conformance against %s:\n%s", url, out[i:])
	}
	return v
}
