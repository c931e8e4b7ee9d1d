package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// Limits of a listener (DESIGN.md 11). Bodies are the handlers' own.
const (
	headerTime = 10 * time.Second
	readTime   = 40 * time.Second // head and body together; net/http lifts it when a body has been read
	idleTime   = 120 * time.Second
	headerSize = 32 << 10
)

// listen opens host:port; an empty host is every interface, port 0 a free one. The error is
// one sentence.
func listen(ctx context.Context, host string, port int) (net.Listener, error) {
	addr := net.JoinHostPort(host, strconv.Itoa(port))
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, failed("port %d is taken by another program; choose another with --port or PORT", port)
	case errors.Is(err, syscall.EACCES):
		return nil, failed("port %d may not be opened by this user; choose one above 1023 with --port or PORT", port)
	case err != nil:
		return nil, failed("cannot listen on %s: %w", addr, err)
	}
	return l, nil
}

// portOf is the port that l listens on.
func portOf(l net.Listener) int {
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}

// urlOf is an address for this machine's own use of l.
func urlOf(l net.Listener) string {
	host := "127.0.0.1"
	if a, ok := l.Addr().(*net.TCPAddr); ok && !a.IP.IsUnspecified() {
		host = a.IP.String()
	}
	return baseOf(host, portOf(l))
}

func baseOf(host string, port int) string {
	return "http://" + net.JoinHostPort(host, strconv.Itoa(port))
}

// serveHTTP returns a part's run: it serves h on l until its context ends, then stops
// listening and gives requests in hand the grace time.
func serveHTTP(l net.Listener, h http.Handler, grace time.Duration, log *slog.Logger) func(context.Context) error {
	return func(ctx context.Context) error {
		srv := &http.Server{
			Handler: h, ReadHeaderTimeout: headerTime, ReadTimeout: readTime, IdleTimeout: idleTime, MaxHeaderBytes: headerSize - 4096, // net/http adds 4096
			ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(l) }()
		select {
		case err := <-served:
			return err
		case <-ctx.Done():
		}
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		if err := srv.Shutdown(stopping); err != nil {
			log.Warn("requests were cut off at the end", "dur", grace)
			_ = srv.Close() // what is left has had its time
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}
}

// nodeAddress is where an in-process node listens and what it says of that.
type nodeAddress struct {
	host string // to listen on
	port int
	url  string // to announce; empty: http://host:port
}

// localNodeAddress finds an address for a node in a coordinator's process. Other coordinators
// must reach it too, unless the coordinator has its Redis to itself: then loopback is enough.
// The order is: the setting, POD_IP, and the address from which this machine reaches Redis,
// which all coordinators share.
func localNodeAddress(ctx context.Context, configured, podIP, redisURL string) (nodeAddress, error) {
	if configured != "" {
		u, err := url.Parse(configured)
		if err != nil {
			return nodeAddress{}, badUsage("cluster.node.url: %v", err)
		}
		port, err := strconv.Atoi(u.Port())
		if err != nil {
			return nodeAddress{}, badUsage("cluster.node.url: the node in this coordinator needs a port of its own, as in http://10.0.0.5:3001")
		}
		return nodeAddress{port: port, url: configured}, nil
	}
	if redisURL == "" {
		return nodeAddress{host: "127.0.0.1"}, nil
	}
	if podIP != "" {
		addr, err := netip.ParseAddr(podIP)
		if err != nil {
			return nodeAddress{}, badUsage("POD_IP %q is not an IP address", podIP)
		}
		return nodeAddress{host: addr.String()}, nil
	}
	return nodeAddress{host: outgoingAddress(ctx, redisURL)}, nil
}

// outgoingAddress is the local address from which the first host of a Redis URL is reached;
// loopback if that cannot be told. Nothing is sent.
func outgoingAddress(ctx context.Context, redisURL string) string {
	const loopback = "127.0.0.1"
	_, rest, _ := strings.Cut(redisURL, "://")
	rest = rest[strings.LastIndex(rest[:hostEnd(rest)], "@")+1:]
	host, _, _ := strings.Cut(rest[:hostEnd(rest)], ",")
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "" {
		return loopback
	}
	d := net.Dialer{Timeout: time.Second}
	conn, err := d.DialContext(ctx, "udp", net.JoinHostPort(strings.Trim(host, "[]"), "6379"))
	if err != nil {
		return loopback
	}
	defer func() { _ = conn.Close() }() // nothing was sent on it
	if a, ok := conn.LocalAddr().(*net.UDPAddr); ok && !a.IP.IsUnspecified() {
		return a.IP.String()
	}
	return loopback
}

// hostEnd is where the hosts of a URL without its scheme end.
func hostEnd(rest string) int {
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		return i
	}
	return len(rest)
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// madeUpName is the host's name and a random part: <hostname>-<6 hex>. It follows the rule for
// names whatever the host is called.
func madeUpName() string {
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	return nameFrom(host, randomHex(3))
}

func nameFrom(host, random string) string {
	host = strings.Trim(notInNames.ReplaceAllString(host, "-"), "-._")
	if len(host) > 50 {
		host = strings.TrimRight(host[:50], "-._")
	}
	if host == "" {
		host = "mcphub"
	}
	return host + "-" + random
}

// newInstance tells this run of the process from the next.
func newInstance() store.Instance { return store.Instance(randomHex(16)) }

// baseURL is the URL of a node at addr once its listener stands.
func (a nodeAddress) baseURL(l net.Listener) string {
	if a.url != "" {
		return a.url
	}
	return baseOf(a.host, portOf(l))
}
