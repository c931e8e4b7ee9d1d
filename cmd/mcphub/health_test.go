package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// The probe finds the hub of its own machine by the variables that told the hub where to
// listen, and says why when it is not well.
func TestHealth(t *testing.T) {
	var ready http.HandlerFunc
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the probe shows a token")
		}
		switch r.URL.Path {
		case "/health":
			_, _ = w.Write([]byte(`{"status":"ok"}`))
		case "/ready":
			ready(w, r)
		}
	}))
	defer hub.Close()
	_, port, err := net.SplitHostPort(hub.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	here := []string{"PORT=" + port, "MCPHUB_ADMIN_TOKEN=secret"}
	fine := func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"status":"ready","reasons":[]}`))
	}
	notReady := func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(`{"status":"not ready","reasons":["no Redis \u001b[31myet"]}`))
	}
	missing := func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "gone", http.StatusNotFound) }
	tests := map[string]struct {
		env   []string
		args  []string
		ready http.HandlerFunc
		code  int
		says  string
	}{
		"alive":                  {env: here},
		"every interface":        {env: append(here, "HOST=0.0.0.0")},
		"every interface, IPv6":  {env: append(here, "HOST=::")},
		"one interface":          {env: append(here, "HOST=127.0.0.1")},
		"named":                  {env: []string{"PORT=1"}, args: []string{"--url", hub.URL}},
		"ready":                  {env: here, args: []string{"--ready"}, ready: fine},
		"not ready":              {env: here, args: []string{"--ready"}, ready: notReady, code: exitFailed, says: "not ready; no Redis  [31myet"},
		"no readiness":           {env: here, args: []string{"--ready"}, ready: missing, code: exitFailed, says: "404 Not Found"},
		"nobody there":           {env: []string{"PORT=1"}, code: exitUnreachable, says: "cannot reach a hub at http://127.0.0.1:1"},
		"nobody at that address": {env: append(here, "HOST=127.0.0.2"), code: exitUnreachable, says: "127.0.0.2"},
		"nonsense":               {args: []string{"--url", "here"}, code: exitUsage, says: "not the address of a hub"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			ready = tc.ready
			got := command(t, tc.env, "", append([]string{"health"}, tc.args...)...)
			if got.code != tc.code || !strings.Contains(got.stderr, tc.says) || got.stdout != "" || (tc.code == exitOK && got.stderr != "") {
				t.Errorf("mcphub health %v exits %d and says %q %q; want %d and %q", tc.args, got.code, got.stdout, got.stderr, tc.code, tc.says)
			}
		})
	}
}

// A process that accepts and never answers is not well, and the probe ends before whoever
// runs it gives up on the probe.
func TestHealthOfAHungProcess(t *testing.T) {
	done := make(chan struct{})
	hub := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-done }))
	defer hub.Close()
	defer close(done)
	began := time.Now()
	got := command(t, nil, "", "health", "--url", hub.URL)
	if got.code != exitUnreachable || !strings.Contains(got.stderr, "no answer within 3s") {
		t.Errorf("mcphub health exits %d and says %q; want %d and that nothing came within 3s", got.code, got.stderr, exitUnreachable)
	}
	if took := time.Since(began); took > 4500*time.Millisecond {
		t.Errorf("it took %s, the image allows 5 s", took)
	}
}
