package store

import (
	"log/slog"
	"time"
)

// Config says where Redis is and how long to wait for it.
type Config struct {
	// URL names the server. Passwords in it appear in no error and no log line.
	//
	//	redis://[user:password@]host[:6379][/db]
	//	redis+sentinel://[user:password@]host[:26379],host…[/db]?master_name=mymaster
	//	redis+cluster://[user:password@]host[:6379],host…
	//	unix:///path/to/socket[?db=n]
	//
	// rediss:// (also rediss+sentinel, rediss+cluster) speaks TLS. The forms of go-redis are
	// understood too: redis://… with master_name is Sentinel, with addr=host:port (repeatable)
	// Cluster. Options: db, master_name, addr, sentinel_username, sentinel_password, pool_size,
	// client_name, and with TLS: tls_ca_file, tls_cert_file, tls_key_file, tls_server_name,
	// skip_verify=true. Any other is refused; the timeouts are this Config's.
	URL string
	// KeyPrefix starts every key. Empty means mcphub. Setting: cluster.redis.keyPrefix.
	KeyPrefix string
	// Timeout bounds each question to Redis, connecting included. Zero means 250ms.
	Timeout time.Duration
	// Schema is the newest number of <prefix>:schema that this release can read, as given by
	// migrations.Latest. Zero means: take any.
	Schema int
	// Observe, if set, is told how long each question took, failed ones included. It must not block.
	Observe func(took time.Duration)
	// Log gets changes of Redis's state (Warn and Info) and damaged values. Nil means none.
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.KeyPrefix == "" {
		c.KeyPrefix = "mcphub"
	}
	if c.Timeout <= 0 {
		c.Timeout = 250 * time.Millisecond
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Option is a seam for tests.
type Option func(*Store)

// WithClock makes the breaker and Health read now instead of time.Now. Deadlines of calls
// still run on the real clock.
func WithClock(now func() time.Time) Option { return func(s *Store) { s.now = now } }
