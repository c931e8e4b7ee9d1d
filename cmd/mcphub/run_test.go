package main

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "rewrite testdata/*.golden")

// noon is the clock of tests whose output shows ages.
var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// childVariable makes the test binary an MCP server over stdio, for tests that need a child.
const childVariable = "MCPHUB_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		beChild()
		return
	}
	goleak.VerifyTestMain(m)
}

// beChild serves one tool, pid, until stdin ends.
func beChild() {
	s := mcpserver.NewMCPServer("child", "1")
	s.AddTool(mcp.NewTool("pid"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText(strconv.Itoa(os.Getpid())), nil
	})
	if err := mcpserver.ServeStdio(s); err != nil {
		os.Exit(1)
	}
}

// outcome is what one command line did.
type outcome struct {
	code           int
	stdout, stderr string
}

// command runs one command line with the given environment (KEY=value) to its end.
func command(t *testing.T, env []string, stdin string, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	a := &app{getenv: environment(env), stdin: strings.NewReader(stdin), stdout: &stdout, stderr: &stderr, now: func() time.Time { return noon }}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	code := a.run(ctx, args)
	return outcome{code, stdout.String(), stderr.String()}
}

func environment(env []string) func(string) string {
	return func(name string) string {
		for _, kv := range env {
			if v, ok := strings.CutPrefix(kv, name+"="); ok {
				return v
			}
		}
		return ""
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file) //nolint:gosec // a name of this test
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("output differs from %s:\n%s", file, got)
	}
}

// syncBuffer is a buffer that a running command writes and a test reads.
type syncBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// running is a command that goes on until it is told to stop.
type running struct {
	stdout, stderr syncBuffer
	cancel         context.CancelFunc
	exit           chan int
}

// start begins a command that serves; it is stopped with the test at the latest.
func start(t *testing.T, env []string, args ...string) *running {
	t.Helper()
	r := &running{exit: make(chan int, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() { r.exit <- run(ctx, args, environment(env), strings.NewReader(""), &r.stdout, &r.stderr) }()
	t.Cleanup(func() {
		cancel()
		if len(r.exit) == 0 && t.Failed() {
			t.Logf("stderr:\n%s", r.stderr.String())
		}
	})
	return r
}

// stop tells the command to stop and returns its exit code.
func (r *running) stop(t *testing.T) int {
	t.Helper()
	r.cancel()
	return r.wait(t)
}

// wait waits for the command's own end.
func (r *running) wait(t *testing.T) int {
	t.Helper()
	select {
	case code := <-r.exit:
		r.exit <- code
		return code
	case <-time.After(30 * time.Second):
		t.Fatalf("the command does not end; stderr:\n%s", r.stderr.String())
		return -1
	}
}

// until polls a condition against a deadline.
func (r *running) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		select {
		case code := <-r.exit:
			r.exit <- code
			t.Fatalf("the command ended with %d before %s; stderr:\n%s", code, what, r.stderr.String())
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("no sign of %s; stdout:\n%s\nstderr:\n%s", what, r.stdout.String(), r.stderr.String())
		}
	}
}

var loggedAddress = regexp.MustCompile(`mcphub has started.* address=\S*:(\d+)`)

// url waits for the address in the log and returns it for use on this machine.
func (r *running) url(t *testing.T) string {
	t.Helper()
	r.until(t, "its address", func() bool { return loggedAddress.MatchString(r.stderr.String()) })
	return "http://127.0.0.1:" + loggedAddress.FindStringSubmatch(r.stderr.String())[1]
}

