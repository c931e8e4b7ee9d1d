package config

import (
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"strconv"
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
			},
			Sticky: Sticky{Enabled: true, Strategy: "consistent-hash", CookieName: "MCPHUB_NODE", HeaderName: "X-MCPHub-Node"},
			Node:   ClusterNode{HeartbeatInterval: 5 * time.Second, RegisterOnStartup: true},
		},
		Routing: Routing{EnableGlobalRoute: true, EnableGroupNameRoute: true},
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
