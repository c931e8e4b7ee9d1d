package router

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// Errors of Groups, beside store.ErrExists, ErrNotFound, ErrInvalid and ErrUnavailable.
var (
	// ErrGroupFixed says that the group stands in the settings file and is changed there only.
	ErrGroupFixed = errors.New("the group stands in the settings file; change it there")
	// ErrGroupName says that a server has the name of the group, so that an address under it
	// would mean two things.
	ErrGroupName = errors.New("a server has that name; choose another one for the group")
)

// GroupStore is the part of the store that groups need. Every call must end within a bound of
// its own.
type GroupStore interface {
	Groups(ctx context.Context, since int64) (list []store.Group, rev int64, err error)
	PutGroup(ctx context.Context, g store.Group, create bool) error
	DeleteGroup(ctx context.Context, name string) error
	RestoreGroups(ctx context.Context, list []store.Group) error
	AppendEvent(ctx context.Context, e store.Event) error
	Notify(ctx context.Context, h store.Hint) error
}

// groupPoll is the time between looks at the store, so that a change reaches every replica
// within a second also when the hint of it was lost.
const groupPoll = 500 * time.Millisecond

// Groups are the groups of servers: those of the settings file and those kept in Redis. Where
// one name is in both, the file wins. While Redis is away the last known ones are served, and
// a Redis that was emptied gets its groups back. Safe for concurrent use; only Put and Delete
// wait for the store.
type Groups struct {
	store GroupStore
	self  store.CoordinatorID // named in events
	log   *slog.Logger
	poke  chan struct{}
	view  atomic.Pointer[groupView]

	asking sync.Mutex // held while the store is read, so that answers are taken in their order

	mu     sync.Mutex // guards what follows
	fixed  []store.Group
	stored []store.Group
	rev    int64           // of stored; -1 until it has been read
	away   bool            // the last look at the store failed
	hidden map[string]bool // groups of Redis whose name the settings file has too
}

// groupView is what is served. It is never changed.
type groupView struct {
	revision int64
	list     []store.Group // sorted by name
}

// NewGroups makes groups out of those of the settings file. Those of Redis are known once
// [Groups.Run] has read them. self is this replica, which events of its changes name.
func NewGroups(fixed []store.Group, st GroupStore, self store.CoordinatorID, log *slog.Logger) *Groups {
	g := &Groups{store: st, self: self, log: log, poke: make(chan struct{}, 1), fixed: plain(fixed), rev: -1}
	g.view.Store(&groupView{})
	g.publish()
	return g
}

// plain are groups of a settings file as the store would give them, but without a time.
func plain(fixed []store.Group) []store.Group {
	out := slices.Clone(fixed)
	for i := range out {
		out[i].Updated = time.Time{}
		if out[i].Servers == nil {
			out[i].Servers = []store.GroupServer{}
		}
	}
	return out
}

// Run follows the groups in Redis until ctx ends and returns nil.
func (g *Groups) Run(ctx context.Context) error {
	tick := time.NewTicker(groupPoll)
	defer tick.Stop()
	for {
		g.read(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-g.poke:
		case <-tick.C:
		}
	}
}

// Poke asks for a look at the store now, since somebody said that groups have changed. It
// never blocks. Without it, or when word is lost, the next look finds the change.
func (g *Groups) Poke() {
	select {
	case g.poke <- struct{}{}:
	default:
	}
}

// Loaded reports whether the groups in Redis have been read at least once. Until then a group
// that Group does not find may exist all the same.
func (g *Groups) Loaded() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.rev >= 0
}

// List returns all groups, sorted by name. Those of the settings file have a zero Updated. What
// is returned must not be changed.
func (g *Groups) List() []store.Group { return slices.Clone(g.view.Load().list) }

// Group finds a group by name. What is returned must not be changed.
func (g *Groups) Group(name string) (store.Group, bool) {
	list := g.view.Load().list
	at, ok := slices.BinarySearchFunc(list, name, func(have store.Group, name string) int { return cmp.Compare(have.Name, name) })
	if !ok {
		return store.Group{}, false
	}
	return list[at], true
}

// Revision grows with every change of what Group and List return but for the times. It is this
// replica's own count.
func (g *Groups) Revision() int64 { return g.view.Load().revision }

// SetFixed replaces the groups of the settings file, after it was read anew.
func (g *Groups) SetFixed(fixed []store.Group) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fixed = plain(fixed)
	g.publish()
}

