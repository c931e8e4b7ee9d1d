package server

import (
	"errors"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

// Values of the Allow header.
const (
	allowAny = "GET, HEAD, POST, DELETE"
	allowMCP = "POST, DELETE"
)

// door says who may use a route.
type door func(r *http.Request) *problem

func open(*http.Request) *problem { return nil }

func (s *Server) routes() {
	e := s.echo
	for _, path := range []string{"/mcp", "/mcp/", "/mcp/:server"} {
		e.POST(path, s.serveMCP)
		e.DELETE(path, s.serveMCP)
		e.OPTIONS(path, s.servePreflight)
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPatch} {
			e.Add(method, path, s.refuseMethod)
		}
	}
	for _, path := range []string{"/sse", "/sse/*", "/messages", "/messages/*", "/message"} {
		e.Any(path, s.refuseLegacy)
	}

	s.get("/health", open, s.health)
	s.get("/ready", open, s.ready)
	s.get("/api/cluster/status", s.management, s.status)
	s.get("/api/cluster/nodes", s.management, s.listNodes)
	s.get("/api/cluster/nodes/:id", s.management, s.showNode)
	s.get("/api/cluster/servers", s.management, s.listServers)
	s.get("/api/cluster/servers/:id/replicas", s.management, s.listReplicas)
	s.get("/api/cluster/sessions", s.management, s.listSessions)
	s.get("/api/cluster/sessions/:id", s.management, s.showSession)
	s.get("/api/cluster/events", s.management, s.listEvents)
	e.DELETE("/api/cluster/sessions/:id", s.behind(s.management, s.endSession))

	e.POST("/api/cluster/register", s.behind(s.fromNode, s.register))
	e.POST("/api/cluster/heartbeat", s.behind(s.fromNode, s.heartbeat))
	e.POST("/api/cluster/deregister", s.behind(s.fromNode, s.deregister))
	e.POST("/api/cluster/catalogs", s.behind(s.fromNode, s.putCatalog))
}

func (s *Server) get(path string, d door, h echo.HandlerFunc) {
	h = s.behind(d, h)
	s.echo.GET(path, h)
	s.echo.HEAD(path, h)
}

// behind puts a door before a handler.
func (s *Server) behind(d door, h echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		defer s.rescue(c)
		if p := d(c.Request()); p != nil {
			return p
		}
		return h(c)
	}
}

// onError answers what a handler returned instead of an answer, and hands paths that are
// nobody else's to the page.
func (s *Server) onError(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	r := c.Request()
	if errors.Is(err, echo.ErrNotFound) && s.paged(r) {
		defer s.rescue(c)
		if p := s.management(r); p != nil {
			s.fail(c.Response(), r, p)
			return
		}
		s.deps.Web.ServeHTTP(c.Response(), r)
		return
	}
	s.fail(c.Response(), r, err)
}

// paged says whether a path that no route has may be the page's.
func (s *Server) paged(r *http.Request) bool {
	path := r.URL.Path
	return s.deps.Web != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead) &&
		!isMCP(path) && path != "/api" && !strings.HasPrefix(path, "/api/")
}
