package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// readiness is what /ready of a hub says.
func readiness(t *testing.T, url string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/ready", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(raw)
}

// A coordinator with another secret than the fleet's would call every session of the others
// unknown. It is not ready for as long as one is there that came first; that one stays so.
func TestCoordinatorWithAnotherSecretIsNotReady(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	redis := embeddedRedis(t)
	env := []string{"REDIS_URL=" + redis.URL()}
	begin := func(secret string) (*running, string) {
		r := start(t, env, "--config", coordinatorSettings(t, "", `, "secret": "`+secret+`"`), "--port", "0", "--host", "127.0.0.1")
		return r, r.url(t)
	}
	first, firstURL := begin("the-secret-of-the-fleet")
	first.until(t, "the first to be ready", func() bool {
		status, _ := readiness(t, firstURL)
		return status == http.StatusOK
	})
	odd, oddURL := begin("the-secret-of-nobody")
	like, likeURL := begin("the-secret-of-the-fleet")
	like.until(t, "another like the first to be ready", func() bool {
		status, _ := readiness(t, likeURL)
		return status == http.StatusOK
	})
	odd.until(t, "the reason", func() bool {
		status, body := readiness(t, oddURL)
		if status == http.StatusOK {
			t.Fatalf("ready although the fleet has another secret: %s", body)
		}
		return strings.Contains(body, "another cluster.secret than coordinator") && strings.Contains(body, strings.TrimPrefix(firstURL, "http://"))
	})
	if log := odd.stderr.String(); !strings.Contains(log, "not ready: another cluster.secret") {
		t.Errorf("the log does not say why:\n%s", log)
	}
	for _, r := range []*running{first, like} {
		if code := r.stop(t); code != exitOK {
			t.Errorf("exit %d", code)
		}
	}
	odd.until(t, "it to be ready once the others are gone", func() bool {
		status, _ := readiness(t, oddURL)
		return status == http.StatusOK
	})
	if code := odd.stop(t); code != exitOK {
		t.Errorf("exit %d", code)
	}
}
