package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// More tools of internal/fixture/mcpfixture.
const (
	toolTalk   = "talk"   // n tagged messages and asks questions, then their answers
	toolLater  = "later"  // answers, then n tagged log messages
	toolStrays = "strays" // answers that came to nothing
)

// talkClient is what clients of toolTalk declare.
const talkClient = `{"elicitation":{"form":{}},"sampling":{},"roots":{}}`

// talk is one call of toolTalk or toolBlock, and what was heard of it: on one stream or on
// several that follow each other. Whatever is not its own, comes twice or out of order is an
// error.
type talk struct {
	id, key string // the request's id is JSON
	tool    string // with the prefix of the scope
	n, asks int
	ms      int
	level   string
	// heed is called with what is tagged and is no progress. Nil means that it must be this
	// call's; several calls of a session on one pipe cannot be told apart.
	heed func(spoken, tag) error

	lastID   string // of the latest event
	heard    order
	asked    []string // ids of questions, as JSON
	outcomes int
	answer   []byte // the response
}

// frame is the request. Its token is its id, so that tokens are alike in many sessions.
func (k *talk) frame() []byte {
	return fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":%q,"arguments":{"key":%q,"n":%d,"asks":%d,"ms":%d,"level":%q},"_meta":{"progressToken":%s}}}`,
		k.id, k.tool, k.key, k.n, k.asks, k.ms, k.level, k.id)
}

// spoken is a frame of a server.
type spoken struct {
	ID     json.RawMessage
	Method string
	Result json.RawMessage
	Error  json.RawMessage
	Params struct {
		ProgressToken json.RawMessage
		RequestID     json.RawMessage
		Message       string
		Data          json.RawMessage
	}
}

// tag is what toolTalk and toolLater put into all they say.
type tag struct {
	Key string
	I   int
}

func readSpoken(frame []byte) (spoken, tag, error) {
	var s spoken
	var g tag
	if err := json.Unmarshal(frame, &s); err != nil {
		return s, g, fmt.Errorf("%w: %.200s", err, frame)
	}
	inner := []byte(s.Params.Data)
	if s.Params.Message != "" {
		inner = []byte(s.Params.Message)
	}
	if len(inner) > 0 {
		if err := json.Unmarshal(inner, &g); err != nil {
			return s, g, fmt.Errorf("%w: %.200s", err, frame)
		}
	}
	return s, g, nil
}

const progressMethod = "notifications/progress"

// order is the latest number of each kind of message of each key on one stream.
type order map[string]int

// add wants numbers to grow. What has none is not in order.
func (o order) add(s spoken, g tag) error {
	if g.Key == "" {
		return nil
	}
	if last := o[s.Method+g.Key]; g.I <= last {
		return fmt.Errorf("key %s: %s %d after %d", g.Key, s.Method, g.I, last)
	}
	o[s.Method+g.Key] = g.I
	return nil
}

// take is one event. A question is added to asked.
func (k *talk) take(ev harness.Event) error {
	if ev.ID != "" {
		k.lastID = ev.ID
	}
	if len(ev.Data) == 0 {
		return nil
	}
	s, g, err := readSpoken(ev.Data)
	if err != nil {
		return err
	}
	switch {
	case s.Method == "":
		if k.outcomes++; k.outcomes > 1 || string(s.ID) != k.id {
			return fmt.Errorf("response %d to call %s: %.300s", k.outcomes, k.id, ev.Data)
		}
		k.answer = bytes.Clone(ev.Data)
		return nil
	case k.outcomes > 0:
		return fmt.Errorf("after the response to call %s came %.300s", k.id, ev.Data)
	case s.Method == progressMethod:
		if g.Key != k.key || string(s.Params.ProgressToken) != k.id || g.I != k.heard[s.Method+g.Key]+1 {
			return fmt.Errorf("call %s, key %s, was sent %.300s after number %d", k.id, k.key, ev.Data, k.heard[s.Method+g.Key])
		}
	case k.heed != nil:
		if err := k.heed(s, g); err != nil {
			return err
		}
	case g.Key != k.key:
		return fmt.Errorf("call %s, key %s, was sent %.300s", k.id, k.key, ev.Data)
	}
	if k.heard == nil {
		k.heard = order{}
	}
	if err := k.heard.add(s, g); err != nil {
		return err
	}
	if s.ID != nil {
		k.asked = append(k.asked, string(s.ID))
	}
	return nil
}

// follow is read, and closes st.
func (k *talk) follow(st *harness.Stream, enough func() bool) error {
	defer st.Close()
	return k.read(st, enough)
}

// read takes events until st ends or enough says so; nil means never. The error is a breach of
// what talk promises, or brokenStream.
func (k *talk) read(st *harness.Stream, enough func() bool) error {
	for {
		ev, err := st.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return brokenStream{err}
		}
		if err := k.take(ev); err != nil {
			return err
		}
		if enough != nil && enough() {
			return nil
		}
	}
}

// brokenStream is a stream that did not end by itself.
type brokenStream struct{ error }

func (b brokenStream) Unwrap() error { return b.error }

// begin posts the call and returns its stream, or takes the answer that is no stream.
func (k *talk) begin(ctx context.Context, s *harness.Session) (*harness.Stream, error) {
	st, err := s.Stream(ctx, http.MethodPost, k.frame())
	if err != nil {
		return nil, brokenStream{err}
	}
	return st, k.plain(st)
}

// plain takes the answer from st if it is no stream. st is then at its end.
func (k *talk) plain(st *harness.Stream) error {
	if strings.HasPrefix(st.Header.Get("Content-Type"), "text/event-stream") {
		return nil
	}
	body, err := st.Rest()
	if err != nil {
		return brokenStream{err}
	}
	if st.Status != http.StatusOK {
		return &harness.StatusError{Status: st.Status, Body: string(body)}
	}
	return k.take(harness.Event{Data: body})
}

// resume takes the call up where it was left.
func (k *talk) resume(ctx context.Context, s *harness.Session) (*harness.Stream, error) {
	st, err := s.Listen(ctx, k.lastID)
	if err != nil {
		return nil, brokenStream{err}
	}
	if st.Status != http.StatusOK {
		body, _ := st.Rest()
		return nil, &harness.StatusError{Status: st.Status, Body: string(body)}
	}
	return st, nil
}

// reply answers a question of id with words.
func reply(ctx context.Context, s *harness.Session, id, words string) error {
	r, err := s.Post(ctx, fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"result":{"action":"accept","content":{"said":%q}}}`, id, words))
	if err == nil && r.Status != http.StatusAccepted {
		err = &harness.StatusError{Status: r.Status, Body: string(r.Body)}
	}
	return err
}

// whole says what is missing of a talk that has ended.
func (k *talk) whole() error {
	if k.outcomes != 1 {
		return fmt.Errorf("key %s: %d responses, want 1", k.key, k.outcomes)
	}
	if !bytes.Contains(k.answer, []byte(`"result"`)) {
		return fmt.Errorf("key %s: answered %.300s", k.key, k.answer)
	}
	if n := k.heard[progressMethod+k.key]; n != k.n {
		return fmt.Errorf("key %s: progress up to %d, want %d", k.key, n, k.n)
	}
	return nil
}
