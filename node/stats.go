package node

import "sync/atomic"

// counters count what happens on the node's links, all servers together.
type counters struct {
	droppedNotifications, droppedReplies, foreignLines  atomic.Int64
	strayAnswers, lateAnswers, unknownOutcomes, expired atomic.Int64
	sparesGiven, full, abandoned, idled, crashed        atomic.Int64
	cutReaders                                          atomic.Int64
	refusedAsks, endedAsks, lateReplies                 atomic.Int64
	queued                                              atomic.Int64 // bytes kept of streams, or about to be written to them
	tails                                               atomic.Int64 // bytes of stderr that are kept
}

// Stats are counts since the node was made.
type Stats struct {
	// DroppedNotifications could not be given to anyone: nobody's for certain, below the
	// session's log level, or more than its reader took.
	DroppedNotifications int64
	// DroppedReplies are answers to servers' requests that the server did not read.
	DroppedReplies int64
	// RefusedRequests of servers went to no client, since none could be told for certain, or it had
	// not declared what they need; EndedRequests got no answer from the client they were for, and
	// LateReplies are answers of clients to requests that had ended.
	RefusedRequests, EndedRequests, LateReplies int64
	// CutReaders are connections of clients that were closed because they read too slowly.
	CutReaders int64
	// ForeignLines are lines and events from servers that were not JSON-RPC messages.
	ForeignLines int64
	// StrayAnswers were to nothing that was asked; LateAnswers came after the call had been
	// given its outcome.
	StrayAnswers, LateAnswers int64
	// UnknownOutcomes are calls answered with error 1001.
	UnknownOutcomes int64
	// ExpiredSessions were idle for longer than the fleet keeps them.
	ExpiredSessions int64
	// Of isolated servers: SparesGiven are sessions that got a process started ahead,
	// RefusedFull those for which none was to be had, AbandonedWaits those whose clients went
	// away while they waited for room. What the process of a session knew was lost with
	// IdledSessions, which had no request for the server's idleTimeoutMs, and with
	// LostProcesses, which ended by themselves.
	SparesGiven, RefusedFull, AbandonedWaits, IdledSessions, LostProcesses int64
}

func (c *counters) stats() Stats {
	return Stats{
		DroppedNotifications: c.droppedNotifications.Load(),
		RefusedRequests:      c.refusedAsks.Load(),
		EndedRequests:        c.endedAsks.Load(),
		LateReplies:          c.lateReplies.Load(),
		CutReaders:           c.cutReaders.Load(),
		DroppedReplies:       c.droppedReplies.Load(),
		ForeignLines:         c.foreignLines.Load(),
		StrayAnswers:         c.strayAnswers.Load(),
		LateAnswers:          c.lateAnswers.Load(),
		UnknownOutcomes:      c.unknownOutcomes.Load(),
		ExpiredSessions:      c.expired.Load(),
		SparesGiven:          c.sparesGiven.Load(),
		RefusedFull:          c.full.Load(),
		AbandonedWaits:       c.abandoned.Load(),
		IdledSessions:        c.idled.Load(),
		LostProcesses:        c.crashed.Load(),
	}
}
