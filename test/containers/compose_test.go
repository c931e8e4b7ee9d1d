package containers

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The images of the real Dockerfile, brought up by the commands of the compose file's README, word
// by word: a session through the balancer goes on when a coordinator is killed, and when its
// node is.
func TestComposeFile(t *testing.T) {
	requireDocker(t)
	p := newProject(t)
	p.run(t, commandsOf(t, filepath.Join(p.dir, "README.md"), "## Start"))
	p.waitForFleet(t)

	s := p.openSession(t, "everything")
	if got := s.echo(t, "hello"); got != "Echo: hello" {
		t.Fatalf("echo through the balancer = %q", got)
	}
	for _, image := range []string{"mcphub:local", "mcphub-node:local"} {
		if user := p.docker(t, "image", "inspect", "-f", "{{.Config.User}}", image); user != "65532:65532" {
			t.Errorf("%s runs as %q, want the numbers of a user without rights", image, user)
		}
	}
	if seen := p.coordinatorsSeen(t); len(seen) != 3 {
		t.Errorf("9 requests met %d coordinators, want 3: round robin", len(seen))
	}

	p.docker(t, "kill", p.container(t, "coordinator-1"))
	for i := range 20 {
		if got, want := s.echo(t, strconv.Itoa(i)), "Echo: "+strconv.Itoa(i); got != want {
			t.Fatalf("call %d after a coordinator was killed = %q", i, got)
		}
	}

	home := p.homeOf(t)
	p.docker(t, "kill", p.container(t, home))
	if got := s.echo(t, "moved"); got != "Echo: moved" {
		t.Errorf("call after %s was killed = %q", home, got)
	}
	if now := p.homeOf(t); now == home {
		t.Errorf("the session is still said to be at %s, which was killed", home)
	}
	p.stopsWell(t, home)
}

// Of what stop ends, our processes end in time and by themselves.
func (p *project) stopsWell(t *testing.T, killed ...string) {
	t.Helper()
	p.compose(t, "stop")
	dead := map[string]bool{"coordinator-1": true}
	for _, k := range killed {
		dead[k] = true
	}
	for i := range 3 {
		for _, kind := range []string{"coordinator-", "node-"} {
			service := kind + strconv.Itoa(i+1)
			if dead[service] {
				continue
			}
			if code := p.docker(t, "inspect", "-f", "{{.State.ExitCode}}", p.container(t, service)); code != "0" {
				t.Errorf("%s was stopped and exited with %s, want 0; 137 means that it had to be killed", service, code)
			}
		}
	}
}

// project is one run of the compose file.
type project struct {
	dir   string // of the compose file
	env   []string
	base  string // the balancer's address
	words []string
	token string
}

// newProject takes the tree to build from TEST_TREE, or this one, and cleans up behind the test.
func newProject(t *testing.T) *project {
	t.Helper()
	tree := os.Getenv("TEST_TREE")
	if tree == "" {
		tree = filepath.Join("..", "..")
	}
	dir, err := filepath.Abs(filepath.Join(tree, "deploy", "compose"))
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	p := &project{
		dir: dir, base: "http://127.0.0.1:" + port, words: composeWords(t),
		env: append(os.Environ(), "COMPOSE_PROJECT_NAME=mcphubtest"+port, "MCPHUB_PORT="+port),
	}
	if _, err := os.Stat(filepath.Join(dir, ".env")); err == nil {
		t.Fatalf("%s has an .env, which this test would replace", dir)
	}
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := p.command(context.Background(), append(p.words, "logs", "--no-color", "--tail=60")...).CombinedOutput()
			t.Logf("logs:\n%s", out)
		}
		if out, err := p.command(context.Background(), append(p.words, "down", "-v", "-t", "1")...).CombinedOutput(); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
		_ = os.Remove(filepath.Join(dir, ".env")) // may not have been written
	})
	return p
}

