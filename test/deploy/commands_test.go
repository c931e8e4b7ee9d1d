package deploy

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var fenced = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```")

// blocks are the fenced parts of a document in one language.
func blocks(t *testing.T, language string, parts ...string) []string {
	t.Helper()
	var found []string
	for _, m := range fenced.FindAllStringSubmatch(readFile(t, parts...), -1) {
		if m[1] == language {
			found = append(found, m[2])
		}
	}
	if len(found) == 0 {
		t.Fatalf("%v has no block of %s", parts, language)
	}
	return found
}

// The first command of the chart's README, word by word, and its values for real use.
func TestChartReadme(t *testing.T) {
	path := filepath.Dir(program(t, "helm")) + ":" + os.Getenv("PATH")
	command := blocks(t, "bash", chart, "README.md")[0]
	o := run(t, root, []string{"PATH=" + path}, "bash", "-euc", command)
	if o.err != nil {
		t.Fatalf("%s\n%v\n%s", command, o.err, o.stderr)
	}
	checkManifests(t, o.stdout)

	values := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(values, []byte(blocks(t, "yaml", chart, "README.md")[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	o = helm(t, "template", "hub", chart, "-f", values)
	if o.err != nil {
		t.Fatal(o.stderr)
	}
	checkManifests(t, o.stdout)
}

// The kustomization in the Kubernetes README builds, with this tree in the place of GitHub.
func TestKubernetesReadme(t *testing.T) {
	dir := t.TempDir()
	tree, err := filepath.Abs(inRepo("deploy", "kubernetes"))
	if err != nil {
		t.Fatal(err)
	}
	if tree, err = filepath.Rel(dir, tree); err != nil {
		t.Fatal(err)
	}
	k := blocks(t, "yaml", "deploy", "kubernetes", "README.md")[0]
	k = strings.ReplaceAll(strings.ReplaceAll(k, "github.com/mcphub-go/mcphub//deploy/kubernetes", tree), "?ref=main", "")
	var parsed map[string]any
	if err := yaml.Unmarshal([]byte(k), &parsed); err != nil {
		t.Fatal(err)
	}
	node := readFile(t, "deploy", "kubernetes", "base", "settings", "node.json")
	for name, text := range map[string]string{"kustomization.yaml": k, "node.json": node} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	checkManifests(t, must(t, program(t, "kustomize"), "build", dir))
}

// documents are those that this module answers for.
var documents = []string{
	"deploy/compose/README.md", "deploy/kubernetes/README.md", "deploy/helm/mcphub/README.md", "docs/metrics.md",
	"docs/deployment.md", "docs/groups.md", "docs/strategies.md", "docs/isolation.md", "docs/migrating-from-mcphub.md",
}

var commandLine = regexp.MustCompile(`(?m)^(?:    )?(?:\S+=\S+ )*(?:.* exec \S+ (?:-- )?)?(mcphub( [^#\n]*)?)(#.*)?$`)

// Each mcphub command in the documents is one, with the options it is given.
func TestDocumentedCommands(t *testing.T) {
	bin, found := mcphub(t), 0
	for _, file := range documents {
		for _, m := range commandLine.FindAllStringSubmatch(readFile(t, file), -1) {
			found++
			line := strings.TrimSpace(m[1])
			o := run(t, ".", nil, "bash", "-c", strings.Replace(line, "mcphub", bin, 1)+" --help")
			_, usage, _ := strings.Cut(o.stdout, "Usage:\n  ")
			path := regexp.MustCompile(`^mcphub( [a-z]+)*`).FindString(usage)
			if o.err != nil || !strings.HasPrefix(line, path) || (path == "mcphub" && !strings.HasPrefix(line, "mcphub --")) {
				t.Errorf("%s: %q is not a command: %v\n%s%s", file, line, o.err, o.stderr, usage)
			}
		}
	}
	if found < 12 {
		t.Errorf("%d commands found in the documents; does the pattern still match?", found)
	}
}

// The settings in the guides are read by the program's own reader.
func TestDocumentedSettings(t *testing.T) {
	env := map[string]string{"STAFF_KEY": strings.Repeat("s", 32), "GUEST_KEY": strings.Repeat("g", 32)}
	comment := regexp.MustCompile(`(?m) //.*$`)
	for _, file := range []string{"docs/groups.md", "docs/strategies.md", "docs/isolation.md"} {
		// The blocks of one document are parts of one file, of a coordinator.
		all := map[string]any{"systemConfig": map[string]any{"cluster": map[string]any{"enabled": true, "mode": "coordinator", "secret": strings.Repeat("c", 32)}}}
		for _, block := range blocks(t, "jsonc", file) {
			var part map[string]any
			if err := json.Unmarshal([]byte(comment.ReplaceAllString(block, "")), &part); err != nil {
				t.Fatalf("%s: %v\n%s", file, err, block)
			}
			merge(all, part)
		}
		text, err := json.MarshalIndent(all, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if s := loadSettings(t, file, string(text), env); s != nil && len(s.Warnings) > 0 {
			t.Errorf("%s: warnings %v for\n%s", file, s.Warnings, text)
		}
	}
}

func merge(into, from map[string]any) {
	for k, v := range from {
		if deeper, ok := v.(map[string]any); ok && into[k] != nil {
			merge(dict(into[k]), deeper)
			continue
		}
		into[k] = v
	}
}

// What the documents link to is there.
func TestDocumentsLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`)
	for _, file := range documents {
		for _, m := range link.FindAllStringSubmatch(readFile(t, file), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(file), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", file, m[1])
			}
		}
	}
}
