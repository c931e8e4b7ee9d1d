package server

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/router"
)

func rpc(id, method string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"method":"` + method + `"}`
}

func rpcResult(id string) string { return `{"jsonrpc":"2.0","id":` + id + `,"result":{}}` }

const word = `{"jsonrpc":"2.0","method":"notifications/x"}`

func TestSplitBatch(t *testing.T) {
	for body, want := range map[string]int{
		"[" + rpc("1", "a") + "]": 1,
		" \r\n\t[ " + rpc("1", "a") + " , " + word + "," + rpcResult(`"x"`) + " ] \n":                        3,
		`[{"jsonrpc":"2.0","id":"],[\"{","method":"a","params":{"b":[1,{"c":"\\"}]}},` + rpc("2", "b") + `]`: 2,
	} {
		frames, p := splitBatch([]byte(body), 3)
		if p != nil || len(frames) != want {
			t.Errorf("splitBatch(%s) = %d messages, %v, want %d", body, len(frames), p, want)
		}
	}
	four := strings.Repeat(word+",", 3) + word
	for body, says := range map[string]string{
		"[]": "empty", "[ ]": "empty", "[" + word: "array", "]": "array", "[": "array",
		"[" + word + ",]": "message 2", "[," + word + "]": "message 1", "[" + word + "]]": "message 1", "[1]": "message 1",
		"[[" + word + "]]": "batch itself", "[" + word + " " + word + "]": "message 1", "[" + rpc("null", "a") + "]": "message 1",
		"[" + rpc("1", "initialize") + "]": "initialize", "[" + four + "]": "limits.maxBatch",
		"[" + word + "][" + word + "]": "message 1",
	} {
		if frames, p := splitBatch([]byte(body), 3); p == nil || p.status != http.StatusBadRequest || !strings.Contains(p.message, says) {
			t.Errorf("splitBatch(%s) = %d messages, %v, want a 400 that says %q", body, len(frames), p, says)
		}
	}
}

// FuzzSplitBatch: what comes out are messages that would be taken alone, and put together they
// are the batch; what encoding/json takes for an array of such messages is split.
func FuzzSplitBatch(f *testing.F) {
	for _, seed := range []string{
		"[" + word + "]", "[ " + rpc("1", "a") + "\t,\n" + rpcResult("2") + "]", "[]", "[[]]", `[{"a":"],["}]`, "[" + word + ",,]", "[\"\\\"]", " [",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		const most = 5
		frames, p := splitBatch(bytes.Clone(body), most)
		if (p == nil) == (len(frames) == 0) || len(frames) > most {
			t.Fatalf("%d messages and %v", len(frames), p)
		}
		var list []json.RawMessage
		err := json.Unmarshal(body, &list)
		if p == nil {
			if err != nil || len(list) != len(frames) {
				t.Fatalf("%d messages of what is a list of %d, %v", len(frames), len(list), err)
			}
			for i := range frames {
				if !bytes.Equal(frames[i].Raw, list[i]) {
					t.Fatalf("message %d is %s, want %s", i, frames[i].Raw, list[i])
				}
			}
			return
		}
		good := err == nil && len(list) > 0 && len(list) <= most
		for _, m := range list {
			f, err := wire.Scan(m, wire.ClientLimits)
			good = good && err == nil && f.Method != "initialize"
		}
		if good {
			t.Fatalf("refused: %v", p)
		}
	})
}

// batchCarrier answers by method, and knows a revision.
type batchCarrier struct {
	*fakeCarrier
	revision string
	fail     error

	mu    sync.Mutex
	order []string
	slow  chan struct{} // lets the calls of "slow" and "chatty" end
}

func (c *batchCarrier) Revision(context.Context, router.Request) (string, error) {
	return c.revision, c.fail
}

func (c *batchCarrier) Carry(_ context.Context, w http.ResponseWriter, req router.Request) error {
	f, err := wire.Scan(req.Body, wire.ClientLimits)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.order = append(c.order, string(f.IDBytes())+f.Method)
	c.mu.Unlock()
	switch {
	case f.Kind != wire.Request:
		w.WriteHeader(http.StatusAccepted)
		return nil
	case f.Method == "broken":
		return &router.Error{Err: router.ErrNoReplica, ID: f.IDBytes(), Code: wire.CodeNotExecuted, Message: "Not executed: no replica"}
	case f.Method == "silent":
		w.WriteHeader(http.StatusOK)
		return nil
	case f.Method == "turned":
		w.WriteHeader(http.StatusServiceUnavailable)
		return nil
	case f.Method == "aborts":
		panic(http.ErrAbortHandler)
	case f.Method == "plain":
		_, err := io.WriteString(w, rpcResult(string(f.IDBytes())))
		return err
	}
	w.Header().Set("Content-Type", wire.TypeEventStream)
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	if f.Method == "chatty" {
		_ = wire.WriteEvent(w, wire.Event{ID: "primed", Data: []byte{}})
		_ = wire.WriteEvent(w, wire.Event{ID: "x.c1.1", Data: []byte(word)})
		_ = http.NewResponseController(w).Flush()
	}
	if c.slow != nil {
		<-c.slow
	}
	_ = wire.WriteEvent(w, wire.Event{ID: "x.c1.2", Data: []byte(rpcResult(string(f.IDBytes())))})
	return http.NewResponseController(w).Flush()
}

func newBatchRig(t *testing.T) (*rig, *batchCarrier) {
	t.Helper()
	r := newServer(t, global, nil)
	c := &batchCarrier{fakeCarrier: r.carrier, revision: wire.Version20250326}
	r.deps.Carrier = c
	return r.run(t), c
}

func TestBatchesAreAnsweredAsOneArray(t *testing.T) {
	r, c := newBatchRig(t)
	body := "\n [" + strings.Join([]string{rpc("1", "quick"), word, rpc(`"b"`, "plain"), rpc("3", "broken"), rpcResult("9"), rpc("4", "silent"), rpc("5", "aborts"), rpc("6", "turned")}, " , ") + "]"
	p := r.do(t, "POST", "/mcp/everything", body, wire.HeaderSession, "s1")
	var answers []struct {
		ID    json.RawMessage
		Error *struct{ Code int }
	}
	if err := json.Unmarshal([]byte(p.body), &answers); err != nil || p.status != 200 || len(answers) != 6 {
		t.Fatalf("%d %s, %v", p.status, p.body, err)
	}
	for i, want := range []struct {
		id   string
		code int
	}{{"1", 0}, {`"b"`, 0}, {"3", wire.CodeNotExecuted}, {"4", wire.CodeOutcomeUnknown}, {"5", wire.CodeOutcomeUnknown}, {"6", wire.CodeInternal}} {
		code := 0
		if answers[i].Error != nil {
			code = answers[i].Error.Code
		}
		if string(answers[i].ID) != want.id || code != want.code {
			t.Errorf("answer %d is for %s with code %d, want %s and %d: %s", i, answers[i].ID, code, want.id, want.code, p.body)
		}
	}
	if got := strings.Join(c.order, " "); got != `1quick notifications/x "b"plain 3broken 9 4silent 5aborts 6turned` {
		t.Errorf("carried %s", got)
	}
	p = r.do(t, "POST", "/mcp/everything", "["+word+","+rpcResult("9")+"]", wire.HeaderSession, "s1", wire.HeaderVersion, "2025-03-26")
	if p.status != http.StatusAccepted || p.body != "" {
		t.Errorf("a batch that asks nothing = %d %q, want 202 and nothing", p.status, p.body)
	}
}

func TestBatchesBecomeStreams(t *testing.T) {
	r, c := newBatchRig(t)
	c.slow = make(chan struct{})
	done := make(chan reply, 1)
	go func() {
		done <- r.do(t, "POST", "/mcp/everything", "["+rpc("1", "plain")+","+rpc("2", "chatty")+","+rpc("3", "quick")+"]", wire.HeaderSession, "s1")
	}()
	close(c.slow)
	p := <-done
	if p.status != 200 || p.header.Get("Content-Type") != wire.TypeEventStream || p.header.Get("X-Accel-Buffering") != "no" {
		t.Fatalf("%d %v", p.status, p.header)
	}
	var ids []string
	events := wire.NewEventReader(strings.NewReader(p.body), 1<<20)
	for {
		ev, err := events.Next()
		if err != nil {
			break
		}
		if ev.HasID {
			t.Errorf("an event of a batch has the id %q", ev.ID)
		}
		at, _ := wire.Lookup(ev.Data, "id")
		ids = append(ids, string(at.Of(ev.Data)))
	}
	if got := strings.Join(ids, " "); got != "1  2 3" && got != "1  3 2" && got != "1 3  2" && got != " 1 2 3" {
		t.Errorf("the stream is\n%s", p.body)
	}
	// Without a word from servers it takes a while until the answer is a stream.
	c.slow = make(chan struct{})
	resp, err := http.DefaultClient.Do(post2(t, r, "["+rpc("1", "slow")+"]"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if ct := resp.Header.Get("Content-Type"); ct != wire.TypeEventStream {
		t.Errorf("a slow batch is answered with %s", ct)
	}
	close(c.slow)
	rest, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(rest), rpcResult("1")) {
		t.Errorf("the stream is %q, %v", rest, err)
	}
}

func post2(t *testing.T, r *rig, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/mcp/everything", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", wire.TypeJSON)
	req.Header.Set(wire.HeaderSession, "s1")
	return req
}

func TestBatchesThatAreRefused(t *testing.T) {
	r, c := newBatchRig(t)
	one := "[" + word + "]"
	refused := func(name, body string, status int, says string, headers ...string) {
		t.Helper()
		p := r.do(t, "POST", "/mcp/everything", body, headers...)
		if text := p.sentence(t); p.status != status || !strings.Contains(text, says) {
			t.Errorf("%s = %d %q, want %d and %q", name, p.status, text, status, says)
		}
	}
	refused("without a session", one, 400, "initialize first")
	refused("of another revision by its header", one, 400, "2025-03-26", wire.HeaderSession, "s1", wire.HeaderVersion, "2025-06-18")
	refused("with 51 messages", "["+strings.Repeat(word+",", 50)+word+"]", 400, "50 messages", wire.HeaderSession, "s1")
	for _, v := range []string{"2024-11-05", "2025-06-18", "2025-11-25"} {
		c.revision = v
		refused("of a session of "+v, one, 400, "2025-03-26", wire.HeaderSession, "s1")
	}
	c.fail = &router.Error{Err: router.ErrUnknownSession, Code: wire.CodeInvalidRequest, Message: "unknown session: it has ended"}
	refused("of a session that is not there", one, 404, "unknown session", wire.HeaderSession, "s1")
	if len(c.order) != 0 {
		t.Errorf("carried %v", c.order)
	}
}
