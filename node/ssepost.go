package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// send posts a message to the address that the stream has named; the first one opens the
// stream.
func (s *sseUpstream) send(ctx context.Context, m message) error {
	s.begin.Do(func() { s.loop(s.follow) })
	select {
	case <-s.named:
	case <-s.link.gone:
		return s.link.reason // which does not change any more
	case <-ctx.Done():
		return fmt.Errorf("the server has named no address for messages: %w", ctx.Err())
	}
	if m.call == nil {
		return s.notify(ctx, &m)
	}
	callCtx, cancel := context.WithCancel(context.Background())
	m.call.onAbort(cancel) // before it may begin, so that a link that is lost finds it
	s.mu.Lock()
	s.posts[m.call] = &posting{cancel: cancel}
	s.mu.Unlock()
	ok := s.link.spawn(func() {
		s.call(callCtx, &m)
		s.posted(m.call)
	})
	if !ok {
		s.posted(m.call)
		return errNotWritten
	}
	return nil
}

// posted forgets the request of a call.
func (s *sseUpstream) posted(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.posts[c].cancel()
	delete(s.posts, c)
}

// tidy ends requests whose call has long had its outcome. Some servers answer the POST when all
// is done, some never; the answer that counts comes on the stream.
func (s *sseUpstream) tidy() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, p := range s.posts {
		if p.over {
			p.cancel()
		}
		p.over = c.finished()
	}
}

func (s *sseUpstream) protocol() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

// notify posts what has no answer and waits until the server has taken it.
func (s *sseUpstream) notify(ctx context.Context, m *message) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), notifyTimeout)
	defer cancel()
	if err := m.clear(); err != nil {
		return err
	}
	res, _, err := s.post(ctx, s.to, m, "", s.protocol())
	if err != nil {
		s.suspect()
		return fmt.Errorf("%w: %w", errLost, err)
	}
	body := readError(res)
	if res.StatusCode/100 == 2 {
		return nil
	}
	if forgotten(res.StatusCode, body) {
		s.suspect()
	}
	return &statusError{res.StatusCode}
}

// call posts a request. Unless the server turns it away, its outcome comes on the stream.
func (s *sseUpstream) call(ctx context.Context, m *message) {
	c := m.call
	for {
		if err := m.clear(); err != nil {
			s.link.refuse(c, err)
			return
		}
		res, got, err := s.post(ctx, s.to, m, "", s.protocol())
		switch {
		case err == nil && res.StatusCode/100 == 2:
			s.taken(c, res)
		case err == nil:
			s.rejected(c, res)
		case got == fateStale && ctx.Err() == nil && c.again():
			continue // it ends with the pool
		case got != fateSent:
			s.unsent(c, err)
		default:
			s.broken(c, err)
		}
		return
	}
}

// taken reads what comes with the server's consent. Most say nothing worth reading; what is a
// response counts as the answer.
func (s *sseUpstream) taken(c *call, res *http.Response) {
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxLine+1))
	if err != nil || len(body) == 0 || len(body) > maxLine {
		return
	}
	if f, err := wire.Scan(body, wire.ServerLimits); err == nil && f.Kind == wire.Response {
		s.link.receive(body, c)
	}
}

// rejected ends a call that the server answered with a status of its own. What may still be
// worked on keeps its place, since the server can speak of it on the stream.
func (s *sseUpstream) rejected(c *call, res *http.Response) {
	body := readError(res)
	turnedAway := forgotten(res.StatusCode, body)
	if turnedAway && c.ses == nil {
		s.link.refuse(c, fmt.Errorf("%w: %w", errTurnedAway, &statusError{res.StatusCode}))
		return
	}
	s.link.rejected(c, res.StatusCode, body)
	if res.StatusCode < http.StatusInternalServerError {
		s.link.release(c)
	}
	if turnedAway { // last: the ping may lose the link at once, and the call with it
		s.suspect()
	}
}

// unsent ends a call of which nothing has gone out.
func (s *sseUpstream) unsent(c *call, err error) {
	if errors.Is(err, context.Canceled) { // whoever ended the call has told its outcome
		s.link.refuse(c, errLost)
		return
	}
	s.link.refuse(c, fmt.Errorf("%w: %w", errTurnedAway, err))
	if c.ses != nil {
		s.suspect()
	}
}

// broken ends a call whose request broke off after some of it had gone out. The server may be
// working on it, so it keeps its place.
func (s *sseUpstream) broken(c *call, err error) {
	if errors.Is(err, context.Canceled) {
		return // whoever ended the call has told its outcome
	}
	s.link.log.Debug("request broke off", "method", c.method, "err", err)
	if c.cancelled.Load() == 0 && (c.ses == nil || repeatable(c.method)) {
		s.link.settle(c, nil, fmt.Errorf("%w: %w", errLost, err))
	}
	s.link.giveUp(c, "stream_broken")
	if c.ses != nil {
		s.suspect()
	}
}
