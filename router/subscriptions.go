package router

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// subscriptions are the resources that the client of a session wants to hear of, by the server that
// was asked. They are remembered here and in the store, and asked for again whenever the session is
// opened at the server again, by whichever coordinator. The mutex of the session guards them.
type subscriptions struct {
	have map[store.Subscription]bool
	// state is the one of the store (store.Session.Subs) that have is as of, and latest the one that
	// the store was last seen to have.
	state, latest string
	// unsaved is what the store has yet to hear of: true for a subscription that was made.
	unsaved map[store.Subscription]bool
}

// subscribe notes that the client wants to hear of a resource, or no longer does.
func (s *session) subscribe(sub store.Subscription, wanted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subs.apply(sub, wanted)
	if s.subs.unsaved == nil {
		s.subs.unsaved = map[store.Subscription]bool{}
	}
	s.subs.unsaved[sub] = wanted
}

// apply changes what is had. Callers hold the session's mu.
func (b *subscriptions) apply(sub store.Subscription, wanted bool) {
	if !wanted {
		delete(b.have, sub)
		return
	}
	if b.have == nil {
		b.have = map[store.Subscription]bool{}
	}
	b.have[sub] = true
}

// subscribed are the servers at which a URI is subscribed to, as far as is known here, in order, and
// whether there is room for one more subscription.
func (s *session) subscribed(uri string) (at []store.ServerID, room bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sub := range s.subs.have {
		if sub.URI == uri {
			at = append(at, sub.Server)
		}
	}
	slices.Sort(at)
	return at, len(s.subs.have) < store.MaxSubscriptions
}

// learnSubs takes note of the store's state of the subscriptions. It returns true if the store has lost
// them: those that are known here are to be written again.
func (s *session) learnSubs(state string) (lost bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := &s.subs
	b.latest = state
	if state != "" || b.state == "" {
		return false
	}
	b.state = ""
	if b.unsaved == nil {
		b.unsaved = map[store.Subscription]bool{}
	}
	for sub := range b.have {
		b.unsaved[sub] = true
	}
	return len(b.have) > 0
}

// staleSubs says whether the store has other subscriptions than are known here, and in which state.
func (s *session) staleSubs() (state string, stale bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.subs.latest, s.subs.latest != s.subs.state
}

// loadSubs takes over the store's subscriptions, as of a state or later, under what it has yet to hear of.
func (s *session) loadSubs(all []store.Subscription, state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subs.have, s.subs.state = nil, state
	for _, sub := range all {
		s.subs.apply(sub, true)
	}
	for sub, wanted := range s.subs.unsaved {
		s.subs.apply(sub, wanted)
	}
}

// unsavedSubs are the changes that the store has yet to hear of.
func (s *session) unsavedSubs() map[store.Subscription]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.subs.unsaved)
}

// subSaved notes that the store has heard of a change, unless there was another one since; its state
// was and is now as given.
func (s *session) subSaved(sub store.Subscription, wanted bool, before, now string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := &s.subs
	if w, ok := b.unsaved[sub]; ok && w == wanted {
		delete(b.unsaved, sub)
	}
	if b.latest = now; b.state == before {
		b.state = now
	}
}

// dropSub forgets a subscription that the store does not take.
func (s *session) dropSub(sub store.Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.subs.unsaved, sub)
	delete(s.subs.have, sub)
}

// saveSubs tells the store of changes. It is false if that has to be done again, because the store is
// away, or has lost the session and gets it back first.
func (r *Router) saveSubs(ctx context.Context, s *session) bool {
	for sub, wanted := range s.unsavedSubs() {
		change := r.store.AddSubscription
		if !wanted {
			change = r.store.DropSubscription
		}
		sctx, cancel := r.bounded(context.WithoutCancel(ctx))
		before, now, err := change(sctx, s.tok.SessionID(), sub, r.cfg.SessionTimeout)
		cancel()
		r.noteStore(err)
		switch {
		case err == nil:
			s.subSaved(sub, wanted, before, now)
		case errors.Is(err, store.ErrEnded):
			s.end()
			return true
		case errors.Is(err, store.ErrNotFound):
			init, _, _ := s.origin()
			if len(init) == 0 {
				return true
			}
			r.todo.create(s)
			return false
		case errors.Is(err, store.ErrInvalid): // other coordinators have taken the room that there was
			s.dropSub(sub)
			r.log.WarnContext(ctx, "a subscription is not remembered; it is lost when its server's node is", "session", s.tok, "server", sub.Server, "err", err)
		default:
			return false
		}
	}
	return true
}

