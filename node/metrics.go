package node

import (
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"github.com/labstack/echo/v4"
)

// serveMetrics answers Prometheus, from loopback and private addresses only: a node has no admins
// to ask for. Nor does it under a name that may be anybody's: a page that points such a name here
// reads its own origin, and says so nowhere (DNS rebinding).
func (n *Node) serveMetrics(c echo.Context) error {
	w, r := c.Response(), c.Request()
	if n.cfg.Metrics == nil {
		return fail(w, http.StatusNotFound, "this node has no metrics of its own; its coordinator shows them")
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return fail(w, http.StatusForbidden, "metrics are for loopback and private addresses")
	}
	if a := peer.Addr().Unmap(); !a.IsLoopback() && !a.IsPrivate() {
		return fail(w, http.StatusForbidden, "metrics are for loopback and private addresses")
	}
	if !ownHost(r.Host) {
		return fail(w, http.StatusForbidden, "that host name may be anybody's: ask for metrics by the address of this node, by the name of its machine, or by one that ends in .internal or the like")
	}
	n.cfg.Metrics.ServeHTTP(w, r)
	return nil
}

// privateNames are endings of names that no one can register in the public DNS.
var privateNames = []string{".local", ".internal", ".lan", ".home.arpa", ".localhost", ".svc"}

// ownHost says whether a Host is one that a stranger cannot make point here: an address, a name of
// one label or of a private network, or this machine's own.
func ownHost(hostport string) bool {
	u := url.URL{Host: hostport}
	name := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	if name == "" {
		return false
	}
	if machine, err := os.Hostname(); err == nil && name == strings.ToLower(machine) {
		return true
	}
	if !strings.Contains(name, ".") {
		return true
	}
	for _, end := range privateNames {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}
