package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// web makes the requests to one server over HTTP. It is safe for concurrent use.
type web struct {
	header http.Header // on every request; never changed
	client *http.Client
}

// newWeb returns a web that sends the headers of the settings, and those of the transports.
func newWeb(version string, own map[string]string) web {
	w := web{header: http.Header{}, client: newHTTPClient()}
	for k, v := range own {
		w.header.Set(k, v)
	}
	// With either of these, net/http may send a request twice by itself.
	w.header.Del("Idempotency-Key")
	w.header.Del("X-Idempotency-Key")
	w.header.Set("User-Agent", "mcphub/"+version)
	w.header.Set("Content-Type", wire.TypeJSON)
	w.header.Set("Accept", wire.TypeJSON+", "+wire.TypeEventStream)
	return w
}

// newHTTPClient returns a client that follows no redirect, speaks HTTP/1.1 only and counts
// the bytes it writes on each connection, so that we know better than the library whether a
// request may have been received.
func newHTTPClient() *http.Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				c, err := dialer.DialContext(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				return &countingConn{Conn: c}, nil
			},
			TLSNextProto:        map[string]func(string, *tls.Conn) http.RoundTripper{},
			TLSHandshakeTimeout: 10 * time.Second,
			MaxIdleConnsPerHost: 64,
			// Below the 5s after which servers on Node close: a request that meets the close
			// half-way is of unknown outcome.
			IdleConnTimeout:    4 * time.Second,
			DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// countingConn counts what was written to the network.
type countingConn struct {
	net.Conn
	written atomic.Int64
}

func (c *countingConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.written.Add(int64(n))
	return n, err
}

// dispatchMark knows whether any byte of one request went out.
type dispatchMark struct {
	conn   atomic.Pointer[countingConn]
	before atomic.Int64
	pooled atomic.Bool
}

// fate is how far a request that failed had got.
type fate int

const (
	fateSent   fate = iota // some of it may have been received
	fateUnsent             // certainly nothing went out
	fateStale              // nothing went out, and the connection was an old one: try the next
)

func (d *dispatchMark) got(info httptrace.GotConnInfo) {
	conn := info.Conn
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if c, ok := conn.(*countingConn); ok {
		d.before.Store(c.written.Load())
		d.pooled.Store(info.Reused)
		d.conn.Store(c)
	}
}

func (d *dispatchMark) fate() fate {
	c := d.conn.Load()
	switch {
	case c != nil && c.written.Load() > d.before.Load():
		return fateSent
	case c != nil && d.pooled.Load():
		return fateStale
	}
	return fateUnsent
}

// post sends one message. Its fate means something only with an error.
func (w *web) post(ctx context.Context, url string, m *message, session, version string) (*http.Response, fate, error) {
	var mark dispatchMark
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: mark.got})
	// The body is hidden from NewRequest, which would set GetBody for the bytes it knows, and
	// then net/http might send the request twice.
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, struct{ io.Reader }{bytes.NewReader(m.frame)})
	if err != nil {
		return nil, fateUnsent, err
	}
	req.ContentLength = int64(len(m.frame))
	w.stamp(req, session, version)
	if m.call != nil && m.call.from.parent != "" {
		req.Header.Set("Traceparent", m.call.from.parent)
	}
	res, err := w.do(req)
	return res, mark.fate(), err
}

// get opens a stream of the server's, or takes one up again from lastID.
func (w *web) get(ctx context.Context, url, session, version, lastID string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	w.stamp(req, session, version)
	req.Header.Set("Accept", wire.TypeEventStream)
	req.Header.Del("Content-Type")
	if lastID != "" {
		req.Header.Set(wire.HeaderLastEventID, lastID)
	}
	return w.do(req)
}

// do keeps the URL, which may hold a key, out of the error.
func (w *web) do(req *http.Request) (*http.Response, error) {
	res, err := w.client.Do(req) //nolint:gosec // to the address of the settings, or one of its origin
	var withURL *url.Error
	if errors.As(err, &withURL) {
		err = withURL.Err
	}
	return res, err
}

func (w *web) stamp(req *http.Request, session, version string) {
	req.Header = w.header.Clone()
	if session != "" {
		req.Header.Set(wire.HeaderSession, session)
	}
	if version != "" {
		req.Header.Set(wire.HeaderVersion, version)
	}
}
