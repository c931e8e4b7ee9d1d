package containers

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// mcpSession is a client's session, spoken by hand so that it holds no surprises of a library.
type mcpSession struct {
	url, id string
	next    int
}

// openSession initializes a session with one server.
func (p *project) openSession(t *testing.T, server string) *mcpSession {
	t.Helper()
	s := &mcpSession{url: p.base + "/mcp/" + server}
	s.send(t, `{"jsonrpc":"2.0","id":%d,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"compose test","version":"1"}}}`)
	if s.id == "" {
		t.Fatal("initialize gave no session id")
	}
	s.send(t, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	return s
}

// echo calls the tool of that name.
func (s *mcpSession) echo(t *testing.T, message string) string {
	t.Helper()
	answer := s.send(t, `{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"message":"`+message+`"}}}`)
	var result struct {
		Result struct {
			Content []struct {
				Text string `json:"text"`
			} `json:"content"`
		} `json:"result"`
	}
	if err := json.Unmarshal(answer, &result); err != nil || len(result.Result.Content) != 1 {
		return string(answer)
	}
	return result.Result.Content[0].Text
}

// send posts a message, with an id of its own where it has a place for one, and returns what
// answers it.
func (s *mcpSession) send(t *testing.T, format string) []byte {
	t.Helper()
	body := format
	if strings.Contains(format, "%d") {
		s.next++
		body = fmt.Sprintf(format, s.next)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	if s.id != "" {
		req.Header.Set("Mcp-Session-Id", s.id)
		req.Header.Set("Mcp-Protocol-Version", "2025-11-25")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if id := resp.Header.Get("Mcp-Session-Id"); id != "" {
		s.id = id
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusAccepted {
		text, _ := io.ReadAll(resp.Body) // the status says enough
		t.Fatalf("%s: %d %s", body, resp.StatusCode, text)
	}
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		return text
	}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data:")
		if ok && strings.Contains(data, fmt.Sprintf(`"id":%d`, s.next)) {
			return []byte(data)
		}
	}
	t.Fatalf("%s: the stream ended without an answer: %v", body, lines.Err())
	return nil
}
