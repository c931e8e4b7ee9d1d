package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/mcphub-go/mcphub/store"
)

// childServers is mcpServers with one real child process.
func childServers(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`"mcpServers": {"child": {"command": %q, "env": {%q: "1"}}}`, self, childVariable)
}

// ready waits until a hub says that the child can be called.
func (r *running) ready(t *testing.T, url string, nodes int) {
	t.Helper()
	r.until(t, "its servers", func() bool {
		// A node is listed a moment before it has heard that it is registered.
		if !strings.Contains(r.stderr.String(), "registered with coordinator") {
			return false
		}
		if got := command(t, nil, "", "status", "--url", url); got.code != exitOK {
			return false
		}
		got := command(t, nil, "", "nodes", "--active", "-o", "json", "--url", url)
		var list []nodeAnswer
		if err := json.Unmarshal([]byte(got.stdout), &list); err != nil {
			return false
		}
		for _, n := range list {
			if len(n.Servers) == 0 {
				return false
			}
		}
		return len(list) == nodes
	})
}

// callPID calls the child's tool and returns the process that answered.
func callPID(t *testing.T, url string) int {
	t.Helper()
	got := command(t, nil, "", "call", "child-pid", "--url", url)
	pid, err := strconv.Atoi(strings.TrimSpace(got.stdout))
	if got.code != exitOK || err != nil {
		t.Fatalf("call child-pid = %+v", got)
	}
	return pid
}

func TestStandaloneServesAndLeavesNothing(t *testing.T) {
	r := start(t, nil, "--config", writeSettings(t, "{"+childServers(t)+"}"), "--port", "0")
	url := r.url(t)
	r.ready(t, url, 1)
	pid := callPID(t, url)
	if pid == os.Getpid() || syscall.Kill(pid, 0) != nil {
		t.Fatalf("the tool answered from process %d, want a living child", pid)
	}
	if got := command(t, nil, "", "status", "--url", url); got.code != exitOK || !strings.Contains(got.stdout, "standalone") {
		t.Errorf("status = %+v", got)
	}
	if code := r.stop(t); code != exitOK {
		t.Errorf("exit %d", code)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the child %d is still there: %v", pid, err)
	}
	log := r.stderr.String()
	for _, want := range []string{
		"mode=standalone", "address=127.0.0.1:", "redis=embedded", "redis-cli -h 127.0.0.1 -p ", "no admin is configured",
		"Node registered: ", "msg=stopped", // how many servers it had by then depends on how fast they start
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q:\n%s", want, log)
		}
	}
	if strings.Contains(log, "not deregistered") || !strings.Contains(log, "msg=deregistered") {
		t.Errorf("the node did not deregister in time:\n%s", log)
	}
}

func TestStandaloneListensOnLoopbackUnlessTold(t *testing.T) {
	for _, tc := range []struct {
		args, env []string
		want      string
	}{
		{nil, nil, "address=127.0.0.1:"},
		{[]string{"--host", "0.0.0.0"}, nil, "address=[::]:"},
		{nil, []string{"HOST=0.0.0.0"}, "address=[::]:"},
		{[]string{"--host", "127.0.0.1"}, []string{"HOST=0.0.0.0"}, "address=127.0.0.1:"},
	} {
		r := start(t, tc.env, append([]string{"--config", writeSettings(t, "{}"), "--port", "0"}, tc.args...)...)
		r.until(t, "its address", func() bool { return strings.Contains(r.stderr.String(), "mcphub has started") })
		if log := r.stderr.String(); !strings.Contains(log, tc.want) && !strings.Contains(log, strings.Replace(tc.want, "[::]", "0.0.0.0", 1)) {
			t.Errorf("%v %v: want %s:\n%s", tc.args, tc.env, tc.want, log)
		}
		if code := r.stop(t); code != exitOK {
			t.Errorf("exit %d", code)
		}
	}
}

const coordinatorText = `"systemConfig": {"cluster": {"enabled": true, "mode": "coordinator" %s}}`

func coordinatorSettings(t *testing.T, servers, more string) string {
	t.Helper()
	if servers != "" {
		servers += ", "
	}
	return writeSettings(t, "{"+servers+fmt.Sprintf(coordinatorText, more)+"}")
}

