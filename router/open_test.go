package router

import (
	"net/http"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// Where each session has a process, opening it takes as long as that takes to start; anything else
// that takes so long is given up.
func TestOpeningWaitsForAProcess(t *testing.T) {
	const start = 300 * time.Millisecond
	for isolation, ok := range map[string]bool{"session": true, "": false} {
		for name, edit := range map[string]func(*Config){
			"with affinity": func(*Config) {}, "without": func(c *Config) { c.NoSticky = true },
		} {
			w := newWideWorld(t, 1)
			r := w.router(w.store, func(c *Config) {
				edit(c)
				c.OpenTimeout, c.MoveTimeout = start/3, start/2
			})
			session, _ := begin(t, r, "")
			for _, n := range w.nodes {
				w.fleet.change(n.id, func(rec *store.Node) {
					for i := range rec.Servers {
						rec.Servers[i].Isolation = isolation
					}
				})
				n.setHook(func(_ http.ResponseWriter, req *http.Request, f *wire.Frame) bool {
					if f.Method == "initialize" {
						select {
						case <-time.After(start):
						case <-req.Context().Done():
							return true
						}
					}
					return false
				})
			}
			p := do(r, Request{SessionID: session, Body: []byte(message("7", "tools/call", `{"name":"a-inc"}`))})
			if got := p.err == nil && p.get("result", "server") == "a"; got != ok {
				t.Errorf("isolation %q, %s: err %v, %s; answered: %t, want %t", isolation, name, p.err, p.Body, got, ok)
			}
		}
	}
}

// How long the start of a process may take, its node says: longer than other nodes' servers, or
// shorter.
func TestOpeningWaitsAsLongAsTheServerSays(t *testing.T) {
	w := newWorld(t, 1, 0)
	r := w.router(w.store, func(c *Config) {
		c.OpenTimeout, c.MoveTimeout, c.StartTimeout = time.Second, 2*time.Second, time.Minute
	})
	for _, tt := range []struct {
		server     store.Server
		open, move time.Duration
	}{
		{store.Server{}, time.Second, 2 * time.Second},
		{store.Server{StartSeconds: 300}, time.Second, 2 * time.Second}, // has its process already
		{store.Server{Isolation: "session"}, time.Minute, 62 * time.Second},
		{store.Server{Isolation: "session", StartSeconds: 300}, 601 * time.Second, 603 * time.Second},
		{store.Server{Isolation: "session", StartSeconds: 2}, 5 * time.Second, 7 * time.Second},
	} {
		w.fleet.change("node-1", func(n *store.Node) {
			tt.server.ID, tt.server.Status = testServer, store.ServerReady
			n.Servers[0] = tt.server
		})
		if open, move := r.openTime(&tt.server), r.moveTime(testServer); open != tt.open || move != tt.move {
			t.Errorf("%+v: opening may take %v and moving %v, want %v and %v", tt.server, open, move, tt.open, tt.move)
		}
	}
}
