package wire

import (
	"bytes"
	"errors"
	"io"
)

// EventReader splits an event stream into blocks. The Raw bytes of all blocks, one after the
// other, are the stream as it came, without a byte order mark at its start and without an
// unfinished block at its end. It is not safe for concurrent use.
type EventReader struct {
	r   io.Reader
	max int
	err error // final

	buf     []byte // what was read; what was delivered ends at from
	from    int
	joined  []byte // data of several lines, used again
	started bool   // past the place of a byte order mark
	afterCR bool   // the last block ended in CR; an LF right behind belongs to it
}

const (
	readSize = 4 << 10  // size of a fresh buffer
	keepSize = 64 << 10 // a larger buffer is not kept for the next block
)

// NewEventReader returns a reader of blocks of at most maxBytes each from r.
func NewEventReader(r io.Reader, maxBytes int) *EventReader {
	return &EventReader{r: r, max: maxBytes}
}

// Next returns the next block as soon as its blank line is there. Data and Raw belong to the
// reader and hold until the next call; copy what is to last.
//
// At the end of the stream it returns io.EOF, or io.ErrUnexpectedEOF if the stream breaks off
// inside a block, which is never delivered; ErrEventTooLarge for a block over the limit; and
// otherwise the error of the underlying reader. Every error is final.
func (r *EventReader) Next() (Event, error) {
	if r.err != nil {
		return Event{}, r.err
	}
	r.shrink()
	n, err := r.block()
	if err != nil {
		r.err, r.buf, r.joined = err, nil, nil
		return Event{}, err
	}
	raw := r.buf[r.from : r.from+n : r.from+n]
	r.from += n
	e, joined := parseEvent(raw, r.joined)
	r.joined = joined
	return e, nil
}

// Release lets go of all buffers if nothing waits in them, and reports whether it has: before a wait
// that may be long. What Next has delivered last does not hold any more.
func (r *EventReader) Release() bool {
	if r.from < len(r.buf) {
		return false
	}
	r.buf, r.from, r.joined = nil, 0, nil
	return true
}

// block reads until a whole block stands at r.buf[r.from:] and returns its length.
func (r *EventReader) block() (int, error) {
	if err := r.skipBOM(); err != nil {
		return 0, err
	}
	n, err := r.lead()
	if err != nil {
		return 0, err
	}
	lead := n
	for lineStart := true; ; {
		if n > r.max {
			return 0, ErrEventTooLarge
		}
		rest := r.buf[r.from+n:]
		i := lineBreak(rest)
		blank := lineStart && i == 0
		switch {
		case i < 0: // no end of line yet
			lineStart = lineStart && len(rest) == 0
			n += len(rest)
		case rest[i] == '\r' && i+1 == len(rest) && !blank: // an LF may follow
			lineStart = false
			n += i
		default:
			n += i + 1
			if rest[i] == '\r' && i+1 < len(rest) && rest[i+1] == '\n' {
				n++
			} else if blank {
				r.afterCR = rest[i] == '\r' && i+1 == len(rest)
			}
			if blank {
				return n, r.fits(n)
			}
			lineStart = true
			continue
		}
		if err := r.fill(lead); err != nil {
			return 0, err
		}
	}
}

func (r *EventReader) fits(n int) error {
	if n > r.max {
		return ErrEventTooLarge
	}
	return nil
}

// lead returns 1 if an LF belonging to the end of the block before stands at the front.
func (r *EventReader) lead() (int, error) {
	if !r.afterCR {
		return 0, nil
	}
	if r.from == len(r.buf) {
		if err := r.fill(0); err != nil {
			return 0, err
		}
	}
	r.afterCR = false
	if r.buf[r.from] == '\n' {
		return 1, nil
	}
	return 0, nil
}

var bom = []byte("\ufeff")

func (r *EventReader) skipBOM() error {
	for !r.started {
		have := r.buf[r.from:]
		switch {
		case bytes.HasPrefix(have, bom):
			r.from += len(bom)
			r.started = true
		case bytes.HasPrefix(bom, have):
			if err := r.fill(0); err != nil {
				return err
			}
		default:
			r.started = true
		}
	}
	return nil
}

// fill reads more behind what is there. At the end of the stream it tells whether bytes are
// left beyond the first few, which are the end of the block before.
func (r *EventReader) fill(lead int) error {
	r.room()
	for range 100 {
		n, err := r.r.Read(r.buf[len(r.buf):cap(r.buf)])
		r.buf = r.buf[:len(r.buf)+n]
		switch {
		case n > 0:
			return nil // an error that came along comes again
		case errors.Is(err, io.EOF) && len(r.buf)-r.from > lead:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
	return io.ErrNoProgress
}

// room makes the buffer able to take more: from delivered bytes first, then by growing.
func (r *EventReader) room() {
	if len(r.buf) < cap(r.buf) {
		return
	}
	rest := r.buf[r.from:]
	if r.from > 0 && len(rest) <= cap(r.buf)/2 {
		r.buf = r.buf[:copy(r.buf[:cap(r.buf)], rest)]
	} else {
		grown := make([]byte, len(rest), max(readSize, 2*len(rest)))
		copy(grown, rest)
		r.buf = grown
	}
	r.from = 0
}

// shrink forgets what was delivered, and lets go of buffers that a large event left behind.
func (r *EventReader) shrink() {
	rest := r.buf[r.from:]
	if cap(r.joined) > keepSize {
		r.joined = nil
	}
	switch {
	case cap(r.buf) > keepSize && len(rest) < readSize:
		r.buf = append(make([]byte, 0, readSize), rest...)
		r.from = 0
	case len(rest) == 0:
		r.buf, r.from = r.buf[:0], 0
	}
}
