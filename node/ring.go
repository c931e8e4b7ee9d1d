package node

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"sync"
	"unicode"
)

const (
	ringLines = 64
	ringWidth = 4 << 10
)

// ring keeps the last lines a child wrote to stderr, in bounded memory. It is safe for
// concurrent use.
type ring struct {
	mu    sync.Mutex // guards the rest
	lines [ringLines]string
	next  int
	full  bool
}

func (r *ring) add(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines[r.next] = line
	r.next++
	if r.next == ringLines {
		r.next, r.full = 0, true
	}
}

// last returns the n latest lines, oldest first.
func (r *ring) last(n int) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	if r.full {
		all = append(all, r.lines[r.next:]...)
	}
	all = append(all, r.lines[:r.next]...)
	return all[max(0, len(all)-n):]
}

// fill reads lines until the reader ends. What a line has beyond ringWidth is dropped.
func (r *ring) fill(from io.Reader) {
	buf := bufio.NewReaderSize(from, ringWidth)
	for {
		line, err := buf.ReadSlice('\n')
		text := printable(string(line))
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = buf.ReadSlice('\n')
		}
		if text != "" {
			r.add(text)
		}
		if err != nil {
			return
		}
	}
}

// printable makes a line fit to be shown: valid UTF-8 without control characters.
func printable(s string) string {
	s = strings.ToValidUTF8(strings.TrimRight(s, "\r\n"), "\uFFFD")
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, s)
}
