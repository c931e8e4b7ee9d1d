package node

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcphub-go/mcphub/internal/telemetry"
)

// Bounds of what one call keeps in the moment before its answer becomes a stream. Notifications
// beyond them are dropped and counted; an answer never is.
const (
	maxQueued      = 1024
	maxQueuedBytes = 256 << 10
)

// Stages of a call on its way to the server.
const (
	stageQueued int32 = iota
	stageSent         // bytes of it may have reached the server
	stageBarred       // it was given up before that, and must not be sent any more
)

// call is one request, from its registration with a link to its outcome. The link decides the
// outcome; whoever waits for it reads events and outcome as they come.
type call struct {
	// These do not change.
	ses    *session // nil for the node's own
	id     []byte   // the client's id, as written
	token  []byte   // the client's progress token, as written; nil for none
	method string
	from   origin
	up     int64         // our id and progress token towards the server
	queued *atomic.Int64 // bytes of events of all calls and streams

	stage     atomic.Int32
	active    atomic.Int64 // when it last showed life, in time since epoch of the link
	cancelled atomic.Int64 // when its client cancelled it; 0 for not
	outcome   atomic.Int32 // telemetry.Outcome, as far as it is known before finish

	open  bool  // without an outcome; guarded by link.mu
	since int64 // when it got one though the server still works on it; guarded by link.mu

	mu     sync.Mutex // guards the rest
	stream *stream    // that the answer has become; nil for none
	events [][]byte   // until then
	size   int        // of events
	answer []byte
	err    error // instead of an answer: certainly not executed
	done   bool
	deaf   bool          // nobody reads any more, or can
	retry  time.Duration // see suggestRetry; 0 for not suggested
	abort  func()        // ends the upstream's own work for the call
	wake   chan struct{}
}

// outcome is what a call has for whoever waits for it: once done, either an answer or the reason
// why the call was certainly not executed. talks says that there are notifications to go before
// it, for which the answer has to become a stream; parts, that a client that knows streams which
// end before the answer is to be told to come back for it.
type outcome struct {
	talks  bool
	parts  bool
	done   bool
	answer []byte
	err    error
}

// begin claims the right to send the call; it reports false if it was given up.
func (c *call) begin() bool { return c.stage.CompareAndSwap(stageQueued, stageSent) }

// bar gives the call up unless it may have been sent.
func (c *call) bar() bool { return c.stage.CompareAndSwap(stageQueued, stageBarred) }

// again allows a call that was provably not executed to be sent once more.
func (c *call) again() bool { return c.stage.CompareAndSwap(stageSent, stageQueued) }

// finish sets the outcome. Later ones are ignored.
func (c *call) finish(answer []byte, err error) {
	c.mu.Lock()
	if c.done {
		c.mu.Unlock()
		return
	}
	c.done = true
	switch {
	case c.stream != nil:
		c.ses.streams.write(c.stream, c.message(answer, err), true)
	case !c.deaf:
		c.answer, c.err = answer, err
	}
	c.mu.Unlock()
	c.nudge()
	c.from.ended(c.fate(err))
}

// message is the outcome as the last message of a stream.
func (c *call) message(answer []byte, err error) []byte {
	if err != nil {
		return notExecuted(c.id, err)
	}
	return answer
}

// deliver gives a notification to the reader. It reports false if it was dropped.
func (c *call) deliver(frame []byte) bool {
	took, its := c.offer(frame)
	return took && its
}

// offer gives a message to the reader, now or when there is one again. its is false if the call
// has an outcome, or nobody who can have messages with it; took, if there was no room.
func (c *call) offer(frame []byte) (took, its bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.done || c.deaf || !c.from.streams:
		return false, false
	case c.stream != nil:
		return c.ses.streams.offer(c.stream, frame)
	case len(c.events) >= maxQueued, c.size+len(frame) > maxQueuedBytes, c.queued.Load() > maxLogTotal:
		return false, true
	}
	c.events = append(c.events, frame)
	c.size += len(frame)
	c.queued.Add(int64(len(frame)))
	c.nudge()
	return true, true
}

// unfold makes the answer a stream and returns its reader. What there is already is on it.
func (c *call) unfold(primed bool) *reader {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.ses.streams
	r := t.openCall(c.id, primed)
	c.stream = r.st
	for _, frame := range c.events {
		if !t.write(c.stream, frame, false) {
			t.stats.droppedNotifications.Add(1)
		}
	}
	c.empty()
	if c.done {
		t.write(c.stream, c.message(c.answer, c.err), true)
		c.answer, c.err = nil, nil
	} else if c.retry > 0 {
		t.yield(c.stream, c.retry)
	}
	return r
}

// suggestRetry is for an upstream whose server has closed the stream of the call before the
// answer, and takes it up again after a time: the client's own connection is given up too, if
// it has been told how to come back, and with the same time to wait (MCP 2025-11-25, Transports,
// Sending Messages to the Server).
func (c *call) suggestRetry(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stream != nil {
		c.ses.streams.yield(c.stream, d)
		return
	}
	c.retry = d // for when it is one
	c.nudge()
}

// fate is how the call ended, for the metrics; err is what finish was given.
func (c *call) fate(err error) telemetry.Outcome {
	if err != nil {
		return telemetry.OutcomeRefused
	}
	return telemetry.Outcome(c.outcome.Load()) //nolint:gosec // only ever one of the constants
}

// finished reports whether there is an outcome.
func (c *call) finished() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done
}

func (c *call) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// take hands over how far the call is. There may be more whenever wake fires.
func (c *call) take() outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	return outcome{talks: len(c.events) > 0, parts: c.retry > 0 && !c.done, done: c.done, answer: c.answer, err: c.err}
}

// hangUp says that nobody waits any more, and nobody can come back for the answer. The call goes
// on: a lost connection is not a cancellation (MCP 2025-11-25, Transports, Sending Messages).
func (c *call) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deaf = true
	c.empty()
}

// empty forgets the events. c.mu is held.
func (c *call) empty() {
	c.queued.Add(int64(-c.size))
	c.events, c.size = nil, 0
}

// onAbort sets what ends the upstream's work for the call.
func (c *call) onAbort(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.abort = f
}

func (c *call) stop() {
	c.mu.Lock()
	f := c.abort
	c.mu.Unlock()
	if f != nil {
		f()
	}
}

func (c *call) touch(now time.Duration) { c.active.Store(int64(now)) }
