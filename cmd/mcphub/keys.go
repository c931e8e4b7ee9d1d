package main

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"sync"
)

// sessionKeyLabel tells the MAC key of session tokens from other keys derived from the fleet's.
// It is part of what every replica must agree on: a change loses the sessions of a running fleet.
const sessionKeyLabel = "mcphub-session-token-v1"

// sessionKey derives the MAC key of session tokens from the key of the fleet.
func sessionKey(fleetKey []byte) []byte {
	m := hmac.New(sha256.New, fleetKey)
	m.Write([]byte(sessionKeyLabel))
	return m.Sum(nil)
}

// keyAgreement is the part of the store by which replicas without a secret agree on a key.
type keyAgreement interface {
	FleetKey(ctx context.Context, proposed []byte) ([]byte, error)
}

// errOtherKey says that Redis holds a key other than the one this replica works with.
var errOtherKey = errors.New("another coordinator has put another key into Redis: set cluster.secret on all of them, or restart this one")

// fleetKey is the key that all coordinators of a fleet share: the cluster's secret, or, where
// there is none, a random key that the first replica put into Redis. Once known it is
// remembered, and put back into a Redis that was emptied. Safe for concurrent use.
type fleetKey struct {
	store  keyAgreement
	agreed chan struct{} // closed once key is known

	mu       sync.Mutex // guards the rest; held while the store is asked
	key      []byte     // nil until agreed
	proposal []byte
	fixed    bool
}

func newFleetKey(secret string, s keyAgreement) *fleetKey {
	k := &fleetKey{store: s, agreed: make(chan struct{})}
	if secret != "" {
		k.key, k.fixed = []byte(secret), true
		close(k.agreed)
		return k
	}
	k.proposal = make([]byte, 32)
	_, _ = rand.Read(k.proposal) // never fails
	return k
}

// get returns the key. It asks the store only until the fleet has agreed; then it cannot fail.
func (k *fleetKey) get(ctx context.Context) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.key != nil {
		return k.key, nil
	}
	key, err := k.store.FleetKey(ctx, k.proposal)
	if err != nil {
		return nil, err
	}
	k.key = key
	close(k.agreed)
	return key, nil
}

// known is the key, or nil until there is one. It never waits for the store.
func (k *fleetKey) known() []byte {
	select {
	case <-k.agreed:
	default:
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.key
}

// refresh puts the agreed key back into a store that may have been emptied. It returns
// errOtherKey if the store holds another one; the replica goes on with its own.
func (k *fleetKey) refresh(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fixed || k.key == nil {
		return nil
	}
	key, err := k.store.FleetKey(ctx, k.key)
	if err != nil {
		return err
	}
	if !hmac.Equal(key, k.key) {
		return errOtherKey
	}
	return nil
}

// randomHex returns n random bytes in hex.
func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
