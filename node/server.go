package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

const (
	// relistDelay gathers changes that are announced one by one.
	relistDelay = 100 * time.Millisecond
	// relistRetry is the wait after lists could not be read.
	relistRetry = 5 * time.Second
)

// server supervises one MCP server: starts it, watches it, starts it again.
//
//	starting ──▶ ready ⇄ failed        disabled
//	        └────────────▲
//
// A server that its sessions share is ready from the moment the handshake and all lists have
// succeeded until its connection is lost, and at no other time. An isolated one is ready while
// processes of it can be started.
type server struct {
	cfg   ServerConfig
	id    store.ServerID
	lim   *Config // the node's, with the timeouts of this server
	log   *slog.Logger
	stats *counters
	fence func() error
	slots *starts
	tell  func() // says that state has changed
	dial  func(*link) (upstream, error)
	back  backoff

	weight atomic.Int64
	ready  atomic.Pointer[link] // nil unless ready and shared
	pool   *pool                // nil unless isolated
	tried  chan struct{}        // closed when the first attempt has ended
	leave  chan struct{}        // closed when it is to finish its calls and stop
	once   sync.Once            // of closing it

	mu       sync.Mutex // guards the rest
	status   store.ServerStatus
	err      error
	tail     []string
	catalog  *catalog
	restarts int
}

func newServer(cfg ServerConfig, all *Config, log *slog.Logger) *server {
	lim := *all
	lim.StartTimeout = cmp.Or(cfg.StartTimeout, lim.StartTimeout)
	lim.CallTimeout = cmp.Or(cfg.CallTimeout, lim.CallTimeout)
	s := &server{
		cfg: cfg, id: store.ServerID(cfg.Name), lim: &lim, log: log.With("server", cfg.Name),
		tried: make(chan struct{}), leave: make(chan struct{}), status: store.ServerStarting, tell: func() {},
	}
	s.dial = s.connect
	s.reweigh(cfg.Weight)
	if cfg.isolated() {
		s.pool = newPool(s)
	}
	if err := cfg.validate(); err != nil {
		s.status, s.err = store.ServerFailed, err
	} else if !cfg.Enabled {
		s.status = store.ServerDisabled
	} else {
		all.Meter.Server(cfg.Name)
	}
	return s
}

// connect opens the connection that the settings describe.
func (s *server) connect(l *link) (upstream, error) {
	switch s.cfg.transport() {
	case TransportBuiltin:
		return &builtin{link: l, server: s.cfg.Builtin}, nil
	case TransportHTTP:
		return openHTTP(l, &s.cfg), nil
	case TransportSSE:
		return openSSE(l, &s.cfg), nil
	default:
		return openStdio(l, &s.cfg)
	}
}

// run keeps the server running until ctx ends. It waits for everything it has started.
func (s *server) run(ctx context.Context) {
	defer s.once.Do(func() { close(s.tried) })
	if s.current() != store.ServerStarting {
		return // disabled, or its settings are wrong
	}
	if s.pool != nil {
		s.pool.run(ctx)
		return
	}
	for attempt := 1; ; attempt++ {
		s.attempt(ctx, attempt)
		if !s.again(ctx, attempt) {
			return
		}
	}
}

// again waits until another attempt is due. It reports false if ctx ended first.
func (s *server) again(ctx context.Context, attempt int) bool {
	if ctx.Err() != nil {
		return false
	}
	wait := s.back.next()
	s.log.Info("server will be started again", "attempt", attempt+1, "dur", wait.Round(time.Millisecond))
	if pause(ctx, wait) != nil {
		return false
	}
	s.mu.Lock()
	s.restarts++
	s.mu.Unlock()
	return true
}

// reweigh sets the weight, the one setting that changes while the server runs, and reports
// whether it has changed.
func (s *server) reweigh(weight int) bool {
	now := int64(max(weight, 1))
	return s.weight.Swap(now) != now
}

func (s *server) current() store.ServerStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// attempt starts the server once and, if that goes well, serves until it is lost or ctx ends.
func (s *server) attempt(ctx context.Context, number int) {
	if s.slots.acquire(ctx, false) != nil {
		return
	}
	begun := time.Now()
	l, cat, err := s.start(ctx, nil, true)
	s.slots.release()
	if err != nil {
		var tail []string
		if l != nil {
			l.close()
			tail = l.up.stderr()
		}
		s.fail(ctx, err, tail, number)
		return
	}
	s.log.Info("server ready", "attempt", number, "tools", cat.tools, "dur", time.Since(begun).Round(time.Millisecond))
	s.ready.Store(l)
	s.set(store.ServerReady, nil, nil, cat)
	s.once.Do(func() { close(s.tried) })
	if h, ok := l.up.(interface{ listen() }); ok {
		h.listen()
	}
	s.serve(ctx, l)
	l.lose(endOf(ctx)) // unless it is lost already
	s.ready.Store(nil)
	s.fail(ctx, l.reason, l.up.stderr(), number)
	l.close()
	s.set(store.ServerFailed, l.reason, l.up.stderr(), nil) // with what it wrote in the end
	if time.Since(begun) > stableAfter {
		s.back.reset()
	}
}

