package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"unicode/utf8"
)

// The functions here read one JSON value each (RFC 8259), starting at s.pos and leaving s.pos
// just behind it. They return *FrameError, not error, to keep a nil a nil.

func (s *scanner) space() {
	for s.pos < len(s.b) && isSpace(s.b[s.pos]) {
		s.pos++
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// value reads any value. s.pos is at its first byte or at the end of the input.
func (s *scanner) value() *FrameError {
	if err := s.token(); err != nil {
		return err
	}
	if s.pos >= len(s.b) {
		return malformed(s.pos, "it ends where a value is expected")
	}
	switch c := s.b[s.pos]; {
	case c == '"':
		_, err := s.str()
		return err
	case c == '{':
		return s.nested(s.object)
	case c == '[':
		return s.nested(s.array)
	case c == '-', '0' <= c && c <= '9':
		return s.number()
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	}
	return malformed(s.pos, "a value is expected here")
}

// token counts one key or value.
func (s *scanner) token() *FrameError {
	if s.tokens++; s.tokens > s.lim.MaxTokens {
		return refuse(s.pos, fmt.Sprintf("the message has more than %d keys and values", s.lim.MaxTokens))
	}
	return nil
}

func (s *scanner) nested(read func() *FrameError) *FrameError {
	if s.depth++; s.depth > s.lim.MaxDepth {
		return refuse(s.pos, fmt.Sprintf("the message is nested deeper than %d levels", s.lim.MaxDepth))
	}
	err := read()
	s.depth--
	return err
}

func (s *scanner) literal(word string) *FrameError {
	if end := s.pos + len(word); end <= len(s.b) && string(s.b[s.pos:end]) == word {
		s.pos = end
		return nil
	}
	return malformed(s.pos, "a value is expected here")
}

func (s *scanner) array() *FrameError {
	s.pos++ // [
	s.space()
	if s.pos < len(s.b) && s.b[s.pos] == ']' {
		s.pos++
		return nil
	}
	for {
		if err := s.value(); err != nil {
			return err
		}
		if done, err := s.separator(']'); done || err != nil {
			return err
		}
	}
}

// separator reads a comma and what space follows, or the closing bracket of an object or array.
func (s *scanner) separator(closing byte) (done bool, err *FrameError) {
	s.space()
	if s.pos >= len(s.b) {
		return false, malformed(s.pos, "it ends inside an object or array")
	}
	switch s.b[s.pos] {
	case closing:
		s.pos++
		return true, nil
	case ',':
		s.pos++
		s.space()
		return false, nil
	}
	return false, malformed(s.pos, "a comma or a closing bracket is expected here")
}

func (s *scanner) object() *FrameError {
	return s.members(!s.lim.Lenient, func(key) *FrameError { return s.value() })
}

// members reads an object and calls value at each of its values. With unique set no key may
// occur twice.
func (s *scanner) members(unique bool, value func(key) *FrameError) *FrameError {
	base, text := len(s.keys), len(s.decoded)
	s.pos++ // {
	s.space()
	if s.pos < len(s.b) && s.b[s.pos] == '}' {
		s.pos++
		return nil
	}
	for n := 1; ; n++ {
		if n > s.lim.MaxKeys {
			return refuse(s.pos, fmt.Sprintf("an object has more than %d keys", s.lim.MaxKeys))
		}
		k, err := s.key(base, unique)
		if err != nil {
			return err
		}
		if err := value(k); err != nil {
			return err
		}
		if done, err := s.separator('}'); err != nil {
			return err
		} else if done {
			break
		}
	}
	if err := s.checkUnique(base); err != nil {
		return err
	}
	s.keys, s.decoded = s.keys[:base], s.decoded[:text]
	return nil
}

// key reads a key and its colon, up to the value. With unique set it is kept for comparison
// with its siblings, which start at s.keys[base].
func (s *scanner) key(base int, unique bool) (key, *FrameError) {
	if err := s.token(); err != nil {
		return key{}, err
	}
	if s.pos >= len(s.b) || s.b[s.pos] != '"' {
		return key{}, malformed(s.pos, "a key in double quotes is expected here")
	}
	at := s.pos
	escaped, err := s.str()
	if err != nil {
		return key{}, err
	}
	k := key{start: at + 1, end: s.pos - 1, at: at}
	if escaped && unique {
		k.escaped, k.start = true, len(s.decoded)
		var whole bool
		if s.decoded, whole = appendUnescaped(s.decoded, s.b[at+1:s.pos-1]); !whole {
			return key{}, refuse(at, "a key has half of a surrogate pair")
		}
		k.end = len(s.decoded)
	}
	s.space()
	if s.pos >= len(s.b) || s.b[s.pos] != ':' {
		return key{}, malformed(s.pos, "a colon is expected here")
	}
	s.pos++
	s.space()
	if unique {
		return k, s.keep(base, k)
	}
	return k, nil
}

// fewKeys is up to how many keys are compared one by one; larger objects are sorted at their end.
const fewKeys = 16

// keep remembers k, and refuses it if it is one of the first few and repeats another.
func (s *scanner) keep(base int, k key) *FrameError {
	if siblings := s.keys[base:]; len(siblings) < fewKeys {
		for _, other := range siblings {
			if bytes.Equal(s.text(other), s.text(k)) {
				return duplicate(k.at)
			}
		}
	}
	s.keys = append(s.keys, k)
	return nil
}

// checkUnique compares the keys of an object that has more than a few. Sorting keeps the
// worst case, thousands of chosen keys, from being quadratic.
func (s *scanner) checkUnique(base int) *FrameError {
	siblings := s.keys[base:]
	if len(siblings) <= fewKeys {
		return nil
	}
	slices.SortFunc(siblings, func(a, b key) int { return bytes.Compare(s.text(a), s.text(b)) })
	for i := 1; i < len(siblings); i++ {
		if bytes.Equal(s.text(siblings[i-1]), s.text(siblings[i])) {
			return duplicate(max(siblings[i-1].at, siblings[i].at))
		}
	}
	return nil
}

func duplicate(at int) *FrameError { return refuse(at, "an object has the same key twice") }

func (s *scanner) text(k key) []byte {
	if k.escaped {
		return s.decoded[k.start:k.end]
	}
	return s.b[k.start:k.end]
}

// str reads a string and reports whether it has escapes.
func (s *scanner) str() (escaped bool, err *FrameError) {
	start := s.pos
	s.pos++ // "
	for {
		s.pos += plain(s.b[s.pos:])
		if s.pos >= len(s.b) {
			return false, malformed(start, "a string has no end")
		}
		switch c := s.b[s.pos]; {
		case c == '"':
			s.pos++
			return escaped, nil
		case c == '\\':
			escaped = true
			n := escapeLen(s.b[s.pos:])
			if n == 0 {
				return false, malformed(s.pos, "a string has an escape that does not exist")
			}
			s.pos += n
		case c < 0x20:
			return false, malformed(s.pos, "a string has a control character; write it as an escape")
		default: // not ASCII: plain passes all the rest
			if !s.runes() {
				return false, malformed(s.pos, "it is not valid UTF-8")
			}
		}
	}
}

// runes reads characters that are not ASCII, and reports false at one that is no UTF-8.
func (s *scanner) runes() bool {
	for s.pos < len(s.b) && s.b[s.pos] >= utf8.RuneSelf {
		r, n := utf8.DecodeRune(s.b[s.pos:])
		if r == utf8.RuneError && n <= 1 {
			return false
		}
		s.pos += n
	}
	return true
}

// plain returns how many bytes at the start of b are certainly printable ASCII other than
// quote and backslash. It looks at eight at a time, so it may stop early.
func plain(b []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	n := 0
	for len(b)-n >= 8 {
		w := binary.LittleEndian.Uint64(b[n:])
		quote, slash := w^(ones*'"'), w^(ones*'\\')
		// A byte's high bit comes out set if the byte is: not ASCII | below 0x20 | " | \.
		// A borrow can only set more of them, behind a byte that is already marked.
		bad := w | (w - ones*0x20) | (quote - ones) | (slash - ones)
		if bad&highs != 0 {
			break
		}
		n += 8
	}
	for n < len(b) && b[n] >= 0x20 && b[n] < utf8.RuneSelf && b[n] != '"' && b[n] != '\\' {
		n++
	}
	return n
}

// escapeLen returns the length of the escape b starts with, or 0 if it is not one.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if hex4(b[2:]) >= 0 {
			return 6
		}
	}
	return 0
}

// number reads a number: an integer part without leading zeros, a fraction, an exponent.
func (s *scanner) number() *FrameError {
	start := s.pos
	if s.at('-') {
		s.pos++
	}
	if s.at('0') {
		s.pos++
	} else if s.digits() == 0 {
		return malformed(start, "a number is not written as JSON asks")
	}
	if s.at('.') {
		s.pos++
		if s.digits() == 0 {
			return malformed(start, "a number is not written as JSON asks")
		}
	}
	if s.at('e') || s.at('E') {
		s.pos++
		if s.at('+') || s.at('-') {
			s.pos++
		}
		if s.digits() == 0 {
			return malformed(start, "a number is not written as JSON asks")
		}
	}
	return nil
}

func (s *scanner) at(c byte) bool { return s.pos < len(s.b) && s.b[s.pos] == c }

func (s *scanner) digits() (n int) {
	for s.pos < len(s.b) && '0' <= s.b[s.pos] && s.b[s.pos] <= '9' {
		s.pos++
		n++
	}
	return n
}
