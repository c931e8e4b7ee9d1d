package server

import (
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/router"
)

// maxSessionID is above the length of any session id that this hub gives.
const maxSessionID = 256

// maxLastEvent bounds Last-Event-ID. It is above the length of any that this hub gives.
const maxLastEvent = 4 << 10

// serveMCP carries one POST, GET or DELETE of an MCP client (MCP 2025-11-25, Transports,
// Streamable HTTP).
func (s *Server) serveMCP(c echo.Context) error {
	m := s.measure(c)
	defer m.span.End()
	defer s.rescue(c)
	if err := s.carry(c, m); err != nil {
		s.onError(err, c)
	}
	return nil
}

// carry checks a request and hands it on. After an error nothing was written.
func (s *Server) carry(c echo.Context, m *measured) error {
	r := c.Request()
	s.allowOrigin(c.Response(), r)
	req := router.Request{HTTPMethod: r.Method, Header: r.Header, SessionID: r.Header.Get(wire.HeaderSession), Scope: c.Param("server")}
	key, p := s.checkMCP(r, &req)
	if p != nil {
		return p
	}
	if r.Method == http.MethodPost {
		body, p := s.readBody(c.Response(), r)
		if p != nil {
			return p
		}
		defer s.held.Add(-int64(len(body)))
		req.Body = body
	}
	m.asks(&req)
	s.stick(r, &req)
	if r.Method == http.MethodGet {
		leave, p := s.take(clientName(r, key), req.SessionID)
		if p != nil {
			return p
		}
		defer leave()
		req.Relimit = s.relimit(func() *clientKey {
			if now, p := s.access.Load().client(r); p == nil && now.subject == key.subject {
				return now
			}
			return nil
		}, req.Scope)
	}
	if isBatch(req.Body) {
		return s.carryBatch(c, req)
	}
	return s.deps.Carrier.Carry(r.Context(), c.Response(), req)
}

// checkMCP checks everything that can be known of a request before its body is read, cheapest
// and most telling first. It fills in the subject, the limit and what the scope's name means.
func (s *Server) checkMCP(r *http.Request, req *router.Request) (*clientKey, *problem) {
	key, p := s.access.Load().client(r)
	if p != nil {
		return nil, p
	}
	req.Subject = key.subject
	switch r.Method {
	case http.MethodPost:
		p = checkMedia(r.Header)
	case http.MethodGet:
		p = checkStream(r, req)
	}
	if p == nil {
		p = checkVersion(r.Header.Get(wire.HeaderVersion))
	}
	if p == nil {
		p = checkSessionID(req.SessionID)
	}
	if p == nil {
		p = s.checkScope(r.Context(), req, key)
	}
	return key, p
}

func checkMedia(h http.Header) *problem {
	if p := checkContent(h); p != nil {
		return p
	}
	if accept := h["Accept"]; len(accept) > 0 && !slices.ContainsFunc(accept, acceptsOurs) {
		return refuse(http.StatusNotAcceptable, "the Accept header must allow application/json and text/event-stream")
	}
	return nil
}

// checkContent checks what is said of a body.
func checkContent(h http.Header) *problem {
	if t := h.Get("Content-Type"); !isJSON(t) {
		return refuse(http.StatusUnsupportedMediaType, "the Content-Type must be application/json")
	}
	if h.Get("Content-Encoding") != "" {
		return refuse(http.StatusUnsupportedMediaType, "compressed bodies are not accepted: send none of Content-Encoding")
	}
	return nil
}

// checkStream checks what only a GET has, and takes over after which event it is to go on.
func checkStream(r *http.Request, req *router.Request) *problem {
	if p := checkListener(r); p != nil {
		return p
	}
	if req.SessionID == "" {
		return refuse(http.StatusBadRequest, "a stream belongs to a session: send initialize by POST first, and its answer's Mcp-Session-Id with every later request")
	}
	req.LastEvent = r.Header.Get(wire.HeaderLastEventID)
	if len(req.LastEvent) > maxLastEvent || !visible(req.LastEvent) {
		return refuse(http.StatusBadRequest, "the Last-Event-ID is none that this hub gives: want at most 4 KiB of visible ASCII")
	}
	return nil
}

// checkListener checks what every GET of a stream has.
func checkListener(r *http.Request) *problem {
	switch {
	case !acceptsStream(r.Header):
		return refuse(http.StatusNotAcceptable, "the Accept header must allow text/event-stream: GET opens a stream of what servers say")
	case r.ContentLength != 0:
		return refuse(http.StatusBadRequest, "a GET has no body: messages are sent by POST")
	}
	return nil
}

