package heartbeat

import (
	"context"
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
	sessions    time.Duration // how long an idle session lasts, as granted
	renewed     chan struct{} // closed by the next renewal; nil while nobody waits for it
}

// grantWait is how long a caller waits for a grant that is on its way: coordinators know of a
// registration a moment before the node has read the answer to it.
const grantWait = 2 * time.Second

// Check refuses a caller of the node. It returns ErrCredential, an error wrapping
// store.ErrEpoch if the caller believes in another epoch, ErrLapsed if the node must not run
// anything now, or nil. Nothing is dispatched to a server before it returned nil.
//
// A caller who knows of a later epoch than the node does waits for the grant that says so, at
// most 2 s and no longer than ctx. One who has none of the fleet's credentials waits only
// while there is none yet.
func (l *Lease) Check(ctx context.Context, e store.Epoch, credential string) error {
	err, later := l.check(e, credential)
	if later == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, grantWait)
	defer cancel()
	for later != nil {
		select {
		case <-later:
			err, later = l.check(e, credential)
		case <-ctx.Done():
			return err
		}
	}
	return err
}

// check is Check without waiting. If waiting may help, it returns what to wait for.
func (l *Lease) check(e store.Epoch, credential string) (err error, later <-chan struct{}) { //nolint:revive,staticcheck // the error is the answer, the channel what may change it
	l.mu.Lock()
	defer l.mu.Unlock()
	err = l.judge(e, credential)
	if err == nil || e <= l.epoch || (l.credentials[0] != "" && !l.known(credential)) {
		return err, nil
	}
	if l.renewed == nil {
		l.renewed = make(chan struct{})
	}
	return err, l.renewed
}

func (l *Lease) judge(e store.Epoch, credential string) error {
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

// Left is how long the node may still run anything without another beat; zero if it may not now.
func (l *Lease) Left() time.Duration {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if !l.fresh() {
		return 0
	}
	return max(0, l.timeout-l.sent.age())
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

// SessionTimeout is how long the fleet keeps an idle session, by the last grant; zero when
// there never was one.
func (l *Lease) SessionTimeout() time.Duration {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.sessions
}

// renew takes over what a coordinator granted in answer to a beat sent at the given moment.
func (l *Lease) renew(g Grant, sent instant) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch, l.sent, l.timeout = g.Epoch, sent, g.nodeTimeout()
	l.sessions = time.Duration(g.SessionTimeout) * time.Millisecond
	if l.renewed != nil {
		close(l.renewed)
		l.renewed = nil
	}
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
