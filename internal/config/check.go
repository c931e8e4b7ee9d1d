package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// The checks return what is wrong as the rest of a sentence about the value, which they do
// not repeat: "must be …".

// Patterns that the schema shares. A test holds namePattern against wire.CheckName.
const (
	namePattern      = `^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`
	keyPrefixPattern = `^[A-Za-z0-9][A-Za-z0-9._:-]{0,62}$`
	bcryptPattern    = `^\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}$`
	tokenPattern     = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
	displayPattern   = `^[^\x00-\x1f\x7f]{1,128}$`
	idPattern        = `^[!-~]{1,128}$`
	basePattern      = `^[Hh][Tt][Tt][Pp][Ss]?://[^?#]+$`
)

var errEmpty = errors.New("must not be empty")

// matches makes a check of a pattern.
func matches(pattern, message string) func(string) error {
	re := regexp.MustCompile(pattern)
	return func(s string) error {
		if !re.MatchString(s) {
			return errors.New(message)
		}
		return nil
	}
}

func checkServerName(s string) error { return checkName("server name", s) }

func checkGroupName(s string) error { return checkName("group name", s) }

func checkNodeID(s string) error { return checkName("node id", s) }

// checkName turns wire's error into the rest of a sentence.
func checkName(what, s string) error {
	err := wire.CheckName(what, s)
	if err == nil {
		return nil
	}
	return errors.New("is " + strings.TrimPrefix(err.Error(), what+": "))
}

func checkNoNUL(s string) error {
	if strings.ContainsRune(s, 0) {
		return errors.New("has a NUL character, which no program can be given")
	}
	return nil
}

func checkCommand(s string) error {
	if strings.TrimSpace(s) == "" {
		return errEmpty
	}
	return checkNoNUL(s)
}

func checkEnvName(s string) error {
	if s == "" || strings.ContainsAny(s, "=\x00") {
		return errors.New("an environment variable's name is not empty and has no = or NUL")
	}
	return nil
}

func checkToken(s string) error {
	if !wire.IsToken(s) {
		return errors.New("must be an HTTP token: letters, digits and !#$%&'*+.^_`|~- only")
	}
	return nil
}

// ownHeaders are set by MCPHub, or by HTTP itself, on every request to a server.
var ownHeaders = map[string]bool{
	"accept": true, "connection": true, "content-length": true, "content-type": true, "host": true, "keep-alive": true,
	"last-event-id": true, "mcp-protocol-version": true, "mcp-session-id": true, "proxy-connection": true, "te": true,
	"trailer": true, "transfer-encoding": true, "upgrade": true,
}

func checkUpstreamHeader(s string) error { return checkHeaderBut(ownHeaders, s) }

// exportHeaders are set on every export of traces.
var exportHeaders = map[string]bool{
	"connection": true, "content-encoding": true, "content-length": true, "content-type": true, "host": true, "transfer-encoding": true,
}

func checkTracingHeader(s string) error { return checkHeaderBut(exportHeaders, s) }

// checkHeaderBut is for a header that is not among those set already.
func checkHeaderBut(set map[string]bool, s string) error {
	if !wire.IsToken(s) {
		return errors.New("a header's name is an HTTP token: letters, digits and !#$%&'*+.^_`|~- only")
	}
	if set[strings.ToLower(s)] {
		return fmt.Errorf("the header %s is set by MCPHub itself: remove it", s)
	}
	return nil
}

// checkAffinityHeader is for a header that goes to clients and comes back.
func checkAffinityHeader(s string) error {
	if err := checkToken(s); err != nil {
		return err
	}
	if wire.TakenHeader(s) {
		return errors.New("has another meaning already: take a name that begins with X-")
	}
	return nil
}

func checkHeaderValue(s string) error {
	if strings.ContainsFunc(s, func(r rune) bool { return r != '\t' && unicode.IsControl(r) }) {
		return errors.New("has a line break or control character, which no header can carry")
	}
	return nil
}

// checkCredential accepts what can stand after "Bearer " in a header.
func checkCredential(s string) error {
	if s == "" {
		return errors.New("must not be empty: remove the key, or give it a value")
	}
	for i := range len(s) {
		if s[i] < '!' || s[i] > '~' {
			return errors.New("may have only visible ASCII characters and no spaces, as it is sent in a header")
		}
	}
	return nil
}

