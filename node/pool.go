package node

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// pool is the processes of an isolated server: one for each session, and spares for sessions to
// come. It is safe for concurrent use.
type pool struct {
	s    *server
	most int // processes, of whatever state
	warm int // spares that are wanted

	jobs chan func(context.Context) // for run to do; it waits for them
	over chan struct{}              // closed when run takes no more
	kick chan struct{}              // of 1: a spare may be wanted
	trip chan struct{}              // of 1: the server has turned failed

	mu       sync.Mutex // guards the rest
	ready    bool       // new sessions are taken
	quiet    error      // why no more are, for good
	procs    map[*proc]struct{}
	sessions map[string]*proc // started for them, or still starting
	spares   []*proc          // the oldest first
	waiting  int              // sessions that wait for room
	change   chan struct{}    // closed, and made anew, when there may be room or a spare
	full     bool             // as last told
	failed   int              // starts in a row
	crashed  int              // processes in a row, soon after they were given to a session
	listed   time.Time        // when lists were last read
}

func newPool(s *server) *pool {
	return &pool{
		s: s, most: s.cfg.maxProcesses(), warm: s.cfg.Warm,
		jobs: make(chan func(context.Context)), over: make(chan struct{}),
		kick: make(chan struct{}, 1), trip: make(chan struct{}, 1), change: make(chan struct{}),
		procs: map[*proc]struct{}{}, sessions: map[string]*proc{},
	}
}

// open gives a session its process: a spare, or one started for it. It returns the link and the
// number of sessions. A session that has a process keeps it. A *fullError says that there is
// none to be had; while one is ending, that is not said yet.
func (p *pool) open(ctx context.Context, id string, g greeting) (*link, int, error) {
	g.session = id
	late, cancel := context.WithTimeout(ctx, p.s.lim.StartTimeout)
	defer cancel()
	for waited := false; ; waited = true {
		pr, fresh, wait, err := p.assign(id, &g, waited)
		switch {
		case err != nil:
			return nil, 0, err
		case pr == nil:
			select {
			case <-wait:
				continue
			case <-late.Done():
				return nil, 0, p.giveUp(ctx)
			}
		case fresh:
			p.launch(pr, &g, false)
		}
		l, err := p.await(ctx, pr)
		return l, p.count(), err
	}
}

// assign finds the process of a session, a new one if fresh. If there is neither, it returns
// what to wait for before another try, or before giveUp.
func (p *pool) assign(id string, g *greeting, waited bool) (pr *proc, fresh bool, wait <-chan struct{}, err error) {
	p.mu.Lock()
	defer p.unlock()
	if waited {
		p.waiting--
		p.nudge() // a spare may have been held back
	}
	if pr := p.sessions[id]; pr != nil {
		if pr.state == procStarting || !pr.link.isLost() {
			return pr, false, nil, nil
		}
		p.detach(pr) // a moment ago; what is left of it has its place still
	}
	switch {
	case p.quiet != nil:
		return nil, false, nil, p.quiet
	case !p.ready:
		return nil, false, nil, errNotReady
	case len(p.sessions) >= p.most:
		p.s.stats.full.Add(1)
		return nil, false, nil, p.fullError()
	case len(p.sessions) >= p.s.lim.MaxSessions:
		return nil, false, nil, errTooMany
	}
	if pr := p.takeSpare(id, g); pr != nil {
		return pr, false, nil, nil
	}
	if len(p.procs) < p.most {
		pr := p.add()
		pr.session = id
		p.sessions[id] = pr
		return pr, true, nil, nil
	}
	if len(p.spares) > 0 { // of no use to this session, which goes before it
		p.release(p.spares[0])
	}
	p.waiting++
	return nil, false, p.change, nil
}

// takeSpare gives a spare to a session, if there is one that answered as a process of its own
// would. It may have asked for the client's roots before there was a client, so it is told that there
// are others now.
func (p *pool) takeSpare(id string, g *greeting) *proc {
	for len(p.spares) > 0 {
		pr := p.spares[0]
		if !pr.link.hello.Load().fits(g.version) {
			return nil
		}
		p.spares = p.spares[1:]
		if _, err := pr.link.openSession(id, pr.link.hello.Load().client(g.version, g.caps)); err != nil {
			continue // lost a moment ago
		}
		pr.state, pr.session, pr.since = procServing, id, time.Now()
		p.sessions[id] = pr
		if g.caps.has("roots") && !pr.link.rootless {
			pr.link.post([]byte(rootsChanged))
		}
		p.s.stats.sparesGiven.Add(1)
		p.nudge()
		return pr
	}
	return nil
}

