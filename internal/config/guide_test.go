package config

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

// defaults is what an empty file gives, spelt out here so that the table cannot change them
// unnoticed.
func defaults(path string) Settings {
	return Settings{
		Path: path, Port: 3000, Mode: Standalone, NameSeparator: "-",
		Cluster: Cluster{
			Redis: Redis{KeyPrefix: "mcphub"},
			Coordinator: ClusterCoordinator{
				NodeTimeout: 15 * time.Second, CleanupInterval: 30 * time.Second, StickySessionTimeout: time.Hour,
				DrainTimeout: 10 * time.Second,
			},
			Sticky: Sticky{Enabled: true, Strategy: "consistent-hash", CookieName: "MCPHUB_NODE", HeaderName: "X-MCPHub-Node"},
			Node: ClusterNode{
				Weight: 1, HeartbeatInterval: 5 * time.Second, RegisterOnStartup: true, DrainTimeout: 10 * time.Second,
				Streams: NodeStreams{LogBytes: 1 << 20, LogAge: 5 * time.Minute, MaxPerSession: 8, MaxParked: 64},
			},
		},
		Routing: Routing{EnableGlobalRoute: true, EnableGroupNameRoute: true, SSEEndpoint: RelativeEndpoint},
		Limits: Limits{
			MaxBody: 4 << 20, HeaderTimeout: 10 * time.Second, BodyTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
			MaxBatch: 50, MaxStreamsPerSession: 8, MaxStreamsPerKey: 10_000, MaxStreams: 20_000, MaxSessionsPerKey: 10_000,
		},
		Tracing: Tracing{SampleRatio: 1},
	}
}

// withDefaults fills in what every server has, where a test says nothing of it.
func withDefaults(servers []Server) {
	for i := range servers {
		s := &servers[i]
		s.Isolation = cmp.Or(s.Isolation, Shared)
		s.StartTimeout, s.CallTimeout = cmp.Or(s.StartTimeout, 30*time.Second), cmp.Or(s.CallTimeout, 10*time.Minute)
		s.Weight = cmp.Or(s.Weight, 1)
		if s.Isolation == PerSession {
			s.MaxProcesses = cmp.Or(s.MaxProcesses, 16)
		}
	}
}

// same compares settings, secrets included, and shows the fields that differ.
func same(t *testing.T, got, want Settings) {
	t.Helper()
	g, w := fields("Settings", reflect.ValueOf(got)), fields("Settings", reflect.ValueOf(want))
	for name, value := range w {
		if g[name] != value {
			t.Errorf("%s = %s, want %s", name, g[name], value)
		}
	}
	for name, value := range g {
		if _, ok := w[name]; !ok {
			t.Errorf("%s = %s, want none", name, value)
		}
	}
}

// fields spells a value out, one entry for each leaf.
func fields(path string, v reflect.Value) map[string]string {
	all := map[string]string{}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			maps.Copy(all, fields(path+"."+v.Type().Field(i).Name, v.Field(i)))
		}
	case reflect.Slice:
		for i := range v.Len() {
			maps.Copy(all, fields(fmt.Sprintf("%s[%d]", path, i), v.Index(i)))
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			maps.Copy(all, fields(path+"."+k.String(), v.MapIndex(k)))
		}
	case reflect.String:
		all[path] = strconv.Quote(v.String())
	default:
		all[path] = fmt.Sprint(v.Interface())
	}
	return all
}

