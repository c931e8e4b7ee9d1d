package store

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// tick is how often the embedded server's expiries advance, and so how late one may be.
const tick = 100 * time.Millisecond

// Embedded is a Redis inside this process, for the standalone mode and the demo: it is empty
// at start, forgets everything at the end, and speaks the real protocol, so redis-cli can look
// into it. It is for a few thousand sessions: each tick costs time in proportion to its keys.
type Embedded struct {
	server *miniredis.Miniredis
	addr   string
	stop   context.CancelFunc
	done   chan struct{}
	once   sync.Once
}

// StartEmbedded starts a server on addr; empty means a free port of 127.0.0.1. It has no password, so it
// refuses addresses other than loopback. Close it.
func StartEmbedded(addr string) (*Embedded, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	host, _, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("start embedded redis: %w",
			invalid("address %q: want host:port with a loopback IP, for it has no password", addr))
	}
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr(addr); err != nil {
		return nil, fmt.Errorf("start embedded redis: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	e := &Embedded{server: m, addr: m.Addr(), stop: stop, done: make(chan struct{})}
	go e.run(ctx)
	return e, nil
}

// run advances the expiries, which otherwise stand still. (TIME is the real clock by itself.)
// miniredis can do it too, ClockTTL(true), but then walks all keys at each command: at ten
// thousand keys that made each take 4.4 ms. By the monotonic clock, so that a step of the wall
// clock ends no lease.
func (e *Embedded) run(ctx context.Context) {
	defer close(e.done)
	t := time.NewTicker(tick)
	defer t.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			now := time.Now()
			e.server.FastForward(now.Sub(last))
			last = now
		}
	}
}

// Addr is the host:port it listens on.
func (e *Embedded) Addr() string { return e.addr }

// URL is what Config.URL wants.
func (e *Embedded) URL() string { return "redis://" + e.addr + "/0" }

// Close stops the server. It is safe to call twice.
func (e *Embedded) Close() {
	e.once.Do(func() {
		e.stop()
		<-e.done
		e.server.Close()
	})
}
