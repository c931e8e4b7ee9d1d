package main

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/store"
)

// carrier is a router that may not be there yet: without a cluster secret the keys it needs
// come from Redis, and a coordinator may start before Redis.
type carrier struct {
	router atomic.Pointer[router.Router]
}

func errNoKey() error {
	return &router.Error{
		Err: router.ErrUnavailable, Code: wire.CodeInternal, RetryAfter: time.Second,
		Message: "this coordinator has not been able to ask Redis for the fleet's key yet; try again",
	}
}

// Carry implements server.Carrier.
func (c *carrier) Carry(ctx context.Context, w http.ResponseWriter, req router.Request) error {
	r := c.router.Load()
	if r == nil {
		return errNoKey()
	}
	return r.Carry(ctx, w, req)
}

// EndSession implements server.Carrier.
func (c *carrier) EndSession(ctx context.Context, id store.SessionID) error {
	r := c.router.Load()
	if r == nil {
		return errNoKey()
	}
	return r.EndSession(ctx, id)
}

// ParseToken implements server.Carrier.
func (c *carrier) ParseToken(text string) (router.Token, error) {
	r := c.router.Load()
	if r == nil {
		return router.Token{}, errNoKey()
	}
	return r.ParseToken(text)
}

// NewStream implements server.Carrier.
func (c *carrier) NewStream(subject string) (router.StreamToken, error) {
	r := c.router.Load()
	if r == nil {
		return router.StreamToken{}, errNoKey()
	}
	return r.NewStream(subject)
}

// ParseStream implements server.Carrier.
func (c *carrier) ParseStream(text string) (router.StreamToken, error) {
	r := c.router.Load()
	if r == nil {
		return router.StreamToken{}, errNoKey()
	}
	return r.ParseStream(text)
}

// Revision tells the protocol revision of a session.
func (c *carrier) Revision(ctx context.Context, req router.Request) (string, error) {
	r := c.router.Load()
	if r == nil {
		return "", errNoKey()
	}
	return r.Revision(ctx, req)
}

// Explain implements server.Explainer.
func (c *carrier) Explain(ctx context.Context, req router.ExplainRequest) (router.Explanation, error) {
	r := c.router.Load()
	if r == nil {
		return router.Explanation{}, errNoKey()
	}
	return r.Explain(ctx, req)
}

// Conflicts implements server.Explainer.
func (c *carrier) Conflicts(ctx context.Context, scope string) ([]router.Conflict, error) {
	r := c.router.Load()
	if r == nil {
		return nil, errNoKey()
	}
	return r.Conflicts(ctx, scope)
}

// EndStreams ends what clients only listen to.
func (c *carrier) EndStreams() {
	if r := c.router.Load(); r != nil {
		r.EndStreams()
	}
}

// Abandon ends the calls in hand when there is no more time to wait for them.
func (c *carrier) Abandon() {
	if r := c.router.Load(); r != nil {
		r.Abandon()
	}
}

func (c *carrier) stats() router.Stats {
	r := c.router.Load()
	if r == nil {
		return router.Stats{}
	}
	return r.Stats()
}
