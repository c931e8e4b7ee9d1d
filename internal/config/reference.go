package config

import (
	"bytes"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"
)

//go:generate go test -run ^TestGenerated$ . -update

//go:embed reference.md.tmpl
var referenceText string

var referenceTemplate = template.Must(template.New("reference").Parse(referenceText))

// Reference returns the description of all settings, made from the table: the content of
// docs/settings.md.
func Reference() []byte {
	var b bytes.Buffer
	err := referenceTemplate.Execute(&b, struct {
		Variables []line
		Sections  []referenceSection
		Later     []line
		MinTime   int64
		Default   string
		Reload    []string
	}{variableLines(), referenceSections(), laterLines(), minTime.Milliseconds(), DefaultPath, reloadPaths()})
	if err != nil {
		panic("config: reference: " + err.Error()) // a fixed template over fixed data
	}
	return b.Bytes()
}

// reloadPaths are the single keys that may change in a running process.
func reloadPaths() []string {
	var paths []string
	root.all(func(k *key) {
		if k.reload {
			paths = append(paths, k.path)
		}
	})
	return paths
}

// line is a line of a table.
type line struct{ Key, Type, Default, Doc string }

// referenceSection is a heading with the table under it.
type referenceSection struct {
	Title, Doc string
	Lines      []line
}

func variableLines() []line {
	lines := make([]line, 0, len(variables))
	for _, v := range variables {
		l := line{Key: v.name, Default: code(v.def), Doc: v.doc}
		if v.path != "" {
			l.Doc = fmt.Sprintf("%s Wins over `%s`.", v.doc, v.path)
		}
		lines = append(lines, l)
	}
	return lines
}

// referenceSections are the sections that have options of their own.
func referenceSections() []referenceSection {
	var sections []referenceSection
	root.all(func(k *key) {
		if k.kind != kindObject || k.path == "" {
			return
		}
		s := referenceSection{Title: title(k.path), Doc: k.doc}
		for _, c := range k.children {
			if c.read != nil || c.unused || c.kind == kindList && !c.fixed() {
				s.Lines = append(s.Lines, line{c.name, c.typeName(), code(c.def), c.fullDoc()})
			}
		}
		if s.Lines != nil {
			sections = append(sections, s)
		}
	})
	return sections
}

// title is a section's path as people write it.
func title(path string) string {
	return strings.ReplaceAll(strings.ReplaceAll(path, "*", "<name>"), "[]", "[…]")
}

func (k *key) typeName() string {
	switch k.kind {
	case kindBool:
		return "boolean"
	case kindMillis:
		return "ms"
	case kindCount, kindNumber:
		return "number"
	case kindAny:
		return "any"
	case kindList:
		return "list"
	case kindChoice:
		return "`all` or list of strings"
	case kindStrings:
		return "list of strings"
	case kindMap:
		return "object of strings"
	}
	return "string"
}

// fullDoc is the text of a row with what follows from its other fields.
func (k *key) fullDoc() string {
	doc := k.doc
	if k.required {
		doc += " Required."
	}
	if len(k.laterValues) > 0 {
		doc += " See [not yet supported](#not-yet-supported)."
	}
	for _, v := range variables {
		if v.path == k.path {
			doc += fmt.Sprintf(" `%s` wins over it.", v.name)
		}
	}
	return doc
}

// laterLines are the options that are refused as not yet supported.
func laterLines() []line {
	var lines []line
	root.all(func(k *key) {
		at := title(k.path)
		switch {
		case k.later != "":
			lines = append(lines, line{Key: at, Doc: k.doc, Default: k.later})
		case k.laterItems != "":
			lines = append(lines, line{Key: at + ": […]", Doc: "A choice of them.", Default: k.laterItems})
		}
		for _, value := range slices.Sorted(maps.Keys(k.laterValues)) {
			lines = append(lines, line{Key: at + ": " + value, Doc: k.laterValues[value].asks, Default: k.laterValues[value].instead})
		}
	})
	return lines
}

// code is s as code in Markdown, or a dash.
func code(s string) string {
	if s == "" {
		return "–"
	}
	return "`" + unquote(s) + "`"
}
