package router

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash"
	"sync"
)

// minKey is the least length of a MAC key, in bytes.
const minKey = 16

// macSize is the length of a token's MAC: HMAC-SHA256 cut to 128 bits (RFC 2104, section 5).
const macSize = 16

// keyID names a key by its digest, so that replicas need not agree on numbers.
type keyID [4]byte

// Keys is a ring of MAC keys: tokens are minted with the newest and verified with any. It is
// safe for concurrent use and never changed once made.
type Keys struct {
	ring []*macKey // newest first
}

// macKey is one key. Its pool holds HMAC states with the key already mixed in, each with
// room for one token, so that checking one allocates nothing for it.
type macKey struct {
	id     keyID
	states sync.Pool
}

type macState struct {
	hash hash.Hash
	buf  [maxToken + sha256.Size]byte
}

// NewKeys makes a ring. Each key needs at least 16 bytes; there is no default key. Keep an
// older key for as long as sessions minted under it may live.
func NewKeys(newest []byte, older ...[]byte) (*Keys, error) {
	k := &Keys{}
	for i, secret := range append([][]byte{newest}, older...) {
		if len(secret) < minKey {
			return nil, fmt.Errorf("session key %d of %d: %d bytes, want at least %d", i+1, len(older)+1, len(secret), minKey)
		}
		key := newMACKey(secret)
		if k.find(key.id) != nil {
			return nil, errors.New("the same session key is in the ring twice")
		}
		k.ring = append(k.ring, key)
	}
	return k, nil
}

func newMACKey(secret []byte) *macKey {
	secret = append([]byte(nil), secret...)
	sum := sha256.Sum256(append([]byte("mcphub-key-id\n"), secret...))
	m := &macKey{id: keyID(sum[:4])}
	m.states.New = func() any { return &macState{hash: hmac.New(sha256.New, secret)} }
	return m
}

func (k *Keys) newest() *macKey { return k.ring[0] }

func (k *Keys) find(id keyID) *macKey {
	for _, m := range k.ring {
		if m.id == id {
			return m
		}
	}
	return nil
}

// genuine says whether b ends in the MAC of what stands before it, in constant time. It begins with a
// byte that says what it is and with the name of the key; the caller has seen that it is long enough.
func (k *Keys) genuine(b []byte) bool {
	key := k.find(keyID(b[1 : 1+len(keyID{})]))
	if key == nil {
		return false
	}
	mac := key.states.Get().(*macState)
	defer key.states.Put(mac)
	return subtle.ConstantTimeCompare(b, mac.seal(b[:len(b)-macSize])) == 1
}

// seal appends the MAC of body to a copy of it, which is valid until the state is used again.
func (s *macState) seal(body []byte) []byte {
	b := append(s.buf[:0], body...)
	s.hash.Reset()
	s.hash.Write(b)
	return s.hash.Sum(b)[:len(body)+macSize]
}