// start connects, shakes hands as a client does, or for nil as the node itself, and reads the
// lists if it is to. The link it returns is the caller's to close, also after an error.
func (s *server) start(ctx context.Context, g *greeting, list bool) (*link, *catalog, error) {
	ctx, cancel := context.WithTimeout(ctx, s.lim.StartTimeout)
	defer cancel()
	l := newLink(s.lim.ID, s.cfg.Name, s.lim, s.log, s.stats, s.fence)
	l.alone, l.rootless, l.patient = s.pool != nil, s.cfg.NoRoots, s.cfg.CallTimeout == 0
	up, err := s.dial(l)
	if err != nil {
		return nil, nil, err
	}
	l.attach(up)
	if g == nil {
		g = l.ownGreeting()
	}
	err = l.greet(ctx, g)
	var cat *catalog
	if err == nil && list {
		cat, err = l.list(ctx)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("not ready after %s: %w", s.lim.StartTimeout, err)
	}
	return l, cat, err
}

// serve keeps the catalog fresh while the link lasts.
func (s *server) serve(ctx context.Context, l *link) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.gone:
			return
		case <-l.relist:
		}
		wait := relistDelay
		for !s.relist(ctx, l, wait) {
			wait = relistRetry
		}
	}
}

// relist reads the lists again after a while. It reports false if that has to be repeated.
func (s *server) relist(ctx context.Context, l *link, wait time.Duration) bool {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return true
	case <-l.gone:
		return true
	case <-t.C:
	}
	ctx, cancel := context.WithTimeout(ctx, s.lim.StartTimeout)
	defer cancel()
	cat, err := l.list(ctx)
	if err != nil {
		s.log.Warn("lists not read again", "err", err)
		return false
	}
	s.adopt(cat)
	return true
}

// adopt takes over lists that have been read again, while the server is ready.
func (s *server) adopt(cat *catalog) {
	s.mu.Lock()
	changed := s.status == store.ServerReady && (s.catalog == nil || s.catalog.digest != cat.digest)
	if changed {
		s.catalog = cat
	}
	s.mu.Unlock()
	if changed {
		s.log.Info("server's lists have changed", "tools", cat.tools)
		s.tell()
	}
}

// fail notes why the server is not ready.
func (s *server) fail(ctx context.Context, err error, tail []string, attempt int) {
	s.set(store.ServerFailed, err, tail, nil)
	s.once.Do(func() { close(s.tried) })
	if ctx.Err() == nil {
		s.log.Warn("server failed", "attempt", attempt, "err", err)
	}
}

func (s *server) set(status store.ServerStatus, err error, tail []string, cat *catalog) {
	s.mu.Lock()
	s.status, s.err, s.tail, s.catalog = status, err, tail, cat
	s.mu.Unlock()
	s.tell()
}

// describe is the truth about the server at this moment.
func (s *server) describe() store.Server {
	s.mu.Lock()
	d := store.Server{
		ID: s.id, Status: s.status, Transport: s.cfg.transport(),
		Restarts: s.restarts, Weight: int(s.weight.Load()),
	}
	if s.err != nil {
		d.Error = printable(clip(s.err.Error(), 500))
		d.Stderr = s.tail
	}
	if s.catalog != nil {
		d.Catalog, d.Tools, d.Prompts = s.catalog.digest, s.catalog.tools, s.catalog.prompts
		d.Resources, d.Templates = s.catalog.resources, s.catalog.templates
	}
	s.mu.Unlock()
	if s.pool != nil {
		s.pool.describe(&d)
	} else if l := s.ready.Load(); l != nil {
		if up, ok := l.up.(interface{ transport() string }); ok {
			d.Transport = up.transport()
		}
		d.Sessions, d.InFlight = l.load()
	}
	return d
}

// catalogBytes returns the current catalog if it has the digest.
func (s *server) catalogBytes(d store.Digest) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.catalog == nil || s.catalog.digest != d {
		return nil, false
	}
	return s.catalog.bytes, true
}
