package main

import (
	"context"
	"errors"

	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/store"
	"github.com/mcphub-go/mcphub/web"
)

// reader shows a coordinator to the status page.
type reader struct{ c *coordinator }

var _ web.Reader = reader{}

// Snapshot implements web.Reader.
func (r reader) Snapshot() *store.Snapshot {
	s := r.c.watcher.Snapshot()
	if s.Taken.IsZero() { // nothing has been read yet
		return nil
	}
	return s
}

// Redis implements web.Reader.
func (r reader) Redis() web.Redis {
	h := r.c.store.Health()
	return web.Redis{OK: h.OK, State: h.State, Since: h.Since, Err: h.Err, Latency: h.Latency, Embedded: r.c.cfg.Embedded}
}

// Groups implements web.Reader.
func (r reader) Groups() []store.Group { return r.c.groups.List() }

// Sessions implements web.Reader.
func (r reader) Sessions(ctx context.Context, cursor string, limit int) ([]store.Session, string, error) {
	return r.c.store.Sessions(ctx, cursor, limit)
}

// CountSessions implements web.Reader.
func (r reader) CountSessions(ctx context.Context) (int, error) { return r.c.store.CountSessions(ctx) }

// Coordinators implements web.Reader.
func (r reader) Coordinators(ctx context.Context) ([]store.Coordinator, error) {
	return r.c.store.Coordinators(ctx)
}

// Events implements web.Reader.
func (r reader) Events(ctx context.Context, limit int) ([]store.Event, error) {
	return r.c.store.Events(ctx, limit)
}

// Catalog implements web.Reader.
func (r reader) Catalog(ctx context.Context, d store.Digest) ([]byte, error) {
	return r.c.store.Catalog(ctx, d)
}

// Conflicts implements web.Reader.
func (r reader) Conflicts(ctx context.Context) ([]web.Conflict, error) {
	all, err := r.c.carrier.Conflicts(ctx, "")
	out := make([]web.Conflict, len(all))
	for i, c := range all {
		out[i] = web.Conflict{Name: c.URI + c.Template, Template: c.Template != "", Owner: c.Owner, Others: c.Others}
	}
	return out, told(err)
}

// Explain implements web.Reader.
func (r reader) Explain(ctx context.Context, q web.Question) (web.Explanation, error) {
	x, err := r.c.carrier.Explain(ctx, router.ExplainRequest{
		Session: string(q.Session), Key: q.Key, Server: q.Server, Prefer: q.Prefer, Without: q.Without, With: q.With,
	})
	out := web.Explanation{Server: x.Server, Existing: x.Existing, Rule: x.Rule, Choice: x.Choice, Reason: x.Reason}
	for _, c := range x.Candidates {
		out.Candidates = append(out.Candidates, web.Candidate{
			Node: c.Node, Score: c.Score, Load: c.Load, Limit: c.Limit, Weight: c.Weight, State: c.State, Reason: c.Reason,
		})
	}
	for _, m := range x.Moves {
		out.Moves = append(out.Moves, web.Move(m))
	}
	return out, told(err)
}

// SessionID implements web.Reader.
func (r reader) SessionID(whole string) (store.SessionID, bool) {
	tok, err := r.c.carrier.ParseToken(whole)
	if err != nil {
		return "", false
	}
	return tok.SessionID(), true
}

// told is the part of an error that is for whoever asked.
func told(err error) error {
	if e, ok := errors.AsType[*router.Error](err); ok {
		return errors.New(e.Message)
	}
	return err
}
