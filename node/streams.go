package node

import (
	"container/list"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxLogTotal bounds what all streams of a node keep together, in bytes. Answers that nobody
	// has taken yet may go beyond it.
	maxLogTotal = 64 << 20
	// maxPortion is what a reader takes at once, in bytes, if that is more than one event.
	maxPortion = 64 << 10
	// parting is how long a client is told to wait before it comes back when its own stream ends
	// with the connection to the server, or because the client did not keep up with it.
	parting = time.Second
)

var errStreams = errors.New("the session has all the streams it may have")

// streams are a session's event streams: the answers to its calls that have become streams, and
// its own, by GET. What has been written to them is kept for a while, within bounds, so that a
// client whose connection broke can have the rest. It is safe for concurrent use and waits for
// nobody.
type streams struct {
	inc      string
	lim      *Config
	stats    *counters
	attached atomic.Int32 // streams with a reader

	mu      sync.Mutex // guards the rest
	all     map[streamKey]*stream
	made    uint64
	own     []*stream // own ones with a reader, the one that got its reader last at the end
	waiting stream    // messages for the next own stream
	log     list.List // every *entry, the oldest first
	size    int       // of what is in it
	closing bool      // no own streams any more
	ended   bool      // the session is not known any more: nothing can be resumed
}

// tell gives a session a message of its server's: on the stream of c, which may be nil, while
// that is open and can be read or resumed; otherwise on the one of the session's own streams
// that was opened last, or the next one if there is none now. It reports false if there was no
// room for the message. The frame is the streams' to keep.
func (l *link) tell(ses *session, c *call, frame []byte) bool {
	if c != nil {
		if took, its := c.offer(frame); its {
			return took
		}
	}
	return ses.streams.tell(frame)
}

func (t *streams) tell(frame []byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return false
	}
	st := &t.waiting
	if n := len(t.own); n > 0 {
		st = t.own[n-1]
	}
	return t.add(st, frame, false)
}

// withdraw takes a message back that tell was given, and reports false if it does not wait for
// a stream, or for the reader of one, any more.
func (t *streams) withdraw(frame []byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.withdrawFrom(&t.waiting, frame) {
		return true
	}
	for _, st := range t.all {
		if st.reader == nil && t.withdrawFrom(st, frame) {
			return true
		}
	}
	return false
}

// withdrawFrom takes a message back from a stream nobody reads. t.mu is held.
func (t *streams) withdrawFrom(st *stream, frame []byte) bool {
	for _, e := range st.events[st.from(st.taken):] {
		if len(frame) > 0 && len(e.frame) > 0 && &e.frame[0] == &frame[0] {
			t.drop(e)
			return true
		}
	}
	return false
}

// openCall opens the stream of the call with the client's id, with a reader.
func (t *streams) openCall(id []byte, primed bool) *reader {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open(callStream, tailOf(id), primed)
}

// openOwn opens a stream of the session's own, with a reader, to which goes what has waited.
func (t *streams) openOwn(primed bool) (*reader, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.closed(); err != nil {
		return nil, err
	}
	return t.open(ownStream, "", primed), nil
}

// closed is why there can be no other own stream with a reader now. t.mu is held.
func (t *streams) closed() error {
	switch {
	case t.ended:
		return errSessionUnknown
	case t.closing:
		return errNotReady
	case len(t.own) >= t.lim.MaxStreams:
		return errStreams
	}
	return nil
}

func (t *streams) open(kind byte, tail string, primed bool) *reader {
	st := &stream{key: streamKey{kind, t.made}, tail: tail, primed: primed}
	t.made++
	if t.all == nil {
		t.all = map[streamKey]*stream{}
	}
	t.all[st.key] = st
	if primed {
		t.add(st, nil, false)
	}
	return t.attach(st, 0)
}

// resume gives the stream of an event a new reader, for what came after the event. It returns
// a nil reader if the stream is not known.
func (t *streams) resume(id eventID) (*reader, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	st := t.all[id.stream]
	if st == nil || id.inc != t.inc || t.ended {
		return nil, nil
	}
	if st.key.kind == ownStream {
		if err := t.closed(); err != nil && (st.reader == nil || !errors.Is(err, errStreams)) {
			return nil, err
		}
	}
	return t.attach(st, min(id.seq+1, st.next)), nil
}

// attach makes a reader the one of a stream, from an event on; the one before learns that it is
// not any more. t.mu is held.
func (t *streams) attach(st *stream, from uint64) *reader {
	r := &reader{st: st, at: from, wake: make(chan struct{}, 1)}
	if st.reader != nil {
		t.detached(st)
	}
	st.reader, st.taken, st.behind = r, from, 0
	t.attached.Add(1)
	for _, e := range st.events[st.from(from):] {
		st.behind += e.pending()
	}
	if st.key.kind == ownStream {
		t.own = append(t.own, st)
		for len(t.waiting.events) > 0 {
			t.move(t.waiting.events[0], st)
		}
	}
	return r
}

