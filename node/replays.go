package node

import (
	"hash/maphash"
	"sync"
)

// maxSeen is how many of a server's latest events are told apart from those that are new.
const maxSeen = 4096

// replays tells what a server sends once more. Asked for the rest of one stream, some servers send
// all later events of the session, those of other streams included (MCP 2025-11-25, Transports,
// Resumability, forbids it). What is on such a stream is then no sign of whose it is. The zero
// value is ready; it is safe for concurrent use.
type replays struct {
	mu    sync.Mutex // guards the rest
	seed  maphash.Seed
	seen  map[uint64]bool
	order []uint64 // of seen, the oldest at next once it is full
	next  int
	mixes bool // the server is known to do it
}

// take takes the event with id, which may be empty, and data of a stream. resumed says that it was
// taken up again. pass is false for what was read before. own says that the stream which an event
// is on tells whose it is.
func (r *replays) take(id string, data []byte, resumed bool) (pass, own bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if id != "" && r.again(id, data) && resumed {
		r.mixes = true
		return false, false
	}
	return true, !resumed || !r.mixes
}

// again notes an event and reports whether it was noted before. That its id is the same is not
// enough: some servers count each stream by itself.
func (r *replays) again(id string, data []byte) bool {
	if r.seen == nil {
		r.seed, r.seen = maphash.MakeSeed(), map[uint64]bool{}
	}
	var h maphash.Hash
	h.SetSeed(r.seed)
	_, _ = h.WriteString(id)
	_ = h.WriteByte('\n')
	_, _ = h.Write(data)
	sum := h.Sum64()
	if r.seen[sum] {
		return true
	}
	r.seen[sum] = true
	if len(r.order) < maxSeen {
		r.order = append(r.order, sum)
		return false
	}
	delete(r.seen, r.order[r.next])
	r.order[r.next] = sum
	r.next = (r.next + 1) % maxSeen
	return false
}
