package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
)

const (
	// notifyTimeout bounds the POST of a notification and the DELETE at the end.
	notifyTimeout = 5 * time.Second
	// pingMisses is how many pings in a row may go unanswered.
	pingMisses = 3
	// maxResumes bounds how often one answer's stream is taken up again without anything new
	// on it.
	maxResumes = 3
	// maxErrorBody bounds what is read of an answer that is not 200.
	maxErrorBody = 64 << 10
)

// httpUpstream is a server behind streamable HTTP (MCP 2025-03-26 to 2025-11-25), with one
// session of its own that all our sessions share. Nothing of a client's request but its body
// goes there. It is safe for concurrent use.
type httpUpstream struct {
	web
	link *link
	url  string
	sse  *ServerConfig // for meeting it as an older server; nil where the settings say what it is

	renewing chan struct{} // of 1: held while shaking hands again
	loops    sync.WaitGroup
	replays  replays

	mu      sync.Mutex // guards the rest
	session string     // empty: the server gave none
	version string
	made    int // how often the server gave a session
	stop    context.CancelFunc
}

func openHTTP(l *link, cfg *ServerConfig) *httpUpstream {
	h := &httpUpstream{
		web: newWeb(l.lim.Version, cfg.Headers), link: l, url: cfg.URL, renewing: make(chan struct{}, 1),
		stop: func() {},
	}
	if cfg.Type == "" {
		h.sse = cfg
	}
	return h
}

// older is the server as one of HTTP+SSE, if it has never answered initialize and answers as
// those do that know no streamable HTTP (MCP 2025-11-25, Transports, Backwards Compatibility).
func (h *httpUpstream) older(err error) upstream {
	var status *statusError
	if _, _, made := h.identity(); made > 0 || h.sse == nil || !errors.As(err, &status) {
		return nil
	}
	switch status.status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed:
		return openSSE(h.link, h.sse)
	}
	return nil
}

// negotiated sets the version that every later request names.
func (h *httpUpstream) negotiated(version string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.version = version
}

// identity is what a request carries of the session, and how old it is.
func (h *httpUpstream) identity() (session, version string, made int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.session, h.version, h.made
}

func (h *httpUpstream) send(ctx context.Context, m message) error {
	if m.call == nil {
		return h.notify(ctx, &m)
	}
	callCtx, cancel := context.WithCancel(context.Background())
	m.call.onAbort(cancel) // before it may begin, so that a link that is lost finds it
	ok := h.link.spawn(func() {
		defer cancel()
		h.call(callCtx, &m)
	})
	if !ok {
		cancel()
		return errNotWritten
	}
	return nil
}

// notify posts what has no answer and waits until the server has taken it.
func (h *httpUpstream) notify(ctx context.Context, m *message) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), notifyTimeout)
	defer cancel()
	for again := false; ; again = true {
		if err := m.clear(); err != nil {
			return err
		}
		session, version, made := h.identity()
		res, _, err := h.post(ctx, h.url, m, session, version)
		if err != nil {
			return fmt.Errorf("%w: %w", errLost, err)
		}
		body := readError(res)
		switch {
		case res.StatusCode/100 == 2:
			return nil
		case !again && m.ses != nil && session != "" && forgotten(res.StatusCode, body):
			if err := h.renew(ctx, made); err != nil {
				return err
			}
			if m.reply { // to what has been forgotten with the session
				return &statusError{res.StatusCode}
			}
		default:
			return &statusError{res.StatusCode}
		}
	}
}

// call posts a request and sees to it that it gets its outcome.
func (h *httpUpstream) call(ctx context.Context, m *message) {
	for attempt := 0; ; attempt++ {
		if err := m.clear(); err != nil {
			h.link.refuse(m.call, err)
			return
		}
		session, version, made := h.identity()
		if m.call.method == "initialize" {
			session, version = "", ""
		}
		res, got, err := h.post(ctx, h.url, m, session, version)
		switch {
		case ctx.Err() != nil:
			if res != nil {
				_ = res.Body.Close()
			}
			h.link.giveUp(m.call, "cancelled") // unless whoever ended it has
			h.link.release(m.call)
			return
		case err != nil && got == fateStale && m.call.again():
			attempt-- // it ends with the pool
			continue
		case err != nil && got != fateSent:
			err = fmt.Errorf("%w: %w", errLost, err)
			h.link.refuse(m.call, err) // before the loss, which knows less about it
			h.link.lose(err)
			return
		case err != nil:
			h.broken(m.call, err)
			return
		}
		if !h.forgot(ctx, m, res, session, made, attempt) {
			return
		}
	}
}

