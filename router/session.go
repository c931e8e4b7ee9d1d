package router

import (
	"context"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// session is what this replica remembers of a session. Safe for concurrent use.
type session struct {
	tok     Token
	scope   string // as in the store
	subject string // as in the store

	touched atomic.Bool // used since the last renewal of its time to live

	mu     sync.Mutex
	init   []byte // the client's initialize params; nil if not known here
	era    string // negotiated protocol version, as the client names it until more is known; empty if it does not
	bound  []bound
	seen   time.Time // of the last request here
	ended  bool
	stored bool // the store has it, as far as is known
	lapsed bool // idle here beyond its time, and the store does not have it
	// openings are looked at where there is no affinity; see spread.
	openings openings
	missed   time.Time // when a node was looked for and the store did not have it; zero if it had
	level    logLevel
	subs     subscriptions
	news     chan struct{} // closed when the places change or the session ends; nil if nobody waits
}

// bound is the session's place for one server.
type bound struct {
	server store.ServerID
	store.Binding
	// gen grows with each time the session was opened on a node, so that of two callers that
	// found the same place failing only one opens it again.
	gen int
	// adopted is when the place was taken over from another coordinator, which may still be
	// opening it; zero if it has surely done so.
	adopted time.Time
	// guessed says that the place was computed, not agreed: the store was away.
	guessed bool
	// unsaved says that the store has yet to agree to the place; see backlog.bind.
	unsaved bool
}

// storedSubject is the subject as the store keeps it.
func storedSubject(subject string) string {
	if subject == "" {
		return ""
	}
	d := subjectDigest(subject)
	return hex.EncodeToString(d[:])
}

func newSession(tok Token, req *Request) *session {
	return &session{
		tok: tok, scope: req.scope(), subject: storedSubject(req.Subject), seen: time.Now(),
		era: first(req.Header, wire.HeaderVersion),
	}
}

// wide says that the session is one over several servers.
func (s *session) wide() bool {
	return s.scope == store.ScopeAll || strings.HasPrefix(s.scope, store.ScopeGroup)
}

// place is the session's binding for a server.
func (s *session) place(server store.ServerID) (bound, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.lookup(server)
	return b, b.gen > 0
}

// places are all bindings.
func (s *session) places() []bound {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]bound(nil), s.bound...)
}

// settle records where the session sits for a server and returns the new place.
func (s *session) settle(b bound) bound {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.set(b)
}

func (s *session) set(b bound) bound {
	s.tell()
	for i := range s.bound {
		if s.bound[i].server == b.server {
			b.gen = s.bound[i].gen + 1
			s.bound[i] = b
			return b
		}
	}
	b.gen = 1
	s.bound = append(s.bound, b)
	return b
}

// settleIf records a place unless the one that was seen at generation gen has changed since: an
// answer that was long under way does not undo what was done meanwhile. It says whether it did.
func (s *session) settleIf(gen int, b bound) (done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if done = s.lookup(b.server).gen == gen; done {
		s.set(b)
	}
	return done
}

// lookup is the place for a server, or the zero place. Callers hold mu.
func (s *session) lookup(server store.ServerID) bound {
	for _, b := range s.bound {
		if b.server == server {
			return b
		}
	}
	return bound{server: server}
}

// firstCalls is how long after it began a session may be in the middle of being opened on its
// nodes for the first time: clients send their first calls at once, and in parallel.
const firstCalls = 5 * time.Second

// learn takes over what the store knows, except where the store has yet to hear of a place
// chosen here, and where a place has changed since before, which are the places as they were
// when the store was asked: what it said of those is old. A place that is new here has just been
// agreed on, if this replica knew the session before, or if the session itself is new.
func (s *session) learn(rec store.Session, before []bound) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var adopted time.Time
	if len(s.init) > 0 || time.Since(s.tok.Issued) < firstCalls {
		adopted = time.Now()
	}
	s.init, s.era = rec.Init, rec.Era
	s.stored, s.lapsed, s.missed = true, false, time.Time{}
	for server, b := range rec.Bindings {
		gen := 0
		for _, o := range before {
			if o.server == server {
				gen = o.gen
			}
		}
		now := s.lookup(server)
		if b != (store.Binding{}) && now.Binding != b && !now.unsaved && now.gen == gen {
			s.set(bound{server: server, Binding: b, adopted: adopted})
		}
	}
}

// record is the session as it is written back.
func (s *session) record() store.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	rec := store.Session{
		ID: s.tok.SessionID(), Subject: s.subject, Scope: s.scope, Era: s.era, Init: s.init, Level: s.level.name,
		Bindings: make(map[store.ServerID]store.Binding, len(s.bound)),
	}
	for _, b := range s.bound {
		rec.Bindings[b.server] = b.Binding
	}
	return rec
}

// origin is what a replay needs: the client's initialize params and the negotiated version.
func (s *session) origin() (init []byte, era string, lapsed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.init, s.era, s.lapsed
}

// revision is the protocol version that a client's request names in its headers, or else that of the
// session; empty if neither is known here.
func (s *session) revision(h http.Header) string {
	if v := first(h, wire.HeaderVersion); v != "" {
		return v
	}
	_, era, _ := s.origin()
	return era
}

