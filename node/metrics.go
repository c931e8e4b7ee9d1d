package node

import (
	"net/http"
	"net/netip"
	"os"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// serveMetrics answers Prometheus, from loopback and private addresses only: a node has no admins
// to ask for. Nor does it under a name that may be anybody's: a page that points such a name here
// reads its own origin, and says so nowhere (DNS rebinding).
func (n *Node) serveMetrics(c echo.Context) error {
	w, r := c.Response(), c.Request()
	if n.cfg.Metrics == nil {
		return fail(w, http.StatusNotFound, "this node has no metrics of its own; its coordinator shows them")
	}
	peer, _ := netip.ParseAddrPort(r.RemoteAddr) // what cannot be read is neither
	if a := peer.Addr().Unmap(); !a.IsLoopback() && !a.IsPrivate() {
		return fail(w, http.StatusForbidden, "metrics are for loopback and private addresses")
	}
	if !ownHost(r.Host) {
		return fail(w, http.StatusForbidden, "that host name may be anybody's: ask for metrics by the address of this node, by the name of its machine, or by one that ends in .internal or the like")
	}
	n.cfg.Metrics.ServeHTTP(w, r)
	return nil
}

// ownHost says whether a Host is one that a stranger cannot make point here, or this machine's own.
func ownHost(host string) bool {
	machine, err := os.Hostname()
	name := strings.TrimSuffix(wire.Hostname(host), ".")
	return wire.PrivateHost(host) || err == nil && strings.EqualFold(name, machine)
}
