package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mcphub-go/mcphub/internal/telemetry"
	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// Transports a server can be reached by, as in store.Server.
const (
	TransportStdio   = "stdio"
	TransportHTTP    = "streamable-http"
	TransportSSE     = "sse"
	TransportBuiltin = "builtin"
)

// What the sessions of a server have of their own, as in ServerConfig.Isolation.
const (
	IsolationShared  = "shared"
	IsolationSession = "session"
)

// defaultMaxProcesses bounds the processes of an isolated server for which nothing is said.
const defaultMaxProcesses = 16

// Config is what a node needs to know. Zero durations and numbers mean their defaults.
type Config struct {
	// ID and Instance are the node's own; both are needed.
	ID       store.NodeID
	Instance store.Instance
	// Secret is cluster.secret. Empty means none; the instance then proves the address.
	Secret string
	// Host is that of the URL under which coordinators reach the node, with or without a port. Empty
	// means that it is an address, or a name that only a private network has.
	Host string
	// Version is the release, told to MCP servers as clientInfo. Empty means "dev".
	Version string
	// Servers are the MCP servers to run, in any order, their names unique.
	Servers []ServerConfig
	// Member is the node's place in its fleet, which /health names and POST /api/node/join asks.
	// Nil means that it has none that it could change.
	Member Member
	// Environ is the environment of this process, KEY=value, from which children get PATH,
	// HOME and the like and nothing else. Nil means children get only their own settings.
	Environ []string

	// SessionTimeout is the idle time after which a session is forgotten, a tenth of it added,
	// so that a coordinator always lets go first. It holds until a grant names the fleet's own.
	// Zero means an hour.
	SessionTimeout time.Duration
	// StartParallel is the number of servers started at the same time. Zero means 8.
	StartParallel int
	// StartTimeout bounds one attempt to start a server: process, handshake and lists. A server
	// may have its own. Zero means 30s.
	StartTimeout time.Duration
	// CallTimeout is the longest time a request may go without an answer and without progress;
	// then its caller gets error 1001, and the server is told that it is cancelled. A server may
	// have its own. Zero means 10min.
	CallTimeout time.Duration
	// DrainTimeout bounds the wait for requests in flight once Run's context has ended. Zero
	// means 10s.
	DrainTimeout time.Duration
	// StopGrace is the wait after closing a child's stdin, and again after SIGTERM. Zero
	// means 2s.
	StopGrace time.Duration
	// WriteTimeout bounds one write to a child's stdin; a child that does not read for so long
	// is killed and started again. Zero means 5s.
	WriteTimeout time.Duration
	// PingInterval is the time between pings of an HTTP server whose own stream does not show
	// that it lives. Zero means 10s.
	PingInterval time.Duration
	// RelistInterval is the time between looks at the lists of an HTTP server that has no
	// stream to announce changes on. Zero means 1min.
	RelistInterval time.Duration
	// StreamAfter is how long a request may be unanswered before its answer becomes an event
	// stream, and KeepAlive the time between comments on one. Zero means 1s and 15s.
	StreamAfter, KeepAlive time.Duration
	// LogBytes bounds what is kept of the event streams of one session, so that they can be
	// taken up again: of messages for which there is no stream, of those a slow client has not
	// read, and of those it has. Zero means 1 MiB. LogAge is how long that is kept after it was
	// written, or for the stream of a call, after the answer. Zero means 5min.
	LogBytes int
	LogAge   time.Duration
	// MaxAsks bounds the requests of a server that one session's client has not answered yet. Zero
	// means 64.
	MaxAsks int
	// MaxStreams bounds the streams by GET that one session has open at a time. Zero means 8.
	MaxStreams int
	// MaxSessions bounds the sessions of one server, MaxCalls the requests one server has in
	// hand, MaxSessionCalls those of one session. Zero means 100000, 10000 and 1000.
	MaxSessions, MaxCalls, MaxSessionCalls int
	// MaxBody bounds the body of a request, in bytes. Zero means 4 MiB.
	MaxBody int64

	// Meter counts what is asked of servers, Tracer makes spans of it and tells servers of them in
	// params._meta; nil ones do nothing. Metrics answers GET /metrics on loopback and private
	// addresses; nil means there is no such call.
	Meter   *telemetry.Worker
	Tracer  *telemetry.Tracer
	Metrics http.Handler
}

