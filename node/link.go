package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// upstream is the far end of a link: a child process, an HTTP server, a server in this
// process. It hands what it receives to link.receive, and calls link.lose when the connection
// is gone for good. What else an upstream may do is found by interface: negotiated, cancels,
// forget.
type upstream interface {
	// send hands a message over. An error means that of a call nothing has reached the
	// server; what is learned later goes to the call itself.
	send(ctx context.Context, m message) error
	// close ends the connection and waits for everything that belongs to it.
	close()
	// stderr returns the last lines the server wrote there, oldest first.
	stderr() []string
}

// message is one frame on its way to the server.
type message struct {
	frame []byte   // ends in LF; the upstream's to keep
	call  *call    // the call it starts; nil for a notification or a response
	ses   *session // whose it is; nil for the node's own
	reply bool     // it answers a request, which a server that began anew does not know
	// allowed is asked right before the first byte may reach the server.
	allowed func() error
}

// clear asks for leave to send the message now.
func (m *message) clear() error {
	if err := m.allowed(); err != nil {
		return err
	}
	if m.call != nil && !m.call.begin() {
		return errNotWritten
	}
	return nil
}

// Why a link is over, or takes nothing.
var (
	errFenced   = errors.New("lease of the node has lapsed")
	errLost     = errors.New("connection to the server was lost")
	errStopping = errors.New("node is shutting down")
	errReplaced = errors.New("the server's settings have changed")

	errUnresponsive = fmt.Errorf("%w: it answers no ping", errLost)
)

// link is one connection to one MCP server, shared by all its sessions, from the handshake to
// its loss. It gives every request an id of its own towards the server and knows which call
// everything that comes back belongs to. It is safe for concurrent use.
type link struct {
	node  store.NodeID
	name  string
	lim   *Config
	log   *slog.Logger
	stats *counters
	fence func() error // says nil while the node may run anything for a client
	up    upstream
	epoch time.Time
	alone bool // an isolated server's: for one session, which no other follows
	// rootless keeps clients' roots from the server.
	rootless bool
	// patient says that a call whose client is being asked something may take as long as that does.
	patient bool

	hello atomic.Pointer[hello] // set before a client uses the link

	ids    atomic.Int64
	gone   chan struct{} // closed by lose
	relist chan struct{} // of 1: the server's lists have changed
	queued chan struct{} // of 1: there is something to post
	gate   chan struct{} // of 1: see enterState
	work   sync.WaitGroup

	mu       sync.Mutex // guards the rest
	closed   bool
	quiet    error // why no new requests of clients are taken; nil while they are
	reason   error // why it is closed
	calls    map[int64]*call
	sessions map[string]*session
	inflight int      // sessions' calls without an outcome
	holders  int      // sessions the server may be working for
	own      int      // calls of the node itself, pings apart
	ghosts   int      // calls with an outcome that the server has not answered
	blind    bool     // there were too many of those to tell whom a log message is for
	worked   *session // the only one whose calls the server was ever done with; see several
	several  bool     // there were more than one
	first    *session // there has been, or the latest one
	joined   bool     // it was not the only one
	unasked  bool     // the server has logged, or told progress, after it had answered

	announced map[string][]byte // the last change of each list
	posts     []message         // what the node itself has to say, see reply

	asks map[askKey]*question // requests of the server's that wait for clients
	// Which session has what the server (tasks, elicitations) or a client (clientTasks) has made.
	tasks, clientTasks, elicitations owners
	taskTokens                       map[int64]tokenOf // by our token

	levels    levelCount
	sentLevel logLevel
	subs      map[string]map[*session]struct{}
	unwanted  []string
}

func newLink(node store.NodeID, name string, lim *Config, log *slog.Logger, stats *counters, fence func() error) *link {
	return &link{
		node: node, name: name, lim: lim, log: log, stats: stats, fence: fence, epoch: time.Now(),
		gone: make(chan struct{}), relist: make(chan struct{}, 1),
		queued: make(chan struct{}, 1), gate: make(chan struct{}, 1),
		calls: map[int64]*call{}, announced: map[string][]byte{}, asks: map[askKey]*question{},
		tasks: owners{most: maxTasks}, clientTasks: owners{most: maxTasks}, elicitations: owners{most: maxElicitations},
		sessions: map[string]*session{}, subs: map[string]map[*session]struct{}{},
	}
}

// now is the time the link has existed.
func (l *link) now() time.Duration { return time.Since(l.epoch) }

