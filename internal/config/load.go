package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// DefaultPath is the settings file when none is named, in the working directory.
const DefaultPath = "mcp_settings.json"

// Load reads the settings file at path, then the environment through getenv, which is
// [os.Getenv] outside tests and returns "" for what is not set.
//
// An empty path means the file in $MCPHUB_SETTINGS, else [DefaultPath]. A missing
// DefaultPath stands for an empty file, so that everything has its default; a missing file
// that was named is an error that wraps [fs.ErrNotExist]. What is wrong inside the file or
// the environment comes as [Problems]. The Settings are nil with every error.
func Load(path string, getenv func(string) string) (*Settings, error) {
	named := path != ""
	if !named {
		path = getenv(envSettings)
		named = path != ""
	}
	if !named {
		path = DefaultPath
	}
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return Parse("", []byte("{}"), getenv)
	}
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	return Parse(path, data, getenv)
}

// readFile reads a file, but not far more than may be in it.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the path is the administrator's choice
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // opened for reading: nothing can be lost
	return io.ReadAll(io.LimitReader(f, maxBytes+1))
}

// Parse reads settings from data, a file called name, and from the environment, as [Load]
// does. Every error is [Problems].
func Parse(name string, data []byte, getenv func(string) string) (*Settings, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	d := &decoder{
		file: name, pos: newPositions(data), getenv: getenv,
		secrets: map[string]int{}, seen: map[[3]string]bool{},
		t: &target{Settings: &Settings{Path: name, Port: defaultPort, Mode: Standalone}},
	}
	d.setDefaults(root.children)
	if e := parseTree(data, d.fail); e != nil {
		if e.kind == '{' {
			d.object(section{root, "", e})
			d.endFile(e)
		} else {
			d.fail(e.at, "", "want an object, found "+e.found())
		}
	}
	problems := d.inOrder()
	problems = append(problems, d.environment()...)
	if len(problems) > 0 {
		return nil, problems
	}
	slices.SortFunc(d.t.Groups, func(a, b Group) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(d.t.Servers, func(a, b Server) int { return strings.Compare(a.Name, b.Name) })
	d.finishWarnings()
	return d.t.Settings, nil
}

// inOrder is what was found in the file, in its order.
func (d *decoder) inOrder() Problems {
	sort.SliceStable(d.problems, func(i, j int) bool { return d.problems[i].at < d.problems[j].at })
	problems := make(Problems, 0, len(d.problems))
	for _, l := range d.problems {
		problems = append(problems, d.problem(l))
	}
	return problems
}

// problem gives a message its line and column.
func (d *decoder) problem(l located) Problem {
	line, column := d.pos.at(l.at)
	return Problem{File: d.file, Line: line, Column: column, Path: l.path, Message: l.message}
}

// environment lets the variables win over the file.
func (d *decoder) environment() Problems {
	var problems Problems
	for _, v := range variables {
		value := d.getenv(v.name)
		if value == "" {
			continue
		}
		if err := d.override(v, value); err != nil {
			problems = append(problems, Problem{File: "environment variable " + v.name, Message: err.Error()})
		}
	}
	return problems
}

// override puts the value of one variable into the settings.
func (d *decoder) override(v variable, value string) error {
	if v.name == envPort {
		port, err := strconv.Atoi(value)
		if err != nil || port < 1 || port > 65535 {
			return fmt.Errorf("%s is not a port from 1 to 65535", quote(value))
		}
		d.t.Port = port
	}
	k := lookup(v.path)
	if k == nil {
		return nil
	}
	if message := k.problem(value, false); message != "" {
		return errors.New(message)
	}
	if k.kind == kindSecret {
		k.read(d.t, Secret(value))
	} else {
		k.read(d.t, value)
	}
	return nil
}

// lookup finds the row at a fixed path; nil for the empty path.
func lookup(path string) *key {
	if path == "" {
		return nil
	}
	k := root
	for name := range strings.SplitSeq(path, ".") {
		k = k.child(name)
	}
	return k
}

// finishWarnings adds what only the whole can tell and writes the warnings out.
func (d *decoder) finishWarnings() {
	if len(d.unused) > 0 {
		sort.SliceStable(d.unused, func(i, j int) bool { return d.unused[i].at < d.unused[j].at })
		var paths []string
		for _, u := range d.unused[:min(len(d.unused), maxUnused)] {
			paths = append(paths, u.path)
		}
		message := "not used by this MCPHub, and ignored: " + strings.Join(paths, ", ")
		if more := len(d.unused) - len(paths); more > 0 {
			message += fmt.Sprintf(" and %d more", more)
		}
		d.warn(d.unused[0].at, "", message)
	}
	shortSecrets(d.t.Settings, func(path string) {
		d.warn(d.whereSet(path), path, fmt.Sprintf("has fewer than %d characters and may be guessed", minSecret))
	})
	sort.SliceStable(d.warnings, func(i, j int) bool { return d.warnings[i].at < d.warnings[j].at })
	for _, w := range d.warnings {
		p := d.problem(w)
		if w.at == fromEnvironment {
			p.File, p.Line, p.Column = "environment", 0, 0
		}
		d.t.Warnings = append(d.t.Warnings, p.Error())
	}
}

// maxUnused is how many unused sections the warning names.
const maxUnused = 20

// fromEnvironment is the offset of what is not in the file.
const fromEnvironment = math.MaxInt

// whereSet is the offset at which the value of a secret stands.
func (d *decoder) whereSet(path string) int {
	for _, v := range variables {
		if v.path == path && d.getenv(v.name) != "" {
			return fromEnvironment
		}
	}
	if at, ok := d.secrets[path]; ok {
		return at
	}
	return fromEnvironment
}
