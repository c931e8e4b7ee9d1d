package node

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"
)

const (
	ringLines = 64
	ringWidth = 4 << 10
	// maxRings bounds what the rings of all children of a node keep together. Beyond it each
	// keeps no more than its last line.
	maxRings = 16 << 20
)

// ring keeps the last lines a child wrote to stderr, in bounded memory. It is safe for
// concurrent use.
type ring struct {
	total *atomic.Int64 // bytes in all rings together; nil for none to share with

	mu    sync.Mutex // guards the rest
	lines []string   // the oldest first
	size  int        // bytes in them that count
	gone  bool       // none do any more
}

func (r *ring) add(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
	r.count(len(line))
	for len(r.lines) > ringLines || len(r.lines) > 1 && r.total != nil && r.total.Load() > maxRings {
		r.count(-len(r.lines[0]))
		r.lines = slices.Delete(r.lines, 0, 1)
	}
}

// count adds to what the ring holds. r.mu is held.
func (r *ring) count(n int) {
	if r.total != nil && !r.gone {
		r.size += n
		r.total.Add(int64(n))
	}
}

// retire says that the ring will be forgotten soon: others may have its share.
func (r *ring) retire() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count(-r.size)
	r.gone = true
}

// last returns the n latest lines, oldest first.
func (r *ring) last(n int) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lines[max(0, len(r.lines)-n):])
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
