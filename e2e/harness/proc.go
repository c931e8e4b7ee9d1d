package harness

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// marker is the environment variable that everything started in this run carries: processes
// started here, and, through the settings, the children of nodes.
const marker = "MCPHUB_E2E_RUN"

// runID is the marker's value: this run of the harness.
var runID = rand.Text()

// MarkerEnv is the marker for the env of a server in a settings file.
func MarkerEnv() (name, value string) { return marker, runID }

// stopLimit is how long a process may take to end after SIGTERM. Drains are bounded by the
// product at less.
const stopLimit = 20 * time.Second

// Proc is a process that the harness has started. Its methods are safe for concurrent use.
type Proc struct {
	Name string
	Log  *Log

	cmd  *exec.Cmd
	done chan struct{} // closed once the process has been waited for
	err  error         // what Wait said; set before done is closed

	once sync.Once
}

// Start runs argv with exactly the environment given (plus PATH, HOME and the marker), and
// kills it when the test ends. What it writes is kept in Log and shown if the test fails.
func Start(t T, name string, env []string, argv ...string) *Proc {
	t.Helper()
	p := &Proc{Name: name, Log: &Log{}, done: make(chan struct{})}
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.TempDir(), marker + "=" + runID,
	}, env...)
	p.cmd.Stdout, p.cmd.Stderr = p.Log, p.Log
	p.cmd.Dir = t.TempDir()
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// A grandchild that holds the pipe must not keep Wait from returning.
	p.cmd.WaitDelay = 2 * time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Kill()
		p.Log.keep(t.Name(), name)
		for _, bad := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: "} {
			if p.Log.Count(bad) > 0 {
				t.Errorf("%s wrote %q:\n%s", name, bad, p.Log.Tail(80))
			}
		}
		if t.Failed() {
			t.Logf("--- %s, last lines:\n%s", name, p.Log.Tail(60))
		}
	})
	return p
}

// Pid is the process's id, valid also after its end.
func (p *Proc) Pid() int { return p.cmd.Process.Pid }

// Signal sends sig and does not wait.
func (p *Proc) Signal(sig syscall.Signal) { _ = p.cmd.Process.Signal(sig) }

// Kill ends the process by SIGKILL and returns once it is gone.
func (p *Proc) Kill() {
	p.once.Do(func() { _ = p.cmd.Process.Kill() })
	<-p.done
}

// Done is closed once the process has ended.
func (p *Proc) Done() <-chan struct{} { return p.done }

// Alive reports whether the process has not ended.
func (p *Proc) Alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Exit waits up to limit for the end and returns the exit code, or -1 for a signal.
func (p *Proc) Exit(limit time.Duration) (int, error) {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-time.After(limit):
		return 0, fmt.Errorf("%s is still running after %v", p.Name, limit)
	}
}

// Stop sends SIGTERM, waits for the end and returns an error unless the exit code is 0.
func (p *Proc) Stop() error {
	p.Signal(syscall.SIGTERM)
	code, err := p.Exit(stopLimit)
	if err == nil && code != 0 {
		err = fmt.Errorf("%s ended with code %d after SIGTERM: %w", p.Name, code, p.err)
	}
	return err
}

// CPU is the user and system time the process has used, to 10 ms. It is zero once it ended.
func (p *Proc) CPU() time.Duration { return CPUOf(p.Pid()) }

// CPUOf is the user and system time that the process pid has used, to 10 ms.
func CPUOf(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The second field is the name in parentheses and may hold anything.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// RSS is the resident memory of the process in bytes, or 0 once it has ended.
func (p *Proc) RSS() int64 { return RSSOf(p.Pid()) }

// RSSOf is the resident memory of the process pid in bytes.
func RSSOf(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	pages, _ := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// Descendants are the ids of the processes below pid.
func Descendants(pid int) []int {
	var out []int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range tasks {
		b, _ := os.ReadFile(f)
		for _, s := range strings.Fields(string(b)) {
			if child, err := strconv.Atoi(s); err == nil {
				out = append(append(out, child), Descendants(child)...)
			}
		}
	}
	return out
}

// Exists reports whether a process pid is there and is not a zombie.
func Exists(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	rest := string(b[strings.LastIndexByte(string(b), ')')+1:])
	return !strings.HasPrefix(strings.TrimSpace(rest), "Z")
}

// Leftovers are the processes, apart from this one, that carry this run's marker: one line
// each with id and command.
func Leftovers() []string {
	var out []string
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(d))
		env, err := os.ReadFile(d + "/environ")
		if err != nil || !strings.Contains(string(env), marker+"="+runID) || !Exists(pid) {
			continue
		}
		cmdline, _ := os.ReadFile(d + "/cmdline")
		out = append(out, fmt.Sprintf("%d %s", pid, strings.ReplaceAll(strings.TrimRight(string(cmdline), "\x00"), "\x00", " ")))
	}
	return out
}

// NoLeftovers fails the test if a process of this run is still there after limit.
func NoLeftovers(t T, limit time.Duration) {
	t.Helper()
	Eventually(t, limit, "every process of the run is gone", func() error {
		if left := Leftovers(); len(left) > 0 {
			return errors.New("still there: " + strings.Join(left, "; "))
		}
		return nil
	})
}
