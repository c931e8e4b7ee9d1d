package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// schemaGate keeps a release away from data that a newer one has changed. Safe for concurrent use.
type schemaGate struct {
	mu    sync.Mutex // guards the rest
	seen  bool       // the number has been read since forget
	found int
	limit int       // Config.Schema; zero takes any
	at    time.Time // when found was read
}

// check reads the number once, and again each second while it is too high: it may have been
// restored from an older copy. It returns ErrSchema or an error of go-redis.
func (g *schemaGate) check(ctx context.Context, s *Store) error {
	if s.cfg.Schema == 0 {
		return nil
	}
	g.mu.Lock()
	g.limit = s.cfg.Schema
	fresh := g.seen && (g.found <= g.limit || s.now().Sub(g.at) < time.Second)
	found := g.found
	g.mu.Unlock()
	if !fresh {
		var err error
		if found, err = s.readSchema(ctx); err != nil {
			return err
		}
		g.mu.Lock()
		g.seen, g.found, g.at = true, found, s.now()
		g.mu.Unlock()
	}
	if found > s.cfg.Schema {
		err := fmt.Errorf("%w: schema %d, this one reads up to %d", ErrSchema, found, s.cfg.Schema)
		s.health.bad(s.now(), HealthSchema, false, err)
		return err
	}
	return nil
}

func (g *schemaGate) forget() {
	g.mu.Lock()
	g.seen = false
	g.mu.Unlock()
}

func (g *schemaGate) newer() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.seen && g.limit > 0 && g.found > g.limit
}

// readSchema asks for the number; an empty keyspace has 0.
func (s *Store) readSchema(ctx context.Context) (int, error) {
	text, err := s.rdb.Get(ctx, s.keys.schema()).Result()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%w: schema number %q", errDamaged, text)
	}
	return n, nil
}

// SchemaVersion is the number of the last migration that ran on the data; 0 for an empty
// keyspace. It works, unlike all else, when that number is too high for this release.
func (s *Store) SchemaVersion(ctx context.Context) (int, error) {
	var n int
	err := s.ask(ctx, reads, "read schema number", func(ctx context.Context) (err error) {
		n, err = s.readSchema(ctx)
		return err
	})
	return n, err
}
