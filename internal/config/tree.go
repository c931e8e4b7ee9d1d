package config

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tailscale/hujson"
)

// Limits of a settings file. The nesting is far above what any option needs; it keeps the
// recursion of the parser bounded.
const (
	maxBytes = 1 << 20
	maxDepth = 64
)

// element is a value of the file with its place.
type element struct {
	// kind is the first byte of the JSON grammar: { [ " 0 t f n.
	kind hujson.Kind
	// at is the offset of its first byte.
	at int
	// text is the string that a string stands for, or a literal as written.
	text string
	// raw is a literal as written.
	raw     []byte
	members []member
	items   []*element
}

// member is one key of an object with its value.
type member struct {
	name  string
	at    int // offset of the key
	value *element
}

// find walks down objects by the names of their keys.
func (e *element) find(path ...string) (m member, ok bool) {
	for _, name := range path {
		m, ok = section{e: e}.has(name)
		if !ok {
			return member{}, false
		}
		e = m.value
	}
	return m, ok
}

// found says what kind of value e is.
func (e *element) found() string {
	switch e.kind {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case '0':
		return "a number"
	default:
		return e.text // true, false, null
	}
}

// parseTree reads text into elements. It returns nil after reporting where the text is not
// JSON (with comments and trailing commas); duplicate keys are reported and left out.
func parseTree(text []byte, report func(at int, path, message string)) *element {
	if at, message := checkText(text); message != "" {
		report(at, "", message)
		return nil
	}
	// A line comment may end the file without a line break; hujson wants one.
	line := append(text[:len(text):len(text)], '\n')
	v, err := hujson.Parse(line)
	if err != nil {
		at, message := syntaxError(text, err)
		if _, err := hujson.Parse(append(line, "{}"...)); err == nil {
			at, message = 0, "the file is empty: it needs at least {}"
		}
		report(at, "", message)
		return nil
	}
	return toElement(&v, "", report)
}

// checkText finds what would make parsing dangerous or its errors unclear.
func checkText(text []byte) (at int, message string) {
	if len(text) > maxBytes {
		return 0, fmt.Sprintf("the file has %d bytes and may have at most %d", len(text), maxBytes)
	}
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size == 1 {
			return i, "the file is not valid UTF-8 here"
		}
		i += size
	}
	if at := tooDeep(text); at >= 0 {
		return at, fmt.Sprintf("objects and lists are nested more than %d deep", maxDepth)
	}
	return 0, ""
}

// tooDeep returns the offset of the first bracket past maxDepth, or -1. Brackets in strings
// and comments do not count.
func tooDeep(text []byte) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '{', '[':
			if depth++; depth > maxDepth {
				return i
			}
		case '}', ']':
			depth--
		case '"':
			i = endOfString(text, i)
		case '/':
			i = endOfComment(text, i)
		}
	}
	return -1
}

// endOfString returns the offset of the quote that ends the string begun at i, or the end.
func endOfString(text []byte, i int) int {
	for i++; i < len(text) && text[i] != '"'; i++ {
		if text[i] == '\\' {
			i++
		}
	}
	return i
}

// endOfComment returns the offset of the last byte of the comment begun at i, or i.
func endOfComment(text []byte, i int) int {
	for _, c := range [][2]string{{"//", "\n"}, {"/*", "*/"}} {
		if !bytes.HasPrefix(text[i:], []byte(c[0])) {
			continue
		}
		n := bytes.Index(text[i+len(c[0]):], []byte(c[1]))
		if n < 0 {
			return len(text)
		}
		return i + len(c[0]) + n + len(c[1]) - 1
	}
	return i
}

var hujsonError = regexp.MustCompile(`(?s)^hujson: line (\d+), column (\d+): (.*)$`)

// syntaxError takes hujson's message apart. The message quotes what it stumbled over, which
// may be half of a password, so a literal is described and never repeated.
func syntaxError(text []byte, err error) (at int, message string) {
	m := hujsonError.FindStringSubmatch(err.Error())
	if m == nil {
		return 0, "the file is not JSON"
	}
	line, _ := strconv.Atoi(m[1])
	column, _ := strconv.Atoi(m[2])
	at = newPositions(text).offset(line, column)
	switch {
	case strings.HasPrefix(m[3], "invalid literal") && at < len(text) && text[at] == '"':
		return at, "this string is not valid JSON: it has a line break, a control character or an unknown \\ escape"
	case strings.HasPrefix(m[3], "invalid literal"):
		return at, "this is not a value: want a string in quotes, a number, true, false, an object or a list"
	case strings.Contains(m[3], "unexpected EOF"):
		return at, "the file ends too early: a quote, brace, bracket or comment is not closed"
	}
	return at, m[3]
}

func toElement(v *hujson.Value, path string, report func(int, string, string)) *element {
	e := &element{kind: v.Value.Kind(), at: v.StartOffset}
	switch t := v.Value.(type) {
	case hujson.Literal:
		e.text, e.raw = t.String(), t
	case *hujson.Array:
		for i := range t.Elements {
			e.items = append(e.items, toElement(&t.Elements[i], fmt.Sprintf("%s[%d]", path, i), report))
		}
	case *hujson.Object:
		first := map[string]bool{}
		for i := range t.Members {
			name, at := t.Members[i].Name.Value.(hujson.Literal).String(), t.Members[i].Name.StartOffset
			if first[name] {
				report(at, path, fmt.Sprintf("the key %s is here twice: remove one", quote(name)))
				continue
			}
			first[name] = true
			e.members = append(e.members, member{name, at, toElement(&t.Members[i].Value, join(path, name), report)})
		}
	}
	return e
}

// maxQuoted is how much of a wrong word is repeated.
const maxQuoted = 60

// quote is s in quotes, shortened.
func quote(s string) string {
	r := []rune(s)
	if len(r) > maxQuoted {
		return strconv.Quote(string(r[:maxQuoted]) + "…")
	}
	return strconv.Quote(s)
}

var plainKey = regexp.MustCompile(`^[$A-Za-z0-9_.-]{1,63}$`)

// join appends a key to a path: a.b, or a["b c"] when the key would not be clear.
func join(path, key string) string {
	if !plainKey.MatchString(key) {
		return path + "[" + quote(key) + "]"
	}
	if path == "" {
		return key
	}
	return path + "." + key
}
