package node

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// maxLine bounds one line of a child's stdout, and one answer of an HTTP server.
	maxLine = 8 << 20
	// drainPipes is how long, after a child has exited, its pipes are read on: what it wrote
	// before is still in them, and what it left behind may hold them open for ever.
	drainPipes = 250 * time.Millisecond
)

var (
	errNotWritten = errors.New("nothing was written to the server")
	errLineTooBig = fmt.Errorf("wrote a line of over %d MiB", maxLine>>20)
)

// unwritten is an error after which certainly no byte has reached the child; it is errNotWritten.
type unwritten struct{ error }

func (unwritten) Is(target error) bool { return target == errNotWritten }

// childSpec is a process to be started.
type childSpec struct {
	command      string
	args         []string
	env          []string
	writeTimeout time.Duration
	grace        time.Duration
	tails        *atomic.Int64 // see ring.total
}

// child is one process in a process group of its own, with pipes of ours. It is safe for
// concurrent use.
type child struct {
	spec   childSpec
	cmd    *exec.Cmd
	stdin  *os.File
	stdout *os.File
	stderr *os.File
	tail   ring

	wmu    sync.Mutex // serialises writes to stdin
	broken bool       // a write went wrong, so nothing may follow; guarded by wmu
	ending atomic.Bool

	exited  chan struct{} // the process has been reaped; exit is set
	exit    error
	readers sync.WaitGroup
	done    chan struct{} // and its group killed, pipes closed, readers gone
	stop    sync.Once
}

// startChild starts the process and hands each line it writes to stdout to onLine, without
// its line end, valid until onLine returns. When stdout ends, onEnd is called once with the
// reason. Both are called by one goroutine, which is part of what close waits for.
func startChild(spec childSpec, onLine func([]byte), onEnd func(error)) (*child, error) {
	path, err := lookPath(spec.command, spec.env)
	if err != nil {
		return nil, err
	}
	c := &child{spec: spec, tail: ring{total: spec.tails}, exited: make(chan struct{}), done: make(chan struct{})}
	theirs, err := c.pipes()
	if err != nil {
		return nil, err
	}
	c.cmd = &exec.Cmd{
		Path: path, Args: append([]string{spec.command}, spec.args...), Env: spec.env,
		Stdin: theirs[0], Stdout: theirs[1], Stderr: theirs[2],
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	}
	if c.cmd.Env == nil {
		c.cmd.Env = []string{} // nil would mean ours
	}
	started := make(chan error)
	go c.live(started)
	err = <-started
	closeAll(theirs...)
	if err != nil {
		closeAll(c.stdin, c.stdout, c.stderr)
		return nil, fmt.Errorf("start %s: %w", spec.command, err)
	}
	c.readers.Go(func() { c.tail.fill(c.stderr) })
	c.readers.Go(func() { c.read(onLine, onEnd) })
	go c.finish()
	return c, nil
}

// pipes opens the three pipes, keeps our ends and returns theirs.
func (c *child) pipes() (theirs []*os.File, err error) {
	var all []*os.File
	for range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(all...)
			return nil, err
		}
		all = append(all, r, w)
	}
	c.stdin, c.stdout, c.stderr = all[1], all[2], all[4]
	return []*os.File{all[0], all[3], all[5]}, nil
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// live is the life of the process. The kernel sends Pdeathsig when the *thread* that started
// the child ends, so this goroutine keeps its thread for as long as the child lives.
func (c *child) live(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := c.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	c.exit = exitReason(c.cmd.Wait())
	close(c.exited)
}

// finish clears up behind the process: whatever is left of its group is killed, and a
// descendant that left the group and holds a pipe cannot keep the readers.
func (c *child) finish() {
	<-c.exited
	_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
	read := make(chan struct{})
	go func() { c.readers.Wait(); close(read) }()
	t := time.NewTimer(drainPipes)
	defer t.Stop()
	select {
	case <-read:
	case <-t.C:
	}
	closeAll(c.stdin, c.stdout, c.stderr)
	<-read
	c.tail.retire()
	close(c.done)
}

