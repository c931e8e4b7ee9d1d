package config

import "time"

// Mode is the part that a process plays.
type Mode string

// The modes. A process is standalone unless systemConfig.cluster.enabled is true.
const (
	// Standalone is a coordinator and a node in one process.
	Standalone Mode = "standalone"
	// Coordinator is a front door: it carries clients' traffic to nodes, and runs servers
	// of its own when mcpServers names any.
	Coordinator Mode = "coordinator"
	// Node runs servers and registers with a coordinator.
	Node Mode = "node"
)

// Settings is everything that a settings file and the environment say, with defaults
// filled in. It is made by [Load] or [Parse] and not changed afterwards; it may be shared.
//
// It prints without its secrets.
type Settings struct {
	// Path is the file that was read, as it was named; empty when there was none.
	Path string
	// Port is the TCP port to listen on, 1 to 65535.
	Port int
	// Mode is Standalone whenever Cluster.Enabled is false.
	Mode Mode
	// Servers are the entries of mcpServers, disabled ones included, sorted by name.
	Servers []Server
	// NameSeparator stands between a server's name and a tool's in scopes of several servers.
	NameSeparator string
	Cluster       Cluster
	Routing       Routing
	Limits        Limits
	Tracing       Tracing
	// Groups are the groups of this file, sorted by name. Others may live in Redis.
	Groups []Group
	// BearerKeys are the keys of the list bearerKeys, disabled ones included, in its order.
	// Routing.BearerAuthKey is one more.
	BearerKeys []BearerKey
	Users      []User
	// Warnings are sentences, in the order of the file, about what is accepted but should
	// be looked at. They hold no secrets and belong in the log at start.
	Warnings []string
}

// Cluster is systemConfig.cluster.
type Cluster struct {
	// Enabled is what the file says; when false, the process is standalone.
	Enabled bool
	// Secret authenticates nodes to coordinators and back. Empty: none.
	Secret Secret
	// AdminToken opens management calls. Empty: they answer to private addresses only.
	AdminToken  Secret
	Redis       Redis
	Coordinator ClusterCoordinator
	Sticky      Sticky
	Node        ClusterNode
}

// Redis is systemConfig.cluster.redis.
type Redis struct {
	// URL has the scheme redis or rediss, and may hold a password. Empty: use the embedded one.
	URL Secret
	// KeyPrefix begins every key. It holds no braces, so hash tags stay what they are.
	KeyPrefix string
}

// ClusterCoordinator is systemConfig.cluster.coordinator. All times are whole milliseconds
// of at least 100 ms.
type ClusterCoordinator struct {
	// NodeTimeout is how long a node counts as alive after its last heartbeat.
	NodeTimeout time.Duration
	// CleanupInterval is the time between removals of nodes that are gone.
	CleanupInterval time.Duration
	// StickySessionTimeout is how long a session lives after its last use.
	StickySessionTimeout time.Duration
	// DrainTimeout is how long requests in hand may take once the coordinator is told to stop.
	DrainTimeout time.Duration
}

// Values of [Sticky].Strategy.
const (
	// ConsistentHash chooses the node of a new session by a hash of the session's id.
	ConsistentHash = "consistent-hash"
	// ByCookie lets a cookie, which the coordinator sets, name the node of a new session.
	ByCookie = "cookie"
	// ByHeader lets a header, which the coordinator returns, name the node of a new session.
	ByHeader = "header"
)

// Sticky is systemConfig.cluster.stickySession.
type Sticky struct {
	// Enabled is false where every call goes to any node that has the server.
	Enabled bool
	// Strategy is ConsistentHash, ByCookie or ByHeader. Without Enabled it means nothing.
	Strategy string
	// CookieName is an HTTP token, for ByCookie.
	CookieName string
	// HeaderName is an HTTP token and no header that HTTP, MCP or MCPHub uses, for ByHeader.
	HeaderName string
}

// ClusterNode is systemConfig.cluster.node.
type ClusterNode struct {
	// ID follows the rule for names. Empty: the node chooses one.
	ID string
	// Name is for people. Empty: the id is shown.
	Name string
	// URL is where coordinators reach this node, http or https, without a trailing slash.
	// Empty: found from POD_IP or from the connection to the coordinator.
	URL string
	// CoordinatorURL is where the node registers, http or https, without a trailing slash.
	// It is never empty when Mode is Node.
	CoordinatorURL string
	// Weight is the node's share of new sessions against other nodes, 1 to 100. It multiplies
	// the weight of each of its servers.
	Weight            int
	HeartbeatInterval time.Duration
	// RegisterOnStartup is false for a node that serves, and joins only when it is told to.
	RegisterOnStartup bool
	// DrainTimeout is how long requests in hand may take once the node is told to stop.
	DrainTimeout time.Duration
	Streams      NodeStreams
}

// NodeStreams is systemConfig.cluster.node.streams.
type NodeStreams struct {
	// LogBytes is what is kept of the streams of one session, and LogAge for how long.
	LogBytes int
	LogAge   time.Duration
	// MaxPerSession bounds the streams by GET of one session.
	MaxPerSession int
	// MaxParked bounds the requests of a server that one session's client has not answered.
	MaxParked int
}

// Routing is systemConfig.routing.
type Routing struct {
	// EnableGlobalRoute opens /mcp, which is all servers together.
	EnableGlobalRoute bool
	// EnableGroupNameRoute opens /mcp/<group>, of the groups of the file and of those in Redis.
	EnableGroupNameRoute bool
	// EnableBearerAuth asks MCP clients for a key: BearerAuthKey or an enabled one of
	// Settings.BearerKeys. Where there is none, nobody may come in.
	EnableBearerAuth bool
	// BearerAuthKey may use everything. It is empty where the list has the same key, whose
	// limits then hold.
	BearerAuthKey Secret
	// AllowedHosts are further values of the Host header to accept: host or host:port, in
	// lower case.
	AllowedHosts []string
	// AllowedOrigins are further values of the Origin header to accept:
	// scheme://host[:port], in lower case.
	AllowedOrigins []string
	// SSEEndpoint is RelativeEndpoint or AbsoluteEndpoint.
	SSEEndpoint string
}

// Values of [Routing].SSEEndpoint.
const (
	// RelativeEndpoint tells clients of HTTP+SSE a path to post to.
	RelativeEndpoint = "relative"
	// AbsoluteEndpoint tells them a whole URL.
	AbsoluteEndpoint = "absolute"
)

// User is an entry of users.
type User struct {
	Username string
	// PasswordHash is a bcrypt hash ($2a$, $2b$ or $2y$).
	PasswordHash Secret
	IsAdmin      bool
}
