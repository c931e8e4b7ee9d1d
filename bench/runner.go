package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// runner is a harness.T for a program: the first fatal error ends it, after cleaning up.
type runner struct {
	ctx      context.Context
	cleanups []func()
	failed   bool
}

// stop is what Fatalf throws and withRunner catches.
type stop struct{}

// withRunner runs f and then everything it has left for cleaning up.
func withRunner(ctx context.Context, f func(*runner)) (err error) {
	r := &runner{ctx: ctx}
	defer func() {
		p := recover()
		for i := len(r.cleanups) - 1; i >= 0; i-- {
			r.cleanups[i]()
		}
		if _, ok := p.(stop); p != nil && !ok {
			panic(p)
		}
		if r.failed {
			err = fmt.Errorf("stopped")
		}
	}()
	f(r)
	return nil
}

func (r *runner) Helper()                  {}
func (r *runner) Name() string             { return "bench" }
func (r *runner) Context() context.Context { return r.ctx }
func (r *runner) Failed() bool             { return r.failed }
func (r *runner) Cleanup(f func())         { r.cleanups = append(r.cleanups, f) }

func (r *runner) Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func (r *runner) Errorf(format string, args ...any) {
	r.failed = true
	r.Logf(format, args...)
}

func (r *runner) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	panic(stop{})
}

func (r *runner) TempDir() string {
	dir, err := os.MkdirTemp("", "mcphub-bench-")
	if err != nil {
		r.Fatalf("%v", err)
	}
	r.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// self is the path of this program.
func self(t harness.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatalf("%v", err)
	}
	return exe
}

// waitListening waits until url's port takes connections.
func waitListening(t harness.T, p *harness.Proc, url string) {
	t.Helper()
	harness.Eventually(t, 15*time.Second, p.Name+" listens", func() error {
		if !p.Alive() {
			t.Fatalf("%s ended at start:\n%s", p.Name, p.Log.Tail(20))
		}
		c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err == nil {
			_ = c.Close()
		}
		return err
	})
}
