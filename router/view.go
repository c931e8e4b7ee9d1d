package router

import (
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// view is what one request on an endpoint over several servers may see: the servers of the
// endpoint that the client's key may use. What lies outside does not exist for it. It is made for
// each request, so that a change of a group holds from the next one on.
type view struct {
	*roster
	group *store.Group // nil: every server
	limit *Limit
}

// view is that of a scope as Request spells it. It returns false if there is no such group.
func (r *Router) view(scope string, limit *Limit) (v view, ok bool) {
	v = view{roster: r.roster(), limit: limit}
	name, isGroup := strings.CutPrefix(scope, store.ScopeGroup)
	if !isGroup {
		return v, true
	}
	if r.cfg.Groups == nil {
		return v, false
	}
	g, ok := r.cfg.Groups.Group(name)
	v.group = &g
	return v, ok
}

// viewOf is the view of a request. A group that is gone takes its sessions with it; a replica that
// has never read the groups says that it does not know.
func (r *Router) viewOf(req *Request, id []byte) (view, error) {
	v, ok := r.view(req.Scope, req.Limit)
	switch {
	case ok:
		return v, nil
	case r.cfg.Groups != nil && !r.cfg.Groups.Loaded():
		return v, r.noGroups(req, id)
	case req.SessionID != "":
		return v, unknownSession(id)
	}
	return v, &Error{Err: ErrUnknownServer, ID: id, Code: wire.CodeInvalidRequest, Message: "unknown group: this hub has no group of that name"}
}

// noGroups is the answer of a replica that does not know the groups yet.
func (r *Router) noGroups(req *Request, id []byte) *Error {
	r.stats.notExecuted.Add(1)
	return &Error{
		Err: ErrNoReplica, ID: id, Code: wire.CodeNotExecuted,
		Message:    "Not executed: this part of the hub does not know the groups yet; try again shortly",
		Data:       &verdict{Outcome: "not_executed", Reason: reasonNoReplica, Retryable: true, TraceID: traceID(req.Header)},
		RetryAfter: time.Second,
	}
}

// has says whether a server exists for the client.
func (v view) has(server store.ServerID) bool {
	if v.group != nil {
		if _, ok := v.group.Server(server); !ok {
			return false
		}
	}
	return v.allows(server)
}

// allows is has for a server of the group.
func (v view) allows(server store.ServerID) bool {
	return v.names.known[server] && v.limit.Allows(server)
}

// hasTool says whether a tool exists for the client, by the name that its server has for it.
// Whether the server has it, the server knows.
func (v view) hasTool(server store.ServerID, tool string) bool {
	if !v.has(server) {
		return false
	}
	only := v.only(server)
	return only == nil || slices.Contains(only, tool)
}

// only are the tools of a server that the group offers; nil means all.
func (v view) only(server store.ServerID) []string {
	if v.group == nil {
		return nil
	}
	s, _ := v.group.Server(server)
	return s.Tools
}

// all are the servers that exist for the client, in the order of their names.
func (v view) all() iter.Seq[store.ServerID] {
	names := v.servers
	if v.group != nil {
		names = make([]store.ServerID, 0, len(v.group.Servers))
		for i := range v.group.Servers {
			names = append(names, v.group.Servers[i].Name)
		}
		slices.Sort(names)
		names = slices.Compact(names)
	}
	return func(yield func(store.ServerID) bool) {
		for _, server := range names {
			if v.allows(server) && !yield(server) {
				return
			}
		}
	}
}
