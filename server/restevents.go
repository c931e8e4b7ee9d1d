package server

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// events answers with the last events, newest first, or follows them.
func (s *Server) events(c echo.Context) error {
	r := c.Request()
	if r.Method == http.MethodGet && wantsStream(r.Header) {
		return s.followEvents(c)
	}
	q := queryOf(c)
	limit, err := limitOf(q)
	if err != nil {
		return err
	}
	events, err := s.deps.Store.Events(r.Context(), limit)
	if err != nil {
		return err
	}
	views := []eventView{}
	for _, e := range events {
		views = append(views, eventOf(e))
	}
	return succeed(c, views)
}

// wantsStream says whether Accept names an event stream, as EventSource does.
func wantsStream(h http.Header) bool {
	for _, line := range h["Accept"] {
		for item := range strings.SplitSeq(line, ",") {
			media, params, _ := strings.Cut(item, ";")
			if strings.EqualFold(strings.TrimSpace(media), wire.TypeEventStream) && !refusesAll(params) {
				return true
			}
		}
	}
	return false
}

// followEvents streams events as they happen, each with its id, until the client goes, falls too
// far behind, or the replica stops; the client then asks again with Last-Event-ID.
func (s *Server) followEvents(c echo.Context) error {
	r := c.Request()
	if r.URL.RawQuery != "" {
		return refuse(http.StatusBadRequest, "a stream of events takes no query parameters; it resumes after the header Last-Event-ID")
	}
	fo, start, missed, err := s.feed.join(r.Context(), r.Header.Get(wire.HeaderLastEventID))
	if err != nil {
		return err
	}
	defer s.feed.leave(fo)
	h := c.Response().Header()
	h.Set("Content-Type", wire.TypeEventStream)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	h.Set("X-Content-Type-Options", "nosniff")
	out := &eventStream{w: c.Response(), conn: http.NewResponseController(c.Response()), last: start, stall: s.cfg.FollowStall}
	c.Response().WriteHeader(http.StatusOK)
	if err := s.catchUp(c, out, missed); err != nil {
		return s.endStream(c, err)
	}
	return s.endStream(c, s.stream(c, out, fo))
}

// catchUp sends what was missed, page by page.
func (s *Server) catchUp(c echo.Context, out *eventStream, missed []store.Event) (err error) {
	if err = out.comment("events"); err != nil {
		return err
	}
	for {
		for _, e := range missed {
			if err = out.send(e); err != nil {
				return err
			}
		}
		if len(missed) < feedPage {
			return nil
		}
		if missed, err = s.deps.Store.EventsAfter(c.Request().Context(), out.last, feedPage); err != nil {
			return err
		}
	}
}

// stream sends what is new, and a sign of life where nothing is.
func (s *Server) stream(c echo.Context, out *eventStream, fo *follower) error {
	beat := time.NewTicker(s.cfg.KeepAlive)
	defer beat.Stop()
	for {
		var err error
		select {
		case e, ok := <-fo.events:
			if !ok {
				return nil
			}
			err = out.send(e)
		case <-beat.C:
			err = out.comment("keep-alive")
		case <-c.Request().Context().Done():
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// endStream ends an answer whose head is out: there is nothing left to say to the client.
func (s *Server) endStream(c echo.Context, err error) error {
	if err != nil && !errors.Is(err, c.Request().Context().Err()) {
		s.log.DebugContext(c.Request().Context(), "a stream of events broke off", "err", err)
	}
	return nil
}

// eventStream is the answer to one who follows.
type eventStream struct {
	w     http.ResponseWriter
	conn  *http.ResponseController
	stall time.Duration
	last  string // id of the last event that was sent
}

// send writes an event, unless it has been written before.
func (o *eventStream) send(e store.Event) error {
	if !newer(e.ID, o.last) {
		return nil
	}
	data, err := json.Marshal(eventOf(e))
	if err != nil {
		return err
	}
	o.allow()
	if err := wire.WriteEvent(o.w, wire.Event{ID: e.ID, Data: data}); err != nil {
		return err
	}
	o.last = e.ID
	return o.conn.Flush()
}

func (o *eventStream) comment(text string) error {
	o.allow()
	if err := wire.Comment(o.w, text); err != nil {
		return err
	}
	return o.conn.Flush()
}

// allow bounds the next write. net/http takes the bound away when the answer is over. A connection
// that takes no deadline fails at the write by itself.
func (o *eventStream) allow() { _ = o.conn.SetWriteDeadline(time.Now().Add(o.stall)) }
