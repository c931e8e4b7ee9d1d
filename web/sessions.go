package web

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/mcphub-go/mcphub/store"
)

// sessionsPageView is one page of all sessions.
type sessionsPageView struct {
	Sessions []sessionView
	Total    string
	Next     string // cursor of the next page
	First    bool   // this is the first page
	Err      string
}

// serveSessions serves a page of all sessions, or the part of it that changes.
func (p *Page) serveSessions(w http.ResponseWriter, r *http.Request) {
	cursor := r.URL.Query().Get("cursor")
	l := p.look(r.Context())
	ctx, cancel := withTimeout(r)
	defer cancel()
	some, next, err := p.reader.Sessions(ctx, cursor, sessionsPage)
	if errors.Is(err, store.ErrCursor) {
		p.renderFailure(w, r, http.StatusBadRequest, "The cursor in this address is not one of the list of sessions. Begin with its first page.")
		return
	}
	body := sessionsPageView{Sessions: newSessionViews(some, l.snapshot, l.now()), Next: next, First: cursor == "", Err: text(err)}
	for i := range body.Sessions {
		body.Sessions[i].Short = body.Sessions[i].ID // there is room for all of it
	}
	if l.sessionsErr == nil {
		body.Total = counted(len(some), l.sessTotal)
	}
	if r.URL.Query().Has("part") {
		p.render(w, r, http.StatusOK, "sessions-live", body)
		return
	}
	v := p.page("Sessions", "sessions")
	v.Source, v.Every, v.Body = "sessions?part&cursor="+url.QueryEscape(cursor), everySlow, body
	p.render(w, r, http.StatusOK, "sessions.html", v)
}
