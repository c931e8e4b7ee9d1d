package server

import (
	"errors"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

// Values of the Allow header.
const (
	allowAny      = "GET, HEAD, POST, PUT, DELETE"
	allowMCP      = "GET, POST, DELETE"
	allowSSE      = "GET"
	allowMessages = "POST"
)

// allowedAt are the methods of a path of MCP.
func allowedAt(path string) string {
	switch {
	case path == pathMessages:
		return allowMessages
	case isSSE(path):
		return allowSSE
	}
	return allowMCP
}

// door says who may use a route.
type door int

const (
	forAll    door = iota
	forAdmins      // management
	forNodes
)

// param is a parameter of a route's query.
type param struct {
	name    string
	about   string
	repeats bool
	needed  bool
	schema  schema // empty: text
}

// route is one REST call: what is served, and what /api/openapi.json says of it.
type route struct {
	method, path string // the path in Echo's spelling
	door         door
	handle       func(*Server, echo.Context) error
	query        []param
	anyQuery     bool // probes may come with anything

	id, about string // of the operation
	more      string // what the sentence in about has no room for
	tag       string
	header    []param
	body      any // an example of the body; nil if there is none
	status    int // of success; zero means 200
	data      any // an example of the data, or of the whole answer if it is bare
	bare      bool
	stream    string // an example of the answer as an event stream
	text      string // an example of an answer that is plain text
	fails     []int  // statuses of failure that say something of this call
}

func (s *Server) routes() {
	e := s.echo
	for _, path := range []string{"/mcp", "/mcp/", "/mcp/:server"} {
		e.GET(path, s.serveMCP)
		e.POST(path, s.serveMCP)
		e.DELETE(path, s.serveMCP)
		e.OPTIONS(path, s.servePreflight)
		for _, method := range []string{http.MethodHead, http.MethodPut, http.MethodPatch} {
			e.Add(method, path, s.refuseMethod)
		}
	}
	for _, path := range []string{pathSSE, pathSSE + "/", pathSSE + "/:server"} {
		e.GET(path, s.serveSSE)
		e.OPTIONS(path, s.servePreflight)
		for _, method := range []string{http.MethodHead, http.MethodPost, http.MethodDelete, http.MethodPut, http.MethodPatch} {
			e.Add(method, path, s.refuseMethod)
		}
	}
	e.POST(pathMessages, s.servePost)
	e.OPTIONS(pathMessages, s.servePreflight)
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodDelete, http.MethodPut, http.MethodPatch} {
		e.Add(method, pathMessages, s.refuseMethod)
	}
	for _, rt := range restRoutes() {
		h := s.serveREST(rt)
		e.Add(rt.method, rt.path, h)
		if rt.method == http.MethodGet {
			e.Add(http.MethodHead, rt.path, h)
		}
	}
}

// serveREST puts the route's door and the reading of its query before its handler.
func (s *Server) serveREST(rt route) echo.HandlerFunc {
	check := map[door]func(*http.Request) *problem{
		forAll:    func(*http.Request) *problem { return nil },
		forAdmins: s.management,
		forNodes:  s.fromNode,
	}[rt.door]
	return func(c echo.Context) error {
		defer s.rescue(c)
		if p := check(c.Request()); p != nil {
			return p
		}
		if !rt.anyQuery {
			q, err := readQuery(c.Request().URL.RawQuery, rt.query)
			if err != nil {
				return err
			}
			c.Set(queryKey, q)
		}
		return rt.handle(s, c)
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
