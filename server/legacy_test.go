package server

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/store"
	"github.com/mcphub-go/mcphub/store/storetest"
)

// hubCarrier is a hub over streamable HTTP: sessions, answers by method, one stream by GET.
type hubCarrier struct {
	*fakeCarrier

	mu      sync.Mutex
	order   []string // methods, or ids, in the order in which they were carried
	deletes []string
	gets    []router.Request
	says    chan string   // to the stream by GET
	hold    chan struct{} // lets calls of "slow" end
	forgot  bool          // no session is known any more
}

func newHubCarrier(f *fakeCarrier) *hubCarrier {
	return &hubCarrier{fakeCarrier: f, says: make(chan string), hold: make(chan struct{})}
}

func (c *hubCarrier) seen() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.order...)
}

func (c *hubCarrier) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgot = true
}

func (c *hubCarrier) ends() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.deletes...)
}

func (c *hubCarrier) note(req router.Request) (wire.Frame, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch req.HTTPMethod {
	case http.MethodDelete:
		c.deletes = append(c.deletes, req.SessionID)
		return wire.Frame{}, nil
	case http.MethodGet:
		c.gets = append(c.gets, req)
		return wire.Frame{}, nil
	}
	f, err := wire.Scan(req.Body, wire.ClientLimits)
	c.order = append(c.order, string(f.IDBytes())+f.Method)
	if c.forgot {
		err = &router.Error{Err: router.ErrUnknownSession, ID: f.IDBytes(), Code: wire.CodeInvalidRequest, Message: "unknown session: it has ended"}
	}
	return f, err
}

func (c *hubCarrier) Carry(ctx context.Context, w http.ResponseWriter, req router.Request) error {
	f, err := c.note(req)
	if err != nil {
		return err
	}
	switch {
	case req.HTTPMethod == http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
		return nil
	case req.HTTPMethod == http.MethodGet:
		return c.listen(ctx, w)
	case f.Method == "initialize" && req.SessionID == "":
		w.Header().Set(wire.HeaderSession, "session-of-the-hub")
		_, err := io.WriteString(w, `{"jsonrpc":"2.0","id":`+string(f.IDBytes())+`,"result":{"protocolVersion":"2025-11-25"}}`)
		return err
	case f.Kind != wire.Request:
		w.WriteHeader(http.StatusAccepted)
		return nil
	case f.Method == "broken":
		return &router.Error{Err: router.ErrNoReplica, Code: wire.CodeNotExecuted, Message: "Not executed: no replica"}
	}
	w.Header().Set("Content-Type", wire.TypeEventStream)
	w.WriteHeader(http.StatusOK)
	if f.Method == "slow" {
		_ = wire.Comment(w, "keep-alive")
		_ = wire.WriteEvent(w, wire.Event{ID: "i.c1.1", Data: []byte(`{"jsonrpc":"2.0","method":"notifications/progress"}`)})
		_ = http.NewResponseController(w).Flush()
		select {
		case <-c.hold:
		case <-ctx.Done():
			return nil
		}
	}
	_ = wire.WriteEvent(w, wire.Event{ID: "i.c1.2", Data: []byte(rpcResult(string(f.IDBytes())))})
	return http.NewResponseController(w).Flush()
}

func (c *hubCarrier) listen(ctx context.Context, w http.ResponseWriter) error {
	w.Header().Set("Content-Type", wire.TypeEventStream)
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case text := <-c.says:
			if text == "" {
				return nil
			}
			_ = wire.WriteEvent(w, wire.Event{ID: fmt.Sprint("i.g1.", n), Data: []byte(text)})
			if err := http.NewResponseController(w).Flush(); err != nil {
				return err
			}
		}
	}
}

