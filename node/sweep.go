package node

import (
	"strconv"
	"time"
)

const (
	// cancelGrace is how long a cancelled call waits for an answer the server need not give.
	cancelGrace = 2 * time.Second
	// maxGhosts bounds the settled calls that are kept because the server may still be working
	// on them, so that what it says meanwhile is not taken for another session's. Beyond it
	// they are forgotten, and with them what is said on the shared stream.
	maxGhosts = 4096
)

// sweep settles calls that have waited too long and forgets those the server will not answer. A
// call whose client is being asked something takes as long as people do, unless the settings name
// a time for this server.
func (l *link) sweep() {
	now := int64(l.now())
	limit := int64(l.lim.CallTimeout)
	var late, cancelled []*call
	l.mu.Lock()
	for _, c := range l.calls {
		at := c.cancelled.Load()
		switch {
		case !c.open:
			if l.blind || now-c.since > limit {
				l.releaseLocked(c)
			}
		case at != 0 && now-at > int64(cancelGrace):
			cancelled = append(cancelled, c)
		case now-c.active.Load() > limit && !(l.patient && l.awaits(c)):
			late = append(late, c)
		}
	}
	l.mu.Unlock()
	l.sweepAsks()
	for _, c := range cancelled {
		l.abandon(c, "cancelled")
	}
	for _, c := range late {
		if l.abandon(c, "call_timeout") {
			l.post(cancelledFrame(c.up))
		}
	}
}

// eachStreams does something with the streams of each session.
func (l *link) eachStreams(f func(*streams)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ses := range l.sessions {
		f(&ses.streams)
	}
}

// ageStreams forgets what has been kept of streams for too long.
func (n *Node) ageStreams(most time.Duration) {
	limit := time.Now().Add(-most)
	n.eachLink(func(l *link) { l.eachStreams(func(t *streams) { t.age(limit) }) })
}

// shed forgets what is kept of streams before its time, the oldest first, while all sessions
// together keep nearly too much: the room is for those that come next.
func (n *Node) shed() {
	for most := n.cfg.LogAge / 2; n.stats.queued.Load() > maxLogTotal/4*3 && most > time.Millisecond; most /= 2 {
		limit := time.Now().Add(-most)
		n.eachLink(func(l *link) { l.eachStreams(func(t *streams) { t.shed(limit) }) })
	}
}

// abandon settles a call that the server has not answered and ends our own part in it.
func (l *link) abandon(c *call, reason string) bool {
	if !l.giveUp(c, reason) {
		return false
	}
	c.stop()
	return true
}

func cancelledFrame(id int64) []byte {
	frame := []byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":`)
	frame = strconv.AppendInt(frame, id, 10)
	return append(frame, `,"reason":"no answer in time"}}`+"\n"...)
}
