package store

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// FleetKey agrees on one key for the whole fleet: the first that is proposed wins, and
// everybody gets that one. Propose at least 16 random bytes; once agreed, propose the agreed
// key, so that a Redis that was emptied learns it again.
//
// It returns ErrInvalid for a key that is too short or longer than 64 bytes, and
// ErrUnavailable, also when what stands in Redis is damaged.
func (s *Store) FleetKey(ctx context.Context, proposed []byte) ([]byte, error) {
	const op = "agree on the fleet's key"
	if len(proposed) < 16 || len(proposed) > 64 {
		return nil, fmt.Errorf("%s: %w", op, invalid("proposed key has %d bytes: want 16 to 64", len(proposed)))
	}
	var stands *redis.StringCmd
	err := s.pipe(ctx, writes, op, func(ctx context.Context, p redis.Pipeliner) {
		p.SetNX(ctx, s.keys.fleetKey(), hex.EncodeToString(proposed), 0)
		stands = p.Get(ctx, s.keys.fleetKey())
	})
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(stands.Val())
	if err != nil || stands.Err() != nil || len(key) < 16 || len(key) > 64 {
		return nil, fmt.Errorf("%s: %w: %w: %s", op, ErrUnavailable, errDamaged, s.keys.fleetKey())
	}
	return key, nil
}