func embeddedRedis(t *testing.T) *store.Embedded {
	t.Helper()
	e, err := store.StartEmbedded("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// Two coordinators on one Redis, each with servers of its own, are one hub: each reaches the
// other's node.
func TestCoordinatorsWithServersAreOneHub(t *testing.T) {
	redis := embeddedRedis(t)
	env := []string{"REDIS_URL=" + redis.URL()}
	one := start(t, env, "--config", coordinatorSettings(t, childServers(t), ""), "--port", "0", "--host", "127.0.0.1")
	two := start(t, env, "--config", coordinatorSettings(t, childServers(t), ""), "--port", "0", "--host", "127.0.0.1")
	urls := []string{one.url(t), two.url(t)}
	one.ready(t, urls[0], 2)
	two.ready(t, urls[1], 2)
	for _, url := range urls {
		pids := map[int]bool{}
		for range 200 {
			if pids[callPID(t, url)] = true; len(pids) == 2 {
				break
			}
		}
		if len(pids) != 2 {
			t.Errorf("through %s only %d of 2 nodes answer", url, len(pids))
		}
	}
	if code := one.stop(t); code != exitOK {
		t.Errorf("exit %d", code)
	}
	two.until(t, "one node left", func() bool {
		return strings.Count(command(t, nil, "", "nodes", "--url", urls[1]).stdout, "\n") == 2
	})
	callPID(t, urls[1])
	if code := two.stop(t); code != exitOK {
		t.Errorf("exit %d", code)
	}
}

func TestCoordinatorWithoutRedisWarnsLoudly(t *testing.T) {
	r := start(t, nil, "--config", coordinatorSettings(t, "", ""), "--port", "0", "--host", "127.0.0.1")
	r.url(t)
	if code := r.stop(t); code != exitOK {
		t.Errorf("exit %d", code)
	}
	if log := r.stderr.String(); !strings.Contains(log, "NO REDIS IS CONFIGURED") {
		t.Errorf("no warning:\n%s", log)
	}
}

// A coordinator starts before its Redis: it lives, says that it is not ready, and serves when
// Redis comes, with a secret and without.
func TestCoordinatorStartsBeforeRedis(t *testing.T) {
	for name, secret := range map[string]string{"with a secret": `, "secret": "a-long-random-secret"`, "without": ""} {
		t.Run(name, func(t *testing.T) {
			addr := strings.TrimPrefix(unusedAddress(t), "http://")
			env := []string{"REDIS_URL=redis://" + addr}
			r := start(t, env, "--config", coordinatorSettings(t, childServers(t), secret), "--port", "0", "--host", "127.0.0.1")
			url := r.url(t)
			if got := command(t, nil, "", "status", "--url", url); got.code != exitFailed || !strings.Contains(got.stderr, "is not ready") {
				t.Errorf("status without Redis = %+v", got)
			}
			if status, _, body := rpc(t, url+"/mcp", "", initialize); status != http.StatusServiceUnavailable && secret == "" {
				t.Errorf("initialize without Redis = %d %s, want 503", status, body)
			}
			e, err := store.StartEmbedded(addr)
			if err != nil {
				t.Skip("SKIPPED (the port was taken meanwhile): ", err)
			}
			defer e.Close()
			r.ready(t, url, 1)
			callPID(t, url)
			if code := r.stop(t); code != exitOK {
				t.Errorf("exit %d", code)
			}
		})
	}
}

// A client's session goes on when Redis has lost everything, the agreed key included.
func TestSessionSurvivesAnEmptiedRedis(t *testing.T) {
	cli, err := exec.LookPath("redis-cli")
	if err != nil {
		t.Skip("SKIPPED: ", err)
	}
	redis := embeddedRedis(t)
	more := `, "coordinator": {"nodeTimeout": 3000, "cleanupInterval": 30000}, "node": {"heartbeatInterval": 300}`
	r := start(t, []string{"REDIS_URL=" + redis.URL()}, "--config", coordinatorSettings(t, childServers(t), more), "--port", "0", "--host", "127.0.0.1")
	url := r.url(t)
	r.ready(t, url, 1)
	status, session, body := rpc(t, url+"/mcp/child", "", initialize)
	if status != http.StatusOK {
		t.Fatalf("initialize = %d %s", status, body)
	}
	do := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), cli, append([]string{"-u", redis.URL()}, args...)...).Output() //nolint:gosec // redis-cli
		if err != nil {
			t.Fatalf("redis-cli %v: %v", args, err)
		}
		return strings.TrimSpace(string(out))
	}
	if got := do("get", "mcphub:schema"); got == "" {
		t.Error("a new keyspace was given no schema number")
	}
	do("flushall")
	r.until(t, "the schema number and the node again", func() bool {
		return do("get", "mcphub:schema") != "" && do("exists", "mcphub:{nodes}:index") == "1"
	})
	if status, _, body := rpc(t, url+"/mcp/child", session, `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"pid","arguments":{}}}`); status != http.StatusOK {
		t.Errorf("a call after the flush = %d %s", status, body)
	}
	if code := r.stop(t); code != exitOK {
		t.Errorf("exit %d", code)
	}
	if log := r.stderr.String(); strings.Contains(log, errOtherKey.Error()) {
		t.Errorf("the key changed:\n%s", log)
	}
}

