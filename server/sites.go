package server

import (
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// sites knows which hosts and origins belong here. Without it any page that a person opens
// could talk to a hub on that person's machine (DNS rebinding; MCP 2025-11-25, Transports,
// Security Warning).
type sites struct {
	hosts, origins map[string]bool
	machine        string // this machine's name, in lower case
}

func newSites(hosts, origins []string) sites {
	s := sites{hosts: map[string]bool{}, origins: map[string]bool{}}
	if name, err := os.Hostname(); err == nil { // without it the name has to be listed
		s.machine = strings.ToLower(name)
	}
	for _, h := range hosts {
		s.hosts[strings.ToLower(h)] = true
	}
	for _, o := range origins {
		s.origins[strings.ToLower(strings.TrimSuffix(o, "/"))] = true
	}
	return s
}

// check refuses a Host that is not ours where the connection came in on loopback, one that may
// be anybody's where nothing else protects the path, and an Origin that is neither this host
// nor allowed. trusting says that a name need not be ours, because whoever uses it has to show
// credentials, which a page of another name does not have, or shows by sending no Origin where
// browsers do that it is no page.
func (s sites) check(r *http.Request, trusting bool) *problem {
	if r.Host == "" || strings.ContainsAny(r.Host, "@/?#\\ ") {
		return refuse(http.StatusBadRequest, "the Host header must be a host name or address, with or without a port")
	}
	if onLoopback(r) && !wire.LoopbackHost(r.Host) && !s.listed(r.Host) {
		return refuse(http.StatusForbidden, "this hub listens on loopback and does not answer for other host names; name them in routing.allowedHosts, or use localhost")
	}
	if !trusting && !s.ours(r.Host) && !s.listed(r.Host) {
		return refuse(http.StatusForbidden, "that host name may be anybody's, and no credentials are asked for here; name it in routing.allowedHosts if it is this hub's")
	}
	origin := r.Header.Get("Origin")
	if origin == "" || s.belongs(origin, r.Host) {
		return nil
	}
	return refuse(http.StatusForbidden, "requests from pages of that origin are not accepted; name it in routing.allowedOrigins if they should be")
}

// listed looks for the host with and without its port.
func (s sites) listed(host string) bool {
	host = strings.ToLower(host)
	return s.hosts[host] || s.hosts[wire.Hostname(host)]
}

// ours says whether a host is one that a stranger cannot make point here: an address, a name of
// one label or of a private network, or this machine's own.
func (s sites) ours(host string) bool {
	return wire.PrivateHost(host) || strings.EqualFold(strings.TrimSuffix(wire.Hostname(host), "."), s.machine)
}

func (s sites) belongs(origin, host string) bool {
	if s.origins[strings.ToLower(origin)] {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.Path != "" {
		return false
	}
	if strings.EqualFold(bare(u.Host, u.Scheme), bare(host, u.Scheme)) {
		return true
	}
	return wire.LoopbackHost(u.Host) && wire.LoopbackHost(host)
}

// bare takes the scheme's own port off a host.
func bare(host, scheme string) string {
	if scheme == "https" {
		return strings.TrimSuffix(host, ":443")
	}
	return strings.TrimSuffix(host, ":80")
}

// cross reports whether the request comes from a page of another origin that may talk to us.
func cross(r *http.Request) (origin string, ok bool) {
	origin = r.Header.Get("Origin")
	if origin == "" {
		return "", false
	}
	u, err := url.Parse(origin)
	return origin, err != nil || !strings.EqualFold(u.Host, r.Host)
}

// onLoopback says whether the connection came in on a loopback address of this machine.
func onLoopback(r *http.Request) bool {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && addr.IP.IsLoopback()
}
