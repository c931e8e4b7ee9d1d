package server

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/mcphub-go/mcphub/heartbeat"
	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/store"
)

// problem is an error as the outside sees it. This file is the one place that makes the
// outside's view of an error that came from within.
type problem struct {
	status  int
	message string // a sentence that helps
	code    int    // of JSON-RPC; zero means CodeInvalidRequest, or CodeInternal from 500 on
	frame   []byte // the whole JSON-RPC error, where the router has made it

	allow     string // Allow, for 405
	challenge string // WWW-Authenticate, for 401
	retry     time.Duration
	shut      bool // the connection is of no further use
}

func (p *problem) Error() string { return p.message }

// refuse makes a problem of the client's own making.
func refuse(status int, message string) *problem { return &problem{status: status, message: message} }

// statusGone says that the client went away. It is never sent. (nginx's number.)
const statusGone = 499

// retryAfter is for those who are told to come back, where nobody knows when.
const retryAfter = time.Second

// routed gives the sentinels of the router their status.
var routed = []struct {
	err    error
	status int
}{
	{router.ErrUnknownSession, http.StatusNotFound},
	{router.ErrMissingSession, http.StatusBadRequest},
	{router.ErrBadRequest, http.StatusBadRequest},
	{router.ErrUnknownServer, http.StatusNotFound},
	{router.ErrNoReplica, http.StatusServiceUnavailable},
	{router.ErrTooManySessions, http.StatusTooManyRequests},
	{router.ErrUnavailable, http.StatusServiceUnavailable},
	{router.ErrBadGateway, http.StatusBadGateway},
	{router.ErrMethod, http.StatusMethodNotAllowed},
}

// told gives errors that come as they are their status, and a text where their own is not for
// strangers.
var told = []struct {
	err    error
	status int
	says   string // empty: the error's own text
}{
	{heartbeat.ErrAddress, http.StatusForbidden, ""},
	{heartbeat.ErrUnproven, http.StatusForbidden, ""},
	{heartbeat.ErrRecord, http.StatusBadRequest, ""},
	{router.ErrGroupFixed, http.StatusConflict, ""},
	{router.ErrGroupName, http.StatusConflict, ""},
	{store.ErrCursor, http.StatusBadRequest, "cursor: not one that this call has given; start without one"},
	{store.ErrEpoch, http.StatusConflict, ""},
	{store.ErrEnded, http.StatusNotFound, "the session has ended"},
	{store.ErrExists, http.StatusConflict, "there is such a thing already"},
	{store.ErrNotFound, http.StatusNotFound, "there is no such thing"},
	{store.ErrTooMany, http.StatusConflict, ""},
	{store.ErrInvalid, http.StatusBadRequest, ""},
	{store.ErrSchema, http.StatusServiceUnavailable, store.ErrSchema.Error()},
	{store.ErrUnavailable, http.StatusServiceUnavailable, "Redis is not available at the moment; try again"},
	{context.Canceled, statusGone, "the client went away"},
}

// outside turns any error into what may be told. known is false where the detail belongs in
// the log, because the outside learns nothing of it.
func outside(err error) (p *problem, known bool) {
	if p, ok := errors.AsType[*problem](err); ok {
		return p, true
	}
	if e, ok := errors.AsType[*router.Error](err); ok {
		return fromRouter(e), true
	}
	if e, ok := errors.AsType[*store.DuplicateNodeError](err); ok {
		return refuse(http.StatusConflict, e.Error()), true
	}
	if e, ok := errors.AsType[*echo.HTTPError](err); ok {
		return fromEcho(e), true
	}
	for _, c := range told {
		if errors.Is(err, c.err) {
			p := refuse(c.status, c.says)
			if c.says == "" {
				p.message = err.Error()
			}
			return p, true
		}
	}
	return internal(), false
}

func internal() *problem {
	return &problem{status: http.StatusInternalServerError, message: "internal error"}
}

