package node

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// newStreams are the streams of a session that may keep so much.
func newStreams(logBytes int) *streams {
	cfg := Config{LogBytes: logBytes}.withDefaults()
	return &streams{inc: "abcdefgh", lim: &cfg, stats: &counters{}}
}

// read takes all that there is for a reader, "-" for an event that primes and "." for the end.
func read(t *streams, r *reader) string {
	var all []string
	for {
		p := t.take(r)
		for _, e := range p.events {
			if len(e.frame) == 0 {
				all = append(all, "-")
			} else {
				all = append(all, string(e.frame[:min(len(e.frame), 8)]))
			}
		}
		if p.over {
			return strings.Join(append(all, "."), " ")
		}
		if !p.more {
			return strings.Join(all, " ")
		}
	}
}

func (t *streams) mustOpen(tb testing.TB, primed bool) *reader {
	tb.Helper()
	r, err := t.openOwn(primed)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// eventOf is the id of an event of a reader's stream.
func (t *streams) eventOf(r *reader, seq uint64) eventID {
	return eventID{inc: t.inc, stream: r.st.key, seq: seq}
}

// says compares what a reader gets.
func says(tb testing.TB, what, got, want string) {
	tb.Helper()
	if got != want {
		tb.Errorf("%s: %q, want %q", what, got, want)
	}
}

// empty fails if the books are wrong after everything has been forgotten.
func (t *streams) isEmpty(tb testing.TB) {
	tb.Helper()
	if len(t.all) != 0 || t.size != 0 || t.log.Len() != 0 || t.stats.queued.Load() != 0 || t.attached.Load() != 0 || len(t.own) != 0 {
		tb.Errorf("left: %d streams, %d bytes in %d events, %d in all, %d readers, %d own", len(t.all), t.size, t.log.Len(),
			t.stats.queued.Load(), t.attached.Load(), len(t.own))
	}
}

func big(name string, n int) []byte { return []byte(name + strings.Repeat(" ", n-len(name))) }

func TestAMessageGoesToOneStreamTheLatestOrTheNext(t *testing.T) {
	s := newStreams(0)
	s.tell([]byte("early1"))
	s.tell([]byte("early2"))
	a := s.mustOpen(t, true)
	b := s.mustOpen(t, false)
	s.tell([]byte("for-b"))
	says(t, "the first stream", read(s, a), "- early1 early2")
	says(t, "the latest stream", read(s, b), "for-b")
	s.detach(b)
	s.tell([]byte("for-a"))
	s.detach(a)
	s.tell([]byte("late"))
	again, err := s.resume(s.eventOf(a, 2))
	if err != nil || again == nil {
		t.Fatalf("resume: %v, %v", again, err)
	}
	says(t, "the first stream, resumed", read(s, again), "for-a late")
	says(t, "its reader before", read(s, a), ".")
	if b, err := s.resume(s.eventOf(b, 0)); err != nil || b == nil || read(s, b) != "" {
		t.Errorf("the second stream, resumed: %v, %v, or it says something", b, err)
	}
	s.end()
	says(t, "after the end", read(s, again), ".")
	s.detach(again)
	if s.tell([]byte("x")) {
		t.Error("an ended session takes messages")
	}
}

func TestAMessageThatWaitsCanBeTakenBack(t *testing.T) {
	s := newStreams(0)
	first, second := []byte("first"), []byte("second")
	s.tell(first)
	s.tell(second)
	if !s.withdraw(first) || s.withdraw(first) {
		t.Error("a message that waits is taken back not exactly once")
	}
	r := s.mustOpen(t, false)
	says(t, "the stream", read(s, r), "second")
	if s.withdraw(second) {
		t.Error("a message was taken back from a stream")
	}
}

func TestNewestReaderWins(t *testing.T) {
	s := newStreams(0)
	old := s.openCall([]byte("1"), true)
	s.write(old.st, []byte("one"), false)
	says(t, "the first reader", read(s, old), "- one")
	r, _ := s.resume(s.eventOf(old, 0))
	says(t, "the first reader, after the second came", read(s, old), ".")
	s.detach(old) // which is nothing to the new one
	s.write(old.st, []byte("answer"), true)
	says(t, "the second reader", read(s, r), "one answer .")
	s.detach(r)
	if s.write(old.st, []byte("more"), false) {
		t.Error("a stream takes messages after the answer")
	}
	r, _ = s.resume(s.eventOf(old, 1))
	says(t, "a reader after the end", read(s, r), "answer .")
	s.detach(r)
	if r, err := s.resume(eventID{inc: "00000000", stream: old.st.key}); r != nil || err != nil {
		t.Errorf("another session's stream: %v, %v", r, err)
	}
	s.end()
	s.isEmpty(t)
}

func TestStreamsByGetAreBounded(t *testing.T) {
	s := newStreams(0)
	s.lim.MaxStreams = 2
	a, _ := s.mustOpen(t, true), s.mustOpen(t, true)
	if _, err := s.openOwn(true); err != errStreams { //nolint:errorlint // it is that one
		t.Errorf("a third stream: %v, want errStreams", err)
	}
	again, err := s.resume(s.eventOf(a, 0))
	if err != nil || again == nil {
		t.Fatalf("one of the two, resumed while it is read: %v, %v", again, err)
	}
	s.detach(again)
	s.mustOpen(t, true)
	if _, err := s.resume(s.eventOf(a, 0)); err != errStreams { //nolint:errorlint // it is that one
		t.Errorf("a third stream, by resuming: %v, want errStreams", err)
	}
}

// The oldest messages go first; answers stay while nobody has had them.
func TestLogIsBoundedInBytes(t *testing.T) {
	s := newStreams(10_000)
	begin := func(id string) *reader { // its client is gone, and may come back
		r := s.openCall([]byte(id), true)
		says(t, "a call's stream", read(s, r), "-")
		s.detach(r)
		return r
	}
	c := begin("1")
	for i := range 20 {
		if !s.write(c.st, big(fmt.Sprint("note", i), 1000), false) {
			t.Fatalf("no room for message %d", i)
		}
	}
	if s.size > 10_000 {
		t.Errorf("%d bytes are kept, want 10000 at most", s.size)
	}
	s.write(c.st, big("answer", 3000), true)
	d := begin("2")
	s.write(d.st, big("another", 6000), true)
	if s.size > 10_000 {
		t.Errorf("%d bytes are kept, want 10000 at most", s.size)
	}
	r, _ := s.resume(s.eventOf(c, 0))
	says(t, "the rest of the stream", read(s, r), "answer   .")
	s.detach(r)
	if n := s.stats.droppedNotifications.Load(); n != 20 {
		t.Errorf("%d messages are counted as dropped, want 20", n)
	}
	// An answer that has been had makes room for one that has not; of those, for the newest.
	e := begin("3")
	s.write(e.st, big("third", 9000), true)
	if r, _ := s.resume(s.eventOf(c, 0)); r != nil {
		t.Error("the first answer, which was had, is still there")
	}
	if r, _ := s.resume(s.eventOf(d, 0)); r != nil {
		t.Error("the second answer is still there, beyond the bound")
	}
	r, _ = s.resume(s.eventOf(e, 0))
	says(t, "the newest answer", read(s, r), "third    .")
	s.end()
	s.detach(r)
	s.isEmpty(t)
}

func TestMessagesThatWaitAreBounded(t *testing.T) {
	s := newStreams(5000)
	for i := range 10 {
		s.tell(big(fmt.Sprint("m", i), 1000))
	}
	if s.tell(big("huge", 6000)) {
		t.Error("a message larger than the bound waits")
	}
	r := s.mustOpen(t, false)
	says(t, "the next stream", read(s, r), "m6       m7       m8       m9      ")
	if !s.tell(big("huge", 6000)) {
		t.Error("a message larger than the bound is not given to a stream")
	}
	says(t, "the stream", read(s, r), "huge    ")
}

func TestSlowReaderIsCutAndNobodyElse(t *testing.T) {
	s := newStreams(10_000)
	slow := s.openCall([]byte("1"), true)
	says(t, "the slow reader", read(s, slow), "-")
	fast := s.openCall([]byte("2"), true)
	for i := range 30 {
		s.write(slow.st, big("noise", 1000), false)
		s.write(fast.st, big(fmt.Sprint("m", i), 100), false)
		if got, want := strings.TrimPrefix(read(s, fast), "- "), fmt.Sprint("m", i); strings.TrimSpace(got) != want {
			t.Fatalf("the fast reader got %q, want %q", got, want)
		}
	}
	says(t, "the slow reader", read(s, slow), ".")
	if n := s.stats.cutReaders.Load(); n != 1 {
		t.Errorf("%d readers are counted as cut, want 1", n)
	}
	// It comes back, and has the latest.
	s.write(slow.st, []byte("answer"), true)
	r, _ := s.resume(s.eventOf(slow, 0))
	if got := read(s, r); !strings.HasSuffix(got, "noise    answer .") {
		t.Errorf("the slow reader, back again, got %q", got)
	}
}

// An own stream that just ends is somebody else's now. One that was cut off is not, and says so.
func TestSlowReaderOfAnOwnStreamIsToComeBack(t *testing.T) {
	s := newStreams(10_000)
	slow := s.mustOpen(t, true)
	for range 30 {
		s.tell(big("noise", 1000))
	}
	if slow.st.reader != nil {
		t.Fatal("the slow reader was not cut off")
	}
	if p := s.take(slow); !p.over || p.retry == 0 || p.taken {
		t.Errorf("the slow reader got %+v, want an end that says to come back", p)
	}
	taken := s.mustOpen(t, true)
	if r, err := s.resume(s.eventOf(taken, 0)); err != nil || r == nil {
		t.Fatal(err, r)
	}
	if p := s.take(taken); !p.over || p.retry != 0 || !p.taken {
		t.Errorf("a reader whose stream was taken got %+v, want the mere end", p)
	}
}

// Several readers that are slow together are cut, the slowest first, when together they have
// too much.
func TestSlowReadersShareTheBound(t *testing.T) {
	s := newStreams(10_000)
	var readers []*reader
	for i := range 5 {
		r := s.openCall(fmt.Append(nil, i), false)
		readers = append(readers, r)
		for range i {
			s.write(r.st, big("noise", 1200), false)
		}
	}
	var left []int
	for i, r := range readers {
		if r.st.reader == r {
			left = append(left, i)
		}
	}
	if !slices.Equal(left, []int{0, 1, 2, 4}) || s.size > 10_000 {
		t.Errorf("readers %v are left with %d bytes, want all but 3, which was the slowest when it was too much", left, s.size)
	}
}

func TestNodeKeepsNoMoreThanItsBound(t *testing.T) {
	s := newStreams(0)
	r := s.mustOpen(t, true)
	s.tell(big("had", 1000))
	read(s, r)
	s.stats.queued.Add(maxLogTotal - int64(s.size))
	if !s.tell([]byte("one")) {
		t.Error("no room for a message, while there is one that has been had")
	}
	s.stats.queued.Store(maxLogTotal)
	if s.tell([]byte("two")) {
		t.Error("a message is kept beyond the bound of the node")
	}
	c := s.openCall([]byte("1"), false)
	if !s.write(c.st, []byte("answer"), true) {
		t.Error("an answer was dropped")
	}
	says(t, "the stream", read(s, r), "one")
	says(t, "the call's", read(s, c), "answer .")
}

func TestLogIsForgottenWithTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(0)
		age := func() { s.age(time.Now().Add(-5 * time.Minute)) }
		own, gone := s.mustOpen(t, true), s.mustOpen(t, true)
		open, over := s.openCall([]byte("1"), true), s.openCall([]byte("2"), true)
		for _, r := range []*reader{own, gone, open, over} {
			says(t, "the beginning", read(s, r), "-")
		}
		s.detach(gone)
		s.detach(open)
		s.write(over.st, []byte("answer"), true)
		s.detach(over)
		s.tell([]byte("had"))
		read(s, own)
		time.Sleep(4 * time.Minute)
		age()
		if len(s.all) != 4 {
			t.Fatalf("%d streams after 4 minutes, want 4", len(s.all))
		}
		s.tell([]byte("unread"))
		s.write(open.st, []byte("note"), false)
		time.Sleep(2 * time.Minute)
		age()
		if len(s.all) != 2 || s.all[own.st.key] == nil || s.all[open.st.key] == nil {
			t.Errorf("%d streams after 6 minutes, want the one that is read and the one whose call is open", len(s.all))
		}
		s.write(open.st, []byte("answer"), true)
		time.Sleep(4 * time.Minute)
		age()
		r, _ := s.resume(s.eventOf(open, 0))
		says(t, "4 minutes after the answer", read(s, r), "note answer .")
		s.detach(r)
		says(t, "a stream that nobody has read for long", read(s, own), "unread")
		s.detach(own)
		s.tell([]byte("waits"))
		time.Sleep(6 * time.Minute)
		age()
		s.isEmpty(t)
		if n := s.stats.droppedNotifications.Load(); n != 1 {
			t.Errorf("%d messages are counted as dropped, want the one that waited", n)
		}
	})
}

