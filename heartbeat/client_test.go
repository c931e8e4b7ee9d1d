package heartbeat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func dialing(t *testing.T, url, secret string) *client {
	t.Helper()
	c, err := newClient(url, secret, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

// A redirect would carry the cluster secret, and the node's word, to wherever it points.
func TestClientFollowsNoRedirect(t *testing.T) {
	var reached atomic.Bool
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	defer thief.Close()
	srv := httptest.NewServer(http.RedirectHandler(thief.URL, http.StatusTemporaryRedirect))
	defer srv.Close()
	err := dialing(t, srv.URL, "s3cret").post(t.Context(), "/api/cluster/register", []byte("{}"), time.Second, nil)
	var refused *refusal
	if !errors.As(err, &refused) || refused.status != http.StatusTemporaryRedirect || reached.Load() {
		t.Errorf("post() = %v, followed %v, want the redirect refused", err, reached.Load())
	}
}

func TestClientUsesNoProxy(t *testing.T) {
	if newTransport().Proxy != nil {
		t.Error("the environment may name a proxy that gets the cluster secret")
	}
}

func TestClientAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		body   string
		want   string // part of the error; empty for none
	}{
		"success":        {200, `{"success":true,"data":{"epoch":3}}`, ""},
		"refused":        {409, `{"success":false,"message":"held by http://10.0.0.1:3001"}`, "held by http://10.0.0.1:3001 (409)"},
		"refused, 200":   {200, `{"success":false,"message":"no"}`, "no (200)"},
		"a balancer":     {502, "<html>Bad Gateway</html>", "Bad Gateway (502)"},
		"not JSON":       {200, "hello", "is that a coordinator?"},
		"other data":     {200, `{"success":true,"data":[]}`, "decode"},
		"no data":        {200, `{"success":true}`, "decode"},
		"endless":        {200, strings.Repeat(" ", maxAnswer+1), "is over"},
		"breaks the log": {400, `{"success":false,"message":"a\nNode registered: x"}`, "a Node registered: x (400)"},
		"very long":      {400, `{"success":false,"message":"` + strings.Repeat("x", 5000) + `"}`, "x"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer s3cret" || r.Header.Get("Content-Type") != "application/json" {
					t.Errorf("headers %v", r.Header)
				}
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			}))
			defer srv.Close()
			var g Grant
			err := dialing(t, srv.URL, "s3cret").post(t.Context(), "/x", nil, time.Second, &g)
			if tt.want == "" {
				if err != nil || g.Epoch != 3 {
					t.Errorf("post() = %v with %+v, want epoch 3", err, g)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || len(err.Error()) > maxError+100 || strings.Contains(err.Error(), "\n") {
				t.Errorf("post() = %v, want one line with %q", err, tt.want)
			}
		})
	}
}

func TestClientIsBounded(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	defer srv.Close()
	begun := time.Now()
	if err := dialing(t, srv.URL, "").post(t.Context(), "/x", nil, 100*time.Millisecond, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("post() = %v, want a deadline exceeded", err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestCoordinatorURLs(t *testing.T) {
	for url, want := range map[string]string{
		"http://hub:3000":             "hub:3000",
		"https://hub.example.com":     "hub.example.com:443",
		"http://hub.example.com/base": "hub.example.com:80",
		"http://[fd00::1]:3000/":      "[fd00::1]:3000",
		"":                            "",
		"hub:3000":                    "",
		"ftp://hub":                   "",
		"http://":                     "",
	} {
		c, err := newClient(url, "", nil)
		if (err == nil) != (want != "") || err == nil && (c.dial != want || strings.HasSuffix(c.base, "/")) {
			t.Errorf("newClient(%q) = %+v, %v, want to dial %q", url, c, err, want)
		}
	}
}

// An address that nobody configured is that of the node's end of the connection; POD_IP and
// the setting come before it.
func TestOwnAddress(t *testing.T) {
	urls := make(chan string, 10)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var rec Record
		if json.NewDecoder(r.Body).Decode(&rec) == nil && rec.URL != "" {
			urls <- fmt.Sprint(rec.URL, " ", rec.Host, " ", rec.Port)
		}
		_, _ = io.WriteString(w, `{"success":true,"data":{"epoch":1,"credential":"c","nodeTimeout":15000}}`)
	}))
	defer srv.Close()
	for _, tt := range []struct{ url, pod, want string }{
		{"", "", "http://127.0.0.1:3001 127.0.0.1 3001"},
		{"", "10.1.2.3", "http://10.1.2.3:3001 10.1.2.3 3001"},
		{"", "fd00::7", "http://[fd00::7]:3001 fd00::7 3001"},
		{"http://node.internal:8080/", "10.1.2.3", "http://node.internal:8080 node.internal 8080"},
	} {
		j := &journal{}
		a, err := NewAgent(AgentConfig{
			ID: "node-1", Instance: instanceA, CoordinatorURL: srv.URL, URL: tt.url, PodIP: tt.pod, Port: 3001,
		}, newSource(), j.log())
		if err != nil {
			t.Fatal(err)
		}
		stop := start(t, a)
		if got := <-urls; got != tt.want {
			t.Errorf("url %q, POD_IP %q: registered at %s, want %s", tt.url, tt.pod, got, tt.want)
		}
		if err := stop(); err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
	}
}

func TestNewAgentRefusals(t *testing.T) {
	good := AgentConfig{ID: "node-1", Instance: instanceA, CoordinatorURL: "http://hub:3000"}
	for name, spoil := range map[string]func(*AgentConfig){
		"id": func(c *AgentConfig) { c.ID = "a b" }, "instance": func(c *AgentConfig) { c.Instance = "x" },
		"coordinator": func(c *AgentConfig) { c.CoordinatorURL = "" },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := NewAgent(cfg, newSource(), (&journal{}).log()); err == nil {
			t.Errorf("a bad %s was taken", name)
		}
	}
}
