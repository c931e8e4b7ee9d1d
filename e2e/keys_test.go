package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// Keys of the tests, and a token that a server's own settings send to it.
const (
	keyAll, keyServer, keyGroup = "a-key-for-everything-", "a-key-for-one-server-", "a-key-for-one-group--"
	keyOff, keyPlain, keyLater  = "a-key-that-is-off----", "the-plain-bearer-key-", "a-key-of-later-------"
	upstreamToken               = "what-the-server-wants"
)

// keySettings are those of coordinators that ask for keys and know two users.
func keySettings(t *testing.T) harness.Object {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("open sesame"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return harness.Object{
		"groups": []any{harness.Object{"name": "team", "servers": []any{"local", harness.Object{"name": "fixture", "tools": []string{"whoami"}}}}},
		"bearerKeys": []any{
			harness.Object{"name": "everybody", "token": keyAll, "accessType": "all"},
			harness.Object{"name": "narrow", "token": keyServer, "accessType": "servers", "allowedServers": []string{"local"}},
			harness.Object{"name": "grouped", "token": keyGroup, "accessType": "groups", "allowedGroups": []string{"team"}},
			harness.Object{"name": "off", "token": keyOff, "enabled": false},
		},
		"users": []any{
			harness.Object{"username": "ann", "password": string(hash), "isAdmin": true},
			harness.Object{"username": "bob", "password": string(hash)},
		},
		"systemConfig": harness.Object{"routing": harness.Object{"enableBearerAuth": true, "bearerAuthKey": keyPlain}},
	}
}

// withKey is a session that shows a key.
func withKey(url, key string) *harness.Session {
	s := harness.NewSession(url)
	s.Header.Set("Authorization", "Bearer "+key)
	return s
}

func mustOpenWith(t *testing.T, url, key string) *harness.Session {
	t.Helper()
	s := withKey(url, key)
	if err := s.Initialize(t.Context(), "2025-11-25"); err != nil {
		t.Fatalf("open %s with a key: %v", url, err)
	}
	return s
}

func (f *manyFronts) keys(t *testing.T) {
	front, hubs := f.StartFront("keyed", 2, keySettings(t))
	t.Run("who may come in", func(t *testing.T) { keysAreAsked(t, front) })
	t.Run("what a key may use", func(t *testing.T) { keysLimit(t, front) })
	t.Run("sessions of others", func(t *testing.T) { othersAreUnknown(t, front, hubs) })
	t.Run("admins", func(t *testing.T) { adminsAreAsked(t, front) })
	t.Run("nothing of the client's is forwarded", func(t *testing.T) { nothingForwarded(t, front) })
	t.Run("new keys", func(t *testing.T) { keysChange(t, front, hubs) })
	for _, h := range hubs {
		for _, secret := range []string{keyAll, keyServer, keyGroup, keyOff, keyPlain, keyLater, "open sesame"} {
			if h.Log.Count(secret) > 0 {
				t.Errorf("%s wrote the secret %q into its log", h.Name, secret)
			}
		}
	}
}

// keysAreAsked wants 401 for whoever has no key that opens.
func keysAreAsked(t *testing.T, front *harness.RoundRobin) {
	for name, auth := range map[string]string{
		"none": "", "wrong": "Bearer nobody's-key", "off": "Bearer " + keyOff, "basic": "Basic " + base64.StdEncoding.EncodeToString([]byte("ann:open sesame")),
		"almost": "Bearer " + keyAll + "x", "bare": keyAll, "empty": "Bearer ",
	} {
		for _, path := range []string{"/mcp", "/mcp/local", "/mcp/team", "/mcp/nothing"} {
			s := harness.NewSession(front.URL + path)
			if auth != "" {
				s.Header.Set("Authorization", auth)
			}
			r, err := s.Post(t.Context(), []byte(initialize))
			if err != nil || r.Status != http.StatusUnauthorized || r.Header.Get("Www-Authenticate") == "" {
				t.Errorf("%s with key %s = %+v, %v, want 401 with WWW-Authenticate", path, name, r, err)
			}
		}
	}
	for _, key := range []string{keyAll, keyPlain} {
		if got, err := mustOpenWith(t, front.URL+"/mcp", key).Call(t.Context(), "fixture-whoami", nil); err != nil || weights[nodeOf(got)] == 0 {
			t.Errorf("a call with a key = %q, %v", got, err)
		}
	}
}

// keysLimit wants a limited key to see what it may use, and the rest not to exist for it.
func keysLimit(t *testing.T, front *harness.RoundRobin) {
	servers := func(s *harness.Session) []string {
		tools, err := s.Tools(t.Context())
		if err != nil {
			t.Error(err)
		}
		var out []string
		for _, tool := range tools {
			server, _, _ := strings.Cut(tool, "-")
			out = append(out, server)
		}
		return unique(out)
	}
	if got := servers(mustOpenWith(t, front.URL+"/mcp", keyAll)); !slices.Equal(got, []string{"fixture", "local", "other"}) {
		t.Errorf("the key for everything sees %v", got)
	}
	if got := servers(mustOpenWith(t, front.URL+"/mcp", keyServer)); !slices.Equal(got, []string{"local"}) {
		t.Errorf("the key for local sees %v", got)
	}
	if got := servers(mustOpenWith(t, front.URL+"/mcp/team", keyGroup)); !slices.Equal(got, []string{"fixture", "local"}) {
		t.Errorf("the key for the group sees %v of it", got)
	}
	// What lies outside is what does not exist.
	s := mustOpenWith(t, front.URL+"/mcp", keyServer)
	_, outside := s.Call(t.Context(), "fixture-whoami", nil)
	_, nowhere := s.Call(t.Context(), "nothing-whoami", nil)
	if outside == nil || nowhere == nil || outside.Error() != nowhere.Error() {
		t.Errorf("a tool outside of the key = %v, one that there is not = %v, want the same", outside, nowhere)
	}
	if _, err := s.Call(t.Context(), "local-whoami", nil); err != nil {
		t.Errorf("a tool within the key: %v", err)
	}
	for _, c := range []struct{ path, key string }{{"/mcp/fixture", keyServer}, {"/mcp/team", keyServer}, {"/mcp/other", keyGroup}} {
		a, err := withKey(front.URL+c.path, c.key).Post(t.Context(), []byte(initialize))
		if err != nil {
			t.Fatal(err)
		}
		b, err := withKey(front.URL+"/mcp/nothing", c.key).Post(t.Context(), []byte(initialize))
		if err != nil {
			t.Fatal(err)
		}
		named := strings.ReplaceAll(string(b.Body), "nothing", strings.TrimPrefix(c.path, "/mcp/"))
		if a.Status != b.Status || a.Status == http.StatusOK || string(a.Body) != named {
			t.Errorf("%s with a key that may not = %d %s, what there is not = %d %s, want the same", c.path, a.Status, a.Body, b.Status, b.Body)
		}
	}
}

// othersAreUnknown wants a session under another key to be answered as one that was made up,
// byte for byte, by the replica that knows it and by the other.
func othersAreUnknown(t *testing.T, front *harness.RoundRobin, hubs []*harness.Hub) {
	for _, path := range []string{"/mcp", "/mcp/local"} {
		mine := mustOpenWith(t, front.URL+path, keyAll)
		madeUp := mine.ID[:len(mine.ID)-6] + "AAAAAA"
		for _, co := range hubs {
			var first string
			for _, id := range []string{madeUp, mine.ID} {
				s := withKey(co.URL+path, keyPlain)
				s.ID, s.Version = id, "2025-11-25"
				r, err := s.Post(t.Context(), []byte(ping))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Del("Date")
				got := fmt.Sprint(r.Status, r.Header, string(r.Body))
				if first == "" {
					first = got
				}
				if r.Status != http.StatusNotFound || got != first {
					t.Errorf("%s at %s: another's session = %s, a made-up one = %s, want the same 404", path, co.Name, got, first)
				}
				if status, err := s.Delete(t.Context()); err != nil || status != http.StatusNotFound {
					t.Errorf("%s at %s: DELETE of another's session = %d, %v, want 404", path, co.Name, status, err)
				}
			}
		}
		if _, err := mine.Request(t.Context(), "ping", map[string]any{}); err != nil {
			t.Errorf("%s: my own session afterwards: %v", path, err)
		}
	}
}

// adminsAreAsked wants management calls and the page to be for users who are admins.
func adminsAreAsked(t *testing.T, front *harness.RoundRobin) {
	basic := func(user, password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	for name, c := range map[string]struct {
		auth string
		want int
	}{
		"nobody": {"", 401}, "ann": {basic("ann", "open sesame"), 200}, "ann, wrongly": {basic("ann", "open"), 401},
		"bob, who is none": {basic("bob", "open sesame"), 403}, "a stranger": {basic("eve", "open sesame"), 401}, "a client's key": {"Bearer " + keyAll, 401},
	} {
		for _, path := range []string{"/api/cluster/status", "/api/groups", "/api/openapi.json", "/metrics", "/"} {
			h := http.Header{}
			if c.auth != "" {
				h.Set("Authorization", c.auth)
			}
			status, body, err := harness.Do(t.Context(), http.MethodGet, front.URL+path, h, nil)
			if err != nil || status != c.want {
				t.Errorf("GET %s as %s = %d %.100s %v, want %d", path, name, status, body, err, c.want)
			}
		}
	}
	if status, _, err := harness.Get(t.Context(), front.URL+"/health"); err != nil || status != 200 {
		t.Errorf("GET /health as nobody = %d, %v", status, err)
	}
	// A page elsewhere cannot make a visitor's browser ask, whatever it knows.
	for header, value := range map[string]string{"Origin": "http://evil.example.com"} {
		status, body, err := harness.Do(t.Context(), http.MethodGet, front.URL+"/api/cluster/status", http.Header{header: {value}, "Authorization": {basic("ann", "open sesame")}}, nil)
		if err != nil || status != http.StatusForbidden {
			t.Errorf("GET with %s %s = %d %.100s %v, want 403", header, value, status, body, err)
		}
	}
}

// nothingForwarded wants a server over HTTP to see nothing of what the client showed to the
// hub, and what its own settings say.
func nothingForwarded(t *testing.T, front *harness.RoundRobin) {
	for path, tool := range map[string]string{"/mcp/fixture": "headers", "/mcp": "fixture-headers"} {
		s := withKey(front.URL+path, keyAll)
		mine := map[string]string{
			"Cookie": "session=the-clients-cookie", "X-Api-Key": "the-clients-api-key", "Proxy-Authorization": "Basic the-clients-proxy",
			"X-Forwarded-User": "the-clients-name", "Idempotency-Key": "the-clients-idempotency",
		}
		for k, v := range mine {
			s.Header.Set(k, v)
		}
		if err := s.Initialize(t.Context(), "2025-11-25"); err != nil {
			t.Fatal(err)
		}
		text, err := s.Call(t.Context(), tool, nil)
		if err != nil {
			t.Fatal(err)
		}
		var got http.Header
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if auth := got["Authorization"]; !slices.Equal(auth, []string{"Bearer " + upstreamToken}) {
			t.Errorf("%s: the server got Authorization %v, want that of its settings", path, auth)
		}
		for _, secret := range []string{keyAll, "the-clients", s.ID, "a-secret-of-the-tests"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s: the server got %q: %s", path, secret, text)
			}
		}
	}
}

// keysChange rewrites the settings of running coordinators: one key is taken out, one is new.
func keysChange(t *testing.T, front *harness.RoundRobin, hubs []*harness.Hub) {
	kept := mustOpenWith(t, front.URL+"/mcp/local", keyServer)
	gone := mustOpenWith(t, front.URL+"/mcp/local", keyAll)
	narrower, wide := mustOpenWith(t, front.URL+"/mcp/team", keyGroup), mustOpenWith(t, front.URL+"/mcp", keyGroup)
	if _, err := wide.Call(t.Context(), "local-whoami", nil); err != nil {
		t.Error(err)
	}
	pids := []int{}
	for _, h := range hubs {
		pids = append(pids, h.Pid())
		h.Rewrite(t, func(settings harness.Object) {
			keys := settings["bearerKeys"].([]any)
			keys[0] = harness.Object{"name": "later", "token": keyLater, "accessType": "all"}
			keys[2].(map[string]any)["accessType"], keys[2].(map[string]any)["allowedServers"] = "servers", []string{"fixture"}
		})
	}
	began := time.Now()
	for _, h := range hubs {
		harness.Eventually(t, 10*time.Second, h.Name+" has taken the new keys", func() error {
			if err := withKey(h.URL+"/mcp/local", keyLater).Initialize(t.Context(), "2025-11-25"); err != nil {
				return err
			}
			if r, err := withKey(h.URL+"/mcp/local", keyAll).Post(t.Context(), []byte(initialize)); err != nil || r.Status != http.StatusUnauthorized {
				return fmt.Errorf("the key that is gone: %+v %w", r, err)
			}
			return nil
		})
	}
	t.Logf("new keys at every coordinator after %v", time.Since(began).Round(time.Millisecond))
	if _, err := kept.Request(t.Context(), "ping", map[string]any{}); err != nil {
		t.Errorf("a session of a key that stayed: %v", err)
	}
	if r, err := gone.Post(t.Context(), []byte(ping)); err != nil || r.Status != http.StatusUnauthorized {
		t.Errorf("a session of a key that is gone = %+v, %v, want 401", r, err)
	}
	// A key that may use less from now on: its sessions may, too.
	if r, err := narrower.Post(t.Context(), []byte(ping)); err != nil || r.Status != http.StatusNotFound {
		t.Errorf("a session on a group that its key may not use any more = %+v, %v, want 404", r, err)
	}
	if got, err := wide.Call(t.Context(), "local-whoami", nil); err == nil {
		t.Errorf("a call of a server that the key may not use any more = %q", got)
	}
	if _, err := wide.Call(t.Context(), "fixture-whoami", nil); err != nil {
		t.Errorf("a call of a server that the key may use now: %v", err)
	}
	for i, h := range hubs {
		if !h.Alive() || h.Pid() != pids[i] {
			t.Errorf("%s was restarted", h.Name)
		}
	}
}
