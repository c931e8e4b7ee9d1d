package node

import (
	"context"
	"slices"
	"sync"
)

// starts bounds how many servers start at one time, all servers of a node together. A client
// that waits goes before what is started ahead of need. It is safe for concurrent use.
type starts struct {
	mu     sync.Mutex // guards the rest
	free   int
	urgent []chan struct{} // those who wait, the first to come first
	others []chan struct{}
}

func newStarts(most int) *starts { return &starts{free: most} }

// acquire waits for leave to start. After nil the caller must release.
func (s *starts) acquire(ctx context.Context, urgent bool) error {
	s.mu.Lock()
	if s.free > 0 {
		s.free--
		s.mu.Unlock()
		return nil
	}
	mine := make(chan struct{})
	queue := &s.others
	if urgent {
		queue = &s.urgent
	}
	*queue = append(*queue, mine)
	s.mu.Unlock()
	select {
	case <-mine:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	i := slices.Index(*queue, mine)
	if i >= 0 {
		*queue = slices.Delete(*queue, i, i+1)
	}
	s.mu.Unlock()
	if i < 0 {
		s.release() // leave was given at the same moment
	}
	return ctx.Err()
}

func (s *starts) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, queue := range []*[]chan struct{}{&s.urgent, &s.others} {
		if len(*queue) > 0 {
			close((*queue)[0])
			*queue = slices.Delete(*queue, 0, 1)
			return
		}
	}
	s.free++
}