// acceptsStream says whether Accept allows an event stream; without one everything is allowed.
func acceptsStream(h http.Header) bool {
	lines := h["Accept"]
	return len(lines) == 0 || slices.ContainsFunc(lines, func(line string) bool {
		return accepts(line, wire.TypeEventStream, "*/*", "text/*")
	})
}

// visible says whether text is visible ASCII.
func visible(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' })
}

// isJSON accepts application/json with any parameters but a charset other than UTF-8.
func isJSON(t string) bool {
	if t == wire.TypeJSON {
		return true
	}
	media, params, _ := strings.Cut(t, ";")
	if !strings.EqualFold(strings.TrimSpace(media), wire.TypeJSON) {
		return false
	}
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(name, "charset") && !strings.EqualFold(strings.Trim(value, `"`), "utf-8") {
			return false
		}
	}
	return true
}

// acceptsOurs says whether one line of Accept allows JSON or an event stream.
func acceptsOurs(line string) bool {
	if line == "application/json, text/event-stream" {
		return true
	}
	return accepts(line, wire.TypeJSON, wire.TypeEventStream, "*/*", "application/*", "text/*")
}

// accepts says whether one line of Accept allows any of the media types.
func accepts(line string, types ...string) bool {
	for item := range strings.SplitSeq(line, ",") {
		media, params, _ := strings.Cut(item, ";")
		if slices.Contains(types, strings.ToLower(strings.TrimSpace(media))) && !refusesAll(params) {
			return true
		}
	}
	return false
}

// refusesAll says whether parameters of Accept hold a weight of zero.
func refusesAll(params string) bool {
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(name, "q") {
			return strings.Trim(value, "0.") == ""
		}
	}
	return false
}

// checkVersion refuses a version that no revision has. The later ones, which have no sessions,
// go on to the router, which knows the id of the message that it refuses.
func checkVersion(v string) *problem {
	if v == "" || v == wire.LatestLegacy || wire.IsLegacy(v) || wire.IsModern(v) {
		return nil
	}
	return refuse(http.StatusBadRequest, "the Mcp-Protocol-Version is none that is known here; supported are "+strings.Join(wire.Legacy(), ", "))
}

// checkSessionID refuses what cannot be a session id at all (MCP 2025-11-25, Transports,
// Session Management: visible ASCII).
func checkSessionID(id string) *problem {
	if len(id) > maxSessionID {
		return refuse(http.StatusBadRequest, "the Mcp-Session-Id is longer than any that this hub gives")
	}
	if !visible(id) {
		return refuse(http.StatusBadRequest, "the Mcp-Session-Id must be visible ASCII")
	}
	return nil
}

// refuseMethod answers methods that mean nothing here.
func (s *Server) refuseMethod(c echo.Context) error {
	allow := allowedAt(c.Request().URL.Path)
	return &problem{status: http.StatusMethodNotAllowed, message: "this endpoint takes " + allow, allow: allow}
}

// allowOrigin lets a page of an origin that the gate has passed read the answer.
func (s *Server) allowOrigin(w http.ResponseWriter, r *http.Request) {
	if origin, ok := cross(r); ok {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", origin)
		exposed := wire.HeaderSession + ", " + wire.HeaderVersion + ", WWW-Authenticate, Retry-After"
		if s.cfg.Strategy == router.StrategyHeader {
			exposed += ", " + s.cfg.HeaderName
		}
		h.Set("Access-Control-Expose-Headers", exposed)
		h.Add("Vary", "Origin")
	}
}

// servePreflight answers a browser that asks before it lets a page POST.
func (s *Server) servePreflight(c echo.Context) error {
	h, r := c.Response().Header(), c.Request()
	allow := allowedAt(r.URL.Path)
	h.Set("Allow", allow)
	if _, ok := cross(r); ok {
		s.allowOrigin(c.Response(), r)
		h.Set("Access-Control-Allow-Methods", allow)
		allowed := "Accept, Authorization, Content-Type, Last-Event-Id, Mcp-Method, Mcp-Name, " + wire.HeaderSession + ", " + wire.HeaderVersion
		if s.cfg.Strategy == router.StrategyHeader {
			allowed += ", " + s.cfg.HeaderName
		}
		h.Set("Access-Control-Allow-Headers", allowed)
		h.Set("Access-Control-Max-Age", "600")
	}
	return c.NoContent(http.StatusNoContent)
}