func TestAdminTokenGuardsTheHub(t *testing.T) {
	r := start(t, []string{"MCPHUB_ADMIN_TOKEN=an-admin-token-of-16"}, "--config", writeSettings(t, "{}"), "--port", "0")
	url := r.url(t)
	if got := command(t, nil, "", "nodes", "--url", url); got.code != exitFailed || !strings.Contains(got.stderr, "MCPHUB_ADMIN_TOKEN") {
		t.Errorf("without the token = %+v", got)
	}
	if got := command(t, []string{"MCPHUB_ADMIN_TOKEN=an-admin-token-of-16"}, "", "nodes", "--url", url); got.code != exitOK {
		t.Errorf("with the token = %+v", got)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if status, _ := fetch(t, req); status != http.StatusUnauthorized {
		t.Errorf("the page without the token = %d, want 401", status)
	}
	if code := r.stop(t); code != exitOK {
		t.Errorf("exit %d", code)
	}
	if log := r.stderr.String(); strings.Contains(log, "an-admin-token") || !strings.Contains(log, "admin=token") {
		t.Errorf("the log holds the token, or not the rule:\n%s", log)
	}
}

// An admin of users gives name and password in the address, and sees neither in an error.
func TestUsersOfTheSettingsAreAdmins(t *testing.T) {
	const hash = "$2a$04$WEw09OGaqwR1/JFg6GsujO1hUO/hBoR0nMfwDFlGW5m1J0m5lJ8C6" // of another password
	r := start(t, nil, "--config", writeSettings(t, fmt.Sprintf(`{"users": [{"username": "admin", "password": %q, "isAdmin": true}]}`, hash)), "--port", "0")
	url := r.url(t)
	got := command(t, nil, "", "nodes", "--url", strings.Replace(url, "http://", "http://admin:guessed-it@", 1))
	if got.code != exitFailed || !strings.Contains(got.stderr, "refuses") || strings.Contains(got.stderr, "guessed-it") {
		t.Errorf("a wrong password = %+v", got)
	}
	if code := r.stop(t); code != exitOK {
		t.Errorf("exit %d", code)
	}
}

func TestCoordinatorThatCannotStart(t *testing.T) {
	redis := embeddedRedis(t)
	st, err := store.Open(t.Context(), store.Config{URL: redis.URL()})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		env, args []string
		code      int
		says      string
	}{
		"redis option": {[]string{"REDIS_URL=redis://127.0.0.1:1/?nonsense=1"}, nil, exitUsage, "nonsense"},
		"redis scheme": {[]string{"REDIS_URL=http://user:hunter2@127.0.0.1"}, nil, exitUsage, "redis"},
		"pod address":  {[]string{"POD_IP=here", "REDIS_URL=" + redis.URL()}, nil, exitUsage, "POD_IP"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"--config", coordinatorSettings(t, childServers(t), ""), "--port", "0", "--host", "127.0.0.1"}, tc.args...)
			got := command(t, tc.env, "", args...)
			if got.code != tc.code || !strings.Contains(got.stderr, tc.says) || strings.Contains(got.stderr, "hunter2") {
				t.Errorf("= %+v, want exit %d and %q", got, tc.code, tc.says)
			}
		})
	}
}

