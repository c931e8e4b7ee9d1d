package store

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Figures of a listing.
const (
	pageDefault = 100
	pageMost    = 1000
)

// place is where a page ended: after the session sid, which expires at expiry, in shard. The
// zero place is the start.
type place struct {
	shard  int
	expiry string // milliseconds
	sid    SessionID
}

// String is the cursor given to callers. They must not look inside.
func (p place) String() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "1.%02x.%s.%s", p.shard, p.expiry, p.sid))
}

// parsePlace reads what String wrote, and nothing else.
func parsePlace(cursor string) (place, error) {
	if cursor == "" {
		return place{}, nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(raw) > 64 {
		return place{}, ErrCursor
	}
	part := strings.Split(string(raw), ".")
	if len(part) != 4 || part[0] != "1" {
		return place{}, ErrCursor
	}
	expiry, err := strconv.ParseInt(part[2], 10, 64)
	p := place{expiry: strconv.FormatInt(expiry, 10), sid: SessionID(part[3])}
	if err != nil || expiry < 1 || expiry > 1<<52 || checkSession(p.sid) != nil {
		return place{}, ErrCursor
	}
	p.shard = shardOf(p.sid)
	if p.String() != cursor {
		return place{}, ErrCursor
	}
	return p, nil
}

// Sessions lists the sessions that live, a page at a time: start with an empty cursor, go on
// with next until it is empty. limit is the most to return; below 1 means 100, at most 1000. Init is left out.
//
// The order is by shard (an even spread), then by expiry. A session that lives throughout comes at
// least once; one touched between two pages of its shard moves back and may come twice. New ones may come
// or not. A page may be shorter than limit, or empty, with a next: sessions that ended meanwhile are left out.
// The cost is that of the page; a few round trips.
//
// It returns ErrCursor for a cursor that is not one, and ErrUnavailable.
func (s *Store) Sessions(ctx context.Context, cursor string, limit int) (page []Session, next string, err error) {
	const op = "list sessions"
	from, err := parsePlace(cursor)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", op, err)
	}
	if limit < 1 {
		limit = pageDefault
	}
	limit = min(limit, pageMost)
	places, err := s.placesAfter(ctx, op, from, limit+1)
	if err != nil {
		return nil, "", err
	}
	if len(places) > limit {
		places = places[:limit]
		next = places[limit-1].String()
	}
	ids := make([]SessionID, len(places))
	for i, p := range places {
		ids[i] = p.sid
	}
	if len(ids) == 0 {
		return nil, "", nil
	}
	all, err := s.loadSessions(ctx, op, ids)
	if err != nil {
		return nil, "", err
	}
	for _, l := range all {
		if l.err == nil {
			l.session.Init = nil
			page = append(page, l.session)
		} else if errors.Is(l.err, errDamaged) {
			s.log.WarnContext(ctx, "damaged session left out of a listing", "err", l.err)
		}
	}
	return page, next, nil
}

// placesAfter reads up to most entries of the index after from.
func (s *Store) placesAfter(ctx context.Context, op string, from place, most int) ([]place, error) {
	sizes, err := s.shardSizes(ctx, op, from.shard)
	if err != nil {
		return nil, err
	}
	var found []place
	for shard := from.shard; shard < shards && len(found) < most; {
		// As many shards as should fill the page, in one round trip.
		var which []int
		for sum := len(found); shard < shards && sum < most; shard++ {
			if size := sizes[shard-from.shard]; size > 0 {
				which, sum = append(which, shard), sum+size
			}
		}
		pages, err := s.shardPages(ctx, op, which, from, most-len(found))
		if err != nil {
			return nil, err
		}
		found = append(found, pages...)
	}
	return found[:min(most, len(found))], nil
}

// shardSizes counts the live entries of the shards from first on, and drops the expired ones.
func (s *Store) shardSizes(ctx context.Context, op string, first int) ([]int, error) {
	var now string
	err := s.call(ctx, reads, op, func(ctx context.Context) error {
		t, err := s.rdb.Time(ctx).Result()
		now = strconv.FormatInt(t.UnixMilli(), 10)
		return err
	})
	if err != nil {
		return nil, err
	}
	counts := make([]*redis.IntCmd, shards-first)
	err = s.pipe(ctx, writes, op, func(ctx context.Context, p redis.Pipeliner) {
		for i := range counts {
			p.ZRemRangeByScore(ctx, s.keys.sessionIndex(first+i), "-inf", now)
			counts[i] = p.ZCard(ctx, s.keys.sessionIndex(first+i))
		}
	})
	if err != nil {
		return nil, err
	}
	sizes := make([]int, len(counts))
	for i, c := range counts {
		sizes[i] = int(c.Val())
	}
	return sizes, nil
}

// shardPages reads up to most entries of each of the shards, in order; of from's shard those
// after from.
func (s *Store) shardPages(ctx context.Context, op string, which []int, from place, most int) ([]place, error) {
	calls := make([]scriptCall, len(which))
	for i, shard := range which {
		args := []any{"", "", most}
		if from.sid != "" && shard == from.shard {
			args = []any{from.expiry, string(from.sid), most}
		}
		calls[i] = scriptCall{sessionPage, []string{s.keys.sessionIndex(shard)}, args}
	}
	out, err := s.evalMany(ctx, reads, op, calls)
	if err != nil {
		return nil, err
	}
	var found []place
	for i, shard := range which {
		list := reply(out).list(i)
		for j := 0; j+1 < len(list); j += 2 {
			id := SessionID(list.str(j))
			if checkSession(id) != nil || shardOf(id) != shard {
				continue // not ours
			}
			found = append(found, place{shard, strconv.FormatInt(list.num(j+1), 10), id})
		}
	}
	return found, nil
}

// CountSessions counts the sessions that live, from the index; two round trips.
func (s *Store) CountSessions(ctx context.Context) (int, error) {
	sizes, err := s.shardSizes(ctx, "count sessions", 0)
	if err != nil {
		return 0, err
	}
	sum := 0
	for _, n := range sizes {
		sum += n
	}
	return sum, nil
}
