package server

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/store"
)

// Strategy is how clients may name the node that they want to stay on.
type Strategy string

// The strategies. What a client names only ever chooses among the nodes that its session could
// be placed on anyway; the router sees to that.
const (
	// StrategyHash lets clients name none: the session id decides.
	StrategyHash Strategy = "consistent-hash"
	// StrategyCookie sets and reads Config.CookieName.
	StrategyCookie Strategy = "cookie"
	// StrategyHeader sets and reads Config.HeaderName.
	StrategyHeader Strategy = "header"
)

// validateSticky judges the strategy and the names.
func (c *Config) validateSticky() error {
	switch c.Strategy {
	case "", StrategyHash:
		return nil
	case StrategyCookie:
		if c.CookieName == "" || token(c.CookieName) {
			return nil
		}
		return fmt.Errorf("sticky session: %q cannot be the name of a cookie", c.CookieName)
	case StrategyHeader:
		switch {
		case c.HeaderName == "":
			return nil
		case !token(c.HeaderName):
			return fmt.Errorf("sticky session: %q cannot be the name of a header", c.HeaderName)
		case taken(c.HeaderName):
			return fmt.Errorf("sticky session: the header %s has a meaning already", c.HeaderName)
		}
		return nil
	}
	return errors.New("sticky session: the strategy is none of consistent-hash, cookie and header")
}

// takenNames and takenStems are headers that mean something else in a request or an answer.
var (
	takenNames = setOf([]string{
		"authorization", "cache-control", "connection", "cookie", "date", "expect", "forwarded", "from", "host", "keep-alive",
		"last-event-id", "location", "mcp-session-id", "origin", "range", "referer", "retry-after", "server", "set-cookie", "te", "trailer",
		"transfer-encoding", "traceparent", "tracestate", "upgrade", "user-agent", "vary", "via", "www-authenticate", "x-real-ip",
		strings.ToLower(wire.HeaderEpoch), strings.ToLower(wire.HeaderRefused), strings.ToLower(wire.HeaderSessions),
	})
	takenStems = []string{"accept", "access-control-", "content-", "if-", "mcp-", "proxy-", "sec-", "x-forwarded-"}
)

func taken(header string) bool {
	h := strings.ToLower(header)
	return takenNames[h] || slices.ContainsFunc(takenStems, func(stem string) bool { return strings.HasPrefix(h, stem) })
}

// token says whether s is a token of HTTP.
func token(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
	})
}

// stick reads the node that a client names and has the answer name the one that gave it.
//
// What does not look like a node's name, or comes twice, counts as not said: a cookie may be
// another program's, and a session must not fail over it.
func (s *Server) stick(r *http.Request, req *router.Request) {
	switch s.cfg.Strategy {
	case StrategyCookie:
		said := s.cookie(r)
		req.Prefer = nodeNamed(said)
		secure := isTLS(r)
		req.Placed = func(h http.Header, n store.NodeID) {
			if said != string(n) {
				h.Add("Set-Cookie", (&http.Cookie{ //nolint:gosec // Secure is set wherever the client speaks TLS; it would not come back otherwise
					Name: s.cfg.CookieName, Value: string(n), Path: "/",
					HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: secure,
				}).String())
			}
		}
	case StrategyHeader:
		if lines := r.Header.Values(s.cfg.HeaderName); len(lines) == 1 {
			req.Prefer = nodeNamed(lines[0])
		}
		req.Placed = func(h http.Header, n store.NodeID) { h.Set(s.cfg.HeaderName, string(n)) }
	}
}

// cookie is the value of the cookie, or empty where there are none or several.
func (s *Server) cookie(r *http.Request) string {
	if all := r.CookiesNamed(s.cfg.CookieName); len(all) == 1 {
		return all[0].Value
	}
	return ""
}

func nodeNamed(said string) store.NodeID {
	if wire.CheckName("node", said) != nil {
		return ""
	}
	return store.NodeID(said)
}

// isTLS says whether the client speaks TLS, to us or to a proxy before us. That a proxy does is
// believed whoever says so: it decides about nothing but the Secure attribute of the cookie that
// the very same client gets.
func isTLS(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	said, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
	if said == "" {
		first, _, _ := strings.Cut(r.Header.Get("Forwarded"), ",")
		said = forwarded(first, "proto")
	}
	return strings.EqualFold(strings.TrimSpace(said), "https")
}
