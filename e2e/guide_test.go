package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// guideFile is a settings file of the guide with parts replaced, as a person would.
func guideFile(t *testing.T, name string, replace ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(harness.Root(), "internal", "config", "testdata", "guide", name))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(replace...).Replace(string(b))
	if len(replace) > 0 && text == string(b) {
		t.Fatalf("%s holds nothing of %q", name, replace)
	}
	return harness.WriteSettings(t, text)
}

// The guide's manual deployment: its two shortest files, with nothing changed but the address
// and the command. There is no Redis, no secret and no id for the node.
func TestGuideManualDeployment(t *testing.T) {
	long(t)
	coordinator := harness.StartHub(t, "coordinator", 0, guideFile(t, "minimal-coordinator.json"), nil)
	coordinator.WaitHealthy(t)
	node := harness.StartHub(t, "node", 0, guideFile(t, "minimal-node.json",
		"http://192.168.1.100:3000", coordinator.URL, `"..."`, fmt.Sprintf("%q", harness.EverythingBinary(t))), nil)
	harness.Eventually(t, harness.ReadyLimit, "the node is listed", func() error {
		nodes, err := coordinator.ListNodes()
		if err == nil && (len(nodes) != 1 || nodes[0].Status != "active" || len(nodes[0].Servers) != 1) {
			err = fmt.Errorf("nodes: %+v", nodes)
		}
		return err
	})
	checkCall(t, connectGoSDK(t, coordinator.URL+"/mcp/server1"), "test_simple_text", map[string]any{}, "")
	checkCall(t, connectMCPGo(t, coordinator.URL+"/mcp"), "server1-test_simple_text", map[string]any{}, "")
	if n := coordinator.Log.Count("level=WARN", "edis"); n == 0 {
		t.Errorf("no warning says that Redis is embedded:\n%s", coordinator.Log.Tail(20))
	}
	if err := node.Stop(); err != nil {
		t.Error(err)
	}
	if err := coordinator.Stop(); err != nil {
		t.Error(err)
	}
}

// The guide's coordinator with an admin user and a server whose command is not installed: it
// comes up, tells the truth about the server, and asks for the admin.
func TestGuideCoordinatorWithAdminAndMissingCommand(t *testing.T) {
	long(t)
	h := harness.StartHub(t, "coordinator", 0, guideFile(t, "example-coordinator.json"),
		[]string{"PATH=/nonexistent", "MCPHUB_ADMIN_TOKEN=the-admin-token-of-this-test"})
	h.WaitHealthy(t)
	status, body, err := harness.Get(t.Context(), h.URL+"/api/cluster/nodes")
	if err != nil || status != http.StatusUnauthorized {
		t.Errorf("GET nodes without a token = %d %s %v, want 401", status, body, err)
	}
	auth := http.Header{"Authorization": {"Bearer the-admin-token-of-this-test"}}
	harness.Eventually(t, harness.ReadyLimit, "the failed server is shown as such", func() error {
		status, body, err := harness.Do(t.Context(), http.MethodGet, h.URL+"/api/cluster/nodes", auth, nil)
		if err != nil || status != 200 || !strings.Contains(string(body), `"failed"`) || !strings.Contains(string(body), "uvx") {
			return fmt.Errorf("%d %s %w", status, body, err)
		}
		return nil
	})
	s := harness.NewSession(h.URL + "/mcp/fetch")
	r, err := s.Post(t.Context(), []byte(initialize))
	if err != nil || r.Status != http.StatusServiceUnavailable || !strings.Contains(string(r.Body), "fetch") {
		t.Errorf("initialize at a server that failed = %+v, %v, want 503 that names it", r, err)
	}
}

// With bearer auth only those who have the key are clients.
func TestBearerAuth(t *testing.T) {
	long(t)
	h := harness.StartHub(t, "standalone", 0, harness.WriteSettings(t, map[string]any{
		"mcpServers":   harness.Marked(everythingServer(t)),
		"systemConfig": map[string]any{"routing": map[string]any{"enableBearerAuth": true, "bearerAuthKey": "a-long-enough-bearer-key"}},
	}), nil)
	h.WaitHealthy(t)
	s := harness.NewSession(h.URL + "/mcp/everything")
	for _, auth := range []string{"", "Bearer", "Bearer wrong", "Basic a-long-enough-bearer-key", "a-long-enough-bearer-key"} {
		s.Header.Del("Authorization")
		if auth != "" {
			s.Header.Set("Authorization", auth)
		}
		r, err := s.Post(t.Context(), []byte(initialize))
		if err != nil || r.Status != http.StatusUnauthorized || r.Header.Get("Www-Authenticate") == "" {
			t.Errorf("initialize with Authorization %q = %+v, %v, want 401 and WWW-Authenticate", auth, r, err)
		}
	}
	s.Header.Set("Authorization", "Bearer a-long-enough-bearer-key")
	harness.Eventually(t, harness.ReadyLimit, "a session opens with the key", func() error { return s.Initialize(t.Context(), "2025-11-25") })
	if _, err := s.Call(t.Context(), "test_simple_text", nil); err != nil {
		t.Error(err)
	}
	// The session is its owner's: its id alone opens nothing.
	thief := harness.NewSession(s.URL)
	thief.ID, thief.Version = s.ID, s.Version
	if r, err := thief.Post(t.Context(), []byte(ping)); err != nil || r.Status != http.StatusUnauthorized {
		t.Errorf("a ping with the session id and no key = %+v, %v, want 401", r, err)
	}
}
