package node

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

func TestAnswersReachOnlyTheirOwnSession(t *testing.T) {
	const sessions, calls = 50, 60
	r := startRig(t, nil, fake("alpha"))
	var all sync.WaitGroup
	for s := range sessions {
		id := fmt.Sprintf("s%d", s)
		r.open("alpha", id)
		all.Go(func() {
			var mine sync.WaitGroup
			for lane := range 3 { // with the same ids and tokens in every session
				mine.Go(func() {
					for i := range calls / 3 {
						exchangeOnce(t, r, id, lane*1000+i)
					}
				})
			}
			mine.Wait()
		})
	}
	all.Wait()
	if s := r.server("alpha"); s.InFlight != 0 || s.Sessions != sessions {
		t.Errorf("afterwards %d in flight in %d sessions, want 0 in %d", s.InFlight, s.Sessions, sessions)
	}
	if st := r.node.Stats(); st.StrayAnswers+st.LateAnswers+st.UnknownOutcomes != 0 {
		t.Errorf("stats = %+v, want nothing stray", st)
	}
}

// exchangeOnce makes one call whose answer and progress carry the session's name.
func exchangeOnce(t *testing.T, r *rig, session string, n int) {
	word := fmt.Sprintf("%s/%d", session, n)
	times := rand.IntN(3)
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","_meta":{"progressToken":"t%d"},"arguments":{"text":%q,"delay":3000,"times":%d}}}`, n, n, word, times)
	a := do(t, r.request(context.Background(), http.MethodPost, "alpha", session, body))
	frames := a.events
	if times == 0 {
		frames = []string{a.body}
	}
	if len(frames) != times+1 {
		t.Errorf("%s: %d messages, want %d: %s", word, len(frames), times+1, a.body)
		return
	}
	for _, f := range frames[:times] {
		if !strings.Contains(f, fmt.Sprintf(`"progressToken":"t%d"`, n)) || !strings.Contains(f, `"message":"`+word+`"`) {
			t.Errorf("%s: got progress %s", word, f)
		}
	}
	want := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":%s}`, n, text(word))
	if got := frames[times]; got != want {
		t.Errorf("%s: got answer %s, want %s", word, got, want)
	}
}

func TestEveryByteButIDAndTokenPassesUnchanged(t *testing.T) {
	r := startRig(t, nil, fake("alpha"))
	r.open("alpha", "s1")
	for _, id := range []string{`9007199254740993`, `1.0`, `-0`, `"1"`, `"\u0061"`, `1e3`, `""`, `"` + strings.Repeat("x", 300) + `"`} {
		sent := ` {"x-odd" : [1.0,2E5,"\u00e9é"] , "id":` + id + `,"jsonrpc":"2.0","method":"raw/echo","params":{"_meta":{"a":1,"progressToken" : 1.50 ,"z":{}},"deep":{"id":1}}} `
		a := r.post("alpha", "s1", sent)
		var m struct{ Result struct{ Line string } }
		if err := json.Unmarshal([]byte(a.body), &m); err != nil {
			t.Fatalf("id %s: %q", id, a.body)
		}
		f, err := wire.Scan([]byte(m.Result.Line), wire.ServerLimits)
		if err != nil {
			t.Fatal(err)
		}
		ours := string(f.IDBytes())
		want := strings.Replace(strings.Replace(sent, `"id":`+id, `"id":`+ours, 1), ` 1.50 `, ` `+ours+` `, 1)
		if m.Result.Line != want {
			t.Errorf("the server read\n%q, want\n%q", m.Result.Line, want)
		}
		if !strings.HasPrefix(a.body, `{"jsonrpc":"2.0","id":`+id+`,`) {
			t.Errorf("id %s came back in %.80s", id, a.body)
		}
	}
}

func TestLineBreaksBetweenTokensDoNotReachTheLine(t *testing.T) {
	r := startRig(t, nil, fake("alpha"))
	r.open("alpha", "s1")
	a := r.post("alpha", "s1", strings.ReplaceAll(tool("1", "echo", "a\\nb"), ",", ",\r\n"))
	if got := textOf(t, a.body); got != "a\nb" {
		t.Errorf("echo = %q", got)
	}
}

