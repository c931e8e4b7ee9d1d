package router

import (
	"encoding/base64"
	"encoding/binary"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// position is a place in a merged list: behind one of its items. It is what a cursor holds, so no
// replica needs to remember anything of a client that pages through a list, and when the list
// changes under it the client goes on where it was.
type position struct {
	server store.ServerID
	index  uint32 // of the item among those of its server
	key    uint64 // hash of the item's key
}

// positionOf is the place behind an item of a list.
func positionOf(items []item, at int) position {
	first := at
	for first > 0 && items[first-1].server == items[at].server {
		first--
	}
	return position{server: items[at].server, index: uint32(at - first), key: xxhash.Sum64String(items[at].key)} //nolint:gosec // lists are bounded by the size of catalogs
}

// next is the index in a list of the item that follows a place. Where the item before it has
// gone, those that stood before that one had been seen: it goes on at the same number. Where the
// server has gone, it goes on with the next one.
func (p position) next(items []item) int {
	first, _ := slices.BinarySearchFunc(items, p.server, func(i item, s store.ServerID) int {
		switch {
		case i.server < s:
			return -1
		case i.server > s:
			return 1
		}
		return 0
	})
	end := first
	for end < len(items) && items[end].server == p.server {
		end++
	}
	same := func(i item) bool { return xxhash.Sum64String(i.key) == p.key }
	at := min(first+int(p.index), end)
	if at < end && same(items[at]) {
		return at + 1
	}
	if i := slices.IndexFunc(items[first:end], same); i >= 0 {
		return first + i + 1
	}
	return at
}

// Layout of a cursor's bytes, before base64url. The first byte is that of no token, so that
// neither can be taken for the other although both have the same MAC.
//
//	version 1 | key id 4 | list 1 | scope 8 | index 4 | item 8 | server n | MAC 16
const (
	cursorVersion = 0xc1

	cursorKey    = 1
	cursorList   = cursorKey + 4
	cursorScope  = cursorList + 1
	cursorIndex  = cursorScope + 8
	cursorItem   = cursorIndex + 4
	cursorServer = cursorItem + 8
	minCursor    = cursorServer + 1 + macSize
	maxCursor    = cursorServer + wire.MaxName + macSize
)

// cursor writes a place in a list of a scope as clients get it (MCP 2025-11-25, Pagination).
func (k *Keys) cursor(list byte, scope string, p position) string {
	key := k.newest()
	b := make([]byte, 0, maxCursor)
	b = append(append(b, cursorVersion), key.id[:]...)
	b = append(b, list)
	d := digestOf("scope", scope)
	b = append(b, d[:8]...)
	b = binary.BigEndian.AppendUint32(b, p.index)
	b = binary.BigEndian.AppendUint64(b, p.key)
	b = append(b, p.server...)
	mac := key.states.Get().(*macState)
	defer key.states.Put(mac)
	return base64.RawURLEncoding.EncodeToString(mac.seal(b))
}

// parseCursor reads a cursor that any replica gave out for the same list of the same scope. It
// returns false for everything else.
func (k *Keys) parseCursor(list byte, scope, text string) (p position, ok bool) {
	if len(text) > base64.RawURLEncoding.EncodedLen(maxCursor) {
		return p, false
	}
	b, err := strictBase64.DecodeString(text)
	// The decoder skips line breaks; a cursor with one is shorter than its text.
	if err != nil || strictBase64.EncodedLen(len(b)) != len(text) || len(b) < minCursor || b[0] != cursorVersion {
		return p, false
	}
	d := digestOf("scope", scope)
	if !k.genuine(b) || b[cursorList] != list || string(b[cursorScope:cursorIndex]) != string(d[:8]) {
		return p, false
	}
	return position{
		server: store.ServerID(b[cursorServer : len(b)-macSize]),
		index:  binary.BigEndian.Uint32(b[cursorIndex:]),
		key:    binary.BigEndian.Uint64(b[cursorItem:]),
	}, true
}