// freshSubs takes over what other coordinators have changed, if the store can be asked.
func (r *Router) freshSubs(ctx context.Context, s *session) {
	state, stale := s.staleSubs()
	if !stale {
		return
	}
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	all, err := r.store.Subscriptions(ctx, s.tok.SessionID())
	if r.noteStore(err); err == nil {
		s.loadSubs(all, state)
	}
}

// subscriptionsAt are those at one server, in order.
func (s *session) subscriptionsAt(server store.ServerID) (uris []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sub := range s.subs.have {
		if sub.Server == server {
			uris = append(uris, sub.URI)
		}
	}
	slices.Sort(uris)
	return uris
}

// Messages of our own to a node; see initializeHead.
const (
	subscribeHead   = `{"jsonrpc":"2.0","id":"mcphub-subscribe","method":"resources/subscribe","params":{"uri":`
	unsubscribeHead = `{"jsonrpc":"2.0","id":"mcphub-subscribe","method":"resources/unsubscribe","params":{"uri":`
	// maxAsking is how many of them are under way at one time.
	maxAsking = 8
)

// passSubscriptions asks a server for what the session is subscribed to there. It need not succeed: a
// resource may have gone, and the session is of use without.
func (r *Router) passSubscriptions(ctx context.Context, s *session, server store.ServerID, nodeURL string, epoch store.Epoch) {
	r.freshSubs(ctx, s)
	uris := s.subscriptionsAt(server)
	if len(uris) == 0 {
		return
	}
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(maxAsking)
	for _, uri := range uris {
		all.Go(func() error { return r.ask(ctx, s, server, nodeURL, epoch, subscribeHead, uri) })
	}
	if err := all.Wait(); err != nil {
		r.log.DebugContext(ctx, "subscriptions not given again", "session", s.tok, "server", server, "err", err)
	}
}

// ask sends a server a message of ours about a URI, and does not look at the answer.
func (r *Router) ask(ctx context.Context, s *session, server store.ServerID, nodeURL string, epoch store.Epoch, head, uri string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	_, era, _ := s.origin()
	a, err := r.hop.send(ctx, nodeURL, &outgoing{
		method: http.MethodPost, server: server, token: s.tok.text, epoch: epoch, version: era,
		body: append(append([]byte(head), wire.Quote(uri)...), "}}"...), timeout: closeTimeout,
	})
	if err != nil {
		return err
	}
	a.drain()
	a.Close()
	return nil
}

// keepSubscription remembers a change of the subscriptions, here and in the store.
func (r *Router) keepSubscription(ctx context.Context, s *session, sub store.Subscription, wanted bool) {
	s.subscribe(sub, wanted)
	if !r.saveSubs(ctx, s) {
		r.todo.subscription(s)
	}
	if !r.cfg.NoSticky {
		return
	}
	head := subscribeHead // without affinity the session may be open on other replicas too
	if !wanted {
		head = unsubscribeHead
	}
	r.askEach(ctx, s, r.holders([]bound{{server: sub.Server}}), head, sub.URI)
}

// askEach is ask at several places, at the same time.
func (r *Router) askEach(ctx context.Context, s *session, places []bound, head, uri string) {
	r.eachPlace(ctx, places, func(ctx context.Context, n *store.Node, server store.ServerID) {
		if err := r.ask(ctx, s, server, n.URL, n.Epoch, head, uri); err != nil {
			r.log.DebugContext(ctx, "subscription not passed on", "session", s.tok, "server", server, "node", n.ID, "err", err)
		}
	})
}

