package config

import (
	"fmt"
	"strings"
)

// maxVariable is the longest name of an environment variable that is looked up.
const maxVariable = 255

// fault is a problem inside a string, at a byte offset of it.
type fault struct {
	offset  int
	message string
}

// expand replaces each ${NAME} in s with the value of that environment variable, in one
// pass: what a variable holds is not looked at again. "$${" stands for "${" itself, and any
// other "$" for itself. changed reports whether a variable was put in, so that the result
// may hold what must not be shown.
func expand(s string, getenv func(string) string) (out string, changed bool, faults []fault) {
	var b strings.Builder
	for i := 0; i < len(s); {
		switch {
		case strings.HasPrefix(s[i:], "$${"):
			b.WriteString("${")
			i += len("$${")
		case strings.HasPrefix(s[i:], "${"):
			name, ok := variableName(s[i+len("${"):])
			if !ok {
				faults = append(faults, fault{i, "this is not a variable: write ${NAME} with letters, digits and _, " +
					"or $${ for a plain ${"})
				i += len("${")
				continue
			}
			value := getenv(name)
			if value == "" {
				faults = append(faults, fault{i, fmt.Sprintf("environment variable %s is not set, or empty", name)})
			}
			b.WriteString(value)
			changed = true
			i += len("${") + len(name) + len("}")
		default:
			b.WriteByte(s[i])
			i++
		}
	}
	return b.String(), changed, faults
}

// variableName returns the name at the beginning of s, which must be closed by a brace.
func variableName(s string) (string, bool) {
	for i := range min(len(s), maxVariable+1) {
		c := s[i]
		switch {
		case c == '_', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', i > 0 && '0' <= c && c <= '9':
		case c == '}' && i > 0:
			return s[:i], true
		default:
			return "", false
		}
	}
	return "", false
}
