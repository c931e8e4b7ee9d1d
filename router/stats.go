package router

import "sync/atomic"

// Stats is what a router has done since it was made, and what it holds now.
type Stats struct {
	CachedSessions int `json:"cachedSessions"` // sessions remembered here
	InFlight       int `json:"inFlight"`       // requests being carried
	Suspects       int `json:"suspects"`       // nodes that this replica does not try at the moment
	Streams        int `json:"streams"`        // answers that are being passed on as streams
	OpenStreams    int `json:"openStreams"`    // streams that clients have opened with GET

	Carried        int64 `json:"carried"`        // requests taken up
	Started        int64 `json:"started"`        // sessions begun
	Ended          int64 `json:"ended"`          // sessions ended on request
	Opened         int64 `json:"opened"`         // upstream sessions opened by the router itself
	Moved          int64 `json:"moved"`          // places changed because a node failed
	Followed       int64 `json:"followed"`       // places where another coordinator was first
	Retried        int64 `json:"retried"`        // messages sent a second time
	OutcomeUnknown int64 `json:"outcomeUnknown"` // answers with error 1001
	NotExecuted    int64 `json:"notExecuted"`    // answers with error 1002
	Lost           int64 `json:"lost"`           // sessions that could not be moved
	Unknown        int64 `json:"unknown"`        // requests with a session id that is no session's
	Recovered      int64 `json:"recovered"`      // sessions written back to a store that had lost them
	StoreReads     int64 `json:"storeReads"`     // sessions read from the store by requests
	Dropped        int64 `json:"dropped"`        // announcements that did not fit the queue
	Resumed        int64 `json:"resumed"`        // answers that broke off and were taken up again
	Unanswerable   int64 `json:"unanswerable"`   // answers of clients to servers whose node was gone
}

type counters struct {
	inFlight, streams                                              atomic.Int64
	carried, started, ended, opened, moved, followed, retried      atomic.Int64
	outcomeUnknown, notExecuted, lost, unknown, recovered, dropped atomic.Int64
	storeReads, resumed, unanswerable                              atomic.Int64
}

// Stats reads the counters. They are read one after the other, not at one moment.
func (r *Router) Stats() Stats {
	c := &r.stats
	return Stats{
		CachedSessions: r.cache.Len(), InFlight: int(c.inFlight.Load()), Suspects: r.suspects.len(),
		Streams: int(c.streams.Load()), OpenStreams: r.gets.len(), Resumed: c.resumed.Load(), Unanswerable: c.unanswerable.Load(),
		Carried: c.carried.Load(), Started: c.started.Load(), Ended: c.ended.Load(), Opened: c.opened.Load(),
		Moved: c.moved.Load(), Followed: c.followed.Load(), Retried: c.retried.Load(),
		OutcomeUnknown: c.outcomeUnknown.Load(), NotExecuted: c.notExecuted.Load(), Lost: c.lost.Load(),
		Unknown: c.unknown.Load(), Recovered: c.recovered.Load(), StoreReads: c.storeReads.Load(), Dropped: c.dropped.Load(),
	}
}
