package router

import (
	"bytes"
	"crypto/subtle"
	"strings"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// Requests of servers reach clients of an endpoint over several servers under an id that says
// which server asked, so that any replica can take the answer there:
//
//	"<server>~<the id that the node gave>~<base64url of key id 4 | MAC 16>"
//
// The MAC covers the session: an answer is taken only from the one that was asked.
const (
	requestVersion = 0xc2 // the first byte under the MAC is that of no token and of no cursor
	maxRequestID   = 128  // of the node's id, quotes included
	requestMAC     = 4 + macSize
	maxSignedID    = wire.MaxName + maxRequestID + 32
)

// signRequestID gives a server's request its id for the clients of an endpoint over several
// servers: a JSON string. The id is the node's, raw. It is nil for an id that no node gives out,
// which are JSON strings without escapes and of at most 128 bytes.
func (k *Keys) signRequestID(s sid, server store.ServerID, id []byte) []byte {
	if !plainString(id) {
		return nil
	}
	key := k.newest()
	mac := key.states.Get().(*macState)
	defer key.states.Put(mac)
	sum := requestSum(key, mac, s, server, id)
	out := make([]byte, 0, maxSignedID)
	out = append(append(append(out, '"'), server...), '~')
	out = append(append(out, id[1:len(id)-1]...), '~')
	return append(strictBase64.AppendEncode(out, sum[:]), '"')
}

// openRequestID reads an id that signRequestID gave out for the same session, on whatever replica:
// the server that asked, and the node's own id, raw. It is false for everything else.
func (k *Keys) openRequestID(s sid, id []byte) (server store.ServerID, inner []byte, ok bool) {
	if len(id) > maxSignedID || len(id) < 2 || id[0] != '"' || id[len(id)-1] != '"' {
		return "", nil, false
	}
	text := string(id[1 : len(id)-1])
	name, rest, ok := strings.Cut(text, "~")
	at := strings.LastIndexByte(rest, '~')
	if !ok || at < 0 || wire.CheckName("server", name) != nil {
		return "", nil, false
	}
	sum, err := strictBase64.DecodeString(rest[at+1:])
	inner = append(append(append(make([]byte, 0, at+2), '"'), rest[:at]...), '"')
	if err != nil || len(sum) != requestMAC || strictBase64.EncodedLen(requestMAC) != len(rest)-at-1 || !plainString(inner) {
		return "", nil, false
	}
	key := k.find(keyID(sum[:len(keyID{})]))
	if key == nil {
		return "", nil, false
	}
	mac := key.states.Get().(*macState)
	defer key.states.Put(mac)
	want := requestSum(key, mac, s, store.ServerID(name), inner)
	if subtle.ConstantTimeCompare(sum, want[:]) != 1 {
		return "", nil, false
	}
	return store.ServerID(name), inner, true
}

// requestSum is the key's name and the MAC of a request's id.
func requestSum(key *macKey, mac *macState, s sid, server store.ServerID, id []byte) (sum [requestMAC]byte) {
	var buf [maxSignedID + 64]byte
	b := append(append(buf[:0], requestVersion), s[:]...)
	b = append(append(append(b, server...), '~'), id...)
	sealed := mac.seal(b)
	copy(sum[copy(sum[:], key.id[:]):], sealed[len(b):])
	return sum
}

// plainString says whether raw is a JSON string of visible ASCII without escapes.
func plainString(raw []byte) bool {
	if len(raw) < 3 || len(raw) > maxRequestID || raw[0] != '"' || raw[len(raw)-1] != '"' {
		return false
	}
	return !bytes.ContainsFunc(raw[1:len(raw)-1], func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == '\\' })
}
