package wire

import (
	"slices"
	"strings"
)

// Header names, in the canonical form of net/http. MCP's own are matched without regard to case.
const (
	// HeaderSession carries the session id after initialization (MCP 2025-03-26 to 2025-11-25,
	// Transports, Session Management). 2026-07-28 has no sessions: ignore it there.
	HeaderSession = "Mcp-Session-Id"

	// HeaderVersion carries the negotiated version on every request after initialization
	// (from MCP 2025-06-18). Where it is absent, [AssumedVersion] holds.
	HeaderVersion = "Mcp-Protocol-Version"

	// HeaderMethod and HeaderName mirror the method and params.name or params.uri, and names with
	// HeaderParamPrefix mirror annotated arguments (MCP 2026-07-28, Streamable HTTP).
	HeaderMethod      = "Mcp-Method"
	HeaderName        = "Mcp-Name"
	HeaderParamPrefix = "Mcp-Param-"

	// HeaderLastEventID asks for a stream to be resumed (MCP 2025-03-26 to 2025-11-25).
	HeaderLastEventID = "Last-Event-Id"
)

// Headers between a coordinator and a node. They never come from or go to a client.
const (
	// HeaderEpoch carries the epoch under which the coordinator believes the node is
	// registered, in decimal.
	HeaderEpoch = "X-Mcphub-Epoch"

	// HeaderRefused marks an answer of the node itself, given before anything was dispatched
	// to an MCP server. Its value is one of the Refused constants.
	HeaderRefused = "X-Mcphub-Refused"

	// HeaderSessions carries, on the answer to initialize, the number of sessions the node
	// now holds for that server, in decimal.
	HeaderSessions = "X-Mcphub-Sessions"

	// HeaderStream asks a node to answer a request as a stream that opens when the message is
	// dispatched: its value is StreamNow. Without it a node waits whether there is an answer soon.
	HeaderStream = "X-Mcphub-Stream"
	StreamNow    = "now"

	// StreamTaken is the comment with which a node ends a stream for a reader whose place another
	// one has taken: it is not to be taken up again.
	StreamTaken = ": taken up by another reader\n\n"
)

// Values of HeaderRefused.
const (
	RefusedCredential = "credential" // 401: the fleet credential is missing or wrong
	RefusedEpoch      = "epoch"      // 409: the node is registered under another epoch
	RefusedLease      = "lease"      // 503: the node's own lease is too old to run anything
	RefusedDraining   = "draining"   // 503: no new sessions
	RefusedServer     = "server"     // 503 or 404: the server is not ready, or not here
	RefusedSession    = "session"    // 404: the node does not know the session
	RefusedStream     = "stream"     // 404: the node knows nothing of the call whose stream is to be gone on with
	RefusedAnswer     = "answer"     // 404: the node has not asked what a client answers; another one may have
	RefusedFull       = "full"       // 503: no process is free for a new session
)

// Media types of MCP over HTTP.
const (
	TypeJSON        = "application/json"
	TypeEventStream = "text/event-stream"
)

// IsToken says whether s may be the name of a header or a cookie (RFC 9110, 5.6.2).
func IsToken[T string | []byte](s T) bool {
	for i := range len(s) {
		if !tokenByte(s[i]) {
			return false
		}
	}
	return len(s) > 0
}

func tokenByte(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	return strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// takenNames and takenStems are headers that mean something between a client and a coordinator.
var (
	takenNames = []string{
		"allow", "authorization", "cache-control", "connection", "cookie", "date", "expect", "forwarded", "from", "host", "keep-alive",
		"last-event-id", "location", "origin", "range", "referer", "retry-after", "server", "set-cookie", "te", "trailer",
		"transfer-encoding", "traceparent", "tracestate", "upgrade", "user-agent", "vary", "via", "www-authenticate", "x-real-ip",
		strings.ToLower(HeaderEpoch), strings.ToLower(HeaderRefused), strings.ToLower(HeaderSessions), strings.ToLower(HeaderStream), strings.ToLower(HeaderStream),
	}
	takenStems = []string{"accept", "access-control-", "content-", "if-", "mcp-", "proxy-", "sec-", "x-forwarded-"}
)

// TakenHeader says whether a header has a meaning of its own in a client's requests or their
// answers, so that it can carry nothing else.
func TakenHeader(name string) bool {
	name = strings.ToLower(name)
	return slices.Contains(takenNames, name) || slices.ContainsFunc(takenStems, func(stem string) bool { return strings.HasPrefix(name, stem) })
}
