package node

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// refuseBrowsers keeps web pages out. A node answers coordinators, operators and Prometheus, and no
// page of anyone's: browsers send Origin with whatever is not a plain GET of a page's own origin,
// and to be of a node's origin a page must have a name that a stranger cannot make point here.
func refuseBrowsers(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if r.Header.Get("Origin") != "" {
			return fail(c.Response(), http.StatusForbidden, "a node answers no web page; the coordinators do")
		}
		if r.Method == http.MethodGet && !wire.PrivateHost(r.Host) && r.URL.Path != "/health" {
			return fail(c.Response(), http.StatusForbidden, "that host name may be anybody's: call this node by its address or its name in the private network")
		}
		return next(c)
	}
}
