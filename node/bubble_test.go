package node

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// bubble is an isolated server in a bubble, whose processes a test scripts.
type bubble struct {
	t    *testing.T
	s    *server
	stop context.CancelFunc
	all  sync.WaitGroup

	mu    sync.Mutex // guards the rest
	ups   []*poolUp  // every process, in the order of their starts
	most  int        // processes at one time
	delay time.Duration
	fail  error // of starts
}

// poolUp is one process.
type poolUp struct {
	scriptUp
	b       *bubble
	n       int      // which it is, from 0
	methods []string // that it has seen, guarded by b.mu
	hello   string   // the params of its initialize, guarded by b.mu
}

func (u *poolUp) send(ctx context.Context, m message) error {
	f, err := wire.Scan(m.frame, wire.ServerLimits)
	if err != nil {
		return err
	}
	u.b.mu.Lock()
	u.methods = append(u.methods, f.Method)
	if f.Method == "initialize" {
		u.hello = string(f.ParamsBytes())
	}
	delay := u.b.delay
	u.b.mu.Unlock()
	if f.Method == "initialize" && delay > 0 {
		if !u.link.spawn(func() {
			if pause(ctx, delay) == nil {
				_ = u.scriptUp.send(ctx, m)
			}
		}) {
			return errLost
		}
		return nil
	}
	return u.scriptUp.send(ctx, m)
}

// negotiating answers with the version it is asked for, as servers do that know them all.
func (u *poolUp) negotiating(f *wire.Frame) string {
	if f.Method != "initialize" {
		if f.Method == "hang" {
			return ""
		}
		return goodServer(f)
	}
	at, _ := f.Lookup("params", "protocolVersion")
	return `{"protocolVersion":` + string(at.Of(f.Raw)) + `,"capabilities":{"tools":{}},"serverInfo":{"name":"` + fmt.Sprint(u.n) + `","version":"1"}}`
}

func isolated(change func(*ServerConfig)) ServerConfig {
	sc := ServerConfig{Name: "a", Command: "x", Enabled: true, Isolation: IsolationSession}
	if change != nil {
		change(&sc)
	}
	return sc
}

// startBubble runs the server and waits for its first process.
func startBubble(t *testing.T, change func(*ServerConfig)) *bubble {
	b := &bubble{t: t}
	b.s = supervisedAs(isolated(change), newStarts(8), b.dial)
	b.run()
	return b
}

func (b *bubble) run() {
	ctx, stop := context.WithCancel(b.t.Context())
	b.stop = stop
	b.all.Go(func() { b.s.run(ctx) })
	<-b.s.tried
	synctest.Wait()
}

// end stops the server and checks that nothing of it is left.
func (b *bubble) end() {
	b.t.Helper()
	b.stop()
	b.all.Wait()
	for _, u := range b.ups {
		if !u.closed.Load() {
			b.t.Errorf("process %d was not closed", u.n)
		}
	}
	if p := b.s.pool; len(p.procs)+len(p.sessions)+len(p.spares) != 0 {
		b.t.Errorf("%d processes, %d sessions, %d spares are left", len(p.procs), len(p.sessions), len(p.spares))
	}
	if b.most > b.s.pool.most {
		b.t.Errorf("%d processes at one time, over the bound of %d", b.most, b.s.pool.most)
	}
}

func (b *bubble) dial(l *link) (upstream, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return nil, b.fail
	}
	u := &poolUp{b: b, n: len(b.ups)}
	u.link, u.answer = l, u.negotiating
	b.ups = append(b.ups, u)
	live := 0
	for _, u := range b.ups {
		if !u.closed.Load() {
			live++
		}
	}
	b.most = max(b.most, live)
	return u, nil
}

func (b *bubble) up(n int) *poolUp {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ups[n]
}

func (b *bubble) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

// open opens a session and returns the number of its process, as serverInfo tells it.
func (b *bubble) open(id, version string) (int, error) {
	f, err := wire.Scan([]byte(initBody(version)), wire.ClientLimits)
	if err != nil {
		b.t.Fatal(err)
	}
	result, _, err := b.s.open(b.t.Context(), id, &f, version)
	if err != nil {
		return -1, err
	}
	at, _ := wire.Lookup(result, "serverInfo", "name")
	var n int
	if _, err := fmt.Sscanf(string(at.Of(result)), `"%d"`, &n); err != nil {
		b.t.Fatal(err)
	}
	if at, _ := wire.Lookup(result, "protocolVersion"); string(at.Of(result)) != `"`+version+`"` {
		b.t.Errorf("session %s asked for %s and was answered %s", id, version, at.Of(result))
	}
	return n, nil
}

func (b *bubble) mustOpen(id string) int {
	b.t.Helper()
	n, err := b.open(id, wire.LatestLegacy)
	if err != nil {
		b.t.Fatalf("open %s: %v", id, err)
	}
	return n
}

// call sends a request of a session and returns its outcome later.
func (b *bubble) call(id, method string) (*call, error) {
	l, ses, err := b.s.find(b.t.Context(), id)
	if err != nil {
		return nil, err
	}
	f, err := wire.Scan([]byte(`{"jsonrpc":"2.0","id":1,"method":"`+method+`"}`), wire.ClientLimits)
	if err != nil {
		b.t.Fatal(err)
	}
	return l.dispatch(b.t.Context(), ses, &f, origin{})
}

// is compares how the server is described with "status processes/spares/sessions".
func (b *bubble) is(want string) {
	b.t.Helper()
	synctest.Wait()
	d := b.s.describe()
	got := fmt.Sprintf("%s %d/%d/%d", d.Status, d.Processes, d.Spares, d.Sessions)
	if d.Full {
		got += " full"
	}
	if got != want {
		b.t.Errorf("described as %s (%s), want %s", got, d.Error, want)
	}
}
