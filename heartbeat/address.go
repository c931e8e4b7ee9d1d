package heartbeat

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
)

// AddressPolicy says which addresses a node may have. The zero policy is the strict one.
//
// It is asked twice: about a URL when a node sends it, and about the address that is really
// dialled, so that a name that resolves to something else the second time gains nothing.
type AddressPolicy struct {
	// Authenticated says that nodes have shown the cluster secret. Without one only loopback
	// and private addresses are allowed.
	Authenticated bool
}

// CheckURL refuses a URL that is more or less than scheme, host and port, that spells an
// address in an unusual way, or whose address the policy forbids. With a secret it may have a
// path, for a node behind a proxy that takes it off again; without one that would let anybody
// on the network choose what coordinators post to. A host name passes here and is judged when
// it is dialled. The errors wrap ErrAddress.
func (p AddressPolicy) CheckURL(raw string) error {
	if raw == "" {
		return badAddress("url: it is empty; it must be like http://10.0.0.5:3001")
	}
	if len(raw) > maxHost+16+maxPath {
		return badAddress("url: %d bytes long", len(raw))
	}
	u, err := url.Parse(raw)
	if err != nil {
		return badAddress("url: it cannot be parsed; it must be like http://10.0.0.5:3001")
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return badAddress("url: the scheme must be http or https")
	}
	if u.User != nil {
		return badAddress("url: it must not hold a user name or password")
	}
	if u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "" || u.Scheme+"://"+u.Host+u.Path != raw {
		return badAddress("url: it must be scheme, host and port only, in lower case and without escapes, like http://10.0.0.5:3001")
	}
	if err := p.checkPath(u.Path); err != nil {
		return err
	}
	host, err := splitHost(u.Host)
	if err != nil {
		return err
	}
	return p.checkHost(host)
}

// maxPath bounds the path of a node's URL.
const maxPath = 128

// checkPath allows no path, or one that everything on the way reads alike.
func (p AddressPolicy) checkPath(path string) error {
	if path == "" {
		return nil
	}
	if !p.Authenticated {
		return badAddress("url: it must be scheme, host and port only, like http://10.0.0.5:3001; a path needs a cluster secret (cluster.secret)")
	}
	for _, part := range strings.Split(path[1:], "/") {
		if part == "" || part == "." || part == ".." || strings.Trim(part, plainPath) != "" || len(path) > maxPath {
			return badAddress("url: its path must be made of names of letters, digits and -._~, without a slash at the end, and have at most %d bytes", maxPath)
		}
	}
	return nil
}

const plainPath = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"

// splitHost parts host[:port] and checks the port.
func splitHost(hostport string) (string, error) {
	host := hostport
	if i := strings.LastIndexByte(hostport, ':'); i > strings.LastIndexByte(hostport, ']') {
		port := hostport[i+1:]
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || port[0] == '0' || port[0] == '+' {
			return "", badAddress("url: the port must be a number between 1 and 65535")
		}
		host = hostport[:i]
	}
	if strings.HasPrefix(host, "[") {
		if host = strings.TrimSuffix(host[1:], "]"); !strings.Contains(host, ":") {
			return "", badAddress("url: only an IPv6 address stands in brackets")
		}
	}
	return host, nil
}

func (p AddressPolicy) checkHost(host string) error {
	if strings.Contains(host, "%") {
		return badAddress("url: an address with a zone means something else on every machine")
	}
	if strings.Contains(host, ":") || looksNumeric(host) {
		addr, err := netip.ParseAddr(host)
		if err != nil || addr.String() != host && !addr.Is6() {
			return badAddress("url: the address must be written in the plain way: four decimal numbers, or IPv6 in brackets")
		}
		return p.CheckAddr(addr)
	}
	if len(host) == 0 || len(host) > maxHost {
		return badAddress("url: the host name must have 1 to %d characters", maxHost)
	}
	for _, label := range strings.Split(host, ".") {
		if !isLabel(label) {
			return badAddress("url: the host name must be made of letters, digits, hyphens and dots")
		}
	}
	return nil
}

// looksNumeric says whether some resolver would take the name for an IPv4 address: its last
// label is a number, decimal, octal or hexadecimal (WHATWG URL, "ends in a number").
func looksNumeric(host string) bool {
	host = strings.TrimSuffix(host, ".")
	last := strings.ToLower(host[strings.LastIndexByte(host, '.')+1:])
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// forbidden are ranges that never belong to a node: this network, link-local and with it most
// metadata services, other metadata services, multicast, reserved, documentation, and the
// IPv6 forms that hide an IPv4 address.
var forbidden = prefixes(
	"0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"100.100.100.200/32", "168.63.129.16/32", // metadata of Alibaba Cloud and Azure
	"::/128", "fe80::/10", "fec0::/10", "ff00::/8",
	"fd00:ec2::254/128", "fd20:ce::254/128", // metadata of AWS and Google Cloud
	"::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32",
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// CheckAddr judges an address itself. The errors wrap ErrAddress.
func (p AddressPolicy) CheckAddr(a netip.Addr) error {
	if a.Zone() != "" {
		return badAddress("url: an address with a zone means something else on every machine")
	}
	if a == netip.IPv6Loopback() {
		return nil
	}
	for _, f := range forbidden {
		if f.Contains(a) {
			return badAddress("url: %s is link-local, multicast, reserved, a metadata service or IPv4 in disguise", a)
		}
	}
	if !p.Authenticated && !a.IsLoopback() && !a.IsPrivate() {
		return badAddress("url: %s is not a loopback or private address, and the cluster has no secret; set cluster.secret on every coordinator and node", a)
	}
	return nil
}

// Control is for net.Dialer.Control: it refuses the connection if the address that the name
// resolved to is forbidden. Whoever dials nodes should use it, and follow no redirects.
func (p AddressPolicy) Control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return badAddress("dialled address %q is not an address", address)
	}
	// An IPv4 peer of a socket for both families is written in the mapped form here only.
	return p.CheckAddr(ap.Addr().Unmap())
}

// listenURL is the URL of a node that listens on a port of an address.
func listenURL(addr netip.Addr, port int) string {
	return "http://" + net.JoinHostPort(addr.Unmap().WithZone("").String(), strconv.Itoa(port))
}