func TestUnknownNotificationsPassAndOursDoNot(t *testing.T) {
	log := t.TempDir() + "/log"
	r := startRig(t, nil, fake("alpha", "FAKE_LOG="+log))
	r.open("alpha", "s1")
	r.open("alpha", "s2") // for which s1 does not speak
	before := len(lines(t, log))
	odd := `{"jsonrpc":"2.0","method":"notifications/odd","params":{"n":1.0}}`
	for _, body := range []string{
		`{"jsonrpc":"2.0","method":"notifications/initialized"}`,
		`{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`,
		`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}`,
		`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":77}}`,
		odd,
	} {
		if a := r.post("alpha", "s1", body); a.status != 202 || a.body != "" {
			t.Errorf("%s: %d %q, want 202 and nothing", body, a.status, a.body)
		}
	}
	r.post("alpha", "s1", tool("1", "echo", "x"))
	if got := lines(t, log)[before:]; len(got) != 2 || got[0] != odd {
		t.Errorf("the server read %q, want the unknown notification and the call", got)
	}
}

func TestCancelNamesTheCallByOurID(t *testing.T) {
	log := t.TempDir() + "/log"
	r := startRig(t, nil, fake("alpha", "FAKE_LOG="+log))
	for _, s := range []string{"s1", "s2"} {
		r.open("alpha", s)
	}
	first := r.async("alpha", "s1", tool("7", "hang", ""))
	eventually(t, "in flight", func() bool { return r.server("alpha").InFlight == 1 })
	second := r.async("alpha", "s2", tool("7", "hang", ""))
	eventually(t, "in flight", func() bool { return r.server("alpha").InFlight == 2 })
	eventually(t, "both calls read", func() bool { return len(calls(t, log)) == 2 })
	ours, _ := wire.Lookup([]byte(calls(t, log)[1]), "id")
	r.post("alpha", "s2", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7,"reason":"no more"}}`)
	a := within(t, 10*time.Second, second)
	if errorCode(t, a.last()) != wire.CodeOutcomeUnknown || !strings.Contains(a.last(), `"reason":"cancelled"`) {
		t.Errorf("the cancelled call was answered %s, want error 1001", a.body)
	}
	all := lines(t, log)
	want := `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":` + string(ours.Of([]byte(calls(t, log)[1]))) + `,"reason":"no more"}}`
	if got := all[len(all)-1]; got != want {
		t.Errorf("the server read %s, want %s", got, want)
	}
	if s := r.server("alpha"); s.InFlight != 1 {
		t.Errorf("%d in flight after the cancellation of one of two, want 1", s.InFlight)
	}
	r.post("alpha", "s1", tool("8", "die", ""))
	within(t, 5*time.Second, first)
}

// calls are the tools/call lines a server has read.
func calls(t *testing.T, log string) []string {
	var out []string
	for _, l := range lines(t, log) {
		if strings.Contains(l, "tools/call") {
			out = append(out, l)
		}
	}
	return out
}

func TestServersHaveTimeoutsOfTheirOwn(t *testing.T) {
	hasty, mute := fake("hasty"), fake("mute", "FAKE_MODE=mute")
	hasty.CallTimeout, mute.StartTimeout = 150*time.Millisecond, 150*time.Millisecond
	r := startRig(t, nil, hasty, fake("patient"), mute)
	if s := r.server("mute"); s.Status != store.ServerFailed || !strings.Contains(s.Error, "not ready after 150ms") {
		t.Errorf("mute is %s (%q), want failed after its own time", s.Status, s.Error)
	}
	r.open("hasty", "s1")
	r.open("patient", "s1")
	waiting := r.async("patient", "s1", tool("1", "hang", ""))
	eventually(t, "in flight", func() bool { return r.server("patient").InFlight == 1 })
	a := within(t, 5*time.Second, r.async("hasty", "s1", tool("1", "hang", "")))
	if errorCode(t, a.last()) != wire.CodeOutcomeUnknown || !strings.Contains(a.last(), "call_timeout") {
		t.Errorf("the call of the hasty server was answered %s, want error 1001 for the time", a.body)
	}
	if n := r.server("patient").InFlight; n != 1 {
		t.Errorf("%d calls of the patient server in flight, want the one still", n)
	}
	r.post("patient", "s1", tool("2", "die", ""))
	within(t, 5*time.Second, waiting)
}

