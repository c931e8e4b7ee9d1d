package router

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/mcphub-go/mcphub/internal/telemetry"
	"github.com/mcphub-go/mcphub/internal/wire"
)

// Errors of reading an answer.
var (
	errCut     = errors.New("the answer broke off")
	errFraming = errors.New("the answer is not well-formed HTTP/1.1")
)

// answer is a node's answer: its head, of which only what is listed here is kept, and its body
// to be read. It belongs to one goroutine.
type answer struct {
	status       int
	contentType  string
	cacheControl string
	accel        string // X-Accel-Buffering
	retryAfter   string
	refused      string // wire.HeaderRefused
	sessions     int    // wire.HeaderSessions; -1 if absent

	span    *telemetry.Span // of the request; it ends with the answer
	conn    *conn
	keep    bool  // the connection may be used again once the body was read
	chunked bool  // left counts within the current chunk
	tail    bool  // the line break after a chunk's data is still to be read
	left    int64 // bytes of body to come
	ended   bool  // the body was read to its end
	err     error
	extend  time.Time // when the read deadline was last moved; zero if it stays
	seen    uint8     // headers seen that may come only once
}

const (
	seenLength = 1 << iota
	seenEncoding
	seenType
	seenRefused
	seenSessions
)

// maxInterim bounds the 1xx answers before the real one.
const maxInterim = 4

// readAnswer reads the head. Strict: what could be read in two ways is refused.
func (c *conn) readAnswer() (*answer, error) {
	a := &answer{conn: c, sessions: -1, keep: true}
	room := headLimit
	for range maxInterim {
		if err := a.readHead(&room); err != nil {
			return nil, err
		}
		if a.status >= 200 {
			return a, a.framing()
		}
		if a.status == 101 || a.seen != 0 {
			return nil, fmt.Errorf("%w: interim status %d", errFraming, a.status)
		}
	}
	return nil, fmt.Errorf("%w: too many interim answers", errFraming)
}

func (a *answer) readHead(room *int) error {
	line, err := readLine(a.conn.br, room)
	if err != nil {
		return err
	}
	// "HTTP/1.1 200 OK", and "HTTP/1.1 200 " or "HTTP/1.1 200" without a phrase
	const version = "HTTP/1.1 "
	if len(line) < len(version)+3 || string(line[:len(version)]) != version || (len(line) > len(version)+3 && line[len(version)+3] != ' ') {
		return fmt.Errorf("%w: status line", errFraming)
	}
	status, ok := digits(line[len(version) : len(version)+3])
	if !ok || status < 100 {
		return fmt.Errorf("%w: status", errFraming)
	}
	a.status = int(status)
	for {
		line, err := readLine(a.conn.br, room)
		if err != nil {
			return err
		}
		if len(line) == 0 {
			return nil
		}
		if err := a.field(line); err != nil {
			return err
		}
	}
}

// field reads one header line.
func (a *answer) field(line []byte) error {
	name, value, ok := bytes.Cut(line, []byte{':'})
	if !ok || !wire.IsToken(name) {
		return fmt.Errorf("%w: header name", errFraming)
	}
	value = bytes.Trim(value, " \t")
	for _, c := range value {
		if !fieldByte(c) {
			return fmt.Errorf("%w: header value", errFraming)
		}
	}
	switch {
	case is(name, "Content-Length"):
		n, ok := digits(value)
		a.left = n
		return a.once(seenLength, ok)
	case is(name, "Transfer-Encoding"):
		a.chunked = true
		return a.once(seenEncoding, is(value, "chunked"))
	case is(name, "Content-Type"):
		a.contentType = intern(value)
		return a.once(seenType, true)
	case is(name, "Connection"):
		a.keep = a.keep && !bytes.Contains(bytes.ToLower(value), []byte("close"))
	case is(name, wire.HeaderRefused):
		a.refused = intern(value)
		return a.once(seenRefused, true)
	case is(name, wire.HeaderSessions):
		n, ok := digits(value)
		a.sessions = int(min(n, 1<<30))
		return a.once(seenSessions, ok)
	case is(name, "Cache-Control"):
		a.cacheControl = intern(value)
	case is(name, "X-Accel-Buffering"):
		a.accel = intern(value)
	case is(name, "Retry-After"):
		a.retryAfter = string(value)
	}
	return nil
}

func (a *answer) once(which uint8, valid bool) error {
	if !valid || a.seen&which != 0 {
		return fmt.Errorf("%w: a header is repeated or has a bad value", errFraming)
	}
	a.seen |= which
	return nil
}

// framing settles how the body ends. A body that ends with its connection is refused: its end
// could not be told from a break.
func (a *answer) framing() error {
	none := a.status == 204 || a.status == 304
	switch {
	case a.seen&seenLength != 0 && a.seen&seenEncoding != 0:
		return fmt.Errorf("%w: both Content-Length and Transfer-Encoding", errFraming)
	case none:
		if a.chunked || a.left != 0 {
			return fmt.Errorf("%w: a body where none can be", errFraming)
		}
		a.ended = true
	case a.chunked:
		a.left = 0
	case a.seen&seenLength == 0:
		return fmt.Errorf("%w: neither Content-Length nor Transfer-Encoding", errFraming)
	default:
		a.ended = a.left == 0
	}
	return nil
}

