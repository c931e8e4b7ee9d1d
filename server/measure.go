package server

import (
	"bytes"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/mcphub-go/mcphub/internal/telemetry"
	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/store"
)

// measured is one MCP request as it is counted and traced. It belongs to the request's goroutine.
type measured struct {
	meter  *telemetry.Front
	span   *telemetry.Span
	begun  time.Time
	scope  telemetry.ScopeKind
	method telemetry.MethodKind
}

// measure begins to watch a request. It is recorded when the head of its answer is written,
// whoever writes it. From here on the request's context is that of its span.
func (s *Server) measure(c echo.Context) *measured {
	r := c.Request()
	m := &measured{meter: s.deps.Meter, begun: time.Now()}
	if s.deps.Tracer != nil {
		ctx, span := s.deps.Tracer.Serve(r.Context(), r.Method+" "+c.Path(), r.Header)
		c.SetRequest(r.WithContext(ctx))
		span.Inject(r.Header) // what reads them from here on finds this span
		m.span = span
	}
	switch r.Method {
	case http.MethodDelete:
		m.method = telemetry.MethodEnd
	case http.MethodGet:
		m.method = telemetry.MethodStream
	}
	m.isFor(c.Param("server"))
	if m.meter != nil || m.span != nil {
		w := c.Response()
		w.Before(func() { m.answered(w.Status) })
	}
	return m
}

// isFor notes what kind of endpoint it is, by the name in the path or the scope.
func (m *measured) isFor(scope string) {
	switch {
	case scope == "":
		m.scope = telemetry.ScopeAll
	case strings.HasPrefix(scope, store.ScopeGroup):
		m.scope = telemetry.ScopeGroup
	default:
		m.scope = telemetry.ScopeServer
	}
}

// peeked is how much of a body is looked at for its method: clients write it first.
const peeked = 1 << 10

// asks notes what is asked. A method that stands behind a long params is not looked for.
func (m *measured) asks(req *router.Request) {
	m.isFor(req.Scope)
	if req.HTTPMethod != http.MethodPost || (m.meter == nil && m.span == nil) {
		return
	}
	head := bytes.TrimLeft(req.Body[:min(len(req.Body), peeked)], " \t\r\n")
	for k, v := range wire.Members(head, wire.Span{Start: 0, End: len(head)}) {
		if string(k.Of(head)) == `"method"` {
			m.method = kindOf(v.Of(head))
			return
		}
	}
}

// kindOf is the kind of a method as it stands in a message.
func kindOf(quoted []byte) telemetry.MethodKind {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return telemetry.KindOf(string(bytes.Trim(quoted, `"`))) // no copy is made for this
	}
	method, _ := wire.Unquote(quoted)
	return telemetry.KindOf(method)
}

func (m *measured) answered(status int) {
	m.meter.Request(m.scope, m.method, status, time.Since(m.begun))
	m.span.SetInt("http.response.status_code", status)
	m.span.Set("mcphub.scope", m.scope.String())
	m.span.Set("mcphub.method", m.method.String())
	if status >= http.StatusInternalServerError {
		m.span.Fail(http.StatusText(status))
	}
}
