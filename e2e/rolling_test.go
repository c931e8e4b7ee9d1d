package e2e

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// load is clients that call without a pause until it is stopped.
type load struct {
	calls atomic.Int64
	stop  context.CancelFunc
	wg    sync.WaitGroup

	mu   sync.Mutex
	errs []error // guarded by mu
}

// startLoad has each session call whoami, one call at a time.
func startLoad(t *testing.T, sessions []*harness.Session) *load {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	l := &load{stop: stop}
	for _, s := range sessions {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				_, err := whoami(t.Context(), rawClient{s})
				l.calls.Add(1)
				if err != nil {
					l.mu.Lock()
					l.errs = append(l.errs, err)
					l.mu.Unlock()
				}
			}
		})
	}
	t.Cleanup(func() { stop(); l.wg.Wait() })
	return l
}

// more waits until n more calls have been answered.
func (l *load) more(t *testing.T, n int64) {
	t.Helper()
	until := l.calls.Load() + n
	harness.Eventually(t, 30*time.Second, "calls go on", func() error {
		if now := l.calls.Load(); now < until {
			return fmt.Errorf("%d of %d", now, until)
		}
		return nil
	})
}

// end stops the calls and returns their number and errors.
func (l *load) end() (int64, []error) {
	l.stop()
	l.wg.Wait()
	return l.calls.Load(), l.errs
}

// Every coordinator is stopped by SIGTERM and started again, one after the other, under load:
// no call breaks and no session is lost. The balancer asks for /ready, for a connection that
// arrives just as a process closes its port is broken whatever that process does.
func TestCoordinatorsRolledUnderLoad(t *testing.T) {
	long(t)
	c := fleet(t, 2, harness.Options{})
	c.Front.Watch(t)
	var sessions []*harness.Session
	for range 6 {
		sessions = append(sessions, harness.MustOpen(t, c.Front.URL+"/mcp/fixture"))
	}
	l := startLoad(t, sessions)
	l.more(t, 100)
	for i := range c.Coordinators {
		old := c.Coordinators[i]
		if err := old.Stop(); err != nil {
			t.Error(err)
		}
		l.more(t, 50)
		c.Coordinators[i] = harness.StartHub(t, old.Name+" again", old.Port, old.Settings, []string{"REDIS_URL=" + c.Redis.URL()})
		c.Coordinators[i].WaitHealthy(t)
		l.more(t, 100)
	}
	calls, errs := l.end()
	t.Logf("%d calls, %d errors", calls, len(errs))
	for _, err := range errs[:min(len(errs), 10)] {
		t.Error(err)
	}
}

// Every node leaves well and comes back, one after the other, under load: its sessions move,
// and no call breaks.
func TestNodesRolledUnderLoad(t *testing.T) {
	long(t)
	c := fleet(t, 3, harness.Options{})
	var sessions []*harness.Session
	for range 9 {
		sessions = append(sessions, harness.MustOpen(t, c.Front.URL+"/mcp/fixture"))
	}
	l := startLoad(t, sessions)
	l.more(t, 100)
	for _, id := range []string{"node-1", "node-2", "node-3"} {
		if err := c.Nodes[id].Stop(); err != nil {
			t.Error(err)
		}
		l.more(t, 50)
		again := fixtureNode(t, id)
		c.StartNode(again)
		c.WaitActive(again)
		l.more(t, 100)
	}
	calls, errs := l.end()
	t.Logf("%d calls, %d errors", calls, len(errs))
	for _, err := range errs[:min(len(errs), 10)] {
		t.Error(err)
	}
}
