package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// peer is the far end of a link: it keeps what it is sent, and says what a test has it say.
type peer struct {
	t    *testing.T
	link *link
	fail error // of what is no call

	mu   sync.Mutex // guards sent
	sent []string
}

func (p *peer) send(_ context.Context, m message) error {
	if err := m.clear(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = append(p.sent, strings.TrimSuffix(string(m.frame), "\n"))
	if m.call == nil {
		return p.fail
	}
	return nil
}

func (p *peer) close()           {}
func (p *peer) stderr() []string { return nil }

// got is what has been sent since it was asked last.
func (p *peer) got() []string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	sent := p.sent
	p.sent = nil
	return sent
}

// says has the server say something on the stream that all share.
func (p *peer) says(format string, args ...any) {
	p.link.receive(fmt.Appendf(nil, format, args...), nil)
}

// newPeer is a link to a peer, inside a bubble.
func newPeer(t *testing.T, change func(*link)) *peer {
	cfg := Config{}.withDefaults()
	p := &peer{t: t}
	p.link = newLink("n", "s", &cfg, discard(), &counters{}, always)
	p.link.patient = true
	if change != nil {
		change(p.link)
	}
	p.link.attach(p)
	t.Cleanup(p.link.close)
	return p
}

// everything is what a client can that can everything.
const everything = anyCapabilities

// user is a session of a peer's with an own stream.
type user struct {
	*session
	p  *peer
	rd *reader
}

func (p *peer) user(id, caps string) *user {
	p.t.Helper()
	u := p.mute(id, caps)
	u.listen()
	return u
}

// mute is a session without a stream.
func (p *peer) mute(id, caps string) *user {
	p.t.Helper()
	who := client{revision: wire.LatestLegacy, caps: readCapabilities([]byte(`{"capabilities":` + caps + `}`))}
	if _, err := p.link.openSession(id, who); err != nil {
		p.t.Fatal(err)
	}
	return &user{session: p.link.session(id), p: p}
}

func (u *user) listen() {
	u.p.t.Helper()
	var err error
	if u.rd, err = u.streams.openOwn(false); err != nil {
		u.p.t.Fatal(err)
	}
}

// heard is what has come on the own stream since it was asked last.
func (u *user) heard() []string { return heard(u.session, u.rd) }

func heard(ses *session, rd *reader) (all []string) {
	for {
		p := ses.streams.take(rd)
		for _, e := range p.events {
			all = append(all, string(e.frame))
		}
		if !p.more {
			return all
		}
	}
}

// call makes a call, of a tool unless it is of another method, whose answer is a stream.
func (u *user) call(id, method string) (*call, *reader) {
	u.p.t.Helper()
	body := tool(id, "work", "")
	if method != "" {
		body = `{"jsonrpc":"2.0","id":` + id + `,"method":"` + method + `","params":{"taskId":"t"}}`
	}
	c, err := u.try(body)
	if err != nil {
		u.p.t.Fatal(err)
	}
	return c, c.unfold(false)
}

func (u *user) try(body string) (*call, error) {
	u.p.t.Helper()
	f := scan(u.p.t, body)
	return u.p.link.dispatch(u.p.t.Context(), u.session, f, origin{streams: true})
}

func (u *user) answers(id, rest string) error {
	return u.p.link.answer(u.p.t.Context(), u.session, scan(u.p.t, `{"jsonrpc":"2.0","id":`+id+`,`+rest+`}`))
}

func scan(t *testing.T, body string) *wire.Frame {
	t.Helper()
	f, err := wire.Scan([]byte(body), wire.ClientLimits)
	if err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return &f
}

// idOf is the id of a message, as JSON.
func idOf(t *testing.T, frame string) string {
	t.Helper()
	return string(scan(t, frame).IDBytes())
}

const elicitation = `{"jsonrpc":"2.0", "id" : %s,"method":"elicitation/create","params":{"message":"who?","n":1.0,"requestedSchema":{}}}`

// want compares what somebody has got with the beginnings of what it should be.
func want(t *testing.T, who string, got []string, begin ...string) {
	t.Helper()
	ok := len(got) == len(begin)
	for i := range begin {
		ok = ok && strings.HasPrefix(got[i], begin[i])
	}
	if !ok {
		t.Errorf("%s got %q, want %q", who, got, begin)
	}
}

