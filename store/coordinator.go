package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
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
	// Joined is Redis's clock when this replica first wrote its record. It is given by
	// PutCoordinator; whoever hands it in with later records keeps its place among the others
	// also when Redis was emptied.
	Joined time.Time
	// Seen is Redis's clock when the record was last written.
	Seen time.Time
}

// coordinatorsMost bounds a listing.
const coordinatorsMost = 1000

// PutCoordinator writes what a replica says of itself, for ttl, and returns it with Joined and
// Seen filled in; a zero Joined means that of the record that stands, or now. One round trip.
// Errors: ErrInvalid, ErrUnavailable.
func (s *Store) PutCoordinator(ctx context.Context, c Coordinator, ttl time.Duration) (Coordinator, error) {
	const op = "put coordinator"
	if err := errors.Join(checkCoordinator(c.ID), checkTTL(ttl)); err != nil {
		return Coordinator{}, fmt.Errorf("%s: %w", op, err)
	}
	id := string(c.ID)
	out, err := s.evalMany(ctx, writes, op, []scriptCall{
		{coordinatorPut, []string{s.keys.coordinator(c.ID)}, []any{
			id, ttl.Milliseconds(), millis(c.Joined),
			"address", c.Address, "version", c.Version, "mode", c.Mode, "keyPrint", c.KeyPrint, "ready", strconv.FormatBool(c.Ready),
			"started", strconv.FormatInt(millis(c.Started), 10),
			"sessions", strconv.Itoa(c.Sessions), "inFlight", strconv.Itoa(c.InFlight),
		}},
		{coordinatorList, []string{s.keys.coordinators()}, []any{id, ttl.Milliseconds()}},
	})
	if err != nil {
		return Coordinator{}, err
	}
	r, err := asReply(op, out[0])
	if err == nil {
		err = r.belongs(op, id)
	}
	if err != nil {
		return Coordinator{}, err
	}
	c.Started = fromMillis(millis(c.Started))
	c.Joined, c.Seen = fromMillis(r.num(1)), fromMillis(r.num(2))
	return c, nil
}

// RemoveCoordinator forgets a replica that stops. Forgetting one that is unknown is no error.
// Errors: ErrInvalid, ErrUnavailable, after which the record expires by itself.
func (s *Store) RemoveCoordinator(ctx context.Context, id CoordinatorID) error {
	const op = "remove coordinator"
	if err := checkCoordinator(id); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return s.pipe(ctx, writes, op, func(ctx context.Context, p redis.Pipeliner) {
		p.Del(ctx, s.keys.coordinator(id))
		p.ZRem(ctx, s.keys.coordinators(), string(id))
	})
}

// Coordinators lists the replicas that live, sorted by id; those of a release that kept no index
// of them are not found. Two round trips. It returns ErrUnavailable.
func (s *Store) Coordinators(ctx context.Context) ([]Coordinator, error) {
	const op = "list coordinators"
	var ids []string
	err := s.call(ctx, reads, op, func(ctx context.Context) (err error) {
		ids, err = s.rdb.ZRange(ctx, s.keys.coordinators(), 0, coordinatorsMost-1).Result()
		return err
	})
	ids = slices.DeleteFunc(ids, func(id string) bool { return checkCoordinator(CoordinatorID(id)) != nil })
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	records := make([]*redis.MapStringStringCmd, len(ids))
	err = s.pipe(ctx, reads, op, func(ctx context.Context, p redis.Pipeliner) {
		for i, id := range ids {
			records[i] = p.HGetAll(ctx, s.keys.coordinator(CoordinatorID(id)))
		}
	})
	if err != nil {
		return nil, err
	}
	var list []Coordinator
	for i, id := range ids {
		// A record that is not there has expired, and will leave the index with the next write.
		if f := records[i].Val(); f["id"] == id {
			list = append(list, coordinatorFrom(f))
		}
	}
	slices.SortFunc(list, func(a, b Coordinator) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}

func coordinatorFrom(f map[string]string) Coordinator {
	at := func(name string) time.Time { return fromMillis(parseNum(f[name])) }
	return Coordinator{
		ID: CoordinatorID(f["id"]), Address: f["address"], Version: f["version"], Mode: f["mode"],
		KeyPrint: f["keyPrint"], Ready: f["ready"] == "true",
		Sessions: int(parseNum(f["sessions"])), InFlight: int(parseNum(f["inFlight"])),
		Started: at("started"), Joined: at("joined"), Seen: at("seen"),
	}
}