// TestGuide holds that the files of MCPHub's cluster guide load as they are.
func TestGuide(t *testing.T) {
	npx := func(name string, args ...string) Server {
		return Server{Name: name, Type: Stdio, Command: "npx", Args: args, Enabled: true}
	}
	for file, change := range map[string]func(*Settings){
		"coordinator.json": func(s *Settings) {
			s.Mode, s.Cluster.Enabled = Coordinator, true
			s.Servers = []Server{npx("example", "-y", "example-mcp-server")}
		},
		"node.json": func(s *Settings) {
			s.Mode, s.Cluster.Enabled = Node, true
			s.Servers = []Server{npx("amap", "-y", "@amap/amap-maps-mcp-server"), npx("playwright", "@playwright/mcp@latest", "--headless")}
			s.Cluster.Node.ID, s.Cluster.Node.Name, s.Cluster.Node.CoordinatorURL = "node-1", "Worker Node 1", "http://coordinator:3000"
		},
		"minimal-coordinator.json": func(s *Settings) { s.Mode, s.Cluster.Enabled = Coordinator, true },
		"minimal-node.json": func(s *Settings) {
			s.Mode, s.Cluster.Enabled = Node, true
			s.Servers = []Server{{Name: "server1", Type: Stdio, Command: "...", Enabled: true}}
			s.Cluster.Node.CoordinatorURL = "http://192.168.1.100:3000"
		},
		"example-coordinator.json": func(s *Settings) {
			s.Mode, s.Cluster.Enabled = Coordinator, true
			s.Servers = []Server{{Name: "fetch", Type: Stdio, Command: "uvx", Args: []string{"mcp-server-fetch"}, Enabled: true}}
			s.Users = []User{{Username: "admin", PasswordHash: "$2b$10$Vt7krIvjNgyN67LXqly0uOcTpN0LI55cYRbcKC71pUDAP0nJ7RPa.", IsAdmin: true}}
		},
		"example-worker-1.json": func(s *Settings) {
			s.Mode, s.Cluster.Enabled = Node, true
			amap := npx("amap", "-y", "@amap/amap-maps-mcp-server")
			amap.Env = map[string]string{"AMAP_MAPS_API_KEY": "the key"}
			s.Servers = []Server{amap}
			s.Cluster.Node.ID, s.Cluster.Node.Name, s.Cluster.Node.CoordinatorURL = "worker-1", "Worker 1", "http://coordinator:3000"
		},
	} {
		t.Run(file, func(t *testing.T) {
			path := filepath.Join("testdata", "guide", file)
			want := defaults(path)
			change(&want)
			withDefaults(want.Servers)
			got, err := Load(path, env("AMAP_MAPS_API_KEY", "the key"))
			if err != nil {
				t.Fatal(err)
			}
			same(t, *got, want)
		})
	}
	files, err := filepath.Glob("testdata/guide/*")
	if err != nil || len(files) != 6 {
		t.Errorf("testdata/guide has %d files (%v); want all of them in this test", len(files), err)
	}
}

// TestDashboard holds that a file as MCPHub itself writes it loads, and that what is not used of
// it is said.
func TestDashboard(t *testing.T) {
	path := filepath.Join("testdata", "mcphub", "dashboard.json")
	want := defaults(path)
	want.Servers = []Server{
		{Name: "amap", Type: Stdio, Command: "npx", Args: []string{"-y", "@amap/amap-maps-mcp-server"}, Env: map[string]string{"AMAP_MAPS_API_KEY": "a-key"}, Enabled: true},
		{Name: "playwright", Type: Stdio, Command: "npx", Args: []string{"@playwright/mcp@latest", "--headless", "--isolated"}, Enabled: true,
			Isolation: PerSession, IdleTimeout: 5 * time.Minute},
		{Name: "search", Type: SSE, URL: "https://search.example.com/sse", Headers: map[string]string{"Authorization": "Bearer a-key"}, Enabled: true},
	}
	withDefaults(want.Servers)
	want.Users = []User{{Username: "admin", PasswordHash: "$2b$10$Vt7krIvjNgyN67LXqly0uOcTpN0LI55cYRbcKC71pUDAP0nJ7RPa.", IsAdmin: true}}
	want.Groups = []Group{
		{Name: "old-shape", ID: "0c1fd0a4-50cf-4c0e-8a3e-6a8f0f1f9a22", Servers: []GroupServer{{Name: "amap"}, {Name: "search"}}},
		{Name: "web-tools", ID: "7d8c0e6a-6d7f-4a4e-9a52-0d7d7a3f1c10", Description: "Tools for the web",
			Servers: []GroupServer{{Name: "playwright", Tools: []string{"browser_navigate", "browser_snapshot"}}, {Name: "search"}}},
	}
	want.Routing.EnableBearerAuth = true
	want.BearerKeys = []BearerKey{
		{Name: "default", ID: "b4a1ff0c-7b0e-4b3d-9f4b-3d0b7d5a9c01", Key: "t3QTQVcF4HWtF7v3IOSygxlV0RgSGuwx", Enabled: true, AccessType: AccessAll},
		{Name: "by id and by name", ID: "b4a1ff0c-7b0e-4b3d-9f4b-3d0b7d5a9c02", Key: "mcphub_0123456789abcdef0123456789abcdef", Enabled: true,
			AccessType: AccessCustom, Groups: []string{"web-tools"}, Servers: []string{"amap"}},
		{Name: "switched off", ID: "b4a1ff0c-7b0e-4b3d-9f4b-3d0b7d5a9c03", Key: "mcphub_fedcba9876543210fedcba9876543210",
			AccessType: AccessGroups, Groups: []string{"old-shape"}},
	}
	got, err := Load(path, env())
	if err != nil {
		t.Fatal(err)
	}
	if w := got.Warnings; len(w) != 1 || !strings.HasSuffix(w[0], ": not used by this MCPHub, and ignored: mcpServers.<name>.owner, mcpServers.<name>.description, "+
		"users[…].email, users[…].ssoUserId, groups[…].owner, systemConfig.install, systemConfig.smartRouting, oauthClients, prompts, resources") {
		t.Errorf("warnings: %q", w)
	}
	got.Warnings = nil
	same(t, *got, want)
	text, err := readFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate(t, compiled(t), text); err != nil {
		t.Error(err)
	}
}