func TestCallWithoutAnAnswerEndsAtItsLimit(t *testing.T) {
	log := t.TempDir() + "/log"
	r := startRig(t, func(c *Config) { c.CallTimeout = 200 * time.Millisecond }, fake("alpha", "FAKE_LOG="+log))
	r.open("alpha", "s1")
	a := within(t, 5*time.Second, r.async("alpha", "s1", tool("1", "hang", "")))
	if errorCode(t, a.last()) != wire.CodeOutcomeUnknown || !strings.Contains(a.body, "call_timeout") {
		t.Errorf("answered %s, want error 1001", a.body)
	}
	eventually(t, "the server told", func() bool {
		all := lines(t, log)
		return strings.Contains(all[len(all)-1], "notifications/cancelled")
	})
}

func TestLogMessagesGoOnlyWhereTheyCertainlyBelong(t *testing.T) {
	r := startRig(t, nil, fake("alpha"))
	r.open("alpha", "s1")
	r.open("alpha", "s2")
	alone := r.post("alpha", "s1", tool("1", "log", "mine"))
	if len(alone.events) != 4 || !strings.Contains(alone.events[0], `"data":"mine"`) {
		t.Errorf("with one session at work: %d messages %s, want 3 log messages and the answer", len(alone.events), alone.body)
	}
	hanging := r.async("alpha", "s2", tool("1", "hang", ""))
	eventually(t, "in flight", func() bool { return r.server("alpha").InFlight == 1 })
	if a := r.post("alpha", "s1", tool("2", "log", "whose")); len(a.events) != 0 {
		t.Errorf("with two sessions at work: %s, want the answer alone", a.body)
	}
	if n := r.node.Stats().DroppedNotifications; n != 3 {
		t.Errorf("DroppedNotifications = %d, want 3", n)
	}
	r.post("alpha", "s1", tool("3", "die", ""))
	within(t, 5*time.Second, hanging)
}

func TestLogOfACancelledCallIsNotGivenToAnother(t *testing.T) {
	r := startRig(t, nil, fake("alpha"))
	r.open("alpha", "s1")
	r.open("alpha", "s2")
	hanging := r.async("alpha", "s2", tool("1", "hang", ""))
	eventually(t, "in flight", func() bool { return r.server("alpha").InFlight == 1 })
	r.post("alpha", "s2", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`)
	within(t, 10*time.Second, hanging)
	// The server never said that it has stopped working for s2.
	if a := r.post("alpha", "s1", tool("2", "log", "whose")); len(a.events) != 0 {
		t.Errorf("got %s, want the answer alone", a.body)
	}
}

// A server that has been heard to speak of a call after answering it is not believed to speak
// of another session's call only because that is alone at work.
func TestLogsOfAServerThatSpeaksAfterAnsweringReachNoOtherSession(t *testing.T) {
	const (
		log      = `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"done"}}`
		progress = `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}`
	)
	for name, late := range map[string]string{"log": log, "progress": progress} {
		cfg := Config{}.withDefaults()
		l := newLink("n", "s", &cfg, slog.New(slog.DiscardHandler), &counters{}, always)
		l.up = deafEnd{}
		heard := func(session string) bool {
			t.Helper()
			if _, err := l.openSession(session, client{}); err != nil {
				t.Fatal(err)
			}
			f, err := wire.Scan([]byte(tool("7", "work", "")), wire.ClientLimits)
			if err != nil {
				t.Fatal(err)
			}
			c, err := l.dispatch(t.Context(), l.session(session), &f, origin{streams: true})
			if err != nil {
				t.Fatal(err)
			}
			l.receive([]byte(log), nil)
			got := c.take().talks
			l.receive(fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"result":{}}`, c.up), nil)
			return got
		}
		l.receive([]byte(log), nil) // at its start, of nobody's call
		if !heard("A") || !heard("B") || !heard("A") {
			t.Errorf("%s: sessions at work one after the other did not get their log messages", name)
		}
		l.receive([]byte(late), nil)
		if heard("B") || heard("A") {
			t.Errorf("%s: a session got what may be another's", name)
		}
	}
	cfg := Config{}.withDefaults()
	l := newLink("n", "s", &cfg, slog.New(slog.DiscardHandler), &counters{}, always)
	l.unasked = true
	a := &session{id: "A"}
	l.calls[1] = &call{ses: a, open: true}
	l.holders = 1
	if l.newest() == nil {
		t.Error("the only session there ever was gets nothing from a server that speaks after answering")
	}
}

