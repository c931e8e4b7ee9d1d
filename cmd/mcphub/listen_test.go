package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
)

func TestListenSaysWhyNot(t *testing.T) {
	l, err := listen(t.Context(), "127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if portOf(l) == 0 || urlOf(l) != fmt.Sprintf("http://127.0.0.1:%d", portOf(l)) {
		t.Errorf("port %d, URL %s", portOf(l), urlOf(l))
	}
	_, err = listen(t.Context(), "127.0.0.1", portOf(l))
	if exitCode(err) != exitFailed || !strings.Contains(err.Error(), "is taken by another program") {
		t.Errorf("a taken port = %v", err)
	}
	if _, err = listen(t.Context(), "192.0.2.1", 0); exitCode(err) != exitFailed || !strings.Contains(err.Error(), "192.0.2.1") {
		t.Errorf("an address of another machine = %v", err)
	}
}

// A request in hand when the end comes is answered; one that takes too long is cut off.
func TestServingEndsWithItsRequests(t *testing.T) {
	for name, tc := range map[string]struct {
		grace time.Duration
		whole bool
	}{"in time": {10 * time.Second, true}, "too long": {time.Millisecond, false}} {
		t.Run(name, func(t *testing.T) {
			l, err := listen(t.Context(), "127.0.0.1", 0)
			if err != nil {
				t.Fatal(err)
			}
			entered, release := make(chan struct{}), make(chan struct{})
			p := launch(t.Context(), "http", serveHTTP(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				close(entered)
				select {
				case <-release:
				case <-r.Context().Done():
				}
				_, _ = io.WriteString(w, "whole")
			}), tc.grace, slog.New(slog.DiscardHandler)))
			answer := make(chan string, 1)
			go func() {
				client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
				req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, urlOf(l), nil)
				if err != nil {
					answer <- err.Error()
					return
				}
				resp, err := client.Do(req)
				if err != nil {
					answer <- err.Error()
					return
				}
				defer func() { _ = resp.Body.Close() }()
				b, err := io.ReadAll(resp.Body)
				answer <- fmt.Sprint(string(b), err)
			}()
			<-entered
			p.cancel()
			if tc.whole {
				close(release)
			}
			if err := p.stop(); err != nil {
				t.Errorf("stop = %v", err)
			}
			if got := <-answer; (got == "whole<nil>") != tc.whole {
				t.Errorf("the request in hand got %q", got)
			}
		})
	}
}

func TestLocalNodeAddress(t *testing.T) {
	for name, tc := range map[string]struct {
		configured, podIP, redis string
		want                     nodeAddress
	}{
		"redis of its own":       {"", "10.1.2.3", "", nodeAddress{host: "127.0.0.1"}},
		"redis on this machine":  {"", "", "redis://user:p%40ss@127.0.0.1:6379/0", nodeAddress{host: "127.0.0.1"}},
		"several on this one":    {"", "", "redis+cluster://127.0.0.1:7000,127.0.0.2:7001", nodeAddress{host: "127.0.0.1"}},
		"pod":                    {"", "10.1.2.3", "redis://127.0.0.1:6379", nodeAddress{host: "10.1.2.3"}},
		"configured":             {"http://10.0.0.5:3001", "10.1.2.3", "redis://127.0.0.1", nodeAddress{port: 3001, url: "http://10.0.0.5:3001"}},
		"redis behind no route":  {"", "", "redis://", nodeAddress{host: "127.0.0.1"}},
		"redis on a unix socket": {"", "", "unix:///run/redis.sock", nodeAddress{host: "127.0.0.1"}},
	} {
		got, err := localNodeAddress(t.Context(), tc.configured, tc.podIP, tc.redis)
		if err != nil || got != tc.want {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, tc.want)
		}
	}
	for name, tc := range map[string][2]string{"url without port": {"http://10.0.0.5", ""}, "pod without address": {"", "here"}} {
		if _, err := localNodeAddress(t.Context(), tc[0], tc[1], "redis://127.0.0.1"); exitCode(err) != exitUsage || err == nil {
			t.Errorf("%s = %v, want wrong settings", name, err)
		}
	}
}

func TestMadeUpNamesFollowTheRule(t *testing.T) {
	for host, want := range map[string]string{
		"web1": "web1-abc123", "": "mcphub-abc123", "my host/ä": "my-host-abc123", "-.x": "x-abc123", "...": "mcphub-abc123",
		strings.Repeat("a", 49) + "-b": strings.Repeat("a", 49) + "-abc123",
	} {
		got := nameFrom(host, "abc123")
		if got != want {
			t.Errorf("nameFrom(%q) = %q, want %q", host, got, want)
		}
		if err := wire.CheckName("node id", got); err != nil {
			t.Errorf("nameFrom(%q): %v", host, err)
		}
	}
	if a, b := madeUpName(), madeUpName(); a == b || wire.CheckName("node id", a) != nil {
		t.Errorf("two names made up = %q, %q", a, b)
	}
}
