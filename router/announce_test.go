package router

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

func listChanged(list string) string {
	return message("", "notifications/"+list+"/list_changed", "")
}

// docsWith are the servers of newDocsHub, with one of them changed.
func docsWith(old, changed string) map[store.ServerID]string {
	return map[store.ServerID]string{"files": catalogFiles, "docs": strings.Replace(catalogDocs, old, changed, 1), "quiet": `{"tools":[]}`}
}

// groupFront is an endpoint over a group.
func groupFront(t testing.TB, r *Router, group string) *httptest.Server {
	return frontFor(t, func(w http.ResponseWriter, req *http.Request) error {
		return r.Carry(req.Context(), w, Request{
			Scope: store.ScopeGroup + group, HTTPMethod: req.Method, SessionID: req.Header.Get(wire.HeaderSession),
			LastEvent: req.Header.Get(wire.HeaderLastEventID), Header: req.Header,
		})
	})
}

// A client hears of each list that has changed for it, once, and of no other.
func TestListChanges(t *testing.T) {
	h := newDocsHub(t, 1)
	running(t, h.rs[0])
	session := opensWide(t, h.rs[0])
	e := hear(t, wideFront(t, h.rs[0]), session, "")
	for _, c := range []struct{ old, changed, list string }{
		{`{"name":"search"}`, `{"name":"search","description":"better"}`, "tools"},
		{`{"name":"search"}`, `{"name":"search"},{"name":"find"}`, "tools"},
		{`"tools":[{"name":"search"}],"prompts":[{"name":"review"},`, `"tools":[{"name":"search"},{"name":"find"}],"prompts":[`, "prompts"},
		{`"tools":[{"name":"search"}],"prompts":[{"name":"review"},{"name":"summary"}],"resources":[`, `"tools":[{"name":"search"},{"name":"find"}],"prompts":[{"name":"summary"}],"resources":[{"uri":"docs://new"},`, "resources"},
		{`"tools":[{"name":"search"}],"prompts":[{"name":"review"},{"name":"summary"}],"resources":[{"uri":"test://both","name":"of docs"},{"uri":"docs://index","name":"index"}],"resourceTemplates":[`, `"tools":[{"name":"search"},{"name":"find"}],"prompts":[{"name":"summary"}],"resources":[{"uri":"docs://new"},{"uri":"test://both","name":"of docs"},{"uri":"docs://index","name":"index"}],"resourceTemplates":[{"uriTemplate":"docs://of/{x}"},`, "resources"},
	} {
		h.offer(docsWith(c.old, c.changed))
		if got := e.next(); got != listChanged(c.list) {
			t.Fatalf("after %s: %s", c.changed, got)
		}
	}
	h.fail("docs", "gone")
	e.hears(listChanged("tools"), listChanged("prompts"), listChanged("resources"))
}

// Of several streams of a session one is told; those of other sessions are each told. What is shown is
// read once for all.
func TestListChangesAreToldOnce(t *testing.T) {
	h := newDocsHub(t, 1)
	front := wideFront(t, h.rs[0])
	session, other := opensWide(t, h.rs[0]), opensWide(t, h.rs[0])
	first, second, third := hear(t, front, session, ""), hear(t, front, session, ""), hear(t, front, other, "")
	eventually(t, "the streams are there", func() bool { return h.rs[0].lookout.streams() == 3 })
	running(t, h.rs[0])
	before := h.store.count("catalog")
	h.offer(docsWith(`{"name":"search"}`, `{"name":"find"}`))
	third.hears(listChanged("tools"))
	if got := h.store.count("catalog") - before; got != 1 {
		t.Errorf("the catalog was read %d times", got)
	}
	second.hears(listChanged("tools")) // the newest
	second.close()
	eventually(t, "a stream has left", func() bool { return h.rs[0].lookout.streams() == 2 })
	h.offer(docsWith(`{"name":"summary"}`, `{"name":"another"}`))
	// The other one of the session takes over; of the first change it was not told again.
	first.hears(listChanged("tools"), listChanged("prompts"))
}

// A group that changes changes what is shown; one that is gone ends the streams.
func TestListChangesOfGroups(t *testing.T) {
	h := newDocsHub(t, 1)
	h.book.put("team", "docs:search", "quiet")
	running(t, h.rs[0])
	session, _ := begin(t, h.rs[0], store.ScopeGroup+"team")
	e := hear(t, groupFront(t, h.rs[0], "team"), session, "")
	h.book.put("team", "docs:", "quiet")
	e.hears(listChanged("tools"))
	h.book.put("team", "docs:", "quiet", "files")
	e.hears(listChanged("tools"), listChanged("prompts"), listChanged("resources"))
	h.book.drop("team")
	if got := e.next(); got != "error: EOF" {
		t.Errorf("without the group: %q", got)
	}
}

// A client that comes back is told if what it sees has changed meanwhile, and else is not.
func TestListChangesOfResumedStreams(t *testing.T) {
	h := newDocsHub(t, 2)
	running(t, h.rs[1])
	session := opensWide(t, h.rs[0])
	e := hear(t, wideFront(t, h.rs[0]), session, "")
	ev, err := e.events.Next()
	if err != nil || parseEventID(ev.ID).print == 0 {
		t.Fatalf("%q, %v: no fingerprint", ev.Raw, err)
	}
	e.close()
	front := wideFront(t, h.rs[1])
	same := hear(t, front, session, ev.ID)
	h.offer(docsWith(`{"name":"search"}`, `{"name":"find"}`))
	same.hears(listChanged("tools"))
	same.close()
	eventually(t, "the stream has left", func() bool { return h.rs[1].lookout.streams() == 0 })
	again := hear(t, front, session, ev.ID)
	again.hears(listChanged("tools"), listChanged("prompts"), listChanged("resources"))
	if got := parseEventID(again.last).print; got == parseEventID(ev.ID).print {
		t.Error("the id does not say that the client was told")
	}
	again.close()
	eventually(t, "the stream has left", func() bool { return h.rs[1].lookout.streams() == 0 })
	last := hear(t, front, session, again.last)
	h.offer(docsWith(`{"name":"summary"}`, `{"name":"another"}`))
	last.hears(listChanged("tools"), listChanged("prompts"))
}

// While the store is away, what cannot be read is not taken for gone.
func TestListChangesWithStoreAway(t *testing.T) {
	h := newDocsHub(t, 1)
	running(t, h.rs[0])
	session := opensWide(t, h.rs[0])
	e := hear(t, wideFront(t, h.rs[0]), session, "")
	h.store.setDown(true)
	all := docsWith(`{"name":"search"}`, `{"name":"find"}`)
	all["new"] = `{"tools":[{"name":"x"}]}`
	h.offer(all)
	eventually(t, "the catalogs are asked for", func() bool { return h.store.count("catalog") > 4 })
	h.store.setDown(false)
	e.hears(listChanged("tools"))
	h.offer(docsWith(`{"name":"summary"}`, `{"name":"another"}`))
	e.hears(listChanged("tools"), listChanged("prompts"))
}

// streams counts those that listen.
func (o *lookout) streams() (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, w := range o.views {
		for _, t := range w.sessions {
			n += len(t.listeners)
		}
	}
	return n
}

// count is how often an operation was asked for.
func (s *fakeStore) count(op string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ops[op]
}
