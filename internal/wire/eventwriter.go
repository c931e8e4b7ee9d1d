package wire

import (
	"bytes"
	"io"
	"strconv"
	"strings"
	"time"
)

// AppendEvent appends e to dst as one block. A CR, LF or CRLF in Data starts a new data line,
// so that a reader gets LF for each. An event with neither Data, ID, Name nor Retry is a blank
// line. It returns ErrEventField, and dst as it was, if ID or Name hold CR, LF or NUL.
func AppendEvent(dst []byte, e Event) ([]byte, error) {
	if strings.ContainsAny(e.ID, "\r\n\x00") || strings.ContainsAny(e.Name, "\r\n\x00") {
		return dst, ErrEventField
	}
	if e.Name != "" {
		dst = append(append(append(dst, "event: "...), e.Name...), '\n')
	}
	if e.ID != "" || e.HasID {
		dst = append(append(append(dst, "id: "...), e.ID...), '\n')
	}
	if ms := e.Retry / time.Millisecond; ms > 0 {
		dst = append(strconv.AppendInt(append(dst, "retry: "...), int64(ms), 10), '\n')
	}
	if e.Data != nil {
		dst = appendLines(dst, "data: ", e.Data)
	}
	return append(dst, '\n'), nil
}

// WriteEvent writes e with one call of w.Write. It returns ErrEventField without writing as
// AppendEvent does, and otherwise the error of w.
func WriteEvent(w io.Writer, e Event) error {
	block, err := AppendEvent(make([]byte, 0, len(e.Data)+len(e.ID)+len(e.Name)+48), e)
	if err != nil {
		return err
	}
	_, err = w.Write(block)
	return err
}

// Comment writes text as a block of comment lines, which readers ignore: a sign of life.
func Comment(w io.Writer, text string) error {
	block := appendLines(make([]byte, 0, len(text)+8), ": ", []byte(text))
	_, err := w.Write(append(block, '\n'))
	return err
}

// appendLines appends each line of text with a prefix; a text without line breaks is one line.
func appendLines(dst []byte, prefix string, text []byte) []byte {
	if bytes.IndexByte(text, '\r') < 0 && bytes.IndexByte(text, '\n') < 0 {
		return append(append(append(dst, prefix...), text...), '\n')
	}
	for {
		i := lineBreak(text)
		if i < 0 {
			return append(append(append(dst, prefix...), text...), '\n')
		}
		dst = append(append(append(dst, prefix...), text[:i]...), '\n')
		if text[i] == '\r' && i+1 < len(text) && text[i+1] == '\n' {
			i++
		}
		text = text[i+1:]
	}
}
