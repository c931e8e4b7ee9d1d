package config

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// decoder reads the elements of one file by the table, collecting what is wrong.
type decoder struct {
	file     string
	pos      *positions
	getenv   func(string) string
	t        *target
	problems []located
	warnings []located
	unused   []located // keys that are accepted and not used
	// The names of groups, of servers in groups and keys, and of groups in keys: whether they
	// fit together can be told at the end.
	groups, servers, keyGroups []reference
	seen                       map[[3]string]bool // see first
	secrets                    map[string]int     // path of each secret in the file → its offset
}

// located is a message at a byte offset.
type located struct {
	at            int
	path, message string
}

// reference is a name that is used in the file.
type reference struct {
	at         int
	path, name string
	shown      bool // no variable was put in
}

// refer is the reference that the string e at path makes; name is what it says.
func refer(e *element, path, name string) reference {
	return reference{e.at, path, name, !strings.Contains(e.text, "${")}
}

// quoted is the name in quotes, if it may be shown.
func (r reference) quoted() string {
	if r.shown {
		return quote(r.name)
	}
	return "the name"
}

// section is an object of the file with its row.
type section struct {
	key  *key
	path string
	e    *element
}

// has returns the member called name.
func (s section) has(name string) (member, bool) {
	for _, m := range s.e.members {
		if m.name == name {
			return m, true
		}
	}
	return member{}, false
}

// fail records a problem.
func (d *decoder) fail(at int, path, message string) {
	d.problems = append(d.problems, located{at, path, message})
}

// failed reports whether a problem with the key name of s has been recorded.
func (d *decoder) failed(s section, name string) bool {
	path := join(s.path, name)
	for i := len(d.problems) - 1; i >= 0 && d.problems[i].at >= s.e.at; i-- {
		if d.problems[i].path == path {
			return true
		}
	}
	return false
}

// warn records a warning.
func (d *decoder) warn(at int, path, message string) {
	d.warnings = append(d.warnings, located{at, path, message})
}

// setDefaults gives the fixed keys under k, or the keys of one entry, their defaults.
func (d *decoder) setDefaults(keys []*key) {
	for _, k := range keys {
		switch {
		case k.kind == kindObject && k.fixed():
			d.setDefaults(k.children)
		case k.def != "" && k.read != nil:
			k.read(d.t, k.defaultValue())
		}
	}
}

// defaultValue is the default as read takes it.
func (k *key) defaultValue() any {
	switch k.kind {
	case kindBool:
		return k.def == "true"
	case kindMillis:
		return time.Duration(k.defaultNumber()) * time.Millisecond
	case kindCount:
		return int(k.defaultNumber())
	case kindNumber:
		return k.defaultNumber()
	case kindStrings, kindChoice:
		return []string(nil)
	case kindMap:
		return map[string]string(nil)
	}
	var s string
	if err := json.Unmarshal([]byte(k.def), &s); err != nil {
		panic("config: default of " + k.path + ": " + err.Error())
	}
	return s
}

// object reads an object's keys. The caller has checked that e is one.
func (d *decoder) object(s section) {
	for _, m := range s.e.members {
		path := join(s.path, m.name)
		k := s.key.child(m.name)
		switch {
		case k == nil:
			d.unknown(s, m)
		case k.unused:
			if d.first("unused", k.path, "") { // an owner of every server is said once
				d.unused = append(d.unused, located{m.at, title(k.path), ""})
			}
		case k.later != "":
			d.fail(m.at, path, notYet(k.later)+"; remove this key")
		default:
			d.value(k, path, m.value)
		}
	}
	for _, k := range s.key.children {
		if _, ok := s.has(k.name); k.required && !ok {
			d.fail(s.e.at, s.path, fmt.Sprintf("the key %q is missing", k.name))
		}
	}
	if s.key.end != nil {
		s.key.end(d, s)
	}
}

// notYet is the sentence about an option whose feature is not there.
func notYet(instead string) string { return "known, but not yet supported: " + instead }

