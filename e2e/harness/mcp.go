package harness

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Session is an MCP client that shows frames as they are on the wire. It keeps the session id
// and nothing else, opens a new connection when the last one is busy, and never retries.
type Session struct {
	URL     string
	ID      string // Mcp-Session-Id; empty before Open
	Version string // MCP-Protocol-Version
	Header  http.Header
	Init    []byte // the answer to initialize
	// Capabilities is what initialize declares, as JSON; empty means none.
	Capabilities string

	client *http.Client
	next   int
}

// NewSession makes a client of the endpoint url that has not yet said anything.
func NewSession(url string) *Session {
	return &Session{
		URL: url, Header: http.Header{},
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}},
	}
}

// Open starts a session: initialize and initialized.
func Open(ctx context.Context, url string) (*Session, error) {
	s := NewSession(url)
	return s, s.Initialize(ctx, "2025-11-25")
}

// MustOpen is Open for tests. The session is not ended when the test ends.
func MustOpen(t T, url string) *Session {
	t.Helper()
	s, err := Open(t.Context(), url)
	if err != nil {
		t.Fatalf("open a session at %s: %v", url, err)
	}
	return s
}

// Initialize does the handshake under a protocol version.
func (s *Session) Initialize(ctx context.Context, version string) error {
	r, err := s.Post(ctx, fmt.Appendf(nil, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":%q,"capabilities":%s,"clientInfo":{"name":"e2e","version":"1"}}}`,
		version, cmp.Or(s.Capabilities, "{}")))
	if err != nil {
		return err
	}
	if r.Status != http.StatusOK || len(r.Frames) == 0 {
		return fmt.Errorf("initialize: status %d: %.300s", r.Status, r.Body)
	}
	s.ID, s.Init = r.Header.Get("Mcp-Session-Id"), r.Last()
	var answer struct {
		Result struct {
			ProtocolVersion string `json:"protocolVersion"`
		} `json:"result"`
	}
	if err := json.Unmarshal(s.Init, &answer); err != nil || answer.Result.ProtocolVersion == "" {
		return fmt.Errorf("initialize: %w: %.300s", err, s.Init)
	}
	s.Version = answer.Result.ProtocolVersion
	r, err = s.Post(ctx, []byte(`{"jsonrpc":"2.0","method":"notifications/initialized"}`))
	if err == nil && r.Status != http.StatusAccepted {
		err = fmt.Errorf("initialized: status %d: %.300s", r.Status, r.Body)
	}
	return err
}

// Reply is the whole answer to one POST.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte   // as it came
	Frames [][]byte // JSON-RPC frames in it: the body, or the data of each event
}

// Last is the last frame, which answers the request.
func (r *Reply) Last() []byte {
	if len(r.Frames) == 0 {
		return nil
	}
	return r.Frames[len(r.Frames)-1]
}

// IsSSE reports whether the answer was a stream.
func (r *Reply) IsSSE() bool {
	return strings.HasPrefix(r.Header.Get("Content-Type"), "text/event-stream")
}

