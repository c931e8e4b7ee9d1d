package deploy

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

const composeDir = "deploy/compose"

func composeProject(t *testing.T) *types.Project {
	t.Helper()
	o, err := cli.NewProjectOptions([]string{inRepo(composeDir, "compose.yaml")}, cli.WithName("hub"),
		cli.WithEnv([]string{"MCPHUB_CLUSTER_SECRET=s", "MCPHUB_ADMIN_TOKEN=t"}))
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The compose file is what it says: confined containers, a Redis that neither forgets nor
// evicts, starts in order, ends in time.
func TestCompose(t *testing.T) {
	p := composeProject(t)
	var names []string
	for name, s := range p.Services {
		names = append(names, name)
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") || s.Privileged {
			t.Errorf("%s may do too much", name)
		}
		if s.MemLimit == 0 || s.Logging == nil || s.Logging.Options["max-size"] == "" || s.Restart != "unless-stopped" {
			t.Errorf("%s: its memory, its log or its restart is not bounded", name)
		}
		if strings.HasSuffix(s.Image, ":latest") || !strings.Contains(s.Image, ":") {
			t.Errorf("%s: the image %s says no version", name, s.Image)
		}
		for _, port := range s.Ports {
			if name != "balancer" || port.HostIP != "127.0.0.1" {
				t.Errorf("%s is published at %s:%s", name, port.HostIP, port.Published)
			}
		}
		checkComposeRole(t, name, s)
	}
	slices.Sort(names)
	if want := []string{"balancer", "coordinator-1", "coordinator-2", "coordinator-3", "node-1", "node-2", "node-3", "redis"}; !slices.Equal(names, want) {
		t.Errorf("services %v, want %v", names, want)
	}
	if !p.Networks["state"].Internal {
		t.Error("Redis' network leads outside")
	}
}

func checkComposeRole(t *testing.T, name string, s types.ServiceConfig) {
	t.Helper()
	role, _, _ := strings.Cut(name, "-")
	networks := map[string][]string{"redis": {"state"}, "balancer": {"front"}, "node": {"front"}, "coordinator": {"front", "state"}}
	var got []string
	for n := range s.Networks {
		got = append(got, n)
	}
	slices.Sort(got)
	if !slices.Equal(got, networks[role]) {
		t.Errorf("%s is on %v, want %v", name, got, networks[role])
	}
	for other, d := range s.DependsOn {
		if d.Condition != types.ServiceConditionHealthy && other != "balancer" {
			t.Errorf("%s waits for %s: %s, want it to be healthy", name, other, d.Condition)
		}
	}
	switch role {
	case "redis":
		command := strings.Join(s.Command, " ")
		for _, want := range []string{"--appendonly yes", "--maxmemory-policy noeviction", "--maxmemory 256mb"} {
			if !strings.Contains(command, want) {
				t.Errorf("redis is started without %s: %s", want, command)
			}
		}
	case "coordinator", "node":
		if s.Build == nil || s.Build.Target != role || s.HealthCheck == nil {
			t.Errorf("%s: is not built as %s, or has no health check", name, role)
		}
	}
}

// The settings beside it are read by the program's own reader.
func TestComposeSettings(t *testing.T) {
	for name, s := range composeProject(t).Services {
		role, _, _ := strings.Cut(name, "-")
		if role != "coordinator" && role != "node" {
			continue
		}
		env := map[string]string{}
		for k, v := range s.Environment {
			env[k] = *v
		}
		if env["MCPHUB_SETTINGS"] != "/etc/mcphub/mcp_settings.json" {
			t.Errorf("%s reads %s", name, env["MCPHUB_SETTINGS"])
		}
		env["MCPHUB_CLUSTER_SECRET"], env["MCPHUB_ADMIN_TOKEN"] = strings.Repeat("s", 32), strings.Repeat("t", 32)
		var folder string
		for _, v := range s.Volumes {
			if v.Target == "/etc/mcphub" && v.ReadOnly {
				folder = v.Source
			}
		}
		_, folder, _ = strings.Cut(folder, composeDir+"/")
		got := loadSettings(t, name, readFile(t, composeDir, folder, "mcp_settings.json"), env)
		if got == nil {
			continue
		}
		if string(got.Mode) != role || len(got.Warnings) > 0 {
			t.Errorf("%s: mode %s, warnings %v", name, got.Mode, got.Warnings)
		}
		if grace := s.StopGracePeriod; grace == nil || time.Duration(*grace) <= longestEnd(t, got) {
			t.Errorf("%s has %v to end, and may take %s", name, grace, longestEnd(t, got))
		}
		if role == "node" && (got.Cluster.Node.ID != name || got.Cluster.Node.CoordinatorURL != "http://balancer:3000") {
			t.Errorf("%s calls itself %s and registers at %s", name, got.Cluster.Node.ID, got.Cluster.Node.CoordinatorURL)
		}
	}
}

// Without secrets nothing starts.
func TestComposeWantsSecrets(t *testing.T) {
	o, err := cli.NewProjectOptions([]string{inRepo(composeDir, "compose.yaml")}, cli.WithName("hub"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.LoadProject(t.Context()); err == nil || !strings.Contains(err.Error(), "README.md") {
		t.Errorf("without secrets: %v, want an error that names the README", err)
	}
}

// Debian's docker-compose reads it too.
func TestComposeOfDebian(t *testing.T) {
	if _, err := exec.LookPath("docker-compose"); err != nil {
		t.Skip("SKIPPED (no docker-compose)")
	}
	o := run(t, inRepo(composeDir), []string{"MCPHUB_CLUSTER_SECRET=s", "MCPHUB_ADMIN_TOKEN=t"}, "docker-compose", "-f", "compose.yaml", "config", "--quiet")
	if o.err != nil {
		t.Errorf("docker-compose config: %v\n%s%s", o.err, o.stdout, o.stderr)
	}
}
