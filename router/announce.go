package router

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/mcphub-go/mcphub/store"
)

// kinds are lists that a client is told to ask for again.
type kinds uint8

const (
	toolsChanged kinds = 1 << iota
	promptsChanged
	resourcesChanged // of resources, or of templates
	allChanged       = toolsChanged | promptsChanged | resourcesChanged
)

// announcements are what clients are told, by kind.
var announcements = []struct {
	kind kinds
	text []byte
}{
	{toolsChanged, []byte(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)},
	{promptsChanged, []byte(`{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}`)},
	{resourcesChanged, []byte(`{"jsonrpc":"2.0","method":"notifications/resources/list_changed"}`)},
}

// prints are fingerprints of what a view shows.
type prints struct{ tools, prompts, resources uint64 }

// changed are the lists in which two views differ.
func (p prints) changed(was prints) (k kinds) {
	if p.tools != was.tools {
		k |= toolsChanged
	}
	if p.prompts != was.prompts {
		k |= promptsChanged
	}
	if p.resources != was.resources {
		k |= resourcesChanged
	}
	return k
}

// short is the fingerprint of all, as event ids have it. It is not 0, which stands for none.
func (p prints) short() uint32 {
	var b [24]byte
	binary.BigEndian.PutUint64(b[:], p.tools)
	binary.BigEndian.PutUint64(b[8:], p.prompts)
	binary.BigEndian.PutUint64(b[16:], p.resources)
	return max(1, uint32(xxhash.Sum64(b[:]))) //nolint:gosec // cut on purpose
}

// printsOf are those of a view. A list that is known costs no more than finding it.
func (r *Router) printsOf(v view, have stock) prints {
	sum := func(methods ...string) uint64 {
		h := xxhash.New()
		for _, m := range methods {
			for _, i := range r.merged(v, listings[m], have) {
				_, _ = h.Write(i.raw)
				_, _ = h.Write([]byte{'\n'})
			}
		}
		return h.Sum64()
	}
	return prints{sum("tools/list"), sum("prompts/list"), sum("resources/list", "resources/templates/list")}
}

// announceEvery is the time between two looks at what the views that are watched show: what
// changes in between is announced once.
const announceEvery = 100 * time.Millisecond

// lookout watches, for all streams of this replica, what their clients may see of tools, prompts and
// resources. What a view shows is found out once for each change, however many streams there are.
// Safe for concurrent use.
type lookout struct {
	keepAlive, lookEvery time.Duration // the constants, but in tests

	mu    sync.Mutex
	views map[viewKey]*watched
}

// viewKey tells views apart: of two limits with the same name the servers are the same.
type viewKey struct {
	scope   string
	limited bool
	limit   string
}

func keyOf(scope string, limit *Limit) viewKey {
	if limit == nil {
		return viewKey{scope: scope}
	}
	return viewKey{scope, true, limit.Name}
}

// watched is a view with streams. The lookout's mutex guards it.
type watched struct {
	limit *Limit

	// What now follows from; see settled.
	roster  *roster
	group   *store.Group
	settled bool // everything could be read

	known   bool // now says something
	now     prints
	content listKey // of which now are the fingerprints

	sessions map[sid]*told
}

// told is what the client of a session was told of its view. The lookout's mutex guards it.
type told struct {
	known bool
	last  prints
	// sent is the short form of what the client has surely been told of, for the ids of events; 0 if
	// nothing is known.
	sent      uint32
	listeners []*listener // streams of the session, oldest first
}

// listener is a stream that can announce changes.
type listener struct {
	key  viewKey
	id   sid
	wake chan struct{} // something is due, or the view is gone
	due  kinds         // the lookout's mutex guards it
}

// listen begins to watch a view for a stream. The client was last told of what had the fingerprint
// told; 0 means that it has yet to ask for its lists.
func (r *Router) listen(ctx context.Context, s *session, v view, scope string, told uint32) *listener {
	l := &listener{key: keyOf(scope, v.limit), id: s.tok.random, wake: make(chan struct{}, 1)}
	r.lookout.add(l, v.limit, told)
	r.observe(ctx, l.key)
	return l
}

// add registers a listener.
func (o *lookout) add(l *listener, limit *Limit, sent uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.views == nil {
		o.views = map[viewKey]*watched{}
	}
	w := o.views[l.key]
	if w == nil {
		w = &watched{limit: limit, sessions: map[sid]*told{}}
		o.views[l.key] = w
	}
	t := w.sessions[l.id]
	if t == nil {
		t = &told{sent: sent}
		w.sessions[l.id] = t
	} else if sent != 0 && t.known && sent != t.last.short() {
		l.post(allChanged)
	}
	t.listeners = append(t.listeners, l)
	t.learn(w)
}

