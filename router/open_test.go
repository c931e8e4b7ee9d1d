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
