package node

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestNoWebPageIsAnswered(t *testing.T) {
	r := startRig(t, nil)
	for _, c := range []struct {
		method, path, host, origin string
		want                       int
	}{
		{http.MethodGet, "/health", "node-1:3001", "", http.StatusOK},
		{http.MethodGet, "/health", "node-1.example.com", "", http.StatusOK}, // balancers ask by any name, and learn nothing
		{http.MethodGet, "/health", "node-1:3001", "http://evil.example", http.StatusForbidden},
		{http.MethodGet, "/metrics", "node-1:3001", "", http.StatusNotFound}, // this one has none
		{http.MethodGet, "/metrics", "evil.example:3001", "", http.StatusForbidden},
		{http.MethodPost, "/mcp/alpha", "node-1:3001", "http://node-1:3001", http.StatusForbidden},
		{http.MethodPost, "/mcp/alpha", "node-1:3001", "", http.StatusUnauthorized},
		{http.MethodPost, "/mcp/alpha", "node-1.example.com", "", http.StatusUnauthorized},
		{http.MethodPost, "/api/node/challenge", "127.0.0.1:3001", "null", http.StatusForbidden},
		{http.MethodPost, "/api/node/join", "127.0.0.1:3001", "http://127.0.0.1:3001", http.StatusForbidden},
	} {
		req := httptest.NewRequest(c.method, c.path, nil)
		req.Host, req.RemoteAddr = c.host, "10.0.0.7:1"
		if c.origin != "" {
			req.Header.Set("Origin", c.origin)
		}
		w := httptest.NewRecorder()
		r.node.Handler().ServeHTTP(w, req)
		if w.Code != c.want {
			t.Errorf("%s %s of %s from %q = %d %s, want %d", c.method, c.path, c.host, c.origin, w.Code, w.Body, c.want)
		}
	}
}
