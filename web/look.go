package web

import (
	"context"
	"net/http"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// look is one reading of the fleet; the errors say which parts are missing.
type look struct {
	snapshot        *store.Snapshot
	fresh           time.Time // when this snapshot was first seen, by this process's clock
	redis           Redis
	groups          []store.Group
	sessions        []store.Session
	sessTotal       int
	sessionsErr     error
	events          []store.Event
	eventsErr       error
	coordinators    []store.Coordinator
	coordinatorsErr error
	conflicts       []Conflict
	conflictsErr    error
	conflictsAt     time.Time // when they were worked out
	at              time.Time // this process's clock
}

// conflictsAge is how long the conflicts that were worked out serve: to find them, the lists of
// all servers are compared, and these change seldom.
const conflictsAge = 10 * time.Second

// look reads the fleet, or gives the last reading while it is younger than MaxAge. The
// reading is shared, so it does not end with the request that happened to start it.
func (p *Page) look(ctx context.Context) look {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if !p.last.at.IsZero() && now.Sub(p.last.at) < p.cfg.MaxAge {
		return p.last
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ReadTimeout)
	defer cancel()
	l := look{at: now, redis: p.reader.Redis(), groups: p.reader.Groups()}
	l.sessTotal, l.sessionsErr = p.reader.CountSessions(ctx)
	if l.sessionsErr == nil {
		l.sessions, _, l.sessionsErr = p.reader.Sessions(ctx, "", sessionsRead)
	}
	l.events, l.eventsErr = p.reader.Events(ctx, eventsShown)
	l.coordinators, l.coordinatorsErr = p.reader.Coordinators(ctx)
	l.conflicts, l.conflictsErr, l.conflictsAt = p.last.conflicts, p.last.conflictsErr, p.last.conflictsAt
	if now.Sub(l.conflictsAt) >= conflictsAge {
		l.conflicts, l.conflictsErr = p.reader.Conflicts(ctx)
		l.conflictsAt = now
	}
	l.snapshot, l.fresh = p.reader.Snapshot(), now // last, so that its clock is not behind the others'
	if l.snapshot == p.last.snapshot {
		l.fresh = p.last.fresh
	}
	p.last = l
	return l
}

// nodes are what is known of them; nil if nothing is.
func (l *look) nodes() []store.Node {
	if l.snapshot == nil {
		return nil
	}
	return l.snapshot.Nodes
}

// now is Redis's clock, on which ages of what Redis dated are counted: the snapshot carries it,
// and this process's clock says only how old the snapshot is. Without a snapshot there is
// nothing better than this process's clock.
func (l *look) now() time.Time {
	if l.snapshot == nil {
		return l.at
	}
	return l.snapshot.Taken.Add(l.at.Sub(l.fresh))
}

// withTimeout is the context of something that is read for one request alone.
func withTimeout(r *http.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.Context(), ReadTimeout)
}
