package router

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// fakeStore keeps the store's contract in memory, counts what it is asked and can be away.
type fakeStore struct {
	mu       sync.Mutex
	down     bool
	sessions map[store.SessionID]*store.Session
	ended    map[store.SessionID]bool
	catalogs map[store.Digest][]byte
	events   []store.Event
	touched  []store.SessionID
	endTTL   time.Duration // of the last end
	ops      map[string]int
	subs     []chan store.Hint
	wishes   map[store.SessionID]map[store.Subscription]bool
	onBind   func()                     // called without the lock, before a bind
	claims   map[store.SessionID]string // subjects
	states   int                        // of subscriptions, that were ever
	onRead   func()                     // called once without the lock, after a session was read
}

func newFakeStore() *fakeStore {
	return &fakeStore{
		sessions: map[store.SessionID]*store.Session{}, ended: map[store.SessionID]bool{},
		catalogs: map[store.Digest][]byte{}, ops: map[string]int{}, claims: map[store.SessionID]string{}, wishes: map[store.SessionID]map[store.Subscription]bool{},
	}
}

// op counts one command and fails it if the store is away. Callers hold mu.
func (s *fakeStore) op(name string) error {
	s.ops[name]++
	if s.down {
		return fmt.Errorf("%s: %w", name, store.ErrUnavailable)
	}
	return nil
}

func (s *fakeStore) total() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.ops {
		n += k
	}
	return n
}

func (s *fakeStore) setDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// wipe forgets everything, as a Redis that restarts empty does.
func (s *fakeStore) wipe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.sessions)
	clear(s.ended)
	clear(s.wishes)
}

func (s *fakeStore) get(id store.SessionID) (store.Session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rec := s.sessions[id]; rec != nil {
		return clone(*rec), true
	}
	return store.Session{}, false
}

func clone(rec store.Session) store.Session {
	b := make(map[store.ServerID]store.Binding, len(rec.Bindings))
	for k, v := range rec.Bindings {
		b[k] = v
	}
	rec.Bindings = b
	return rec
}

func (s *fakeStore) kinds() (out []store.EventKind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		out = append(out, e.Kind)
	}
	return out
}

func (s *fakeStore) ClaimSession(_ context.Context, id store.SessionID, subject string, most int, _ time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.op("claim"); err != nil {
		return err
	}
	n := 0
	for _, of := range s.claims {
		if of == subject {
			n++
		}
	}
	if n >= most {
		return store.ErrTooMany
	}
	s.claims[id] = subject
	return nil
}

func (s *fakeStore) UnclaimSession(_ context.Context, id store.SessionID, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.claims, id)
	return s.op("unclaim")
}

func (s *fakeStore) CreateSession(_ context.Context, rec store.Session, _ time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.op("create"); err != nil {
		return err
	}
	if s.ended[rec.ID] {
		return store.ErrEnded
	}
	if old := s.sessions[rec.ID]; old != nil {
		for k, v := range rec.Bindings {
			if _, ok := old.Bindings[k]; !ok {
				old.Bindings[k] = v
			}
		}
		return nil
	}
	rec = clone(rec)
	rec.Subs = ""
	for k, v := range rec.Bindings {
		if v == (store.Binding{}) {
			delete(rec.Bindings, k)
		}
	}
	s.sessions[rec.ID] = &rec
	return nil
}

func (s *fakeStore) Session(_ context.Context, id store.SessionID) (store.Session, error) {
	rec, err := s.session(id)
	s.mu.Lock()
	wait := s.onRead
	s.onRead = nil
	s.mu.Unlock()
	if wait != nil {
		wait()
	}
	return rec, err
}

func (s *fakeStore) session(id store.SessionID) (store.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.op("session"); err != nil {
		return store.Session{}, err
	}
	if s.ended[id] {
		return store.Session{}, store.ErrEnded
	}
	if s.sessions[id] == nil {
		return store.Session{}, store.ErrNotFound
	}
	return clone(*s.sessions[id]), nil
}

