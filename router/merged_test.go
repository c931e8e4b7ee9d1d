package router

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// speakers are the own streams of sessions on one node, for each server: what a node keeps of them.
type speakers struct {
	mu   sync.Mutex
	inc  string // of the first session that is opened; each later one has another
	all  map[string]*speaker
	wake chan struct{}
}

type speaker struct {
	inc     string
	streams [][]string // what was written to each
	reader  []int      // how many readers each stream ever had: the last one has it
	waiting []string
}

// speak gives each node of a world own streams.
func (w *world) speak() map[store.NodeID]*speakers {
	out := map[store.NodeID]*speakers{}
	for i, n := range w.nodes {
		sp := &speakers{inc: fmt.Sprintf("%07d", i), all: map[string]*speaker{}, wake: make(chan struct{})}
		out[n.id] = sp
		n.setStream(sp.serve)
	}
	return out
}

func (sp *speakers) of(server string) *speaker {
	if sp.all[server] == nil {
		sp.all[server] = &speaker{inc: sp.inc + string(rune('a'+len(sp.all)))}
	}
	return sp.all[server]
}

// say has a server say something to its session, on the stream that was opened last.
func (sp *speakers) say(server, data string) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	s := sp.of(server)
	if n := len(s.streams); n > 0 {
		s.streams[n-1] = append(s.streams[n-1], data)
	} else {
		s.waiting = append(s.waiting, data)
	}
	sp.broadcast()
}

func (sp *speakers) broadcast() {
	close(sp.wake)
	sp.wake = make(chan struct{})
}

// readers counts the streams that were ever opened at a server, and how often they were taken up.
func (sp *speakers) readers(server string) (opened, taken int) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	for _, n := range sp.of(server).reader {
		opened, taken = opened+1, taken+n-1
	}
	return opened, taken
}

func (sp *speakers) serve(w http.ResponseWriter, req *http.Request, _ int) {
	server := strings.TrimPrefix(req.URL.Path, "/mcp/")
	sp.mu.Lock()
	s := sp.of(server)
	last, ok := parseNodeEvent(req.Header.Get(wire.HeaderLastEventID))
	at, from := int(last.stream), int(last.seq)
	if !ok || last.inc != s.inc || at >= len(s.streams) {
		at, from = len(s.streams), -1
		s.streams, s.reader = append(s.streams, append([]string{""}, s.waiting...)), append(s.reader, 0)
		s.waiting = nil
	}
	s.reader[at]++
	mine := s.reader[at]
	sp.broadcast()
	sp.mu.Unlock()
	w.Header().Set("Content-Type", wire.TypeEventStream)
	for {
		sp.mu.Lock()
		log, wake, cut := s.streams[at], sp.wake, s.reader[at] != mine
		sp.mu.Unlock()
		if cut {
			return // the newest reader has it
		}
		for from++; from < len(log); from++ {
			fmt.Fprintf(w, "id: %s.g%d.%d\ndata: %s\n\n", s.inc, at, from, log[from])
		}
		from--
		_, _ = io.WriteString(w, ": of the node\n\n")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-wake:
		case <-req.Context().Done():
			return
		}
	}
}

// ear is a client's stream.
type ear struct {
	t      testing.TB
	resp   *http.Response
	events *wire.EventReader
	last   string
	close  func()
}

// hear opens a stream at an endpoint over several servers.
func hear(t testing.TB, srv *httptest.Server, session, last string) *ear {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	resp := listen(ctx, t, srv, session, last)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != wire.TypeEventStream {
		t.Fatalf("GET: status %d, %q", resp.StatusCode, resp.Header)
	}
	return &ear{t: t, resp: resp, events: wire.NewEventReader(bufio.NewReader(resp.Body), 1<<20), last: last, close: cancel}
}

