package node

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// serveStream serves a stream by GET: with Last-Event-ID the rest of the stream which that names,
// otherwise one of the session's own, for what its server says outside of calls (MCP 2025-11-25,
// Transports, Listening for Messages from the Server).
func (n *Node) serveStream(c echo.Context) error {
	w, r := c.Response().Writer, c.Request()
	s, id, ok := n.admit(w, r, c.Param("server"))
	if !ok {
		return nil
	}
	x := exchange{n: n, s: s, w: w, r: r, f: &wire.Frame{}, sid: id}
	l, ses, err := s.find(r.Context(), id)
	if err != nil {
		return x.refuse(err)
	}
	at, named := parseEventID(r.Header.Get(wire.HeaderLastEventID))
	if named {
		rd, err := ses.streams.resume(at)
		switch {
		case err != nil:
			return x.noStream(err)
		case rd != nil:
			x.feed(l, ses, rd)
			return nil
		case at.stream.kind == callStream:
			return refuse(w, http.StatusNotFound, wire.RefusedStream, "this node knows nothing of the call, or not any more")
		}
	}
	rd, err := ses.streams.openOwn(x.primes(ses))
	if err != nil {
		return x.noStream(err)
	}
	x.feed(l, ses, rd)
	return nil
}

// noStream says why there is no own stream to be had.
func (x *exchange) noStream(err error) error {
	if errors.Is(err, errStreams) {
		return fail(x.w, http.StatusConflict, fmt.Sprintf(
			"this session has %d streams by GET open with server %s, and may have no more (the limit is MaxStreams); close one first",
			x.n.cfg.MaxStreams, x.s.cfg.Name))
	}
	return x.refuse(err)
}