// Put writes a group to Redis: one that is new where create is true, and otherwise another
// content for one that stands. fleet is what is known of the nodes; nil means nothing. When it
// returns nil, this replica serves the group, and the others within a second.
//
// It returns ErrGroupFixed, ErrGroupName, store.ErrExists, ErrNotFound or ErrInvalid, after which
// nothing has changed, or store.ErrUnavailable, after which the group may stand.
func (g *Groups) Put(ctx context.Context, group store.Group, create bool, fleet *store.Snapshot) error {
	if g.isFixed(group.Name) {
		return fmt.Errorf("group %s: %w", group.Name, ErrGroupFixed)
	}
	if err := group.Check(); err != nil {
		return err
	}
	if serves(fleet, store.ServerID(group.Name)) {
		return fmt.Errorf("group %s: %w", group.Name, ErrGroupName)
	}
	g.read(ctx) // a Redis that was emptied must get the others back before it knows this one
	if err := g.store.PutGroup(ctx, group, create); err != nil {
		g.Poke() // what was refused shows that others have changed something
		return err
	}
	what := "changed"
	if create {
		what = "made"
	}
	g.changed(ctx, group.Name, what, fmt.Sprintf("group %s was %s: %d servers", group.Name, what, len(group.Servers)))
	return nil
}

// Delete takes a group out of Redis. It returns ErrGroupFixed, store.ErrNotFound or ErrInvalid,
// after which nothing has changed, or store.ErrUnavailable, after which it may be gone.
func (g *Groups) Delete(ctx context.Context, name string) error {
	if g.isFixed(name) {
		return fmt.Errorf("group %s: %w", name, ErrGroupFixed)
	}
	g.read(ctx)
	if err := g.store.DeleteGroup(ctx, name); err != nil {
		g.Poke()
		return err
	}
	g.changed(ctx, name, "deleted", "group "+name+" was deleted")
	return nil
}

func (g *Groups) isFixed(name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return has(g.fixed, name)
}

func has(list []store.Group, name string) bool {
	return slices.ContainsFunc(list, func(have store.Group) bool { return have.Name == name })
}

// serves says whether any node has such a server, callable or not.
func serves(fleet *store.Snapshot, id store.ServerID) bool {
	if fleet == nil {
		return false
	}
	return slices.ContainsFunc(fleet.Nodes, func(n store.Node) bool {
		_, ok := n.Server(id)
		return ok
	})
}

// changed follows up on a change made here: this replica sees it at once, the others are told.
func (g *Groups) changed(ctx context.Context, name, what, text string) {
	g.log.InfoContext(ctx, "group "+what, "group", name)
	if !g.read(ctx) {
		g.Poke()
	}
	if err := g.store.Notify(ctx, store.Hint{Kind: store.HintGroups}); err != nil { // they look by themselves
		g.log.DebugContext(ctx, "hint not sent", "err", err)
	}
	if err := g.store.AppendEvent(ctx, store.Event{Kind: store.EventGroupChanged, Coordinator: string(g.self), Text: text}); err != nil {
		g.log.WarnContext(ctx, "event not recorded", "err", err)
	}
}

// read takes over what the store has. It reports whether the store answered.
func (g *Groups) read(ctx context.Context) bool {
	g.asking.Lock()
	defer g.asking.Unlock()
	g.mu.Lock()
	have, known := g.rev, g.stored
	g.mu.Unlock()
	list, rev, err := g.store.Groups(ctx, have)
	if err == nil && rev == 0 && len(known) > 0 { // it had a revision: it was emptied
		list, rev, err = g.restore(ctx, known)
	}
	if err != nil {
		if ctx.Err() == nil {
			g.noteAway(err)
		}
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.away {
		g.away = false
		g.log.Info("groups can be read again")
	}
	g.rev = rev
	if list != nil {
		g.stored = list
		g.publish()
	}
	return true
}

// restore puts what is known back into a Redis that was emptied, and reads what stands then:
// another replica may have been first.
func (g *Groups) restore(ctx context.Context, known []store.Group) ([]store.Group, int64, error) {
	if err := g.store.RestoreGroups(ctx, known); err != nil {
		return nil, 0, err
	}
	g.log.Warn("Redis was emptied: its groups were put back", "groups", len(known))
	return g.store.Groups(ctx, -1)
}

// noteAway says once that the store does not answer.
func (g *Groups) noteAway(err error) {
	g.mu.Lock()
	was := g.away
	g.away = true
	g.mu.Unlock()
	if !was {
		g.log.Warn("groups cannot be read, going on with those that are known", "err", err)
	}
}

// publish makes a view of what is known. Callers hold mu.
func (g *Groups) publish() {
	old := g.view.Load()
	next := &groupView{revision: old.revision, list: slices.Clone(g.fixed)}
	hidden := map[string]bool{}
	for _, group := range g.stored {
		if !has(g.fixed, group.Name) {
			next.list = append(next.list, group)
			continue
		}
		if hidden[group.Name] = true; !g.hidden[group.Name] {
			g.log.Warn("a group stands in the settings file and in Redis: the file's is served", "group", group.Name)
		}
	}
	g.hidden = hidden
	slices.SortFunc(next.list, func(a, b store.Group) int { return cmp.Compare(a.Name, b.Name) })
	if old.revision == 0 || !slices.EqualFunc(old.list, next.list, sameGroup) {
		next.revision++
	}
	g.view.Store(next)
}

// sameGroup compares everything but the times.
func sameGroup(a, b store.Group) bool {
	a.Updated, b.Updated = time.Time{}, time.Time{}
	return reflect.DeepEqual(a, b)
}
