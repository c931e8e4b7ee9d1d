package node

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
)

const updated = `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"%s","x":1.0}}`

// subscribe has the session subscribe to a resource, and returns what comes of it when the server
// has answered with rest.
func (u *user) subscribe(uri string, on bool, rest string, meanwhile ...string) string {
	u.p.t.Helper()
	verb := "subscribe"
	if !on {
		verb = "unsubscribe"
	}
	done := make(chan string, 1)
	go func() {
		f := scan(u.p.t, `{"jsonrpc":"2.0","id":"s","method":"resources/`+verb+`","params":{"uri":"`+uri+`"}}`)
		answer, err := u.p.link.subscribe(u.p.t.Context(), u.session, f, uri, on)
		done <- fmt.Sprint(string(answer), err)
	}()
	for _, sent := range u.p.got() {
		for _, m := range meanwhile {
			u.p.says("%s", m)
		}
		u.p.says(`{"jsonrpc":"2.0","id":%s,%s}`, idOf(u.p.t, sent), rest)
	}
	return <-done
}

func TestUpdatesReachSubscribers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, nil)
		a, b, c := p.user("a", `{}`), p.user("b", `{}`), p.user("c", `{}`)
		first := fmt.Sprintf(updated, "test://dir/a")
		a.subscribe("test://dir/a", true, `"result":{}`, first) // before the answer
		b.subscribe("test://dir", true, `"result":{}`)
		c.subscribe("test://di", true, `"result":{}`)
		c.subscribe("test://no", true, `"error":{"code":-32002,"message":"no"}`)
		want(t, "the subscriber, while it subscribed", a.heard(), first)
		b.heard()
		for _, tc := range []struct {
			uri     string
			a, b, c int
		}{
			{"test://dir/a", 1, 1, 0}, {"test://dir", 0, 1, 0}, {"test://dir/b#x", 0, 1, 0}, {"test://dirty", 0, 0, 0},
			{"test://di/x", 0, 0, 1}, {"test://no", 0, 0, 0}, {"", 0, 0, 0},
		} {
			note := fmt.Sprintf(updated, tc.uri)
			p.says("%s", note)
			for i, u := range []*user{a, b, c} {
				got, n := u.heard(), []int{tc.a, tc.b, tc.c}[i]
				if len(got) != n || n == 1 && got[0] != note {
					t.Errorf("of %q %s heard %q, want %d", tc.uri, u.id, got, n)
				}
			}
		}
		a.subscribe("test://dir/a", false, `"error":{"code":1,"message":"no"}`)
		p.says(updated, "test://dir/a")
		want(t, "who is subscribed still", a.heard(), `{`)
		a.subscribe("test://dir/a", false, `"result":{}`)
		p.link.endSession("b")
		p.says(updated, "test://dir/a")
		want(t, "who has unsubscribed", a.heard())
	})
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, func(l *link) { l.alone = true })
		a := p.user("a", `{}`)
		p.says(updated, "odd:x")
		want(t, "the session of an isolated server", a.heard(), `{`)
	})
}

func TestChangesOfListsReachEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, nil)
		a, b := p.user("a", `{}`), p.user("b", `{}`)
		c, rd := a.call("1", "")
		for _, list := range []string{"tools", "prompts", "resources"} {
			note := `{"jsonrpc":"2.0","method":"notifications/` + list + `/list_changed","x":1.0}`
			p.link.receive([]byte(note), c)
			want(t, "a", a.heard(), note)
			want(t, "b", b.heard(), note)
			want(t, "the call", heard(a.session, rd))
			select {
			case <-p.link.relist:
			default:
				t.Error("the lists are not read again")
			}
		}
	})
}

// Without a stream a session keeps one word of each kind, however often its server repeats it.
func TestChangesOfListsDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, nil)
		a := p.mute("a", `{}`)
		for i := range 100 {
			p.says(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed","n":%d}`, i)
			p.says(`{"jsonrpc":"2.0","method":"notifications/prompts/list_changed","n":%d}`, i)
		}
		a.listen()
		want(t, "the session", a.heard(), `{"jsonrpc":"2.0","method":"notifications/tools/list_changed","n":99}`,
			`{"jsonrpc":"2.0","method":"notifications/prompts/list_changed","n":99}`)
	})
}

func TestLogMessagesOutsideOfCallsAreFilteredToo(t *testing.T) {
	const note = `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"%s","data":1}}`
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, nil)
		a := p.user("a", `{}`)
		a.level = levelInfo + 2
		p.says(note, "info")
		p.says(note, "error")
		want(t, "the only session", a.heard(), fmt.Sprintf(note, "error"))
		b := p.user("b", `{}`)
		p.says(note, "error")
		want(t, "one of two sessions", append(a.heard(), b.heard()...))
	})
}

