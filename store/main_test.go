package store_test

import (
	"testing"

	"go.uber.org/goleak"
)

// A pool of go-redis whose server was away looks for it once a second, and notices at its next
// look that it was closed.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}
