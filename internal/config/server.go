package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"time"
)

// Values of [Server].Type.
const (
	// Stdio is a child process that speaks MCP over its standard input and output.
	Stdio = "stdio"
	// StreamableHTTP is a server elsewhere that speaks MCP's streamable HTTP transport.
	StreamableHTTP = "streamable-http"
	// SSE is a server elsewhere that speaks the HTTP+SSE transport of MCP 2024-11-05.
	SSE = "sse"
)

// Values of [Server].Isolation.
const (
	// Shared is one process, or one connection, for all sessions.
	Shared = "shared"
	// PerSession is a process for each session.
	PerSession = "session"
)

// Server is one entry of mcpServers. Exactly one of Command and URL is set.
//
// Arguments, environment, headers and the rest of the URL often hold keys, so a Server
// prints without their values.
type Server struct {
	// Name follows the rule for names and is unique.
	Name string
	// Type is Stdio with Command. With URL it is StreamableHTTP or SSE, or empty where the
	// settings do not say which of the two the server speaks.
	Type    string
	Command string
	Args    []string
	// Env is what the child gets beside the little that every child gets.
	Env map[string]string
	// URL is absolute, http or https, without user information or fragment.
	URL string
	// Headers go with every request to URL.
	Headers map[string]string
	Enabled bool
	// Isolation is Shared or PerSession; PerSession goes with Command only.
	Isolation string
	// MaxProcesses is how many processes may run at one time, spares included; Warm is how many
	// spares wait for a session, at most MaxProcesses. Both are zero with Shared.
	MaxProcesses, Warm int
	// IdleTimeout ends the process of a session that has not been used for so long. Zero means
	// never; it is zero with Shared.
	IdleTimeout time.Duration
	// StartTimeout bounds one attempt to start the server, or to connect to it: handshake and
	// lists included.
	StartTimeout time.Duration
	// CallTimeout is the longest time a request may go without an answer and without progress.
	CallTimeout time.Duration
	// NoRoots is for a server that does not get its clients' roots.
	NoRoots bool
	// Weight is the share of new sessions of this replica against those on other nodes, 1 to
	// 100; the node's weight multiplies it.
	Weight int
}

// shownServer is what may be seen of a Server.
type shownServer struct {
	Name    string
	Type    string
	Enabled bool
	Command string   `json:",omitempty"`
	Args    int      `json:",omitempty"` // how many
	Env     []string `json:",omitempty"` // names only
	URL     string   `json:",omitempty"` // scheme and host only
	Headers []string `json:",omitempty"` // names only

	Isolation    string        `json:",omitempty"`
	MaxProcesses int           `json:",omitempty"`
	Warm         int           `json:",omitempty"`
	IdleTimeout  time.Duration `json:",omitempty"`
	StartTimeout time.Duration `json:",omitempty"`
	CallTimeout  time.Duration `json:",omitempty"`
	NoRoots      bool          `json:",omitempty"`
	Weight       int           `json:",omitempty"`
}

func (s Server) shown() shownServer {
	return shownServer{
		Name: s.Name, Type: s.Type, Enabled: s.Enabled, Command: s.Command, Args: len(s.Args),
		Env: slices.Sorted(maps.Keys(s.Env)), URL: origin(s.URL), Headers: slices.Sorted(maps.Keys(s.Headers)),
		Isolation: s.Isolation, MaxProcesses: s.MaxProcesses, Warm: s.Warm, IdleTimeout: s.IdleTimeout,
		StartTimeout: s.StartTimeout, CallTimeout: s.CallTimeout, NoRoots: s.NoRoots, Weight: s.Weight,
	}
}

// origin is the scheme and host of raw; what follows them may be secret.
func origin(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// String implements [fmt.Stringer], without secrets.
func (s Server) String() string { return fmt.Sprintf("%+v", s.shown()) }

// GoString implements [fmt.GoStringer], without secrets.
func (s Server) GoString() string { return fmt.Sprintf("config.Server%+v", s.shown()) }

// Format implements [fmt.Formatter], so that no verb prints secrets.
func (s Server) Format(f fmt.State, verb rune) {
	if verb == 'v' && f.Flag('#') {
		_, _ = f.Write([]byte(s.GoString()))
		return
	}
	_, _ = f.Write([]byte(s.String()))
}

// LogValue implements [slog.LogValuer], without secrets.
func (s Server) LogValue() slog.Value { return slog.AnyValue(s.shown()) }

// MarshalJSON implements [json.Marshaler], without secrets.
func (s Server) MarshalJSON() ([]byte, error) { return json.Marshal(s.shown()) }