// deafEnd is an upstream that takes everything and says nothing.
type deafEnd struct{}

func (deafEnd) send(_ context.Context, m message) error { return m.clear() }
func (deafEnd) close()                                  {}
func (deafEnd) stderr() []string                        { return nil }

func setLevel(id, level string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"method":"logging/setLevel","params":{"level":"` + level + `"}}`
}

func TestLogLevelIsPerSessionAndTheServerHearsTheLowest(t *testing.T) {
	log := t.TempDir() + "/log"
	r := startRig(t, nil, fake("alpha", "FAKE_LOG="+log))
	for _, s := range []string{"s1", "s2", "s3"} {
		r.open("alpha", s)
	}
	for _, step := range []struct{ session, level string }{
		{"s1", "error"}, {"s2", "debug"}, {"s1", "warning"}, {"s2", "debug"},
	} {
		if a := r.post("alpha", step.session, setLevel(`"l"`, step.level)); a.body != `{"jsonrpc":"2.0","id":"l","result":{}}` {
			t.Fatalf("setLevel %v: %d %s", step, a.status, a.body)
		}
	}
	levels := func() string {
		var out []string
		for _, l := range lines(t, log) {
			if at, ok := wire.Lookup([]byte(l), "params", "level"); ok {
				out = append(out, strings.Trim(string(at.Of([]byte(l))), `"`))
			}
		}
		return strings.Join(out, " ")
	}
	if got := levels(); got != "info debug" {
		t.Errorf("the server was told %q, want \"info debug\"", got)
	}
	for session, want := range map[string]int{"s1": 1, "s2": 3, "s3": 2} { // s3 asked for none
		a := r.post("alpha", session, tool("5", "log", "x"))
		if got := max(len(a.events)-1, 0); got != want {
			t.Errorf("%s got %d log messages, want %d: %s", session, got, want, a.body)
		}
	}
	do(t, r.request(context.Background(), http.MethodDelete, "alpha", "s2", ""))
	eventually(t, "level raised, to what s3 is served", func() bool { return levels() == "info debug info" })
	if a := r.post("alpha", "s1", setLevel("1", "loud")); errorCode(t, a.last()) != wire.CodeInvalidParams {
		t.Errorf("setLevel loud: %s, want -32602", a.body)
	}
}