func TestMigrate(t *testing.T) {
	redis := embeddedRedis(t)
	env := []string{"REDIS_URL=" + redis.URL()}
	t.Chdir(t.TempDir()) // no settings file
	if got := command(t, env, "", "migrate", "--dry-run"); got.code != exitOK || !strings.Contains(got.stdout, "0001_schema") || !strings.Contains(got.stdout, "dry run") {
		t.Errorf("migrate --dry-run = %+v", got)
	}
	if got := command(t, env, "", "migrate"); got.code != exitOK || !strings.HasSuffix(got.stdout, "Done: 1 of 1.\n") {
		t.Errorf("migrate = %+v; the dry run must have changed nothing", got)
	}
	if got := command(t, env, "", "migrate"); got.code != exitOK || !strings.HasPrefix(got.stdout, "Nothing to do") {
		t.Errorf("migrate again = %+v", got)
	}
	if got := command(t, env, "", "migrate", "-o", "json"); got.code != exitOK || !strings.Contains(got.stdout, `"steps": []`) {
		t.Errorf("migrate -o json = %+v", got)
	}
	if got := command(t, nil, "", "migrate"); got.code != exitUsage || !strings.Contains(got.stderr, "REDIS_URL") {
		t.Errorf("migrate without Redis = %+v", got)
	}
	away := []string{"REDIS_URL=redis://:hunter2@" + strings.TrimPrefix(unusedAddress(t), "http://")}
	if got := command(t, away, "", "migrate"); got.code != exitUnreachable || strings.Contains(got.stderr, "hunter2") || strings.Count(got.stderr, "\n") != 1 {
		t.Errorf("migrate with Redis away = %+v", got)
	}
}

// A release must not touch data that a newer one has written.
func TestNewerDataIsRefused(t *testing.T) {
	redis := embeddedRedis(t)
	cli, err := exec.LookPath("redis-cli")
	if err != nil {
		t.Skip("SKIPPED: ", err)
	}
	if err := exec.CommandContext(t.Context(), cli, "-u", redis.URL(), "set", "mcphub:schema", "9999").Run(); err != nil { //nolint:gosec // redis-cli
		t.Fatal(err)
	}
	env := []string{"REDIS_URL=" + redis.URL()}
	for _, args := range [][]string{
		{"--config", coordinatorSettings(t, "", ""), "--port", "0"},
		{"migrate", "--config", coordinatorSettings(t, "", "")},
	} {
		if got := command(t, env, "", args...); got.code != exitFailed || !strings.Contains(got.stderr, "newer than this release") {
			t.Errorf("%v = %+v, want exit %d", args, got, exitFailed)
		}
	}
}

// The real signals: the first stops in order, the second at once.
func TestSignals(t *testing.T) {
	ctx, stop := untilSignal(context.Background())
	defer stop()
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ctx.Done():
	case <-t.Context().Done():
		t.Fatal("SIGTERM does not end the context")
	}
}

// A coordinator of a fleet that stops says so before it closes its door, and serves meanwhile.
func TestCoordinatorOfAFleetLeavesInOrder(t *testing.T) {
	redis := embeddedRedis(t)
	r := start(t, []string{"REDIS_URL=" + redis.URL()}, "--config", coordinatorSettings(t, childServers(t), ""), "--port", "0", "--host", "127.0.0.1")
	url := r.url(t)
	r.ready(t, url, 1)
	r.cancel()
	r.until(t, "its readiness withdrawn", func() bool { return strings.Contains(r.stderr.String(), "readiness withdrawn") })
	if got := command(t, nil, "", "status", "--url", url); got.code != exitFailed || !strings.Contains(got.stderr, "is stopping") {
		t.Errorf("status of a coordinator that is stopping = %+v", got)
	}
	callPID(t, url)
	if code := r.wait(t); code != exitOK {
		t.Errorf("exit %d", code)
	}
}

func TestGOGCInTheEnvironmentWins(t *testing.T) {
	before := debug.SetGCPercent(150)
	defer debug.SetGCPercent(before)
	for said, want := range map[string]int{"150": 150, "": gcPercent} {
		debug.SetGCPercent(150)
		collectLessOften(func(string) string { return said })
		if got := debug.SetGCPercent(150); got != want {
			t.Errorf("with GOGC=%q the heap grows by %d %%, want %d", said, got, want)
		}
	}
}
