package containers

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The first lines of the Dockerfile take modules from vendor/ where it is there, and do without it
// where it is not, with both of Docker's builders.
func TestDockerfileTakesVendoredModules(t *testing.T) {
	requireDocker(t)
	text, err := os.ReadFile(filepath.Join("..", "..", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^COPY go\.mod .*\n`).FindString(string(text))
	if lines == "" {
		t.Fatal("the Dockerfile does not copy go.mod first any more")
	}
	const image = "node:22-bookworm-slim" // any with a shell
	for name, buildkit := range map[string]string{"classic": "0", "BuildKit": "1"} {
		for state, vendored := range map[string]bool{"vendored": true, "downloaded": false} {
			t.Run(name+", "+state, func(t *testing.T) {
				dir := t.TempDir()
				files := map[string]string{
					"go.mod": "module x\n", "go.sum": "",
					"Dockerfile": "FROM " + image + "\nUSER 0\nWORKDIR /src\n" + lines +
						"RUN if [ -f modules.txt ]; then echo they are vendored; else echo they are downloaded; fi\n",
				}
				if vendored {
					files["vendor/modules.txt"] = "# x\n"
				}
				for name, content := range files {
					file := filepath.Join(dir, name)
					if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				out := build(t, dir, buildkit)
				if !regexp.MustCompile(`(?m)(^|\s)they are ` + state + `$`).MatchString(strings.ReplaceAll(out, "\r", "")) {
					t.Errorf("the build says\n%s\nwant modules %s", out, state)
				}
			})
		}
	}
}

// build builds with one of the builders, by a client that has it: newer ones have BuildKit only with a
// plugin.
func build(t *testing.T, dir, buildkit string) string {
	t.Helper()
	var said []byte
	for _, docker := range []string{"docker", "/usr/bin/docker"} {
		cmd := exec.CommandContext(t.Context(), docker, "build", "--no-cache", ".")
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "DOCKER_BUILDKIT="+buildkit, "BUILDKIT_PROGRESS=plain")
		out, err := cmd.CombinedOutput()
		if err == nil {
			return string(out)
		}
		said = out
		if !strings.Contains(string(out), "buildx") {
			t.Fatalf("docker build: %v\n%s", err, out)
		}
	}
	t.Skipf("SKIPPED: no client with this builder: %s", said)
	return ""
}