// unlock releases p.mu, and says so where the last process was taken, or one came free.
func (p *pool) unlock() {
	full := len(p.sessions) >= p.most
	flipped := full != p.full
	p.full = full
	p.mu.Unlock()
	if flipped {
		p.s.tell()
	}
}

// giveUp is for a session that has waited for a process in vain, or whose client, ctx, waits no
// longer.
func (p *pool) giveUp(ctx context.Context) error {
	p.mu.Lock()
	p.waiting--
	p.mu.Unlock()
	p.nudge() // a spare may have been held back for it
	if err := ctx.Err(); err != nil {
		p.s.stats.abandoned.Add(1)
		return err
	}
	p.s.stats.full.Add(1)
	return p.fullError()
}

// await waits until a session's process has started and returns its link.
func (p *pool) await(ctx context.Context, pr *proc) (*link, error) {
	select {
	case <-pr.opened:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	switch {
	case pr.err == nil:
	case isAnswer(pr.err), errors.Is(pr.err, errSessionUnknown), errors.Is(pr.err, errFenced):
		return nil, pr.err
	default: // nothing has reached the server for the client, whatever went wrong
		return nil, fmt.Errorf("no process could be started: %v", pr.err)
	}
	p.mu.Lock()
	pr.claimed = true
	p.mu.Unlock()
	return pr.link, nil
}

// find returns a session and its link, once its process has started.
func (p *pool) find(ctx context.Context, id string) (*link, *session, error) {
	var l *link
	p.mu.Lock()
	pr := p.sessions[id]
	if pr != nil && pr.state == procServing {
		l, pr.claimed = pr.link, true
	}
	p.mu.Unlock()
	if pr == nil {
		return nil, nil, errSessionUnknown
	}
	if l == nil {
		var err error
		if l, err = p.await(ctx, pr); err != nil {
			return nil, nil, errSessionUnknown
		}
	}
	if ses := l.session(id); ses != nil {
		return l, ses, nil
	}
	return nil, nil, errSessionUnknown
}

// end ends a session and reports whether it was known. Its process follows once the calls in
// flight have their answers.
func (p *pool) end(id string) bool {
	p.mu.Lock()
	defer p.unlock()
	pr := p.sessions[id]
	if pr == nil {
		return false
	}
	if pr.state == procServing {
		pr.link.endSession(id)
	}
	p.release(pr)
	return true
}

// orphanTime is how long a process is kept that was started for a session while everybody who
// had asked for it went away. They may come back.
const orphanTime = 30 * time.Second

// expire ends the sessions that have been idle for longer than the fleet's d, or the server's
// own idle time.
func (p *pool) expire(d time.Duration) {
	p.mu.Lock()
	defer p.unlock()
	for id, pr := range p.sessions {
		if pr.state != procServing {
			continue
		}
		limit, count := d, &p.s.stats.expired
		if own := p.s.cfg.IdleTimeout; own > 0 && own < d {
			limit, count = own, &p.s.stats.idled
		}
		if !pr.claimed {
			limit = min(limit, orphanTime)
		}
		if pr.link.expire(limit) > 0 {
			if pr.claimed {
				count.Add(1)
			}
			p.s.log.Info("session was idle, and its process is ended", "session", store.SessionID(id), "dur", limit)
			p.release(pr)
		}
	}
}

// links are the connections to all processes that have started.
func (p *pool) links() []*link {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*link, 0, len(p.procs))
	for pr := range p.procs {
		if pr.link != nil {
			all = append(all, pr.link)
		}
	}
	return all
}

// refuse makes the pool take no new sessions, for good.
func (p *pool) refuse(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.quiet == nil {
		p.quiet = why
	}
}

func (p *pool) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.sessions)
}

// describe adds what there is of processes and sessions.
func (p *pool) describe(d *store.Server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d.Isolation, d.MaxProcesses, d.Full = IsolationSession, p.most, p.full
	d.StartSeconds = int(math.Ceil(p.s.lim.StartTimeout.Seconds()))
	d.Processes, d.Spares, d.Sessions = len(p.procs), len(p.spares), len(p.sessions)
	for pr := range p.procs {
		if pr.link != nil {
			_, inflight := pr.link.load()
			d.InFlight += inflight
		}
	}
}

func (p *pool) fullError() error { return &fullError{p.s.cfg.Name, p.most} }

// fullError says that every process a server may have is taken.
type fullError struct {
	server string
	most   int
}

func (e *fullError) Error() string {
	return fmt.Sprintf("server %s has all the processes it may have on this node: each of maxProcesses, %d, serves a session", e.server, e.most)
}