// forgot takes in the answer to a request. It reports true if the server does not know our
// session any more and hands have been shaken anew, so that the request, which was certainly
// not executed, is to be sent again.
func (h *httpUpstream) forgot(ctx context.Context, m *message, res *http.Response, session string, made, attempt int) bool {
	c := m.call
	if res.StatusCode == http.StatusOK {
		if c.method == "initialize" {
			h.adopt(res.Header.Get(wire.HeaderSession))
		}
		h.answer(ctx, c, res)
		return false
	}
	body := readError(res)
	if session == "" || !forgotten(res.StatusCode, body) {
		h.link.rejected(c, res.StatusCode, body)
		h.link.release(c)
		return false
	}
	// The handshake's own requests must not wait for the handshake.
	if attempt > 1 || (c.ses == nil && c.method != "ping") {
		h.link.refuse(c, &statusError{res.StatusCode})
		return false
	}
	if err := h.renew(ctx, made); err != nil {
		h.link.refuse(c, err)
		return false
	}
	return c.again()
}

// adopt takes the session id of an InitializeResult; empty means the server keeps no sessions.
func (h *httpUpstream) adopt(session string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.session = session
	h.made++
}

// renew shakes hands again, once for all callers that met the same loss, and tells the server
// anew what our sessions had set there. When that fails the link is lost.
func (h *httpUpstream) renew(ctx context.Context, made int) error {
	select {
	case h.renewing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-h.link.gone:
		return errLost
	}
	defer func() { <-h.renewing }()
	if _, _, now := h.identity(); now != made {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.link.lim.StartTimeout)
	defer cancel()
	h.link.forgetAsks("the server has forgotten what it had asked")
	err := h.link.handshake(ctx)
	if err == nil {
		err = h.link.replayState(ctx)
	}
	if err != nil {
		err = fmt.Errorf("%w: it forgot the session, and then: %w", errLost, err)
		h.link.lose(err)
		return err
	}
	h.link.log.Warn("server had forgotten the node's session; a new one is open")
	h.link.changed()
	return nil
}

// broken ends a call whose connection broke after the request had gone out.
func (h *httpUpstream) broken(c *call, err error) {
	h.link.log.Debug("answer broke off", "method", c.method, "err", err)
	if c.cancelled.Load() == 0 && (c.ses == nil || repeatable(c.method)) {
		h.link.settle(c, nil, fmt.Errorf("%w: %w", errLost, err))
	}
	h.link.giveUp(c, "stream_broken")
	h.link.release(c)
}

// rejected settles a call that the server answered with a status of its own. After 500 and
// more the server may still be working on it.
func (l *link) rejected(c *call, status int, body []byte) {
	if f, err := wire.Scan(body, wire.ServerLimits); err == nil && f.Kind == wire.Response {
		l.receive(body, c)
	}
	err := &statusError{status}
	switch {
	case c.ses == nil:
		l.refuse(c, err)
	case status >= 500:
		l.giveUp(c, "server_error")
	default:
		l.settle(c, wire.Error(c.id, wire.CodeInternal, err.Error(), nil), nil)
	}
}

// statusError is an answer outside JSON-RPC.
type statusError struct{ status int }

func (e *statusError) Error() string {
	return fmt.Sprintf("the MCP server answered HTTP %d %s", e.status, http.StatusText(e.status))
}

// forgotten recognises the ways in which servers say that they do not know a session: 404
// by the specification, 400 with a sentence about it in some SDKs (MCP 2025-11-25, Transports,
// Session Management).
func forgotten(status int, body []byte) bool {
	switch status {
	case http.StatusNotFound:
		return !bytes.Contains(body, []byte("-32601")) // a method that is unknown
	case http.StatusBadRequest:
		return bytes.Contains(bytes.ToLower(body), []byte("session"))
	}
	return false
}

