package node

import "time"

// How much of a session's streams is kept. A session may keep LogBytes. When that is too little,
// the oldest events go first that were taken by a reader or have none; then the slowest reader
// is cut off, whose events have none from then on; and at last answers that nobody has fetched,
// but never the event that has just come. So a slow reader loses nobody else's messages.

// trim drops what is too much after newest has come. t.mu is held.
func (t *streams) trim(newest *entry) {
	most := t.lim.LogBytes
	over := func() bool { return t.size > most }
	if st := newest.st; st.behind > most && st.stalled() {
		t.cut(st)
	}
	for over() && (t.dropSpare(newest, over) || t.cutSlowest()) {
		continue
	}
	for at := t.log.Front(); at != nil && over(); {
		e := at.Value.(*entry)
		at = at.Next()
		if e != newest && e.final && e.st.reader == nil {
			t.forget(e.st)
			at = t.log.Front()
		}
	}
}

// room makes room in what all sessions of the node keep, and reports false if this one has
// nothing to spare for it. t.mu is held.
func (t *streams) room(n int) bool {
	over := func() bool { return t.stats.queued.Load()+int64(n) > maxLogTotal }
	if over() {
		t.dropSpare(nil, over)
	}
	return !over()
}

// dropSpare drops the oldest events that nobody waits for while there is too much, but not
// newest. It reports whether it found any. t.mu is held.
func (t *streams) dropSpare(newest *entry, over func() bool) (found bool) {
	for at := t.log.Front(); at != nil && over(); {
		e := at.Value.(*entry)
		at = at.Next()
		if e == newest || !e.spare() {
			continue
		}
		t.lost(e)
		found = true
		if t.tidy(e.st) {
			at = t.log.Front() // the next one may have gone with it
		}
	}
	return found
}

// cutSlowest takes the reader away that has most to catch up on. It reports false if none has
// anything. t.mu is held.
func (t *streams) cutSlowest() bool {
	var slowest *stream
	for _, st := range t.all {
		if st.stalled() && (slowest == nil || st.behind > slowest.behind) {
			slowest = st
		}
	}
	if slowest == nil {
		return false
	}
	t.cut(slowest)
	return true
}

// cut takes the reader of a stream away. One of an own stream is told to come back: an end without
// that means that the stream is somebody else's now. t.mu is held.
func (t *streams) cut(st *stream) {
	st.reader.cut = true
	if st.reader.retry = 0; st.key.kind == ownStream {
		st.reader.retry = parting
	}
	t.detached(st)
	t.stats.cutReaders.Add(1)
	t.tidy(st)
}

// lost drops an event, and counts it if no reader has had it. t.mu is held.
func (t *streams) lost(e *entry) {
	if e.seq >= e.st.taken && len(e.frame) > 0 && !e.final {
		t.stats.droppedNotifications.Add(1)
	}
	t.drop(e)
}

// drop forgets an event. t.mu is held.
func (t *streams) drop(e *entry) {
	t.log.Remove(e.place)
	t.grow(-e.cost())
	st := e.st
	if st.events[0] == e {
		st.events[0] = nil
		st.events = st.events[1:]
		return
	}
	i := st.from(e.seq)
	st.events = append(st.events[:i], st.events[i+1:]...)
}

func (t *streams) grow(n int) {
	t.size += n
	t.stats.queued.Add(int64(n))
}

// shed forgets what age does, and of the streams of calls that go on what is spare. Readers that have
// not taken what was there before limit are cut off first.
func (t *streams) shed(limit time.Time) {
	t.mu.Lock()
	for _, st := range t.all {
		if st.stalled() && st.events[st.from(st.taken)].at.Before(limit) {
			t.cut(st)
		}
	}
	for at := t.log.Front(); at != nil; {
		e := at.Value.(*entry)
		if at = at.Next(); !e.at.Before(limit) {
			break
		}
		if e.spare() {
			t.lost(e)
			if t.tidy(e.st) {
				at = t.log.Front()
			}
		}
	}
	t.mu.Unlock()
	t.age(limit)
}

// age forgets what has been kept since before limit: messages of own streams since they came, the
// streams of calls since the answer, and own streams without a reader since it left.
func (t *streams) age(limit time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, st := range t.all {
		switch {
		case st.key.kind == callStream && !st.over:
		case st.reader == nil && st.since.Before(limit):
			t.forget(st)
		case st.key.kind == ownStream && st.reader != nil:
			for len(st.events) > 0 && st.events[0].at.Before(limit) && st.events[0].seq < st.taken {
				t.drop(st.events[0])
			}
		}
	}
	for w := &t.waiting; len(w.events) > 0 && w.events[0].at.Before(limit); {
		t.lost(w.events[0])
	}
}