func TestElicitationIsCompleteForWhoHadIt(t *testing.T) {
	const (
		complete = `{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"%s"}}`
		byURL    = `{"jsonrpc":"2.0","id":5,"method":"elicitation/create","params":{"mode":"url","elicitationId":"e1","url":"u","message":"m"}}`
		needed   = `{"jsonrpc":"2.0","id":%d,"error":{"code":-32042,"message":"m","data":{"elicitations":[{"mode":"url","elicitationId":"e2"},{"elicitationId":"e3"}]}}}`
	)
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, nil)
		a, b := p.user("a", everything), p.user("b", everything)
		c, _ := a.call("1", "")
		p.says(byURL)
		d, _ := b.call("1", "")
		p.says(needed, d.up)
		p.says(`{"jsonrpc":"2.0","id":%d,"result":{}}`, c.up)
		b.call("2", "") // alone at work, but it is not told of the other's
		for id, u := range map[string]*user{"e1": a, "e2": b, "e3": b} {
			p.says(complete, id)
			want(t, "who had "+id, u.heard(), fmt.Sprintf(complete, id))
		}
		p.says(complete, "e4")
		want(t, "anybody", append(a.heard(), b.heard()...))
	})
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, nil)
		a := p.user("a", everything)
		p.says(complete, "e4")
		want(t, "the only session", a.heard(), fmt.Sprintf(complete, "e4"))
	})
}

// What one of several clients says must not be taken for all.
func TestClientsSpeakForThemselves(t *testing.T) {
	const roots = `{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`
	for name, tc := range map[string]struct {
		sessions int
		alone    bool
		speaks   bool
	}{"only one so far": {1, false, false}, "one of two": {2, false, false}, "isolated": {1, true, true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t, func(l *link) { l.alone = tc.alone })
				var u *user
				for i := range tc.sessions {
					u = p.user(fmt.Sprint(i), `{}`)
				}
				if got := p.link.speaksFor(u.session, scan(t, roots)); got != tc.speaks {
					t.Errorf("speaksFor = %v, want %v", got, tc.speaks)
				}
			})
		})
	}
}

const task = `{"jsonrpc":"2.0","id":%d,"result":{"task":{"taskId":"%s","status":"working"}}}`

// tasking is a peer that has tasks, with two sessions that have one each: ta and tb.
func tasking(t *testing.T) (p *peer, a, b *user) {
	p = newPeer(t, nil)
	h, err := readHello([]byte(`{"protocolVersion":"2025-11-25","capabilities":{"tasks":{"list":{}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	p.link.hello.Store(&h)
	a, b = p.user("a", everything), p.user("b", everything)
	for _, u := range []*user{a, b} {
		c, err := u.try(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":"of ` + u.id + `"},"name":"x","task":{}}}`)
		if err != nil {
			t.Fatal(err)
		}
		p.says(task, c.up, "t"+u.id)
	}
	p.got()
	return p, a, b
}

func TestTasksOfASharedServerAreTheirSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, a, b := tasking(t)
		for _, verb := range []string{"get", "result", "cancel"} {
			for id, ok := range map[string]bool{"ta": true, "tb": false, "tc": false} {
				_, err := a.try(fmt.Sprintf(`{"jsonrpc":"2.0","id":"%s%s","method":"tasks/%s","params":{"taskId":"%s"}}`, verb, id, verb, id))
				if ok != (err == nil) || !ok && !strings.Contains(err.Error(), "Task not found") {
					t.Errorf("tasks/%s of %s: %v, want ok %v", verb, id, err, ok)
				}
			}
		}
		c, err := a.try(`{"jsonrpc":"2.0","id":"l","method":"tasks/list"}`)
		if err != nil {
			t.Fatal(err)
		}
		p.says(`{"jsonrpc":"2.0","result":{"tasks":[{"taskId":"tb"}, {"x":1.0,"taskId":"ta"},{"taskId":"tc"},{}],"nextCursor":"n"},"id":%d}`, c.up)
		if o := c.take(); string(o.answer) != `{"jsonrpc":"2.0","result":{"tasks":[{"x":1.0,"taskId":"ta"}],"nextCursor":"n"},"id":"l"}` {
			t.Errorf("tasks/list answered %s", o.answer)
		}
		const status = `{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"%s"}}`
		p.says(status, "tb")
		p.says(status, "tc")
		want(t, "a", a.heard())
		want(t, "b", b.heard(), fmt.Sprintf(status, "tb"))
		p.link.endSession("b")
		p.says(status, "tb")
		want(t, "nobody", append(a.heard(), b.heard()...))
		if len(p.link.tasks.of) != 1 || len(p.link.taskTokens) != 1 {
			t.Errorf("%d tasks and %d tokens are remembered, want the other session's", len(p.link.tasks.of), len(p.link.taskTokens))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, nil)
		a := p.user("a", everything)
		if _, err := a.try(`{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"of old"}}`); err != nil {
			t.Errorf("a task that is forgotten here, of the only session: %v", err)
		}
	})
}

func TestProgressOfATaskReachesItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, a, b := tasking(t)
		p.says(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}`)
		want(t, "a", a.heard(), `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"of a","progress":1}}`)
		want(t, "b", b.heard())
		if p.link.unasked {
			t.Error("progress of a task counts as said after the answer")
		}
	})
}

func TestRequestOfATaskReachesItsSession(t *testing.T) {
	const request = `{"jsonrpc":"2.0","id":%d,"method":"elicitation/create","params":{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"%s"}},"message":"m"}}`
	synctest.Test(t, func(t *testing.T) {
		p, a, b := tasking(t)
		a.call("8", "") // alone at work
		p.got()
		p.says(request, 5, "tb")
		want(t, "b", b.heard(), `{`)
		p.says(request, 6, "tc")
		want(t, "a", a.heard())
		want(t, "the server", p.got(), `{"jsonrpc":"2.0","id":6,"error":{"code":-32603,`)
		c, err := b.try(`{"jsonrpc":"2.0","id":1,"method":"tasks/result","params":{"taskId":"tb"}}`)
		if err != nil {
			t.Fatal(err)
		}
		rd := c.unfold(false)
		p.got()
		p.says(request, 7, "tb")
		want(t, "b's tasks/result", heard(b.session, rd), `{`)
		p.link.mu.Lock()
		waits := p.link.awaits(c)
		p.link.mu.Unlock()
		if !waits {
			t.Error("tasks/result is given up while its client is being asked")
		}
		p.says(`{"jsonrpc":"2.0","id":%d,"result":{}}`, c.up)
		want(t, "the server", p.got()) // the task goes on without it
	})
}

func TestTaskOfAClientIsAskedOfThatClient(t *testing.T) {
	const get = `{"jsonrpc":"2.0","id":%d,"method":"tasks/get","params":{"taskId":"ct"}}`
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, nil)
		a, b := p.user("a", everything), p.user("b", everything)
		give := func(u *user, id int) {
			t.Helper()
			c, rd := u.call(fmt.Sprint(id), "")
			p.says(`{"jsonrpc":"2.0","id":%d,"method":"sampling/createMessage","params":{"task":{},"messages":[]}}`, id)
			if err := u.answers(idOf(t, heard(u.session, rd)[0]), `"result":{"task":{"taskId":"ct"}}`); err != nil {
				t.Fatal(err)
			}
			p.says(`{"jsonrpc":"2.0","id":%d,"result":{}}`, c.up)
			p.got()
		}
		give(a, 1)
		b.call("9", "") // alone at work
		p.got()
		p.says(get, 2)
		want(t, "who has made the task", a.heard(), `{`)
		status := scan(t, `{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"ct"}}`)
		if !p.link.speaksFor(a.session, status) || p.link.speaksFor(b.session, status) {
			t.Error("of a client's task only that client may speak")
		}
		for _, c := range b.calls {
			p.says(`{"jsonrpc":"2.0","id":%d,"result":{}}`, c.up)
		}
		give(b, 3) // under the same name
		p.says(get, 4)
		want(t, "either", append(a.heard(), b.heard()...))
		want(t, "the server", p.got(), `{"jsonrpc":"2.0","id":4,"error":{"code":-32603,`)
	})
}

func TestOwnersAreBoundedAndForgotten(t *testing.T) {
	o := owners{most: 2}
	a, b := &session{}, &session{}
	for _, id := range []string{"1", "2", "2", "3"} {
		o.claim(id, a)
	}
	o.claim("3", b)
	for id, w := range map[string]struct {
		ses   *session
		known bool
	}{"1": {nil, false}, "2": {a, true}, "3": {nil, true}} {
		if ses, known := o.owner(id); ses != w.ses || known != w.known {
			t.Errorf("owner(%s) = %v, %v", id, ses, known)
		}
	}
	o.leave(a)
	o.leave(b)
	if len(o.of)+len(o.by) != 0 {
		t.Errorf("left: %v, %v", o.of, o.by)
	}
	l := newLink("n", "s", &Config{}, discard(), &counters{}, always)
	l.hello.Store(&hello{tasks: true})
	f := scan(t, `{"jsonrpc":"2.0","id":1,"result":{"task":{"taskId":"t"}}}`)
	for i := range int64(maxTaskTokens + 10) {
		l.remember(f, &call{ses: a, up: i, token: []byte("1")})
	}
	if _, oldest := l.taskTokens[9]; len(l.taskTokens) != maxTaskTokens || oldest {
		t.Errorf("%d tokens, the oldest still there: %v", len(l.taskTokens), oldest)
	}
}