func TestRequestReachesItsClientAndTheAnswerItsServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, nil)
		a, b := p.user("a", everything), p.user("b", everything)
		_, mine := a.call("7", "")
		p.got()
		p.says(elicitation, `"x\u0061"`)
		got := heard(a.session, mine)
		if len(got) != 1 || got[0] != fmt.Sprintf(elicitation, `"`+a.inc+`.r1"`) {
			t.Fatalf("the client was asked %q, want the server's words under an id of ours", got)
		}
		if err := b.answers(idOf(t, got[0]), `"result":{}`); err != errAskedElsewhere {
			t.Errorf("another session's answer: %v, want errAskedElsewhere", err)
		}
		want(t, "the server after another session's answer", p.got())
		if err := a.answers(idOf(t, got[0]), `"result" : {"action":"accept","x":[1.0,"\u00e9"]}`); err != nil {
			t.Error(err)
		}
		if err := a.answers(idOf(t, got[0]), `"result":{"action":"decline"}`); err != nil {
			t.Errorf("a second answer: %v, want it dropped", err)
		}
		sent := p.got()
		if len(sent) != 1 || sent[0] != `{"jsonrpc":"2.0","id":"x\u0061","result" : {"action":"accept","x":[1.0,"\u00e9"]}}` {
			t.Errorf("the server was answered %q, want the client's words, once", sent)
		}
		want(t, "the session", a.heard())
		want(t, "the other session", b.heard())
		if n := p.link.stats.lateReplies.Load(); n != 1 {
			t.Errorf("%d late replies, want 1", n)
		}
		for _, id := range []string{`1`, `"r1"`, `"` + a.inc + `.r2"`, `"` + a.inc + `.r01"`, `"` + a.inc + `.c1"`, `"ABCDEFGH.r1"`, `"` + a.inc + `.r"`} {
			if err := a.answers(id, `"result":{}`); err != errNotAsked {
				t.Errorf("answer to %s: %v, want errNotAsked", id, err)
			}
		}
	})
}

// Whose a request is, by what there is to go by; asked is the session that gets it.
func TestRequestsAreNeverGuessed(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*link)
		play   func(p *peer, a, b *user) (via *call)
		asked  string // session, and its stream: "a call", "a own"; empty for none
	}{
		"on a call's own stream": {play: func(_ *peer, a, b *user) *call { b.call("1", ""); c, _ := a.call("1", ""); return c }, asked: "a call"},
		"one session at work":    {play: func(_ *peer, a, _ *user) *call { a.call("1", ""); return nil }, asked: "a call"},
		"two sessions at work":   {play: func(_ *peer, a, b *user) *call { a.call("1", ""); b.call("1", ""); return nil }},
		"nobody at work":         {play: func(*peer, *user, *user) *call { return nil }},
		"the node at work too": {play: func(p *peer, a, _ *user) *call {
			a.call("1", "")
			_, _ = p.link.enter(nil, nil, nil, "tools/list", origin{})
			return nil
		}},
		"the node's ping": {play: func(p *peer, a, _ *user) *call {
			a.call("1", "")
			_, _ = p.link.enter(nil, nil, nil, "ping", origin{})
			return nil
		}, asked: "a call"},
		"on the stream of a call of the node's": {play: func(p *peer, a, _ *user) *call {
			a.call("1", "")
			c, _ := p.link.enter(nil, nil, nil, "tools/list", origin{})
			return c
		}},
		"after an answer, another at work": {play: func(p *peer, a, b *user) *call {
			c, _ := a.call("1", "")
			p.says(`{"jsonrpc":"2.0","id":%d,"result":{}}`, c.up)
			p.says(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"late"}}`)
			b.call("1", "")
			return nil
		}},
		"after an answer and being asked for roots, another at work": {play: func(p *peer, a, b *user) *call {
			c, _ := a.call("1", "")
			p.says(`{"jsonrpc":"2.0","id":%d,"result":{}}`, c.up)
			p.says(rootsAsked)
			b.call("1", "")
			return nil
		}, asked: "b call"},
		"cancelled, another at work": {play: func(p *peer, a, b *user) *call {
			c, _ := a.call("1", "")
			p.link.abandon(c, "cancelled")
			b.call("1", "")
			return nil
		}},
		"isolated": {change: func(l *link) { l.alone = true }, play: func(*peer, *user, *user) *call { return nil }, asked: "b own"},
		"isolated, at work": {change: func(l *link) { l.alone = true }, play: func(_ *peer, _, b *user) *call {
			b.call("1", "")
			return nil
		}, asked: "b call"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t, tc.change)
				a, b := p.user("a", everything), p.user("b", everything)
				via := tc.play(p, a, b)
				p.got()
				p.link.receive(fmt.Appendf(nil, elicitation, "5"), via)
				asked := ""
				for name, u := range map[string]*user{"a": a, "b": b} {
					if n := len(u.heard()); n > 0 {
						asked += name + " own"
					}
					for _, c := range u.calls {
						if n := len(heard(u.session, c.stream.reader)); n > 0 {
							asked += name + " call"
						}
					}
				}
				if asked != tc.asked {
					t.Errorf("asked: %q, want %q", asked, tc.asked)
				}
				sent := p.got()
				if tc.asked != "" {
					want(t, "the server", sent)
					return
				}
				want(t, "the server", sent, `{"jsonrpc":"2.0","id":5,"error":{"code":-32603,`)
				if len(sent) == 1 && !strings.Contains(sent[0], "isolation: session") {
					t.Errorf("refused with %s, want a word on what to do", sent[0])
				}
			})
		})
	}
	t.Run("alone for ever", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t, nil)
			p.says(elicitation, "1") // in its handshake
			want(t, "the server", p.got(), `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,`)
			a := p.user("a", everything)
			p.says(elicitation, "2")
			want(t, "the only session", a.heard(), `{"jsonrpc":"2.0", "id" : "`)
			p.link.endSession("a")
			p.got()
			b := p.user("b", everything)
			p.says(elicitation, "3")
			want(t, "the second session", b.heard())
			want(t, "the server", p.got(), `{"jsonrpc":"2.0","id":3,"error":{"code":-32603,`)
		})
	})
}

func TestRequestsNeedWhatTheClientHasDeclared(t *testing.T) {
	const form, url = `"method":"elicitation/create","params":{"message":"m"}`, `"method":"elicitation/create","params":{"mode":"url","elicitationId":"e"}`
	for _, tc := range []struct{ caps, request, lacks string }{
		{`{}`, form, "elicitation.form"},
		{`{"elicitation":{}}`, form, ""},
		{`{"elicitation":{}}`, url, "elicitation.url"},
		{`{"elicitation":{"url":{}}}`, url, ""},
		{`{"elicitation":{"url":{}}}`, form, "elicitation.form"},
		{`{"elicitation":{"url":{},"form":{}}}`, form, ""},
		{`{"elicitation":{}}`, `"method":"elicitation/create","params":{"task":{"ttl":1}}`, "tasks.requests.elicitation.create"},
		{`{"roots":{}}`, `"method":"roots/list"`, ""},
		{`{"roots":null}`, `"method":"roots/list"`, "roots"},
		{`{"sampling":{}}`, `"method":"sampling/createMessage","params":{"tools":null}`, ""},
		{`{"sampling":{}}`, `"method":"sampling/createMessage","params":{"tools":[]}`, "sampling.tools"},
		{`{"sampling":{"tools":{}}}`, `"method":"sampling/createMessage","params":{"toolChoice":{}}`, ""},
		{`{"sampling":{},"tasks":{"requests":{"sampling":{"createMessage":{}}}}}`, `"method":"sampling/createMessage","params":{"task":{}}`, ""},
		{`{"sampling":{},"tasks":{}}`, `"method":"sampling/createMessage","params":{"task":{}}`, "tasks.requests.sampling.createMessage"},
		{`{"elicitation":{}}`, `"method":"sampling/createMessage","params":{}`, "sampling"},
		{`{}`, `"method":"tasks/get","params":{"taskId":"t"}`, "tasks"},
		{`{"tasks":{}}`, `"method":"tasks/result","params":{"taskId":"t"}`, ""},
		{`{"tasks":{}}`, `"method":"tasks/list"`, "tasks.list"},
		{`{"tasks":{"list":{}}}`, `"method":"tasks/cancel","params":{"taskId":"t"}`, "tasks.cancel"},
		{`{}`, `"method":"something/new"`, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t, func(l *link) { l.alone = true })
			a := p.user("a", tc.caps)
			p.says(`{"jsonrpc":"2.0","id":1,%s}`, tc.request)
			sent := p.got()
			switch {
			case tc.lacks == "" && (len(sent) != 0 || len(a.heard()) != 1):
				t.Errorf("%s with %s was refused: %s", tc.request, tc.caps, sent)
			case tc.lacks != "":
				want(t, tc.request, sent, `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"the client does not declare the capability `+tc.lacks+`,`)
				want(t, "the client", a.heard())
			}
		})
	}
}

// A request ends with what it was part of, and both sides hear of it.
func TestRequestEndsWithItsCallOrItsSession(t *testing.T) {
	const cancelled = `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"`
	for name, tc := range map[string]struct {
		end    func(p *peer, a *user, c *call)
		client bool // is told
	}{
		"answered": {func(p *peer, _ *user, c *call) { p.says(`{"jsonrpc":"2.0","id":%d,"result":{}}`, c.up) }, true},
		"given up": {func(p *peer, _ *user, c *call) { p.link.abandon(c, "call_timeout") }, true},
		"cancelled": {func(p *peer, a *user, _ *call) {
			_ = p.link.cancel(t.Context(), a.session, scan(t, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`))
		}, true},
		"session ended": {func(p *peer, _ *user, _ *call) { p.link.endSession("a") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t, nil)
				a := p.user("a", everything)
				p.user("b", everything)
				c, rd := a.call("7", "")
				p.says(elicitation, "5")
				asked := heard(a.session, rd)
				if len(asked) != 1 {
					t.Fatalf("the client was asked %q", asked)
				}
				p.got()
				tc.end(p, a, c)
				var to []string
				for _, sent := range p.got() {
					if strings.Contains(sent, `"id":5`) {
						to = append(to, sent)
					}
				}
				want(t, "the server", to, `{"jsonrpc":"2.0","id":5,"error":{"code":-32000,"message":"no answer: `)
				var told []string
				for _, frame := range append(heard(a.session, rd), a.heard()...) {
					if strings.HasPrefix(frame, cancelled) {
						told = append(told, frame)
					}
				}
				if tc.client {
					want(t, "the client", told, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":`+idOf(t, asked[0])+`,`)
				}
				if err := a.answers(idOf(t, asked[0]), `"result":{}`); err != nil {
					t.Errorf("answer afterwards: %v, want it dropped", err)
				}
				want(t, "the server afterwards", p.got())
				if len(p.link.asks)+len(a.asks.parked) != 0 {
					t.Error("the request is still parked")
				}
			})
		})
	}
}

// Of several calls of a session nobody knows which one a request on a shared stream is part of, so
// it lasts as long as any.
func TestRequestLastsAsLongAsACallItMayBePartOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, nil)
		a := p.user("a", everything)
		first, _ := a.call("1", "")
		second, _ := a.call("2", "")
		p.says(elicitation, "5")
		third, _ := a.call("3", "")
		p.got()
		p.says(`{"jsonrpc":"2.0","id":%d,"result":{}}`, second.up)
		want(t, "the server", p.got())
		p.says(`{"jsonrpc":"2.0","id":%d,"result":{}}`, first.up)
		want(t, "the server", p.got(), `{"jsonrpc":"2.0","id":5,"error":{"code":-32000,`)
		p.says(`{"jsonrpc":"2.0","id":%d,"result":{}}`, third.up)
		want(t, "the server", p.got())
	})
}

func TestServerTakesItsRequestBack(t *testing.T) {
	const back = `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5,"reason":"late","x":1.0}}`
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, nil)
		a := p.user("a", everything)
		p.says(elicitation, "5")
		asked := a.heard()
		p.says(back)
		p.says(back)
		want(t, "the client", a.heard(), strings.Replace(back, `:5,`, `:`+idOf(t, asked[0])+`,`, 1))
		want(t, "the server", p.got())
		if err := a.answers(idOf(t, asked[0]), `"result":{}`); err != nil {
			t.Errorf("answer afterwards: %v, want it dropped", err)
		}
		want(t, "the server", p.got())
	})
	synctest.Test(t, func(t *testing.T) { // before anybody could be told of it
		p := newPeer(t, nil)
		a := p.mute("a", everything)
		p.says(elicitation, "5")
		p.says(back)
		a.listen()
		want(t, "the client", a.heard())
	})
}

func TestRequestWithoutAStreamIsRefusedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, nil)
		a := p.mute("a", everything)
		p.says(elicitation, "5")
		time.Sleep(askStreamTime - time.Second)
		p.link.sweep()
		want(t, "the server", p.got())
		a.listen()
		if got := a.heard(); len(got) != 1 {
			t.Fatalf("the client was asked %q, want the request that had waited", got)
		}
		time.Sleep(time.Minute)
		p.link.sweep()
		want(t, "the server", p.got())
	})
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, nil)
		a := p.mute("a", everything)
		p.says(elicitation, "5")
		time.Sleep(askStreamTime + time.Second)
		p.link.sweep()
		p.link.sweep()
		want(t, "the server", p.got(), `{"jsonrpc":"2.0","id":5,"error":{"code":-32000,"message":"no answer: the client has no stream open`)
		a.listen()
		want(t, "the client", a.heard())
	})
}

// A stream whose client is away is none, until it is back.
func TestRequestOnAStreamThatNobodyReadsIsRefusedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, nil)
		a, b := p.user("a", everything), p.user("b", everything)
		for i, u := range []*user{a, b} {
			c, err := u.try(tool("1", "work", ""))
			if err != nil {
				t.Fatal(err)
			}
			rd := c.unfold(true)
			heard(u.session, rd)
			u.streams.detach(rd)
			p.link.receive(fmt.Appendf(nil, elicitation, fmt.Sprint(5+i)), c)
		}
		p.got()
		back := b.streams.all[streamKey{callStream, 1}]
		b.streams.attach(back, 1)
		if got := heard(b.session, back.reader); len(got) != 1 {
			t.Errorf("the client that came back was asked %q", got)
		}
		time.Sleep(askStreamTime + time.Second)
		p.link.sweep()
		want(t, "the server", p.got(), `{"jsonrpc":"2.0","id":5,"error":{"code":-32000,"message":"no answer: the client has no stream open`)
	})
}

func TestParkedRequestsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, nil)
		a, b := p.user("a", everything), p.user("b", everything)
		c, rd := a.call("1", "")
		d, _ := b.call("1", "")
		for i := range p.link.lim.MaxAsks + 1 {
			p.link.receive(fmt.Appendf(nil, elicitation, fmt.Sprint(i)), c)
		}
		if n := len(heard(a.session, rd)); n != 64 {
			t.Errorf("the client was asked %d times, want 64", n)
		}
		p.link.receive(fmt.Appendf(nil, elicitation, `"b"`), d) // which is another's
		p.link.receive(fmt.Appendf(nil, elicitation, `"b"`), d) // an answer would be one to the first
		p.link.receive(fmt.Appendf(nil, elicitation, `"`+strings.Repeat("x", maxAskID)+`"`), d)
		sent := p.got()[2:] // the calls
		want(t, "the server", sent, `{"jsonrpc":"2.0","id":64,"error":{"code":-32000,`, `{"jsonrpc":"2.0","id":"xxx`)
		if len(b.asks.parked) != 1 {
			t.Errorf("%d requests of the second session are parked, want 1", len(b.asks.parked))
		}
	})
}

// Hours pass while people think, and cost nothing that runs.
func TestWaitingForPeopleCostsNothingThatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, nil)
		before := runtime.NumGoroutine()
		var users []*user
		var calls []*call
		for i := range 200 {
			u := p.user(fmt.Sprint(i), everything)
			c, rd := u.call("1", "")
			p.link.receive(fmt.Appendf(nil, elicitation, fmt.Sprint(1000+i)), c)
			if len(heard(u.session, rd)) != 1 {
				t.Fatal("not asked")
			}
			users, calls = append(users, u), append(calls, c)
		}
		p.got()
		for range 10 * 60 {
			time.Sleep(time.Minute)
			p.link.sweep()
			p.link.expire(time.Minute)
		}
		if n := runtime.NumGoroutine(); n > before {
			t.Errorf("%d goroutines, %d before", n, before)
		}
		for i, u := range users {
			if calls[i].finished() {
				t.Fatal("a call whose client is being asked was given up")
			}
			if err := u.answers(`"`+u.inc+`.r1"`, `"result":{}`); err != nil {
				t.Error(err)
			}
		}
		if n := len(p.got()); n != len(users) {
			t.Errorf("the server got %d answers, want %d", n, len(users))
		}
		p.link.sweep()
		if calls[0].finished() {
			t.Error("the call's time did not begin anew with the answer")
		}
		time.Sleep(p.link.lim.CallTimeout + time.Second)
		p.link.sweep()
		if !calls[0].finished() {
			t.Error("a call that waits for nobody was not given up")
		}
	})
}

func TestTimeOfTheSettingsHoldsWhileAClientIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, func(l *link) { l.patient = false })
		a := p.user("a", everything)
		c, _ := a.call("1", "")
		p.says(elicitation, "5")
		p.got()
		time.Sleep(p.link.lim.CallTimeout + time.Second)
		p.link.sweep()
		if !c.finished() {
			t.Error("the call was not given up")
		}
		want(t, "the server", p.got(), `{"jsonrpc":"2.0","id":5,"error":{"code":-32000,`, `{"jsonrpc":"2.0","method":"notifications/cancelled",`)
	})
	for explicit, patient := range map[time.Duration]bool{0: true, time.Hour: false} {
		s := supervisedAs(ServerConfig{Name: "a", Command: "x", Enabled: true, CallTimeout: explicit}, newStarts(1), func(l *link) (upstream, error) {
			return &scriptUp{link: l, answer: goodServer}, nil
		})
		l, _, err := s.start(t.Context(), nil, true)
		if err != nil {
			t.Fatal(err)
		}
		if l.patient != patient {
			t.Errorf("callTimeout %s: patient %v, want %v", explicit, l.patient, patient)
		}
		l.close()
	}
}

func TestRequestOfAClientThatIsGoneEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, nil)
		a := p.user("a", everything)
		p.says(elicitation, "5")
		a.heard()
		a.streams.detach(a.rd)
		a.seen.Store(int64(p.link.now()))
		time.Sleep(askGoneTime)
		p.link.sweep()
		if p.link.expire(time.Minute) != 0 {
			t.Error("the session was forgotten while its client could still answer")
		}
		want(t, "the server", p.got())
		time.Sleep(time.Second)
		p.link.sweep()
		want(t, "the server", p.got(), `{"jsonrpc":"2.0","id":5,"error":{"code":-32000,"message":"no answer: the client has been gone`)
		if p.link.expire(time.Minute) != 1 {
			t.Error("the session is kept for nothing")
		}
	})
}

func TestProgressOfAClientGoesOnUnderTheServersToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, nil)
		a, b := p.user("a", everything), p.user("b", everything)
		_, rd := a.call("1", "")
		p.says(`{"jsonrpc":"2.0","id":5,"method":"sampling/createMessage","params":{"_meta":{"progressToken": 1.50 },"messages":[]}}`)
		asked := heard(a.session, rd)
		if len(asked) != 1 || !strings.Contains(asked[0], `"progressToken": "`+a.inc+`.r1" }`) {
			t.Fatalf("the client was asked %q", asked)
		}
		p.got()
		progress := func(u *user, token string) {
			t.Helper()
			if err := p.link.progressFrom(t.Context(), u.session, scan(t, `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":`+token+`,"progress":1.0}}`)); err != nil {
				t.Error(err)
			}
		}
		token := `"` + a.inc + `.r1"`
		progress(a, `1.50`)
		progress(a, `"`+a.inc+`.r2"`)
		progress(b, token)
		want(t, "the server", p.got())
		progress(a, token)
		want(t, "the server", p.got(), `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1.50,"progress":1.0}}`)
		if err := a.answers(token, `"result":{}`); err != nil {
			t.Error(err)
		}
		p.got()
		progress(a, token)
		want(t, "the server afterwards", p.got())
	})
}

func TestAnswerIsKeptUntilTheNodeMayPassItOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fenced error
		p := newPeer(t, func(l *link) { l.fence = func() error { return fenced } })
		a := p.user("a", everything)
		p.says(elicitation, "5")
		id := idOf(t, a.heard()[0])
		fenced = errFenced
		if err := a.answers(id, `"result":{}`); err != errFenced {
			t.Errorf("answer without a lease: %v, want errFenced", err)
		}
		want(t, "the server", p.got())
		fenced = nil
		if err := a.answers(id, `"result":{}`); err != nil {
			t.Error(err)
		}
		want(t, "the server", p.got(), `{"jsonrpc":"2.0","id":5,"result":{}}`)
	})
}

// Whatever happens in whatever order, each request has one end: one answer at the server, or the
// server has taken it back itself.
func TestEveryRequestGetsExactlyOneEnd(t *testing.T) {
	for seed := range uint64(150) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			p := newPeer(t, func(l *link) { l.alone = seed%3 == 0; l.patient = seed%2 == 0 })
			users := []*user{p.user("0", everything), p.mute("1", everything), p.user("2", `{"roots":{}}`)}
			ends := map[string]int{}
			var open []*call
			made := 0
			for range 120 {
				u := users[r.IntN(len(users))]
				switch r.IntN(12) {
				case 0, 1:
					if c, err := u.try(tool(fmt.Sprint(1000+r.IntN(1e6)), "work", "")); err == nil {
						open = append(open, c)
					}
				case 2, 3, 4, 5:
					made++
					ends[fmt.Sprint(made)] = 0
					var via *call
					if len(open) > 0 && r.IntN(2) == 0 {
						via = open[r.IntN(len(open))]
					}
					p.link.receive(fmt.Appendf(nil, elicitation, fmt.Sprint(made)), via)
				case 6, 7:
					_ = u.answers(fmt.Sprintf(`"%s.r%d"`, u.inc, 1+r.IntN(10)), `"result":{}`)
				case 8:
					if n := 1 + r.IntN(made+1); p.link.asks[askKey{id: fmt.Sprint(n)}] != nil {
						ends[fmt.Sprint(n)]++
						p.says(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d}}`, n)
					}
				case 9:
					if len(open) > 0 {
						c := open[r.IntN(len(open))]
						p.says(`{"jsonrpc":"2.0","id":%d,"result":{}}`, c.up)
					}
				case 10:
					_ = p.link.cancel(t.Context(), u.session, scan(t, fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%s}}`, anyCall(u))))
				case 11:
					time.Sleep(time.Duration(r.IntN(20)) * time.Second)
					p.link.sweep()
				}
			}
			for _, u := range users {
				p.link.endSession(u.id)
			}
			for _, sent := range p.got() {
				if f := scan(t, sent); f.Kind == wire.Response {
					ends[string(f.IDBytes())]++
				}
			}
			for id, n := range ends {
				if n != 1 {
					t.Errorf("seed %d: request %s has %d ends, want 1", seed, id, n)
				}
			}
			if n := len(p.link.asks); n != 0 {
				t.Errorf("seed %d: %d requests are parked for nobody", seed, n)
			}
		})
	}
}

// What clients answer to is read in the one way in which it is written.
func FuzzAskNumber(f *testing.F) {
	ses := &session{inc: "0az9k2m4"}
	for _, id := range []string{`"0az9k2m4.r1"`, `"0az9k2m4.r12"`, `"other123.r1"`, `"0az9k2m4.r01"`, `"0az9k2m4.r"`, `1`, `null`, `""`, `"0az9k2m4.r999999999999999999"`} {
		f.Add([]byte(id))
	}
	f.Fuzz(func(t *testing.T, id []byte) {
		n, mine, ok := ses.askNumber(id)
		if !ok {
			return
		}
		if !isInc(string(id[1 : incLen+1])) {
			t.Errorf("%q is taken for an id of ours", id)
		}
		q := question{ses: &session{inc: string(id[1 : incLen+1])}, n: n}
		if again := string(q.id()); again != string(id) || mine != (q.ses.inc == ses.inc) {
			t.Errorf("%q is read as number %d, mine %v, which is written %s", id, n, mine, again)
		}
	})
}

// anyCall is the id of an open call, or of none.
func anyCall(u *user) string {
	for id := range u.calls {
		return id
	}
	return "0"
}

func TestLossOfTheServerIsTheEndOfItsRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, nil)
		a := p.user("a", everything)
		_, rd := a.call("1", "")
		p.says(elicitation, "5")
		asked := heard(a.session, rd)
		p.link.lose(errLost)
		got := heard(a.session, rd)
		want(t, "the client", got, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":`+idOf(t, asked[0]), `{"jsonrpc":"2.0","id":1,"error":{"code":1001,`)
	})
}