// ServerConfig is one MCP server. Exactly one of Command, URL and Builtin says where it is.
type ServerConfig struct {
	Name string
	// Type is stdio, streamable-http, sse or builtin; empty means what the other fields say. A
	// server with a URL and no type is met over streamable HTTP, and if it refuses that, as one
	// of HTTP+SSE.
	Type string
	// Command, Args and Env describe a child process, started without a shell. A command
	// without a slash is looked for in the child's own PATH.
	Command string
	Args    []string
	Env     map[string]string
	// URL and Headers describe a server over HTTP: its endpoint, or its event stream where Type
	// is sse.
	URL     string
	Headers map[string]string
	// Builtin is a server in this process.
	Builtin Builtin
	// Enabled is false for a server that is shown, and never started.
	Enabled bool
	// Weight is this replica's share of sessions. Less than 1 means 1.
	Weight int

	// Isolation is "session" for a child process for each session, which no other session has
	// used or will, and "shared" or empty for one connection that all sessions share. Only
	// stdio servers can be isolated.
	Isolation string
	// MaxProcesses bounds the processes of an isolated server, spares included. At the bound new
	// sessions are refused. Zero means 16.
	MaxProcesses int
	// Warm is the number of spare processes of an isolated server that are kept ready, with the
	// handshake behind them, for sessions to come; at most MaxProcesses.
	Warm int
	// IdleTimeout ends a session of an isolated server, and its process, when it has had no
	// request for so long and none in flight; what the process knew is lost, and the session's
	// next request opens it anew. Zero means that only the sessions' own timeout does.
	IdleTimeout time.Duration
	// NoRoots keeps clients' roots from the server: it is not told that clients have any, its
	// roots/list is refused, and it does not hear that roots have changed.
	NoRoots bool
	// StartTimeout and CallTimeout are this server's own. Zero means those of Config.
	StartTimeout, CallTimeout time.Duration
}

// Builtin is an MCP server inside this process, for demonstrations and embedding. It must be
// safe for concurrent use.
type Builtin interface {
	// Handle answers one message of a session; for a notification the answer is ignored. The
	// session is empty for the node's own messages. Notifications that belong to the message,
	// and requests to its client, go through emit, before Handle returns; a client's answer
	// comes as a message of the session, under the id of the request, which need not differ from
	// those in other sessions. ctx ends when the message is cancelled or the
	// node stops. frame is the callee's to keep.
	Handle(ctx context.Context, session string, frame []byte, emit func([]byte)) []byte
	// Forget ends a session.
	Forget(session string)
}

// Lease is the node's own lease as its heartbeat agent keeps it (*heartbeat.Lease). It is asked
// on every request, so it must not block.
type Lease interface {
	// Check refuses a caller: heartbeat.ErrCredential, an error wrapping store.ErrEpoch, or
	// any other error when the node must not run anything now. It may wait a moment for a
	// grant that the caller knows of already, and no longer than ctx.
	Check(ctx context.Context, e store.Epoch, credential string) error
	// Fresh reports whether the node may run anything now.
	Fresh() bool
	// SessionTimeout is how long the fleet keeps an idle session; zero while nobody has said.
	SessionTimeout() time.Duration
}

func (c Config) withDefaults() Config {
	dur := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	num := func(n *int, def int) {
		if *n <= 0 {
			*n = def
		}
	}
	dur(&c.SessionTimeout, time.Hour)
	dur(&c.StartTimeout, 30*time.Second)
	dur(&c.CallTimeout, 10*time.Minute)
	dur(&c.DrainTimeout, 10*time.Second)
	dur(&c.StopGrace, 2*time.Second)
	dur(&c.WriteTimeout, 5*time.Second)
	dur(&c.PingInterval, 10*time.Second)
	dur(&c.RelistInterval, time.Minute)
	dur(&c.StreamAfter, time.Second)
	dur(&c.KeepAlive, 15*time.Second)
	dur(&c.LogAge, 5*time.Minute)
	num(&c.LogBytes, 1<<20)
	num(&c.MaxStreams, 8)
	num(&c.MaxAsks, 64)
	num(&c.StartParallel, 8)
	num(&c.MaxSessions, 100_000)
	num(&c.MaxCalls, 10_000)
	num(&c.MaxSessionCalls, 1000)
	if c.MaxBody <= 0 {
		c.MaxBody = int64(wire.ClientLimits.MaxBytes)
	}
	if c.Version == "" {
		c.Version = "dev"
	}
	return c
}

