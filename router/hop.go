package router

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mcphub-go/mcphub/internal/telemetry"
	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// hop is the last stretch: HTTP/1.1 to the nodes over connections of its own.
//
// net/http's Transport is not used, because it may send a POST twice by itself and does not say
// how much of a request it has written. Here every byte is counted, so that the Dispatch state
// is a fact. It follows no redirect, decodes nothing, and sends only the headers that
// appendHead names. Safe for concurrent use.
type hop struct {
	cfg  hopConfig
	quit chan struct{} // closed by abandon

	mu    sync.RWMutex
	peers map[string]*peer // by node URL
}

type hopConfig struct {
	// Credential is the fleet credential, shown to nodes.
	Credential string
	// DialTimeout bounds connecting and the TLS handshake.
	DialTimeout time.Duration
	// AnswerTimeout bounds the wait from the request's first byte to the end of a plain answer
	// or to the head of a stream.
	AnswerTimeout time.Duration
	// StreamIdle bounds the wait between two reads of a stream.
	StreamIdle time.Duration
	// IdleTimeout and MaxIdle bound the connections kept for later, for each node.
	IdleTimeout time.Duration
	MaxIdle     int
	// TLS is for nodes with https URLs; nil means the system's roots.
	TLS *tls.Config
	// Control may refuse an address that is about to be dialled; nil allows all.
	Control func(network, address string, c syscall.RawConn) error
	// Meter and Tracer see each request but those for health; nil ones see none.
	Meter  *telemetry.Front
	Tracer *telemetry.Tracer
}

// headLimit bounds the head of an answer, and smallBody is the size up to which a body is
// copied behind its head so that both leave in one packet.
const (
	headLimit = 32 << 10
	smallBody = 16 << 10
)

// outgoing is one request to a node.
type outgoing struct {
	method  string // POST, DELETE or GET
	server  store.ServerID
	token   string // the session's public id
	epoch   store.Epoch
	header  http.Header // the client's; only what passHeaders names is used
	merged  bool        // names were rewritten: headers that mirror them are left out
	version string      // instead of the client's Mcp-Protocol-Version
	body    []byte
	// streamNow asks for a stream that opens with the dispatch of the message, and not when there
	// is something to write; see wire.HeaderStream.
	streamNow bool
	lastEvent string          // of GET: Last-Event-ID
	span      *telemetry.Span // of this sending; its place in the trace is what the node is told
	health    bool            // GET /health, without credential or session
	timeout   time.Duration   // instead of AnswerTimeout
}

// hopError is a request that got no answer that could be read to the end of its head.
type hopError struct {
	State  Dispatch
	Reason string // one of the reason constants
	// Evidence says that no connection to the node could be made and the cause is not ours.
	Evidence bool
	Err      error
}

func (e *hopError) Error() string { return e.State.String() + " " + e.Reason + ": " + e.Err.Error() }
func (e *hopError) Unwrap() error { return e.Err }

// passHeaders are the client's headers that a node may see, in net/http's canonical form.
// Mirrors of names in the body are listed apart, since a rewritten body makes them lies.
var (
	passHeaders   = []string{wire.HeaderVersion, "Traceparent", "Tracestate", "Baggage"}
	mirrorHeaders = []string{wire.HeaderMethod, wire.HeaderName}
)

func newHop(cfg hopConfig) *hop {
	return &hop{cfg: cfg, quit: make(chan struct{}), peers: make(map[string]*peer)}
}

// peer finds or makes the connection pool of a node's URL.
func (h *hop) peer(rawURL string) (*peer, error) {
	h.mu.RLock()
	p := h.peers[rawURL]
	h.mu.RUnlock()
	if p != nil {
		return p, nil
	}
	fresh, err := h.newPeer(rawURL)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.peers[rawURL]; p != nil {
		return p, nil
	}
	fresh.closed = h.over()
	h.peers[rawURL] = fresh
	return fresh, nil
}