func exitReason(err error) error {
	if err == nil {
		return errors.New("exited with status 0")
	}
	var e *exec.ExitError
	if errors.As(err, &e) {
		return errors.New(strings.Replace(e.Error(), "exit status", "exited with status", 1))
	}
	return err
}

// read hands out the lines of stdout. A line that fits the buffer is not copied.
func (c *child) read(onLine func([]byte), onEnd func(error)) {
	err := readLines(c.stdout, maxLine, onLine)
	if errors.Is(err, errLineTooBig) {
		onEnd(err)
		c.signal(syscall.SIGKILL)
		return
	}
	// The exit says more than the end of the pipe, and comes at the same moment.
	t := time.NewTimer(drainPipes)
	defer t.Stop()
	select {
	case <-c.exited:
		onEnd(c.exit)
	case <-t.C:
		onEnd(errors.New("closed its stdout"))
	}
}

// write sends one line, which must end in LF, if allowed says nil right before. It returns
// errNotWritten if certainly no byte of it has reached the child. After that, or any other
// error but one of allowed, the child can be told nothing more and is to be killed.
func (c *child) write(line []byte, allowed func() error) error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if err := c.stdin.SetWriteDeadline(time.Now().Add(c.spec.writeTimeout)); err != nil {
		return unwritten{c.why(err)}
	}
	if c.broken || c.ending.Load() { // after the deadline is set, which close would cut
		select {
		case <-c.exited:
			return unwritten{c.exit}
		default:
			return unwritten{errors.New("has its stdin closed")}
		}
	}
	if err := allowed(); err != nil {
		return err
	}
	n, err := c.stdin.Write(line)
	if err == nil {
		return nil
	}
	c.broken = true
	err = c.why(err)
	if n == 0 {
		return unwritten{err}
	}
	return err
}

// why explains an error of a write.
func (c *child) why(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("did not read its stdin for %s", c.spec.writeTimeout)
	case c.waited(drainPipes): // the pipe broke because it has exited, which says more
		return c.exit
	default:
		return errors.New("closed its stdin")
	}
}

// close ends the process the way MCP asks for (2025-11-25, Lifecycle, Shutdown): close stdin,
// wait, SIGTERM, wait, SIGKILL, the signals to its whole group. It returns when nothing of it
// is left, and is safe to call twice.
func (c *child) close() {
	c.stop.Do(func() {
		c.ending.Store(true)
		_ = c.stdin.SetWriteDeadline(time.Now()) // frees a writer, and with it the lock
		c.wmu.Lock()
		c.broken = true
		c.wmu.Unlock()
		_ = c.stdin.Close()
		if c.waited(c.spec.grace) {
			return
		}
		c.signal(syscall.SIGTERM)
		if c.waited(c.spec.grace) {
			return
		}
		c.signal(syscall.SIGKILL)
	})
	<-c.done
}

func (c *child) waited(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c.exited:
		return true
	case <-t.C:
		return false
	}
}

// kill ends the process group at once, without waiting.
func (c *child) kill() { c.signal(syscall.SIGKILL) }

// signal goes to the process group, whose id is that of the process, while that id is ours.
func (c *child) signal(sig syscall.Signal) {
	select {
	case <-c.exited:
	default:
		_ = syscall.Kill(-c.cmd.Process.Pid, sig)
	}
}

// lookPath finds a command as a shell would with the child's own PATH, but never in the
// current directory.
func lookPath(command string, env []string) (string, error) {
	if strings.ContainsRune(command, '/') {
		return command, nil
	}
	var path string
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			path = v
		}
	}
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue
		}
		file := filepath.Join(dir, command)
		if info, err := os.Stat(file); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("command %q: not found in PATH", command)
}
