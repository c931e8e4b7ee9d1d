package wire

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// MaxName is the greatest length of a name, in bytes.
const MaxName = 63

// ErrName is wrapped by every error of CheckName.
var ErrName = errors.New("not a valid name")

// CheckName refuses a string that may not name a node, a server or a group: a name is a
// letter or digit followed by at most 62 letters, digits, dots, underscores and hyphens, all
// ASCII, so that it stands in Redis keys, URLs and logs as it is. The error wraps ErrName,
// starts with what (say "node id"), gives the reason and never repeats the whole string.
func CheckName(what, s string) error {
	if s == "" {
		return fmt.Errorf("%s: %w: it is empty", what, ErrName)
	}
	for i := range min(len(s), MaxName) {
		c := s[i]
		if isAlnum(c) {
			continue
		}
		if c != '.' && c != '_' && c != '-' {
			r, _ := utf8.DecodeRuneInString(s[i:])
			return fmt.Errorf("%s: %w: %q at position %d is not allowed; use ASCII letters, digits, '.', '_' and '-'",
				what, ErrName, r, i+1)
		}
		if i == 0 {
			return fmt.Errorf("%s: %w: it must start with a letter or digit, not %q", what, ErrName, c)
		}
	}
	if len(s) > MaxName {
		return fmt.Errorf("%s: %w: it is %d bytes long and may have at most %d", what, ErrName, len(s), MaxName)
	}
	return nil
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
