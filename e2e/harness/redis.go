package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Redis is a real redis-server that one test owns. It keeps nothing on disk: killed and
// started again, it is empty.
type Redis struct {
	*Proc
	Port int

	t T
}

// redisSkip ends the test when there is no redis-server: by a skip with the reason, or by a
// failure if REQUIRE_REDIS is set.
func redisSkip(t T) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err == nil {
		return
	}
	Skip(t, "REQUIRE_REDIS", "no redis-server on PATH (apt-get install redis-server)")
}

// Skip skips the test with a reason on a line of its own, or fails it when the environment
// variable require is set.
func Skip(t T, require, reason string) {
	t.Helper()
	s, ok := t.(interface{ Skipf(string, ...any) })
	if os.Getenv(require) != "" || !ok {
		t.Fatalf("%s is set but: %s", require, reason)
	}
	s.Skipf("SKIPPED: %s", reason)
}

// StartRedis starts a redis-server on a free port and waits for its PONG.
func StartRedis(t T) *Redis {
	t.Helper()
	redisSkip(t)
	r := &Redis{Port: FreePort(t), t: t}
	r.start()
	return r
}

func (r *Redis) start() {
	r.t.Helper()
	r.Proc = Start(r.t, "redis", nil, "redis-server", "--bind", "127.0.0.1", "--port", strconv.Itoa(r.Port),
		"--save", "", "--appendonly", "no", "--dir", r.t.TempDir())
	Eventually(r.t, 10*time.Second, "redis answers PING", func() error {
		out, err := r.cli("PING")
		if err == nil && out != "PONG" {
			err = fmt.Errorf("it answers %q", out)
		}
		return err
	})
}

// URL is what REDIS_URL takes.
func (r *Redis) URL() string { return fmt.Sprintf("redis://127.0.0.1:%d", r.Port) }

// Restart starts it again, empty, on the same port. It must have been killed.
func (r *Redis) Restart() { r.t.Helper(); r.start() }

// Freeze stops the process without ending it: connections stay open and nothing answers.
func (r *Redis) Freeze() { r.Signal(syscall.SIGSTOP) }

// Thaw undoes Freeze.
func (r *Redis) Thaw() { r.Signal(syscall.SIGCONT) }

// CLI runs redis-cli with args and returns what it printed, without the last newline.
func (r *Redis) CLI(args ...string) string {
	r.t.Helper()
	out, err := r.cli(args...)
	if err != nil {
		r.t.Fatalf("redis-cli %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

func (r *Redis) cli(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.t.Context()), 5*time.Second)
	defer cancel()
	args = append([]string{"-h", "127.0.0.1", "-p", strconv.Itoa(r.Port)}, args...)
	out, err := exec.CommandContext(ctx, "redis-cli", args...).CombinedOutput()
	return strings.TrimRight(string(out), "\n"), err
}

// Commands are the calls of each command since the server started (INFO commandstats), without
// those that redis-cli itself makes to ask.
func (r *Redis) Commands() map[string]int {
	r.t.Helper()
	out := map[string]int{}
	for line := range strings.Lines(r.CLI("INFO", "commandstats")) {
		name, rest, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "cmdstat_"), ":calls=")
		if !ok || name == "info" || name == "command|docs" || name == "command" {
			continue
		}
		num, _, _ := strings.Cut(rest, ",")
		out[name], _ = strconv.Atoi(num)
	}
	return out
}
