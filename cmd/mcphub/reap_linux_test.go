package main

import (
	"context"
	"os/exec"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Orphans that fall to this process, as to the first one of a container, are buried; children
// of its own are left to those who started them.
func TestReapOrphans(t *testing.T) {
	adopt := func(yes uintptr) {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, yes, 0, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	adopt(1)
	defer adopt(0)
	const orphans = 5
	for range orphans {
		// The inner shell is left behind by the outer one, and ends when that is gone.
		if err := exec.CommandContext(t.Context(), "sh", "-c", "(sleep 0.2) >/dev/null 2>&1 &").Run(); err != nil {
			t.Fatal(err)
		}
	}
	count := func(want func(int) bool, what string) {
		t.Helper()
		deadline := time.Now().Add(20 * time.Second)
		for n := len(corpses()); !want(n); n = len(corpses()) {
			if time.Now().After(deadline) {
				t.Fatalf("%d dead children, want %s", n, what)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	count(func(n int) bool { return n >= orphans }, "the orphans")

	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { reap(ctx, 100*time.Millisecond) })
	for range 50 {
		if err := exec.CommandContext(t.Context(), "true").Run(); err != nil {
			t.Fatalf("a child of our own: %v", err)
		}
	}
	count(func(n int) bool { return n == 0 }, "none")
}
