package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Store is a fleet's shared state. It is safe for concurrent use.
type Store struct {
	rdb    redis.UniversalClient
	cfg    Config
	keys   keys
	log    *slog.Logger
	now    func() time.Time
	brk    breaker
	health healthBook
	schema schemaGate
	inits  initBook

	// floor is the highest epoch this process has seen. It goes with each registration and
	// beat, so that a Redis that was emptied gives no epoch twice.
	floor atomic.Int64

	closeOnce sync.Once
	closeErr  error
	closed    chan struct{}  // closed by Close
	subs      sync.WaitGroup // goroutines of Subscribe
}

// Open connects to Redis.
//
// A Redis that cannot be reached is no error: the store is returned, its Health tells, and
// each call returns ErrUnavailable until Redis is there; a coordinator may start before it. What cannot
// mend itself is an error: ErrInvalid for the settings, ErrSchema for data of a newer release,
// ErrUnavailable for a user or password that Redis refuses. If the newer data shows only later,
// Health says "schema" and every call returns ErrSchema.
func Open(ctx context.Context, cfg Config, opts ...Option) (*Store, error) {
	cfg = cfg.withDefaults()
	if err := checkPrefix(cfg.KeyPrefix); err != nil {
		return nil, err
	}
	rdb, err := NewClient(cfg)
	if err != nil {
		return nil, err
	}
	s := &Store{rdb: rdb, cfg: cfg, keys: keys{cfg.KeyPrefix}, log: cfg.Log, now: time.Now, closed: make(chan struct{})}
	for _, o := range opts {
		o(s)
	}
	s.health.now = Health{State: HealthUnknown, Since: s.now()}
	err = s.Ping(ctx)
	if err == nil {
		err = s.call(ctx, reads, "check schema", func(context.Context) error { return nil })
	}
	if errors.Is(err, ErrSchema) || (err != nil && s.Health().State == HealthAuth) {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close ends subscriptions and connections. It is safe to call twice; calls made afterwards
// return ErrUnavailable.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		close(s.closed)
		s.subs.Wait()
		s.closeErr = s.rdb.Close()
	})
	return s.closeErr
}

// Health tells the state of Redis without asking it.
func (s *Store) Health() Health {
	h := s.health.get()
	h.Refusing = s.brk.isOpen()
	return h
}

// Ping asks Redis for a sign of life. It returns nil or ErrUnavailable, and takes no notice of
// the schema.
func (s *Store) Ping(ctx context.Context) error {
	return s.ask(ctx, reads, "ping", func(ctx context.Context) error { return s.rdb.Ping(ctx).Err() })
}

// access says whether a call changes anything.
type access bool

const (
	reads  access = false
	writes access = true
)

// call runs f against Redis: after the schema was checked, within the time limit, under the
// breaker. An error of f must be one of go-redis; it comes back as ErrUnavailable.
func (s *Store) call(ctx context.Context, a access, op string, f func(context.Context) error) error {
	var newer error
	err := s.ask(ctx, a, op, func(ctx context.Context) error {
		err := s.schema.check(ctx, s)
		if errors.Is(err, ErrSchema) {
			newer = err
			return nil
		}
		if err != nil {
			return err
		}
		return f(ctx)
	})
	if newer != nil {
		return fmt.Errorf("%s: %w", op, newer)
	}
	return err
}

// ask is call without the schema.
func (s *Store) ask(ctx context.Context, a access, op string, f func(context.Context) error) error {
	select {
	case <-s.closed:
		return fmt.Errorf("%s: %w: store is closed", op, ErrUnavailable)
	default:
	}
	if !s.brk.allow(s.now()) {
		return fmt.Errorf("%s: %w: not asked while it is %s", op, ErrUnavailable, s.health.get().State)
	}
	within, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	start := time.Now()
	err := f(within)
	took := time.Since(start)
	if s.cfg.Observe != nil {
		s.cfg.Observe(took)
	}
	if err == nil || errors.Is(err, redis.Nil) {
		s.wentWell(ctx, took, a)
		return nil
	}
	if left := callerLeft(ctx, took, s.cfg.Timeout); left != nil { // that says nothing about Redis
		return fmt.Errorf("%s: %w: %w", op, ErrUnavailable, left)
	}
	s.wentWrong(ctx, op, took, err)
	return fmt.Errorf("%s: %w: %v", op, ErrUnavailable, err)
}

// callerLeft returns the error of a caller's context that ended before our own limit did. The
// socket's deadline is the same instant as the context's, and may be noticed a moment sooner.
func callerLeft(ctx context.Context, took, limit time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if at, ok := ctx.Deadline(); ok && took < limit-10*time.Millisecond && time.Until(at) < 5*time.Millisecond {
		return context.DeadlineExceeded
	}
	return nil
}

func (s *Store) wentWell(ctx context.Context, took time.Duration, a access) {
	if s.brk.success() {
		// It may be another Redis than before.
		s.schema.forget()
	}
	if s.schema.newer() {
		return
	}
	if changed, was := s.health.good(s.now(), took, bool(a)); changed && was != HealthUnknown {
		s.log.InfoContext(ctx, "redis is back", "status", was)
	}
}

func (s *Store) wentWrong(ctx context.Context, op string, took time.Duration, err error) {
	v := classify(err)
	opened := v.trips && s.brk.failure(s.now())
	if s.health.bad(s.now(), v.state, v.writes, err) || opened {
		s.log.WarnContext(ctx, "redis does not serve", "status", v.state, "method", op, "dur", took, "err", err)
	}
	if !v.trips {
		s.brk.success() // it answered
	}
}
