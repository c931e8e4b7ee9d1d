package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// CoordinatorID names one coordinator process: host name and a random part, drawn at start.
// Rule: wire.CheckName.
type CoordinatorID string

// Coordinator is what a replica says of itself, kept under a short TTL for people to read.
type Coordinator struct {
	ID       CoordinatorID
	Address  string // host:port it listens on
	Version  string
	Started  time.Time // its own clock, for display
	Sessions int       // sessions in its cache
	InFlight int       // requests it is carrying
	// Mode is standalone, coordinator or demo.
	Mode string
	// KeyPrint tells the fleet's keys apart without giving one away; empty while this replica has
	// none. Replicas with another do not understand each other's session ids.
	KeyPrint string
	// Ready is what its /ready says.
	Ready bool
	// Seen is Redis's clock when the record was last written.
	Seen time.Time
}

// PutCoordinator writes what a replica says of itself, for ttl. Errors: ErrInvalid,
// ErrUnavailable.
func (s *Store) PutCoordinator(ctx context.Context, c Coordinator, ttl time.Duration) error {
	const op = "put coordinator"
	if err := errors.Join(checkCoordinator(c.ID), checkTTL(ttl)); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	key := s.keys.coordinator(c.ID)
	return s.call(ctx, writes, op, func(ctx context.Context) error {
		// A transaction, so that the hash is never left without expiry.
		_, err := s.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.HSet(ctx, key, "id", string(c.ID), "address", c.Address, "version", c.Version,
				"started", strconv.FormatInt(millis(c.Started), 10),
				"sessions", strconv.Itoa(c.Sessions), "inFlight", strconv.Itoa(c.InFlight))
			p.PExpire(ctx, key, ttl)
			return nil
		})
		return err
	})
}
