package wire

import (
	"net/netip"
	"strings"
)

// local are endings of names that no one can register in the public DNS.
var local = []string{".local", ".internal", ".lan", ".home.arpa", ".localhost", ".svc"}

// PrivateHost says whether the Host of a request is one that a stranger cannot make point here:
// an address, a name of one label, or a name of a private network. Under any other name a page
// that a person opens may be talking to a program on that person's network (DNS rebinding; MCP
// 2025-11-25, Transports, Security Warning).
func PrivateHost(host string) bool {
	name := strings.ToLower(strings.TrimSuffix(Hostname(host), "."))
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return true
	}
	if !strings.Contains(name, ".") {
		return name != ""
	}
	for _, end := range local {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// LoopbackHost says whether host, with or without a port, names this machine's loopback.
func LoopbackHost(host string) bool {
	name := Hostname(host)
	if strings.EqualFold(name, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil && addr.Unmap().IsLoopback()
}

// Hostname takes the port off a Host.
func Hostname(host string) string {
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') && strings.IndexByte(host, ':') == i {
		return host[:i]
	} else if i > 0 && host[i-1] == ']' {
		return host[:i]
	}
	return host
}
