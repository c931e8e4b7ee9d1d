package router

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// peer is the pool of connections to one node. Safe for concurrent use.
type peer struct {
	hop  *hop
	host string // as in the URL, for the Host header
	path string // before that of each request; empty, or for a proxy
	addr string // host:port to dial
	tls  *tls.Config

	mu     sync.Mutex
	idle   []*conn // the last one used is the last
	active conn    // head of the ring of connections in use
	busy   int
	closed bool
}

// conn is one connection to a node. One request at a time uses it.
type conn struct {
	peer *peer
	nc   net.Conn
	sock net.Conn        // under nc; closing it never waits, as TLS may for its farewell
	raw  syscall.RawConn // of the socket under nc; nil if there is none
	br   *bufio.Reader
	stop func() bool // ends the watch over the request's context

	peek  func(fd uintptr) bool // for alive, made once
	quiet bool                  // what peek found: nothing to read and no end

	aborted    atomic.Bool
	since      time.Time // idle since
	prev, next *conn     // ring of the peer's connections in use; guarded by peer.mu
}

// conn takes a live connection from the pool or dials one. With fresh it always dials.
func (p *peer) conn(ctx context.Context, fresh bool) (*conn, error) {
	for !fresh {
		c := p.takeIdle()
		if c == nil {
			break
		}
		if time.Since(c.since) < p.hop.cfg.IdleTimeout && c.alive() && p.use(c) {
			return c, nil
		}
		_ = c.sock.Close()
	}
	c, err := p.dial(ctx)
	if err != nil {
		return nil, err
	}
	if !p.use(c) {
		_ = c.sock.Close()
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p *peer) takeIdle() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	c := p.idle[n-1]
	p.idle[n-1] = nil
	p.idle = p.idle[:n-1]
	return c
}

func (p *peer) dial(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.hop.cfg.DialTimeout)
	defer cancel()
	go func() { // dialling is rare: connections are kept
		select {
		case <-p.hop.quit:
			cancel()
		case <-ctx.Done():
		}
	}()
	d := net.Dialer{Control: p.hop.cfg.Control, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 5 * time.Second, Count: 3}}
	nc, err := d.DialContext(ctx, "tcp", p.addr)
	if err != nil {
		return nil, err
	}
	c := &conn{peer: p, nc: nc, sock: nc}
	if sc, ok := nc.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			c.raw = raw
		}
	}
	if p.tls != nil {
		t := tls.Client(nc, p.tls)
		if err := t.HandshakeContext(ctx); err != nil {
			_ = nc.Close()
			return nil, err
		}
		c.nc = t
	}
	c.br = takeReader(c.nc)
	return c, nil
}

// readers are buffers that no connection needs now.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4<<10) }}

func takeReader(nc net.Conn) *bufio.Reader {
	br := readers.Get().(*bufio.Reader)
	br.Reset(nc)
	return br
}

func putReader(br *bufio.Reader) {
	br.Reset(nil)
	readers.Put(br)
}

// use enters a connection in the ring. It is false if the pool was closed meanwhile.
func (p *peer) use(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	head := &p.active
	if head.next == nil {
		head.next, head.prev = head, head
	}
	c.prev, c.next = head, head.next
	c.prev.next, c.next.prev = c, c
	p.busy++
	return true
}

// leave takes a connection out of the ring. Callers hold mu.
func (p *peer) leave(c *conn) {
	c.prev.next, c.next.prev = c.next, c.prev
	c.prev, c.next = nil, nil
	p.busy--
}

// abort closes a connection under whoever is using it.
func (c *conn) abort() {
	c.aborted.Store(true)
	_ = c.sock.Close()
}

// discard ends the use of a connection that cannot be used again.
func (c *conn) discard() { c.done(false) }

// done ends the use of a connection, and keeps it for later if it is still good.
func (c *conn) done(keep bool) {
	if c.stop != nil && !c.stop() {
		keep = false
	}
	p := c.peer
	p.mu.Lock()
	p.leave(c)
	if keep = keep && !c.aborted.Load() && !p.closed && len(p.idle) < p.hop.cfg.MaxIdle; keep {
		c.since = time.Now()
		c.stop = nil
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	if !keep {
		_ = c.sock.Close()
	}
}

// abort closes every connection in use with the node at a URL: what waits on one learns at once
// that its answer will not come. It returns how many there were.
func (h *hop) abort(nodeURL string) int {
	h.mu.RLock()
	p := h.peers[nodeURL]
	h.mu.RUnlock()
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for c := p.active.next; c != nil && c != &p.active; c = c.next {
		c.abort()
		n++
	}
	return n
}

// abandon closes every connection, those in use too, and makes no more: whatever waits for an
// answer learns at once that it will not come. Safe to call twice.
func (h *hop) abandon() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over() {
		return
	}
	close(h.quit)
	for _, p := range h.peers {
		p.mu.Lock()
		p.closed = true
		for c := p.active.next; c != nil && c != &p.active; c = c.next {
			c.abort()
		}
		p.closeIdle()
		p.mu.Unlock()
	}
}

// over says that the hop was abandoned.
func (h *hop) over() bool {
	select {
	case <-h.quit:
		return true
	default:
		return false
	}
}

// closeIdle drops the connections that are kept for later. Callers hold mu.
func (p *peer) closeIdle() {
	for _, c := range p.idle {
		_ = c.sock.Close()
	}
	p.idle = nil
}

// busy counts the connections in use with the node at a URL.
func (h *hop) busy(nodeURL string) int {
	h.mu.RLock()
	p := h.peers[nodeURL]
	h.mu.RUnlock()
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.busy
}

// prune closes connections that were idle too long, and forgets nodes that wanted does not name
// once nothing is in use there.
func (h *hop) prune(wanted func(nodeURL string) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for nodeURL, p := range h.peers {
		if p.prune(!wanted(nodeURL)) {
			delete(h.peers, nodeURL)
		}
	}
}

// prune closes what is idle too long, or all that is idle if the peer is to be dropped; it
// reports whether it may be.
func (p *peer) prune(drop bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	keep := p.idle[:0]
	for _, c := range p.idle {
		if drop || time.Since(c.since) >= p.hop.cfg.IdleTimeout {
			_ = c.sock.Close()
			continue
		}
		keep = append(keep, c)
	}
	clear(p.idle[len(keep):])
	p.idle = keep
	if drop && p.busy == 0 {
		p.closed = true
		return true
	}
	return false
}

// close drops every connection that is not in use; those that are close when they are done.
func (h *hop) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for nodeURL, p := range h.peers {
		p.mu.Lock()
		p.closed = true
		p.closeIdle()
		p.mu.Unlock()
		delete(h.peers, nodeURL)
	}
}
