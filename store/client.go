package store

import (
	"sync"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// quiet keeps go-redis from writing to stderr by itself: what it would say there is said by
// Health and by Config.Log, once per change instead of once per attempt.
var quiet = sync.OnceFunc(logging.Disable)

// NewClient makes a client of the servers that cfg.URL names, bounded as cfg.Timeout says. It
// touches no network. Open uses it; migrations takes one, and needs no more than that.
//
// Bounded means: ContextTimeoutEnabled, for go-redis otherwise waits 5 s for a server that
// accepts and never answers, whatever the context says; one dial attempt instead of five; and
// no re-sending, for a script whose answer was lost may have run.
func NewClient(cfg Config) (redis.UniversalClient, error) {
	quiet()
	cfg = cfg.withDefaults()
	t, err := parseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	off := &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	switch t.topology {
	case sentinel:
		return redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: t.master, SentinelAddrs: t.addrs,
			SentinelUsername: t.sentinelUser, SentinelPassword: t.sentinelPass,
			Username: t.user, Password: t.password, DB: t.db, ClientName: t.clientName,
			Protocol: 2, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true,
			DialTimeout: cfg.Timeout, ReadTimeout: cfg.Timeout, WriteTimeout: cfg.Timeout, PoolTimeout: cfg.Timeout,
			PoolSize: t.poolSize, PipelinePoolSize: -1, DisableIdentity: true, TLSConfig: t.tls,
		}), nil
	case cluster:
		return redis.NewClusterClient(&redis.ClusterOptions{
			Addrs:    t.addrs,
			Username: t.user, Password: t.password, ClientName: t.clientName,
			Protocol: 2, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true,
			DialTimeout: cfg.Timeout, ReadTimeout: cfg.Timeout, WriteTimeout: cfg.Timeout, PoolTimeout: cfg.Timeout,
			PoolSize: t.poolSize, PipelinePoolSize: -1, DisableIdentity: true, TLSConfig: t.tls,
			DisableRoutingPolicies: true, MaintNotificationsConfig: off,
		}), nil
	default:
		return redis.NewClient(&redis.Options{
			Network: t.network, Addr: t.addrs[0],
			Username: t.user, Password: t.password, DB: t.db, ClientName: t.clientName,
			Protocol: 2, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true,
			DialTimeout: cfg.Timeout, ReadTimeout: cfg.Timeout, WriteTimeout: cfg.Timeout, PoolTimeout: cfg.Timeout,
			PoolSize: t.poolSize, PipelinePoolSize: -1, DisableIdentity: true, TLSConfig: t.tls,
			MaintNotificationsConfig: off,
		}), nil
	}
}
