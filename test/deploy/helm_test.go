package deploy

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "copy the alerts and the board into the chart")

const chart = "deploy/helm/mcphub"

func helm(t *testing.T, args ...string) outcome {
	t.Helper()
	return run(t, root, nil, append([]string{program(t, "helm")}, args...)...)
}

// Each file of testdata/values renders to manifests that stand every check, and lints.
func TestChart(t *testing.T) {
	files, err := filepath.Glob("testdata/values/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no values: %v", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".yaml"), func(t *testing.T) {
			values := filepath.Join("test", "deploy", f)
			if o := helm(t, "lint", "--strict", "--quiet", chart, "-f", values); o.err != nil {
				t.Errorf("helm lint: %v\n%s%s", o.err, o.stdout, o.stderr)
			}
			o := helm(t, "template", "hub", chart, "-f", values)
			if o.err != nil {
				t.Fatalf("helm template: %v\n%s", o.err, o.stderr)
			}
			list := checkManifests(t, o.stdout)
			for _, o := range list {
				if o.kind() == "StatefulSet" && len(o.name()) > 52 {
					t.Errorf("%s: over 52 letters leave no room for what Kubernetes adds", o)
				}
			}
		})
	}
}

// What a set of values is for is there, and what it leaves out is not.
func TestChartValuesAct(t *testing.T) {
	has := func(stdout string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(stdout, w) {
				t.Errorf("not rendered: %s", w)
			}
		}
	}
	lacks := func(stdout string, unwanted ...string) {
		t.Helper()
		for _, w := range unwanted {
			if strings.Contains(stdout, w) {
				t.Errorf("rendered, and should not be: %s", w)
			}
		}
	}
	render := func(values string, more ...string) string {
		t.Helper()
		o := helm(t, append([]string{"template", "hub", chart, "-f", "test/deploy/testdata/values/" + values + ".yaml"}, more...)...)
		if o.err != nil {
			t.Fatal(o.stderr)
		}
		return o.stdout
	}
	trial := render("trial")
	has(trial, "kind: Secret", "redis://hub-mcphub-redis:6379/0", "noeviction", "replicas: 3", "sleep: {seconds: 5}")
	lacks(trial, "kind: Ingress", "kind: HorizontalPodAutoscaler", "kind: ServiceMonitor")

	production := render("production")
	has(production, "kind: Ingress", "kind: HorizontalPodAutoscaler", "kind: ServiceMonitor", "kind: PrometheusRule", "proxy-buffering: \"off\"",
		"name: hub-mcphub-node-tools", "name: hub-mcphub-node-browsers", "volumeClaimTemplates", "registry.example.com/mcphub@sha256:", `"weight": 5`)
	lacks(production, "kind: Secret", "noeviction")

	bare := render("bare")
	lacks(bare, "kind: StatefulSet", "kind: NetworkPolicy", "kind: ServiceAccount", "sleep:")
	old := render("trial", "--kube-version", "1.29.0")
	lacks(old, "sleep:")
}

// Changed servers, groups and keys are taken up by running processes; other changes restart them.
func TestChartRestartsOnlyWhatMust(t *testing.T) {
	marks := func(set ...string) (coordinator, node string) {
		t.Helper()
		args := []string{"template", "hub", chart, "-f", "test/deploy/testdata/values/trial.yaml"}
		for _, s := range set {
			args = append(args, "--set-json", s)
		}
		o := helm(t, args...)
		if o.err != nil {
			t.Fatal(o.stderr)
		}
		for _, o := range decode(t, o.stdout) {
			mark := text(at(o, "spec", "template", "metadata", "annotations", "mcphub/settings"))
			switch componentOf(o) {
			case "coordinator":
				if mark != "" {
					coordinator = mark
				}
			case "node":
				if mark != "" {
					node = mark
				}
			}
		}
		return coordinator, node
	}
	c0, n0 := marks()
	if c0 == "" || n0 == "" {
		t.Fatal("no marks")
	}
	if c, n := marks(`coordinator.settings={"groups":[{"name":"g","servers":["everything"]}]}`, `nodes=[{"name":"default","replicas":3,"weight":1,"servers":{"x":{"command":"y"}}}]`); c != c0 || n != n0 {
		t.Error("changed groups and servers restart the pods")
	}
	if c, n := marks(`coordinator.settings={"systemConfig":{"nameSeparator":"."}}`); c == c0 || n != n0 {
		t.Error("a changed nameSeparator must restart coordinators, and nothing else")
	}
	if c, n := marks(`nodes=[{"name":"default","replicas":3,"weight":2,"servers":{}}]`); c != c0 || n == n0 {
		t.Error("a changed weight must restart nodes, and nothing else")
	}
}

