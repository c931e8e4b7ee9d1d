package node

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/heartbeat"
	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

const (
	testCredential = "fleet-credential"
	bothForms      = "application/json, text/event-stream"
)

// fakeLease is a lease that a test ends.
type fakeLease struct {
	stale   atomic.Bool
	lapseIn atomic.Int64 // questions until it lapses, while above 0
	idle    atomic.Int64 // SessionTimeout
}

func (f *fakeLease) SessionTimeout() time.Duration { return time.Duration(f.idle.Load()) }

func (f *fakeLease) Check(_ context.Context, e store.Epoch, credential string) error {
	switch {
	case credential != testCredential:
		return heartbeat.ErrCredential
	case e != 3:
		return fmt.Errorf("epoch %d: %w", e, store.ErrEpoch)
	case !f.Fresh():
		return heartbeat.ErrLapsed
	}
	return nil
}

func (f *fakeLease) Fresh() bool {
	if f.lapseIn.Load() > 0 && f.lapseIn.Add(-1) == 0 {
		f.stale.Store(true)
	}
	return !f.stale.Load()
}

// rig is a running node behind a real socket.
type rig struct {
	t     testing.TB
	node  *Node
	lease *fakeLease
	web   *httptest.Server
	stop  context.CancelFunc
	ended chan error
}

// fake is a stdio server of the given name, with environment variables of its own.
func fake(name string, env ...string) ServerConfig {
	sc := ServerConfig{Name: name, Command: os.Args[0], Enabled: true, Env: map[string]string{"FAKE_SERVER": "1"}}
	for _, kv := range env {
		k, v, _ := strings.Cut(kv, "=")
		sc.Env[k] = v
	}
	return sc
}

func startRig(t testing.TB, change func(*Config), servers ...ServerConfig) *rig {
	t.Helper()
	r := newRig(t, change, servers...)
	r.run()
	return r
}

// newRig is a rig that does not run yet.
func newRig(t testing.TB, change func(*Config), servers ...ServerConfig) *rig {
	t.Helper()
	cfg := Config{ID: "n1", Instance: "00112233445566778899aabbccddeeff", Servers: servers, Version: "test", StopGrace: 300 * time.Millisecond}
	if change != nil {
		change(&cfg)
	}
	r := &rig{t: t, lease: &fakeLease{}, ended: make(chan error, 1)}
	r.node = New(cfg, r.lease, discard())
	r.web = httptest.NewServer(r.node.Handler())
	return r
}

// run starts the node and waits until its servers have been tried.
func (r *rig) run() {
	t := r.t
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	go func() { r.ended <- r.node.Run(ctx) }()
	t.Cleanup(r.close)
	select {
	case <-r.node.Started():
	case <-time.After(20 * time.Second):
		t.Fatal("servers not tried in 20 s")
	}
}

// close stops everything, once.
func (r *rig) close() {
	if r.ended == nil {
		return
	}
	r.stop()
	if err := <-r.ended; err != nil {
		r.t.Errorf("Run() = %v, want nil", err)
	}
	r.ended = nil
	r.web.CloseClientConnections()
	r.web.Close()
}

// request is one request as a coordinator sends it.
func (r *rig) request(ctx context.Context, method, server, session, body string) *http.Request {
	req, err := http.NewRequestWithContext(ctx, method, r.web.URL+"/mcp/"+server, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+testCredential)
	req.Header.Set(wire.HeaderEpoch, "3")
	req.Header.Set(wire.HeaderSession, session)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", bothForms)
	return req
}

// answer is what came back, with the events taken apart.
type answer struct {
	status int
	header http.Header
	body   string
	events []string // data of the events of a stream, without those that only prime
	ids    []string // of all its events
}

func (a *answer) last() string {
	if len(a.events) > 0 {
		return a.events[len(a.events)-1]
	}
	return a.body
}

func do(t testing.TB, req *http.Request) *answer {
	t.Helper()
	got, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL.Path, err)
	}
	return readAnswer(t, got)
}

func readAnswer(t testing.TB, res *http.Response) *answer {
	t.Helper()
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("read answer: %v", err)
	}
	a := &answer{status: res.StatusCode, header: res.Header, body: string(b)}
	if strings.HasPrefix(res.Header.Get("Content-Type"), wire.TypeEventStream) {
		events := wire.NewEventReader(bytes.NewReader(b), 1<<20)
		for {
			ev, err := events.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("event stream: %v in %q", err, b)
			}
			if ev.HasID {
				a.ids = append(a.ids, ev.ID)
			}
			if len(ev.Data) > 0 {
				a.events = append(a.events, string(ev.Data))
			}
		}
	}
	return a
}

func (r *rig) post(server, session, body string) *answer {
	r.t.Helper()
	return do(r.t, r.request(context.Background(), http.MethodPost, server, session, body))
}

// open initializes a session and fails the test if that goes wrong.
func (r *rig) open(server, session string) *answer {
	r.t.Helper()
	a := r.post(server, session, initBody("2025-11-25"))
	if a.status != 200 {
		r.t.Fatalf("initialize %s of %s: %d %s", session, server, a.status, a.body)
	}
	return a
}

func initBody(version string) string {
	return `{"jsonrpc":"2.0","id":"init","method":"initialize","params":{"protocolVersion":"` + version + `","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`
}

// tool is the body of a call of a tool with a text, and more arguments as JSON members.
func tool(id, name, text string, more ...string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"name":"` + name + `","arguments":{"text":"` + text + `"` + strings.Join(more, "") + `}}}`
}

// textOf takes the text out of the result of a tool.
func textOf(t testing.TB, body string) string {
	t.Helper()
	var m struct {
		Result struct{ Content []struct{ Text string } }
	}
	if err := json.Unmarshal([]byte(body), &m); err != nil || len(m.Result.Content) != 1 {
		t.Fatalf("no text in answer %q (%v)", body, err)
	}
	return m.Result.Content[0].Text
}

func errorCode(t testing.TB, body string) int {
	t.Helper()
	var m struct{ Error struct{ Code int } }
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		t.Fatalf("no JSON-RPC message: %q (%v)", body, err)
	}
	return m.Error.Code
}

// server is how the node describes one of its servers now.
func (r *rig) server(name string) store.Server {
	for _, s := range r.node.Describe().Servers {
		if s.ID == store.ServerID(name) {
			return s
		}
	}
	r.t.Fatalf("node describes no server %s", name)
	return store.Server{}
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("not in 15 s: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (r *rig) awaitStatus(name string, want store.ServerStatus) store.Server {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%s %s", name, want), func() bool { return r.server(name).Status == want })
	return r.server(name)
}

// lines reads a file that children append to.
func lines(t testing.TB, path string) []string {
	t.Helper()
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []string
	for sc := bufio.NewScanner(f); sc.Scan(); {
		all = append(all, sc.Text())
	}
	return all
}

// async posts and hands over the answer later.
func (r *rig) async(server, session, body string) <-chan *answer {
	ch := make(chan *answer, 1)
	req := r.request(context.Background(), http.MethodPost, server, session, body)
	var wg sync.WaitGroup
	wg.Go(func() { ch <- do(r.t, req) })
	return ch
}

func within(t testing.TB, d time.Duration, ch <-chan *answer) *answer {
	t.Helper()
	select {
	case a := <-ch:
		return a
	case <-time.After(d):
		t.Fatalf("no answer within %s", d)
		return nil
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
