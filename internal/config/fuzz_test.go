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
	files, err := filepath.Glob("testdata/guide/*.json")
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
		if names[srv.Name] || checkServerName(srv.Name) != nil || (srv.Command == "") == (srv.URL == "") ||
			(srv.Type == Stdio) != (srv.Command != "") || (srv.Type == StreamableHTTP) != (srv.URL != "") {
			return false
		}
		names[srv.Name] = true
	}
	return (s.Mode != Node || s.Cluster.Node.CoordinatorURL != "") &&
		(!s.Routing.EnableBearerAuth || s.Routing.BearerAuthKey != "") &&
		s.NameSeparator != "" && s.Cluster.Redis.KeyPrefix != "" &&
		min(s.Cluster.Coordinator.NodeTimeout, s.Cluster.Coordinator.CleanupInterval,
			s.Cluster.Coordinator.StickySessionTimeout, s.Cluster.Node.HeartbeatInterval) >= minTime
}