// The chart refuses what it does not know or cannot mean, and says what is wrong.
func TestChartRefuses(t *testing.T) {
	const ok = `redis.url="redis://r:6379"`
	tests := map[string]struct {
		set  []string
		says string
	}{
		"no Redis":                {nil, "coordinators need a Redis"},
		"two Redises":             {[]string{ok, "redis.trial.enabled=true"}, "one Redis is enough"},
		"Redis of another kind":   {[]string{`redis.url="http://r"`}, "/redis/url"},
		"unknown key":             {[]string{ok, "replicas=3"}, "'replicas' not allowed"},
		"unknown key deeper":      {[]string{ok, "coordinator.replica=3"}, "'replica' not allowed"},
		"no coordinators":         {[]string{ok, "coordinator.replicas=0"}, "minimum"},
		"words for a number":      {[]string{ok, `coordinator.replicas="three"`}, "/coordinator/replicas"},
		"short secret":            {[]string{ok, `secret.clusterSecret="short"`}, "/secret/clusterSecret"},
		"no grace":                {[]string{ok, "coordinator.terminationGracePeriodSeconds=5"}, "/coordinator/terminationGracePeriodSeconds"},
		"nodes as a map":          {[]string{ok, `nodes={"name":"a"}`}, "/nodes"},
		"pool without a name":     {[]string{ok, `nodes=[{"replicas":1}]`}, "'name'"},
		"pool's name too long":    {[]string{ok, `nodes=[{"name":"a-very-long-name","replicas":1}]`}, "/nodes/0/name"},
		"two pools of a name":     {[]string{ok, `nodes=[{"name":"a","replicas":1},{"name":"a","replicas":2}]`}, `two pools are called "a"`},
		"weight":                  {[]string{ok, `nodes=[{"name":"a","replicas":1,"weight":101}]`}, "/nodes/0/weight"},
		"servers as a list":       {[]string{ok, `nodes=[{"name":"a","replicas":1,"servers":["x"]}]`}, "/nodes/0/servers"},
		"volume without a size":   {[]string{ok, `nodes=[{"name":"a","replicas":1,"persistence":{"enabled":true}}]`}, "'size'"},
		"Ingress without a host":  {[]string{ok, "ingress.enabled=true"}, "ingress.host is needed"},
		"digest":                  {[]string{ok, `image.digest="latest"`}, "/image/digest"},
		"service of another kind": {[]string{ok, `service.type="External"`}, "/service/type"},
		"port":                    {[]string{ok, "service.port=70000"}, "/service/port"},
		"memory":                  {[]string{ok, `coordinator.goMemLimit="460Mi"`}, "/coordinator/goMemLimit"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			args := []string{"template", "hub", chart}
			for _, s := range tc.set {
				args = append(args, "--set-json", s)
			}
			o := helm(t, args...)
			if o.err == nil || !strings.Contains(o.stderr, tc.says) {
				t.Errorf("helm template with %v: %v\n%s\nwant a refusal that says %q", tc.set, o.err, o.stderr, tc.says)
			}
		})
	}
}

// A chart can read its own files alone, so it has copies of the alerts and the board.
func TestChartCopies(t *testing.T) {
	for copied, original := range map[string]string{"alerts.yaml": "deploy/prometheus/alerts.yaml", "mcphub.json": "deploy/grafana/mcphub.json"} {
		want, err := os.ReadFile(inRepo(original))
		if err != nil {
			t.Fatal(err)
		}
		file := inRepo(chart, "files", copied)
		if *update {
			if err := os.WriteFile(file, want, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not %s: go test ./test/deploy -run Copies -update, in test/deploy", file, original)
		}
	}
}

// The notes name what the chart made, and warn of what is not for real use.
func TestChartNotes(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(inRepo(chart))); err != nil {
		t.Fatal(err)
	}
	notes, err := os.ReadFile(inRepo(chart, "templates", "NOTES.txt"))
	if err != nil {
		t.Fatal(err)
	}
	// helm shows notes only to a cluster: here they are rendered into an object.
	if err := os.WriteFile(filepath.Join(dir, "files", "NOTES.txt"), notes, 0o600); err != nil {
		t.Fatal(err)
	}
	object := "kind: Notes\nnotes: {{ tpl (.Files.Get \"files/NOTES.txt\") . | toJson }}\n"
	if err := os.WriteFile(filepath.Join(dir, "templates", "notes.yaml"), []byte(object), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string][]string{
		"trial":      {"deployment/hub-mcphub ", "get secret hub-mcphub ", "WARNING: redis.trial.enabled", "MCP clients need no key", `3 nodes "default"`},
		"production": {"https://hub.example.com/mcp", "get secret mcphub-secrets ", "3 to 12 coordinators"},
		"bare":       {"WARNING: there are no nodes"},
	} {
		o := helm(t, "template", "hub", dir, "-f", "test/deploy/testdata/values/"+file+".yaml", "-s", "templates/notes.yaml")
		if o.err != nil {
			t.Fatal(o.stderr)
		}
		said := text(decode(t, o.stdout)[0]["notes"])
		for _, w := range want {
			if !strings.Contains(said, w) {
				t.Errorf("%s: the notes do not say %q:\n%s", file, w, said)
			}
		}
		if file == "production" && strings.Contains(said, "WARNING") {
			t.Errorf("%s: the notes warn:\n%s", file, said)
		}
	}
}
