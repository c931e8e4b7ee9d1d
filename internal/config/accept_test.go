package config

import (
	"testing"
	"time"
)

func TestParseAccepts(t *testing.T) {
	for _, c := range []struct {
		name, text string
		env        []string
		change     func(*Settings)
	}{
		{"nothing", `{}`, nil, func(*Settings) {}},
		{"byte order mark, comments, trailing commas", "\xef\xbb\xbf/* a */ { // b\r\n \"groups\": [], } // c", nil, func(*Settings) {}},
		{"schema for editors", `{"$schema": "./docs/mcp_settings.schema.json"}`, nil, func(*Settings) {}},
		{"standalone whatever the mode", `{"systemConfig": {"cluster": {"enabled": false, "mode": "node"}}}`, nil, func(s *Settings) {
			s.Warnings = []string{`f.json:1:57: systemConfig.cluster.mode: is node, but the process is standalone, because "enabled" is false`}
		}},
		{"mode without enabled", `{"systemConfig": {"cluster": {"mode": "coordinator"}}}`, nil, func(s *Settings) {
			s.Warnings = []string{`f.json:1:39: systemConfig.cluster.mode: is coordinator, but the process is standalone, because "enabled" is not given`}
		}},
		{"enabled without mode", `{"systemConfig": {"cluster": {"enabled": true}}}`, nil, func(s *Settings) {
			s.Cluster.Enabled = true
			s.Warnings = []string{`f.json:1:42: systemConfig.cluster.enabled: is true, but the process is standalone, because "mode" is not given`}
		}},
		{"standalone cluster", `{"systemConfig": {"cluster": {"enabled": true, "mode": "standalone"}}}`, nil, func(s *Settings) { s.Cluster.Enabled = true }},
		{"servers sorted", `{"mcpServers": {"b": {"command": "x"}, "A": {"command": "x"}, "a": {"url": "https://h:1/mcp?key=1", "enabled": false}}}`, nil,
			func(s *Settings) {
				s.Servers = []Server{
					{Name: "A", Type: Stdio, Command: "x", Enabled: true},
					{Name: "a", Type: StreamableHTTP, URL: "https://h:1/mcp?key=1"},
					{Name: "b", Type: Stdio, Command: "x", Enabled: true},
				}
			}},
		{"empty leftovers of the other kind", `{"mcpServers": {"a": {"url": "http://h", "type": "streamable-http", "args": [], "env": {}}, "b": {"command": "x", "headers": {}}}}`, nil,
			func(s *Settings) {
				s.Servers = []Server{{Name: "a", Type: StreamableHTTP, URL: "http://h", Enabled: true}, {Name: "b", Type: Stdio, Command: "x", Enabled: true}}
			}},
		{"variables", `{"mcpServers": {"a": {"command": "${CMD}", "args": ["$HOME", "$${HOME}", "$$$${X}", "${A}-${B}", "$"], "env": {"${A}": "${A}"}}}}`,
			[]string{"CMD", "run", "A", "${B}", "B", "2"},
			func(s *Settings) {
				s.Servers = []Server{{Name: "a", Type: Stdio, Command: "run", Args: []string{"$HOME", "${HOME}", "$$${X}", "${B}-2", "$"},
					Env: map[string]string{"${A}": "${B}"}, Enabled: true}}
			}},
		{"not expanded where not read", `{"bearerKeys": ["${NO_SUCH}"], "systemConfig": {"install": {"baseUrl": "${NO_SUCH}"}, "smartRouting": {}}}`, nil, func(s *Settings) {
			s.Warnings = []string{"f.json:1:2: not used by this MCPHub, and ignored: bearerKeys, systemConfig.install, systemConfig.smartRouting"}
		}},
		{"times", `{"systemConfig": {"cluster": {"coordinator": {"nodeTimeout": 1e3, "cleanupInterval": 100.0}, "node": {"heartbeatInterval": 499}}}}`, nil,
			func(s *Settings) {
				s.Cluster.Coordinator.NodeTimeout, s.Cluster.Coordinator.CleanupInterval = time.Second, 100*time.Millisecond
				s.Cluster.Node.HeartbeatInterval = 499 * time.Millisecond
			}},
		{"timeout for beats set elsewhere", `{"systemConfig": {"cluster": {"coordinator": {"nodeTimeout": 1000}}}}`, nil, func(s *Settings) {
			s.Cluster.Coordinator.NodeTimeout = time.Second
			s.Warnings = []string{"f.json:1:62: systemConfig.cluster.coordinator.nodeTimeout: two heartbeats (2 × 5000 ms) must fit into nodeTimeout (1000 ms); " +
				"heartbeatInterval is the default here"}
		}},
		{"beats for a timeout set elsewhere", `{"systemConfig": {"cluster": {"node": {"heartbeatInterval": 7500}}}}`, nil, func(s *Settings) {
			s.Cluster.Node.HeartbeatInterval = 7500 * time.Millisecond
			s.Warnings = []string{"f.json:1:61: systemConfig.cluster.node.heartbeatInterval: two heartbeats (2 × 7500 ms) must fit into nodeTimeout (15000 ms) " +
				"of the coordinators, which is the default here"}
		}},
		{"slashes", `{"systemConfig": {"cluster": {"node": {"coordinatorUrl": "http://h/hub//", "url": "HTTPS://[::1]:80/"}}}}`, nil, func(s *Settings) {
			s.Cluster.Node.CoordinatorURL, s.Cluster.Node.URL = "http://h/hub", "HTTPS://[::1]:80"
		}},
		{"hosts and origins", `{"systemConfig": {"routing": {"allowedHosts": ["Hub.Example", "[::1]:3000", "10.0.0.1:80"], "allowedOrigins": ["HTTPS://App.example:8443", "vscode-webview://abc"]}}}`, nil,
			func(s *Settings) {
				s.Routing.AllowedHosts = []string{"hub.example", "[::1]:3000", "10.0.0.1:80"}
				s.Routing.AllowedOrigins = []string{"https://app.example:8443", "vscode-webview://abc"}
			}},
		{"key that is not asked for", `{"systemConfig": {"routing": {"bearerAuthKey": "0123456789abcdef"}}}`, nil, func(s *Settings) {
			s.Routing.BearerAuthKey = "0123456789abcdef"
			s.Warnings = []string{"f.json:1:31: systemConfig.routing.bearerAuthKey: is not asked for, because enableBearerAuth is false"}
		}},
		{"names of other strategies", `{"systemConfig": {"cluster": {"stickySession": {"cookieName": "N", "headerName": "X-MCPHub-Node"}}}}`, nil, func(s *Settings) {
			s.Cluster.Sticky.CookieName = "N"
			s.Warnings = []string{`f.json:1:49: systemConfig.cluster.stickySession.cookieName: is not used by the strategy "consistent-hash"`}
		}},
		{"short secrets", `{"systemConfig": {"routing": {"enableBearerAuth": true, "bearerAuthKey": "k"}, "cluster": {"secret": "0123456789abcde"}}}`,
			[]string{"MCPHUB_ADMIN_TOKEN", "t"},
			func(s *Settings) {
				s.Routing.EnableBearerAuth, s.Routing.BearerAuthKey, s.Cluster.Secret, s.Cluster.AdminToken = true, "k", "0123456789abcde", "t"
				s.Warnings = []string{
					"f.json:1:74: systemConfig.routing.bearerAuthKey: has fewer than 16 characters and may be guessed",
					"f.json:1:102: systemConfig.cluster.secret: has fewer than 16 characters and may be guessed",
					"environment: systemConfig.cluster.adminToken: has fewer than 16 characters and may be guessed",
				}
			}},
		{"environment wins", `{"systemConfig": {"cluster": {"secret": "from-the-file-000", "adminToken": "from-the-file-000", "redis": {"url": "redis://file"}}}}`,
			[]string{"PORT", "8080", "REDIS_URL", "rediss://u:p@h:1/2?addr=b:2", "MCPHUB_CLUSTER_SECRET", "from-the-environment", "MCPHUB_ADMIN_TOKEN", "from-the-environment-too"},
			func(s *Settings) {
				s.Port, s.Cluster.Redis.URL = 8080, "rediss://u:p@h:1/2?addr=b:2"
				s.Cluster.Secret, s.Cluster.AdminToken = "from-the-environment", "from-the-environment-too"
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := defaults("f.json")
			c.change(&want)
			got, err := Parse("f.json", []byte(c.text), env(c.env...))
			if err != nil {
				t.Fatal(err)
			}
			same(t, *got, want)
		})
	}
}

func TestEnvironmentIsChecked(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"PORT", "0", `environment variable PORT: "0" is not a port from 1 to 65535`},
		{"PORT", "http", `environment variable PORT: "http" is not a port from 1 to 65535`},
		{"PORT", "65536", `environment variable PORT: "65536" is not a port from 1 to 65535`},
		{"REDIS_URL", "localhost:6379", "environment variable REDIS_URL: the value must begin with redis:// or rediss://"},
		{"MCPHUB_CLUSTER_SECRET", "two words", "environment variable MCPHUB_CLUSTER_SECRET: the value may have only visible ASCII characters and no spaces, as it is sent in a header"},
		{"MCPHUB_ADMIN_TOKEN", "é", "environment variable MCPHUB_ADMIN_TOKEN: the value may have only visible ASCII characters and no spaces, as it is sent in a header"},
	} {
		s, err := Parse("f.json", []byte("{}"), env(c.name, c.value))
		if s != nil || err == nil || err.Error() != c.want {
			t.Errorf("%s=%s: %v, %v; want %s", c.name, c.value, s, err, c.want)
		}
	}
}
