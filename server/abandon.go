package server

import (
	"context"
	"net/http"
	"time"
)

// abandoner is a Carrier that can end the calls in hand before their connections are closed.
type abandoner interface {
	// Abandon gives each call in hand its last word. It returns when that is done, within a
	// second or so.
	Abandon()
}

// streamer is a Carrier that has streams which end only when somebody ends them.
type streamer interface {
	// EndStreams has the clients of such streams come back soon, to another replica.
	EndStreams()
}

// endStreams ends what clients only listen to: waiting for that would be in vain, and balancers
// know by now where to send those who come back.
func (s *Server) endStreams() {
	s.legacy.end()
	if c, ok := s.deps.Carrier.(streamer); ok {
		c.EndStreams()
	}
}

// lastWord is how long what was said last has to leave this process.
const lastWord = time.Second

// abandon lets the carrier end its calls, and what it has said reach the clients.
func (s *Server) abandon(ctx context.Context, srv *http.Server) {
	a, ok := s.deps.Carrier.(abandoner)
	if !ok {
		return
	}
	a.Abandon()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWord)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		s.log.Warn("some clients have not taken their last word", "err", err)
	}
}
