package server

import (
	"cmp"
	"errors"
	"time"

	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/store"
)

// Config is how the front doors behave.
type Config struct {
	// Coordinator is this replica; Mode is standalone, coordinator or demo; Version is the
	// release. All three are shown.
	Coordinator store.CoordinatorID
	Mode        string
	Version     string
	// ClusterEnabled is systemConfig.cluster.enabled, shown by /api/cluster/status.
	ClusterEnabled bool
	// Embedded says that Redis runs inside this process, shown by /api/cluster/status.
	Embedded bool

	// Access is who may come in at the start; see SetAccess.
	Access

	// EnableGlobalRoute opens /mcp. Setting: routing.enableGlobalRoute.
	EnableGlobalRoute bool
	// EnableGroupNameRoute opens /mcp/<group>. Setting: routing.enableGroupNameRoute.
	EnableGroupNameRoute bool
	// ClusterSecret is asked of nodes; without one they must come from loopback or private
	// addresses. Setting: cluster.secret.
	ClusterSecret string

	// Strategy is how clients may name the node that they want to stay on. Empty means
	// router.StrategyHash. Setting: cluster.stickySession.strategy.
	Strategy router.Strategy
	// CookieName is the cookie of router.StrategyCookie. Empty means MCPHUB_NODE.
	// Setting: cluster.stickySession.cookieName.
	CookieName string
	// HeaderName is the header of router.StrategyHeader. Empty means X-MCPHub-Node.
	// Setting: cluster.stickySession.headerName.
	HeaderName string

	// AllowedHosts are further values of Host, host or host:port in lower case, to accept on
	// loopback, and elsewhere where no credentials are asked for. Setting: routing.allowedHosts.
	AllowedHosts []string
	// AllowedOrigins are further values of Origin, scheme://host[:port] in lower case.
	// Setting: routing.allowedOrigins.
	AllowedOrigins []string

	// MaxBody is the greatest body of an MCP request, in bytes. Zero means 4 MiB.
	MaxBody int64
	// MaxBatch is how many messages a batch may have. Zero means 50. Setting: limits.maxBatch.
	MaxBatch int
	// MaxStreamsPerSession, MaxStreamsPerKey and MaxStreams are how many streams a session, a client
	// and all clients together may have open at this replica. Clients without a key are told apart
	// by their address. Zeros mean 8, 10000 and 20000. Settings: limits.maxStreamsPerSession,
	// limits.maxStreamsPerKey, limits.maxStreams.
	MaxStreamsPerSession, MaxStreamsPerKey, MaxStreams int
	// AbsoluteEndpoint has the HTTP+SSE transport name a whole URL to post to, as the Host of the
	// request has it, and not just the path. Setting: routing.sseEndpoint.
	AbsoluteEndpoint bool
	// MaxHeld is the most that the bodies in hand may take together, in bytes. Zero means 256 MiB.
	MaxHeld int64
	// BodyTime is the longest time that a body may take. Zero means 30 s.
	BodyTime time.Duration
	// BodyGrace is the time after which a body must come at MinRate at least, in bytes a
	// second. Zeros mean 5 s and 1 KiB/s.
	BodyGrace time.Duration
	MinRate   int64
	// HeaderTime is the longest time that the headers of a request may take. Zero means 10 s.
	HeaderTime time.Duration
	// IdleTime is how long a connection is kept between requests. Zero means 120 s.
	IdleTime time.Duration

	// MaxFollowers is how many clients may follow the events here at one time. Zero means 100.
	MaxFollowers int
	// EventPoll is the time between looks for new events while somebody follows them. Zero means
	// 500 ms.
	EventPoll time.Duration
	// KeepAlive is the time between signs of life in a stream of events. Zero means 15 s.
	KeepAlive time.Duration
	// FollowStall is how long one who follows, or the client of a batch or of HTTP+SSE, may take to
	// accept a piece of the stream. Zero means 30 s.
	FollowStall time.Duration

	// StartWait is the longest time that connections wait at the start for this replica to learn
	// who its nodes are; a replica that is asked before would refuse what its siblings serve.
	// Zero means 2 s.
	StartWait time.Duration
	// LameDuck is how long requests are still taken after readiness has been withdrawn, so
	// that balancers can notice. Zero means none.
	LameDuck time.Duration
	// DrainTime is how long requests in hand may take once no more are taken. Zero means 30 s.
	DrainTime time.Duration
}

// MaxHeaders is the greatest sum of a request's headers, in bytes.
const MaxHeaders = 32 << 10

// Validate joins everything that is wrong into one error, which repeats no secret.
func (c Config) Validate() error {
	return errors.Join(c.Access.Validate(), c.validateSticky())
}

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		at  *time.Duration
		def time.Duration
	}{
		{&c.BodyTime, 30 * time.Second}, {&c.BodyGrace, 5 * time.Second}, {&c.HeaderTime, 10 * time.Second},
		{&c.IdleTime, 120 * time.Second}, {&c.DrainTime, 30 * time.Second},
		{&c.StartWait, 2 * time.Second}, {&c.EventPoll, 500 * time.Millisecond}, {&c.KeepAlive, 15 * time.Second},
		{&c.FollowStall, 30 * time.Second},
	} {
		if *d.at <= 0 {
			*d.at = d.def
		}
	}
	c.Strategy = cmp.Or(c.Strategy, router.StrategyHash)
	c.CookieName = cmp.Or(c.CookieName, "MCPHUB_NODE")
	c.HeaderName = cmp.Or(c.HeaderName, "X-MCPHub-Node")
	for _, n := range []struct {
		at  *int
		def int
	}{{&c.MaxFollowers, 100}, {&c.MaxBatch, 50}, {&c.MaxStreamsPerSession, 8}, {&c.MaxStreamsPerKey, 10_000}, {&c.MaxStreams, 20_000}} {
		if *n.at <= 0 {
			*n.at = n.def
		}
	}
	for _, n := range []struct {
		at  *int64
		def int64
	}{{&c.MaxBody, 4 << 20}, {&c.MaxHeld, 256 << 20}, {&c.MinRate, 1 << 10}} {
		if *n.at <= 0 {
			*n.at = n.def
		}
	}
	return c
}
