package store

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// SessionID is the random part of a session's public token: 32 hex digits. It is the name of
// the session in Redis, in REST and in logs of the store, and cannot be used as a session id
// by a client.
type SessionID string

// LogValue prints a short hash, so that logs can be joined and nothing can be replayed.
func (id SessionID) LogValue() slog.Value {
	sum := sha256.Sum256([]byte(id))
	return slog.StringValue(hex.EncodeToString(sum[:4]))
}

// ScopeAll is the scope of a session over every server of the hub.
const ScopeAll = "*"

// Session is one client's MCP session.
type Session struct {
	ID      SessionID
	Subject string // digest of the authenticated subject; empty for anonymous
	Scope   string // ScopeAll, ScopeGroup and the name of a group, or the name of a single server
	Era     string // negotiated protocol version, such as 2025-11-25
	// Init is the client's own initialize params, as sent, to be replayed to another node. It is
	// shared between sessions, and must not be changed.
	Init []byte
	// Level is the least severity of log messages that the client asked for; empty if it did not.
	Level string
	// Subs names the state of the session's subscriptions to resources: it is another text after each
	// change, and empty if there never was one. CreateSession does not look at it.
	Subs string
	// Created, Seen and Expires are Redis's clock, in milliseconds. Seen moves with
	// TouchSessions, so it may lag by one batch.
	Created, Seen, Expires time.Time
	Bindings               map[ServerID]Binding
}

// Binding says which node, under which epoch, holds the session's state for one server.
// The zero Binding means "none".
type Binding struct {
	Node  NodeID
	Epoch Epoch
}

// String is the form kept in Redis: node#epoch.
func (b Binding) String() string {
	if b == (Binding{}) {
		return ""
	}
	return string(b.Node) + "#" + strconv.FormatInt(int64(b.Epoch), 10)
}

// ParseBinding reads what String wrote.
func ParseBinding(s string) (Binding, error) {
	if s == "" {
		return Binding{}, nil
	}
	node, num, ok := strings.Cut(s, "#")
	epoch, err := strconv.ParseInt(num, 10, 64)
	if !ok || node == "" || err != nil || epoch < 1 {
		return Binding{}, fmt.Errorf("binding %q is not of the form node#epoch", s)
	}
	return Binding{Node: NodeID(node), Epoch: Epoch(epoch)}, nil
}
