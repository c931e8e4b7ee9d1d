package router

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// A stream whose client's key was taken away is ended, also one that servers say nothing on.
func TestStreamsEndWithTheirKey(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.nodes[0].setStream(scripts(openEnded(primed0)))
	r := w.rs[0]
	session, _ := begin(t, r, testServer)
	var gone atomic.Bool
	srv := frontFor(t, func(w http.ResponseWriter, req *http.Request) error {
		return r.Carry(req.Context(), w, Request{
			Scope: testServer, HTTPMethod: req.Method, SessionID: req.Header.Get(wire.HeaderSession), Header: req.Header,
			Relimit: func() (*Limit, bool) { return nil, !gone.Load() },
		})
	})
	resp := listen(t.Context(), t, srv, session, "")
	reads(t, resp, primed0)
	r.renew(context.Background())
	if r.gets.len() != 1 {
		t.Fatal("the stream was ended with its key still good")
	}
	gone.Store(true)
	r.renew(context.Background())
	ends(t, resp, "")
}

// A session that was ended while the store could not be asked may have been opened again for a stream.
// It is over as soon as the store says so.
func TestStreamsEndWithTheirSession(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.nodes[0].setStream(scripts(openEnded(primed0)))
	r := w.rs[0]
	session, _ := begin(t, r, testServer)
	resp := listen(t.Context(), t, front(t, r, testServer), session, "")
	reads(t, resp, primed0)
	if err := w.store.EndSession(t.Context(), mustToken(t, r, session).SessionID(), time.Hour); err != nil {
		t.Fatal(err)
	}
	r.renew(t.Context()) // learns of it
	r.renew(t.Context())
	ends(t, resp, "")
}
