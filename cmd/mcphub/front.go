package main

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"time"
)

// front is the load balancer of the demo: it gives each request to the next coordinator,
// whoever sends it and whatever session it belongs to, to show that nothing depends on
// stickiness.
type front struct {
	backends []*url.URL
	next     atomic.Uint64
	proxy    *httputil.ReverseProxy
	pool     *http.Transport
}

func newFront(backends []*url.URL, log *slog.Logger) *front {
	f := &front{backends: backends, pool: &http.Transport{
		DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext, MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second,
	}}
	f.proxy = &httputil.ReverseProxy{
		Transport:     f.pool,
		FlushInterval: -1, // events go on as they come
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(f.backends[(f.next.Add(1)-1)%uint64(len(f.backends))])
			r.Out.Host = r.In.Host // coordinators check the name that the client used
			r.SetXForwarded()
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if errors.Is(err, http.ErrAbortHandler) || r.Context().Err() != nil {
				return // the client is gone
			}
			http.Error(w, "the coordinator behind this front cannot be reached", http.StatusBadGateway)
		},
	}
	return f
}

// ServeHTTP implements http.Handler.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) { f.proxy.ServeHTTP(w, r) }

// Close drops the idle connections to the coordinators.
func (f *front) Close() { f.pool.CloseIdleConnections() }