func TestSubscriptionsAreCounted(t *testing.T) {
	log := t.TempDir() + "/log"
	r := startRig(t, nil, fake("alpha", "FAKE_LOG="+log))
	for _, s := range []string{"s1", "s2"} {
		r.open("alpha", s)
	}
	ask := func(session, verb string) {
		t.Helper()
		a := r.post("alpha", session, `{"jsonrpc":"2.0","id":1,"method":"resources/`+verb+`","params":{"uri":"test://a"}}`)
		if a.body != `{"jsonrpc":"2.0","id":1,"result":{}}` {
			t.Fatalf("%s %s: %d %s", session, verb, a.status, a.body)
		}
	}
	heard := func() string {
		var out []string
		for _, l := range lines(t, log) {
			if strings.Contains(l, `"resources/subscribe"`) {
				out = append(out, "+")
			}
			if strings.Contains(l, `"resources/unsubscribe"`) {
				out = append(out, "-")
			}
		}
		return strings.Join(out, "")
	}
	for _, step := range []struct{ session, verb, heard string }{
		{"s1", "subscribe", "+"}, {"s1", "subscribe", "++"}, {"s2", "subscribe", "++"}, {"s1", "unsubscribe", "++"},
		{"s2", "unsubscribe", "++-"}, {"s2", "subscribe", "++-+"}, {"s1", "subscribe", "++-+"},
	} {
		ask(step.session, step.verb)
		if got := heard(); got != step.heard {
			t.Fatalf("after %s %s the server had heard %q, want %q", step.session, step.verb, got, step.heard)
		}
	}
	for _, s := range []string{"s1", "s2"} {
		do(t, r.request(context.Background(), http.MethodDelete, "alpha", s, ""))
	}
	eventually(t, "unsubscribed for the ended sessions", func() bool { return heard() == "++-+-" })
}

func TestDisconnectIsNotCancel(t *testing.T) {
	b := &gateServer{release: make(chan struct{}), entered: make(chan struct{}, 1)}
	r := startRig(t, nil, ServerConfig{Name: "gate", Builtin: b, Enabled: true})
	r.open("gate", "s1")
	ctx, cancel := context.WithCancel(context.Background())
	left := make(chan error, 1)
	req := r.request(ctx, http.MethodPost, "gate", "s1", tool("1", "wait", ""))
	go func() {
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			res.Body.Close()
		}
		left <- err
	}()
	<-b.entered
	cancel()
	if err := <-left; err == nil {
		t.Fatal("the call was answered")
	}
	if s := r.server("gate"); s.InFlight != 1 {
		t.Fatalf("%d in flight after the caller left, want the call to go on", s.InFlight)
	}
	close(b.release)
	eventually(t, "the call ended", func() bool { return r.server("gate").InFlight == 0 })
	if n := r.node.Stats().UnknownOutcomes; n != 0 {
		t.Errorf("UnknownOutcomes = %d, want 0", n)
	}
}