func checkDisplayName(s string) error {
	if strings.TrimSpace(s) == "" {
		return errEmpty
	}
	if n := utf8.RuneCountInString(s); n > 128 {
		return fmt.Errorf("has %d characters and may have at most 128", n)
	}
	if strings.IndexFunc(s, unicode.IsControl) >= 0 {
		return errors.New("has a control character")
	}
	return nil
}

var id = regexp.MustCompile(idPattern)

// checkID is for MCPHub's identifiers, which are UUIDs there.
func checkID(s string) error {
	if !id.MatchString(s) {
		return errors.New("must be 1 to 128 visible ASCII characters")
	}
	return nil
}

// checkNote is for text that is only shown.
func checkNote(s string) error {
	if n := utf8.RuneCountInString(s); n > maxNote {
		return fmt.Errorf("has %d characters and may have at most %d", n, maxNote)
	}
	if strings.ContainsRune(s, 0) {
		return errors.New("has a NUL character")
	}
	return nil
}

const maxNote = 1000

// checkTool is for the name of a tool, which its server chose.
func checkTool(s string) error {
	if s == "" {
		return errEmpty
	}
	if n := len(s); n > maxTool {
		return fmt.Errorf("has %d bytes and may have at most %d", n, maxTool)
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return errors.New("has a control character")
	}
	return nil
}

const maxTool = 256

// checkURL checks what is common to all addresses over HTTP.
func checkURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, errors.New("is not a URL: want http://host[:port] or https://host[:port]")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("must be an absolute URL that begins with http:// or https://")
	case u.Hostname() == "":
		return nil, errors.New("names no host")
	case u.User != nil:
		return nil, errors.New("must not hold a user name or password")
	case strings.Contains(s, "#"):
		return nil, errors.New("must not have a fragment (#…)")
	}
	return u, checkPort(u.Port())
}

// checkServerURL is for an MCP endpoint, whose query may hold a key.
func checkServerURL(s string) error {
	_, err := checkURL(s)
	return err
}

// checkBaseURL is for an address to which paths are appended.
func checkBaseURL(s string) error {
	u, err := checkURL(s)
	if err == nil && (u.RawQuery != "" || u.ForceQuery) {
		return errors.New("must not have a query (?…)")
	}
	return err
}

func checkPort(port string) error {
	if port == "" {
		return nil
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return errors.New("has a port that is not 1 to 65535")
	}
	return nil
}

func checkRedisURL(s string) error {
	if s == "" {
		return errors.New("must not be empty: remove the key to use the embedded Redis")
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return errors.New("is not a URL: want redis://[user:password@]host:port/0")
	case u.Scheme != "redis" && u.Scheme != "rediss":
		return errors.New("must begin with redis:// or rediss://")
	case u.Hostname() == "":
		return errors.New("names no host")
	}
	return checkPort(u.Port())
}

// checkHost is for the Host header: a name or address, with or without a port.
func checkHost(s string) error {
	bad := errors.New("must be a host name or address, with or without a port: no scheme, no path, no wildcard")
	u, err := url.Parse("http://" + s)
	if err != nil || u.Host != s || u.Hostname() == "" || !hostname(u.Hostname()) {
		return bad
	}
	if strings.HasSuffix(s, ":") {
		return bad
	}
	return checkPort(u.Port())
}

// hostname reports whether s looks like a DNS name or an IP address.
func hostname(s string) bool {
	if net.ParseIP(s) != nil {
		return true
	}
	for i := range len(s) {
		c := s[i]
		if c != '.' && c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return s != ""
}

// checkOrigin is for the Origin header. "null" is refused: any sandboxed page sends it.
func checkOrigin(s string) error {
	scheme, host, ok := strings.Cut(s, "://")
	u, err := url.Parse(s)
	if !ok || err != nil || u.Scheme != strings.ToLower(scheme) || checkHost(host) != nil {
		return errors.New("must be an origin: scheme://host[:port], with no path, no trailing slash and no wildcard")
	}
	return nil
}

func trimSlashes(s string) string { return strings.TrimRight(s, "/") }

// secrets keeps the values of a map from being shown.
func secrets(m map[string]string) map[string]Secret {
	if m == nil {
		return nil
	}
	out := make(map[string]Secret, len(m))
	for name, value := range m {
		out[name] = Secret(value)
	}
	return out
}

func lower(ss []string) []string {
	var out []string
	for _, s := range ss {
		out = append(out, strings.ToLower(s))
	}
	return out
}
