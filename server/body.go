package server

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// readBody reads the body of an MCP request within the limits. The caller takes the length of
// it off s.held when it is done with it.
//
// The bytes are the caller's to keep: what hands them to a node may still be reading them when
// the request is over, so no buffer is used twice. Only a body that is large or of unknown
// length is gathered in a pooled buffer first.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request) ([]byte, *problem) {
	body, p := s.read(w, r, s.cfg.MaxBody)
	if p != nil {
		return nil, p
	}
	if s.held.Add(int64(len(body))) > s.cfg.MaxHeld {
		s.held.Add(-int64(len(body)))
		return nil, &problem{status: http.StatusServiceUnavailable, message: "too many large requests at once; try again"}
	}
	return body, nil
}

// read reads a body of at most limit bytes.
func (s *Server) read(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, *problem) {
	if r.ContentLength == 0 {
		return nil, nil
	}
	in := &paced{cfg: &s.cfg, body: r.Body, conn: *http.NewResponseController(w), begun: time.Now()}
	in.allow(s.cfg.BodyGrace)
	if r.ContentLength > limit {
		return nil, in.tooLarge(limit, r.Header.Get("Expect") == "")
	}
	var body []byte
	var err error
	if r.ContentLength > 0 && r.ContentLength <= maxPromise {
		body = make([]byte, r.ContentLength)
		_, err = io.ReadFull(in, body)
	} else {
		body, err = gather(in, limit)
	}
	switch {
	case err == nil: // net/http takes the deadline away when it has seen the end of the body
		r.Body = http.NoBody
		return body, nil
	case errors.Is(err, errTooLarge):
		return nil, in.tooLarge(limit, true)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &problem{status: http.StatusRequestTimeout, message: "the body came too slowly", shut: true}
	}
	return nil, &problem{status: http.StatusBadRequest, message: "the body ended early or was not framed as HTTP/1.1 demands", shut: true}
}

// drainTime is how long a refused request may take to send what is left of its body.
const drainTime = time.Second

// dropBody bounds the wait for a body that nobody is going to read: net/http reads some of
// it before it answers, and a client that never sends it would never be answered.
func dropBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 && r.Body != http.NoBody {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(drainTime)) // without it, Run's own limit holds
	}
}

// maxPromise is up to where memory is set aside for what a Content-Length promises.
const maxPromise = 64 << 10

var errTooLarge = errors.New("body over the limit")

// scratch holds buffers in which bodies are gathered.
var scratch = sync.Pool{New: func() any { b := make([]byte, 0, 16<<10); return &b }}

// maxScratch is the largest buffer worth keeping.
const maxScratch = 256 << 10

func gather(in io.Reader, limit int64) ([]byte, error) {
	buf := scratch.Get().(*[]byte)
	b := (*buf)[:0]
	defer func() {
		if cap(b) <= maxScratch {
			*buf = b
			scratch.Put(buf)
		}
	}()
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := in.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case int64(len(b)) > limit:
			return nil, errTooLarge
		case errors.Is(err, io.EOF):
			return append([]byte(nil), b...), nil
		case err != nil:
			return nil, err
		}
	}
}

// paced reads a body under a deadline that moves on with what has come: at least MinRate after
// BodyGrace, and BodyTime in all.
type paced struct {
	cfg   *Config
	body  io.Reader
	conn  http.ResponseController
	begun time.Time
	got   int64
}

func (p *paced) Read(b []byte) (int, error) {
	n, err := p.body.Read(b)
	if p.got += int64(n); n > 0 && err == nil && n < len(b) {
		earned := time.Duration(p.got) * time.Second / time.Duration(p.cfg.MinRate)
		p.allow(min(p.cfg.BodyGrace+earned, p.cfg.BodyTime))
	}
	return n, err
}

// allow sets the deadline to d after the beginning. A test's recorder has no deadlines, and a
// connection that refuses one fails at the next read by itself.
func (p *paced) allow(d time.Duration) { _ = p.conn.SetReadDeadline(p.begun.Add(d)) }

// lateBytes and lateTime bound what is read of a body that will be refused, so that a client
// that sends before it listens gets to hear why.
const (
	lateBytes = 4 << 20
	lateTime  = 2 * time.Second
)

// tooLarge refuses a body; a client that waits for leave to send it is not given any.
func (p *paced) tooLarge(limit int64, sending bool) *problem {
	if sending {
		_ = p.conn.SetReadDeadline(time.Now().Add(lateTime))
		_, _ = io.CopyN(io.Discard, p.body, lateBytes) // whatever comes of it, the answer is the same
	}
	return &problem{status: http.StatusRequestEntityTooLarge, message: "the body is over the limit of " + strconv.FormatInt(limit, 10) + " bytes", shut: true}
}