// request builds a POST of frame with the headers of the session.
func (s *Session) request(ctx context.Context, method string, frame []byte) (*http.Request, error) {
	var body io.Reader
	if frame != nil {
		body = bytes.NewReader(frame)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.URL, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json, text/event-stream")
	if frame != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if s.ID != "" {
		req.Header.Set("Mcp-Session-Id", s.ID)
	}
	if s.Version != "" {
		req.Header.Set("Mcp-Protocol-Version", s.Version)
	}
	for k, v := range s.Header {
		req.Header[k] = v
	}
	return req, nil
}

// Via is the same session as seen from another base URL, with connections of its own.
func (s *Session) Via(base string) *Session {
	u, err := url.Parse(s.URL)
	if err != nil {
		panic(err) // cannot happen: it was used
	}
	other := NewSession(base + u.Path)
	other.ID, other.Version, other.Header = s.ID, s.Version, s.Header.Clone()
	return other
}

// Listen opens a stream by GET, after the event lastID unless that is empty, and returns once
// the header of the answer is there.
func (s *Session) Listen(ctx context.Context, lastID string) (*Stream, error) {
	req, err := s.request(ctx, http.MethodGet, nil)
	if err != nil {
		return nil, err
	}
	if lastID != "" {
		req.Header.Set("Last-Event-Id", lastID)
	}
	return s.open(req)
}

// Post sends one frame and reads the whole answer, whatever its status.
func (s *Session) Post(ctx context.Context, frame []byte) (*Reply, error) {
	st, err := s.Stream(ctx, http.MethodPost, frame)
	if err != nil {
		return nil, err
	}
	defer st.Close()
	r := &Reply{Status: st.Status, Header: st.Header}
	if !r.IsSSE() {
		r.Body, err = io.ReadAll(st.body)
		if b := bytes.TrimSpace(r.Body); len(b) > 0 && b[0] == '{' {
			r.Frames = [][]byte{r.Body}
		}
		return r, err
	}
	for {
		ev, err := st.Next()
		if errors.Is(err, io.EOF) {
			return r, nil
		}
		if err != nil {
			return r, err
		}
		if len(ev.Data) > 0 {
			r.Frames = append(r.Frames, ev.Data)
		}
	}
}

// Delete ends the session and returns the status.
func (s *Session) Delete(ctx context.Context) (int, error) {
	st, err := s.Stream(ctx, http.MethodDelete, nil)
	if err != nil {
		return 0, err
	}
	st.Close()
	return st.Status, nil
}

// Stream is an answer that is read as it comes.
type Stream struct {
	Status int
	Header http.Header

	body io.ReadCloser
	r    *bufio.Reader
}

// Event is one server-sent event.
type Event struct {
	ID, Name string
	Data     []byte
	At       time.Time // when its last byte was read here
}

// Stream sends one request and returns once the header of the answer is there.
func (s *Session) Stream(ctx context.Context, method string, frame []byte) (*Stream, error) {
	req, err := s.request(ctx, method, frame)
	if err != nil {
		return nil, err
	}
	return s.open(req)
}

func (s *Session) open(req *http.Request) (*Stream, error) {
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	return &Stream{Status: resp.StatusCode, Header: resp.Header, body: resp.Body, r: bufio.NewReader(resp.Body)}, nil
}

// Rest reads an answer that is no stream of events to its end, and ends it.
func (st *Stream) Rest() ([]byte, error) {
	defer st.Close()
	return io.ReadAll(st.r)
}

// Close ends the stream.
func (st *Stream) Close() { _ = st.body.Close() }

// Next returns the next event that is not a mere comment, or io.EOF.
func (st *Stream) Next() (Event, error) {
	var ev Event
	some := false
	for {
		line, err := st.r.ReadString('\n')
		if err != nil {
			return ev, err
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			if some {
				ev.At = time.Now()
				return ev, nil
			}
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			ev.ID = value
		case "event":
			ev.Name = value
		case "data":
			if ev.Data != nil {
				ev.Data = append(ev.Data, '\n')
			}
			ev.Data = append(ev.Data, value...)
		default:
			continue
		}
		some = true
	}
}

// RPCError is a JSON-RPC error.
type RPCError struct {
	Code    int             `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data"`
}

func (e *RPCError) Error() string {
	return fmt.Sprintf("JSON-RPC error %d: %s %s", e.Code, e.Message, e.Data)
}

// StatusError is an answer with another status than 200.
type StatusError struct {
	Status int
	Body   string
}

func (e *StatusError) Error() string { return fmt.Sprintf("status %d: %.300s", e.Status, e.Body) }

// Request sends a request with an id of its own and returns the result, an *RPCError, a
// *StatusError, or what went wrong with the connection.
func (s *Session) Request(ctx context.Context, method string, params any) (json.RawMessage, error) {
	s.next++
	p, err := json.Marshal(params)
	if err != nil {
		return nil, err
	}
	r, err := s.Post(ctx, fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`, s.next, method, p))
	if err != nil {
		return nil, err
	}
	return r.result(s.next)
}

// result is what the last frame says, once it is known to answer id.
func (r *Reply) result(id int) (json.RawMessage, error) {
	var answer struct {
		ID     json.RawMessage `json:"id"`
		Result json.RawMessage `json:"result"`
		Error  *RPCError       `json:"error"`
	}
	err := json.Unmarshal(r.Last(), &answer)
	switch {
	case err == nil && answer.Error != nil:
		return nil, answer.Error
	case r.Status != http.StatusOK:
		return nil, &StatusError{r.Status, string(r.Body)}
	case err != nil:
		return nil, fmt.Errorf("%w: %.300s", err, r.Body)
	case string(answer.ID) != fmt.Sprint(id):
		return nil, fmt.Errorf("the answer to %d has id %s", id, answer.ID)
	}
	return answer.Result, nil
}

// Call calls a tool and returns the text of its first content.
func (s *Session) Call(ctx context.Context, tool string, args any) (string, error) {
	if args == nil {
		args = object{}
	}
	raw, err := s.Request(ctx, "tools/call", object{"name": tool, "arguments": args})
	if err != nil {
		return "", err
	}
	return ToolText(raw)
}

// ToolText is the text of the first content of a tool's result.
func ToolText(raw []byte) (string, error) {
	var res struct {
		IsError bool `json:"isError"`
		Content []struct {
			Text string `json:"text"`
		} `json:"content"`
	}
	if err := json.Unmarshal(raw, &res); err != nil {
		return "", fmt.Errorf("%w: %.200s", err, raw)
	}
	if len(res.Content) == 0 {
		return "", fmt.Errorf("a result without content: %.200s", raw)
	}
	if res.IsError {
		return "", fmt.Errorf("tool error: %s", res.Content[0].Text)
	}
	return res.Content[0].Text, nil
}

// Tools are the names that tools/list shows, all pages.
func (s *Session) Tools(ctx context.Context) ([]string, error) {
	var out []string
	for params := (object{}); ; {
		raw, err := s.Request(ctx, "tools/list", params)
		if err != nil {
			return nil, err
		}
		var page struct {
			Tools      []struct{ Name string }
			NextCursor string `json:"nextCursor"`
		}
		if err := json.Unmarshal(raw, &page); err != nil {
			return nil, err
		}
		for _, tool := range page.Tools {
			out = append(out, tool.Name)
		}
		if page.NextCursor == "" {
			return out, nil
		}
		params["cursor"] = page.NextCursor
	}
}
