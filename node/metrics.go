package node

import (
	"net/http"
	"net/netip"

	"github.com/labstack/echo/v4"
)

// serveMetrics answers Prometheus, from loopback and private addresses only: a node has no admins
// to ask for.
func (n *Node) serveMetrics(c echo.Context) error {
	w, r := c.Response(), c.Request()
	if n.cfg.Metrics == nil {
		return fail(w, http.StatusNotFound, "this node has no metrics of its own; its coordinator shows them")
	}
	peer, _ := netip.ParseAddrPort(r.RemoteAddr) // what cannot be read is neither
	if a := peer.Addr().Unmap(); !a.IsLoopback() && !a.IsPrivate() {
		return fail(w, http.StatusForbidden, "metrics are for loopback and private addresses")
	}
	n.cfg.Metrics.ServeHTTP(w, r)
	return nil
}
