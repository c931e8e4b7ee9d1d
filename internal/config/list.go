package config

import (
	"fmt"
)

// list reads a list of objects, or an object of them by name.
func (d *decoder) list(k *key, path string, e *element) {
	row := k.child("[]")
	for i, item := range e.items {
		if item.kind == '"' && row.plain != "" {
			item = &element{kind: '{', at: item.at, members: []member{{row.plain, item.at, item}}}
		}
		d.entry(row, fmt.Sprintf("%s[%d]", path, i), "", item)
	}
	for _, m := range e.members { // keyed
		if err := row.child(k.keyed).check(m.name); err != nil {
			d.fail(m.at, path, quote(m.name)+" "+err.Error())
			continue
		}
		d.entry(row, join(path, m.name), m.name, m.value.named(k.keyed, m))
	}
}

// named is an entry of an object that may also be a list, as an item of the list: its name is
// the key m. A list stands for its servers. A name inside is for people then, as MCPHub's
// guide has it, and goes before the description.
func (e *element) named(key string, m member) *element {
	name := member{key, m.at, &element{kind: '"', at: m.at, text: m.name}}
	switch e.kind {
	case '[':
		return &element{kind: '{', at: e.at, members: []member{name, {"servers", e.at, e}}}
	case '{':
	default:
		return e
	}
	out := &element{kind: '{', at: e.at, members: []member{name}}
	var title *element
	for _, sub := range e.members {
		switch {
		case sub.name == key:
			title = sub.value
		default:
			out.members = append(out.members, sub)
		}
	}
	if title == nil || title.kind == '"' && title.text == m.name {
		return out
	}
	return out.titled(title)
}

// titled puts a title before the description.
func (e *element) titled(title *element) *element {
	for i, sub := range e.members {
		if sub.name == "description" && sub.value.kind == '"' && title.kind == '"' {
			e.members[i].value = &element{kind: '"', at: title.at, text: title.text + ": " + sub.value.text}
			return e
		}
	}
	e.members = append(e.members, member{"description", title.at, title})
	return e
}

// strings reads a list of strings; of a choice also "all", which is nil.
func (d *decoder) strings(k *key, path string, e *element) {
	if k.kind == kindChoice {
		if e.kind == '"' {
			d.all(k, path, e)
			return
		}
		if k.laterItems != "" {
			d.fail(e.at, path, "a list is "+notYet(k.laterItems)+`; write "all"`)
			return
		}
	}
	var out []string
	if k.kind == kindChoice {
		out = []string{} // none is not all
	}
	good := true
	for i, item := range e.items {
		s, ok := d.itemText(k, fmt.Sprintf("%s[%d]", path, i), item)
		out, good = append(out, s), good && ok
	}
	if good {
		k.read(d.t, out)
	}
}

// all reads the word that stands for everything.
func (d *decoder) all(k *key, path string, e *element) {
	s, shown, ok := d.expanded(path, e)
	switch {
	case !ok:
	case s == everything:
		k.read(d.t, []string(nil))
	case shown:
		d.fail(e.at, path, fmt.Sprintf("%s is not %s; put it in [ ]", quote(s), k.kind.want()))
	default:
		d.fail(e.at, path, "the value is not "+k.kind.want())
	}
}

// everything is the word of a kindChoice for all there is.
const everything = "all"
