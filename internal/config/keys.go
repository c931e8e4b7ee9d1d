package config

import (
	"strings"
	"time"
)

// kind is the type of a key's value.
type kind int

const (
	kindObject  kind = iota // an object with the keys of the table
	kindEntries             // an object whose keys are names, each with an object
	kindList                // a list of objects
	kindString              // a string, read as string
	kindSecret              // a string, read as Secret
	kindBool                // true or false
	kindMillis              // whole milliseconds, read as time.Duration
	kindCount               // a whole number, read as int
	kindNumber              // a number, read as float64
	kindStrings             // a list of strings
	kindChoice              // "all", read as nil, or a list of strings
	kindMap                 // an object of strings
	kindAny                 // not looked into: its key is refused, or belongs to the editor
)

// want says what a value must be.
func (k kind) want() string {
	switch k {
	case kindObject:
		return "an object"
	case kindEntries:
		return "an object with an entry for each name"
	case kindList:
		return "a list of objects"
	case kindString, kindSecret:
		return "a string"
	case kindBool:
		return "true or false"
	case kindMillis:
		return "a whole number of milliseconds"
	case kindCount:
		return "a whole number"
	case kindNumber:
		return "a number"
	case kindStrings:
		return "a list of strings"
	case kindChoice:
		return `"all" or a list of strings`
	case kindMap:
		return "an object whose values are strings"
	default:
		return "anything"
	}
}

// Bounds of every time: short enough for tests, and long enough to never be in the way.
const (
	minTime = 100 * time.Millisecond
	maxTime = 365 * 24 * time.Hour
)

// key is one row of the table: an option, or a section that holds options.
type key struct {
	// path is the place of the key: "a.b" is b in a, "a.*" any entry of a, "a[]" an item of
	// the list a.
	path string
	kind kind
	// def is the default as JSON, empty when there is none.
	def string
	// doc is a sentence or more for people, in Markdown.
	doc string
	// required keys must stand in their section.
	required bool
	// enum lists the values of a string; the words in meant are near them in other programs.
	enum  []string
	meant map[string]string
	// later says what holds instead of the option, when its feature is not there yet: the key
	// is refused.
	later string
	// laterValues does the same for single values, given as JSON.
	laterValues map[string]laterValue
	// laterItems does the same for a kindChoice that is a list.
	laterItems string
	// unused keys are accepted, and named once in a warning. To ignore one opens nothing that it
	// would have closed.
	unused bool
	// private values are never repeated in messages.
	private bool
	// pattern is a regular expression for the schema; check says in words what is wrong.
	pattern string
	check   func(string) error
	// checkName checks the names of entries and of kindMap's keys.
	checkName func(string) error
	// min and max bound a kindCount and a kindNumber. zero lets a kindMillis be 0.
	min, max float64
	zero     bool
	// A string in a list of objects stands for an object with this key only.
	plain string
	// A list may also be an object; each of its keys is then the value of this key.
	keyed string
	// lax sections may hold keys that are not in the table; they are named in a warning.
	lax bool
	// field is where the value goes.
	field
	// reload says that a running process follows changes of this key; entries always may.
	reload bool
	// begin makes a new entry current; end checks a whole section.
	begin func(t *target, name string)
	end   func(d *decoder, s section)

	// Filled by newTree.
	name     string
	children []*key
}

// laterValue is a value whose feature is not there yet: what it asks for, and what holds
// instead.
type laterValue struct{ asks, instead string }

// target is where values go: the settings, and the entry being read.
type target struct {
	*Settings
	mode   Mode
	server *Server
	group  *Group
	member *GroupServer
	bearer *BearerKey
	user   *User
}

// field puts a checked value where it belongs, and finds it there again. Both are nil for
// sections and for keys that are refused.
type field struct {
	read func(*target, any)
	get  func(*target) any
}

// into makes the field of a value of type T.
func into[T any](place func(*target) *T) field {
	return as(place, func(v T) T { return v })
}

// as makes the field of a V that is kept as a T.
func as[T, V any](place func(*target) *T, keep func(V) T) field {
	return field{
		read: func(t *target, v any) { *place(t) = keep(v.(V)) },
		get:  func(t *target) any { return *place(t) },
	}
}

// agreed is the field of a key whose only accepted value is what holds anyway.
func agreed() field {
	return field{read: func(*target, any) {}, get: func(*target) any { return nil }}
}

// newTree links the rows of a table; a parent must stand before its children.
func newTree(rows []key) *key {
	root := &key{kind: kindObject, lax: true}
	byPath := map[string]*key{"": root}
	for i := range rows {
		k := &rows[i]
		parent, name := splitPath(k.path)
		k.name = name
		byPath[k.path] = k
		byPath[parent].children = append(byPath[parent].children, k)
	}
	return root
}

// splitPath parts a row's path: "a.b" in a and b, "a[]" in a and [].
func splitPath(path string) (parent, name string) {
	if list, ok := strings.CutSuffix(path, "[]"); ok {
		return list, "[]"
	}
	i := strings.LastIndexByte(path, '.')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}

// child is the row of a key of this section, or nil.
func (k *key) child(name string) *key {
	for _, c := range k.children {
		if c.name == name {
			return c
		}
	}
	return nil
}

// names are the keys of this section.
func (k *key) names() []string {
	names := make([]string, 0, len(k.children))
	for _, c := range k.children {
		names = append(names, c.name)
	}
	return names
}

// all calls f for k and everything below it, parents first.
func (k *key) all(f func(*key)) {
	f(k)
	for _, c := range k.children {
		c.all(f)
	}
}

// fixed reports whether the key stands at one place only, under no entry and in no list.
func (k *key) fixed() bool { return !strings.ContainsAny(k.path, "*[") }

// elsewhere returns the other sections of which name is a key, at most depth levels down.
func elsewhere(root *key, name string, not *key, depth int) []string {
	var sections []string
	root.all(func(k *key) {
		if k.path == "" || !k.fixed() || k.later != "" || strings.Count(k.path, ".")+1 > depth || !sameLetters(k.name, name) {
			return
		}
		if parent, _ := splitPath(k.path); parent != not.path {
			sections = append(sections, k.path)
		}
	})
	return sections
}
