package config

import (
	"fmt"
	"log/slog"
)

// redacted stands for a secret wherever one is printed.
const redacted = "[redacted]"

// Secret is text that must not be shown: a password, a token, a key, a URL that holds
// one. Every way of printing it (fmt with any verb, encoding/json, slog) gives
// "[redacted]", or nothing when it is empty, so that an unset one can be told from a set
// one. The zero value is the unset secret.
type Secret string

// Reveal returns the secret itself. Use it where the secret is needed, never to print it.
func (s Secret) Reveal() string { return string(s) }

// String implements [fmt.Stringer] and is redacted.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString implements [fmt.GoStringer] and is redacted.
func (s Secret) GoString() string { return fmt.Sprintf("config.Secret(%q)", s.String()) }

// Format implements [fmt.Formatter]. Without it a verb that does not fit a string, such
// as %d, would print the text inside fmt's complaint.
func (s Secret) Format(f fmt.State, verb rune) {
	switch {
	case verb == 'v' && f.Flag('#'):
		_, _ = f.Write([]byte(s.GoString()))
	case verb == 'q':
		_, _ = fmt.Fprintf(f, "%q", s.String())
	default:
		_, _ = f.Write([]byte(s.String()))
	}
}

// LogValue implements [slog.LogValuer] and is redacted.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText implements [encoding.TextMarshaler] and is redacted.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON implements [encoding/json.Marshaler] and is redacted.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }
