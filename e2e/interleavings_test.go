package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

const (
	// players are the clients at once, all with the same request ids and tokens.
	players = 50
	// lanes are the calls that each makes at once.
	lanes = 3
	// messagesPerCall is about how many messages a call sends, answers left out.
	messagesPerCall = 10
)

// Fifty clients call, are asked, answer, cancel, drop their streams and come back, at random,
// through three replicas to the same processes. Each request has one outcome, no message reaches
// another session or comes twice, and the order on each stream holds.
//
// E2E_MESSAGES is about how many messages go by, 10 000 by default; E2E_SEED repeats a run.
func TestInterleavings(t *testing.T) {
	long(t)
	seed, total := numberFrom(t, "E2E_SEED", time.Now().UnixNano()), numberFrom(t, "E2E_MESSAGES", 10_000)
	t.Logf("E2E_SEED=%d E2E_MESSAGES=%d", seed, total)
	calls := max(1, int(total)/players/messagesPerCall)
	c := talkingFleet(t, 1, harness.Options{})
	g := &game{c: c, calls: calls, begun: time.Now()}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute+time.Duration(total)*10*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	for i := range players {
		wg.Go(func() {
			p := &player{game: g, name: "player-" + strconv.Itoa(i), wide: i%2 == 1, few: i < 10}
			if err := p.play(ctx, uint64(seed), i); err != nil { //nolint:gosec // any bits will do
				t.Errorf("%s: %v", p.name, err)
			}
		})
	}
	wg.Wait()
	t.Logf("%d messages and %d calls in %v: %d questions, %d cancelled, %d streams taken up again",
		g.messages.Load(), players*calls, time.Since(g.begun).Round(time.Millisecond), g.questions.Load(), g.cancelled.Load(), g.resumed.Load())
	checkLedger(t, players*calls)
	s := harness.MustOpen(t, c.Front.URL+"/mcp")
	for _, server := range []string{"local", "fixture"} {
		// A question that its call's cancellation has overtaken is answered with an error all the same.
		text, err := s.Call(ctx, server+"-"+toolStrays, nil)
		if n, bad := strconv.ParseInt(text, 10, 64); err != nil || bad != nil || n > g.cancelled.Load() {
			t.Errorf("%s: %s answers that nobody waited for, %v", server, text, err)
		}
	}
}

// numberFrom reads a number of the environment.
func numberFrom(t *testing.T, name string, def int64) int64 {
	t.Helper()
	n, err := strconv.ParseInt(cmp.Or(os.Getenv(name), strconv.FormatInt(def, 10)), 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// checkLedger wants no key twice, and at most n of them.
func checkLedger(t *testing.T, n int) {
	t.Helper()
	b, err := os.ReadFile(ledger(t))
	if err != nil {
		t.Fatal(err)
	}
	times := map[string]int{}
	for line := range strings.Lines(string(b)) {
		if times[line]++; times[line] > 1 {
			t.Errorf("%s was executed %d times", strings.TrimSpace(line), times[line])
		}
	}
	if len(times) > n {
		t.Errorf("%d calls were executed of %d", len(times), n)
	}
}

// game is what all players share.
type game struct {
	c                                       *harness.Cluster
	calls                                   int // of each player
	begun                                   time.Time
	messages, questions, cancelled, resumed atomic.Int64
	asked                                   sync.Map // from the ids of questions to names of players
}

// player is one client. Keys of its calls are its name, a slash and the number.
type player struct {
	*game
	name string
	wide bool // at the endpoint over all servers
	few  bool // it may use the server that starts a process for it
	s    *harness.Session

	mu   sync.Mutex
	seen map[string]bool // guarded by mu; messages, but for progress, over all streams
}

func (p *player) play(ctx context.Context, seed uint64, i int) error {
	path := "/mcp/local"
	if p.wide {
		path = "/mcp"
	}
	p.seen = map[string]bool{}
	p.s = harness.NewSession(p.c.Front.URL + path)
	p.s.Capabilities = talkClient
	if err := p.s.Initialize(ctx, "2025-11-25"); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	listening := make(chan error, 1)
	go func() { listening <- p.listen(ctx, rand.New(rand.NewPCG(seed, uint64(i)))) }() //nolint:gosec // as above, and repeatable
	numbers := make(chan int)
	go func() {
		defer close(numbers)
		for n := range p.calls {
			numbers <- n + 1
		}
	}()
	errs := make(chan error, lanes)
	for lane := range lanes {
		go func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(players+i*lanes+lane))) //nolint:gosec // as above
			var err error
			for n := range numbers {
				if err == nil { // the rest is only taken from the channel
					err = p.call(ctx, rnd, n)
				}
			}
			errs <- err
		}()
	}
	var all error
	for range lanes {
		all = errors.Join(all, <-errs)
	}
	cancel()
	return errors.Join(all, <-listening)
}

// heed takes what is no progress: this player's, and once.
func (p *player) heed(ctx context.Context, s spoken, g tag) error {
	p.messages.Add(1)
	if s.Method == "notifications/cancelled" {
		return p.takenBack(string(s.Params.RequestID))
	}
	if owner, _, _ := strings.Cut(g.Key, "/"); owner != p.name {
		return fmt.Errorf("was sent %s %s, which is %s's", s.Method, g.Key, owner)
	}
	if key := s.Method + g.Key + "#" + strconv.Itoa(g.I); p.again(key) {
		return fmt.Errorf("was sent %s twice", key)
	}
	if s.ID == nil {
		return nil
	}
	p.questions.Add(1)
	if other, known := p.asked.LoadOrStore(string(s.ID), p.name); known {
		return fmt.Errorf("was asked under %s, as was %s", s.ID, other)
	}
	return reply(ctx, p.s, string(s.ID), g.Key)
}

// takenBack takes the news that a question is taken back, which may overtake it on another stream.
func (p *player) takenBack(id string) error {
	if other, known := p.asked.Load(id); known && other != p.name || p.again("taken back "+id) {
		return fmt.Errorf("was told, first or again, that %s is taken back, a question to %v", id, other)
	}
	return nil
}

// again reports whether key was seen before.
func (p *player) again(key string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.seen[key]
	p.seen[key] = true
	return was
}

// call is call n: at random it is asked, cancelled, and left and taken up again.
func (p *player) call(ctx context.Context, rnd *rand.Rand, n int) error {
	k := &talk{id: strconv.Itoa(n), key: p.name + "/" + strconv.Itoa(n), tool: p.tool(rnd), n: rnd.IntN(20), ms: rnd.IntN(4)}
	if rnd.IntN(3) == 0 {
		k.level = "info"
	}
	if rnd.IntN(3) == 0 {
		k.asks = 1 + rnd.IntN(2)
	}
	k.heed = func(s spoken, g tag) error { return p.heed(ctx, s, g) }
	cancelAt := -1 // after so many events
	if rnd.IntN(8) == 0 {
		cancelAt = rnd.IntN(10)
	}
	err := p.converse(ctx, rnd, k, cancelAt)
	p.messages.Add(int64(k.heard[progressMethod+k.key]))
	if err != nil {
		return fmt.Errorf("call %d (%s, n %d, asks %d, cancelled after %d events, last event %q): %w", n, k.tool, k.n, k.asks, cancelAt, k.lastID, err)
	}
	if cancelAt >= 0 {
		return nil // any outcome, at most one
	}
	if err := k.whole(); err != nil {
		return err
	}
	return p.checkAnswers(k)
}

// tool is where a call goes.
func (p *player) tool(rnd *rand.Rand) string {
	switch n := rnd.IntN(10); {
	case !p.wide:
		return toolTalk
	case n < 2:
		return "fixture-" + toolTalk
	case n < 3 && p.few:
		return "own-" + toolTalk
	}
	return "local-" + toolTalk
}

// converse makes the call and reads all there is of it.
func (p *player) converse(ctx context.Context, rnd *rand.Rand, k *talk, cancelAt int) error {
	events := 0
	cancelled := cancelAt == 0
	if cancelled {
		go func() { _ = p.cancel(ctx, k.id) }() // before, while or after it is sent
	}
	st, err := k.begin(ctx, p.s)
	for err == nil && k.outcomes == 0 {
		leave, left := 1+rnd.IntN(30), false
		err = k.follow(st, func() bool {
			events++
			left = events%leave == 0 && k.lastID != "" && k.outcomes == 0
			return left || events == cancelAt
		})
		switch {
		case err != nil:
		case events == cancelAt && !cancelled: // follow has closed the stream: come back
			cancelled = true
			err = p.cancel(ctx, k.id)
			left = left || k.lastID != ""
		}
		if err != nil || !left {
			break
		}
		p.resumed.Add(1)
		st, err = k.resume(ctx, p.s)
	}
	if cancelled && errors.As(err, new(*harness.StatusError)) {
		return nil // what becomes of a request that was taken back is left open
	}
	return err
}

func (p *player) cancel(ctx context.Context, id string) error {
	p.cancelled.Add(1)
	r, err := p.s.Post(ctx, []byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":`+id+`}}`))
	if err == nil && r.Status != http.StatusAccepted {
		err = &harness.StatusError{Status: r.Status, Body: string(r.Body)}
	}
	return err
}

// checkAnswers wants the server to have been told this player's words, or that it may not ask: a
// question on a pipe that several sessions use at once is nobody's.
func (p *player) checkAnswers(k *talk) error {
	var a struct {
		Result struct{ Content []struct{ Text string } }
	}
	var told struct {
		Key     string
		Answers []struct {
			Code    int
			Message string
			Content struct{ Said string }
		}
	}
	if err := json.Unmarshal(k.answer, &a); err != nil || len(a.Result.Content) != 1 {
		return fmt.Errorf("answer %.300s: %w", k.answer, err)
	}
	if err := json.Unmarshal([]byte(a.Result.Content[0].Text), &told); err != nil {
		return err
	}
	if told.Key != k.key || len(told.Answers) != k.asks {
		return fmt.Errorf("key %s, %d questions: the result is %s", k.key, k.asks, k.answer)
	}
	for _, one := range told.Answers {
		refused := one.Code != 0 && strings.HasSuffix(k.tool, "local-"+toolTalk) || k.tool == toolTalk && one.Code != 0
		if one.Content.Said != k.key && !refused {
			return fmt.Errorf("key %s: the server was told %+v", k.key, one)
		}
	}
	return nil
}

// listen reads streams by GET, one after the other, until ctx ends.
func (p *player) listen(ctx context.Context, rnd *rand.Rand) error {
	for lastID := ""; ; {
		st, err := p.s.Listen(ctx, lastID)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil && st.Status != http.StatusOK {
			body, _ := st.Rest()
			err = &harness.StatusError{Status: st.Status, Body: string(body)}
		}
		if err != nil {
			return fmt.Errorf("GET after %q: %w", lastID, err)
		}
		if lastID, err = p.hear(ctx, st, lastID, 1+rnd.IntN(8)); err != nil {
			return err
		}
	}
}

// hear reads n messages of a stream by GET and returns the last event id.
func (p *player) hear(ctx context.Context, st *harness.Stream, lastID string, n int) (string, error) {
	defer st.Close()
	heard := order{}
	for n > 0 {
		ev, err := st.Next()
		if err != nil {
			return lastID, nil //nolint:nilerr // the next stream has the rest, or it is over
		}
		lastID = cmp.Or(ev.ID, lastID)
		if len(ev.Data) == 0 {
			continue
		}
		n--
		s, g, err := readSpoken(ev.Data)
		if err != nil {
			return lastID, err
		}
		if strings.HasSuffix(s.Method, "/list_changed") {
			continue
		}
		if s.Method == progressMethod || s.Method == "" {
			return lastID, fmt.Errorf("a stream by GET has %.300s", ev.Data)
		}
		if err := errors.Join(heard.add(s, g), p.heed(ctx, s, g)); err != nil && ctx.Err() == nil {
			return lastID, err
		}
	}
	return lastID, nil
}