// Validate joins everything that is wrong with the configuration into one error.
func (c Config) Validate() error {
	var errs []error
	errs = append(errs, wire.CheckName("node id", string(c.ID)))
	if c.Instance == "" {
		errs = append(errs, errors.New("node instance: it is empty"))
	}
	errs = append(errs, validateServers(c.Servers))
	return errors.Join(errs...)
}

func validateServers(servers []ServerConfig) error {
	var errs []error
	seen := map[string]bool{}
	for _, s := range servers {
		if seen[s.Name] {
			errs = append(errs, fmt.Errorf("server %s: the name is used twice", s.Name))
		}
		seen[s.Name] = true
		errs = append(errs, s.validate())
	}
	return errors.Join(errs...)
}

func (s ServerConfig) validate() error {
	if err := wire.CheckName("server name", s.Name); err != nil {
		return err
	}
	given := 0
	for _, is := range []bool{s.Command != "", s.URL != "", s.Builtin != nil} {
		if is {
			given++
		}
	}
	if given != 1 {
		return fmt.Errorf("server %s: it needs exactly one of command and url", s.Name)
	}
	switch s.Type {
	case "", s.transport():
	default:
		return fmt.Errorf("server %s: type %q does not fit a server with a %s", s.Name, s.Type, s.place())
	}
	if err := s.validateIsolation(); err != nil {
		return fmt.Errorf("server %s: %w", s.Name, err)
	}
	if s.StartTimeout < 0 || s.CallTimeout < 0 {
		return fmt.Errorf("server %s: startTimeout and callTimeout must not be negative", s.Name)
	}
	if s.URL == "" {
		return nil
	}
	u, err := url.Parse(s.URL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return fmt.Errorf("server %s: the url must be http:// or https:// with a host", s.Name)
	}
	return nil
}

func (s ServerConfig) validateIsolation() error {
	switch s.Isolation {
	case "", IsolationShared:
		if s.MaxProcesses != 0 || s.Warm != 0 || s.IdleTimeout != 0 {
			return errors.New("maxProcesses, warm and idleTimeoutMs need isolation: session")
		}
		return nil
	case IsolationSession:
	default:
		return fmt.Errorf("isolation %q is neither %s nor %s", s.Isolation, IsolationShared, IsolationSession)
	}
	switch most := s.maxProcesses(); {
	case s.transport() != TransportStdio:
		return fmt.Errorf("isolation: session is for servers with a command; this one is %s", s.transport())
	case most < 0:
		return fmt.Errorf("maxProcesses must be at least 1, not %d", most)
	case s.Warm < 0 || s.Warm > most:
		return fmt.Errorf("warm must be 0 to maxProcesses, %d, not %d", most, s.Warm)
	case s.IdleTimeout < 0:
		return errors.New("idleTimeoutMs must not be negative")
	}
	return nil
}

// isolated says that each session has a process of its own.
func (s ServerConfig) isolated() bool { return s.Isolation == IsolationSession }

func (s ServerConfig) maxProcesses() int { return cmp.Or(s.MaxProcesses, defaultMaxProcesses) }

// transport is what the fields say, whatever Type says.
func (s ServerConfig) transport() string {
	switch {
	case s.Builtin != nil:
		return TransportBuiltin
	case s.URL != "" && s.Type == TransportSSE:
		return TransportSSE
	case s.URL != "":
		return TransportHTTP
	default:
		return TransportStdio
	}
}

func (s ServerConfig) place() string {
	if s.URL != "" {
		return "url"
	}
	return "command"
}

// inherited are the variables children get from this process. The rest, credentials of the
// hub and addresses of its store among it, stays here.
var inherited = []string{
	"HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER",
}

// childEnv is the whole environment of a child: the inherited variables, then its own.
func childEnv(environ []string, own map[string]string) []string {
	var env []string
	for _, name := range inherited {
		if _, ok := own[name]; ok {
			continue
		}
		for _, kv := range environ {
			if strings.HasPrefix(kv, name+"=") {
				env = append(env, kv)
				break
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(own)) {
		env = append(env, k+"="+own[k])
	}
	return env
}