func (s *fakeStore) Bind(_ context.Context, id store.SessionID, server store.ServerID, old, next store.Binding, _ time.Duration) (store.Binding, error) {
	s.mu.Lock()
	wait := s.onBind
	s.mu.Unlock()
	if wait != nil {
		wait()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.op("bind"); err != nil {
		return store.Binding{}, err
	}
	if s.ended[id] {
		return store.Binding{}, store.ErrEnded
	}
	rec := s.sessions[id]
	if rec == nil {
		return store.Binding{}, store.ErrNotFound
	}
	if rec.Bindings[server] == old {
		rec.Bindings[server] = next
	}
	return rec.Bindings[server], nil
}

func (s *fakeStore) SetSessionLevel(_ context.Context, id store.SessionID, level string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.op("level"); err != nil {
		return err
	}
	if s.ended[id] {
		return store.ErrEnded
	}
	if s.sessions[id] == nil {
		return store.ErrNotFound
	}
	s.sessions[id].Level = level
	return nil
}

func (s *fakeStore) AddSubscription(_ context.Context, id store.SessionID, sub store.Subscription, _ time.Duration) (before, now string, err error) {
	return s.subscription(id, sub, true)
}

func (s *fakeStore) DropSubscription(_ context.Context, id store.SessionID, sub store.Subscription, _ time.Duration) (before, now string, err error) {
	return s.subscription(id, sub, false)
}

func (s *fakeStore) subscription(id store.SessionID, sub store.Subscription, wanted bool) (before, now string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.op("subscription"); err != nil {
		return "", "", err
	}
	rec := s.sessions[id]
	switch {
	case s.ended[id]:
		return "", "", store.ErrEnded
	case rec == nil:
		return "", "", store.ErrNotFound
	}
	if s.wishes[id] == nil {
		s.wishes[id] = map[store.Subscription]bool{}
	}
	before = rec.Subs
	if s.wishes[id][sub] != wanted {
		if wanted && len(s.wishes[id]) == store.MaxSubscriptions {
			return "", "", store.ErrTooMany
		}
		s.states++
		rec.Subs = fmt.Sprint(s.states)
	}
	if s.wishes[id][sub] = wanted; !wanted {
		delete(s.wishes[id], sub)
	}
	return before, rec.Subs, nil
}

func (s *fakeStore) Subscriptions(_ context.Context, id store.SessionID) (out []store.Subscription, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.op("subscriptions"); err != nil {
		return nil, err
	}
	for sub := range s.wishes[id] {
		out = append(out, sub)
	}
	return out, nil
}

func (s *fakeStore) TouchSessions(_ context.Context, ids []store.SessionID, _ time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.op("touch"); err != nil {
		return err
	}
	s.touched = append(s.touched, ids...)
	var lost store.MissingSessionsError
	for _, id := range ids {
		switch {
		case s.ended[id]:
			lost.Ended = append(lost.Ended, id)
		case s.sessions[id] == nil:
			lost.Missing = append(lost.Missing, id)
		}
	}
	if len(lost.Ended)+len(lost.Missing) > 0 {
		return &lost
	}
	return nil
}

func (s *fakeStore) EndSession(_ context.Context, id store.SessionID, ttl time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.op("end"); err != nil {
		return err
	}
	delete(s.sessions, id)
	delete(s.wishes, id)
	delete(s.claims, id)
	s.ended[id], s.endTTL = true, ttl
	return nil
}

func (s *fakeStore) Catalog(_ context.Context, d store.Digest) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.op("catalog"); err != nil {
		return nil, err
	}
	if s.catalogs[d] == nil {
		return nil, store.ErrNotFound
	}
	return s.catalogs[d], nil
}

func (s *fakeStore) AppendEvent(_ context.Context, e store.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.op("event"); err != nil {
		return err
	}
	s.events = append(s.events, e)
	return nil
}

func (s *fakeStore) Notify(_ context.Context, h store.Hint) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.op("notify"); err != nil {
		return err
	}
	for _, sub := range s.subs {
		select {
		case sub <- h:
		default:
		}
	}
	return nil
}

func (s *fakeStore) Subscribe(ctx context.Context) (<-chan store.Hint, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := make(chan store.Hint, 16)
	s.subs = append(s.subs, sub)
	out := make(chan store.Hint)
	go func() {
		defer close(out)
		for {
			select {
			case <-ctx.Done():
				return
			case h := <-sub:
				select {
				case out <- h:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out, nil
}

// subscribers counts those who take hints.
func (s *fakeStore) subscribers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.subs)
}