func (h *hop) newPeer(rawURL string) (*peer, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("node URL: %w", err)
	}
	// What needs no escapes can stand in a request line as it is.
	if u.Host == "" || u.Hostname() == "" || u.User != nil || u.EscapedPath() != u.Path || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("node URL %q is not of the form http://host:port or http://host:port/path", rawURL)
	}
	p := &peer{hop: h, host: u.Host, path: strings.TrimSuffix(u.Path, "/"), addr: u.Host}
	switch u.Scheme {
	case "http":
		p.addr = withPort(u, "80")
	case "https":
		p.addr = withPort(u, "443")
		cfg := &tls.Config{MinVersion: tls.VersionTLS12}
		if h.cfg.TLS != nil {
			cfg = h.cfg.TLS.Clone()
		}
		if cfg.ServerName == "" {
			cfg.ServerName = u.Hostname()
		}
		cfg.NextProtos = []string{"http/1.1"}
		p.tls = cfg
	default:
		return nil, fmt.Errorf("node URL %q is neither http nor https", rawURL)
	}
	return p, nil
}

func withPort(u *url.URL, port string) string {
	if p := u.Port(); p != "" {
		port = p
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// send writes one request to a node and reads the head of its answer. Each error is a
// *hopError. The caller closes the answer. When ctx ends, the connection is dropped, and the
// node goes on with what it has received.
func (h *hop) send(ctx context.Context, nodeURL string, out *outgoing) (*answer, error) {
	if out.health {
		return h.exchange(ctx, nodeURL, out)
	}
	begun := time.Now()
	if h.cfg.Tracer != nil {
		ctx, out.span = h.cfg.Tracer.Call(ctx, out.method+" node")
		out.span.Set("mcphub.server", string(out.server))
		out.span.Set("url.full", nodeURL)
	}
	a, err := h.exchange(ctx, nodeURL, out)
	if err != nil {
		out.span.Fail(err.Error())
		out.span.End()
		return nil, err
	}
	if out.method != http.MethodGet { // a stream answers nothing
		h.cfg.Meter.Upstream(string(out.server), time.Since(begun))
	}
	out.span.SetInt("http.response.status_code", a.status)
	out.span.Set("mcphub.refused", a.refused)
	a.span = out.span
	return a, nil
}

// exchange is send, neither measured nor traced.
func (h *hop) exchange(ctx context.Context, nodeURL string, out *outgoing) (*answer, error) {
	p, err := h.peer(nodeURL)
	if err != nil {
		return nil, &hopError{State: Queued, Reason: reasonUnreachable, Evidence: true, Err: err}
	}
	buf := headBuffers.Get().(*[]byte)
	defer func() {
		if cap(*buf) <= 4*smallBody {
			headBuffers.Put(buf)
		}
	}()
	head := h.appendHead((*buf)[:0], p, out)
	*buf = head[:0]
	for fresh := false; ; fresh = true {
		c, err := p.conn(ctx, fresh)
		if err != nil {
			return nil, &hopError{State: NotSent, Reason: reasonUnreachable, Evidence: evidence(ctx, err) && !h.over(), Err: err}
		}
		a, again, err := c.exchange(ctx, head, out)
		if again && !fresh {
			continue // the pooled connection was dead, and no byte was written to it
		}
		return a, err
	}
}

// exchange writes and reads on one connection. Again says that not a byte could be written.
func (c *conn) exchange(ctx context.Context, head []byte, out *outgoing) (a *answer, again bool, err error) {
	limit := out.timeout
	if limit == 0 {
		limit = c.peer.hop.cfg.AnswerTimeout
	}
	_ = c.nc.SetDeadline(time.Now().Add(limit)) // fails only on a closed connection, as the write will
	c.stop = context.AfterFunc(ctx, c.abort)
	n, werr := c.write(head, out.body)
	if werr != nil && n == 0 {
		c.discard()
		return nil, true, &hopError{State: NotSent, Reason: reasonUnreachable, Err: werr}
	}
	if werr != nil {
		// A node may refuse a request before it has read it all; its answer may still be there.
		_ = c.nc.SetReadDeadline(time.Now().Add(time.Second))
	}
	if _, err := c.br.Peek(1); err != nil {
		c.discard()
		return nil, false, &hopError{State: PossiblyReceived, Reason: lostReason(err), Err: errors.Join(werr, err)}
	}
	a, err = c.readAnswer()
	if err != nil {
		c.discard()
		reason := reasonBadAnswer
		if errors.Is(err, errCut) {
			reason = reasonBroken
		}
		return nil, false, &hopError{State: Answered, Reason: reason, Err: err}
	}
	a.keep = a.keep && werr == nil
	return a, false, nil
}

// write sends head and body and counts the bytes that the kernel took.
func (c *conn) write(head, body []byte) (int64, error) {
	if len(body) <= smallBody {
		n, err := c.nc.Write(append(head, body...))
		return int64(n), err
	}
	bufs := net.Buffers{head, body}
	return bufs.WriteTo(c.nc)
}

func lostReason(err error) string {
	if t, ok := errors.AsType[net.Error](err); ok && t.Timeout() {
		return reasonTimeout
	}
	return reasonNodeLost
}

// evidence says whether a failed dial speaks against the node. A caller that went away, or a
// process that is out of sockets, speaks against us.
func evidence(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	for _, ours := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, ours) {
			return false
		}
	}
	return true
}

var headBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 2<<10); return &b }}

// appendHead writes the request's head by hand. What is not named here does not cross.
func (h *hop) appendHead(b []byte, p *peer, out *outgoing) []byte {
	b = append(append(append(b, out.method...), ' '), p.path...)
	if out.health {
		b = append(b, "/health"...)
	} else {
		b = append(append(b, "/mcp/"...), out.server...)
	}
	b = append(append(b, " HTTP/1.1\r\nHost: "...), p.host...)
	if !out.health {
		b = append(append(b, "\r\nAuthorization: Bearer "...), h.cfg.Credential...)
		b = strconv.AppendInt(append(b, "\r\n"+wire.HeaderEpoch+": "...), int64(out.epoch), 10)
		b = append(append(b, "\r\n"+wire.HeaderSession+": "...), out.token...)
	}
	if out.method == http.MethodPost {
		accept := first(out.header, "Accept")
		if accept == "" {
			accept = "application/json, text/event-stream"
		}
		b = appendField(b, "Accept", accept)
		b = append(b, "\r\nContent-Type: application/json\r\nContent-Length: "...)
		b = strconv.AppendInt(b, int64(len(out.body)), 10)
		if out.streamNow {
			b = append(b, "\r\n"+wire.HeaderStream+": "+wire.StreamNow...)
		}
	}
	if out.method == http.MethodGet && !out.health {
		b = append(b, "\r\nAccept: "+wire.TypeEventStream...)
		if out.lastEvent != "" {
			b = appendField(b, wire.HeaderLastEventID, out.lastEvent)
		}
	}
	if out.version != "" {
		b = appendField(b, wire.HeaderVersion, out.version)
	}
	return append(appendPassed(b, out), "\r\n\r\n"...)
}

// appendPassed copies what is passed on of the client's headers.
func appendPassed(b []byte, out *outgoing) []byte {
	parent, state := out.span.Parent()
	if parent != "" {
		b = appendField(b, "Traceparent", parent)
	}
	if state != "" {
		b = appendField(b, "Tracestate", state)
	}
	for _, name := range passHeaders {
		if name == wire.HeaderVersion && out.version != "" || parent != "" && strings.HasPrefix(name, "Trace") {
			continue
		}
		if v := first(out.header, name); v != "" {
			b = appendField(b, name, v)
		}
	}
	if out.merged {
		return b
	}
	for _, name := range mirrorHeaders {
		if v := first(out.header, name); v != "" {
			b = appendField(b, name, v)
		}
	}
	for name, values := range out.header {
		if strings.HasPrefix(name, wire.HeaderParamPrefix) && len(values) > 0 && wire.IsToken(name) {
			b = appendField(b, name, values[0])
		}
	}
	return b
}

// first is the value of a header by its canonical name.
func first(h http.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// appendField writes a header, unless its value could end the line.
func appendField(b []byte, name, value string) []byte {
	for i := range len(value) {
		if !fieldByte(value[i]) {
			return b
		}
	}
	b = append(append(b, "\r\n"...), name...)
	return append(append(b, ": "...), value...)
}

// fieldByte says whether a byte may stand in a field value (RFC 9110, 5.5).
func fieldByte(c byte) bool { return c >= 0x20 && c != 0x7f || c == '\t' }