// next is the next message; priming events and comments are passed over.
func (e *ear) next() string {
	e.t.Helper()
	got := make(chan string, 1)
	go func() {
		for {
			ev, err := e.events.Next()
			if err != nil {
				got <- "error: " + err.Error()
				return
			}
			if ev.HasID {
				e.last = ev.ID
			}
			if strings.Contains(string(ev.Raw), "of the node") {
				got <- "a comment of a node"
				return
			}
			if len(ev.Data) > 0 {
				got <- string(ev.Data)
				return
			}
		}
	}()
	select {
	case text := <-got:
		return text
	case <-time.After(10 * time.Second):
		e.t.Fatal("nothing came within 10 s")
		return ""
	}
}

// hears checks the next messages, in any order.
func (e *ear) hears(want ...string) {
	e.t.Helper()
	var got []string
	for range want {
		got = append(got, e.next())
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		e.t.Fatalf("heard %q, want %q", got, want)
	}
}

func news(text string) string {
	return message("", "notifications/message", `{"level":"info","data":"`+text+`"}`)
}

// wideFront is an endpoint over all servers.
func wideFront(t testing.TB, r *Router) *httptest.Server {
	t.Helper()
	return frontFor(t, func(w http.ResponseWriter, req *http.Request) error {
		return r.Carry(req.Context(), w, Request{
			HTTPMethod: req.Method, SessionID: req.Header.Get(wire.HeaderSession), LastEvent: req.Header.Get(wire.HeaderLastEventID), Header: req.Header,
		})
	})
}

func frontFor(t testing.TB, carry func(http.ResponseWriter, *http.Request) error) *httptest.Server {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if err := carry(w, req); err != nil {
			e, _ := errors.AsType[*Error](err)
			http.Error(w, e.Message, http.StatusNotFound)
		}
	}))
	t.Cleanup(srv.Close)
	return srv
}

// opensWide begins a session and opens it at servers, by a call of a tool each.
func opensWide(t testing.TB, r *Router, tools ...string) string {
	t.Helper()
	session, _ := begin(t, r, "")
	for _, name := range tools {
		post(t, r, "", session, tool(name))
	}
	return session
}

// placeAt is the node where a session sits for a server.
func placeAt(t testing.TB, w *world, session string, server store.ServerID) store.NodeID {
	t.Helper()
	rec, _ := w.store.get(mustToken(t, w.rs[0], session).SessionID())
	return rec.Bindings[server].Node
}

// A stream brings what every server of the session says, also those that are opened after it, here
// or at another coordinator.
func TestMergedStream(t *testing.T) {
	w := newWideWorld(t, 2)
	said := w.speak()
	session := opensWide(t, w.rs[0], "a-inc")
	running(t, w.rs[0])
	running(t, w.rs[1])
	eventually(t, "the replica takes hints", func() bool { return w.store.subscribers() == 2 })
	e := hear(t, wideFront(t, w.rs[0]), session, "")
	home := said[placeAt(t, w, session, "a")]
	home.say("a", news("one"))
	e.hears(news("one"))
	post(t, w.rs[0], "", session, tool("a-b-c"))
	said[placeAt(t, w, session, "a-b")].say("a-b", news("two"))
	e.hears(news("two"))
	post(t, w.rs[1], "", session, tool("z-only"))
	said[placeAt(t, w, session, "z")].say("z", news("three"))
	home.say("a", news("four"))
	e.hears(news("three"), news("four"))
	for server, sp := range map[store.ServerID]*speakers{"a": home, "z": said["node-1"]} {
		if opened, taken := sp.readers(string(server)); opened != 1 || taken != 0 {
			t.Errorf("%s: %d streams, taken up %d times; want one", server, opened, taken)
		}
	}
}

