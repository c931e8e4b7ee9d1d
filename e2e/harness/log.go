package harness

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// Log holds what a process has written. It is safe for concurrent use.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String is everything written so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Count is how many lines contain all of parts.
func (l *Log) Count(parts ...string) int { return len(l.Lines(parts...)) }

// Lines are the lines that contain all of parts.
func (l *Log) Lines(parts ...string) []string {
	var out []string
lines:
	for line := range strings.Lines(l.String()) {
		for _, p := range parts {
			if !strings.Contains(line, p) {
				continue lines
			}
		}
		out = append(out, strings.TrimRight(line, "\n"))
	}
	return out
}

// Tail is the last n lines.
func (l *Log) Tail(n int) string {
	lines := strings.Split(strings.TrimRight(l.String(), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// WaitFor waits until a line contains all of parts.
func (l *Log) WaitFor(t T, limit time.Duration, parts ...string) {
	t.Helper()
	Eventually(t, limit, fmt.Sprintf("a log line with %q", parts), func() error {
		if l.Count(parts...) == 0 {
			return fmt.Errorf("the log ends with:\n%s", l.Tail(15))
		}
		return nil
	})
}

// keep writes the log to $E2E_ARTIFACTS/<test>/<name>.log when that variable is set.
func (l *Log) keep(test, name string) {
	dir := os.Getenv("E2E_ARTIFACTS")
	if dir == "" {
		return
	}
	dir += "/" + strings.NewReplacer("/", "_", " ", "_").Replace(test)
	if os.MkdirAll(dir, 0o755) == nil {
		_ = os.WriteFile(dir+"/"+name+".log", []byte(l.String()), 0o644)
	}
}
