package heartbeat

import (
	"fmt"
	"sync"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// Lease is what a node holds of itself: under which epoch it is registered, which credentials
// its callers may present, and until when it may run anything. The zero Lease has lapsed.
// It is safe for concurrent use.
type Lease struct {
	mu          sync.RWMutex
	epoch       store.Epoch
	credentials [2]string // the newest first; the one before stays good for callers not yet told
	sent        instant   // when the last acknowledged beat was sent
	timeout     time.Duration
}

// Check refuses a caller of the node. It returns ErrCredential, an error wrapping
// store.ErrEpoch if the caller believes in another epoch, ErrLapsed if the node must not run
// anything now, or nil. Nothing is dispatched to a server before it returned nil.
func (l *Lease) Check(e store.Epoch, credential string) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if !l.known(credential) {
		return ErrCredential
	}
	if e != l.epoch {
		return fmt.Errorf("called under epoch %d, registered under %d: %w", e, l.epoch, store.ErrEpoch)
	}
	if !l.fresh() {
		return ErrLapsed
	}
	return nil
}

// known compares with both credentials always, so that time does not tell which one is good.
func (l *Lease) known(credential string) bool {
	first := equal(credential, l.credentials[0]) && l.credentials[0] != ""
	second := equal(credential, l.credentials[1]) && l.credentials[1] != ""
	return first || second
}

// Fresh reports whether the last acknowledged beat was *sent* less than nodeTimeout ago, by a
// clock that is never set and that runs on while the process is stopped or the machine is
// suspended. A node asks again right before it hands a call to a server: a frozen process that
// wakes must not run what it had accepted (self-fencing).
func (l *Lease) Fresh() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.fresh()
}

func (l *Lease) fresh() bool {
	return l.epoch != 0 && l.sent.age() < l.timeout
}

// Epoch is the epoch of the last grant; zero when there is none or it was taken away.
func (l *Lease) Epoch() store.Epoch {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.epoch
}

// Timeout is the nodeTimeout of the last grant; zero when there never was one.
func (l *Lease) Timeout() time.Duration {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.timeout
}

// renew takes over what a coordinator granted in answer to a beat sent at the given moment.
func (l *Lease) renew(g Grant, sent instant) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch, l.sent, l.timeout = g.Epoch, sent, g.nodeTimeout()
	if g.Credential != l.credentials[0] {
		l.credentials = [2]string{g.Credential, l.credentials[0]}
	}
}

// fence ends the lease now.
func (l *Lease) fence() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch = 0
}
