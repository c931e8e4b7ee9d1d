package migrations

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Errors a caller may do something about.
var (
	// ErrNewer says that the data was migrated by a newer release. Run that one.
	ErrNewer = errors.New("data in Redis is newer than this release knows")
	// ErrBusy says that another runner is at work, or has taken over. Look again later.
	ErrBusy = errors.New("another migration is running")
	// ErrDamaged says that the schema number in Redis is not a number.
	ErrDamaged = errors.New("schema number in Redis is damaged")
)

// leaseTTL is how long a runner that was killed keeps others waiting.
const leaseTTL = 30 * time.Second

// batch is how many keys SCAN is asked for at a time.
const batch = 500

//go:embed lua/advance.lua
var advanceSrc string

//go:embed lua/renew.lua
var renewSrc string

var (
	advanceScript = redis.NewScript(advanceSrc)
	renewScript   = redis.NewScript(renewSrc)
)

// Step is one migration that was run, or would be.
type Step struct {
	Number int
	Name   string
	// Keys is how many keys were visited: 1 for a migration that runs once.
	Keys int
	// Changed is how many of them were changed; 0 in a dry run.
	Changed int
}

// Runner brings the data below one prefix to this release's form.
type Runner struct {
	rdb    redis.UniversalClient
	prefix string
	log    *slog.Logger
	list   []Migration
	ttl    time.Duration
}

// New makes a runner on a client, which stays the caller's to close. Each command is bounded by
// the client's own timeouts.
func New(rdb redis.UniversalClient, prefix string, log *slog.Logger) *Runner {
	return &Runner{rdb: rdb, prefix: prefix, log: log, list: all, ttl: leaseTTL}
}

func (r *Runner) schemaKey() string { return r.prefix + ":schema" }
func (r *Runner) leaseKey() string  { return r.prefix + ":{" + r.prefix + ":schema}:lease" }

// Status is the number of the last migration that ran; 0 for an empty keyspace. It returns
// ErrDamaged, or an error of the client.
func (r *Runner) Status(ctx context.Context) (int, error) {
	text, err := r.rdb.Get(ctx, r.schemaKey()).Result()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read schema number: %w", err)
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%w: %q", ErrDamaged, text)
	}
	return n, nil
}

// Run runs what is missing, in order, and returns what it did; with dryRun it only looks, takes no
// lease and writes nothing. It is safe to repeat, also after it was killed halfway: the number
// moves on when a migration is through, and each may run again over what it has done.
//
// It returns ErrNewer if the data is newer than this release, ErrBusy if another runner holds the lease or took it
// over, ErrDamaged, or an error of the client; the steps that were done are returned with any of
// them.
func (r *Runner) Run(ctx context.Context, dryRun bool) (done []Step, err error) {
	if !dryRun {
		token := rand.Text()
		if err := r.acquire(ctx, token); err != nil {
			return nil, err
		}
		defer func() {
			// Also when ctx has ended: others would wait for the lease to lapse.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			_ = renewScript.Run(ctx, r.rdb, []string{r.leaseKey()}, token, 0).Err()
		}()
		return r.run(ctx, token)
	}
	return r.run(ctx, "")
}

// run does the work; an empty token makes it a dry run.
func (r *Runner) run(ctx context.Context, token string) (done []Step, err error) {
	now, err := r.Status(ctx)
	if err != nil {
		return nil, err
	}
	if now > len(r.list) {
		return nil, fmt.Errorf("%w: it has number %d, this one knows up to %d", ErrNewer, now, len(r.list))
	}
	for _, m := range r.list[now:] {
		start := time.Now()
		step, err := r.apply(ctx, m, token)
		if err != nil {
			return done, fmt.Errorf("migration %s: %w", m.Name, err)
		}
		if token != "" {
			if err := r.advance(ctx, m, token); err != nil {
				return done, fmt.Errorf("migration %s: %w", m.Name, err)
			}
			r.log.InfoContext(ctx, "migrated", "method", m.Name, "dur", time.Since(start))
		}
		done = append(done, step)
	}
	return done, nil
}

func (r *Runner) acquire(ctx context.Context, token string) error {
	err := r.rdb.SetArgs(ctx, r.leaseKey(), token, redis.SetArgs{Mode: "NX", TTL: r.ttl}).Err()
	if errors.Is(err, redis.Nil) {
		return ErrBusy
	}
	if err != nil {
		return fmt.Errorf("take the lease: %w", err)
	}
	return nil
}

func (r *Runner) renew(ctx context.Context, token string) error {
	n, err := renewScript.Run(ctx, r.rdb, []string{r.leaseKey()}, token, r.ttl.Milliseconds()).Int()
	if err != nil {
		return fmt.Errorf("renew the lease: %w", err)
	}
	if n != 1 {
		return fmt.Errorf("%w: the lease has lapsed", ErrBusy)
	}
	return nil
}

func (r *Runner) advance(ctx context.Context, m Migration, token string) error {
	n, err := advanceScript.Run(ctx, r.rdb, []string{r.schemaKey(), r.leaseKey()}, token, m.Number).Int()
	switch {
	case err != nil:
		return fmt.Errorf("write the number: %w", err)
	case n == 0:
		return fmt.Errorf("%w: the lease has lapsed", ErrBusy)
	case n < 0:
		return fmt.Errorf("%w: the number was changed meanwhile", ErrBusy)
	}
	return nil
}

// apply runs one migration over its keys.
func (r *Runner) apply(ctx context.Context, m Migration, token string) (Step, error) {
	step := Step{Number: m.Number, Name: m.Name}
	if m.Match == "" {
		step.Keys = 1
		if token == "" {
			return step, nil
		}
		changed, err := m.script.Run(ctx, r.rdb, []string{r.schemaKey()}).Int()
		step.Changed = changed
		return step, err
	}
	var keys, changed atomic.Int64 // the members of a cluster are walked at once
	err := r.scan(ctx, r.prefix+":"+m.Match, func(ctx context.Context, c redis.Cmdable, page []string) error {
		keys.Add(int64(len(page)))
		if token == "" {
			return nil
		}
		if err := r.renew(ctx, token); err != nil {
			return err
		}
		for _, key := range page {
			n, err := m.script.Run(ctx, c, []string{key}).Int()
			if err != nil {
				return fmt.Errorf("key %s: %w", key, err)
			}
			changed.Add(int64(n))
		}
		return nil
	})
	step.Keys, step.Changed = int(keys.Load()), int(changed.Load())
	return step, err
}

// scan gives visit the keys that match, page by page; SCAN may give one twice.
func (r *Runner) scan(ctx context.Context, match string, visit func(context.Context, redis.Cmdable, []string) error) error {
	walk := func(ctx context.Context, c redis.Cmdable) error {
		var cursor uint64
		for {
			page, next, err := c.Scan(ctx, cursor, match, batch).Result()
			if err != nil {
				return err
			}
			if len(page) > 0 {
				if err := visit(ctx, c, page); err != nil {
					return err
				}
			}
			if cursor = next; cursor == 0 {
				return nil
			}
		}
	}
	if cluster, ok := r.rdb.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error { return walk(ctx, c) })
	}
	return walk(ctx, r.rdb)
}
