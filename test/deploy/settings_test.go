package deploy

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/config"
)

// checkSettings reads the settings of each workload as its process would: the mounted file, with the
// variables that the pod is given.
//
// It returns the settings by the names of their workloads.
func checkSettings(t *testing.T, list []object) map[string]*config.Settings {
	t.Helper()
	maps, read := map[string]object{}, map[string]*config.Settings{}
	for _, o := range list {
		if o.kind() == "ConfigMap" {
			maps[o.name()] = o
		}
	}
	for _, o := range list {
		component := componentOf(o)
		pod := podOf(o)
		if pod == nil || (component != "coordinator" && component != "node") {
			continue
		}
		env := environmentOf(pod)
		for _, v := range items(pod["volumes"]) {
			if name := text(at(v, "configMap", "name")); name != "" {
				read[o.String()] = checkOneSettings(t, o, component, env, text(at(maps[name], "data", "mcp_settings.json")))
			}
		}
	}
	return read
}

func checkOneSettings(t *testing.T, o object, component string, env map[string]string, file string) *config.Settings {
	t.Helper()
	s := loadSettings(t, o.String(), file, env)
	if s == nil {
		return nil
	}
	if string(s.Mode) != component {
		t.Errorf("%s: its settings are those of a %s", o, s.Mode)
	}
	for _, w := range s.Warnings {
		t.Errorf("%s: warning: %s", o, w)
	}
	switch component {
	case "node":
		if env["POD_IP"] != "status.podIP" || s.Cluster.Node.ID != "metadata.name" {
			t.Errorf("%s: POD_IP is %q and the id %q, want those of the pod", o, env["POD_IP"], s.Cluster.Node.ID)
		}
		if env["REDIS_URL"] != "" || env["MCPHUB_ADMIN_TOKEN"] != "" {
			t.Errorf("%s: a node needs neither Redis nor the admin token, and runs programs of others", o)
		}
	case "coordinator":
		if s.Cluster.Redis.URL == "" || s.Cluster.AdminToken == "" {
			t.Errorf("%s: no Redis or no admin token", o)
		}
	}
	if s.Cluster.Secret == "" || env["PORT"] != "3000" {
		t.Errorf("%s: no cluster secret, or PORT is %q", o, env["PORT"])
	}
	return s
}

// loadSettings reads a file as the program does; problems are errors of the test.
func loadSettings(t *testing.T, what, file string, env map[string]string) *config.Settings {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mcp_settings.json")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := config.Load(path, func(name string) string { return env[name] })
	if err != nil {
		t.Errorf("%s: %v\n%s", what, err, file)
		return nil
	}
	return s
}

// environmentOf is a pod's environment: fields of the pod by their names, secrets made up.
func environmentOf(pod map[string]any) map[string]string {
	env := map[string]string{}
	for _, e := range items(at(items(pod["containers"])[0], "env")) {
		name := text(at(e, "name"))
		switch {
		case at(e, "valueFrom", "fieldRef") != nil:
			env[name] = text(at(e, "valueFrom", "fieldRef", "fieldPath"))
		case name == "REDIS_URL" && at(e, "valueFrom") != nil:
			env[name] = "redis://somewhere:6379/0"
		case at(e, "valueFrom", "secretKeyRef") != nil:
			env[name] = "a-secret-of-more-than-enough-characters"
		default:
			env[name] = fmt.Sprint(at(e, "value"))
		}
	}
	return env
}

// stubborn is how long a node waits at its end for servers that ignore both end of input and
// SIGTERM (docs/deployment.md).
const stubborn = 14 * time.Second

// longestEnd is how long a process with these settings may take to end.
func longestEnd(t *testing.T, s *config.Settings) time.Duration {
	t.Helper()
	if s.Mode == config.Node {
		return s.Cluster.Node.DrainTimeout + stubborn + lameDuck(t)
	}
	return s.Cluster.Coordinator.DrainTimeout + lameDuck(t)
}

// checkGrace wants more time for an end than the program takes for one.
func checkGrace(t *testing.T, list []object, settings map[string]*config.Settings) {
	t.Helper()
	for _, o := range list {
		s := settings[o.String()]
		if s == nil {
			continue
		}
		pod := podOf(o)
		sleep, _ := at(items(pod["containers"])[0], "lifecycle", "preStop", "sleep", "seconds").(int)
		grace, _ := pod["terminationGracePeriodSeconds"].(int)
		if got, least := time.Duration(grace-sleep)*time.Second, longestEnd(t, s); got <= least {
			t.Errorf("%s: has %s to end after its preStop, and may take %s", o, got, least)
		}
	}
}

var lameDuckLine = regexp.MustCompile(`(?m)^const lameDuck = (\d+) \* time\.Second`)

// lameDuck is how long a process serves on after it has withdrawn, by the source of the program.
func lameDuck(t *testing.T) time.Duration {
	t.Helper()
	m := lameDuckLine.FindStringSubmatch(readFile(t, "cmd", "mcphub", "coordinator.go"))
	if m == nil {
		t.Fatal("cmd/mcphub/coordinator.go has no constant lameDuck any more")
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(n) * time.Second
}
