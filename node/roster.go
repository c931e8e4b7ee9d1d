package node

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// roster is the servers of a node, which change with its settings while it runs. It is safe for
// concurrent use.
type roster struct {
	log   *slog.Logger
	drain time.Duration
	build func(ServerConfig) *server
	tell  func() // says that what is shown has changed
	now   atomic.Pointer[lineup]

	mu      sync.Mutex // guards the rest
	places  map[string]*place
	leaving map[*server]struct{}
	spawn   func(func(context.Context)) // nil before run; the context ends with the node
	over    bool                        // nothing changes any more
}

// place is a name in the settings.
type place struct {
	server *server // the one that is shown and called
	next   *server // of newer settings, to take over once it has been tried; nil for none
}

// lineup is the servers at one moment. It is not changed once made.
type lineup struct {
	shown  []*server // sorted by name
	byName map[string]*server
	all    []*server // with those that are about to take over, or are finishing their calls
}

func newRoster(drain time.Duration, log *slog.Logger, tell func(), build func(ServerConfig) *server) *roster {
	r := &roster{
		log: log, drain: drain, tell: tell, build: build,
		places: map[string]*place{}, leaving: map[*server]struct{}{},
	}
	r.now.Store(&lineup{})
	return r
}

// begin starts the servers there are, and returns them. What it starts goes through spawn.
func (r *roster) begin(spawn func(func(context.Context))) []*server {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spawn = spawn
	l := r.now.Load()
	for _, s := range l.shown {
		r.start(s)
	}
	return l.shown
}

// freeze keeps the servers as they are from now on.
func (r *roster) freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
}

var errStopped = errors.New("the node is stopping: its servers do not change any more")

// set makes the servers those of the list, whose names are unique.
func (r *roster) set(list []ServerConfig) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return errStopped
	}
	var added, changed, removed []string
	wanted := map[string]bool{}
	for _, sc := range list {
		wanted[sc.Name] = true
		switch p := r.places[sc.Name]; {
		case p == nil:
			s := r.build(sc)
			r.places[sc.Name] = &place{server: s}
			r.start(s)
			added = append(added, sc.Name)
		case r.change(p, sc):
			changed = append(changed, sc.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.places)) {
		if !wanted[name] {
			r.remove(name)
			removed = append(removed, name)
		}
	}
	if len(added)+len(changed)+len(removed) == 0 {
		return nil
	}
	r.lineUp()
	if r.spawn != nil {
		r.log.Info("settings of servers have changed", "added", names(added), "changed", names(changed), "removed", names(removed))
	}
	return nil
}

// change gives a place other settings, and reports whether they are other ones. The server with
// the new ones takes over once it has been tried, or at once where there is nothing to lose.
func (r *roster) change(p *place, sc ServerConfig) bool {
	newest := p.server
	if p.next != nil {
		newest = p.next
	}
	if same(newest.cfg, sc) {
		return newest.reweigh(sc.Weight)
	}
	if p.next != nil {
		r.retire(p.next)
		p.next = nil
	}
	if same(p.server.cfg, sc) { // back to what serves still
		p.server.reweigh(sc.Weight)
		return true
	}
	s := r.build(sc)
	r.start(s)
	if len(p.server.links()) == 0 && p.server.current() != store.ServerReady {
		r.retire(p.server)
		p.server = s
		return true
	}
	p.next = s
	r.spawn(func(context.Context) {
		<-s.tried // which a server that is stopped is, too
		r.takeOver(p, s)
	})
	return true
}

// takeOver gives a place to the server that was started for it, unless that has changed.
func (r *roster) takeOver(p *place, s *server) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.next != s || r.over {
		return
	}
	r.retire(p.server)
	p.server, p.next = s, nil
	r.lineUp()
}

func (r *roster) remove(name string) {
	p := r.places[name]
	delete(r.places, name)
	r.retire(p.server)
	if p.next != nil {
		r.retire(p.next)
		p.next = nil
	}
}

// start runs a server, if the node runs, until it is retired or the node stops. r.mu is held.
func (r *roster) start(s *server) {
	if r.spawn == nil {
		return
	}
	r.spawn(func(ctx context.Context) {
		ctx, cancel := context.WithCancelCause(ctx)
		ended := make(chan struct{})
		go func() {
			s.run(ctx)
			close(ended)
		}()
		select {
		case <-s.leave:
			left := finish(ctx, r.drain, func() int { return s.quiesce(errSessionUnknown) })
			if left > 0 && ctx.Err() == nil {
				s.log.Warn("requests still in flight are cut off", "requests", left)
			}
		case <-ctx.Done():
		}
		cancel(errReplaced)
		<-ended
		r.gone(s)
	})
}

// retire lets a server finish its calls and then stops it. r.mu is held.
func (r *roster) retire(s *server) {
	if r.spawn != nil {
		r.leaving[s] = struct{}{}
		close(s.leave)
	}
}

// gone forgets a server of which nothing is left.
func (r *roster) gone(s *server) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, was := r.leaving[s]; was {
		delete(r.leaving, s)
		r.lineUp()
	}
}

// lineUp makes the servers what everybody sees. r.mu is held.
func (r *roster) lineUp() {
	l := &lineup{byName: make(map[string]*server, len(r.places))}
	for _, name := range slices.Sorted(maps.Keys(r.places)) {
		p := r.places[name]
		l.shown = append(l.shown, p.server)
		l.byName[name] = p.server
		if p.next != nil {
			l.all = append(l.all, p.next)
		}
	}
	l.all = append(l.all, l.shown...)
	for s := range r.leaving {
		l.all = append(l.all, s)
	}
	r.now.Store(l)
	r.tell()
}

// same says that two settings differ in weight at most.
func same(a, b ServerConfig) bool {
	return sameBuiltin(a.Builtin, b.Builtin) && reflect.DeepEqual(plain(a), plain(b))
}

// plain are settings in the one form that those have which mean the same.
func plain(sc ServerConfig) ServerConfig {
	sc.Builtin, sc.Weight = nil, 0
	if len(sc.Args) == 0 {
		sc.Args = nil
	}
	if len(sc.Env) == 0 {
		sc.Env = nil
	}
	if len(sc.Headers) == 0 {
		sc.Headers = nil
	}
	if sc.isolated() {
		sc.MaxProcesses = sc.maxProcesses()
	} else {
		sc.Isolation = ""
	}
	return sc
}

func sameBuiltin(a, b Builtin) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}