// subscription reads what a request is about, with the servers at which that is subscribed to, and
// whether there is room for more. Another coordinator may have been told of some, so the store is
// asked. An empty URI means that the request is answered.
func (q *question) subscription() (uri string, at []store.ServerID, room bool, err error) {
	_, uri, problem := q.text(q.f.Params, "params", "uri")
	switch {
	case problem != "":
		return "", nil, false, q.refuse(problem)
	case uri == "" || len(uri) > store.MaxSubscribed:
		return "", nil, false, q.refuse(fmt.Sprintf("params.uri has %d bytes; 1 to %d can be subscribed to", len(uri), store.MaxSubscribed))
	}
	if _, err := q.r.read(q.ctx, q.s); errors.Is(err, store.ErrEnded) {
		q.s.end()
		return "", nil, false, unknownSession(q.f.IDBytes())
	}
	q.r.freshSubs(q.ctx, q.s)
	at, room = q.s.subscribed(uri)
	return uri, at, room, nil
}

// subscribeResource sends a wish to hear of a resource to the server that owns its URI, as it is, and
// remembers it.
func (q *question) subscribeResource() error {
	uri, at, room, err := q.subscription()
	if uri == "" {
		return err
	}
	if len(at) == 0 && !room {
		return q.refuse(fmt.Sprintf("this session has %d subscriptions, which is the most that one may have; unsubscribe from some first", store.MaxSubscriptions))
	}
	server, err := q.ownerOf(uri)
	if server == "" {
		return err
	}
	if err := q.forward(server); err != nil {
		return err
	}
	q.r.keepSubscription(q.ctx, q.s, store.Subscription{Server: server, URI: uri}, true)
	return nil
}

// unsubscribeResource takes such a wish back, at the server that was asked.
func (q *question) unsubscribeResource() error {
	uri, at, _, err := q.subscription()
	if uri == "" {
		return err
	}
	at = slices.DeleteFunc(at, func(server store.ServerID) bool { return !q.v.has(server) })
	if len(at) == 0 {
		server, err := q.ownerOf(uri)
		if server == "" {
			return err
		}
		at = append(at, server)
	}
	if err := q.forward(at[0]); err != nil {
		return err
	}
	q.r.keepSubscription(q.ctx, q.s, store.Subscription{Server: at[0], URI: uri}, false)
	for _, server := range at[1:] { // another server has come to own the URI since it was subscribed to
		q.r.keepSubscription(q.ctx, q.s, store.Subscription{Server: server, URI: uri}, false)
		if b, ok := q.s.place(server); ok {
			q.r.askEach(q.ctx, q.s, []bound{b}, unsubscribeHead, uri)
		}
	}
	return nil
}

// subscribing says whether a message may be about a subscription, without taking it apart. The method's
// name may have escapes; whoever escapes its letters is not remembered.
func subscribing(body []byte) bool {
	return len(body) <= 2*store.MaxSubscribed && bytes.Contains(body, []byte("subscribe\""))
}

// noteSubscription remembers what a message of a session with one server says of subscriptions, after
// the server was asked. The session is given them again when it is moved.
func (r *Router) noteSubscription(ctx context.Context, s *session, server store.ServerID, m *wire.Frame) {
	if m == nil || m.Kind != wire.Request {
		return
	}
	wanted := m.Method == "resources/subscribe"
	if !wanted && m.Method != "resources/unsubscribe" {
		return
	}
	at, ok := m.Lookup("params", "uri")
	uri, isText := wire.Unquote(at.Of(m.Raw))
	if !ok || !isText || uri == "" || len(uri) > store.MaxSubscribed {
		return
	}
	if had, room := s.subscribed(uri); wanted && !room && len(had) == 0 {
		r.log.WarnContext(ctx, "a subscription is not remembered: the session has too many", "session", s.tok, "server", server)
		return
	}
	r.keepSubscription(ctx, s, store.Subscription{Server: server, URI: uri}, wanted)
}
