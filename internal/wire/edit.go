package wire

import (
	"bytes"
	"iter"
	"slices"
)

// Lookup finds the value at path, the keys of objects one inside the other, in a message that
// Scan accepted. Keys are compared by their text, byte for byte, however they are
// written. Of duplicate keys, which only Lenient lets through, the last counts, as it does in
// encoding/json and JavaScript. With no path it is the whole value.
//
// It does not check raw: on bytes that are not JSON the answer has no meaning, but there is no
// panic and the span lies within raw.
func Lookup(raw []byte, path ...string) (Span, bool) {
	start := skipSpace(raw, 0)
	if start == len(raw) {
		return Span{}, false
	}
	return LookupIn(raw, Span{start, skipValue(raw, start)}, path...)
}

// LookupIn is Lookup from a value inside raw. The span it returns is again one of raw.
func LookupIn(raw []byte, at Span, path ...string) (Span, bool) {
	if at.IsZero() {
		return Span{}, false
	}
	for _, name := range path {
		var found Span
		for k, v := range Members(raw, at) {
			if keyIs(k.Of(raw), name) {
				found = v
			}
		}
		if found.IsZero() {
			return Span{}, false
		}
		at = found
	}
	return at, true
}

// keyIs reports whether a key as written, in its quotes, has the text name.
func keyIs(quoted []byte, name string) bool {
	if inner := quoted[1 : len(quoted)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return string(inner) == name
	}
	text, ok := Unquote(quoted)
	return ok && text == name
}

// Members yields key and value of each member of the object at a span, in the order in which
// they are written. Keys keep their quotes. For anything but an object it yields nothing.
func Members(raw []byte, at Span) iter.Seq2[Span, Span] {
	return func(yield func(Span, Span) bool) {
		if at.IsZero() || raw[at.Start] != '{' {
			return
		}
		i := skipSpace(raw, at.Start+1)
		for i < at.End && raw[i] == '"' {
			k := Span{i, skipString(raw, i)}
			i = skipSpace(raw, k.End)
			if i >= at.End || raw[i] != ':' {
				return
			}
			i = skipSpace(raw, i+1)
			v := Span{i, skipValue(raw, i)}
			if k.End-k.Start < 2 || v.End <= v.Start || v.End > at.End || !yield(k, v) {
				return
			}
			if i = skipSpace(raw, v.End); i >= at.End || raw[i] != ',' {
				return
			}
			i = skipSpace(raw, i+1)
		}
	}
}

// Items yields each element of the array at a span, in order. For anything but an array it
// yields nothing.
func Items(raw []byte, at Span) iter.Seq[Span] {
	return func(yield func(Span) bool) {
		if at.IsZero() || raw[at.Start] != '[' {
			return
		}
		i := skipSpace(raw, at.Start+1)
		for i < at.End && raw[i] != ']' {
			v := Span{i, skipValue(raw, i)}
			if v.End <= v.Start || v.End > at.End || !yield(v) {
				return
			}
			if i = skipSpace(raw, v.End); i >= at.End || raw[i] != ',' {
				return
			}
			i = skipSpace(raw, i+1)
		}
	}
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && isSpace(b[i]) {
		i++
	}
	return i
}

// skipValue returns the end of the value at i in valid JSON. It is a loop, not a recursion,
// so that no input can exhaust the stack.
func skipValue(b []byte, i int) int {
	for depth := 0; i < len(b); {
		switch b[i] {
		case '"':
			i = skipString(b, i)
		case '{', '[':
			depth++
			i++
			continue
		case '}', ']':
			depth--
			i++
		case ',', ':', ' ', '\t', '\r', '\n':
			if depth <= 0 {
				return i
			}
			i++
			continue
		default:
			i = skipWord(b, i)
		}
		if depth <= 0 {
			return i
		}
	}
	return len(b)
}

// skipWord returns the end of a number or literal.
func skipWord(b []byte, i int) int {
	for i < len(b) {
		switch b[i] {
		case ',', ':', '}', ']', '{', '[', '"', ' ', '\t', '\r', '\n':
			return i
		}
		i++
	}
	return i
}

// skipString returns the end of the string at i, behind its closing quote.
func skipString(b []byte, i int) int {
	for i++; i < len(b); {
		quote := bytes.IndexByte(b[i:], '"')
		if quote < 0 {
			break
		}
		quote += i
		for i <= quote { // until an escape covers the quote
			slash := bytes.IndexByte(b[i:quote], '\\')
			if slash < 0 {
				return quote + 1
			}
			i += slash + 2
		}
	}
	return len(b)
}

// Edit replaces the bytes of Span by New. An empty span inserts before its Start.
type Edit struct {
	Span Span
	New  []byte
}

// Splice returns a copy of raw with the edits made, all of whose spans are of raw itself. They
// may be given in any order and must lie within raw and not overlap, otherwise Splice panics:
// that is a mistake of the program, never of a message.
func Splice(raw []byte, edits ...Edit) []byte {
	sorted := slices.IsSortedFunc(edits, byStart)
	if !sorted {
		edits = slices.Clone(edits)
		slices.SortStableFunc(edits, byStart)
	}
	size := len(raw)
	for _, e := range edits {
		size += len(e.New) - (e.Span.End - e.Span.Start)
	}
	out := make([]byte, 0, max(size, 0))
	last := 0
	for _, e := range edits {
		if e.Span.Start < last || e.Span.End < e.Span.Start {
			panic("wire: Splice: spans overlap or are reversed")
		}
		out = append(append(out, raw[last:e.Span.Start]...), e.New...)
		last = e.Span.End
	}
	return append(out, raw[last:]...)
}

func byStart(a, b Edit) int { return a.Span.Start - b.Span.Start }

// ReplaceID returns a copy of the frame's bytes with another id, and of a frame without an id
// an unchanged copy. The id is raw JSON.
func ReplaceID(f Frame, id []byte) []byte {
	if f.ID.IsZero() {
		return bytes.Clone(f.Raw)
	}
	return Splice(f.Raw, Edit{f.ID, id})
}

// OneLine returns a valid message as a single line, as stdio servers read it: line breaks,
// which JSON has only between tokens, become spaces. Without any it returns raw itself.
func OneLine(raw []byte) []byte {
	if bytes.IndexByte(raw, '\n') < 0 && bytes.IndexByte(raw, '\r') < 0 {
		return raw
	}
	line := bytes.Clone(raw)
	for i, c := range line {
		if c == '\n' || c == '\r' {
			line[i] = ' '
		}
	}
	return line
}
