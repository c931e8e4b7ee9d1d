package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/store"
)

// realCarrier is a router over an embedded Redis, with no node that answers.
func realCarrier(t *testing.T, r *rig) *router.Router {
	t.Helper()
	redis, err := store.StartEmbedded("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(redis.Close)
	st, err := store.Open(t.Context(), store.Config{URL: redis.URL(), Schema: 1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return router.New(router.Config{
		Keys: r.carrier.keys, Credential: "c", Coordinator: "c1", PlaceWait: -1, DialTimeout: 100 * time.Millisecond,
	}, r.fleet, st, slog.New(slog.DiscardHandler))
}

// Somebody else's session, one that was made up, one that was given for another endpoint, and one
// from an endpoint that the key may not use are all the same to who asks, byte for byte.
func TestSessionsOfOthersAreUnknown(t *testing.T) {
	cfg := grouped
	cfg.RequireKey, cfg.Keys = true, []Key{
		{Name: "ann", Key: "ann's", All: true}, {Name: "bob", Key: "bob's", All: true}, {Key: "old", All: true},
		{Name: "carl", Key: "carl's", Servers: []string{"memory"}},
	}
	r := newServer(t, cfg, nil)
	r.groups.set(store.Group{Name: "team", Servers: []store.GroupServer{{Name: "memory"}, {Name: "everything"}}})
	r.deps.Carrier = realCarrier(t, r)
	r = r.run(t)
	session := func(scope, subject string) string {
		tok, err := r.carrier.keys.Mint(scope, subject, "", 0, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return tok.String()
	}
	for path, scope := range map[string]string{"/mcp": "*", "/mcp/everything": "everything", "/mcp/team": "group/team"} {
		anns := session(scope, "key/ann")
		for _, method := range []string{"POST", "DELETE"} {
			var first string
			for name, call := range map[string][2]string{
				"made up":                    {"bob's", "made-up"},
				"made up, of the right form": {"bob's", anns[:len(anns)-1] + "A"},
				"another's":                  {"bob's", anns},
				"another's, by the old key":  {"old", anns},
				"no one's":                   {"bob's", session(scope, "")},
				"of another endpoint":        {"ann's", session("memory", "key/ann")},
				"not for this key":           {"carl's", session(scope, "key/carl")},
				"not for this key, made up":  {"carl's", "made-up"},
			} {
				if path == "/mcp" && strings.HasPrefix(name, "not for this key") {
					continue // its key may use that endpoint
				}
				p := r.do(t, method, path, ping, "Authorization", "Bearer "+call[0], wire.HeaderSession, call[1])
				p.header.Del("Date")
				got := fmt.Sprint(p.status, p.header, p.body)
				if first == "" {
					first = got
				}
				if p.status != http.StatusNotFound || got != first {
					t.Errorf("%s %s with a session %s:\n got %s\nwant %s", method, path, name, got, first)
				}
			}
			// Her own is told apart: it is known to be hers, though no node has it.
			if p := r.do(t, method, path, ping, "Authorization", "Bearer ann's", wire.HeaderSession, anns); fmt.Sprint(p.status, p.body) == first {
				t.Errorf("%s %s: her own session is answered alike: %s", method, path, p.body)
			}
		}
	}
}

var _ Carrier = (*router.Router)(nil)

// A Handler checks Host and Origin wherever it is mounted: the listener for the node in this
// process has the very same one.
func TestEveryListenerChecksHostAndOrigin(t *testing.T) {
	r := newServer(t, Config{EnableGlobalRoute: true, ClusterSecret: "s3cret"}, nil)
	r.run(t)
	private := httptest.NewServer(r.Handler())
	defer private.Close()
	for _, call := range []string{"POST /mcp/everything", "GET /api/cluster/status", "POST /api/cluster/register", "GET /health", "GET /"} {
		method, path, _ := strings.Cut(call, " ")
		for _, bad := range [][]string{{"Host", "evil.example"}, {"Origin", "http://evil.example"}} {
			for _, base := range []string{r.url, private.URL} {
				req, err := http.NewRequestWithContext(context.Background(), method, base+path, strings.NewReader("{}"))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/json")
				req.Header.Set(bad[0], bad[1])
				if bad[0] == "Host" {
					req.Host = bad[1]
				}
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusForbidden {
					t.Errorf("%s at %s with %s %s = %d, want 403", call, base, bad[0], bad[1], resp.StatusCode)
				}
			}
		}
	}
}
