package node

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// procState is where a process is in its life. It only grows.
type procState uint8

const (
	procStarting procState = iota
	procSpare
	procServing // a session
	procEnding  // it keeps its place until nothing of it is left
)

// proc is one process of an isolated server, from the decision to start it until it is gone.
type proc struct {
	opened chan struct{} // closed when the start has ended, well or badly
	leave  chan struct{} // closed when it is to end, its calls first

	// Set before opened is closed.
	err  error    // why it did not start
	tail []string // what it wrote to stderr then
	cat  *catalog // its lists, if they were to be read

	// Guarded by pool.mu.
	state   procState
	link    *link     // once it has started
	session string    // whose it is or was; empty for a spare
	since   time.Time // when it was given to the session, or became a spare
	claimed bool      // somebody has learned that the session is open
}

// add makes a process, which takes its place before it starts. p.mu is held, and there is room.
func (p *pool) add() *proc {
	pr := &proc{opened: make(chan struct{}), leave: make(chan struct{})}
	p.procs[pr] = struct{}{}
	return pr
}

// release makes a process end. p.mu is held.
func (p *pool) release(pr *proc) {
	if p.detach(pr) {
		close(pr.leave)
	}
}

// detach takes a process away from its session, or from the spares. It reports false if that
// was done before. p.mu is held.
func (p *pool) detach(pr *proc) bool {
	if pr.state == procEnding {
		return false
	}
	pr.state = procEnding
	if pr.session != "" {
		delete(p.sessions, pr.session)
	}
	if i := slices.Index(p.spares, pr); i >= 0 {
		p.spares = slices.Delete(p.spares, i, i+1)
	}
	return true
}

// launch starts a process, which has its place, and sees it to its end. It is greeted as a client
// greets, or for nil as the node does; list says that its lists are to be read.
func (p *pool) launch(pr *proc, g *greeting, list bool) {
	job := func(ctx context.Context) {
		if p.start(ctx, pr, g, list) {
			p.live(ctx, pr)
		}
		p.gone(pr)
	}
	select {
	case p.jobs <- job:
	case <-p.over:
		p.notStarted(pr, errStopping, nil)
		p.gone(pr)
	}
}

// start starts a process and makes it a spare, or gives it to the session it is for. If it
// reports false nothing is left of it but its place.
func (p *pool) start(serving context.Context, pr *proc, g *greeting, list bool) bool {
	ctx, stop := until(serving, pr.leave)
	defer stop()
	var l *link
	var cat *catalog
	err := p.s.slots.acquire(ctx, g != nil)
	if err == nil {
		if g != nil {
			err = p.s.fence() // which may have lapsed since
		}
		if err == nil {
			l, cat, err = p.s.start(ctx, g, list)
		}
		p.s.slots.release()
	}
	if err == nil {
		pr.cat = cat
		err = p.started(pr, l)
	}
	if err == nil {
		return true
	}
	if serving.Err() != nil {
		err = errStopping
	}
	var tail []string
	if l != nil {
		l.close()
		tail = l.up.stderr()
	}
	p.notStarted(pr, err, tail)
	return false
}

// started takes in a process that has shaken hands. It fails if that is lost already.
func (p *pool) started(pr *proc, l *link) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case pr.state == procEnding: // its session has ended meanwhile
		pr.err = errSessionUnknown
	case pr.session != "":
		if l.isLost() {
			return l.reason
		}
		pr.state = procServing
	default:
		pr.state = procSpare
		p.spares = append(p.spares, pr)
	}
	pr.link, pr.since = l, time.Now()
	p.failed = 0
	p.announce()
	close(pr.opened)
	return nil
}

// notStarted tells everybody who waits for a process why there is none.
func (p *pool) notStarted(pr *proc, err error, tail []string) {
	p.mu.Lock()
	if !p.detach(pr) { // its session has ended meanwhile, and the start with it
		err = errSessionUnknown
	}
	ready := p.ready
	p.unlock()
	pr.err, pr.tail = err, tail
	close(pr.opened)
	for _, other := range []error{errStopping, errFenced, errSessionUnknown} {
		if errors.Is(err, other) {
			return // which says nothing of other starts
		}
	}
	if isAnswer(err) {
		return // to this client
	}
	if ready { // otherwise it was a try, and whoever tried says so
		p.s.log.Warn("process not started", "err", err)
	}
	p.trouble(&p.failed, err, tail)
}

// live waits for the end of a process, by itself or because it is to, and clears up behind it.
func (p *pool) live(ctx context.Context, pr *proc) {
	l := pr.link
	for alive := true; alive; {
		select {
		case <-l.relist:
			p.relist(ctx, pr)
			continue
		case <-pr.leave:
			finish(ctx, p.s.lim.DrainTimeout, func() int { return l.quiesce(errSessionUnknown) })
		case <-l.gone:
		case <-ctx.Done():
		}
		alive = false
	}
	lost := !l.lose(endOf(ctx))
	select {
	case <-pr.leave:
		lost = false // it was about to end anyhow
	default:
	}
	p.mu.Lock()
	p.detach(pr)
	p.unlock()
	l.close()
	p.ended(pr, lost)
}

// ended judges a process that has run: what ends soon by itself is trouble.
func (p *pool) ended(pr *proc, lost bool) {
	err := pr.link.reason
	brief := lost && time.Since(pr.since) < stableAfter
	if !brief {
		p.mu.Lock()
		p.crashed = 0
		p.mu.Unlock()
	}
	if !lost {
		return
	}
	// What it wrote is for operators: the error is told to clients, too.
	tail := pr.link.up.stderr()
	last := ""
	if n := len(tail); n > 0 {
		last = clip(tail[n-1], 200)
	}
	if pr.session != "" {
		p.s.stats.crashed.Add(1)
		p.s.log.Warn("process of a session was lost, and with it what it knew", "session", store.SessionID(pr.session), "err", err, "stderr", last)
	} else {
		p.s.log.Warn("spare process was lost", "err", err, "stderr", last)
	}
	if brief {
		p.trouble(&p.crashed, err, tail)
	}
}

// gone gives back the place of a process of which nothing is left.
func (p *pool) gone(pr *proc) {
	p.mu.Lock()
	delete(p.procs, pr)
	p.announce()
	p.mu.Unlock()
	p.nudge()
}

// announce wakes those who wait for room or a spare. p.mu is held.
func (p *pool) announce() {
	close(p.change)
	p.change = make(chan struct{})
}

// relist reads the lists again that a spare says have changed. Once it has a session they are
// that session's alone.
func (p *pool) relist(ctx context.Context, pr *proc) {
	if !p.isSpare(pr) {
		return
	}
	ctx, stop := until(ctx, pr.leave)
	defer stop()
	if pause(ctx, relistDelay) != nil || !p.isSpare(pr) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, p.s.lim.StartTimeout)
	defer cancel()
	cat, err := pr.link.list(ctx)
	switch {
	case err != nil:
		p.s.log.Warn("lists not read again", "err", err)
	case p.isSpare(pr):
		p.adopt(cat)
	}
}

// until returns a context that ends with ctx, or when ch is closed. stop must be called.
func until(ctx context.Context, ch <-chan struct{}) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-ch:
			cancel()
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		cancel()
		watch.Wait()
	}
}

func (p *pool) isSpare(pr *proc) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return pr.state == procSpare
}