func fromRouter(e *router.Error) *problem {
	p := &problem{status: http.StatusInternalServerError, message: e.Message, code: e.Code, frame: e.Frame(), retry: e.RetryAfter}
	for _, r := range routed {
		if errors.Is(e.Err, r.err) {
			p.status = r.status
			break
		}
	}
	if p.status == http.StatusMethodNotAllowed {
		p.allow = allowMCP
	}
	return p
}

// fromEcho words what Echo's routing has to say.
func fromEcho(e *echo.HTTPError) *problem {
	switch e.Code {
	case http.StatusNotFound:
		return refuse(http.StatusNotFound, "there is nothing at this path; MCP is at /mcp, /mcp/<server> and /mcp/<group>, the REST calls are listed at /api/openapi.json")
	case http.StatusMethodNotAllowed:
		return refuse(http.StatusMethodNotAllowed, "this path does not take this method; see the Allow header")
	}
	return refuse(e.Code, http.StatusText(e.Code))
}

// fail writes an error. Under /mcp it is a JSON-RPC error, elsewhere the guide's shape.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p, known := outside(err)
	if p.status == statusGone {
		if r.Context().Err() != nil {
			return // there is nobody to answer
		}
		p, known = internal(), false
	}
	switch {
	case !known:
		s.log.ErrorContext(r.Context(), "request failed", "method", called(r), "err", err)
	case p.status >= http.StatusInternalServerError:
		s.log.WarnContext(r.Context(), "request not served", "method", called(r), "status", p.status, "err", err)
	}
	h := w.Header()
	if p.allow != "" {
		h.Set("Allow", p.allow)
	}
	if p.challenge != "" {
		for _, c := range strings.Split(p.challenge, "\n") {
			h.Add("WWW-Authenticate", c)
		}
	}
	if p.status == http.StatusServiceUnavailable || p.status == http.StatusTooManyRequests {
		seconds := max(p.retry, retryAfter).Round(time.Second) / time.Second
		h.Set("Retry-After", strconv.Itoa(int(seconds)))
	}
	if p.shut {
		h.Set("Connection", "close")
	}
	dropBody(w, r)
	body := p.body(isMCP(r.URL.Path))
	h.Set("Content-Type", wire.TypeJSON)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(p.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}

// called names a request in the log. What follows /sessions/ may be a session's whole id,
// which works like a password.
func called(r *http.Request) string {
	path, _, cut := strings.Cut(r.URL.Path, "/sessions/")
	if cut {
		path += "/sessions/:id"
	}
	return r.Method + " " + path
}

// body is the error as a client of MCP expects it, or in the guide's shape.
func (p *problem) body(mcp bool) []byte {
	switch {
	case mcp && p.frame != nil:
		return p.frame
	case mcp:
		return wire.Error(nil, p.rpcCode(), tame(p.message), nil)
	}
	return append(append([]byte(`{"success":false,"message":`), wire.Quote(tame(p.message))...), '}')
}

func (p *problem) rpcCode() int {
	switch {
	case p.code != 0:
		return p.code
	case p.status >= http.StatusInternalServerError:
		return wire.CodeInternal
	}
	return wire.CodeInvalidRequest
}

// tame makes a sentence short and printable, whatever a stranger got into it.
func tame(s string) string {
	const most = 1000
	if len(s) > most {
		s = s[:most]
		for len(s) > 0 && !utf8.ValidString(s[max(0, len(s)-utf8.UTFMax):]) {
			s = s[:len(s)-1]
		}
		s += "…"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

// isMCP says whether the path is one where answers are JSON-RPC messages.
func isMCP(path string) bool {
	return path == "/mcp" || strings.HasPrefix(path, "/mcp/") || isSSE(path) || path == pathMessages
}

// isSSE says whether the path is one at which streams of HTTP+SSE are opened.
func isSSE(path string) bool { return path == pathSSE || strings.HasPrefix(path, pathSSE+"/") }