// composeWords is how compose is called here.
func composeWords(t *testing.T) []string {
	t.Helper()
	if exec.CommandContext(t.Context(), "docker", "compose", "version").Run() == nil {
		return []string{"docker", "compose"}
	}
	if _, err := exec.LookPath("docker-compose"); err == nil {
		return []string{"docker-compose"}
	}
	if os.Getenv("REQUIRE_DOCKER") == "1" {
		t.Fatal("REQUIRE_DOCKER=1 but there is neither docker compose nor docker-compose")
	}
	t.Skip("SKIPPED: neither docker compose nor docker-compose")
	return nil
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// commandsOf is the first block of shell commands under a heading of a document.
func commandsOf(t *testing.T, file, heading string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), heading+"\n")
	_, rest, block := strings.Cut(rest, "```bash\n")
	commands, _, closed := strings.Cut(rest, "```")
	if !found || !block || !closed {
		t.Fatalf("%s has no commands under %q", file, heading)
	}
	return commands
}

func (p *project) command(ctx context.Context, words ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Dir, cmd.Env = p.dir, p.env
	return cmd
}

// run runs commands of the README from the folder that it says, the repository's. Where compose
// is a program of its own, its name is written with a hyphen.
func (p *project) run(t *testing.T, script string) {
	t.Helper()
	if len(p.words) == 1 {
		script = strings.ReplaceAll(script, "docker compose", p.words[0])
	}
	began := time.Now()
	cmd := p.command(t.Context(), "bash", "-euc", script)
	cmd.Dir = filepath.Join(p.dir, "..", "..")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s\n%v\n%s", script, err, out)
	}
	t.Logf("built and up in %s", time.Since(began).Round(time.Second))
	env, err := os.ReadFile(filepath.Join(p.dir, ".env"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(env)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "MCPHUB_ADMIN_TOKEN="); ok {
			p.token = v
		}
	}
}

func (p *project) compose(t *testing.T, args ...string) string {
	t.Helper()
	return p.output(t, append(append([]string{}, p.words...), args...)...)
}

func (p *project) docker(t *testing.T, args ...string) string {
	t.Helper()
	return p.output(t, append([]string{"docker"}, args...)...)
}

func (p *project) output(t *testing.T, words ...string) string {
	t.Helper()
	cmd := p.command(t.Context(), words...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(words, " "), err, out, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

func (p *project) container(t *testing.T, service string) string {
	t.Helper()
	return p.compose(t, "ps", "-q", service)
}

// get asks the hub's REST interface, as admin.
func (p *project) get(t *testing.T, path string, into any) error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.base+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %d %s %w", path, resp.StatusCode, body, err)
	}
	return json.Unmarshal(body, into)
}

// waitForFleet waits until each node has registered and its servers can be called.
func (p *project) waitForFleet(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(90 * time.Second)
	for {
		var nodes struct {
			Data []struct {
				ID      string   `json:"id"`
				Servers []string `json:"servers"`
			} `json:"data"`
		}
		err := p.get(t, "/api/cluster/nodes?active=true", &nodes)
		replicas := 0
		for _, n := range nodes.Data {
			replicas += len(n.Servers)
		}
		if len(nodes.Data) == 3 && replicas == 4 { // everything on each, memory on one
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the nodes do not come up: %+v, %v", nodes.Data, err)
		}
		time.Sleep(250 * time.Millisecond)
	}
}

// coordinatorsSeen are the coordinators that nine requests came to.
func (p *project) coordinatorsSeen(t *testing.T) map[string]bool {
	t.Helper()
	seen := map[string]bool{}
	for range 9 {
		var health struct {
			ID string `json:"id"`
		}
		if err := p.get(t, "/health", &health); err != nil {
			t.Fatal(err)
		}
		seen[health.ID] = true
	}
	return seen
}

// homeOf is the node of the only session.
func (p *project) homeOf(t *testing.T) string {
	t.Helper()
	var list struct {
		Data struct {
			Sessions []struct {
				NodeID string `json:"nodeId"`
			} `json:"sessions"`
		} `json:"data"`
	}
	if err := p.get(t, "/api/cluster/sessions", &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Data.Sessions) != 1 {
		t.Fatalf("%d sessions, want the one of this test", len(list.Data.Sessions))
	}
	return list.Data.Sessions[0].NodeID
}
