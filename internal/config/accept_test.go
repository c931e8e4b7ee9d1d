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
					{Name: "a", URL: "https://h:1/mcp?key=1"},
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
		{"not expanded where not read", `{"oauthClients": ["${NO_SUCH}"], "systemConfig": {"install": {"baseUrl": "${NO_SUCH}"}, "smartRouting": {}}}`, nil, func(s *Settings) {
			s.Warnings = []string{"f.json:1:2: not used by this MCPHub, and ignored: oauthClients, systemConfig.install, systemConfig.smartRouting"}
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
		{"cookie", `{"systemConfig": {"cluster": {"stickySession": {"strategy": "cookie", "cookieName": "N", "headerName": "X-N"}}}}`, nil, func(s *Settings) {
			s.Cluster.Sticky.Strategy, s.Cluster.Sticky.CookieName, s.Cluster.Sticky.HeaderName = ByCookie, "N", "X-N"
			s.Warnings = []string{`f.json:1:90: systemConfig.cluster.stickySession.headerName: is not used by the strategy "cookie"`}
		}},
		{"no stickiness", `{"systemConfig": {"cluster": {"stickySession": {"enabled": false, "strategy": "header", "cookieName": "MCPHUB_NODE"}}}}`, nil, func(s *Settings) {
			s.Cluster.Sticky.Enabled, s.Cluster.Sticky.Strategy = false, ByHeader
			s.Warnings = []string{`f.json:1:67: systemConfig.cluster.stickySession.strategy: is not used, because "enabled" is false: each call goes to any node`}
		}},
		{"waiting to be told", `{"systemConfig": {"cluster": {"enabled": true, "mode": "node", "node": {"coordinatorUrl": "http://h", "registerOnStartup": false}}}}`, nil, func(s *Settings) {
			s.Mode, s.Cluster.Enabled = Node, true
			s.Cluster.Node.CoordinatorURL, s.Cluster.Node.RegisterOnStartup = "http://h", false
		}},
		{"waiting where nobody waits", `{"systemConfig": {"cluster": {"node": {"registerOnStartup": false}}}}`, nil, func(s *Settings) {
			s.Cluster.Node.RegisterOnStartup = false
			s.Warnings = []string{"f.json:1:61: systemConfig.cluster.node.registerOnStartup: is false, but only a process in mode node can wait until it is told to join"}
		}},
		{"processes", `{"mcpServers": {"a": {"command": "x", "isolation": "session", "maxProcesses": 4, "warm": 4, "idleTimeoutMs": 0, "startTimeout": 500, "callTimeout": 700, "weight": 3},
			"b": {"command": "x", "perSessionClient": true}, "c": {"command": "x", "perSessionClient": false}, "d": {"url": "http://h/sse", "type": "sse"}}}`, nil, func(s *Settings) {
			s.Servers = []Server{
				{Name: "a", Type: Stdio, Command: "x", Enabled: true, Isolation: PerSession, MaxProcesses: 4, Warm: 4,
					StartTimeout: 500 * time.Millisecond, CallTimeout: 700 * time.Millisecond, Weight: 3},
				{Name: "b", Type: Stdio, Command: "x", Enabled: true, Isolation: PerSession, MaxProcesses: 16, IdleTimeout: 10 * time.Minute},
				{Name: "c", Type: Stdio, Command: "x", Enabled: true},
				{Name: "d", Type: SSE, URL: "http://h/sse", Enabled: true},
			}
		}},
		{"traces", `{"systemConfig": {"tracing": {"endpoint": "http://h:4318/", "headers": {"Authorization": "x"}, "sampleRatio": 0}}}`, nil, func(s *Settings) {
			s.Tracing = Tracing{Endpoint: "http://h:4318", Headers: map[string]Secret{"Authorization": "x"}}
		}},
		{"traces by the environment", `{"systemConfig": {"tracing": {"endpoint": "http://file", "sampleRatio": 0.5}}}`, []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://env:4318/"}, func(s *Settings) {
			s.Tracing = Tracing{Endpoint: "http://env:4318", SampleRatio: 0.5}
		}},
		{"traces to nowhere", `{"systemConfig": {"tracing": {"sampleRatio": 0.5}}}`, nil, func(s *Settings) {
			s.Tracing.SampleRatio = 0.5
			s.Warnings = []string{`f.json:1:31: systemConfig.tracing.sampleRatio: is not used without "endpoint"`}
		}},
		{"groups that nobody reaches", `{"groups": {"g": []}, "systemConfig": {"routing": {"enableGroupNameRoute": false}}}`, nil, func(s *Settings) {
			s.Groups, s.Routing.EnableGroupNameRoute = []Group{{Name: "g"}}, false
			s.Warnings = []string{"f.json:1:76: systemConfig.routing.enableGroupNameRoute: is false, so nobody reaches the groups; they only limit keys"}
		}},
		{"a short key in the list", `{"bearerKeys": [{"name": "k", "token": "short"}]}`, nil, func(s *Settings) {
			s.Routing.EnableBearerAuth = true
			s.BearerKeys = []BearerKey{{Name: "k", Key: "short", Enabled: true, AccessType: AccessAll}}
			s.Warnings = []string{"f.json:1:40: bearerKeys[0].token: has fewer than 16 characters and may be guessed"}
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
			withDefaults(want.Servers)
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
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "otel:4317", "environment variable OTEL_EXPORTER_OTLP_ENDPOINT: the value must be an absolute URL that begins with http:// or https://"},
		{"MCPHUB_CLUSTER_SECRET", "two words", "environment variable MCPHUB_CLUSTER_SECRET: the value may have only visible ASCII characters and no spaces, as it is sent in a header"},
		{"MCPHUB_ADMIN_TOKEN", "é", "environment variable MCPHUB_ADMIN_TOKEN: the value may have only visible ASCII characters and no spaces, as it is sent in a header"},
	} {
		s, err := Parse("f.json", []byte("{}"), env(c.name, c.value))
		if s != nil || err == nil || err.Error() != c.want {
			t.Errorf("%s=%s: %v, %v; want %s", c.name, c.value, s, err, c.want)
		}
	}
}
