package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzParse holds for any file: no panic, every problem has a place inside the file, and
// what a variable holds is not repeated, whether the file is accepted or not.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.json")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, file := range files {
		text, err := readFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for path, e := range examples {
		_, name := splitPath(path)
		f.Add([]byte(strings.Replace(e.file, "%s", `"`+name+`": `+e.value, 1)))
		f.Add([]byte(strings.Replace(e.file, "%s", `"`+name+`": "${V}"`, 1)))
	}
	f.Add([]byte(secretFile()))
	f.Add([]byte("// \"\n/* */{\"\\u0061\": [1e9,], \"a\": null}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		getenv := func(name string) string {
			for _, v := range variables {
				if v.name == name {
					return ""
				}
			}
			return canary
		}
		s, err := Parse("f.json", text, getenv)
		if (s == nil) == (err == nil) {
			t.Fatalf("settings %v with error %v", s, err)
		}
		if strings.Contains(string(text), "c4n4") {
			return // a canary in the file itself may be a key or a mode, which are repeated
		}
		shown := fmt.Sprintf("%v %+v %#v", s, s, err)
		if err == nil {
			if !usable(s) {
				t.Fatalf("accepted: %+v", s)
			}
			// Names, and what is for people, may be given by variables and shown.
			s.Cluster.Node, s.Cluster.Sticky, s.Routing, s.NameSeparator, s.Cluster.Redis.KeyPrefix = ClusterNode{}, Sticky{}, Routing{}, "", ""
			for i := range s.Servers {
				s.Servers[i].Command, s.Servers[i].URL = "", ""
			}
			for i := range s.Users {
				s.Users[i].Username = ""
			}
			for i := range s.BearerKeys {
				s.BearerKeys[i].Name, s.BearerKeys[i].ID, s.BearerKeys[i].Groups, s.BearerKeys[i].Servers = "", "", nil, nil
			}
			s.Groups, s.Tracing.Endpoint = nil, ""
			shown = fmt.Sprintf("%v %+v %#v", s, *s, *s)
		}
		if strings.Contains(shown, "c4n4ry") {
			t.Fatalf("a variable's value is shown: %s", shown)
		}
		var problems Problems
		if err != nil && !errors.As(err, &problems) {
			t.Fatalf("%T is not Problems", err)
		}
		lines := strings.Count(string(text), "\n") + 1
		for i, p := range problems {
			if p.File != "f.json" || p.Line < 1 || p.Line > lines || p.Column < 1 || p.Message == "" {
				t.Fatalf("problem without a place: %+v", p)
			}
			if i > 0 && (p.Line < problems[i-1].Line || p.Line == problems[i-1].Line && p.Column < problems[i-1].Column) {
				t.Fatalf("out of order: %v", problems)
			}
		}
	})
}

// usable is what every part of the program relies on.
func usable(s *Settings) bool {
	names := map[string]bool{}
	for _, srv := range s.Servers {
		if names[srv.Name] || !usableServer(srv) {
			return false
		}
		names[srv.Name] = true
	}
	for _, g := range s.Groups {
		if names[g.Name] || checkGroupName(g.Name) != nil {
			return false // a server's or another group's
		}
		names[g.Name] = true
	}
	keys := map[Secret]bool{}
	for _, b := range s.BearerKeys {
		if keys[b.Key] || !usableKey(b) {
			return false
		}
		keys[b.Key] = true
	}
	c := s.Cluster
	return (s.Mode != Node || c.Node.CoordinatorURL != "") && c.Node.Weight >= 1 && c.Node.Weight <= maxWeight &&
		(!s.Routing.EnableBearerAuth || !keys[s.Routing.BearerAuthKey]) &&
		s.NameSeparator != "" && c.Redis.KeyPrefix != "" && s.Limits.MaxBody >= 1024 &&
		s.Tracing.SampleRatio >= 0 && s.Tracing.SampleRatio <= 1 &&
		min(c.Coordinator.NodeTimeout, c.Coordinator.CleanupInterval, c.Coordinator.StickySessionTimeout, c.Coordinator.DrainTimeout,
			c.Node.HeartbeatInterval, c.Node.DrainTimeout, s.Limits.HeaderTimeout, s.Limits.BodyTimeout, s.Limits.IdleTimeout) >= minTime
}

func usableServer(s Server) bool {
	processes := s.MaxProcesses >= 1 && s.Warm >= 0 && s.Warm <= s.MaxProcesses && s.Type == Stdio && (s.IdleTimeout == 0 || s.IdleTimeout >= minTime)
	if s.Isolation == Shared {
		processes = s.MaxProcesses == 0 && s.Warm == 0 && s.IdleTimeout == 0
	}
	return checkServerName(s.Name) == nil && (s.Command == "") != (s.URL == "") && (s.Type == Stdio) == (s.Command != "") &&
		(s.Type == "" || s.Type == StreamableHTTP || s.Type == SSE) == (s.URL != "") && (s.Isolation == Shared || s.Isolation == PerSession) && processes &&
		min(s.StartTimeout, s.CallTimeout) >= minTime && s.Weight >= 1 && s.Weight <= maxWeight
}

func usableKey(b BearerKey) bool {
	lists := map[Access]bool{
		AccessAll: len(b.Groups)+len(b.Servers) == 0, AccessGroups: len(b.Servers) == 0, AccessServers: len(b.Groups) == 0, AccessCustom: true,
	}
	return b.Key != "" && b.Name != "" && lists[b.AccessType]
}
