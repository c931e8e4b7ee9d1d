package main

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"syscall"
	"time"
)

// reapEvery is the time between two looks for orphans, and so the least time for which a process
// stays dead before it is buried here.
const reapEvery = 5 * time.Second

// reapOrphans buries dead processes that nobody else will, until ctx ends. It returns at once
// unless this process is the first of its container: there, what a server's own children leave
// behind (npx starts a shell, the shell the server) becomes our child, and without a wait for it
// the process table fills.
//
// Our own children are waited for where they were started, within a moment of their end; so
// what is found dead at two looks in a row, and is the same process, is an orphan.
func reapOrphans(ctx context.Context) {
	if os.Getpid() == 1 {
		reap(ctx, reapEvery)
	}
}

// corpse is a dead child: its pid, which may be used again, and when it was started.
type corpse struct {
	pid     int
	started string
}

func reap(ctx context.Context, every time.Duration) {
	again := time.NewTicker(every)
	defer again.Stop()
	seen := map[corpse]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
		found := map[corpse]bool{}
		for _, c := range corpses() {
			if seen[c] {
				_, _ = syscall.Wait4(c.pid, nil, syscall.WNOHANG, nil) // gone already is as good
				continue
			}
			found[c] = true
		}
		seen = found
	}
}

// corpses are the dead children of this process.
func corpses() []corpse {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	names, _ := dir.Readdirnames(-1) // what could be read is what there is
	_ = dir.Close()
	own := []byte(strconv.Itoa(os.Getpid()))
	var dead []corpse
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue // gone meanwhile
		}
		// proc(5): pid (name) state ppid …; the name may hold anything, so look behind its end.
		f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		const state, ppid, started = 0, 1, 19
		if len(f) > started && string(f[state]) == "Z" && bytes.Equal(f[ppid], own) {
			dead = append(dead, corpse{pid, string(f[started])})
		}
	}
	return dead
}
