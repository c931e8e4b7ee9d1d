package store

import "time"

// NodeID names a node in the whole fleet. Rule: wire.CheckName.
type NodeID string

// ServerID names an MCP server; nodes that run a server of the same name are its replicas.
// Rule: wire.CheckName.
type ServerID string

// Instance tells one run of a process from the next: 32 hex digits, drawn at start.
type Instance string

// Epoch grows with each change of hands of a node id; what was sent under an older one is
// refused (a fencing token). The first is 1; zero means "none yet".
type Epoch int64

// Digest names a catalog by its content: the hex SHA-256 of its bytes.
type Digest string

// NodeState says what a node may be used for.
type NodeState string

// The states of a node.
const (
	// NodeActive takes new sessions.
	NodeActive NodeState = "active"
	// NodeDraining keeps its sessions and takes no new ones.
	NodeDraining NodeState = "draining"
	// NodeUnhealthy has let its lease lapse. Its record stays until cleanup.
	NodeUnhealthy NodeState = "unhealthy"
)

// Node is the record of one worker, as it described itself in its last beat.
type Node struct {
	ID       NodeID
	Name     string // for people; may be anything printable
	Host     string
	Port     int
	URL      string // where coordinators reach it: http://10.0.0.5:3001, no path
	Instance Instance
	Version  string // release of mcphub it runs
	Weight   int    // share of sessions relative to others; at least 1
	State    NodeState
	Servers  []Server

	// Epoch is given by RegisterNode.
	Epoch Epoch
	// Started, Registered and LastHeartbeat have millisecond precision. Started is the node's
	// own clock and for display only; the others are Redis's.
	Started, Registered, LastHeartbeat time.Time
}

// Server finds a server of the node by name.
func (n *Node) Server(id ServerID) (Server, bool) {
	for _, s := range n.Servers {
		if s.ID == id {
			return s, true
		}
	}
	return Server{}, false
}

// Callable says whether the node lists the server as ready, whatever the node's own state.
func (n *Node) Callable(id ServerID) bool {
	s, ok := n.Server(id)
	return ok && s.Status == ServerReady
}

// ServerStatus is the truth about one MCP server on one node.
type ServerStatus string

// The states of a server on a node. Only a ready one is listed to clients and routed to.
const (
	// ServerStarting has not yet shaken hands and listed its tools for the first time.
	ServerStarting ServerStatus = "starting"
	// ServerReady has shaken hands, has listed its tools, and its connection stands.
	ServerReady ServerStatus = "ready"
	// ServerFailed could not be started or was lost, and is waiting to be tried again.
	ServerFailed ServerStatus = "failed"
	// ServerDisabled has enabled: false in the settings.
	ServerDisabled ServerStatus = "disabled"
)

// Server is one MCP server on one node.
type Server struct {
	ID        ServerID     `json:"id"`
	Status    ServerStatus `json:"status"`
	Transport string       `json:"transport"`         // stdio, sse, streamable-http, builtin
	Error     string       `json:"error,omitempty"`   // why it is not ready
	Stderr    []string     `json:"stderr,omitempty"`  // the last lines it wrote, when failed
	Catalog   Digest       `json:"catalog,omitempty"` // set when ready
	Tools     int          `json:"tools"`
	Prompts   int          `json:"prompts,omitempty"`
	Resources int          `json:"resources,omitempty"`
	Templates int          `json:"templates,omitempty"`
	Sessions  int          `json:"sessions"` // sessions the node holds for it
	InFlight  int          `json:"inFlight"` // requests it is working on
	Restarts  int          `json:"restarts"`
	Weight    int          `json:"weight"` // of this replica; at least 1

	// Isolation is "session" for a server with a process for each session, and otherwise empty.
	// The rest is set for such a server only.
	Isolation    string `json:"isolation,omitempty"`
	Processes    int    `json:"processes,omitempty"`    // that run, spares included
	Spares       int    `json:"spares,omitempty"`       // of these, those that wait for a session
	MaxProcesses int    `json:"maxProcesses,omitempty"` // may run at one time
	// StartSeconds is how long a process may take to start, rounded up; 0 where the node does not say.
	StartSeconds int `json:"startSeconds,omitempty"`
	// Full says that every process it may have is taken: no new session fits now.
	Full bool `json:"full,omitempty"`
}

// Snapshot is everything the fleet knows of its nodes at one moment. It is never changed
// once made, so it may be read without a lock.
type Snapshot struct {
	// Revision is the counter that grows with every change of a record.
	Revision int64
	// Taken is Redis's clock when the snapshot was read.
	Taken time.Time
	// Nodes are sorted by id.
	Nodes []Node
}

// Node finds a node by id, or returns nil.
func (s *Snapshot) Node(id NodeID) *Node {
	if s == nil {
		return nil
	}
	for i := range s.Nodes {
		if s.Nodes[i].ID == id {
			return &s.Nodes[i]
		}
	}
	return nil
}
