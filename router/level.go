package router

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// levels are the severities of log messages, lowest first (MCP 2025-11-25, Logging).
var levels = []string{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}

// setLevel sets the least severity of the log messages that a session over several servers gets:
// at each server where the session is open, and at those where it is opened later, by whichever
// coordinator.
func (r *Router) setLevel(ctx context.Context, w http.ResponseWriter, req *Request, s *session, f *wire.Frame) error {
	at, _ := f.Lookup("params", "level")
	level, _ := wire.Unquote(at.Of(f.Raw))
	if !slices.Contains(levels, level) {
		return refuseParams(w, f.IDBytes(), "params.level must be one of "+strings.Join(levels, ", "))
	}
	// Where the session sits, another coordinator may have settled.
	if _, err := r.read(ctx, s); errors.Is(err, store.ErrEnded) {
		s.end()
		return unknownSession(f.IDBytes())
	}
	s.setLevel(level)
	if !r.saveLevel(ctx, s) {
		r.todo.level(s)
	}
	r.eachPlace(ctx, r.holders(s.places()), func(ctx context.Context, n *store.Node, server store.ServerID) {
		r.passLevel(ctx, s, server, n.URL, n.Epoch)
	})
	return writeJSON(w, http.StatusOK, wire.Result(f.IDBytes(), []byte("{}")))
}

// saveLevel tells the store the level of a session. It is false if that has to be done again,
// because the store is away, or has lost the session and gets it back first.
func (r *Router) saveLevel(ctx context.Context, s *session) bool {
	level, gen := s.wantedLevel()
	ctx, cancel := r.bounded(context.WithoutCancel(ctx))
	defer cancel()
	err := r.store.SetSessionLevel(ctx, s.tok.SessionID(), level)
	r.noteStore(err)
	switch {
	case err == nil:
		s.levelSaved(gen)
	case errors.Is(err, store.ErrEnded):
		s.end()
	case errors.Is(err, store.ErrNotFound):
		init, _, _ := s.origin()
		if len(init) > 0 {
			r.todo.create(s)
			return false
		}
	}
	return !away(err)
}

const levelHead = `{"jsonrpc":"2.0","id":"mcphub-level","method":"logging/setLevel","params":{"level":"`

// passLevel tells one server the session's level, if a level was set. It need not succeed: a server
// may have no log, and log messages are not what a call is made for.
func (r *Router) passLevel(ctx context.Context, s *session, server store.ServerID, nodeURL string, epoch store.Epoch) {
	level, _ := s.wantedLevel()
	if level == "" || !r.library.logs(server) {
		return
	}
	_, era, _ := s.origin()
	a, err := r.hop.send(ctx, nodeURL, &outgoing{
		method: http.MethodPost, server: server, token: s.tok.text, epoch: epoch,
		version: era, body: []byte(levelHead + level + `"}}`), timeout: closeTimeout,
	})
	if err != nil {
		r.log.DebugContext(ctx, "log level not set", "session", s.tok, "server", server, "err", err)
		return
	}
	a.drain()
	a.Close()
}

// logs says whether a server may have a log: it said so, or is not known here.
func (l *library) logs(server store.ServerID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.known[l.last[server]]
	return c == nil || c.offersLogging
}

// logLevel is the least severity of log messages that the client of a session asked for. The mutex
// of the session guards it.
type logLevel struct {
	name    string // empty: it did not ask
	gen     int    // grows with each change
	unsaved bool   // the store has yet to hear of it
}

// setLevel notes what the client wants; the store has yet to hear of it.
func (s *session) setLevel(level string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.level = logLevel{name: level, gen: s.level.gen + 1, unsaved: true}
}

// wantedLevel is the level that the client wants, empty for none, with what levelSaved takes.
func (s *session) wantedLevel() (level string, gen int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.level.name, s.level.gen
}

// learnLevel takes over what the store knows, unless the client has asked for another level since
// gen, when the store was asked, or the store has yet to hear of one.
func (s *session) learnLevel(level string, gen int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.level.gen == gen && !s.level.unsaved && s.level.name != level {
		s.level.name = level
		s.level.gen++
	}
}

// levelSaved notes that the store has the level, unless the client has asked for another one since.
func (s *session) levelSaved(gen int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.level.gen == gen {
		s.level.unsaved = false
	}
}