func (s *session) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.tell()
}

// changed is closed at the next change of the session's places, and when the session ends.
func (s *session) changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.news == nil {
		s.news = make(chan struct{})
	}
	return s.news
}

// tell wakes those who wait for a change. Callers hold mu.
func (s *session) tell() {
	if s.news != nil {
		close(s.news)
		s.news = nil
	}
}

// setStored notes whether the store has the session and says what was thought before.
func (s *session) setStored(stored bool) (before bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, s.stored = s.stored, stored
	if stored {
		s.lapsed, s.missed = false, time.Time{}
	}
	return before
}

// miss notes that the store does not have a session that is to be moved.
func (s *session) miss() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored = false
	if s.missed.IsZero() {
		s.missed = time.Now()
	}
}

// saved notes that the store has agreed to a place, unless it is another one by now.
func (s *session) saved(b bound) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.bound {
		if s.bound[i].server == b.server && s.bound[i].gen == b.gen {
			s.bound[i].unsaved = false
		}
	}
}

// session finds the session of a request: its id is verified, it belongs to this endpoint and
// this subject, and it has not ended. Every failure is the same answer, an unknown session.
func (r *Router) session(ctx context.Context, req *Request) (*session, error) {
	tok, s, err := r.cached(req.SessionID)
	if err != nil || !tok.For(req.scope(), req.Subject) {
		r.stats.unknown.Add(1)
		return nil, unknownSession(nil)
	}
	if s == nil || r.idleTooLong(s) {
		if s, err = r.load(ctx, tok, req, s); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	ended := s.ended
	s.seen = time.Now()
	s.mu.Unlock()
	if ended {
		r.stats.unknown.Add(1)
		return nil, unknownSession(nil)
	}
	if !s.touched.Load() && s.touched.CompareAndSwap(false, true) {
		r.todo.touch(s)
	}
	return s, nil
}

// cached takes a session id apart and finds its session in the cache; nil if it is not there. An id
// that is to the letter the one of a cached session was verified when that came into the cache,
// and is not verified again.
func (r *Router) cached(id string) (Token, *session, error) {
	if s, ok := r.cache.Get(randomOf(id)); ok && subtle.ConstantTimeCompare([]byte(s.tok.text), []byte(id)) == 1 {
		return s.tok, s, nil
	}
	tok, err := r.cfg.Keys.Parse(id)
	if err != nil {
		return Token{}, nil, err
	}
	s, _ := r.cache.Get(tok.random)
	return tok, s, nil
}

// idleTooLong says that a cached session was not used here for its whole time to live. It may
// have been used elsewhere, or have expired: the store knows.
func (r *Router) idleTooLong(s *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.ended && time.Since(s.seen) > r.cfg.SessionTimeout
}

// clockSlack is how far the clocks of two coordinators may be apart without a session of one
// looking expired to the other.
const clockSlack = 5 * time.Minute

// load asks the store for a session that is not in the cache, or was not used for long. With
// the store away, or without the session in it, a single-server session is looked for at the
// home that its id names; that node has the last word.
func (r *Router) load(ctx context.Context, tok Token, req *Request, known *session) (*session, error) {
	v, err, _ := r.loading.Do(string(tok.random[:]), func() (any, error) {
		s := known
		if s == nil {
			if cached, ok := r.cache.Get(tok.random); ok {
				return cached, nil // another request has loaded it meanwhile
			}
			s = newSession(tok, req)
			if tok.Home != "" {
				s.bound = append(s.bound, bound{server: store.ServerID(req.Scope), Binding: store.Binding{Node: tok.Home, Epoch: tok.Epoch}, gen: 1})
			}
		}
		old := time.Since(tok.Issued) > r.cfg.SessionTimeout+clockSlack
		switch _, err := r.read(context.WithoutCancel(ctx), s); {
		case err == nil:
		case errors.Is(err, store.ErrEnded):
			s.end()
		case errors.Is(err, store.ErrNotFound):
			if tok.Home == "" && old {
				if r.doubt.lately() {
					r.seek(ctx, tok.SessionID())
					return nil, recovering()
				}
				return nil, unknownSession(nil)
			}
			s.mu.Lock()
			s.stored, s.lapsed = false, old || known != nil
			s.mu.Unlock()
		default:
			r.todo.reread(s)
		}
		r.cache.Add(tok.random, s)
		return s, nil
	})
	if errors.Is(err, ErrUnknownSession) {
		r.stats.unknown.Add(1)
	}
	if err != nil {
		return nil, err
	}
	return v.(*session), nil
}

// read reads a session from the store, within the bound, and has it learn what is there.
func (r *Router) read(ctx context.Context, s *session) (store.Session, error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	r.stats.storeReads.Add(1)
	before := s.places()
	_, level := s.wantedLevel()
	rec, err := r.store.Session(ctx, s.tok.SessionID())
	r.noteStore(err)
	if err == nil {
		s.learn(rec, before)
		s.learnLevel(rec.Level, level)
		if s.learnSubs(rec.Subs) {
			r.todo.subscription(s)
		}
	}
	return rec, err
}
