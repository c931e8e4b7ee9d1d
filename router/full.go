package router

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// maxFull bounds the replicas without room that are asked for one session. Each is asked once.
const maxFull = 16

// fullness is what a node says that has no process left for another session of a server.
type fullness struct {
	message string // empty if it said nothing that can be read
	limit   string // the setting that was met
	most    int    // and its value; zero if it is not known
	retry   time.Duration
}

// notExecuted begins every message of error 1002; a node's words have it already.
const notExecuted = "Not executed: "

// readFull reads a refusal for want of room.
func readFull(a *answer) *fullness {
	body, _ := readSome(a, nil, 4<<10) // what is cut short cannot be read below
	text := func(path ...string) string {
		at, _ := wire.Lookup(body, path...)
		s, _ := wire.Unquote(at.Of(body))
		return s
	}
	f := &fullness{message: text("error", "message"), limit: text("error", "data", "limit")}
	if n := len(notExecuted); len(f.message) >= n && strings.EqualFold(f.message[:n], notExecuted) {
		f.message = f.message[n:]
	}
	if at, ok := wire.Lookup(body, "error", "data", "maxProcesses"); ok {
		f.most, _ = strconv.Atoi(string(at.Of(body)))
	}
	if s, err := strconv.Atoi(a.retryAfter); err == nil && s > 0 && s <= 3600 {
		f.retry = time.Duration(s) * time.Second
	}
	return f
}

// full is what a node said, if one of those that were tried had no room; nil if none had. Of
// several the one with the lowest name is quoted.
func (x exclusion) full() *fullness {
	var node store.NodeID
	var f *fullness
	for id, e := range x {
		if e.full != nil && (f == nil || id < node) {
			node, f = id, e.full
		}
	}
	return f
}

// fulls counts the nodes that had no room.
func (x exclusion) fulls() (n int) {
	for _, e := range x {
		if e.full != nil {
			n++
		}
	}
	return n
}

// noRoom is the answer when each replica that could be called has all its processes taken, in
// the words of a node.
func (r *Router) noRoom(server store.ServerID, f *fullness) *Error {
	e := r.noReplica(server, reasonFull)
	if r.leaving() {
		return e
	}
	e.Message = notExecuted + cmp.Or(f.message, "server "+string(server)+" takes no new session at the moment, all its processes are taken; try again when a session has ended")
	v := e.Data.(*verdict)
	v.Limit, v.MaxProcesses = f.limit, f.most
	e.RetryAfter = cmp.Or(f.retry, e.RetryAfter)
	return e
}

// nowhere is the answer when no candidate is left.
func (r *Router) nowhere(server store.ServerID, not exclusion) *Error {
	if f := not.full(); f != nil {
		return r.noRoom(server, f)
	}
	return r.noReplica(server, reasonNoReplica)
}

// taken says of a replica why it is thought full.
func taken(s *store.Server) string {
	if s.MaxProcesses > 0 {
		return fmt.Sprintf("all %d processes are taken", s.MaxProcesses)
	}
	return "all processes are taken"
}

// refused turns a node's refusal into a failure.
func (r *Router) refused(ctx context.Context, n *store.Node, server store.ServerID, a *answer) *failure {
	f := &failure{state: Refused, reason: reasonRefused, refused: a.refused, node: n}
	switch a.refused {
	case wire.RefusedCredential:
		r.log.ErrorContext(ctx, "node does not accept the fleet credential; do all parts have the same cluster secret?", "node", n.ID)
	case wire.RefusedFull:
		f.reason, f.full = reasonFull, readFull(a)
		if s, ok := n.Server(server); ok {
			r.loads.refuse(n, &s)
		}
	}
	a.drain()
	return f
}