// attach connects the link to its far end and starts answering the server's requests.
func (l *link) attach(up upstream) {
	l.up = up
	l.work.Go(l.reply)
}

// isLost says that the link is over.
func (l *link) isLost() bool {
	select {
	case <-l.gone:
		return true
	default:
		return false
	}
}

// close ends the link and everything that belongs to it.
func (l *link) close() {
	l.lose(errStopping)
	l.up.close()
	l.work.Wait()
}

// spawn runs f as part of what close waits for. It reports false, and does not, when the link
// is gone.
func (l *link) spawn(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.work.Go(f)
	return true
}

// background is spawn with the time that the node's own requests may take.
func (l *link) background(f func(context.Context)) {
	l.spawn(func() {
		ctx, cancel := context.WithTimeout(context.Background(), l.lim.StartTimeout)
		defer cancel()
		f(ctx)
	})
}

// transmit hands a message to the far end. If that is lost, the error is why, which says more
// than what this message met.
func (l *link) transmit(ctx context.Context, m message) error {
	err := l.up.send(ctx, m)
	if errors.Is(err, errNotWritten) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.closed {
			return l.reason
		}
	}
	return err
}

func always() error { return nil }

// enter registers a request and gives it its id towards the server. ses is nil for the node's
// own; id and token are kept.
func (l *link) enter(ses *session, id, token []byte, method string, from origin) (*call, error) {
	c := &call{ses: ses, id: id, token: token, method: method, from: from, queued: &l.stats.queued, open: true, wake: make(chan struct{}, 1)}
	c.up = l.ids.Add(1)
	if ses == nil {
		c.id = strconv.AppendInt(nil, c.up, 10)
	}
	c.touch(l.now())
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, l.reason
	case len(l.calls) >= l.lim.MaxCalls:
		return nil, errTooMany
	case c.counts():
		l.own++
	case ses == nil:
	default:
		if err := l.enterSession(ses, c); err != nil {
			return nil, err
		}
	}
	l.calls[c.up] = c
	return c, nil
}

// counts says that a call is of the node's own, and that the server may say something because of
// it, as it does of no ping.
func (c *call) counts() bool { return c.ses == nil && c.method != "ping" }

var errDuplicateID = errors.New("id in use")

func (l *link) enterSession(ses *session, c *call) error {
	if l.quiet != nil {
		return l.quiet
	}
	if ses.ended {
		return errSessionUnknown
	}
	if ses.holding >= l.lim.MaxSessionCalls {
		return errTooMany
	}
	if _, dup := ses.calls[string(c.id)]; dup {
		return errDuplicateID
	}
	if ses.calls == nil {
		ses.calls = map[string]*call{}
	}
	ses.calls[string(c.id)] = c
	if ses.holding++; ses.holding == 1 {
		l.holders++
	}
	l.inflight++
	return nil
}

// settle gives a call its outcome and reports whether it had none. The server may still be
// working on it, so it keeps its place until release.
func (l *link) settle(c *call, answer []byte, err error) bool {
	l.mu.Lock()
	ok := l.settleLocked(c)
	over := l.outlived(c.ses)
	l.mu.Unlock()
	l.dismiss(over, callOver, true)
	if ok {
		c.finish(answer, err)
	}
	return ok
}

func (l *link) settleLocked(c *call) bool {
	if !c.open {
		return false
	}
	c.open = false
	c.since = int64(l.now())
	if c.ses != nil {
		delete(c.ses.calls, string(c.id))
		c.ses.seen.Store(c.since)
		l.inflight--
	}
	if l.ghosts++; l.ghosts > maxGhosts {
		l.blind = true
	}
	return true
}

// release forgets a call that has been settled: the server is done with it.
func (l *link) release(c *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.releaseLocked(c)
}

func (l *link) releaseLocked(c *call) {
	if _, known := l.calls[c.up]; !known {
		return
	}
	delete(l.calls, c.up)
	l.ghosts--
	switch {
	case c.counts():
		l.own--
		return
	case c.ses == nil:
		return
	}
	l.several = l.several || l.worked != nil && l.worked != c.ses
	l.worked = c.ses
	if c.ses.holding--; c.ses.holding == 0 {
		l.holders--
	}
}

// refuse ends a call of which certainly nothing has reached the server.
func (l *link) refuse(c *call, err error) {
	l.settle(c, nil, err)
	l.release(c)
}

