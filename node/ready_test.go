package node

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mcphub-go/mcphub/heartbeat"
)

func TestReadiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, m := joining("s")
		is := func(state, problem string, status int, body string) {
			t.Helper()
			m.mu.Lock()
			m.state.State, m.state.Error = state, problem
			m.mu.Unlock()
			synctest.Wait()
			w := ask(n, httptest.NewRequest("GET", "http://node-1/ready", nil))
			if got := strings.TrimSpace(w.Body.String()); w.Code != status || got != body {
				t.Errorf("GET /ready = %d %s, want %d %s", w.Code, got, status, body)
			}
			if got := w.Header().Get("Retry-After"); (got != "") != (status != http.StatusOK) {
				t.Errorf("Retry-After: %q with %d", got, status)
			}
		}
		const waiting = "waiting to be told to join, by 'mcphub join' or POST /api/node/join"
		is(heartbeat.JoinWaiting, "", 503, `{"status":"not ready","reasons":["the servers are being started","`+waiting+`"]}`)
		is(heartbeat.JoinJoined, "", 503, `{"status":"not ready","reasons":["the servers are being started"]}`)

		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- n.Run(ctx) }()
		is(heartbeat.JoinWaiting, "", 503, `{"status":"not ready","reasons":["`+waiting+`"]}`)
		is(heartbeat.JoinJoining, "", 503, `{"status":"not ready","reasons":["joining"]}`)
		is(heartbeat.JoinJoining, "nobody answers", 503, `{"status":"not ready","reasons":["joining: nobody answers"]}`)
		is(heartbeat.JoinJoined, "", 200, `{"status":"ready","reasons":[]}`)

		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		is(heartbeat.JoinJoined, "", 503, `{"status":"not ready","reasons":["this node is stopping"]}`)
	})
}

func TestReadinessOfANodeInsideAProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(Config{ID: "n1", Instance: "i"}, &fakeLease{}, discard())
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- n.Run(ctx) }()
		synctest.Wait()
		if w := ask(n, httptest.NewRequest("GET", "http://node-1/ready", nil)); w.Code != http.StatusOK {
			t.Errorf("GET /ready = %d %s", w.Code, w.Body)
		}
		stop()
		<-done
	})
}
