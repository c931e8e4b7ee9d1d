package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// RoundRobin is a load balancer without stickiness: each request goes to the next backend,
// over a connection of its own. A backend that refuses the connection is passed over, as any
// balancer does; anything else that goes wrong is the client's to see.
type RoundRobin struct {
	URL string

	backends []string
	next     atomic.Uint64
	mu       sync.Mutex
	counts   map[string]int  // guarded by mu; requests that reached each backend
	unready  map[string]bool // guarded by mu; backends that Watch found not ready
	ids      map[string]bool // guarded by mu; session ids that went by
}

// StartRoundRobin serves on a free port until the test ends.
func StartRoundRobin(t T, backends ...string) *RoundRobin {
	t.Helper()
	rr := &RoundRobin{backends: backends, counts: map[string]int{}, unready: map[string]bool{}, ids: map[string]bool{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("round robin: %v", err)
	}
	rr.URL = "http://" + l.Addr().String()
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(pr *httputil.ProxyRequest) { pr.Out.Host = pr.In.Host; pr.SetXForwarded() },
		Transport:     rr,
		FlushInterval: -1, // event by event
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			t.Logf("round robin: %s %s: %v", r.Method, r.URL.Path, err)
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	}
	srv := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: whole(proxy)}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return rr
}

// whole reads a request's body before anything else, so that it can be given to the next
// backend if one refuses. Left to the transport it would also be closed by the server once the
// answer begins, while the transport may still be looking for its end: it takes that for a
// broken upload and drops the connection, in the midst of the answer.
func whole(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 32<<20))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if len(body) > 0 {
			r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
			r.Body, _ = r.GetBody()
		}
		next.ServeHTTP(w, r)
	})
}

// direct dials for each request, so that no state ties two requests together.
var direct = &http.Transport{DisableKeepAlives: true, DisableCompression: true}

// RoundTrip implements http.RoundTripper.
func (rr *RoundRobin) RoundTrip(req *http.Request) (*http.Response, error) {
	var last error
	for _, base := range rr.order() {
		u, err := url.Parse(base)
		if err != nil {
			return nil, err
		}
		req.URL.Scheme, req.URL.Host = u.Scheme, u.Host
		if req.GetBody != nil {
			if req.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
		resp, err := direct.RoundTrip(req)
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			last = err
			continue
		}
		rr.mu.Lock()
		rr.counts[base]++
		if err == nil {
			if id := resp.Header.Get("Mcp-Session-Id"); id != "" {
				rr.ids[id] = true
			}
		}
		rr.mu.Unlock()
		return resp, err
	}
	return nil, fmt.Errorf("no backend takes connections: %w", last)
}

// order is the backends to try for one request: the next one first, the unready last.
func (rr *RoundRobin) order() []string {
	first := rr.next.Add(1)
	rr.mu.Lock()
	defer rr.mu.Unlock()
	var ready, rest []string
	for i := range uint64(len(rr.backends)) {
		base := rr.backends[(first+i)%uint64(len(rr.backends))]
		if rr.unready[base] {
			rest = append(rest, base)
		} else {
			ready = append(ready, base)
		}
	}
	return append(ready, rest...)
}

// Watch asks each backend for /ready all the time, as balancers do that are told to, and from
// then on passes over those that are not. It stops when the test ends.
func (rr *RoundRobin) Watch(t T) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			for _, base := range rr.backends {
				status, _, err := Get(ctx, base+"/ready")
				rr.mu.Lock()
				rr.unready[base] = err != nil || status != http.StatusOK
				rr.mu.Unlock()
			}
			select {
			case <-ctx.Done():
			case <-time.After(watchEvery):
			}
		}
	}()
	t.Cleanup(func() { stop(); <-done })
}

// SessionIDs are the session ids that clients got through it.
func (rr *RoundRobin) SessionIDs() []string {
	rr.mu.Lock()
	defer rr.mu.Unlock()
	return slices.Sorted(maps.Keys(rr.ids))
}

// watchEvery is the time between two looks of Watch.
const watchEvery = 100 * time.Millisecond

// Counts says how many requests each backend has had since the start.
func (rr *RoundRobin) Counts() map[string]int {
	rr.mu.Lock()
	defer rr.mu.Unlock()
	out := map[string]int{}
	for b, n := range rr.counts {
		out[b] = n
	}
	return out
}