// value reads one value by its row.
func (d *decoder) value(k *key, path string, e *element) {
	if k.kind == kindAny {
		return
	}
	if !k.kind.takes(e) && (k.keyed == "" || e.kind != '{') {
		d.fail(e.at, path, wrongKind(k, e))
		return
	}
	switch k.kind {
	case kindObject:
		d.object(section{k, path, e})
	case kindEntries:
		d.entries(k, path, e)
	case kindList:
		d.list(k, path, e)
	case kindBool:
		if d.supported(k, path, e, e.text) {
			k.read(d.t, e.text == "true")
		}
	case kindMillis:
		if v, ok := d.millis(k, path, e); ok {
			k.read(d.t, v)
		}
	case kindCount, kindNumber:
		d.number(k, path, e)
	case kindStrings, kindChoice:
		d.strings(k, path, e)
	case kindMap:
		d.stringMap(k, path, e)
	case kindString, kindSecret:
		d.text(k, path, e)
	}
}

// takes reports whether e is the kind of JSON value that k wants.
func (k kind) takes(e *element) bool {
	switch k {
	case kindObject, kindEntries, kindMap:
		return e.kind == '{'
	case kindList, kindStrings:
		return e.kind == '['
	case kindString, kindSecret:
		return e.kind == '"'
	case kindBool:
		return e.kind == 't' || e.kind == 'f'
	case kindMillis, kindCount, kindNumber:
		return e.kind == '0'
	case kindChoice:
		return e.kind == '[' || e.kind == '"'
	}
	return true
}

// wrongKind says what was found, what is wanted and, where it is plain, how to get there.
func wrongKind(k *key, e *element) string {
	return fmt.Sprintf("want %s, found %s%s", k.kind.want(), e.found(), hint(k.kind, e))
}

func hint(want kind, e *element) string {
	switch {
	case e.kind == 'n':
		return "; leave the key out instead"
	case want == kindBool && e.kind == '"' && (e.text == "true" || e.text == "false"):
		return "; remove the quotes"
	case (want == kindMillis || want == kindCount || want == kindNumber) && e.kind == '"':
		if _, err := strconv.ParseFloat(e.text, 64); err == nil {
			return "; remove the quotes"
		}
		if d, err := time.ParseDuration(e.text); want == kindMillis && err == nil && d >= minTime && d <= maxTime {
			return fmt.Sprintf("; write %d", d.Milliseconds())
		}
	case want == kindStrings && e.kind == '"':
		return "; put it in [ ]"
	case want == kindString && (e.kind == '0' || e.kind == 't' || e.kind == 'f'):
		return "; put it in quotes"
	}
	return ""
}

// supported refuses the values of k whose features are not there; value is JSON.
func (d *decoder) supported(k *key, path string, e *element, value string) bool {
	later, refused := k.laterValues[value]
	if refused {
		d.fail(e.at, path, value+" is "+notYet(later.instead))
	}
	return !refused
}

// text reads a string: variables, then what the row asks of it.
func (d *decoder) text(k *key, path string, e *element) {
	s, shown, ok := d.expanded(path, e)
	if !ok {
		return
	}
	if message := k.problem(s, shown); message != "" {
		d.fail(e.at, path, message)
		return
	}
	if len(k.laterValues) > 0 && !d.supported(k, path, e, strconv.Quote(s)) {
		return
	}
	if k.kind == kindSecret {
		d.secrets[path] = e.at
		k.read(d.t, Secret(s))
		return
	}
	k.read(d.t, s)
}

// problem says what is wrong with the string s, or "". It repeats s only if shown, and if the
// row is not private.
func (k *key) problem(s string, shown bool) string {
	subject := "the value"
	if shown && !k.private && k.kind != kindSecret {
		subject = quote(s)
	}
	if _, later := k.laterValues[strconv.Quote(s)]; len(k.enum) > 0 && !later && !slices.Contains(k.enum, s) {
		message := subject + " is not one of " + strings.Join(k.enum, ", ")
		meant := k.meant[s]
		if meant == "" {
			meant = nearest(s, k.enum, maxEdits)
		}
		if meant != "" && shown {
			message += fmt.Sprintf("; did you mean %q?", meant)
		}
		return message
	}
	if k.check != nil {
		if err := k.check(s); err != nil {
			return subject + " " + err.Error()
		}
	}
	return ""
}

