package node

import (
	"container/list"
	"slices"
	"time"
)

// stream is one event stream of a session, and what is kept of it so that it can be taken up
// again. Its session's streams guard all of it.
type stream struct {
	key    streamKey
	tail   string // of its event ids
	primed bool

	events []*entry  // that are kept, in order
	next   uint64    // seq of the event to come
	taken  uint64    // events before it have been taken by a reader
	behind int       // bytes of messages that the reader has not taken, answers apart
	over   bool      // there will be no more events
	reader *reader   // nil for none
	since  time.Time // when it was over, or lost its reader
}

// entry is an event that is kept.
type entry struct {
	st    *stream
	seq   uint64
	at    time.Time
	frame []byte // empty for an event that primes
	final bool   // the answer
	place *list.Element
}

// entryCost is what an event takes beside its frame, in bytes.
const entryCost = 128

func (e *entry) cost() int { return len(e.frame) + entryCost }

// spare says that an event may be dropped for room: it has been taken, or nobody reads. An
// answer that has not been taken may not.
func (e *entry) spare() bool {
	if e.seq < e.st.taken {
		return true
	}
	return e.st.reader == nil && !e.final
}

// from is the index of the first event with seq or a later one.
func (st *stream) from(seq uint64) int {
	i, _ := slices.BinarySearchFunc(st.events, seq, func(e *entry, seq uint64) int {
		if e.seq < seq {
			return -1
		}
		if e.seq > seq {
			return 1
		}
		return 0
	})
	return i
}

// stalled says that the reader has let more than one event pile up.
func (st *stream) stalled() bool {
	return st.reader != nil && st.behind > 0 && st.next-st.taken > 1
}

// reader is whoever writes a stream to its client. There is one at a time.
type reader struct {
	st    *stream
	at    uint64        // seq of the next event for it
	wake  chan struct{} // of 1
	leave bool          // it is to end when it has taken what there is; guarded by the streams
	retry time.Duration // for the client to wait then; 0 for not said
	cut   bool          // it was too slow; guarded by the streams
}

func (r *reader) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// portion is what a reader has to write next.
type portion struct {
	events []*entry
	more   bool          // there is more already
	over   bool          // that was the last of it
	taken  bool          // because another reader has come
	retry  time.Duration // to tell the client then
}
