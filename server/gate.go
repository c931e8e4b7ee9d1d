package server

import (
	"net/http"
	"strings"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// admit is the gate: what no request may be, whatever its path. It changes the request only
// so far that there is one spelling of its path from here on.
func (s *Server) admit(r *http.Request) *problem {
	if r.Method == http.MethodConnect || r.Method == http.MethodTrace {
		return &problem{status: http.StatusMethodNotAllowed, message: "this is not a proxy", allow: allowAny}
	}
	if p := checkPath(r); p != nil {
		return p
	}
	if p := checkHeaders(r.Header); p != nil {
		return p
	}
	if len(r.Header["Upgrade"]) > 0 {
		return &problem{status: http.StatusMethodNotAllowed, message: "connections cannot be upgraded here; speak HTTP/1.1", allow: allowAny}
	}
	if r.Host == "" && isProbe(r.URL.Path) && r.Header.Get("Origin") == "" {
		return nil // HTTP/1.0, which balancers ask by; no page can
	}
	return s.sites.check(r, s.trusting(r))
}

// isProbe says that a path tells how this process is, and nothing worth reading.
func isProbe(path string) bool { return path == "/health" || path == "/ready" }

// trusting says whether a request may come under any host name, see sites.check. Browsers send
// Origin with every POST and DELETE, and not with a GET of a page's own origin: so where
// something can be read by GET, it takes credentials.
func (s *Server) trusting(r *http.Request) bool {
	page := r.Header.Get("Origin") != ""
	switch path := r.URL.Path; {
	case isMCP(path):
		return s.access.Load().keyed || !page
	case ofNodes[path]:
		return s.nodes.asked() || !page
	case isProbe(path):
		return true
	}
	return s.access.Load().admins.configured()
}

// ofNodes are the calls that nodes make, all by POST.
var ofNodes = map[string]bool{
	"/api/cluster/register": true, "/api/cluster/heartbeat": true,
	"/api/cluster/deregister": true, "/api/cluster/catalogs": true,
}

// checkPath refuses whatever another program on the way might read as another path. After it
// URL.Path is the only spelling.
func checkPath(r *http.Request) *problem {
	if !strings.HasPrefix(r.RequestURI, "/") && r.RequestURI != "" || r.URL.Host != "" {
		return refuse(http.StatusBadRequest, "the request line must hold a path, not a whole URL")
	}
	path := r.URL.Path
	for i := range len(path) {
		switch c := path[i]; {
		case c < ' ' || c == 0x7f || c == '\\' || c == ';' || c == '%':
			return refuse(http.StatusBadRequest, "the path must not hold control characters, percent signs, backslashes or semicolons")
		case c == '/' && i > 0 && path[i-1] == '/':
			return refuse(http.StatusBadRequest, "the path must not hold two slashes in a row")
		case c == '.' && i > 0 && path[i-1] == '/' && isDots(path[i:]):
			return refuse(http.StatusBadRequest, "the path must not hold . or .. as a part")
		}
	}
	if raw := r.URL.RawPath; raw != "" {
		if hasEscapedSlash(raw) {
			return refuse(http.StatusBadRequest, "the path must not hold an escaped slash")
		}
		r.URL.RawPath = ""
	}
	return nil
}

// isDots reports whether the first part of the rest of a path is . or ..
func isDots(rest string) bool {
	part, _, _ := strings.Cut(rest, "/")
	return part == "." || part == ".."
}

func hasEscapedSlash(raw string) bool {
	for i := 0; i+2 < len(raw); i++ {
		if raw[i] == '%' && raw[i+1] == '2' && (raw[i+2]|0x20) == 'f' {
			return true
		}
	}
	return false
}

// single are headers of which two would let two readers disagree.
var single = map[string]bool{
	wire.HeaderSession: true, wire.HeaderVersion: true, wire.HeaderMethod: true, wire.HeaderName: true,
	wire.HeaderLastEventID: true, "Authorization": true, "Content-Type": true, "Content-Encoding": true,
	"Origin": true, "Host": true, wire.HeaderEpoch: true,
}

// checkHeaders refuses headers that are too many, doubled, or another one in disguise: some
// programs take Mcp_Session_Id for Mcp-Session-Id.
func checkHeaders(h http.Header) *problem {
	size := 0
	for name, values := range h {
		for _, v := range values {
			size += len(name) + len(v) + len(": \r\n")
		}
		if len(values) > 1 && single[name] {
			return refuse(http.StatusBadRequest, "the header "+name+" may come only once")
		}
		if strings.IndexByte(name, '_') >= 0 && disguised(name) {
			return refuse(http.StatusBadRequest, "header names are written with hyphens here, not with underscores")
		}
	}
	if size > MaxHeaders {
		return &problem{status: http.StatusRequestHeaderFieldsTooLarge, message: "the headers are over 32 KiB together", shut: true}
	}
	return nil
}

// ours begin the names of headers that mean something here or to a proxy before us.
var ours = []string{"mcp-", "x-mcphub-", "authorization", "content-", "last-event-id", "origin", "host", "cookie", "forwarded", "x-forwarded-", "x-real-ip", "transfer-encoding", "accept"}

func disguised(name string) bool {
	plain := strings.ToLower(strings.ReplaceAll(name, "_", "-"))
	for _, prefix := range ours {
		if strings.HasPrefix(plain, prefix) {
			return true
		}
	}
	return false
}
