package router

import (
	"slices"
	"sync"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// Dispatch says how far a message got on its way to a node. It decides whether the message may
// go to another one.
//
// A client's answer to a request of a server goes to no other node than the one that asked, and
// may be sent to that one again however far it got: a node takes the first answer to a request and
// drops the others.
type Dispatch uint8

// The dispatch states.
const (
	// Queued: no connection was chosen.
	Queued Dispatch = iota
	// NotSent: dialling or TLS failed, or the connection died with no byte of the request
	// written, by our own count.
	NotSent
	// Refused: the node said that it would not run it (wire.HeaderRefused).
	Refused
	// PossiblyReceived: some byte of the request was written and none of an answer was read.
	PossiblyReceived
	// Answered: some byte of an answer was read.
	Answered
)

func (d Dispatch) String() string { return [...]string{"D0", "D1", "D2", "D3", "D4"}[d] }

// NotRun says that the message has certainly not run.
func (d Dispatch) NotRun() bool { return d <= Refused }

// safeMethods may be run twice: they read. tools/call is not among them, whatever a tool says
// of itself, and neither is any notification.
var safeMethods = []string{
	"completion/complete", "ping", "prompts/get", "prompts/list", "resources/list",
	"resources/read", "resources/templates/list", "server/discover", "tools/list",
}

// repeatable says that running a message twice does no harm.
func repeatable(f *wire.Frame) bool {
	return f.Kind == wire.Request && slices.Contains(safeMethods, f.Method)
}

// Figures of the retry budget. They bound what a struggling fleet is asked to do again:
// one in ten calls, and a few in any case so that a quiet replica can retry at all.
const (
	budgetShare  = 0.1
	budgetFloor  = 10
	budgetWindow = 10 * time.Second
)

// budget bounds how often a message that may already have been received is sent again. What
// certainly was not received is not charged: it asks no node for anything twice. Safe for
// concurrent use.
type budget struct {
	now func() time.Time

	mu      sync.Mutex
	start   time.Time // of the current window
	calls   int       // in the current and the last window
	retries int
	before  struct{ calls, retries int } // the last window's part of both
}

// call counts a call.
func (b *budget) call() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.roll()
	b.calls++
}

// take asks for one retry and counts it if it is granted.
func (b *budget) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.roll()
	if float64(b.retries) >= max(budgetFloor, budgetShare*float64(b.calls)) {
		return false
	}
	b.retries++
	return true
}

// roll moves on to the window that now is in. Callers hold mu.
func (b *budget) roll() {
	gone := b.now().Sub(b.start)
	if gone < budgetWindow {
		return
	}
	b.calls -= b.before.calls
	b.retries -= b.before.retries
	b.before.calls, b.before.retries = b.calls, b.retries
	if gone >= 2*budgetWindow {
		b.calls, b.retries, b.before.calls, b.before.retries = 0, 0, 0, 0
	}
	b.start = b.now()
}

// Reasons of an outcome that is not known or of a message that was not run, as clients see them.
const (
	reasonNodeLost    = "node_lost"            // the connection broke before an answer
	reasonTimeout     = "node_timeout"         // no answer within the limit
	reasonBroken      = "stream_broken"        // the answer broke off
	reasonStreamLost  = "stream_lost"          // the rest of the answer cannot be had any more
	reasonBadAnswer   = "bad_answer"           // the answer is not one that may be passed on
	reasonUnreachable = "unreachable"          // no connection to any node that has the server
	reasonNoReplica   = "no_replica"           // no node can be called for the server
	reasonRefused     = "refused"              // each node that has the server refused the message
	reasonFull        = "full"                 // each node that has the server has all its processes taken
	reasonShutdown    = "coordinator_shutdown" // this coordinator had no more time to wait
	reasonRecovering  = "recovering"           // the store has lost the session, and it may be written back
)

// verdict is the data of error 1001 and 1002.
type verdict struct {
	Outcome      string `json:"outcome"` // unknown, not_executed
	Reason       string `json:"reason"`
	Server       string `json:"server,omitempty"`
	Node         string `json:"node,omitempty"`
	State        string `json:"dispatchState,omitempty"`
	Limit        string `json:"limit,omitempty"` // the setting that was met, and its value
	MaxProcesses int    `json:"maxProcesses,omitempty"`
	Retryable    bool   `json:"retryable"`
	TraceID      string `json:"traceId"`
}
