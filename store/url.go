package store

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// topology is how the Redis servers behind a URL belong together.
type topology int

const (
	standalone topology = iota
	sentinel
	cluster
)

// target is a parsed URL.
type target struct {
	topology       topology
	network        string // tcp or unix
	addrs          []string
	user, password string
	db             int
	master         string // Sentinel's name of the primary
	sentinelUser   string
	sentinelPass   string
	clientName     string
	poolSize       int
	tls            *tls.Config
}

// parseURL reads the forms that Config.URL documents. Its errors repeat neither the URL nor
// any part that may hold a password.
func parseURL(raw string) (target, error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return target{}, invalid("redis url: want redis://host:port, rediss://, redis+sentinel:// or redis+cluster://")
	}
	t, secure, err := schemeTarget(scheme)
	if err != nil {
		return target{}, err
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	authority, tail := rest[:end], rest[end:]
	user, hosts := "", authority
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		user, hosts = authority[:at+1], authority[at+1:]
	}
	// net/url does not take several hosts, so it is shown one that stands for them all.
	u, err := url.Parse("redis://" + user + "host" + tail)
	if err != nil {
		return target{}, invalid("redis url: user, path or options are malformed; escape special characters with %%XX")
	}
	t.user = u.User.Username()
	t.password, _ = u.User.Password()
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return target{}, invalid("redis url: options are malformed")
	}
	if err := t.options(q, secure); err != nil {
		return target{}, err
	}
	if t.network == "unix" {
		t.addrs = []string{u.Path}
		if u.Path == "" || hosts != "" {
			return target{}, invalid("redis url: want unix:///path/to/socket")
		}
		return t, nil
	}
	if err := t.path(u.Path); err != nil {
		return target{}, err
	}
	return t, t.hosts(strings.Split(hosts, ","), q["addr"])
}

func schemeTarget(scheme string) (t target, secure bool, err error) {
	t = target{network: "tcp"}
	base, form, _ := strings.Cut(scheme, "+")
	switch form {
	case "":
	case "sentinel":
		t.topology = sentinel
	case "cluster":
		t.topology = cluster
	default:
		base = ""
	}
	switch {
	case base == "unix" && form == "":
		t.network = "unix"
	case base == "rediss":
		secure = true
	case base != "redis":
		return t, false, invalid("redis url: scheme %q: want redis, rediss, redis+sentinel, redis+cluster or unix", scheme)
	}
	return t, secure, nil
}

// options takes what stands after the question mark.
func (t *target) options(q url.Values, secure bool) error {
	var errs []error
	number := func(name string) int {
		if !q.Has(name) {
			return 0
		}
		n, err := strconv.Atoi(q.Get(name))
		if err != nil || n < 0 {
			errs = append(errs, invalid("redis url: option %s: want a number", name))
		}
		return n
	}
	for name := range q {
		switch name {
		case "db", "master_name", "addr", "sentinel_username", "sentinel_password", "client_name", "pool_size":
		case "tls_ca_file", "tls_cert_file", "tls_key_file", "tls_server_name", "skip_verify":
			if !secure {
				errs = append(errs, invalid("redis url: option %s needs a rediss:// url", name))
			}
		default:
			errs = append(errs, invalid("redis url: unknown option %q", name))
		}
	}
	t.db, t.poolSize = number("db"), number("pool_size")
	t.master, t.clientName = q.Get("master_name"), q.Get("client_name")
	t.sentinelUser, t.sentinelPass = q.Get("sentinel_username"), q.Get("sentinel_password")
	switch {
	case t.master != "" && t.topology == standalone:
		t.topology = sentinel
	case q.Has("addr") && t.topology == standalone:
		t.topology = cluster
	}
	if t.topology == sentinel && t.master == "" {
		errs = append(errs, invalid("redis url: Sentinel needs ?master_name="))
	}
	if t.topology != sentinel && (t.master != "" || t.sentinelUser != "" || t.sentinelPass != "") {
		errs = append(errs, invalid("redis url: master_name and sentinel_… belong to Sentinel"))
	}
	if secure && len(errs) == 0 {
		cfg, err := tlsConfig(q)
		if err != nil {
			errs = append(errs, err)
		}
		t.tls = cfg
	}
	return errors.Join(errs...)
}

// path takes the database number.
func (t *target) path(p string) error {
	if p = strings.Trim(p, "/"); p != "" {
		n, err := strconv.Atoi(p)
		if err != nil || n < 0 {
			return invalid("redis url: database %q: want a number", p)
		}
		t.db = n
	}
	if t.topology == cluster && t.db != 0 {
		return invalid("redis url: a Redis Cluster has only database 0")
	}
	return nil
}

func (t *target) hosts(lists ...[]string) error {
	port := "6379"
	if t.topology == sentinel {
		port = "26379"
	}
	for _, list := range lists {
		for _, h := range list {
			host, p, err := net.SplitHostPort(h)
			if err != nil { // no port, or not a host at all
				host, p, err = strings.Trim(h, "[]"), port, nil
			}
			if n, aerr := strconv.Atoi(p); aerr != nil || n < 1 || n > 65535 {
				err = errors.New("bad port")
			}
			if host == "" || err != nil || strings.ContainsAny(host, " /@[]") {
				return invalid("redis url: host %q: want host:port", h)
			}
			t.addrs = append(t.addrs, net.JoinHostPort(host, p))
		}
	}
	if t.topology == standalone && len(t.addrs) > 1 {
		return invalid("redis url: several hosts need redis+sentinel:// or redis+cluster://")
	}
	return nil
}

// tlsConfig reads the files that the URL's options name.
func tlsConfig(q url.Values) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: q.Get("tls_server_name")}
	switch v := q.Get("skip_verify"); v {
	case "", "false":
	case "true":
		cfg.InsecureSkipVerify = true //nolint:gosec // asked for by name in the URL
	default:
		return nil, invalid("redis url: option skip_verify: want true or false")
	}
	if name := q.Get("tls_ca_file"); name != "" {
		pem, err := os.ReadFile(name) //nolint:gosec // the operator's own setting
		if err != nil {
			return nil, fmt.Errorf("redis url: tls_ca_file: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, invalid("redis url: tls_ca_file %s holds no certificate", name)
		}
	}
	cert, key := q.Get("tls_cert_file"), q.Get("tls_key_file")
	if cert == "" && key == "" {
		return cfg, nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("redis url: tls_cert_file and tls_key_file: %w", err)
	}
	cfg.Certificates = []tls.Certificate{pair}
	return cfg, nil
}
