package deploy

import (
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
)

// built is the program, built once for all tests that run it.
var built struct {
	once sync.Once
	path string
	said string
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.path != "" {
		_ = os.RemoveAll(filepath.Dir(built.path)) // a temporary folder
	}
	os.Exit(code)
}

func mcphub(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		dir, err := os.MkdirTemp("", "mcphub-deploy") //nolint:usetesting // it outlives the test that is first
		if err != nil {
			built.said = err.Error()
			return
		}
		built.path = filepath.Join(dir, "mcphub")
		cmd := exec.Command("go", "build", "-o", built.path, "./cmd/mcphub") //nolint:gosec,noctx // a folder of our own; go test bounds it
		cmd.Dir = root
		out, err := cmd.CombinedOutput()
		if err != nil {
			built.said = string(out) + err.Error()
		}
	})
	if built.said != "" {
		t.Fatalf("go build: %s", built.said)
	}
	return built.path
}

// The alerts on what the program really tells: a hub whose only server does not start. Those fire that
// are about that, and no other.
func TestAlertsOnARunningHub(t *testing.T) {
	settings := filepath.Join(t.TempDir(), "mcp_settings.json")
	if err := os.WriteFile(settings, []byte(`{"mcpServers": {"broken": {"command": "false"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, mcphub(t), "--config", settings, "--port", port)
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var scraped string
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(scraped, `mcphub_replicas{server="broken",status="failed"} 1`); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			break
		}
		scraped = get(ctx, "http://127.0.0.1:"+port+"/metrics")
	}
	_ = cmd.Process.Signal(syscall.SIGTERM) // if it has ended, Wait tells
	if err := cmd.Wait(); err != nil || !strings.Contains(scraped, "mcphub_replicas") {
		t.Fatalf("%v; it told\n%s\nand logged\n%s", err, scraped, log.String())
	}
	series := standing(t, scraped)
	var fire []string
	for name, r := range alerts(t) {
		if len(evaluate(t, series, r.Expr)) > 0 {
			fire = append(fire, name)
		}
	}
	slices.Sort(fire)
	if want := []string{"MCPHubNodeServerDown", "MCPHubServerDown"}; !slices.Equal(fire, want) {
		t.Errorf("alerts %v fire, want %v, on\n%s", fire, want, scraped)
	}
	told := map[string]bool{}
	for key := range maps.Keys(series) {
		name, _, _ := strings.Cut(key, "{")
		told[name] = true
	}
	for name, f := range families(t) {
		// Histograms by server or by kind of request begin with the first.
		if f.kind != "histogram" && name != "mcphub_requests_total" && name != "mcphub_node_calls_total" && !told[name] {
			t.Errorf("docs/metrics.md has %s, and the program tells nothing of it", name)
		}
	}
}

func get(ctx context.Context, url string) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return ""
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "" // not up yet
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return ""
	}
	return string(body)
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // only its number is wanted
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// standing makes series out of one scrape, as if it had been the same for half an hour.
func standing(t *testing.T, scraped string) map[string]storage.Series {
	t.Helper()
	p := parser.NewParser(parser.Options{})
	all := map[string]storage.Series{}
	for line := range strings.Lines(scraped) {
		line = strings.TrimSpace(line)
		i := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || i < 0 {
			continue
		}
		metric, err := p.ParseMetric(line[:i])
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		value, err := strconv.ParseFloat(line[i+1:], 64)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		metric = labels.NewBuilder(metric).Set("job", "hub").Set("instance", "a").Labels()
		var points []promql.FPoint
		for minute := range int64(30) {
			points = append(points, promql.FPoint{T: minute * time.Minute.Milliseconds(), F: value})
		}
		name := metric.Get("__name__")
		all[name+metric.String()] = promql.NewStorageSeries(promql.Series{Metric: metric, Floats: points})
	}
	return all
}