// writeSettings writes a settings file of the test's own.
func writeSettings(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "mcp_settings.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Every mistake on the command line is one sentence on stderr, exit code 2, and nothing on
// stdout.
func TestWrongUsage(t *testing.T) {
	tests := map[string]struct {
		args []string
		says string
	}{
		"unknown command":      {[]string{"nods"}, `unknown command "nods"`},
		"suggestion":           {[]string{"nods"}, "nodes"},
		"unknown flag":         {[]string{"nodes", "--colour"}, "unknown flag: --colour"},
		"flag without value":   {[]string{"nodes", "--url"}, "flag needs an argument"},
		"output":               {[]string{"nodes", "-o", "yaml"}, "want table or json"},
		"url without scheme":   {[]string{"status", "--url", "localhost:3000"}, "not the address of a hub"},
		"url of another kind":  {[]string{"status", "--url", "ftp://x"}, "not the address of a hub"},
		"too many arguments":   {[]string{"status", "now"}, "unknown command"},
		"too many names":       {[]string{"servers", "a", "b"}, "accepts at most 1 arg"},
		"call without a tool":  {[]string{"call"}, "requires at least 1 arg"},
		"argument not a pair":  {[]string{"call", "t", "x"}, "neither key=value nor a JSON object"},
		"argument without key": {[]string{"call", "t", "=x"}, "neither key=value nor a JSON object"},
		"argument twice":       {[]string{"call", "t", "x=1", "x=2"}, "argument x is given twice"},
		"broken JSON":          {[]string{"call", "t", `{"x":`}, "not a JSON object"},
		"JSON of another kind": {[]string{"call", "t", "-"}, "not a JSON object"},
		"limit":                {[]string{"sessions", "--limit", "0"}, "want at least 1"},
		"limit not a number":   {[]string{"sessions", "--limit", "many"}, "invalid argument"},
		"session without id":   {[]string{"sessions", "end"}, "accepts 1 arg"},
		"tools bad url":        {[]string{"tools", "--url", "::"}, "not the address of a hub"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := command(t, nil, "[1,2]", tc.args...)
			if got.code != exitUsage {
				t.Errorf("mcphub %s exits %d, want %d", strings.Join(tc.args, " "), got.code, exitUsage)
			}
			if !strings.Contains(got.stderr, tc.says) || !strings.HasPrefix(got.stderr, "mcphub: ") {
				t.Errorf("stderr = %q, want it to say %q", got.stderr, tc.says)
			}
			if got.stdout != "" {
				t.Errorf("stdout = %q, want nothing", got.stdout)
			}
			if n := strings.Count(strings.TrimSpace(got.stderr), "\n"); n > 1 {
				t.Errorf("stderr has %d lines, want a sentence and at most a hint:\n%s", n+1, got.stderr)
			}
		})
	}
}

func TestHelpOfEveryCommandNamesTheExitCodes(t *testing.T) {
	a := &app{getenv: environment(nil)}
	for _, cmd := range a.rootCommand().Commands() {
		name := cmd.Name()
		got := command(t, nil, "", name, "--help")
		if got.code != exitOK || got.stdout == "" || got.stderr != "" {
			t.Errorf("mcphub %s --help: exit %d, %d bytes of help, stderr %q", name, got.code, len(got.stdout), got.stderr)
		}
		if name != "completion" && name != "help" && name != "version" && !strings.Contains(got.stdout, "Exit codes:") {
			t.Errorf("mcphub %s --help does not explain the exit codes", name)
		}
	}
}

func TestVersion(t *testing.T) {
	defer func(v string) { version = v }(version)
	version = "v1.2.3"
	if got := command(t, nil, "", "version"); got.stdout != "mcphub v1.2.3\n" || got.code != exitOK {
		t.Errorf("version = %+v", got)
	}
	if got := command(t, nil, "", "version", "-o", "json"); got.stdout != "{\n  \"version\": \"v1.2.3\"\n}\n" {
		t.Errorf("version -o json = %q", got.stdout)
	}
	version = ""
	if got := command(t, nil, "", "version"); got.stdout == "mcphub \n" {
		t.Error("a binary built without a version calls itself nothing")
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if got := command(t, nil, "", "completion", shell); got.code != exitOK || !strings.Contains(got.stdout, "mcphub") {
			t.Errorf("completion %s: exit %d, %d bytes", shell, got.code, len(got.stdout))
		}
	}
	if got := command(t, nil, "", "__complete", "nodes", "-o", ""); !strings.Contains(got.stdout, "table\njson\n") {
		t.Errorf("completion of -o = %q", got.stdout)
	}
}

// A table's cells come from strangers: none may move the cursor or forge a row.
func TestTablesArePlain(t *testing.T) {
	var out bytes.Buffer
	a := &app{stdout: &out}
	tab := table{head: []string{"A", "B"}}
	tab.add("x\x1b[2J\r\ny\tz\u202e", "")
	if err := a.printTable(tab, ""); err != nil {
		t.Fatal(err)
	}
	if want := "A            B\nx [2J  y z   -\n"; out.String() != want {
		t.Errorf("table = %q, want %q", out.String(), want)
	}
	if got := plainText("a\x1b[31m\n\tb"); got != "a [31m\n\tb" {
		t.Errorf("plainText = %q", got)
	}
}

func TestAgo(t *testing.T) {
	a := &app{now: func() time.Time { return noon }}
	for d, want := range map[time.Duration]string{
		-time.Minute: "now", 0: "now", 5 * time.Second: "5s", 61 * time.Second: "1m", 192 * time.Minute: "3h12m", 98 * time.Hour: "4d02h",
	} {
		if got := a.ago(noon.Add(-d).UnixMilli()); got != want {
			t.Errorf("ago(%s) = %q, want %q", d, got, want)
		}
	}
	if got := a.ago(0); got != "-" {
		t.Errorf("ago of no time = %q", got)
	}
}
