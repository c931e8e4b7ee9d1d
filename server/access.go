package server

import (
	"crypto/sha256"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// bearer knows the digests of the keys that open a door.
type bearer struct{ sums [][sha256.Size]byte }

func newBearer(keys ...string) bearer {
	var b bearer
	for _, k := range keys {
		if k != "" {
			b.sums = append(b.sums, sha256.Sum256([]byte(k)))
		}
	}
	return b
}

// asked says whether there is a key at all.
func (b bearer) asked() bool { return len(b.sums) > 0 }

func (b bearer) admits(r *http.Request) bool {
	sum, ok := shownKey(r)
	return ok && oneOf(b.sums, sum) >= 0
}

// fromNode is the door of the calls that nodes make.
func (s *Server) fromNode(r *http.Request) *problem {
	if !s.nodes.asked() {
		if private(r) {
			return nil
		}
		return refuse(http.StatusForbidden, "without a cluster secret nodes must come from loopback or private addresses; set cluster.secret on coordinators and nodes")
	}
	if s.nodes.admits(r) {
		return nil
	}
	return &problem{status: http.StatusUnauthorized, challenge: `Bearer realm="mcphub cluster"`,
		message: "the cluster secret is missing or another one; it must be the same on coordinators and nodes (cluster.secret, MCPHUB_CLUSTER_SECRET)"}
}

// management is the door of everything that shows or changes the fleet.
func (s *Server) management(r *http.Request) *problem {
	if admins := &s.access.Load().admins; admins.configured() {
		return admins.check(r)
	}
	if private(r) {
		return nil
	}
	return refuse(http.StatusForbidden, "no admin is configured, so management calls answer to loopback and private addresses only; set cluster.adminToken")
}

// claimed are headers in which proxies name the client that they speak for.
var claimed = []string{
	"X-Forwarded-For", "X-Real-Ip", "Forwarded", "True-Client-Ip", "Cf-Connecting-Ip", "X-Client-Ip",
	"X-Cluster-Client-Ip", "Fastly-Client-Ip", "X-Original-Forwarded-For",
}

// private says whether a request comes from loopback or a private address, and does not say
// that it was made for someone elsewhere: a balancer in our own network is not the client.
func private(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil || !isPrivate(host) {
		return false
	}
	for _, name := range claimed {
		for _, line := range r.Header[name] {
			for part := range strings.SplitSeq(line, ",") {
				if !isPrivate(clientOf(name, part)) {
					return false
				}
			}
		}
	}
	return true
}

// clientOf is the address in one entry of such a header; Forwarded names it as for=.
func clientOf(name, part string) string {
	if name != "Forwarded" {
		return strings.TrimSpace(part)
	}
	return forwarded(part, "for")
}

// forwarded is the value of a name in one element of a Forwarded header, or empty.
func forwarded(element, name string) string {
	for pair := range strings.SplitSeq(element, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
		if strings.EqualFold(key, name) {
			return strings.Trim(value, `"`)
		}
	}
	return ""
}

// isPrivate takes an address with or without a port; what is no address is not private.
func isPrivate(s string) bool {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		s = ap.Addr().String()
	}
	addr, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		return false
	}
	addr = addr.Unmap().WithZone("")
	return addr.IsLoopback() || addr.IsPrivate()
}
