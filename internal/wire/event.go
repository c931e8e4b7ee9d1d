package wire

import (
	"bytes"
	"strconv"
	"time"
)

// Event is one block of an event stream: an event, or a block of comments and settings that
// dispatches none (WHATWG HTML, Server-sent events).
type Event struct {
	// ID is the id this block sets, which holds for later events too. HasID tells an id that
	// is set to nothing from none; a writer may leave it out when ID is not empty.
	ID    string
	HasID bool
	// Name is the event's type; empty means "message".
	Name string
	// Data is the payload, the lines joined by LF. It is nil where the block has no data
	// field, and so dispatches no event, and empty but not nil for an empty one, with which
	// MCP primes a stream.
	Data []byte
	// Retry is the time to wait before reconnecting, in whole milliseconds; 0 means not said.
	Retry time.Duration
	// Raw is the block as it came, its blank line included. Writers ignore it: to pass an
	// event on unchanged, write Raw itself.
	Raw []byte
}

// parseEvent reads the fields of a whole block. Data aliases raw if it has one line, and
// otherwise is built in buf, which is returned for use again.
func parseEvent(raw, buf []byte) (Event, []byte) {
	e := Event{Raw: raw}
	lines := 0
	for rest := raw; len(rest) > 0; {
		var line []byte
		line, rest = cutLine(rest)
		name, value, colon := bytes.Cut(line, []byte(":"))
		if !colon {
			value = line[len(line):] // empty but not nil
		}
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "data":
			if lines++; lines == 1 {
				e.Data = value
				continue
			}
			if lines == 2 {
				buf = append(buf[:0], e.Data...)
			}
			buf = append(append(buf, '\n'), value...)
			e.Data = buf
		case "event":
			if e.Name = "message"; string(value) != e.Name { // the usual one costs nothing
				e.Name = string(value)
			}
		case "id":
			if bytes.IndexByte(value, 0) < 0 {
				e.ID, e.HasID = string(value), true
			}
		case "retry":
			if ms, ok := digits(value); ok {
				e.Retry = ms
			}
		}
	}
	e.Data = e.Data[:len(e.Data):len(e.Data)]
	return e, buf
}

// cutLine splits off the first line, without its CR, LF or CRLF.
func cutLine(b []byte) (line, rest []byte) {
	i := lineBreak(b)
	if i < 0 {
		return b, nil
	}
	line, rest = b[:i], b[i+1:]
	if b[i] == '\r' && len(rest) > 0 && rest[0] == '\n' {
		rest = rest[1:]
	}
	return line, rest
}

// lineBreak returns the index of the first CR or LF, or -1.
func lineBreak(b []byte) int {
	lf := bytes.IndexByte(b, '\n')
	if lf >= 0 {
		b = b[:lf]
	}
	if cr := bytes.IndexByte(b, '\r'); cr >= 0 {
		return cr
	}
	return lf
}

// digits reads the value of a retry field: ASCII digits only, at most what fits a day-long wait.
func digits(value []byte) (time.Duration, bool) {
	if len(value) == 0 || len(value) > 9 {
		return 0, false
	}
	for _, c := range value {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	ms, err := strconv.Atoi(string(value))
	return time.Duration(ms) * time.Millisecond, err == nil
}
