package harness

import (
	"context"
	"fmt"
	"time"
)

// T is the part of testing.TB that the harness uses, so that a program may use it as well.
type T interface {
	Helper()
	Name() string
	Context() context.Context
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
	Cleanup(func())
	TempDir() string
}

// pollEvery is how often Eventually looks.
const pollEvery = 20 * time.Millisecond

// Eventually calls ok until it returns nil, and fails the test with its last error when that
// has not happened within limit. The limit only bounds a failure; success returns at once.
func Eventually(t T, limit time.Duration, what string, ok func() error) {
	t.Helper()
	if err := Poll(t.Context(), limit, ok); err != nil {
		t.Fatalf("not within %v: %s: %v", limit, what, err)
	}
}

// Poll calls ok until it returns nil, and returns its last error once limit has passed or ctx
// has ended.
func Poll(ctx context.Context, limit time.Duration, ok func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", err, ctx.Err())
		case <-tick.C:
		}
	}
}
