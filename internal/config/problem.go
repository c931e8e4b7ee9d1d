package config

import (
	"fmt"
	"strings"
)

// maxProblems is how many problems are listed; a file with more is broken as a whole.
const maxProblems = 50

// Problem is one thing that is wrong with the settings.
type Problem struct {
	// File is the file's name, or "environment variable NAME".
	File string `json:"file"`
	// Line and Column say where, both counted from 1, the column in characters. Both are
	// zero for an environment variable.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Path is the key concerned, such as systemConfig.cluster.mode; empty for the whole file.
	Path string `json:"path,omitempty"`
	// Message says what is wrong and what is wanted. It holds no secrets.
	Message string `json:"message"`
}

// Error is the problem on one line: file:line:column: path: message.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": ")
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Problems is everything that is wrong with the settings, in the order of the file and then
// of the environment. It is the error of [Parse], and of [Load] once a file could be read.
type Problems []Problem

// Error lists the problems, one to a line. After the fiftieth it only counts them.
func (ps Problems) Error() string {
	lines := make([]string, 0, min(len(ps), maxProblems)+1)
	for i, p := range ps {
		if i == maxProblems {
			lines = append(lines, fmt.Sprintf("and %d more", len(ps)-maxProblems))
			break
		}
		lines = append(lines, p.Error())
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the single problems to [errors.Is] and [errors.As].
func (ps Problems) Unwrap() []error {
	errs := make([]error, len(ps))
	for i, p := range ps {
		errs[i] = p
	}
	return errs
}
