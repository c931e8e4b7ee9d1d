package router

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// front serves a router over real HTTP, as package server does.
func front(t testing.TB, r *Router, scope string) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		err = r.Carry(req.Context(), w, Request{
			Scope: scope, HTTPMethod: req.Method, SessionID: req.Header.Get(wire.HeaderSession), Header: req.Header, Body: body,
			LastEvent: req.Header.Get(wire.HeaderLastEventID),
		})
		if e, ok := errors.AsType[*Error](err); ok {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write(e.Frame())
		}
	}))
	t.Cleanup(srv.Close)
	return srv
}

func postTo(t testing.TB, srv *httptest.Server, session, body string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(wire.HeaderSession, session)
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

const (
	priming  = "id: s-0\ndata:\n\n"
	progress = "event: message\nid: s-1\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{}}\n\n"
	final7   = "event: message\r\ndata: {\"jsonrpc\":\"2.0\",\r\ndata: \"id\":7,\"result\":{\"ok\":true}}\r\n\r\n"
)

// streaming answers a method with events, written as they are sent on the channel.
func streaming(method string, chunks <-chan string, end func(http.ResponseWriter)) func(http.ResponseWriter, *http.Request, *wire.Frame) bool {
	return func(w http.ResponseWriter, _ *http.Request, f *wire.Frame) bool {
		if f.Method != method {
			return false
		}
		writeChunks(w, chunks, end)
		return true
	}
}

// writeChunks writes a stream as it is sent on a channel.
func writeChunks(w http.ResponseWriter, chunks <-chan string, end func(http.ResponseWriter)) {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache, no-transform")
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	for chunk := range chunks {
		_, _ = io.WriteString(w, chunk)
		_ = http.NewResponseController(w).Flush()
	}
	if end != nil {
		end(w)
	}
}

func breakOff(http.ResponseWriter) { panic(http.ErrAbortHandler) }

func sent(chunks ...string) <-chan string {
	ch := make(chan string, len(chunks))
	for _, c := range chunks {
		ch <- c
	}
	close(ch)
	return ch
}

// Each event is passed on, byte for byte, when it comes and not when the next one does.
func TestStreamPassesEventsAsTheyCome(t *testing.T) {
	w := newWorld(t, 1, 1)
	session, _ := begin(t, w.rs[0], testServer)
	chunks := make(chan string)
	w.nodes[0].setHook(streaming("tools/call", chunks, nil))
	resp := postTo(t, front(t, w.rs[0], testServer), session, message("7", "tools/call", "{}"))
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	got := bufio.NewReader(resp.Body)
	for _, part := range [][]string{{priming}, {progress[:20], progress[20:]}, {": keep-alive\n\n"}, {final7}} {
		for _, p := range part {
			chunks <- p
		}
		want := strings.Join(part, "")
		buf := make([]byte, len(want))
		if _, err := io.ReadFull(got, buf); err != nil || string(buf) != want {
			t.Fatalf("got %q, %v; want %q before anything else is sent", buf, err, want)
		}
	}
	close(chunks)
	if rest, err := io.ReadAll(got); err != nil || len(rest) > 0 {
		t.Errorf("after the last event: %q, %v", rest, err)
	}
}

// A stream that breaks before its response ends with error 1001 for the request, and the half
// event at its end is not delivered.
func TestBrokenStream(t *testing.T) {
	for _, c := range []struct {
		name   string
		chunks []string
		end    func(http.ResponseWriter)
		want   string // delivered of the node's events
		reason string
	}{
		{"in the middle of an event", []string{priming, progress, final7[:len(final7)-4]}, breakOff, priming + progress, reasonBroken},
		{"between events", []string{priming, progress}, breakOff, priming + progress, reasonBroken},
		{"clean end without a response", []string{progress}, nil, progress, reasonBroken},
		{"another id's response", []string{strings.Replace(final7, "7", "8", 1)}, nil, strings.Replace(final7, "7", "8", 1), reasonBroken},
		{"before any event", nil, breakOff, "", reasonBroken},
		{"an endless event", []string{progress, "data: " + strings.Repeat("x", maxEvent+100_000)}, nil, progress, reasonBadAnswer},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 2, 1)
			session, home := begin(t, w.rs[0], testServer)
			w.node(home).setHook(streaming("tools/call", sent(c.chunks...), c.end))
			resp := postTo(t, front(t, w.rs[0], testServer), session, message("7", "tools/call", "{}"))
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatalf("the client's stream broke too: %v", err)
			}
			rest, ok := strings.CutPrefix(string(body), c.want)
			if !ok {
				t.Fatalf("got %.300q, want it to begin with %q", body, c.want)
			}
			ev, err := wire.NewEventReader(strings.NewReader(rest), 1<<20).Next()
			if err != nil {
				t.Fatalf("no final event in %.300q", rest)
			}
			p := reply{ResponseRecorder: &httptest.ResponseRecorder{Body: bytes.NewBuffer(ev.Data)}}
			if p.get("id") != "7" || p.get("error", "code") != "1001" || p.get("error", "data", "reason") != c.reason || p.get("error", "data", "dispatchState") != "D4" {
				t.Errorf("final event %s", ev.Data)
			}
			if s := w.rs[0].Stats(); s.OutcomeUnknown != 1 || s.Retried != 0 {
				t.Errorf("stats = %+v", s)
			}
		})
	}
}