// replicas are several front doors on one Redis; all of them carry to one hub.
func replicas(t *testing.T, n int, cfg Config, redisURL string) ([]*rig, *hubCarrier) {
	t.Helper()
	var rigs []*rig
	var hub *hubCarrier
	for i := range n {
		cfg.Coordinator = store.CoordinatorID(fmt.Sprint("c", i+1))
		r := newServer(t, cfg, nil)
		if hub == nil {
			hub = newHubCarrier(r.carrier)
		}
		r.deps.Carrier = &ownedCarrier{hubCarrier: hub, owner: cfg.Coordinator}
		if redisURL != "" {
			st, err := store.Open(t.Context(), store.Config{URL: redisURL, KeyPrefix: "t", Timeout: 5 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = st.Close() })
			r.deps.Inboxes = st
		}
		rigs = append(rigs, r.run(t))
	}
	return rigs, hub
}

// ownedCarrier gives streams to the replica that it is at.
type ownedCarrier struct {
	*hubCarrier
	owner store.CoordinatorID
}

func (c *ownedCarrier) NewStream(subject string) (router.StreamToken, error) {
	return c.keys.MintStream(c.owner, subject)
}

func embedded(t *testing.T) *store.Embedded {
	t.Helper()
	e, err := store.StartEmbedded("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// legacyClient is a client of HTTP+SSE.
type legacyClient struct {
	t        *testing.T
	resp     *http.Response
	events   *wire.EventReader
	endpoint string
}

// connect opens a stream and reads its first event.
func connect(t *testing.T, r *rig, path string, headers ...string) *legacyClient {
	t.Helper()
	resp, body := r.open(t, path, append(headers, "Accept", "text/event-stream")...)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != wire.TypeEventStream || resp.Header.Get("X-Accel-Buffering") != "no" {
		text, _ := io.ReadAll(body)
		t.Fatalf("GET %s = %d %v %s", path, resp.StatusCode, resp.Header, text)
	}
	c := &legacyClient{t: t, resp: resp, events: wire.NewEventReader(bufio.NewReader(body), 1<<20)}
	ev, err := c.events.Next()
	if err != nil || ev.Name != "endpoint" {
		t.Fatalf("the first event is %+v, %v", ev, err)
	}
	c.endpoint = string(ev.Data)
	return c
}

// next is the next message.
func (c *legacyClient) next() string {
	c.t.Helper()
	for {
		ev, err := c.events.Next()
		if err != nil {
			c.t.Fatalf("the stream ended: %v", err)
		}
		if len(ev.Data) == 0 {
			continue
		}
		if ev.Name != "message" || ev.HasID {
			c.t.Errorf("event %+v, want a message without an id", ev)
		}
		return string(ev.Data)
	}
}

// over waits for the end of the stream.
func (c *legacyClient) over() {
	c.t.Helper()
	for {
		if _, err := c.events.Next(); err != nil {
			return
		}
	}
}

// say posts a message to a replica.
func (c *legacyClient) say(r *rig, message string, headers ...string) reply {
	c.t.Helper()
	return r.do(c.t, "POST", c.endpoint, message, headers...)
}

func (c *legacyClient) saysWell(r *rig, message string) {
	c.t.Helper()
	if p := c.say(r, message); p.status != http.StatusAccepted {
		c.t.Fatalf("POST of %s = %d %s", message, p.status, p.body)
	}
}

const rpcInit = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`

// begin initializes a session.
func (c *legacyClient) begin(r *rig) {
	c.t.Helper()
	c.saysWell(r, rpcInit)
	if got := c.next(); !strings.Contains(got, "protocolVersion") {
		c.t.Fatalf("initialize = %s", got)
	}
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatal("not within 20 s: " + what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func TestLegacyConversation(t *testing.T) {
	rigs, hub := replicas(t, 2, global, embedded(t).URL())
	a, b := rigs[0], rigs[1]
	c := connect(t, a, "/sse/everything")
	if !strings.HasPrefix(c.endpoint, "/messages?sessionId=") {
		t.Fatalf("endpoint %q", c.endpoint)
	}
	c.saysWell(b, rpc("7", "early"))
	if got := c.next(); !strings.Contains(got, `"id":7,"error"`) || !strings.Contains(got, "initialize") {
		t.Errorf("a call before initialize = %s", got)
	}
	c.begin(b)
	hub.says <- `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`
	if got := c.next(); !strings.Contains(got, "list_changed") {
		t.Errorf("from the session's own stream: %s", got)
	}
	// A call that takes its time holds up nothing; what servers say meanwhile comes too.
	c.saysWell(a, rpc("1", "slow"))
	if got := c.next(); !strings.Contains(got, "progress") {
		t.Errorf("while the call runs: %s", got)
	}
	c.saysWell(b, rpc("2", "quick"))
	if got := c.next(); got != rpcResult("2") {
		t.Errorf("the quick call = %s", got)
	}
	close(hub.hold)
	if got := c.next(); got != rpcResult("1") {
		t.Errorf("the slow call = %s", got)
	}
	c.saysWell(a, rpc(`"x"`, "broken"))
	if got := c.next(); !strings.Contains(got, `"id":"x","error":{"code":1002`) {
		t.Errorf("a call that cannot be carried = %s", got)
	}
	hub.says <- "" // the session's own stream breaks, and is taken up again
	eventually(t, "a second GET", func() bool { hub.mu.Lock(); defer hub.mu.Unlock(); return len(hub.gets) == 2 })
	hub.mu.Lock()
	again := hub.gets[1]
	hub.mu.Unlock()
	if again.LastEvent != "i.g1.0" || again.SessionID != "session-of-the-hub" || again.Scope != "everything" || again.Header.Get(wire.HeaderVersion) != "2025-06-18" {
		t.Errorf("the second GET is %+v", again)
	}
	_ = c.resp.Body.Close()
	eventually(t, "the session is ended", func() bool { return len(hub.ends()) == 1 && hub.ends()[0] == "session-of-the-hub" })
	eventually(t, "the stream is forgotten", func() bool {
		p, q := c.say(a, word), c.say(b, word)
		return p.status == http.StatusNotFound && q.status == http.StatusNotFound && p.body == q.body
	})
}

// Whoever posts, and wherever: everything arrives, in the order in which it was posted.
func TestLegacyBurst(t *testing.T) {
	t.Run("embedded", func(t *testing.T) { legacyBurst(t, embedded(t).URL()) })
	t.Run("redis-server", func(t *testing.T) { legacyBurst(t, storetest.StartServer(t).URL()) })
}

func legacyBurst(t *testing.T, url string) {
	rigs, hub := replicas(t, 3, global, url)
	c := connect(t, rigs[0], "/sse")
	c.begin(rigs[1])
	const n = 1000
	for i := range n {
		c.saysWell(rigs[i%3], rpc(fmt.Sprint(i+1), "call"))
	}
	answered := map[string]bool{}
	for range n {
		var answer struct{ ID json.Number }
		if err := json.Unmarshal([]byte(c.next()), &answer); err != nil || answered[answer.ID.String()] {
			t.Fatalf("answer to %s, %v", answer.ID, err)
		}
		answered[answer.ID.String()] = true
	}
	seen := hub.seen()
	if len(seen) != n+1 {
		t.Fatalf("%d messages were carried, want %d", len(seen), n+1)
	}
	for i, got := range seen[1:] {
		if want := fmt.Sprint(i+1, "call"); got != want {
			t.Fatalf("message %d is %s, want %s", i, got, want)
		}
	}
}

func TestLegacyKeysOnBothHalves(t *testing.T) {
	cfg := global
	cfg.RequireKey, cfg.Keys = true, []Key{{Name: "one", Key: "key-of-one", All: true}, {Name: "two", Key: "key-of-two", All: true}}
	rigs, _ := replicas(t, 2, cfg, embedded(t).URL())
	if resp, _ := rigs[0].open(t, "/sse"); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("GET without a key = %d", resp.StatusCode)
	}
	c := connect(t, rigs[0], "/sse", "Authorization", "Bearer key-of-one")
	for _, r := range rigs {
		if p := c.say(r, rpcInit); p.status != http.StatusUnauthorized || p.header.Get("WWW-Authenticate") == "" {
			t.Errorf("POST without a key = %d", p.status)
		}
		other := c.say(r, rpcInit, "Authorization", "Bearer key-of-two")
		made := r.do(t, "POST", "/messages?sessionId=made-up", rpcInit, "Authorization", "Bearer key-of-two")
		if other.status != http.StatusNotFound || other.body != made.body {
			t.Errorf("POST with another key = %d %s, want what a made-up sessionId gets", other.status, other.body)
		}
	}
	if p := c.say(rigs[1], rpcInit, "Authorization", "Bearer key-of-one"); p.status != http.StatusAccepted {
		t.Errorf("POST with the key = %d %s", p.status, p.body)
	}
	c.next()
	for _, r := range rigs {
		r.SetAccess(Access{RequireKey: true, Keys: cfg.Keys[1:]})
	}
	rigs[0].SetAccess(Access{RequireKey: true, Keys: cfg.Keys[1:]})
	rigs[1].SetAccess(Access{RequireKey: true, Keys: cfg.Keys}) // it has not heard of it
	if p := c.say(rigs[1], rpc("1", "x"), "Authorization", "Bearer key-of-one"); p.status != http.StatusAccepted {
		t.Errorf("POST where the key is still known = %d", p.status)
	}
	c.over() // the replica with the stream knows better
}

// Without Redis the replica with the stream goes on alone, and what it had left in the inbox is not
// dispatched twice when Redis is back.
func TestLegacyWithoutRedis(t *testing.T) {
	redis := embedded(t)
	rigs, hub := replicas(t, 2, global, redis.URL())
	c := connect(t, rigs[0], "/sse/everything")
	c.begin(rigs[0])
	redis.Close()
	for i := range 20 {
		c.saysWell(rigs[0], rpc(fmt.Sprint(i+1), "call"))
		if got := c.next(); got != rpcResult(fmt.Sprint(i+1)) {
			t.Fatalf("call %d = %s", i+1, got)
		}
	}
	p := c.say(rigs[1], rpc("99", "call"))
	if p.status != http.StatusServiceUnavailable || p.header.Get("Retry-After") == "" {
		t.Errorf("POST elsewhere = %d, Retry-After %q", p.status, p.header.Get("Retry-After"))
	}
	if got := len(hub.seen()); got != 21 {
		t.Errorf("%d messages were carried, want 21", got)
	}
}

// What was pushed and has not come back is dispatched before what is taken directly, and once.
func TestLegacyOrderWhenRedisGoes(t *testing.T) {
	st := &legacyStream{more: make(chan struct{}, 1), direct: map[string]bool{}}
	in := &flakyInbox{}
	st.s = &Server{deps: Deps{Inboxes: in}}
	m := func(id string) store.InboxMessage { return store.InboxMessage{ID: id} }
	post := func(id string) {
		t.Helper()
		if err := st.post(t.Context(), m(id)); err != nil {
			t.Fatal(err)
		}
	}
	post("a")
	post("b")
	if !st.arrived(m("a")) {
		t.Error("a is not dispatched")
	}
	in.err = store.ErrUnavailable
	post("c")
	in.err = nil
	for _, id := range []string{"b", "c"} { // they were in the inbox after all
		if st.arrived(m(id)) {
			t.Errorf("%s is dispatched twice", id)
		}
	}
	post("d")
	if !st.arrived(m("d")) {
		t.Error("d is not dispatched")
	}
	order := ""
	for _, m := range st.queue {
		order += m.ID
	}
	if order != "abcd" {
		t.Errorf("dispatched %s, want abcd", order)
	}
	in.err = store.ErrTooMany
	if err := st.post(t.Context(), m("e")); posted(err).(*problem).status != http.StatusServiceUnavailable { //nolint:errorlint,forcetypeassert // as posted gives it
		t.Errorf("a full inbox = %v", err)
	}
}

// flakyInbox takes everything, or nothing.
type flakyInbox struct {
	Inboxes
	err error
}

func (f *flakyInbox) PushInbox(context.Context, store.CoordinatorID, store.InboxMessage) error {
	return f.err
}

func TestLegacyStreamsEnd(t *testing.T) {
	rigs, hub := replicas(t, 1, global, "")
	c := connect(t, rigs[0], "/sse/everything")
	c.begin(rigs[0])
	hub.forget()
	c.saysWell(rigs[0], rpc("1", "call"))
	if got := c.next(); !strings.Contains(got, "unknown session") {
		t.Errorf("the call = %s", got)
	}
	c.over()
	other := connect(t, rigs[0], "/sse/everything")
	if err := rigs[0].stop(); err != nil {
		t.Error(err)
	}
	other.over()
	if rigs[0].legacy.add(&legacyStream{}) {
		t.Error("a replica that stops takes up streams")
	}
}

// A client that does not read loses its stream, and holds up nobody else.
func TestLegacyStalledReader(t *testing.T) {
	cfg := global
	cfg.FollowStall = 100 * time.Millisecond
	rigs, hub := replicas(t, 1, cfg, embedded(t).URL())
	stalled, good := connect(t, rigs[0], "/sse/everything"), connect(t, rigs[0], "/sse/everything")
	good.begin(rigs[0])
	stalled.saysWell(rigs[0], rpcInit)
	eventually(t, "the stalled stream has ended", func() bool {
		return stalled.say(rigs[0], `{"jsonrpc":"2.0","id":"`+strings.Repeat("y", 1<<20)+`","method":"x"}`).status == http.StatusNotFound
	})
	good.saysWell(rigs[0], rpc("5", "call"))
	if got := good.next(); got != rpcResult("5") {
		t.Errorf("the other client got %.100s", got)
	}
	if len(hub.ends()) == 0 {
		t.Error("the session of the stalled client was not ended")
	}
}

func TestLegacyAbsoluteEndpoint(t *testing.T) {
	cfg := global
	cfg.AbsoluteEndpoint = true
	cfg.AllowedHosts = []string{"hub.example.com"}
	rigs, _ := replicas(t, 1, cfg, "")
	c := connect(t, rigs[0], "/sse")
	path, ok := strings.CutPrefix(c.endpoint, rigs[0].url)
	if !ok || !strings.HasPrefix(path, "/messages?sessionId=") {
		t.Fatalf("endpoint %q at %s", c.endpoint, rigs[0].url)
	}
	c.endpoint = path
	c.begin(rigs[0])
	if c := connect(t, rigs[0], "/sse", "X-Forwarded-Proto", "https"); !strings.HasPrefix(c.endpoint, "https://127.0.0.1:") {
		t.Errorf("behind TLS the endpoint is %q", c.endpoint)
	}
}

func TestStreamsAreLimited(t *testing.T) {
	cfg := global
	cfg.MaxStreamsPerSession, cfg.MaxStreamsPerKey, cfg.MaxStreams = 2, 3, 4
	cfg.RequireKey, cfg.Keys = true, []Key{{Name: "one", Key: "key-of-one", All: true}, {Name: "two", Key: "key-of-two", All: true}}
	rigs, _ := replicas(t, 1, cfg, "")
	r := rigs[0]
	try := func(key, session string) *http.Response {
		t.Helper()
		path := "/mcp/everything"
		if session == "" {
			path = "/sse"
		}
		resp, _ := r.open(t, path, "Accept", "text/event-stream", "Authorization", "Bearer "+key, wire.HeaderSession, session)
		return resp
	}
	want := func(resp *http.Response, status int, setting string) {
		t.Helper()
		text := ""
		if status != http.StatusOK {
			b, _ := io.ReadAll(resp.Body)
			text = string(b)
		}
		if resp.StatusCode != status || !strings.Contains(text, setting) || (resp.Header.Get("Retry-After") != "") != (status != http.StatusOK) {
			t.Errorf("%d %s, Retry-After %q; want %d and %q", resp.StatusCode, text, resp.Header.Get("Retry-After"), status, setting)
		}
	}
	want(try("key-of-one", "s1"), 200, "")
	first := try("key-of-one", "s1")
	want(first, 200, "")
	want(try("key-of-one", "s1"), 429, "limits.maxStreamsPerSession")
	want(try("key-of-one", ""), 200, "")
	want(try("key-of-one", ""), 429, "limits.maxStreamsPerKey")
	want(try("key-of-two", "s2"), 200, "")
	want(try("key-of-two", "s3"), 503, "limits.maxStreams)")
	_ = first.Body.Close()
	eventually(t, "a stream that ended makes room", func() bool { return try("key-of-two", "s3").StatusCode == http.StatusOK })
}
