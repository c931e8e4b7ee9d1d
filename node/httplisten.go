package node

import (
	"context"
	"net/http"
	"time"
)

// listen watches the server beside the calls: over the stream it offers for what concerns no
// call, or else by looking again from time to time. It is called once, after the handshake.
func (h *httpUpstream) listen() {
	ctx, cancel := context.WithCancel(context.Background())
	h.mu.Lock()
	h.stop = cancel
	h.mu.Unlock()
	followed := make(chan struct{})
	h.loops.Go(func() {
		h.follow(ctx)
		close(followed)
	})
	h.loops.Go(func() { h.poll(ctx, followed) })
}

// follow reads the server's stream, and opens it again when it ends, until ctx ends or it turns
// out that the server offers none.
func (h *httpUpstream) follow(ctx context.Context) {
	at := cursor{retry: time.Second}
	wait := backoff{}
	of := 0 // the session that at is a place in
	for opened := false; ctx.Err() == nil; {
		session, version, made := h.identity()
		if made != of { // a call has met the loss of the one before
			at.id, of = "", made
		}
		res, err := h.get(ctx, h.url, session, version, at.id)
		switch {
		case err != nil:
			_ = pause(ctx, wait.next())
			continue
		case res.StatusCode != http.StatusOK || !isStream(res):
			body := readError(res)
			switch {
			case !opened || res.StatusCode == http.StatusMethodNotAllowed:
				return
			case session == "" || !forgotten(res.StatusCode, body):
				// It had offered one. It may be busy, or count the one that broke: some allow one.
				_ = pause(ctx, wait.next())
				continue
			}
			if h.renew(ctx, made) != nil {
				return
			}
			continue
		}
		if opened {
			h.link.changed() // and we may have missed it
		}
		opened = true
		wait.reset()
		resumed := at.id != ""
		_ = at.read(res, func(data []byte) bool {
			if pass, _ := h.replays.take(at.latest, data, resumed); pass {
				h.link.receive(data, nil)
			}
			return true
		})
		_ = pause(ctx, at.retry)
	}
}

// poll pings the server, and looks at its lists unless its stream is followed.
func (h *httpUpstream) poll(ctx context.Context, followed <-chan struct{}) {
	ping := time.NewTicker(h.link.lim.PingInterval)
	defer ping.Stop()
	relist := time.NewTicker(h.link.lim.RelistInterval)
	defer relist.Stop()
	for misses := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-relist.C:
			select {
			case <-followed:
				h.link.changed()
			default:
			}
		case <-ping.C:
			if h.link.ping(ctx) == nil {
				misses = 0
			} else if misses++; misses >= pingMisses {
				h.link.lose(errUnresponsive)
			}
		}
	}
}

// close ends the streams, and then the session (MCP 2025-11-25, Transports, Session
// Management).
func (h *httpUpstream) close() {
	h.mu.Lock()
	stop := h.stop
	h.mu.Unlock()
	stop()
	h.loops.Wait()
	if session, version, _ := h.identity(); session != "" {
		ctx, cancel := context.WithTimeout(context.Background(), notifyTimeout)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodDelete, h.url, nil)
		if err == nil {
			h.stamp(req, session, version)
			req.Header.Del("Content-Type")
			if res, err := h.client.Do(req); err == nil {
				_ = res.Body.Close()
			}
		}
	}
	h.client.CloseIdleConnections()
}