func TestEndedSessionsStreams(t *testing.T) {
	s := newStreams(0)
	own := s.mustOpen(t, true)
	heard, gone := s.openCall([]byte("1"), true), s.openCall([]byte("2"), true)
	says(t, "a stream", read(s, gone), "-")
	s.detach(gone)
	s.end()
	s.end()
	if !s.write(heard.st, []byte("answer"), true) {
		t.Error("a call that is read has no answer any more")
	}
	if s.write(gone.st, []byte("answer"), true) {
		t.Error("an answer is kept that nobody can fetch")
	}
	if _, err := s.openOwn(true); err != errSessionUnknown { //nolint:errorlint // it is that one
		t.Errorf("a stream of an ended session: %v", err)
	}
	for _, r := range []*reader{own, heard} {
		if p := s.take(r); !p.over || p.retry != 0 {
			t.Errorf("a stream goes on after the end of its session, or asks to come back")
		}
		s.detach(r)
	}
	s.isEmpty(t)
}

// A node that is about to stop has own streams that nobody will come back to. They make room first.
func TestRoomIsMadeWhileOwnStreamsEnd(t *testing.T) {
	s := newStreams(10_000)
	own := s.mustOpen(t, true)
	for range 5 {
		s.tell(big("own", 1000))
	}
	read(s, own)
	s.detach(own)
	s.closeOwn()
	c := s.openCall([]byte("1"), true)
	read(s, c)
	s.write(c.st, big("noise", 20_000), false)
	read(s, c)
	s.write(c.st, []byte("answer"), true)
	says(t, "the call", read(s, c), "answer .")
	s.end()
	s.detach(c)
	s.isEmpty(t)
}

