package store

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Values of Health.State.
const (
	HealthOK         = "ok"
	HealthUnknown    = "unknown"    // not asked yet
	HealthDown       = "down"       // connection refused, reset or closed
	HealthSlow       = "slow"       // no answer in time: hung, overloaded, or packets are lost
	HealthLoading    = "loading"    // reading its data from disk
	HealthReadOnly   = "readonly"   // a replica, or a primary demoted: writes fail, reads work
	HealthMemory     = "oom"        // maxmemory reached: writes fail, reads work
	HealthDisk       = "misconf"    // cannot save, so it refuses writes; reads work
	HealthReplicas   = "noreplicas" // too few replicas, so it refuses writes; reads work
	HealthAuth       = "auth"       // user or password refused, or the user may not do this
	HealthBusy       = "busy"       // a script runs for too long
	HealthCluster    = "cluster"    // a slot is not served, or redirections do not end
	HealthMaxClients = "maxclients" // too many connections
	HealthSchema     = "schema"     // the data is newer than this release: every call returns ErrSchema
	HealthError      = "error"      // any other refusal; Err tells
)

// Health is what the store last learned of Redis from its own calls. It asks nothing, so it
// is only as fresh as the last call; a coordinator polls every second.
type Health struct {
	OK bool
	// State is one of the Health… constants. Where only writes fail it stays until a write
	// succeeds.
	State string
	// Since is when the state began, by this process's clock.
	Since time.Time
	// Err is the reason, for people; empty when OK.
	Err string
	// Latency is how long the last answered call took.
	Latency time.Duration
	// Refusing says that calls are refused here, without asking, but for one each second.
	Refusing bool
}

// healthBook keeps the current Health. Safe for concurrent use.
type healthBook struct {
	mu     sync.Mutex // guards the rest
	now    Health
	writes bool // the state is about writes only
}

func (b *healthBook) get() Health {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

// good notes an answered call and says whether the state changed, and from what.
func (b *healthBook) good(at time.Time, took time.Duration, wrote bool) (changed bool, was string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now.Latency = took
	if b.now.OK || (b.writes && !wrote) {
		return false, ""
	}
	was = b.now.State
	b.now = Health{OK: true, State: HealthOK, Since: at, Latency: took}
	b.writes = false
	return true, was
}

// bad notes a failure and says whether the state changed.
func (b *healthBook) bad(at time.Time, state string, writesOnly bool, err error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now.Err, b.writes = err.Error(), writesOnly
	if b.now.State == state {
		return false
	}
	b.now.OK, b.now.State, b.now.Since = false, state, at
	return true
}

// verdict is what an error says about Redis.
type verdict struct {
	state string
	// trips counts towards opening the breaker: Redis answers nothing, or not in time. A
	// prompt refusal of one kind of command does not, for then the others still work.
	trips bool
	// writes says that only writes are refused.
	writes bool
}

// refusals maps the first word of an error reply to what it says.
var refusals = map[string]verdict{
	"LOADING":     {HealthLoading, true, false},
	"MASTERDOWN":  {HealthDown, true, false},
	"BUSY":        {HealthBusy, true, false},
	"CLUSTERDOWN": {HealthCluster, true, false},
	"TRYAGAIN":    {HealthCluster, false, false},
	"MOVED":       {HealthCluster, false, false},
	"ASK":         {HealthCluster, false, false},
	"CROSSSLOT":   {HealthCluster, false, false},
	"NOAUTH":      {HealthAuth, true, false},
	"WRONGPASS":   {HealthAuth, true, false},
	"NOPERM":      {HealthAuth, false, false},
	"READONLY":    {HealthReadOnly, false, true},
	"OOM":         {HealthMemory, false, true},
	"MISCONF":     {HealthDisk, false, true},
	"NOREPLICAS":  {HealthReplicas, false, true},
}

// classify reads an error of go-redis. redis.Nil must not come here.
func classify(err error) verdict {
	if errors.Is(err, errDamaged) {
		return verdict{state: HealthError}
	}
	var reply redis.Error
	if errors.As(err, &reply) {
		return classifyReply(reply.Error())
	}
	var timeout net.Error
	if errors.Is(err, context.DeadlineExceeded) || (errors.As(err, &timeout) && timeout.Timeout()) ||
		errors.Is(err, redis.ErrPoolTimeout) {
		return verdict{state: HealthSlow, trips: true}
	}
	return verdict{state: HealthDown, trips: true}
}

func classifyReply(text string) verdict {
	// A script hands on the error of a command inside it; Redis 7 keeps its first word, older
	// wrappers and the embedded server put their own before it.
	word, _, _ := strings.Cut(text, " ")
	if v, ok := refusals[word]; ok {
		return v
	}
	if strings.Contains(text, "max number of clients") {
		return verdict{state: HealthMaxClients, trips: true}
	}
	for word, v := range refusals {
		if strings.Contains(text, " "+word+" ") {
			return v
		}
	}
	return verdict{state: HealthError}
}