// post says that something is due. Callers hold the lookout's mutex.
func (l *listener) post(due kinds) {
	l.due |= due
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// learn compares what the view shows with what the client was told of. Callers hold the lookout's mutex.
func (t *told) learn(w *watched) {
	if !w.known {
		return
	}
	var due kinds
	switch {
	case t.known:
		due = w.now.changed(t.last)
	case t.sent == 0:
		t.sent = w.now.short()
	case t.sent != w.now.short():
		due = allChanged // in which of the lists it is, is not known any more
	}
	t.known, t.last = true, w.now
	if due != 0 {
		t.listeners[len(t.listeners)-1].post(due)
	}
}

// take hands over what is due on a stream, and the fingerprint that is to be given to sent.
func (o *lookout) take(l *listener) (due kinds, print uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	due, l.due = l.due, 0
	if t := o.told(l); t != nil && t.known {
		print = t.last.short()
	}
	return due, print
}

// sent notes that a client was told of what has a fingerprint.
func (o *lookout) sent(l *listener, print uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if t := o.told(l); t != nil {
		t.sent = print
	}
}

// print is the fingerprint of what the client of a stream was told of.
func (o *lookout) print(l *listener) uint32 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if t := o.told(l); t != nil {
		return t.sent
	}
	return 0
}

// told is what the client of a stream was told. Callers hold mu.
func (o *lookout) told(l *listener) *told {
	if w := o.views[l.key]; w != nil {
		return w.sessions[l.id]
	}
	return nil
}

// leave takes a stream out. What it had yet to announce another stream of the session does.
func (o *lookout) leave(l *listener) {
	o.mu.Lock()
	defer o.mu.Unlock()
	t := o.told(l)
	if t == nil {
		return
	}
	t.listeners = slices.DeleteFunc(t.listeners, func(x *listener) bool { return x == l })
	if n := len(t.listeners); n > 0 {
		if l.due != 0 {
			t.listeners[n-1].post(l.due)
		}
		return
	}
	w := o.views[l.key]
	if delete(w.sessions, l.id); len(w.sessions) == 0 {
		delete(o.views, l.key)
	}
}

// announce looks at every view that is watched.
func (r *Router) announce(ctx context.Context) {
	o := &r.lookout
	o.mu.Lock()
	keys := make([]viewKey, 0, len(o.views))
	for k := range o.views {
		keys = append(keys, k)
	}
	o.mu.Unlock()
	for _, k := range keys {
		r.observe(ctx, k)
	}
}

// observe finds out what a view shows, unless nothing has changed that it follows from, and tells
// the streams.
func (r *Router) observe(ctx context.Context, key viewKey) {
	o := &r.lookout
	o.mu.Lock()
	w := o.views[key]
	if w == nil {
		o.mu.Unlock()
		return
	}
	v, ok := r.view(key.scope, w.limit)
	same := w.settled && w.roster == v.roster && w.sameGroup(v.group)
	if !ok && w.settled { // a group that is gone takes its sessions with it
		w.settled = false
		for _, t := range w.sessions {
			for _, l := range t.listeners {
				l.post(0)
			}
		}
	}
	o.mu.Unlock()
	if !ok || same || unread(v.snap) {
		return
	}
	have := r.stock(ctx, v)
	if have.blind() != "" {
		return // what cannot be read is not gone
	}
	content := listKey{names: v.names, content: contentOf(v, listings["tools/list"], have)}
	o.mu.Lock()
	unchanged := w.known && w.content == content
	o.mu.Unlock()
	var now prints
	if !unchanged {
		now = r.printsOf(v, have)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	w.roster, w.group, w.settled = v.roster, v.group, !slices.ContainsFunc(have, func(s served) bool { return s.err != nil })
	if unchanged || w.known && w.now == now {
		return
	}
	w.known, w.now, w.content = true, now, content
	for _, t := range w.sessions {
		t.learn(w)
	}
}

// sameGroup says whether the view is of the same group as before.
func (w *watched) sameGroup(now *store.Group) bool {
	if w.group == nil || now == nil {
		return w.group == now
	}
	return sameGroup(*w.group, *now)
}