func TestBuiltinIsCancelledByItsContext(t *testing.T) {
	b := &gateServer{release: make(chan struct{}), entered: make(chan struct{}, 1)}
	r := startRig(t, nil, ServerConfig{Name: "gate", Builtin: b, Enabled: true})
	r.open("gate", "s1")
	call := r.async("gate", "s1", tool("1", "wait", ""))
	<-b.entered
	r.post("gate", "s1", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`)
	if a := within(t, 5*time.Second, call); errorCode(t, a.last()) != wire.CodeOutcomeUnknown || !strings.Contains(a.body, `"cancelled"`) {
		t.Errorf("answered %s, want error 1001 for the cancellation", a.body)
	}
}

func TestBuiltinThatPanicsHarmsNobody(t *testing.T) {
	b := &gateServer{}
	r := startRig(t, nil, ServerConfig{Name: "gate", Builtin: b, Enabled: true})
	r.open("gate", "s1")
	if a := r.post("gate", "s1", `{"jsonrpc":"2.0","id":1,"method":"panic"}`); errorCode(t, a.last()) != wire.CodeInternal {
		t.Errorf("answered %s, want -32603", a.body)
	}
	if a := r.post("gate", "s1", `{"jsonrpc":"2.0","id":2,"method":"ping"}`); a.body != `{"jsonrpc":"2.0","id":2,"result":{}}` {
		t.Errorf("ping afterwards: %s", a.body)
	}
}

func TestFormOfTheAnswer(t *testing.T) {
	r := startRig(t, nil, fake("alpha"))
	r.open("alpha", "s1")
	plain, noted := tool("1", "echo", "x"), tool("1", "log", "x")
	for _, tc := range []struct {
		accept, body string
		events       int // 0 for JSON
	}{
		{bothForms, plain, 0}, {bothForms, noted, 4},
		{"application/json", noted, 0}, {"application/json", plain, 0},
		{"text/event-stream", plain, 1}, {"*/*", plain, 0}, {"*/*", noted, 4}, {"", noted, 0},
	} {
		q := r.request(context.Background(), http.MethodPost, "alpha", "s1", tc.body)
		q.Header["Accept"] = []string{tc.accept}
		a := do(t, q)
		if a.status != 200 || len(a.events) != tc.events {
			t.Errorf("Accept %q: %d with %d events, want 200 with %d: %s", tc.accept, a.status, len(a.events), tc.events, a.body)
		}
		if tc.events > 0 && (a.header.Get("X-Accel-Buffering") != "no" || a.header.Get("Cache-Control") != "no-store") {
			t.Errorf("Accept %q: headers of the stream are %v", tc.accept, a.header)
		}
		if textOf(t, a.last()) == "" {
			t.Errorf("Accept %q: no answer", tc.accept)
		}
	}
}

// A large answer has no time limit as long as its reader takes some of it.
func TestDeadlineOfALargeAnswerMovesWithIt(t *testing.T) {
	w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	answer := []byte(`{"x":"` + strings.Repeat("y", 3*unbuffered) + `"}`)
	p := reply{x: &exchange{w: w}}
	p.plain(answer)
	if w.Body.String() != string(answer) || w.Header().Get("Content-Length") != strconv.Itoa(len(answer)) {
		t.Errorf("%d bytes of %d written, Content-Length %s", w.Body.Len(), len(answer), w.Header().Get("Content-Length"))
	}
	if w.most > unbuffered || w.set != 4 {
		t.Errorf("%d deadlines, up to %d bytes written under one, want 4 and %d at most", w.set, w.most, unbuffered)
	}
}

// deadlines counts the deadlines set, and the most bytes written under one.
type deadlines struct {
	*httptest.ResponseRecorder
	set, since, most int
}

func (d *deadlines) SetWriteDeadline(time.Time) error {
	d.set++
	d.since = 0
	return nil
}

func (d *deadlines) Write(b []byte) (int, error) {
	d.since += len(b)
	d.most = max(d.most, d.since)
	return d.ResponseRecorder.Write(b)
}

func TestSlowAnswerBecomesAStreamThatIsKeptAlive(t *testing.T) {
	b := &gateServer{release: make(chan struct{}), entered: make(chan struct{}, 2)}
	r := startRig(t, func(c *Config) { c.StreamAfter, c.KeepAlive = 20*time.Millisecond, 10*time.Millisecond },
		ServerConfig{Name: "gate", Builtin: b, Enabled: true})
	r.open("gate", "s1")
	slow := r.request(context.Background(), http.MethodPost, "gate", "s1", tool("1", "wait", ""))
	slow.Header.Set(wire.HeaderVersion, wire.Version20251125)
	res, err := http.DefaultClient.Do(slow)
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(res.Body)
	for _, want := range []string{"id: ", "data: \n", "\n"} { // it is primed
		if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, want) {
			t.Fatalf("read %q, %v, want %q", line, err, want)
		}
	}
	for range 3 { // comments arrive although there is nothing to say
		if line, err := in.ReadString('\n'); err != nil || line != ": working\n" {
			t.Fatalf("read %q, %v, want a comment", line, err)
		}
		if _, err := in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	close(b.release)
	rest := readAnswer(t, &http.Response{StatusCode: 200, Header: res.Header, Body: struct {
		*bufio.Reader
		closer
	}{in, res.Body.Close}})
	if textOf(t, rest.last()) != "released" {
		t.Errorf("the stream ended in %s", rest.body)
	}
	q := r.request(context.Background(), http.MethodPost, "gate", "s1", tool("2", "wait", ""))
	q.Header.Set("Accept", "application/json")
	if a := do(t, q); a.header.Get("Content-Type") != "application/json" || textOf(t, a.body) != "released" {
		t.Errorf("a caller that takes no stream got %v %s", a.header, a.body)
	}
}

type closer func() error

func (c closer) Close() error { return c() }