// Requests of servers have ids that say who asks; what servers say of their lists is kept back.
func TestMergedStreamRewrites(t *testing.T) {
	w := newWideWorld(t, 1)
	said := w.speak()
	session := opensWide(t, w.rs[0], "a-inc")
	e := hear(t, wideFront(t, w.rs[0]), session, "")
	home := said[placeAt(t, w, session, "a")]
	home.say("a", message("", "notifications/tools/list_changed", ""))
	home.say("a", message(`"aaaaaaaa.r1"`, "roots/list", ""))
	got := e.next()
	f, err := wire.Scan([]byte(got), wire.ServerLimits)
	if err != nil || f.Method != "roots/list" {
		t.Fatalf("heard %q, %v, want the request", got, err)
	}
	if server, id, ok := w.rs[0].cfg.Keys.openRequestID(mustToken(t, w.rs[0], session).random, f.IDBytes()); !ok || server != "a" || string(id) != `"aaaaaaaa.r1"` {
		t.Errorf("id %s is that of %q, %s", f.IDBytes(), server, id)
	}
}

// A client that comes back goes on where it was, at any replica and at each server; what was said
// meanwhile comes then, once.
func TestMergedStreamResumes(t *testing.T) {
	w := newWideWorld(t, 2)
	said := w.speak()
	session := opensWide(t, w.rs[0], "a-inc", "a-b-c")
	fronts := []*httptest.Server{wideFront(t, w.rs[0]), wideFront(t, w.rs[1])}
	a, ab := said[placeAt(t, w, session, "a")], said[placeAt(t, w, session, "a-b")]
	e := hear(t, fronts[0], session, "")
	a.say("a", news("1"))
	ab.say("a-b", news("2"))
	e.hears(news("1"), news("2"))
	e.close()
	a.say("a", news("3"))
	ab.say("a-b", news("4"))
	ab.say("a-b", news("5"))
	again := hear(t, fronts[1], session, e.last)
	again.hears(news("3"), news("4"), news("5"))
	a.say("a", news("6"))
	again.hears(news("6"))
	for server, sp := range map[string]*speakers{"a": a, "a-b": ab} {
		if opened, taken := sp.readers(server); opened != 1 || taken != 1 {
			t.Errorf("%s: %d streams were opened and %d taken up, want 1 and 1", server, opened, taken)
		}
	}
	// The first connection of a client that came back without closing it is ended.
	third := hear(t, fronts[0], session, again.last)
	if got := again.next(); got != "error: EOF" {
		t.Errorf("the stream that was taken up elsewhere brought %q, want its end", got)
	}
	a.say("a", news("7"))
	third.hears(news("7"))
}

// When a server's node dies its part moves, and the rest goes on.
func TestMergedStreamOutlivesNodes(t *testing.T) {
	w := newWideWorld(t, 1)
	said := w.speak()
	session := opensWide(t, w.rs[0], "a-inc", "a-b-c")
	e := hear(t, wideFront(t, w.rs[0]), session, "")
	home := placeAt(t, w, session, "a")
	said[home].say("a", news("before"))
	e.hears(news("before"))
	w.node(home).kill()
	other := said[w.other(home).id]
	other.say("a", news("after"))
	e.hears(news("after"))
	other.say("a-b", news("too"))
	e.hears(news("too"))
}

// A stream ends with its session, and when the coordinator begins to drain: then with word of when
// to come back.
func TestMergedStreamEnds(t *testing.T) {
	w := newWideWorld(t, 2)
	w.speak()
	front := wideFront(t, w.rs[0])
	session := opensWide(t, w.rs[0], "a-inc")
	e := hear(t, front, session, "")
	if p := do(w.rs[0], Request{SessionID: session, HTTPMethod: "DELETE"}); p.err != nil {
		t.Fatal(p.err)
	}
	if got := e.next(); got != "error: EOF" {
		t.Errorf("after the session's end: %q", got)
	}
	session = opensWide(t, w.rs[0], "a-inc")
	e = hear(t, front, session, "")
	w.rs[0].EndStreams()
	rest, err := io.ReadAll(e.resp.Body)
	if err != nil || !strings.HasSuffix(string(rest), string(comeBack)) {
		t.Errorf("at the drain: %q, %v", rest, err)
	}
	if resp := listen(t.Context(), t, front, session, ""); resp.StatusCode == http.StatusOK {
		t.Error("a stream was opened while the coordinator drains")
	}
}

