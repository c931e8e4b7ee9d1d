package node

import (
	"net/http"
	"os"
	"strings"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// What is said to browsers, and to who asks under a name that may be anybody's.
const (
	notForPages = "a node serves coordinators, and no web page"
	notThatName = "that host name may be anybody's: ask this node by its address, by the host of its node.url, by the name of its machine, or by one that ends in .internal or the like"
)

// outsider is why a request cannot come from a coordinator, a probe or Prometheus; empty if it can.
//
// Pages name their origin with every POST, and with a GET that goes elsewhere; the others never do.
// A page that points a name of its own here reads its own origin, and says so nowhere (DNS
// rebinding), so the name has to be one that strangers cannot point anywhere. A request of HTTP/1.0
// may have none.
func (n *Node) outsider(r *http.Request) string {
	switch {
	case len(r.Header["Origin"]) > 0:
		return notForPages
	case r.Host != "" && !n.answersTo(r.Host):
		return notThatName
	}
	return ""
}

// answersTo says whether a Host is this node's: that of its URL, the name of its machine, or one
// that a stranger cannot make point here.
func (n *Node) answersTo(host string) bool {
	name := strings.TrimSuffix(wire.Hostname(host), ".")
	if wire.PrivateHost(host) || n.cfg.Host != "" && strings.EqualFold(name, wire.Hostname(n.cfg.Host)) {
		return true
	}
	machine, err := os.Hostname()
	return err == nil && strings.EqualFold(name, machine)
}
