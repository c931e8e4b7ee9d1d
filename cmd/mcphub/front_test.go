package main

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

func backend(t *testing.T, h http.HandlerFunc) *url.URL {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func startFront(t *testing.T, backends ...*url.URL) *httptest.Server {
	t.Helper()
	f := newFront(backends, slog.New(slog.DiscardHandler))
	srv := httptest.NewServer(f)
	t.Cleanup(func() { srv.Close(); f.Close() })
	return srv
}

func fetch(t *testing.T, req *http.Request) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestFrontIsNotSticky(t *testing.T) {
	name := func(n string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprintf(w, "%s %s", n, r.Host) }
	}
	srv := startFront(t, backend(t, name("a")), backend(t, name("b")))
	seen := map[string]int{}
	for range 10 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+"/mcp", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "hub.example:3000"
		req.Header.Set("Mcp-Session-Id", "always-the-same")
		_, body := fetch(t, req)
		seen[body]++
	}
	if seen["a hub.example:3000"] != 5 || seen["b hub.example:3000"] != 5 {
		t.Errorf("ten requests of one session went to %v, want five each, under the client's Host", seen)
	}
}

func TestFrontPassesEventsAsTheyCome(t *testing.T) {
	release := make(chan struct{})
	srv := startFront(t, backend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprint(w, "data: 1\n\n")
		_ = http.NewResponseController(w).Flush()
		<-release
		_, _ = fmt.Fprint(w, "data: 2\n\n")
	}))
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	line, err := bufio.NewReader(resp.Body).ReadString('\n') // blocks unless the event is passed on at once
	close(release)
	if err != nil || line != "data: 1\n" {
		t.Errorf("first event = %q, %v", line, err)
	}
}

func TestFrontSaysWhenACoordinatorIsGone(t *testing.T) {
	gone, err := url.Parse(unusedAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, startFront(t, gone).URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if status, body := fetch(t, req); status != http.StatusBadGateway || body == "" {
		t.Errorf("a coordinator that is gone = %d %q, want 502 and a sentence", status, body)
	}
}
