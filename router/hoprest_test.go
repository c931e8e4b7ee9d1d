//go:build unix

package router

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// watchedSocket notes how often a wait for a socket began, and whether the connection had let go of
// its buffer each time.
type watchedSocket struct {
	syscall.RawConn
	c            *conn
	waits, light int
}

func (w *watchedSocket) Read(f func(fd uintptr) bool) error {
	w.waits++
	if w.c.br == nil {
		w.light++
	}
	return w.RawConn.Read(f)
}

// openQuiet opens a stream at a node that is told over say what to write next, and with an empty
// text to hang up.
func openQuiet(t *testing.T, edit func(*hopConfig)) (a *answer, w *watchedSocket, say chan<- string) {
	t.Helper()
	texts := make(chan string, 4)
	url := rawNode(t, func(_ int, nc net.Conn, br *bufio.Reader) {
		if !readRequest(br) {
			return
		}
		_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
		for text := range texts {
			if _, err := io.WriteString(nc, text); err != nil || text == "" {
				return
			}
		}
	})
	t.Cleanup(func() { close(texts) })
	a, err := testHop(t, edit).send(t.Context(), url, &outgoing{method: http.MethodGet, server: "s", token: "tok", epoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	a.stream()
	w = &watchedSocket{RawConn: a.conn.raw, c: a.conn}
	a.conn.raw = w
	return a, w, texts
}

func readText(t *testing.T, a *answer, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if n, err := io.ReadFull(a, b); err != nil || string(b) != want {
		t.Fatalf("Read() = %q, %v, want %q", b[:n], err, want)
	}
}

func TestQuietStreamHoldsNoBuffer(t *testing.T) {
	a, w, say := openQuiet(t, nil)
	for _, text := range []string{"hello", "again"} {
		was := *w
		go func() { say <- "5\r\n" + text + "\r\n" }()
		a.rest()
		if a.conn.br == nil || w.waits != was.waits+1 || w.light != was.light+1 {
			t.Errorf("%d waits and %d of them without a buffer, want one more each than %d and %d", w.waits, w.light, was.waits, was.light)
		}
		readText(t, a, text)
	}
	// What is there already is not waited for, and nothing of it is lost.
	say <- "3\r\none\r\n3\r\ntwo\r\n"
	a.rest()
	readText(t, a, "one")
	was := w.waits
	a.rest()
	if w.waits != was {
		t.Error("it waits with a chunk in its hands")
	}
	readText(t, a, "two")
	say <- "0\r\n\r\n"
	a.rest()
	if n, err := a.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("Read() at the end = %d, %v, want io.EOF", n, err)
	}
}

func TestWaitForAStreamEnds(t *testing.T) {
	t.Run("when the node hangs up", func(t *testing.T) {
		a, _, say := openQuiet(t, nil)
		say <- ""
		a.rest()
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, errCut) {
			t.Errorf("Read() = %v, want errCut", err)
		}
	})
	t.Run("when it was silent for too long", func(t *testing.T) {
		a, _, _ := openQuiet(t, func(c *hopConfig) { c.StreamIdle = 20 * time.Millisecond })
		a.rest()
		_, err := a.Read(make([]byte, 1))
		if e, ok := errors.AsType[net.Error](err); !errors.Is(err, errCut) || !ok || !e.Timeout() {
			t.Errorf("Read() = %v, want errCut by a timeout", err)
		}
	})
	t.Run("when the connection is dropped", func(t *testing.T) {
		a, _, _ := openQuiet(t, nil)
		go a.conn.abort()
		a.rest()
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, errCut) {
			t.Errorf("Read() = %v, want errCut", err)
		}
	})
}
