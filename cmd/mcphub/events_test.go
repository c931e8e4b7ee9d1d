package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

func anEvent(id int, text string) string {
	quoted, _ := json.Marshal(text) // a string always can be
	return fmt.Sprintf(`{"id":"%d-0","time":%d,"kind":"node_registered","nodeId":"node-1","text":%s}`, id, noon.UnixMilli()+int64(id), quoted)
}

func TestEventsAreListedOldestFirst(t *testing.T) {
	h := newHub(t)
	h.answers["GET /api/cluster/events?limit=20"] = `{"success":true,"data":[` + anEvent(2, "second\x1b[0m") + `,` + anEvent(1, "first") + `]}`
	h.answers["GET /api/cluster/events?limit=1"] = `{"success":true,"data":[` + anEvent(2, "second") + `]}`
	got := command(t, nil, "", "events", "--url", h.URL)
	want := "2026-01-01T12:00:00Z  node_registered     first\n2026-01-01T12:00:00Z  node_registered     second [0m\n"
	if got.code != exitOK || got.stdout != want {
		t.Errorf("events = %+v, want\n%s", got, want)
	}
	got = command(t, nil, "", "events", "-n", "1", "-o", "json", "--url", h.URL)
	if got.code != exitOK || got.stdout != anEvent(2, "second")+"\n" {
		t.Errorf("events -o json = %+v, want one object on one line", got)
	}
	if got := command(t, nil, "", "events", "-n", "0", "--url", h.URL); got.code != exitOK || got.stdout != "" {
		t.Errorf("events -n 0 = %+v", got)
	}
	h.answers["GET /api/cluster/events?limit=20"] = `{"success":true,"data":[]}`
	if got := command(t, nil, "", "events", "--url", h.URL); got.stdout != "Nothing has happened yet.\n" {
		t.Errorf("events of a new hub = %+v", got)
	}
	for _, n := range []string{"-1", "1001", "x"} {
		if got := command(t, nil, "", "events", "-n", n, "--url", h.URL); got.code != exitUsage {
			t.Errorf("events -n %s = %+v", n, got)
		}
	}
}

// streamHub answers each request for a stream with the next of its scripts.
type streamHub struct {
	*httptest.Server
	mu      sync.Mutex
	scripts []func(http.ResponseWriter, *http.Request)
	from    []string // Last-Event-ID of each
}

func newStreamHub(t *testing.T, list string, scripts ...func(http.ResponseWriter, *http.Request)) *streamHub {
	t.Helper()
	h := &streamHub{scripts: scripts}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") != "text/event-stream" {
			_, _ = io.WriteString(w, `{"success":true,"data":[`+list+`]}`)
			return
		}
		h.mu.Lock()
		h.from = append(h.from, r.Header.Get("Last-Event-Id"))
		script := h.scripts[0]
		h.scripts = h.scripts[1:]
		h.mu.Unlock()
		script(w, r)
	}))
	t.Cleanup(h.Close)
	return h
}

func streaming(events ...string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, e := range events {
			_, _ = io.WriteString(w, e)
		}
	}
}

func block(id int, text string) string {
	return fmt.Sprintf("id: %d-0\ndata: %s\n\n", id, anEvent(id, text))
}

func answering(status int, body string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// waiting streams nothing more, as a hub in which nothing happens; it tells that it is there.
func waiting(there chan<- struct{}) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, ": keep-alive\n\n")
		_ = http.NewResponseController(w).Flush()
		close(there)
		<-r.Context().Done()
	}
}

// Following goes on over a hub that ends the stream, breaks it off, is stopping, or is a balancer
// with nobody behind it, and asks for what comes after the last event that it has.
func TestEventsAreFollowed(t *testing.T) {
	there := make(chan struct{})
	h := newStreamHub(t, anEvent(1, "past"),
		streaming(": events\n\n", block(2, "two"), block(3, "three")),
		answering(503, `{"success":false,"message":"this replica is stopping"}`),
		answering(502, `<html>`),
		streaming(block(4, "four"), "id: 5-0\ndata: {\"half"),
		waiting(there),
	)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var stdout, stderr bytes.Buffer
	a := &app{getenv: environment(nil), stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, now: func() time.Time { return noon }}
	done := make(chan int, 1)
	go func() { done <- a.run(ctx, []string{"events", "-f", "-o", "json", "--url", h.URL}) }()
	select {
	case <-there:
	case <-time.After(20 * time.Second):
		t.Fatal("the last stream is never asked for")
	}
	interrupt()
	if code := <-done; code != exitOK {
		t.Errorf("exit %d after an interrupt, want %d", code, exitOK)
	}
	if want := anEvent(1, "past") + "\n" + anEvent(2, "two") + "\n" + anEvent(3, "three") + "\n" + anEvent(4, "four") + "\n"; stdout.String() != want {
		t.Errorf("printed\n%swant\n%s", stdout.String(), want)
	}
	if want := []string{"1-0", "3-0", "3-0", "3-0", "4-0"}; strings.Join(h.from, " ") != strings.Join(want, " ") {
		t.Errorf("asked from %v, want %v", h.from, want)
	}
	if n := strings.Count(stderr.String(), "asking again"); n != 4 {
		t.Errorf("said %d times that it asks again, want 4: %s", n, stderr.String())
	}
}

func TestFollowingANewHubBeginsWithItsFirstEvent(t *testing.T) {
	h := newStreamHub(t, "", streaming(block(1, "first")), answering(403, `{"success":false,"message":"no"}`))
	got := command(t, nil, "", "events", "-f", "--url", h.URL)
	if got.code != exitFailed || !strings.Contains(got.stdout, "first") || h.from[0] != "0-0" {
		t.Errorf("events -f = %+v, asked from %v", got, h.from)
	}
}

func TestFollowingEndsWhereTheHubRefuses(t *testing.T) {
	for want, script := range map[string]func(http.ResponseWriter, *http.Request){
		"refuses: an admin is needed":   answering(401, `{"success":false,"message":"an admin is needed"}`),
		"does not stream events":        answering(200, `{"success":true,"data":[]}`),
		"says: not one of ours":         answering(400, `{"success":false,"message":"not one of ours"}`),
		"an event that is not JSON":     streaming("id: 1-0\ndata: {\n\n"),
		"does not answer like a hub: 2": answering(200, `<html>`),
	} {
		h := newStreamHub(t, anEvent(1, "past"), script)
		got := command(t, nil, "", "events", "-f", "--url", h.URL)
		if got.code != exitFailed || !strings.Contains(got.stderr, want) {
			t.Errorf("events -f = %+v, want exit %d with %q", got, exitFailed, want)
		}
	}
	if got := command(t, nil, "", "events", "-f", "--url", "http://127.0.0.1:1"); got.code != exitUnreachable {
		t.Errorf("events -f of no hub = %+v, want exit %d", got, exitUnreachable)
	}
}