// pending is what an event counts for while the reader has not taken it.
func (e *entry) pending() int {
	if e.final {
		return 0
	}
	return e.cost()
}

// move makes an event that waits one of a stream. t.mu is held.
func (t *streams) move(e *entry, st *stream) {
	t.waiting.events = t.waiting.events[1:]
	e.st, e.seq = st, st.next
	st.next++
	st.events = append(st.events, e)
	st.behind += e.pending()
}

// detach says that a reader reads no more.
func (t *streams) detach(r *reader) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.st.reader == r {
		t.detached(r.st)
		t.tidy(r.st)
	}
}

// detached takes a stream's reader away. t.mu is held.
func (t *streams) detached(st *stream) {
	st.reader.nudge()
	st.reader, st.behind = nil, 0
	if !st.over {
		st.since = time.Now()
	}
	t.attached.Add(-1)
	if i := slices.Index(t.own, st); i >= 0 {
		t.own = slices.Delete(t.own, i, i+1)
	}
}

// tidy forgets a stream without a reader that cannot be resumed, or of which nothing is left, and
// reports whether it did. t.mu is held.
func (t *streams) tidy(st *stream) (forgotten bool) {
	if st.reader != nil || st.key.kind == 0 {
		return false
	}
	own := st.key.kind == ownStream
	switch {
	case t.ended, own && t.closing, (own || st.over) && len(st.events) == 0:
	case !own && st.taken == 0: // nobody has been told an event id
	default:
		return false
	}
	t.forget(st)
	return true
}

// forget drops a stream with all that is kept of it. t.mu is held.
func (t *streams) forget(st *stream) {
	delete(t.all, st.key)
	for len(st.events) > 0 {
		t.lost(st.events[0])
	}
	st.over = true
}

// take hands a reader what it has to write next.
func (t *streams) take(r *reader) portion {
	t.mu.Lock()
	defer t.mu.Unlock()
	st := r.st
	if st.reader != r {
		p := portion{over: true, taken: !r.cut}
		if r.cut {
			p.retry = r.retry
		}
		return p
	}
	var p portion
	i := st.from(r.at)
	size := 0
	for ; i < len(st.events) && (len(p.events) == 0 || size < maxPortion); i++ {
		e := st.events[i]
		p.events = append(p.events, e)
		size += e.cost()
		st.behind -= e.pending()
		r.at = e.seq + 1
	}
	st.taken = max(st.taken, r.at)
	p.more = i < len(st.events)
	if !p.more && (st.over || r.leave) {
		p.over, p.retry = true, r.retry
		if st.over {
			p.retry = 0
		}
	}
	return p
}

// offer adds a message to the stream of a call, now or for whoever comes back to it. its is false
// if nobody can; took, if there was no room.
func (t *streams) offer(st *stream, frame []byte) (took, its bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if st.over {
		return false, false
	}
	return t.add(st, frame, false), true
}

// write adds an event to the stream of a call; final says that it is the answer. It reports
// false if there was no room.
func (t *streams) write(st *stream, frame []byte, final bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.add(st, frame, final)
}

// add appends an event to a stream. t.mu is held.
func (t *streams) add(st *stream, frame []byte, final bool) bool {
	e := &entry{st: st, seq: st.next, at: time.Now(), frame: frame, final: final}
	switch {
	case st.over, t.ended && st.reader == nil:
		return false
	case final:
	case st.reader == nil && e.cost() > t.lim.LogBytes, !t.room(e.cost()):
		return false
	}
	st.next++
	st.events = append(st.events, e)
	e.place = t.log.PushBack(e)
	t.grow(e.cost())
	if final {
		st.over, st.since = true, e.at
	}
	if st.reader != nil {
		st.behind += e.pending()
		st.reader.nudge()
	}
	t.trim(e)
	return true
}

// conclude has the readers of streams leave once they have taken what there is. t.mu is held.
func (t *streams) conclude(all []*stream, retry time.Duration) {
	for _, st := range all {
		st.reader.leave, st.reader.retry = true, retry
		st.reader.nudge()
	}
}

// yield has the reader of a call's stream end it, and its client come back for the rest after a
// time, unless the client was given no event id to come back with.
func (t *streams) yield(st *stream, retry time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if st.primed && st.reader != nil && !st.over && !t.ended {
		t.conclude([]*stream{st}, retry)
	}
}

// closeOwn ends the session's own streams, and takes no new ones: their clients are to look for
// them elsewhere.
func (t *streams) closeOwn() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closing {
		t.closing = true
		t.conclude(t.own, parting)
	}
}

// end says that the session is not known any more. Its own streams end; those of calls go on for
// those who read them.
func (t *streams) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return
	}
	t.ended = true
	retry := time.Duration(0)
	if t.closing {
		retry = parting
	}
	t.conclude(t.own, retry)
	for _, st := range t.all {
		t.tidy(st)
	}
	for len(t.waiting.events) > 0 {
		t.lost(t.waiting.events[0])
	}
}
