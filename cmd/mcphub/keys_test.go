package main

import (
	"context"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/mcphub-go/mcphub/heartbeat"
)

// The values were computed with another program. A change would lock the coordinators of
// one release out of the nodes and sessions of another.
func TestFleetKeysAreWhatOtherReleasesDerive(t *testing.T) {
	key := []byte("a-long-random-secret")
	if got, want := heartbeat.FleetCredential(key), "b49eef612c7af8b95d2d765c8cad0c77bb389e5f48f0e02bb5f1c5b191aa27ac"; got != want {
		t.Errorf("credential = %s, want %s", got, want)
	}
	if got, want := heartbeat.KeyPrint(key), "0beef7900e54"; got != want {
		t.Errorf("print = %s, want %s", got, want)
	}
	if got, want := hex.EncodeToString(sessionKey(key)), "7f9cf9e49d61063f9dbb5a43e84203bd435756605eea9f0ee61e6e77e0a55d85"; got != want {
		t.Errorf("session key = %s, want %s", got, want)
	}
}

// agreement keeps the first key that was proposed, as Redis does.
type agreement struct {
	key   []byte
	err   error
	asked int
}

func (a *agreement) FleetKey(_ context.Context, proposed []byte) ([]byte, error) {
	a.asked++
	if a.err != nil {
		return nil, a.err
	}
	if a.key == nil {
		a.key = proposed
	}
	return a.key, nil
}

func TestReplicasWithoutASecretAgree(t *testing.T) {
	var a agreement
	one, two := newFleetKey("", &a), newFleetKey("", &a)
	if k := one.known(); k != nil {
		t.Errorf("a key is known before it was agreed on: %x", k)
	}
	k1, err1 := one.get(t.Context())
	k2, err2 := two.get(t.Context())
	if err := errors.Join(err1, err2); err != nil || string(k1) != string(k2) || len(k1) < 32 {
		t.Fatalf("keys %x and %x, %v", k1, k2, err)
	}
	if k := two.known(); string(k) != string(k1) {
		t.Errorf("known = %x, want %x", k, k1)
	}
	if k, err := newFleetKey("", &agreement{}).get(t.Context()); err != nil || string(k) == string(k1) {
		t.Errorf("another fleet's key is the same, %v", err)
	}
	asked := a.asked
	a.err = errors.New("away")
	if k, err := one.get(t.Context()); err != nil || string(k) != string(k1) || a.asked != asked {
		t.Errorf("the agreed key is not remembered: %x, %v", k, err)
	}
	if _, err := newFleetKey("", &a).get(t.Context()); err == nil {
		t.Error("a key was made up although the store could not be asked")
	}
}

func TestAgreedKeySurvivesAnEmptiedRedis(t *testing.T) {
	var a agreement
	k := newFleetKey("", &a)
	key, err := k.get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a.key = nil // FLUSHALL
	if err := k.refresh(t.Context()); err != nil || string(a.key) != string(key) {
		t.Errorf("refresh = %v; Redis holds %x, want %x", err, a.key, key)
	}
	a.key = []byte("a stranger was quicker after the flush")
	if err := k.refresh(t.Context()); !errors.Is(err, errOtherKey) {
		t.Errorf("refresh with another key in Redis = %v", err)
	}
	if again, err := k.get(t.Context()); err != nil || string(again) != string(key) {
		t.Errorf("the key changed under a running replica: %x, %v", again, err)
	}
}

func TestSecretNeedsNoAgreement(t *testing.T) {
	a := agreement{err: errors.New("away")}
	k := newFleetKey("a-long-random-secret", &a)
	if key, err := k.get(t.Context()); err != nil || string(key) != "a-long-random-secret" {
		t.Errorf("get = %q, %v", key, err)
	}
	if err := k.refresh(t.Context()); err != nil || a.asked != 0 {
		t.Errorf("refresh = %v, the store was asked %d times", err, a.asked)
	}
}
