package server

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/store"
)

// maxKeyText is the longest text that stands for a session that does not exist.
const maxKeyText = 256

// explain tells where a session goes for a server, why, and what one node more or less would
// change. Nothing is placed or moved.
func (s *Server) explain(c echo.Context) error {
	if s.deps.Explainer == nil {
		return fromEcho(echo.ErrNotFound)
	}
	q := queryOf(c)
	req := router.ExplainRequest{Session: q.Get("session"), Key: q.Get("key"), Server: store.ServerID(q.Get("server")), Prefer: store.NodeID(q.Get("prefer"))}
	if len(req.Session) > maxSessionID || len(req.Key) > maxKeyText {
		return refuse(http.StatusBadRequest, "session, key: longer than any that can be meant")
	}
	if req.Server != "" {
		if err := wire.CheckName("server", string(req.Server)); err != nil {
			return refuse(http.StatusBadRequest, err.Error())
		}
	}
	var err error
	if req.Without, err = nodesOf("without", q["without"]); err != nil {
		return err
	}
	if req.With, err = nodesOf("with", q["with"]); err != nil {
		return err
	}
	if req.Prefer != "" {
		if _, err := nodesOf("prefer", q["prefer"]); err != nil {
			return err
		}
	}
	x, err := s.deps.Explainer.Explain(c.Request().Context(), req)
	if err != nil {
		return err
	}
	if x.Candidates == nil {
		x.Candidates = []router.Candidate{}
	}
	return succeed(c, x)
}

// nodesOf reads the names of nodes.
func nodesOf(param string, values []string) ([]store.NodeID, error) {
	ids := make([]store.NodeID, len(values))
	for i, v := range values {
		if err := wire.CheckName(param, v); err != nil {
			return nil, refuse(http.StatusBadRequest, err.Error())
		}
		ids[i] = store.NodeID(v)
	}
	return ids, nil
}

// conflicts lists the resources that several servers offer.
func (s *Server) conflicts(c echo.Context) error {
	if s.deps.Explainer == nil {
		return fromEcho(echo.ErrNotFound)
	}
	scope := queryOf(c).Get("scope")
	if scope == store.ScopeAll {
		scope = ""
	}
	if name := strings.TrimPrefix(scope, store.ScopeGroup); name != "" || scope != "" {
		if err := wire.CheckName("scope", name); err != nil {
			return refuse(http.StatusBadRequest, err.Error()+`; want *, group/<name> or a server's name`)
		}
	}
	if scope != "" && !strings.HasPrefix(scope, store.ScopeGroup) && !s.knows(store.ServerID(scope)) {
		return refuse(http.StatusNotFound, "no node has a server named "+scope)
	}
	list, err := s.deps.Explainer.Conflicts(c.Request().Context(), scope)
	if err != nil {
		return err
	}
	if list == nil {
		list = []router.Conflict{}
	}
	return succeed(c, list)
}
