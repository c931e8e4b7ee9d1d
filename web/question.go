package web

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// maxKey bounds what may be entered for a session, in characters. A whole Mcp-Session-Id is
// longer, so that one that cannot be read is not taken for a key, and not shown.
const maxKey = 64

// maxNames bounds the nodes in one field.
const maxNames = 16

// Question asks where a session goes for a server.
type Question struct {
	// Session is the id that REST has for a session. If it is empty, Key stands for a session
	// that does not exist: equal texts are equal sessions.
	Session store.SessionID
	Key     string
	// Server may be empty for a session with one server.
	Server store.ServerID
	// Prefer is what a cookie or a header of the client would name.
	Prefer store.NodeID
	// Without and With are nodes to be thought away, and to be thought there, each by itself.
	Without, With []store.NodeID
}

// questionOf reads a question from a query. Its errors are for whoever entered it, and repeat
// none of it.
func questionOf(q url.Values) (Question, error) {
	text := strings.TrimSpace(q.Get("session"))
	out := Question{Server: store.ServerID(strings.TrimSpace(q.Get("server"))), Prefer: store.NodeID(strings.TrimSpace(q.Get("prefer")))}
	switch {
	case text == "":
		return out, fmt.Errorf("enter the id of a session, or any text to stand for a new one")
	case len(text) > maxKey:
		return out, fmt.Errorf("that is no session of this hub; enter an id as the list of sessions has it, or a text of at most %d characters", maxKey)
	case isSessionID(text):
		out.Session = store.SessionID(text)
	default:
		out.Key = text
	}
	var err error
	if out.Server != "" {
		err = wire.CheckName("server", string(out.Server))
	}
	if out.Prefer != "" && err == nil {
		err = wire.CheckName("node", string(out.Prefer))
	}
	if err == nil {
		out.Without, err = namesOf(q["without"])
	}
	if err == nil {
		out.With, err = namesOf(q["with"])
	}
	return out, err
}

// isSessionID says whether text is what REST has for a session.
func isSessionID(s string) bool { return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == "" }

// namesOf reads nodes, set apart by commas or spaces.
func namesOf(fields []string) (out []store.NodeID, err error) {
	for _, field := range fields {
		for _, name := range strings.FieldsFunc(field, func(r rune) bool { return r == ',' || r == ' ' }) {
			if err := wire.CheckName("node", name); err != nil {
				return nil, err
			}
			if out = append(out, store.NodeID(name)); len(out) > maxNames {
				return nil, fmt.Errorf("enter at most %d nodes", maxNames)
			}
		}
	}
	return out, nil
}

// query spells a question. free is the name of the parameter for a text that stands for a session: the
// form has one field for both, and REST has key.
func (q *Question) query(free string) string {
	v := url.Values{}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("session", string(q.Session))
	set(free, q.Key)
	set("server", string(q.Server))
	set("prefer", string(q.Prefer))
	for _, n := range q.Without {
		v.Add("without", string(n))
	}
	for _, n := range q.With {
		v.Add("with", string(n))
	}
	return v.Encode()
}

// explainPage is the form, and an answer if something was asked.
type explainPage struct {
	Form   formView
	Err    string // why there is no answer
	Answer *answerView
}

// formView is what the form holds.
type formView struct {
	Session, Server, Prefer string
	Without, With           string
	Servers, Nodes          []string // to choose from
}

// serveExplain serves the form and, to a question, the answer.
func (p *Page) serveExplain(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", formToSelf)
	query := r.URL.Query()
	if id, ok := p.reader.SessionID(strings.TrimSpace(query.Get("session"))); ok {
		// It is a credential: it belongs neither on the page nor in the history of a browser.
		query.Set("session", string(id))
		w.Header().Set("Location", "explain?"+query.Encode()) // relative, like every address here
		w.WriteHeader(http.StatusSeeOther)
		return
	}
	l := p.look(r.Context())
	body := explainPage{Form: newFormView(&l)}
	if len(query) > 0 {
		p.answer(r, query, &body)
	}
	v := p.page("Explain", "explain")
	v.Body = body
	p.render(w, r, http.StatusOK, "explain.html", v)
}

// answer puts what was asked into the form, and the answer beside it.
func (p *Page) answer(r *http.Request, query url.Values, body *explainPage) {
	f := &body.Form
	f.Server, f.Prefer = cut(query.Get("server"), maxKey), cut(query.Get("prefer"), maxKey)
	if f.Server != "" && !slices.Contains(f.Servers, f.Server) {
		f.Servers = append(f.Servers, f.Server) // so that the form says what was asked
	}
	f.Without, f.With = cut(strings.Join(query["without"], ", "), 10*maxKey), cut(strings.Join(query["with"], ", "), 10*maxKey)
	if text := strings.TrimSpace(query.Get("session")); len(text) <= maxKey {
		f.Session = text
	}
	q, err := questionOf(query)
	if err != nil {
		body.Err = err.Error()
		return
	}
	ctx, cancel := withTimeout(r)
	defer cancel()
	x, err := p.reader.Explain(ctx, q)
	if err != nil {
		body.Err = err.Error()
		return
	}
	a := newAnswerView(&q, &x)
	body.Answer = &a
}

// newFormView offers the servers and nodes that are known.
func newFormView(l *look) formView {
	var f formView
	nodes := l.nodes()
	for i := range nodes[:min(len(nodes), nodesShown)] {
		f.Nodes = append(f.Nodes, string(nodes[i].ID))
	}
	all := newServerViews(nodes)
	for i := range all[:min(len(all), serversShown)] {
		f.Servers = append(f.Servers, all[i].ID)
	}
	return f
}