// What comes after the response is of no interest: a break there is not reported.
func TestStreamBrokenAfterItsResponse(t *testing.T) {
	w := newWorld(t, 1, 1)
	session, _ := begin(t, w.rs[0], testServer)
	w.nodes[0].setHook(streaming("tools/call", sent(priming, final7), breakOff))
	resp := postTo(t, front(t, w.rs[0], testServer), session, message("7", "tools/call", "{}"))
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != priming+final7 {
		t.Errorf("got %q, %v", body, err)
	}
	if s := w.rs[0].Stats(); s.OutcomeUnknown != 0 {
		t.Errorf("stats = %+v", s)
	}
}

// A priming event is no answer, so a read may still be sent again; its answer then comes as an
// event of the stream that the client already has.
func TestReadIsRepeatedInsideItsStream(t *testing.T) {
	for _, c := range []struct {
		name   string
		before []string
		repeat bool
	}{{"primed", []string{priming}, true}, {"not even primed", nil, true}, {"progress was sent", []string{progress}, false}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, 1)
			session, _ := begin(t, w.rs[0], testServer)
			var tries atomic.Int32
			first := streaming("tools/list", sent(c.before...), breakOff)
			w.nodes[0].setHook(func(w http.ResponseWriter, req *http.Request, f *wire.Frame) bool {
				return f.Method == "tools/list" && tries.Add(1) == 1 && first(w, req, f)
			})
			resp := postTo(t, front(t, w.rs[0], testServer), session, message("7", "tools/list", ""))
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(string(body), `"calls":1`); got != c.repeat || tries.Load() > 1 != c.repeat {
				t.Errorf("%d tries, %q; repeated should be %t", tries.Load(), body, c.repeat)
			}
			if strings.Count(string(body), `"id":7`) != 1 {
				t.Errorf("%q does not hold exactly one response", body)
			}
		})
	}
}

// A plain answer that breaks off is reported whole, with a proper error: none of it was passed
// on. One too large to hold back breaks the client's connection, so that it cannot be mistaken
// for a whole one.
func TestBrokenPlainAnswer(t *testing.T) {
	for _, c := range []struct {
		name     string
		announce bool // Content-Length
		size     int
		cut      bool // the client's connection breaks
	}{
		{"small, announced", true, 1000, false}, {"small, chunked", false, 1000, false},
		{"large, announced", true, wholeAnswer + 100_000, true}, {"large, chunked", false, wholeAnswer + 100_000, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, 1)
			session, _ := begin(t, w.rs[0], testServer)
			w.nodes[0].setHook(func(w http.ResponseWriter, _ *http.Request, _ *wire.Frame) bool {
				w.Header().Set("Content-Type", "application/json")
				if c.announce {
					w.Header().Set("Content-Length", fmt.Sprint(c.size+1))
				}
				_, _ = w.Write(bytes.Repeat([]byte("x"), c.size))
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			})
			resp := postTo(t, front(t, w.rs[0], testServer), session, message("7", "tools/call", "{}"))
			body, err := io.ReadAll(resp.Body)
			if c.cut {
				if err == nil {
					t.Errorf("the client read %d bytes to a good end", len(body))
				}
				return
			}
			if err != nil || resp.StatusCode != 200 || !bytes.Contains(body, []byte(`"code":1001`)) || bytes.Contains(body, []byte("xx")) {
				t.Errorf("status %d, %v, %.200s", resp.StatusCode, err, body)
			}
		})
	}
}

func TestLargeAnswerIsWhole(t *testing.T) {
	for _, announce := range []bool{true, false} {
		t.Run(fmt.Sprintf("announced=%t", announce), func(t *testing.T) {
			w := newWorld(t, 1, 1)
			session, _ := begin(t, w.rs[0], testServer)
			want := []byte(`{"jsonrpc":"2.0","id":7,"result":"` + strings.Repeat("0123456789", 300_000) + `"}`)
			w.nodes[0].setHook(func(w http.ResponseWriter, _ *http.Request, _ *wire.Frame) bool {
				w.Header().Set("Content-Type", "application/json")
				if announce {
					w.Header().Set("Content-Length", fmt.Sprint(len(want)))
				}
				_, _ = w.Write(want)
				return true
			})
			srv := front(t, w.rs[0], testServer)
			for range 3 { // the connection to the node is good for the next
				resp := postTo(t, srv, session, message("7", "tools/call", "{}"))
				if body, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(body, want) {
					t.Fatalf("%d bytes, %v; want %d", len(body), err, len(want))
				}
			}
		})
	}
}

// A client that leaves a stream frees everything that was held for it; the leak check of the
// package would tell.
func TestClientLeavesStream(t *testing.T) {
	w := newWorld(t, 1, 1)
	session, _ := begin(t, w.rs[0], testServer)
	chunks, dropped := make(chan string), make(chan struct{})
	inner := streaming("tools/call", chunks, nil)
	w.nodes[0].setHook(func(w http.ResponseWriter, req *http.Request, f *wire.Frame) bool {
		if f.Method == "tools/call" {
			go func() {
				<-req.Context().Done()
				close(dropped)
			}()
		}
		return inner(w, req, f)
	})
	srv := front(t, w.rs[0], testServer)
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, srv.URL, strings.NewReader(message("7", "tools/call", "{}")))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(wire.HeaderSession, session)
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	chunks <- progress
	if _, err := io.ReadFull(resp.Body, make([]byte, len(progress))); err != nil {
		t.Fatal(err)
	}
	cancel()
	_ = resp.Body.Close()
	<-dropped
	close(chunks)
	eventually(t, "the request is over", func() bool { return w.rs[0].Stats().InFlight == 0 })
}
