package main

import (
	"context"

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
	return web.Redis{OK: h.OK, State: h.State, Since: h.Since, Err: h.Err, Embedded: r.c.cfg.Embedded}
}

// Sessions implements web.Reader.
func (r reader) Sessions(ctx context.Context, limit int) ([]store.Session, int, error) {
	total, err := r.c.store.CountSessions(ctx)
	if err != nil {
		return nil, 0, err
	}
	some, _, err := r.c.store.Sessions(ctx, "", limit)
	return some, total, err
}

// Events implements web.Reader.
func (r reader) Events(ctx context.Context, limit int) ([]store.Event, error) {
	return r.c.store.Events(ctx, limit)
}