// readError reads a little of an answer that will not be passed on, and closes it.
func readError(res *http.Response) []byte {
	defer func() { _ = res.Body.Close() }()
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxErrorBody))
	return body
}

// answer reads the answer to a request, in either of its two forms.
func (h *httpUpstream) answer(ctx context.Context, c *call, res *http.Response) {
	if isStream(res) {
		h.stream(ctx, c, res)
		return
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxLine+1))
	switch {
	case err != nil:
		h.broken(c, err)
		return
	case len(body) <= maxLine && len(body) > 0:
		h.link.receive(body, c)
	}
	h.link.giveUp(c, "bad_answer") // unless that was its answer
	h.link.release(c)
}

func isStream(res *http.Response) bool {
	return strings.HasPrefix(strings.ToLower(res.Header.Get("Content-Type")), wire.TypeEventStream)
}

// stream reads an answer that comes as events, and takes a stream up again that the server
// closed early, if it gave the events ids (MCP 2025-11-25, Transports, Resumability). What the
// server spares itself by closing, a connection that waits, the client's is spared too. While its
// client is being asked something, there may be nothing new for as long as that takes.
func (h *httpUpstream) stream(ctx context.Context, c *call, res *http.Response) {
	at := cursor{retry: time.Second}
	_, _, made := h.identity()
	resumed := false
	for misses := 0; ; misses++ {
		seen := at.events
		err := at.read(res, func(data []byte) bool {
			c.touch(h.link.now())
			switch pass, own := h.replays.take(at.latest, data, resumed); {
			case own:
				h.link.receive(data, c)
			case pass:
				h.link.receive(data, nil)
			}
			return !c.finished()
		})
		if c.finished() {
			h.link.release(c)
			return
		}
		if at.events > seen || h.link.waits(c) {
			misses = 0
		}
		if at.id == "" || misses >= maxResumes || errors.Is(err, wire.ErrEventTooLarge) {
			h.broken(c, err)
			return
		}
		if err == nil || errors.Is(err, io.EOF) {
			c.suggestRetry(at.retry)
		}
		if res, err = h.resume(ctx, &at, made); err != nil {
			h.broken(c, err)
			return
		}
		resumed = true
	}
}

// errForgotten is the end of streams of a session that the server has forgotten.
var errForgotten = errors.New("the server has forgotten the session")

// cursor is a place in an event stream.
type cursor struct {
	id     string
	latest string // id of the latest event, empty if it had none
	retry  time.Duration
	events int
}

// read reads events until the stream ends or take says that it has enough, and closes it.
func (at *cursor) read(res *http.Response, take func(data []byte) bool) error {
	defer func() { _ = res.Body.Close() }()
	events := wire.NewEventReader(res.Body, maxLine)
	for {
		ev, err := events.Next()
		if err != nil {
			return err
		}
		at.latest = ""
		if ev.HasID {
			at.id, at.latest = ev.ID, ev.ID
		}
		if ev.Retry > 0 {
			at.retry = min(ev.Retry, backoffMost)
		}
		at.events++
		if len(ev.Data) > 0 && !take(ev.Data) {
			finishStream(res.Body)
			return nil
		}
	}
}

// finishStream lets a stream that has said all come to its end, so that its connection can be
// used again.
func finishStream(body io.ReadCloser) {
	t := time.AfterFunc(drainPipes, func() { _ = body.Close() })
	defer t.Stop()
	_, _ = io.CopyN(io.Discard, body, maxErrorBody)
}

// resume asks for the rest of a stream after the time the server wants between connections. It is
// lost with the session that it was of.
func (h *httpUpstream) resume(ctx context.Context, at *cursor, made int) (*http.Response, error) {
	if err := pause(ctx, at.retry); err != nil {
		return nil, err
	}
	session, version, now := h.identity()
	if now != made {
		return nil, errForgotten
	}
	res, err := h.get(ctx, h.url, session, version, at.id)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK || !isStream(res) {
		_ = res.Body.Close()
		return nil, &statusError{res.StatusCode}
	}
	return res, nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *httpUpstream) stderr() []string { return nil }