// A client of a revision without priming events gets none; others get one at once, and ids that name
// each server's stream as soon as it is there.
func TestMergedStreamPrimes(t *testing.T) {
	w := newWideWorld(t, 1)
	w.speak()
	front := wideFront(t, w.rs[0])
	for _, version := range []string{"2025-06-18", "2025-11-25"} {
		p := post(t, w.rs[0], "", "", message("1", "initialize", strings.Replace(initParams, "2025-11-25", version, 1)))
		session := p.session()
		post(t, w.rs[0], "", session, tool("a-inc"))
		e := hear(t, front, session, "")
		ev, err := e.events.Next()
		if err != nil || (ev.Data != nil) != (version == "2025-11-25") || ev.HasID != (ev.Data != nil) {
			t.Fatalf("%s: begins with %q, %v", version, ev.Raw, err)
		}
		for ev.Data != nil && len(parseEventID(ev.ID).positions) == 0 {
			if ev, err = e.events.Next(); err != nil {
				t.Fatal(err)
			}
		}
		e.close()
	}
}

// A stream of a client that is quiet for long is kept alive by comments of this coordinator.
func TestMergedStreamIsKeptAlive(t *testing.T) {
	w := newWideWorld(t, 1)
	w.rs[0].lookout.keepAlive = time.Millisecond
	session := opensWide(t, w.rs[0])
	e := hear(t, wideFront(t, w.rs[0]), session, "")
	for range 5 {
		ev, err := e.events.Next()
		if err != nil {
			t.Fatal(err)
		}
		if len(ev.Data) > 0 {
			t.Fatalf("got %q, want comments", ev.Raw)
		}
	}
}

// A hint that was lost costs no more than a while.
func TestMergedStreamLooks(t *testing.T) {
	w := newWideWorld(t, 2) // none of them takes hints
	said := w.speak()
	w.rs[0].lookout.lookEvery = 5 * time.Millisecond
	session := opensWide(t, w.rs[0])
	e := hear(t, wideFront(t, w.rs[0]), session, "")
	post(t, w.rs[1], "", session, tool("a-inc"))
	said[placeAt(t, w, session, "a")].say("a", news("late"))
	e.hears(news("late"))
}

// A server that is no longer one of the group, or that the client's key may no longer use, leaves.
func TestMergedStreamKeepsToTheView(t *testing.T) {
	w := newWideWorld(t, 1)
	said := w.speak()
	r := w.rs[0]
	r.lookout.lookEvery = 5 * time.Millisecond
	limit, mu := limitTo("a", "a-b"), sync.Mutex{}
	front := frontFor(t, func(w http.ResponseWriter, req *http.Request) error {
		return r.Carry(req.Context(), w, Request{
			HTTPMethod: req.Method, SessionID: req.Header.Get(wire.HeaderSession), Header: req.Header, Limit: limitTo("a", "a-b"),
			Relimit: func() (*Limit, bool) {
				mu.Lock()
				defer mu.Unlock()
				return limit, limit != nil
			},
		})
	})
	session := opensWide(t, r, "a-inc", "a-b-c", "z-only")
	e := hear(t, front, session, "")
	a, ab := said[placeAt(t, w, session, "a")], said[placeAt(t, w, session, "a-b")]
	said["node-1"].say("z", news("not for this key"))
	a.say("a", news("1"))
	e.hears(news("1"))
	mu.Lock()
	limit = limitTo("a-b")
	mu.Unlock()
	for { // the lists have changed with it
		if got := e.next(); strings.Contains(got, "resources/list_changed") {
			break
		}
	}
	a.say("a", news("2"))
	ab.say("a-b", news("3"))
	e.hears(news("3"))
	mu.Lock()
	limit = nil // the key was taken away
	mu.Unlock()
	if got := e.next(); got != "error: EOF" {
		t.Errorf("without the key: %q", got)
	}
}
