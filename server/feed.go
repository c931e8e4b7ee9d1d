package server

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// Figures of following events.
const (
	feedBuffer = 256 // events that a follower may be behind
	feedPage   = 200 // events in one read
)

// feed hands new events to everyone who follows them: however many follow, one reader asks the
// store. Safe for concurrent use.
type feed struct {
	store Store
	every time.Duration
	most  int

	mu        sync.Mutex
	followers map[*follower]bool
	last      string // id of the last event that was handed out; kept while somebody follows
	over      bool
}

// follower is one who follows. Its events are closed when it is to go: it was too slow, or the
// replica stops.
type follower struct{ events chan store.Event }

func newFeed(st Store, every time.Duration, most int) *feed {
	return &feed{store: st, every: every, most: most, followers: map[*follower]bool{}}
}

// run hands out events until ctx ends, and then sends everyone home.
func (f *feed) run(ctx context.Context) {
	tick := time.NewTicker(f.every)
	defer tick.Stop()
	defer f.close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f.read(ctx)
		}
	}
}

// read asks for what is new, if anybody wants to know. An error is no matter: the next read asks
// for the same.
func (f *feed) read(ctx context.Context) {
	for {
		last, wanted := f.at()
		if !wanted {
			return
		}
		events, err := f.store.EventsAfter(ctx, last, feedPage)
		if err != nil || len(events) == 0 {
			return
		}
		f.hand(events)
		if len(events) < feedPage {
			return
		}
	}
}

func (f *feed) at() (last string, wanted bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last, len(f.followers) > 0
}

// hand gives events to everyone.
func (f *feed) hand(events []store.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = events[len(events)-1].ID
	for _, e := range events {
		for fo := range f.followers {
			select {
			case fo.events <- e:
			default: // it asks again for what it has missed
				delete(f.followers, fo)
				close(fo.events)
			}
		}
	}
}

// join adds a follower, which is to be taken off with leave, and gives the events after the one
// with the id from, as far as one read goes; a from that is empty, or comes after the id of the
// newest event, becomes that one.
//
// The follower may get events twice, and some before from; none after it are left out between
// the ones returned, those that EventsAfter gives for the rest, and those of its channel.
func (f *feed) join(ctx context.Context, from string) (fo *follower, start string, missed []store.Event, err error) {
	newest, err := f.store.Events(ctx, 1)
	if err != nil {
		return nil, "", nil, err
	}
	last := ""
	if len(newest) > 0 {
		last = newest[0].ID
	}
	if fo, err = f.add(last); err != nil {
		return nil, "", nil, err
	}
	start = cmp.Or(from, last)
	missed, err = f.store.EventsAfter(ctx, start, feedPage)
	if err == nil && start != last && newer(start, last) {
		// No event has such an id, or none has any more: after it nothing would come for long.
		start = last
		missed, err = f.store.EventsAfter(ctx, start, feedPage)
	}
	if err != nil {
		f.leave(fo)
		if errors.Is(err, store.ErrInvalid) {
			err = refuse(http.StatusBadRequest, "Last-Event-ID: want the id of an event, as in 1767268800000-0")
		}
		return nil, "", nil, err
	}
	return fo, start, missed, nil
}

// add makes a follower. last is the newest event there was a moment ago.
func (f *feed) add(last string) (*follower, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.over:
		return nil, refuse(http.StatusServiceUnavailable, "this replica is stopping; another one takes it from here")
	case len(f.followers) >= f.most:
		return nil, refuse(http.StatusServiceUnavailable, strconv.Itoa(f.most)+" clients follow the events at this replica already; try again")
	case len(f.followers) == 0:
		f.last = last
	}
	fo := &follower{events: make(chan store.Event, feedBuffer)}
	f.followers[fo] = true
	return fo, nil
}

// leave takes a follower off; it may be gone already.
func (f *feed) leave(fo *follower) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.followers, fo)
}

func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
	for fo := range f.followers {
		delete(f.followers, fo)
		close(fo.events)
	}
}

// newer says whether the event id a comes after b, both as Redis writes them; every id comes
// after the empty one.
func newer(a, b string) bool {
	if b == "" {
		return true
	}
	ams, aseq := splitID(a)
	bms, bseq := splitID(b)
	return ams > bms || ams == bms && aseq > bseq
}

func splitID(id string) (ms, seq uint64) {
	left, right, _ := strings.Cut(id, "-")
	ms, _ = strconv.ParseUint(left, 10, 64) // what Redis did not write counts as zero
	seq, _ = strconv.ParseUint(right, 10, 64)
	return ms, seq
}
