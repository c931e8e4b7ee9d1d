package heartbeat

import (
	"sync"
	"time"
)

// recent remembers for a while, and in bounded memory, what has been done lately.
// It is safe for concurrent use.
type recent[K comparable] struct {
	window time.Duration
	limit  int

	mu sync.Mutex
	at map[K]time.Time
}

func newRecent[K comparable](window time.Duration, limit int) *recent[K] {
	return &recent[K]{window: window, limit: limit, at: make(map[K]time.Time)}
}

// has reports whether k was marked within the window.
func (r *recent[K]) has(k K) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.at[k]
	return ok && time.Since(t) < r.window
}

// mark remembers k from now on. Where there is no room, what is oldest by then is forgotten,
// which costs nothing but doing it once more.
func (r *recent[K]) mark(k K) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.at) >= r.limit {
		for old, t := range r.at {
			if time.Since(t) >= r.window {
				delete(r.at, old)
			}
		}
	}
	if len(r.at) >= r.limit {
		clear(r.at)
	}
	r.at[k] = time.Now()
}
