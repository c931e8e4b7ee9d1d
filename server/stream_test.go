package server

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/router"
)

// listeningCarrier has streams that end when their client goes or EndStreams is called.
type listeningCarrier struct {
	*fakeCarrier
	end chan struct{}
}

func (c *listeningCarrier) EndStreams() { close(c.end) }

// listen makes a rig whose streams say hello and stay open.
func listen(t *testing.T, cfg Config) (*rig, *listeningCarrier) {
	t.Helper()
	r := newServer(t, cfg, nil)
	c := &listeningCarrier{fakeCarrier: r.carrier, end: make(chan struct{})}
	r.deps.Carrier = c
	c.carry = func(ctx context.Context, w http.ResponseWriter, req router.Request) error {
		w.Header().Set("Content-Type", wire.TypeEventStream)
		_ = wire.Comment(w, "hello")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-ctx.Done():
		case <-c.end:
			_ = wire.Comment(w, "bye")
		}
		return nil
	}
	return r.run(t), c
}

// open opens a stream and waits for its head.
func (r *rig) open(t *testing.T, path string, headers ...string) (*http.Response, *bufio.Reader) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp, bufio.NewReader(resp.Body)
}

func TestGetIsCarried(t *testing.T) {
	r, c := listen(t, global)
	for _, accept := range []string{"text/event-stream", "application/json, text/event-stream", "*/*", "text/*;q=0.1"} {
		resp, body := r.open(t, "/mcp/everything", wire.HeaderSession, "s1", wire.HeaderLastEventID, "abc.g1.7", "Accept", accept, "Origin", r.url)
		line, err := body.ReadString('\n')
		got := c.last()
		if resp.StatusCode != http.StatusOK || line != ": hello\n" || got.HTTPMethod != http.MethodGet || got.LastEvent != "abc.g1.7" || got.SessionID != "s1" || got.Scope != "everything" {
			t.Errorf("GET with Accept %s = %d %q, %v; carried %+v", accept, resp.StatusCode, line, err, got)
		}
		_ = resp.Body.Close()
	}
	resp, _ := r.open(t, "/mcp", wire.HeaderSession, "s1") // no Accept allows everything
	if resp.StatusCode != http.StatusOK {
		t.Errorf("GET without Accept = %d", resp.StatusCode)
	}
}

// No time-out of net/http may end a stream on which nothing happens.
func TestQuietStreamsStayOpen(t *testing.T) {
	cfg := global
	cfg.HeaderTime, cfg.BodyTime, cfg.IdleTime = 30*time.Millisecond, 30*time.Millisecond, 30*time.Millisecond
	r, c := listen(t, cfg)
	_, body := r.open(t, "/mcp/everything", wire.HeaderSession, "s1", "Accept", "text/event-stream")
	ended := make(chan string, 1)
	go func() { all, _ := io.ReadAll(body); ended <- string(all) }()
	select {
	case got := <-ended:
		t.Fatalf("the stream ended after %q", got)
	case <-time.After(200 * time.Millisecond): // several times every limit
	}
	close(c.end)
	if got := <-ended; !strings.Contains(got, ": bye") {
		t.Errorf("the stream ended after %q", got)
	}
	c.end = make(chan struct{}) // for the end of the rig
}

// Streams that only listen do not hold up the end of a replica.
func TestStreamsEndWhenAReplicaStops(t *testing.T) {
	cfg := global
	cfg.DrainTime = time.Minute
	r, _ := listen(t, cfg)
	_, body := r.open(t, "/mcp/everything", wire.HeaderSession, "s1", "Accept", "text/event-stream")
	ended := make(chan string, 1)
	go func() { all, _ := io.ReadAll(body); ended <- string(all) }()
	begun := time.Now()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("the end took %v", took)
	}
	if got := <-ended; !strings.Contains(got, ": bye") {
		t.Errorf("the stream ended after %q", got)
	}
}