// lose ends the link: every call in flight gets its outcome now, and the sessions are
// forgotten, since what the server knew of them is gone. Only the first reason counts; lose
// reports whether this was it.
func (l *link) lose(reason error) bool {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return false
	}
	l.closed, l.reason = true, reason
	calls := l.calls
	var open []*call
	for _, c := range calls {
		if l.settleLocked(c) {
			open = append(open, c)
		}
	}
	sessions := l.sessions
	l.calls, l.sessions = map[int64]*call{}, map[string]*session{}
	close(l.gone)
	l.mu.Unlock()
	l.forgetAsks("the connection to the server was lost")
	for _, c := range open {
		l.finishLost(c, reason)
	}
	for _, c := range calls {
		c.stop()
	}
	for _, ses := range sessions {
		ses.streams.closeOwn() // they are to come back: the session can be opened again
		ses.streams.end()
	}
	return true
}

// finishLost tells the truth about a call whose server is gone: refused if it was certainly not
// sent or may be sent again without harm, otherwise of unknown outcome.
func (l *link) finishLost(c *call, reason error) {
	why := "server_lost"
	switch {
	case errors.Is(reason, errStopping):
		why = "node_shutdown"
	case errors.Is(reason, errReplaced):
		why = "server_replaced"
	}
	switch {
	case c.cancelled.Load() != 0:
		c.finish(l.unknown(c, "cancelled"), nil)
	case c.bar() || c.ses == nil || repeatable(c.method):
		c.finish(nil, reason)
	default:
		c.finish(l.unknown(c, why), nil)
	}
}

// ask sends a request of the node's own and waits for the answer. An error in it is an
// *rpcError.
func (l *link) ask(ctx context.Context, method string, params []byte) (wire.Frame, error) {
	c, err := l.enter(nil, nil, nil, method, origin{})
	if err != nil {
		return wire.Frame{}, err
	}
	defer func() {
		l.refuse(c, errLost)
		c.stop()
	}()
	frame := strconv.AppendInt([]byte(`{"jsonrpc":"2.0","id":`), c.up, 10)
	frame = append(append(append(frame, `,"method":"`...), method...), '"')
	if params != nil {
		frame = append(append(frame, `,"params":`...), params...)
	}
	if err := l.transmit(ctx, message{frame: append(frame, '}', '\n'), call: c, allowed: always}); err != nil {
		return wire.Frame{}, err
	}
	answer, err := await(ctx, c)
	if err != nil {
		return wire.Frame{}, fmt.Errorf("%s: %w", method, err)
	}
	f, err := wire.Scan(answer, wire.ServerLimits)
	if err != nil {
		return f, fmt.Errorf("%s: answer: %w", method, err)
	}
	if !f.Error.IsZero() {
		return f, fmt.Errorf("%s: %w", method, newRPCError(&f))
	}
	return f, nil
}

// ping asks the server for a sign of life; an error of the server's own is one.
func (l *link) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.lim.PingInterval)
	defer cancel()
	_, err := l.ask(ctx, "ping", nil)
	if isAnswer(err) {
		return nil
	}
	return err
}

// relay sends a session's request and waits for the answer, without its notifications.
func (l *link) relay(ctx context.Context, ses *session, f *wire.Frame) ([]byte, error) {
	c, err := l.dispatch(ctx, ses, f, origin{})
	if err != nil {
		return nil, err
	}
	return await(ctx, c)
}

// await waits for a call's outcome. When ctx ends first the call goes on unread.
func await(ctx context.Context, c *call) ([]byte, error) {
	for {
		select {
		case <-c.wake:
			if o := c.take(); o.done {
				return o.answer, o.err
			}
		case <-ctx.Done():
			c.hangUp()
			return nil, ctx.Err()
		}
	}
}

// rpcError is an error the server answered with.
type rpcError struct {
	code int
	raw  []byte // the error object
	text string
}

func newRPCError(f *wire.Frame) *rpcError {
	e := &rpcError{raw: f.ErrorBytes()}
	if at, ok := f.Lookup("error", "code"); ok {
		e.code, _ = strconv.Atoi(string(at.Of(f.Raw)))
	}
	if at, ok := f.Lookup("error", "message"); ok {
		e.text, _ = wire.Unquote(at.Of(f.Raw))
	}
	return e
}

// isAnswer reports whether an error of ask is the server's own answer.
func isAnswer(err error) bool {
	var e *rpcError
	return errors.As(err, &e)
}

func (e *rpcError) Error() string {
	return fmt.Sprintf("server answered error %d: %s", e.code, printable(clip(e.text, 200)))
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}
