package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// DigestOf is the name of a catalog: the hex SHA-256 of its bytes.
func DigestOf(catalog []byte) Digest {
	sum := sha256.Sum256(catalog)
	return Digest(hex.EncodeToString(sum[:]))
}

// PutCatalog keeps a catalog for ttl under its digest. It returns ErrInvalid if d is not the
// digest of catalog, or ErrUnavailable.
func (s *Store) PutCatalog(ctx context.Context, d Digest, catalog []byte, ttl time.Duration) error {
	const op = "put catalog"
	if err := errors.Join(checkDigest(d), checkTTL(ttl)); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if DigestOf(catalog) != d {
		return fmt.Errorf("%s %.12s: %w", op, d, invalid("the digest is not that of the catalog"))
	}
	return s.call(ctx, writes, op, func(ctx context.Context) error {
		return s.rdb.Do(ctx, "set", s.keys.catalog(d), catalog, "px", ttl.Milliseconds()).Err()
	})
}

// Catalog reads a catalog. What does not match its digest is as good as not there. It returns
// ErrNotFound, ErrInvalid or ErrUnavailable.
func (s *Store) Catalog(ctx context.Context, d Digest) ([]byte, error) {
	const op = "read catalog"
	if err := checkDigest(d); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	var cmd *redis.StringCmd
	err := s.pipe(ctx, reads, op, func(ctx context.Context, p redis.Pipeliner) { cmd = p.Get(ctx, s.keys.catalog(d)) })
	if err != nil {
		return nil, err
	}
	b, err := cmd.Bytes()
	switch {
	case errors.Is(err, redis.Nil):
		return nil, fmt.Errorf("%s %.12s: %w", op, d, ErrNotFound)
	case err != nil || DigestOf(b) != d:
		s.log.WarnContext(ctx, "damaged catalog", "err", errDamaged)
		return nil, fmt.Errorf("%s %.12s: %w: %w", op, d, ErrNotFound, errDamaged)
	}
	return b, nil
}

// TouchCatalogs lets the catalogs live ttl from now and returns those that are not there, in
// the order given: put them again. One round trip. Errors: ErrInvalid, ErrUnavailable.
func (s *Store) TouchCatalogs(ctx context.Context, ds []Digest, ttl time.Duration) (missing []Digest, err error) {
	const op = "touch catalogs"
	if err := checkTTL(ttl); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	for _, d := range ds {
		if err := checkDigest(d); err != nil {
			return nil, fmt.Errorf("%s: %w", op, err)
		}
	}
	if len(ds) == 0 {
		return nil, nil
	}
	found := make([]*redis.BoolCmd, len(ds))
	err = s.pipe(ctx, writes, op, func(ctx context.Context, p redis.Pipeliner) {
		for i, d := range ds {
			found[i] = p.PExpire(ctx, s.keys.catalog(d), ttl)
		}
	})
	if err != nil {
		return nil, err
	}
	for i, d := range ds {
		if !found[i].Val() {
			missing = append(missing, d)
		}
	}
	return missing, nil
}
