package router

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// subject is the session that is explained.
type subject struct {
	random   sid
	server   store.ServerID
	existing bool
	scope    string
	place    store.Binding // zero if it sits nowhere for the server
	prefer   store.NodeID
}

func (r *Router) subjectOf(ctx context.Context, req ExplainRequest) (subject, error) {
	q := subject{server: req.Server, prefer: r.preferred(&Request{Prefer: req.Prefer})}
	if len(req.Without)+len(req.With) > maxWhatIf {
		return q, badRequest(nil, fmt.Sprintf("more than %d nodes in without and with", maxWhatIf))
	}
	for _, id := range req.With {
		if err := wire.CheckName("node", string(id)); err != nil {
			return q, badRequest(nil, err.Error())
		}
	}
	switch {
	case req.Session != "" && req.Key != "":
		return q, badRequest(nil, "give a session or a key, not both")
	case req.Session != "":
		if err := r.lookUp(ctx, req.Session, &q); err != nil {
			return q, err
		}
		if err := r.inScope(&q); err != nil {
			return q, err
		}
	case req.Key != "":
		sum := sha256.Sum256([]byte("explain\n" + req.Key))
		q.random = sid(sum[:len(q.random)])
	default:
		return q, badRequest(nil, "give a session: its whole id or its random part; or any text as the key of one that does not exist")
	}
	if q.server == "" {
		return q, badRequest(nil, "name a server: this session may use several")
	}
	return q, nil
}

// inScope checks that a session's scope has the server, and fills it in where there is only one.
func (r *Router) inScope(q *subject) error {
	group, grouped := strings.CutPrefix(q.scope, store.ScopeGroup)
	switch {
	case q.scope == store.ScopeAll:
	case grouped:
		if r.cfg.Groups == nil || q.server == "" {
			return nil
		}
		if g, ok := r.cfg.Groups.Group(group); ok {
			if _, ok := g.Server(q.server); !ok {
				return badRequest(nil, "this session is one over group "+group+", which does not have that server")
			}
		}
	case q.server == "":
		q.server = store.ServerID(q.scope)
	case q.server != store.ServerID(q.scope):
		return badRequest(nil, "this session is one with server "+q.scope+" alone")
	}
	return nil
}

// lookUp finds a session that exists, here or in the store, and where it sits.
func (r *Router) lookUp(ctx context.Context, id string, q *subject) error {
	unknown := &Error{
		Err: ErrUnknownSession, Code: wire.CodeInvalidRequest,
		Message: "unknown session: give the whole id, or its random part as lists of sessions show it, of one that has not ended or expired",
	}
	tok, err := r.cfg.Keys.Parse(id)
	ok := err == nil
	if q.random = tok.random; !ok {
		if q.random, ok = parseSID(store.SessionID(id)); !ok {
			return unknown
		}
	}
	q.existing = true
	cached := r.peek(q)
	if cached == peekEnded {
		return unknown
	}
	if cached == peekPlaced {
		return nil
	}
	sctx, cancel := r.bounded(ctx)
	defer cancel()
	rec, err := r.store.Session(sctx, q.random.SessionID())
	r.noteStore(err)
	switch {
	case err == nil:
		q.scope = rec.Scope
		q.place = rec.Bindings[serverOf(q, rec.Scope)]
		return nil
	case errors.Is(err, store.ErrEnded):
		return unknown
	case cached == peekKnown:
		return nil // it is known here and has not used the server here
	case tok.Home != "" && tok.scope.equal(digestOf("scope", string(q.server))) && time.Since(tok.Issued) < r.cfg.SessionTimeout:
		// The id alone says where it began, as it does for a request.
		q.scope, q.place = string(q.server), store.Binding{Node: tok.Home, Epoch: tok.Epoch}
		return nil
	case errors.Is(err, store.ErrNotFound):
		return unknown
	}
	return &Error{
		Err: ErrUnavailable, Code: wire.CodeInternal, Cause: err, RetryAfter: time.Second,
		Message: "this coordinator does not know the session, and Redis cannot be asked at the moment; try again shortly",
	}
}

// What the cache says of a session.
const (
	peekNothing = iota
	peekEnded
	peekKnown  // and nothing of the server
	peekPlaced // with its place
)

// peek looks a session up in the cache.
func (r *Router) peek(q *subject) int {
	s, ok := r.cache.Peek(q.random)
	if !ok {
		return peekNothing
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return peekEnded
	}
	q.scope = s.scope
	if q.place = s.lookup(serverOf(q, s.scope)).Binding; q.place != (store.Binding{}) {
		return peekPlaced
	}
	return peekKnown
}

// serverOf is the server that is asked about, for a session of a scope.
func serverOf(q *subject, scope string) store.ServerID {
	if q.server == "" {
		return store.ServerID(scope)
	}
	return q.server
}
