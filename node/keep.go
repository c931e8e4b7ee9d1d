package node

import (
	"context"
	"sync"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// maxTrouble is how many starts in a row may fail, and how many processes end soon after they
// were given to a session, before an isolated server is called failed.
const maxTrouble = 3

// run keeps the pool until ctx ends. It waits for everything it has started.
func (p *pool) run(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { p.keep(ctx) })
	for ctx.Err() == nil {
		select {
		case job := <-p.jobs:
			all.Go(func() { job(ctx) })
		case <-ctx.Done():
		}
	}
	close(p.over)
	p.refuse(errStopping)
	all.Wait()
	p.s.set(store.ServerFailed, endOf(ctx), nil, nil)
}

// keep tries a process, and while that one shows that processes can be started, takes sessions
// and keeps spares.
func (p *pool) keep(ctx context.Context) {
	for attempt := 1; ; attempt++ {
		if p.probe(ctx, attempt) {
			begun := time.Now()
			p.refill(ctx)
			if time.Since(begun) > stableAfter {
				p.s.back.reset()
			}
		}
		if !p.s.again(ctx, attempt) {
			return
		}
	}
}

// probe starts a process to see whether that can be done, and what the lists are. It becomes the
// first spare, or else is ended unused.
func (p *pool) probe(ctx context.Context, attempt int) bool {
	pr := p.place(ctx)
	if pr == nil {
		return false // the node stops
	}
	begun := time.Now()
	p.launch(pr, nil, true)
	<-pr.opened
	if pr.err != nil {
		p.s.fail(ctx, pr.err, pr.tail, attempt)
		return false
	}
	p.s.log.Info("server ready", "attempt", attempt, "tools", pr.cat.tools, "dur", time.Since(begun).Round(time.Millisecond))
	p.s.set(store.ServerReady, nil, nil, pr.cat)
	p.mu.Lock()
	p.ready, p.listed = true, time.Now()
	if p.warm == 0 {
		p.release(pr)
	}
	p.mu.Unlock()
	p.s.once.Do(func() { close(p.s.tried) })
	return true
}

// place waits for room for one more process. It returns nil if ctx ended first.
func (p *pool) place(ctx context.Context) *proc {
	for {
		p.mu.Lock()
		if len(p.procs) < p.most {
			pr := p.add()
			p.mu.Unlock()
			return pr
		}
		change := p.change
		p.mu.Unlock()
		select {
		case <-change:
		case <-ctx.Done():
			return nil
		}
	}
}

// refill keeps spares, starting one at a time, until the server turns failed or ctx ends.
func (p *pool) refill(ctx context.Context) {
	back := backoff{rand: p.s.back.rand}
	for {
		pr, list := p.wanted()
		if pr == nil {
			if !waitOr(ctx, p.trip, p.kick) {
				return
			}
			continue
		}
		p.launch(pr, nil, list)
		if !waitOr(ctx, p.trip, pr.opened) {
			return
		}
		if pr.err == nil {
			back.reset()
			if pr.cat != nil {
				p.adopt(pr.cat)
			}
			continue
		}
		t := time.NewTimer(back.next())
		if !waitOr(ctx, p.trip, t.C) {
			t.Stop()
			return
		}
	}
}

// waitOr waits for ch. It reports false if trip, or the end of ctx, came first.
func waitOr[T any](ctx context.Context, trip <-chan struct{}, ch <-chan T) bool {
	select {
	case <-ch:
		return true
	case <-trip:
	case <-ctx.Done():
	}
	return false
}

// wanted makes a process to become a spare, if one is wanted and there is room that no session
// waits for, and says if it is time to look at the lists again.
func (p *pool) wanted() (pr *proc, list bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	have := len(p.spares)
	for other := range p.procs {
		if other.state == procStarting && other.session == "" {
			have++
		}
	}
	if !p.ready || p.waiting > 0 || have >= p.warm || len(p.procs) >= p.most {
		return nil, false
	}
	return p.add(), time.Since(p.listed) >= p.s.lim.RelistInterval
}

func (p *pool) nudge() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// adopt takes over lists that a spare has shown.
func (p *pool) adopt(cat *catalog) {
	p.mu.Lock()
	p.listed = time.Now()
	p.mu.Unlock()
	p.s.adopt(cat)
}

// trouble counts a start that failed, or a process that ended soon. When there have been too
// many in a row the server turns failed: it takes no sessions until a process has shown that
// it can be started again. Sessions that have theirs keep it.
func (p *pool) trouble(count *int, err error, tail []string) {
	p.mu.Lock()
	*count++
	trips := p.ready && *count >= maxTrouble && (count == &p.crashed || len(p.spares) == 0)
	if trips {
		p.ready, p.failed, p.crashed = false, 0, 0
		for pr := range p.procs {
			if pr.session == "" {
				p.release(pr)
			}
		}
	}
	p.mu.Unlock()
	if !trips {
		return
	}
	p.s.set(store.ServerFailed, err, tail, nil)
	p.s.log.Warn("server failed: too many of its processes did, one after the other", "err", err)
	p.trip <- struct{}{} // refill takes it, since the server was ready
}
