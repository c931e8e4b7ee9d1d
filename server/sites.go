package server

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// sites knows which hosts and origins belong here. Without it any page that a person opens
// could talk to a hub on that person's machine (DNS rebinding; MCP 2025-11-25, Transports,
// Security Warning).
type sites struct {
	hosts, origins map[string]bool
}

func newSites(hosts, origins []string) sites {
	s := sites{hosts: map[string]bool{}, origins: map[string]bool{}}
	for _, h := range hosts {
		s.hosts[strings.ToLower(h)] = true
	}
	for _, o := range origins {
		s.origins[strings.ToLower(strings.TrimSuffix(o, "/"))] = true
	}
	return s
}

// check refuses a Host that is not ours where the connection came in on loopback, and an
// Origin that is neither this host nor allowed.
func (s sites) check(r *http.Request) *problem {
	if r.Host == "" || strings.ContainsAny(r.Host, "@/?#\\ ") {
		return refuse(http.StatusBadRequest, "the Host header must be a host name or address, with or without a port")
	}
	if onLoopback(r) && !isLoopback(r.Host) && !s.listed(r.Host) {
		return refuse(http.StatusForbidden, "this hub listens on loopback and does not answer for other host names; name them in routing.allowedHosts, or use localhost")
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
	return s.hosts[host] || s.hosts[hostname(host)]
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
	return isLoopback(u.Host) && isLoopback(host)
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

// isLoopback says whether host[:port] names this machine's loopback.
func isLoopback(host string) bool {
	name := hostname(host)
	if strings.EqualFold(name, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil && addr.Unmap().IsLoopback()
}

// hostname takes the port off.
func hostname(host string) string {
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') && strings.IndexByte(host, ':') == i {
		return host[:i]
	} else if i > 0 && host[i-1] == ']' {
		return host[:i]
	}
	return host
}
