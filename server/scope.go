package server

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/store"
)

// checkScope says what the name in the path stands for, a server or a group, and whether the key
// may use it. What the key may not use is answered as if it did not exist: who guesses names
// learns nothing.
func (s *Server) checkScope(ctx context.Context, req *router.Request, key *clientKey) *problem {
	name := req.Scope
	if name == "" {
		if !s.cfg.EnableGlobalRoute {
			return refuse(http.StatusNotFound, "the endpoint over all servers is switched off (routing.enableGlobalRoute); use /mcp/<server> or /mcp/<group>")
		}
		req.Limit = key.limit(s.deps.Groups)
		return nil
	}
	if strings.Contains(name, "/") {
		return fromEcho(echo.ErrNotFound)
	}
	if err := wire.CheckName("server or group", name); err != nil {
		return refuse(http.StatusBadRequest, err.Error())
	}
	if req.SessionID != "" {
		return s.scopeOfSession(ctx, req, key)
	}
	return s.scopeOfNew(req, key)
}

// relimit says what the client of a stream may use by now: keys and groups change while it is open.
// current is its key by now, or nil.
func (s *Server) relimit(current func() *clientKey, scope string) func() (*router.Limit, bool) {
	return func() (*router.Limit, bool) {
		key := current()
		if key == nil {
			return nil, false
		}
		name, isGroup := strings.CutPrefix(scope, store.ScopeGroup)
		switch {
		case scope == "":
			return key.limit(s.deps.Groups), true
		case isGroup:
			g, found := s.deps.Groups.Group(name)
			return nil, found && key.mayGroup(g)
		}
		return nil, key.mayServer(store.ServerID(scope))
	}
}

// scopeOfNew finds the scope of a request without a session, which begins one.
func (s *Server) scopeOfNew(req *router.Request, key *clientKey) *problem {
	name := req.Scope
	// Asked first: once the nodes have been read they are in the snapshot.
	read, _ := s.deps.Fleet.Ready()
	group, isGroup := s.deps.Groups.Group(name)
	isGroup = isGroup && key.mayGroup(group)
	isServer := s.knows(store.ServerID(name)) && key.mayServer(store.ServerID(name))
	switch {
	case isServer && isGroup && s.cfg.EnableGroupNameRoute:
		return refuse(http.StatusConflict, "there are both a group and a server named "+name+
			", so /mcp/"+name+" could mean either; one of them has to be renamed. Sessions that have begun go on")
	case isServer:
		return nil
	case isGroup && s.cfg.EnableGroupNameRoute:
		req.Scope = store.ScopeGroup + name
		return nil
	case isGroup:
		return refuse(http.StatusNotFound, name+" is a group, and the endpoints of groups are switched off (routing.enableGroupNameRoute)")
	case !read || !s.deps.Groups.Loaded():
		return refuse(http.StatusServiceUnavailable, "this replica has not read yet which servers and groups there are; try again")
	}
	return refuse(http.StatusNotFound, "there is no server and no group named "+name)
}

// scopeOfSession finds the scope of a request in a session. What the session id was given for
// decides; it is only looked at where the name alone does not.
func (s *Server) scopeOfSession(ctx context.Context, req *router.Request, key *clientKey) *problem {
	name := req.Scope
	group, isGroup := s.deps.Groups.Group(name)
	isServer := s.knows(store.ServerID(name))
	if isGroup == isServer {
		tok, err := s.deps.Carrier.ParseToken(req.SessionID)
		if isGroup = err == nil && tok.For(store.ScopeGroup+name, req.Subject); isGroup {
			group, isGroup = s.awaitGroup(ctx, name, tok.Issued)
			return s.inGroup(req, key, group, isGroup)
		}
	}
	if isGroup {
		return s.inGroup(req, key, group, true)
	}
	if !key.mayServer(store.ServerID(name)) {
		req.Subject = subjectNobody
	}
	return nil
}

// inGroup gives a request in a session the scope of a group. A session over a group that was
// deleted, or that the key may not use any more, is unknown.
func (s *Server) inGroup(req *router.Request, key *clientKey, group store.Group, found bool) *problem {
	req.Scope = store.ScopeGroup + req.Scope
	switch {
	case !found && !s.deps.Groups.Loaded():
		return refuse(http.StatusServiceUnavailable, "this replica has not read yet which groups there are; try again")
	case !found, !s.cfg.EnableGroupNameRoute, !key.mayGroup(group):
		req.Subject = subjectNobody
	}
	return nil
}

// A session over a group may come here before the news of the group do: groupLag bounds how long
// that takes, and so the wait for it; freshToken is the age from which a session's group must be
// known here if it exists, with room for clocks that differ.
const (
	groupLag   = time.Second
	freshToken = 10 * time.Second
)

// awaitGroup finds a group that a session was begun over.
func (s *Server) awaitGroup(ctx context.Context, name string, issued time.Time) (store.Group, bool) {
	g, ok := s.deps.Groups.Group(name)
	if ok || time.Since(issued).Abs() > freshToken {
		return g, ok
	}
	ctx, cancel := context.WithTimeout(ctx, groupLag)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for !ok {
		select {
		case <-look.C:
			g, ok = s.deps.Groups.Group(name)
		case <-ctx.Done():
			return g, false
		}
	}
	return g, true
}

// names are the servers that the nodes of one snapshot name.
type names struct {
	of  *store.Snapshot
	set map[store.ServerID]bool
}

// knows says whether any node has ever named the server.
func (s *Server) knows(id store.ServerID) bool {
	snap := s.deps.Fleet.Snapshot()
	n := s.names.Load()
	if n == nil || n.of != snap {
		n = &names{of: snap, set: map[store.ServerID]bool{}}
		for i := range snap.Nodes {
			for j := range snap.Nodes[i].Servers {
				n.set[snap.Nodes[i].Servers[j].ID] = true
			}
		}
		s.names.Store(n)
	}
	return n.set[id]
}
