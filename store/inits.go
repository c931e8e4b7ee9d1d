package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// The initialize params of clients. Those of one program are the same to the byte in all its
// sessions, so Redis keeps them once for all of these, under their digest, and a session names
// the digest. A value of over 64 bytes would also take the session's hash out of Redis's compact
// form, which triples its size.

// sharedInit is the size up to which params are shared. Larger ones are nobody else's: they stay in
// the session's own hash and go with it.
const sharedInit = 2 << 10

// initsKept is how many params are remembered here, so that reading a session stays one round trip.
const initsKept = 256

// initDigest names params: 32 hex digits of their SHA-256.
type initDigest string

func initDigestOf(params []byte) initDigest { return initDigest(DigestOf(params)[:32]) }

// initLife is how long params are kept for a session that lives ttl from now. It is longer, since
// a session that is bound lives on without them being touched; its next touch comes within a
// tenth of ttl.
func initLife(ttl time.Duration) time.Duration { return ttl + ttl/4 }

// initBook remembers params that were read. Safe for concurrent use.
type initBook struct {
	mu    sync.Mutex
	known map[initDigest][]byte
}

func (b *initBook) get(d initDigest) ([]byte, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	params, ok := b.known[d]
	return params, ok
}

// put remembers params; where there is no room all others are forgotten, which costs a round
// trip each.
func (b *initBook) put(d initDigest, params []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.known) >= initsKept || b.known == nil {
		b.known = map[initDigest][]byte{}
	}
	b.known[d] = params
}

// keepInit is the call that keeps the params of a session that is written for ttl.
func (s *Store) keepInit(params []byte, ttl time.Duration) (initDigest, scriptCall) {
	d := initDigestOf(params)
	return d, scriptCall{initKeep, []string{s.keys.init(d)}, []any{string(d), initLife(ttl).Milliseconds(), params}}
}

// readInit reads params. It returns ErrNotFound if Redis does not have them, or ErrUnavailable.
func (s *Store) readInit(ctx context.Context, op string, d initDigest) ([]byte, error) {
	if params, ok := s.inits.get(d); ok {
		return params, nil
	}
	if len(d) != 32 || !isHex(string(d)) {
		return nil, fmt.Errorf("%w: %w: digest of its initialize", ErrNotFound, errDamaged)
	}
	var cmd *redis.StringCmd
	err := s.pipe(ctx, reads, op, func(ctx context.Context, p redis.Pipeliner) { cmd = p.Get(ctx, s.keys.init(d)) })
	if err != nil {
		return nil, err
	}
	params, err := cmd.Bytes()
	switch {
	case errors.Is(err, redis.Nil):
		return nil, fmt.Errorf("%w: its initialize is gone", ErrNotFound)
	case err != nil || initDigestOf(params) != d:
		return nil, fmt.Errorf("%w: %w: its initialize", ErrNotFound, errDamaged)
	}
	s.inits.put(d, params)
	return params, nil
}
