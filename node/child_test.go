package node

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"
)

func TestRingKeepsTheLastLinesInBounds(t *testing.T) {
	var r ring
	var in strings.Builder
	for i := range 100 {
		fmt.Fprintf(&in, "line %d\r\n\n", i)
	}
	in.WriteString(strings.Repeat("x", 3*ringWidth) + "\nred \x1b[31mtext\tend\xff\nno end")
	r.fill(iotest.HalfReader(strings.NewReader(in.String())))
	all := r.last(ringLines)
	if len(all) != ringLines {
		t.Fatalf("%d lines, want %d", len(all), ringLines)
	}
	if got := r.last(2); got[0] != "red [31mtext end\uFFFD" || got[1] != "no end" {
		t.Errorf("last lines = %q", got)
	}
	if n := len(r.last(3)[0]); n != ringWidth {
		t.Errorf("a long line is kept with %d bytes, want %d", n, ringWidth)
	}
	if got := all[0]; got != "line 39" {
		t.Errorf("oldest line = %q, want \"line 39\"", got)
	}
}

func TestRingsTogetherStayInBounds(t *testing.T) {
	var total atomic.Int64
	rings := make([]ring, 200)
	line := strings.Repeat("x", ringWidth)
	for i := range rings {
		rings[i].total = &total
		for range ringLines {
			rings[i].add(line)
		}
	}
	if got, most := total.Load(), int64(maxRings+len(rings)*ringWidth); got > most {
		t.Errorf("%d rings keep %d bytes together, want at most %d", len(rings), got, most)
	}
	if n := len(rings[0].last(ringLines)); n != ringLines {
		t.Errorf("the first ring keeps %d lines, want %d", n, ringLines)
	}
	if n := len(rings[199].last(ringLines)); n != 1 {
		t.Errorf("the last ring keeps %d lines, want one", n)
	}
	for i := range rings[:100] {
		rings[i].retire()
	}
	for range 5 {
		rings[199].add("more")
	}
	if got := rings[199].last(2); len(got) != 2 || got[0] != "more" {
		t.Errorf("the last ring keeps %.10q, want more than one line now that there is room", got)
	}
	if n := len(rings[0].last(ringLines)); n != ringLines {
		t.Errorf("a retired ring has %d lines, want them readable still", n)
	}
	rings[0].add("late")
	for i := range rings {
		rings[i].retire()
	}
	if got := total.Load(); got != 0 {
		t.Errorf("%d bytes are counted when all rings are retired", got)
	}
}

func TestReadLines(t *testing.T) {
	long := strings.Repeat("y", 200_000)
	in := "one\r\n\ntwo\n" + long + "\nlast"
	var got []string
	err := readLines(iotest.OneByteReader(strings.NewReader(in)), maxLine, func(l []byte) { got = append(got, string(l)) })
	if !errors.Is(err, io.EOF) || strings.Join(got, "|") != "one|two|"+long+"|last" {
		t.Errorf("readLines = %d lines, %v", len(got), err)
	}
	err = readLines(strings.NewReader(long), len(long)-1, func([]byte) { t.Error("a line over the limit was handed out") })
	if !errors.Is(err, errLineTooBig) {
		t.Errorf("readLines over the limit = %v, want errLineTooBig", err)
	}
}

func FuzzReadLines(f *testing.F) {
	f.Add([]byte("a\nb\r\n\nc"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var got []string
		err := readLines(strings.NewReader(string(in)), 64, func(l []byte) {
			if strings.ContainsRune(string(l), '\n') || len(l) == 0 || len(l) > 64 {
				t.Errorf("handed out %q", l)
			}
			got = append(got, string(l))
		})
		if errors.Is(err, errLineTooBig) {
			return
		}
		var want []string
		for l := range strings.SplitSeq(string(in), "\n") {
			if l = strings.TrimSuffix(l, "\r"); l != "" {
				want = append(want, l)
			}
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("lines of %q = %q, want %q", in, got, want)
		}
	})
}

func TestCommandIsFoundInTheChildsPath(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tool"), []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "text"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"PATH=.:relative:/nowhere:" + dir}
	if got, err := lookPath("tool", env); err != nil || got != filepath.Join(dir, "tool") {
		t.Errorf("lookPath(tool) = %q, %v", got, err)
	}
	for _, name := range []string{"text", "other"} {
		if got, err := lookPath(name, env); err == nil {
			t.Errorf("lookPath(%s) = %q, want an error", name, got)
		}
	}
	t.Chdir(dir)
	if got, err := lookPath("tool", []string{"PATH=."}); err == nil {
		t.Errorf("lookPath in the current directory = %q, want an error", got)
	}
	if got, err := lookPath("./tool", nil); err != nil || got != "./tool" {
		t.Errorf("lookPath(./tool) = %q, %v", got, err)
	}
}

func TestChildThatCannotBeExecutedLeavesNothingBehind(t *testing.T) {
	file := filepath.Join(t.TempDir(), "not-a-program")
	if err := os.WriteFile(file, []byte("not a program"), 0o700); err != nil {
		t.Fatal(err)
	}
	before := openFiles(t)
	for range 20 {
		if _, err := startChild(childSpec{command: file}, nil, nil); err == nil {
			t.Fatal("started")
		}
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d open files, %d before", after, before)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

func TestChildDiesWithItsNode(t *testing.T) {
	host := exec.Command(os.Args[0])
	host.Env = []string{"FAKE_SERVER=1", "FAKE_MODE=host"}
	out, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid := pidOf(t, strings.TrimSpace(line))
	if !alive(pid) {
		t.Fatal("the child was not there to begin with")
	}
	if err := host.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = host.Wait()
	eventually(t, "child gone", func() bool { return !alive(pid) })
}

func TestWriteToAChildThatHasExitedNamesTheExit(t *testing.T) {
	for range 20 {
		ended := make(chan error, 1)
		c, err := startChild(childSpec{
			command: os.Args[0], env: []string{"FAKE_SERVER=1", "FAKE_MODE=exit"}, writeTimeout: 30 * time.Second, grace: time.Second,
		}, func([]byte) {}, func(err error) { ended <- err })
		if err != nil {
			t.Fatal(err)
		}
		for err = nil; err == nil; {
			err = c.write([]byte("{}\n"), always)
		}
		if !errors.Is(err, errNotWritten) || err.Error() != "exited with status 3" {
			t.Errorf("write = %v, want the exit status", err)
		}
		if err = c.write([]byte("{}\n"), always); err == nil || err.Error() != "exited with status 3" {
			t.Errorf("the write after it = %v, want the exit status", err)
		}
		if err := <-ended; err.Error() != "exited with status 3" {
			t.Errorf("ended for %v, want the exit status", err)
		}
		c.close()
	}
}