// Readers that do not take what they are told hold the room of all only until the node is short of it.
func TestStalledReadersMakeRoomForOtherSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stats := &counters{}
		session := func() *streams {
			s := newStreams(0)
			s.stats = stats
			return s
		}
		var all []*streams
		for i := range 100 {
			s := session()
			if i%2 == 0 {
				s.mustOpen(t, true)
			} else {
				s.openCall([]byte("1"), true)
			}
			for _, st := range s.all {
				s.take(st.reader)
				for range 9 {
					s.write(st, big("noise", 100<<10), false)
				}
			}
			all = append(all, s)
		}
		other := session()
		r := other.mustOpen(t, false)
		if other.tell(big("one", 200<<10)) {
			t.Fatal("there is room although all are stalled; this test does not show anything")
		}
		time.Sleep(time.Second)
		for _, s := range all {
			s.shed(time.Now().Add(-time.Millisecond))
		}
		if !other.tell(big("two", 200<<10)) {
			t.Errorf("no room for another session, with %d bytes kept", stats.queued.Load())
		}
		says(t, "the other session", strings.TrimSpace(read(other, r)), "two")
		for i, s := range all { // the calls are not over, and have an answer
			for _, st := range s.all {
				if i%2 == 1 && !s.write(st, []byte("answer"), true) {
					t.Fatal("the answer of a call was lost")
				}
			}
		}
	})
}