// expanded is the string of e with its variables. shown is false if a variable was put in.
func (d *decoder) expanded(path string, e *element) (s string, shown, ok bool) {
	s, changed, faults := expand(e.text, d.getenv)
	for _, f := range faults {
		at := e.at
		if string(e.raw) == `"`+e.text+`"` { // no escapes, so the offsets agree
			at += 1 + f.offset
		}
		d.fail(at, path, f.message)
	}
	return s, !changed, len(faults) == 0
}

// itemText reads a string inside a list or map.
func (d *decoder) itemText(k *key, path string, e *element) (string, bool) {
	if e.kind != '"' {
		d.fail(e.at, path, fmt.Sprintf("want a string, found %s%s", e.found(), hint(kindString, e)))
		return "", false
	}
	s, shown, ok := d.expanded(path, e)
	if !ok {
		return "", false
	}
	if message := k.problem(s, shown); message != "" {
		d.fail(e.at, path, message)
		return "", false
	}
	return s, true
}

func (d *decoder) stringMap(k *key, path string, e *element) {
	var out map[string]string
	good := true
	for _, m := range e.members {
		if err := k.checkName(m.name); err != nil {
			// The name is not repeated: "API_KEY=secret" may stand here by mistake.
			d.fail(m.at, path, err.Error())
			good = false
			continue
		}
		s, ok := d.itemText(k, join(path, m.name), m.value)
		good = good && ok
		if out == nil {
			out = make(map[string]string, len(e.members))
		}
		out[m.name] = s
	}
	if good {
		k.read(d.t, out)
	}
}

// entries reads an object of named objects.
func (d *decoder) entries(k *key, path string, e *element) {
	row := k.child("*")
	for _, m := range e.members {
		if err := k.checkName(m.name); err != nil {
			d.fail(m.at, path, quote(m.name)+" "+err.Error())
		}
		d.entry(row, join(path, m.name), m.name, m.value)
	}
}

// entry reads one object of entries or list.
func (d *decoder) entry(row *key, path, name string, e *element) {
	if !row.kind.takes(e) {
		d.fail(e.at, path, wrongKind(row, e))
		return
	}
	if row.begin != nil {
		row.begin(d.t, name)
		d.setDefaults(row.children)
	}
	d.object(section{row, path, e})
}

// maxEdits is how far a word may be from the one that was probably meant.
const maxEdits = 4

// unknown reports a key that is not in the table: an error, or in a lax section and far from
// every known key, a part of one warning.
func (d *decoder) unknown(s section, m member) {
	if len(d.problems) >= maxProblems { // will only be counted
		d.fail(m.at, s.path, "unknown key "+quote(m.name))
		return
	}
	edits, depth := maxEdits, math.MaxInt
	if s.key.lax {
		edits, depth = 2, 2
	}
	known := s.key.names()
	near := nearest(m.name, known, edits)
	var others []string
	if s.key.fixed() {
		others = elsewhere(root, m.name, s.key, depth)
	}
	message := "unknown key " + quote(m.name)
	switch {
	case near != "" && sameLetters(near, m.name):
		message += fmt.Sprintf("; keys are case-sensitive, did you mean %q?", near)
	case len(others) > 0:
		message += "; it belongs at " + strings.Join(others, " or ")
	case near != "":
		message += fmt.Sprintf("; did you mean %q?", near)
	case s.key.lax:
		d.unused = append(d.unused, located{m.at, join(s.path, m.name), ""})
		return
	default:
		message += "; the keys here are " + strings.Join(s.key.supportedNames(), ", ")
	}
	d.fail(m.at, s.path, message)
}

// supportedNames are the keys of this section that may be used.
func (k *key) supportedNames() []string {
	var names []string
	for _, c := range k.children {
		if c.later == "" {
			names = append(names, c.name)
		}
	}
	return names
}
