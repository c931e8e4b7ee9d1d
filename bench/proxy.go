package main

import (
	"hash/fnv"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// serveReverseProxy is what most people would write: httputil.ReverseProxy in front of
// backends, chosen by a hash of the session id. It runs as a process of its own.
func serveReverseProxy(addr string, backends []string) error {
	targets := make([]*url.URL, len(backends))
	for i, b := range backends {
		u, err := url.Parse(b)
		if err != nil {
			return err
		}
		targets[i] = u
	}
	proxy := &httputil.ReverseProxy{
		Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
		Rewrite: func(pr *httputil.ProxyRequest) {
			h := fnv.New32a()
			_, _ = h.Write([]byte(pr.In.Header.Get("Mcp-Session-Id")))
			pr.SetURL(targets[int(h.Sum32())%len(targets)])
		},
	}
	srv := &http.Server{Addr: addr, Handler: proxy, ReadHeaderTimeout: 10 * time.Second}
	return srv.ListenAndServe()
}

// startReverseProxy starts this program again as that proxy.
func startReverseProxy(t harness.T, backends ...string) (*harness.Proc, string) {
	t.Helper()
	port := harness.FreePort(t)
	p := harness.Start(t, "reverse-proxy", nil, self(t), "reverse-proxy", "127.0.0.1:"+strconv.Itoa(port), strings.Join(backends, ","))
	url := harness.Loopback(port)
	waitListening(t, p, url)
	return p, url
}

// nginxConf is nginx as one would set it up for this: consistent hash of the session id,
// pooled upstream connections, nothing buffered, no log.
const nginxConf = `daemon off;
pid nginx.pid;
error_log stderr;
worker_processes 2;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
  keepalive_requests 1000000000;
  upstream nodes {
    hash $http_mcp_session_id consistent;
    SERVERS
    keepalive 64;
    keepalive_requests 1000000000;
  }
  server {
    listen 127.0.0.1:PORT;
    location / {
      proxy_pass http://nodes;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_request_buffering off;
    }
  }
}
`

// startNginx starts nginx in a folder of its own.
func startNginx(t harness.T, backends ...string) (*harness.Proc, string) {
	t.Helper()
	dir, port := t.TempDir(), harness.FreePort(t)
	var servers strings.Builder
	for _, b := range backends {
		servers.WriteString("server " + strings.TrimPrefix(b, "http://") + "; ")
	}
	conf := strings.NewReplacer("SERVERS", servers.String(), "PORT", strconv.Itoa(port)).Replace(nginxConf)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatalf("nginx: %v", err)
	}
	p := harness.Start(t, "nginx", nil, "nginx", "-p", dir, "-c", file)
	url := harness.Loopback(port)
	waitListening(t, p, url)
	return p, url
}
