package server

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/store"
)

// validateSticky judges the strategy and the names.
func (c *Config) validateSticky() error {
	switch c.Strategy {
	case "", router.StrategyHash:
		return nil
	case router.StrategyCookie:
		if c.CookieName == "" || wire.IsToken(c.CookieName) {
			return nil
		}
		return fmt.Errorf("sticky session: %q cannot be the name of a cookie", c.CookieName)
	case router.StrategyHeader:
		switch {
		case c.HeaderName == "":
			return nil
		case !wire.IsToken(c.HeaderName):
			return fmt.Errorf("sticky session: %q cannot be the name of a header", c.HeaderName)
		case wire.TakenHeader(c.HeaderName):
			return fmt.Errorf("sticky session: the header %s has a meaning already", c.HeaderName)
		}
		return nil
	}
	return errors.New("sticky session: the strategy is none of consistent-hash, cookie and header")
}

// stick reads the node that a client names and has the answer name the one that gave it.
//
// What does not look like a node's name, or comes twice, counts as not said: a cookie may be
// another program's, and a session must not fail over it.
func (s *Server) stick(r *http.Request, req *router.Request) {
	switch s.cfg.Strategy {
	case router.StrategyCookie:
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
	case router.StrategyHeader:
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
