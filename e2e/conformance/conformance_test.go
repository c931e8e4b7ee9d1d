package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// revision is the frozen set of scenarios that is scored.
const revision = "2025-11-25"

func TestMain(m *testing.M) { os.Exit(harness.Main(m.Run)) }

// chain is one way from the suite to a server and back.
type chain struct {
	name string // in expected.json
	// start starts the server over HTTP and returns its endpoint.
	start func(*testing.T) string
	// behind is the server as the nodes are to reach it; nil is by the endpoint.
	behind func(*testing.T) harness.Server
}

var chains = []chain{
	{"go-sdk over stdio", startGo, func(t *testing.T) harness.Server {
		return harness.Server{Command: harness.EverythingBinary(t)}
	}},
	{"go-sdk over HTTP", startGo, nil},
	{"TypeScript SDK over HTTP", startTypeScript, nil},
}

// The same server, direct and behind a whole fleet: no check may get worse, but for those that
// expected.json names.
func TestThroughTheHubAsDirect(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: starts processes (-short)")
	}
	want := readExpected(t)
	for _, ch := range chains {
		t.Run(ch.name, func(t *testing.T) {
			w, ok := want[ch.name]
			if !ok {
				t.Fatalf("expected.json has no chain %q", ch.name)
			}
			compare(t, ch, w)
		})
		delete(want, ch.name)
	}
	for name := range want {
		t.Errorf("expected.json has a chain %q that is not run", name)
	}
}

func readExpected(t *testing.T) map[string]Expected {
	t.Helper()
	b, err := os.ReadFile("expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]Expected
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&want); err != nil {
		t.Fatalf("expected.json: %v", err)
	}
	return want
}

func compare(t *testing.T, ch chain, want Expected) {
	t.Helper()
	node := harness.Node(t)
	url := ch.start(t)
	direct := run(t, node, url)
	t.Logf("direct: %d checks passed", direct.Passed())

	behind := harness.Server{URL: url}
	if ch.behind != nil {
		behind = ch.behind(t)
	}
	server := harness.Servers{"everything": behind}
	c := harness.StartCluster(t, harness.Options{
		Secret: "a-secret-of-the-tests", // a fleet as it should be run
		Nodes:  []harness.NodeOptions{{ID: "node-1", Servers: server}, {ID: "node-2", Servers: server}},
	})
	hub := run(t, node, c.Front.URL+"/mcp/everything")
	t.Logf("through the hub: %d checks passed; requests to each coordinator: %v", hub.Passed(), c.Front.Counts())
	for _, d := range Differences(direct, hub) {
		t.Logf("differs: %-60s direct %-8s hub %s", d.Check, d.Direct, d.Hub)
	}
	for _, complaint := range want.Compare(direct, hub) {
		t.Error(complaint)
	}
}

// startGo starts go-sdk's everything-server, with sessions.
func startGo(t *testing.T) string {
	t.Helper()
	addr := "127.0.0.1:" + strconv.Itoa(harness.FreePort(t))
	harness.Start(t, "everything-server", nil, harness.EverythingBinary(t), "-http="+addr, "-stateless=false")
	listens(t, addr)
	return "http://" + addr + "/"
}

// startTypeScript starts our own server on the TypeScript SDK v2, with sessions and a store of
// events.
func startTypeScript(t *testing.T) string {
	t.Helper()
	port := strconv.Itoa(harness.FreePort(t))
	node := harness.Node(t)
	harness.Start(t, "everything.mjs", []string{"PORT=" + port}, node, filepath.Join(harness.NPM(), "everything.mjs"))
	listens(t, "127.0.0.1:"+port)
	return "http://127.0.0.1:" + port + "/mcp"
}

func listens(t *testing.T, addr string) {
	t.Helper()
	harness.Eventually(t, 10*time.Second, "the server listens on "+addr, func() error {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err
	})
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
