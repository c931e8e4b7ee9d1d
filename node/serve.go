package node

import (
	"context"
	"errors"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// What a server does for its sessions, whether they share a connection or have a process each.

// open makes a session known, and returns the InitializeResult for its client and the number of
// sessions.
func (s *server) open(ctx context.Context, id string, f *wire.Frame, version string) (result []byte, sessions int, err error) {
	if s.pool != nil {
		l, n, err := s.pool.open(ctx, id, greetingOf(f, version, s.pool.warm > 0, s.cfg.NoRoots))
		if err != nil {
			return nil, 0, err
		}
		return l.hello.Load().result, n, nil
	}
	l := s.ready.Load()
	if l == nil {
		return nil, 0, errNotReady
	}
	if sessions, err = l.openSession(id, l.hello.Load().client(version, readCapabilities(f.ParamsBytes()))); err != nil {
		return nil, 0, err
	}
	return l.hello.Load().answerTo(version), sessions, nil
}

// find returns a session and its connection.
func (s *server) find(ctx context.Context, id string) (*link, *session, error) {
	if s.pool != nil {
		return s.pool.find(ctx, id)
	}
	l := s.ready.Load()
	if l == nil {
		return nil, nil, errNotReady
	}
	if ses := l.session(id); ses != nil {
		return l, ses, nil
	}
	return nil, nil, errSessionUnknown
}

// end forgets a session. Calls in flight run on, and their answers still arrive.
func (s *server) end(id string) bool {
	if s.pool != nil {
		return s.pool.end(id)
	}
	l := s.ready.Load()
	return l != nil && l.endSession(id)
}

// expire ends the sessions that have been idle for longer than d.
func (s *server) expire(d time.Duration) {
	if s.pool != nil {
		s.pool.expire(d)
	} else if l := s.ready.Load(); l != nil {
		s.stats.expired.Add(int64(l.expire(d)))
	}
}

// quiesce makes the server refuse new requests from now on, and returns the number in flight.
func (s *server) quiesce(why error) (left int) {
	if s.pool != nil {
		s.pool.refuse(why)
	}
	for _, l := range s.links() {
		left += l.quiesce(why)
	}
	return left
}

// links are the connections there are to the server.
func (s *server) links() []*link {
	if s.pool != nil {
		return s.pool.links()
	}
	if l := s.ready.Load(); l != nil {
		return []*link{l}
	}
	return nil
}

// endOf is why what runs until ctx ends is at its end.
func endOf(ctx context.Context) error {
	if errors.Is(context.Cause(ctx), errReplaced) {
		return errReplaced
	}
	return errStopping
}
