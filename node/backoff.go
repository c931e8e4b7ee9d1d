package node

import (
	"math/rand/v2"
	"time"
)

const (
	backoffFirst = 500 * time.Millisecond
	backoffMost  = 30 * time.Second
	// stableAfter is how long a server must have been ready for its next failure to count as
	// the first again.
	stableAfter = 30 * time.Second
)

// backoff spaces attempts at starting a server: 0.5 s, doubling up to 30 s, each stretched or
// shortened by up to a fifth, so that a hundred servers that failed together do not come back
// together.
type backoff struct {
	failures int
	rand     func() float64 // in [0,1); nil means the real thing
}

// next is the wait before the following attempt.
func (b *backoff) next() time.Duration {
	d := backoffFirst << min(b.failures, 6)
	b.failures++
	r := rand.Float64
	if b.rand != nil {
		r = b.rand
	}
	d = time.Duration(float64(min(d, backoffMost)) * (0.8 + 0.4*r()))
	return min(d, backoffMost)
}

func (b *backoff) reset() { b.failures = 0 }