// stream says that the body may take long, and is bounded from read to read.
func (a *answer) stream() { a.extend = time.Unix(1, 0) }

// Read reads the body. It returns io.EOF only at the body's announced end.
func (a *answer) Read(p []byte) (int, error) {
	if a.err != nil {
		return 0, a.err
	}
	if a.ended {
		return 0, io.EOF
	}
	a.prolong()
	n, err := a.read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		a.err, a.keep = err, false
	}
	return n, err
}

// prolong moves the deadline for reading on, if the body may take long.
func (a *answer) prolong() {
	if a.extend.IsZero() {
		return
	}
	if now := time.Now(); now.Sub(a.extend) > time.Second {
		a.extend = now
		_ = a.conn.nc.SetReadDeadline(now.Add(a.conn.peer.hop.cfg.StreamIdle))
	}
}

// rest waits until there is more of a body in chunks, without a buffer meanwhile: a stream may have
// nothing to say for hours. An error is that of the next Read.
func (a *answer) rest() {
	c := a.conn
	if a.tail && c.br.Buffered() >= len("\r\n") {
		if a.err = a.expectLine(); a.err != nil {
			a.keep = false
			return
		}
		a.tail = false
	}
	if a.err != nil || a.ended || a.left > 0 || c.raw == nil || c.peer.tls != nil || c.br.Buffered() > 0 {
		return
	}
	a.prolong()
	putReader(c.br)
	c.br = nil
	err := c.await()
	c.br = takeReader(c.nc)
	if err != nil {
		a.err, a.keep = cut(err), false
	}
}

func (a *answer) read(p []byte) (int, error) {
	if a.chunked && a.left == 0 {
		if err := a.nextChunk(); err != nil {
			return 0, err
		}
	}
	if int64(len(p)) > a.left {
		p = p[:a.left]
	}
	n, err := a.conn.br.Read(p)
	a.left -= int64(n)
	if err != nil {
		return n, cut(err)
	}
	if a.left > 0 {
		return n, nil
	}
	if a.chunked {
		a.tail = true // read with the next chunk, so that these bytes do not wait for it
	} else {
		a.ended = true
	}
	return n, nil
}

// nextChunk reads a chunk's size. Extensions and trailers are refused: nodes send none.
func (a *answer) nextChunk() error {
	if a.tail {
		if err := a.expectLine(); err != nil {
			return err
		}
		a.tail = false
	}
	room := 20
	line, err := readLine(a.conn.br, &room)
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(string(line), 16, 62)
	if err != nil || line[0] == '+' {
		return fmt.Errorf("%w: chunk size", errFraming)
	}
	if a.left = int64(n); n > 0 { //nolint:gosec // 62 bits
		return nil
	}
	if err := a.expectLine(); err != nil {
		return err
	}
	a.ended = true
	return io.EOF
}

// expectLine reads an empty line.
func (a *answer) expectLine() error {
	room := 2
	line, err := readLine(a.conn.br, &room)
	if err == nil && len(line) > 0 {
		err = fmt.Errorf("%w: chunk", errFraming)
	}
	return err
}

// drainTime bounds the wait for the rest of a body that nobody wants.
const drainTime = time.Second

// drain reads what is left of a small body, so that its connection can be kept.
func (a *answer) drain() {
	if a.ended {
		return
	}
	_ = a.conn.nc.SetReadDeadline(time.Now().Add(drainTime))
	_, _ = readSome(a, nil, smallBody)
}

// Close gives the connection back, or drops it if the body was not read to its end.
func (a *answer) Close() {
	if a.conn == nil {
		return
	}
	// A chunked body's end may not have been asked for yet; it is there already or never.
	if a.keep && !a.ended && a.chunked && a.left == 0 && a.conn.br.Buffered() >= len("\r\n0\r\n\r\n") {
		_, _ = a.Read(make([]byte, 1))
	}
	a.conn.done(a.keep && a.ended)
	a.conn = nil
	if !a.ended && a.err != nil {
		a.span.Fail(a.err.Error())
	}
	a.span.End()
}

// readLine reads a line that ends in CR LF and returns it without, taking its length off room.
// The line is valid until the next read.
func readLine(br *bufio.Reader, room *int) ([]byte, error) {
	line, err := br.ReadSlice('\n')
	if *room -= len(line); *room < 0 || errors.Is(err, bufio.ErrBufferFull) {
		return nil, fmt.Errorf("%w: too long", errFraming)
	}
	if err != nil {
		return nil, cut(err)
	}
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return nil, fmt.Errorf("%w: a line without CR", errFraming)
	}
	return line[:len(line)-2], nil
}

// cut marks a connection that ended too soon. It hides io.EOF, which means a good end here.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: %w", errCut, err)
}

// is compares ASCII text without regard to case.
func is[T string | []byte](a T, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// digits reads a decimal number of at most 18 digits.
func digits(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// intern avoids a copy of the values that nearly every answer has.
func intern(b []byte) string {
	switch string(b) {
	case wire.TypeJSON:
		return wire.TypeJSON
	case wire.TypeEventStream:
		return wire.TypeEventStream
	case "no-cache":
		return "no-cache"
	case "no":
		return "no"
	case wire.RefusedSession:
		return wire.RefusedSession
	}
	return string(b)
}
