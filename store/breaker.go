package store

import (
	"sync"
	"time"
)

// Figures of the breaker.
const (
	breakAfter = 3           // failures in a row until it opens
	probeEvery = time.Second // while open, one call in this time is let through
)

// breaker spares callers the wait for a Redis that does not answer. Safe for concurrent use.
type breaker struct {
	mu     sync.Mutex // guards the rest
	failed int        // in a row
	open   bool
	probe  time.Time // when the next call may go through, while open
}

// allow says whether a call may be made now. Each yes must be followed by success, failure or
// nothing (when the call says nothing about Redis, because its caller went away).
func (b *breaker) allow(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return true
	}
	if now.Before(b.probe) {
		return false
	}
	b.probe = now.Add(probeEvery)
	return true
}

// success closes the breaker and says whether it had been open.
func (b *breaker) success() (reopened bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	was := b.open
	b.open, b.failed = false, 0
	return was
}

// failure counts one and says whether it opened the breaker.
func (b *breaker) failure(now time.Time) (opened bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed++
	if b.open || b.failed < breakAfter {
		return false
	}
	b.open, b.probe = true, now.Add(probeEvery)
	return true
}

func (b *breaker) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open
}
