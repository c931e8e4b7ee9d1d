package storetest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is a redis-server process of one test.
type Server struct {
	Addr string
	cmd  *exec.Cmd
}

// StartServer starts redis-server on a free port of 127.0.0.1, with nothing kept on disk and
// args added, and kills it when the test ends. Where it is not installed the test is skipped; with
// REQUIRE_REDIS=1 it fails instead.
func StartServer(t *testing.T, args ...string) *Server {
	t.Helper()
	return startFrom(t, "", append([]string{"--save", "", "--appendonly", "no"}, args...)...)
}

// startFrom is StartServer with a configuration file, if conf is not empty.
func startFrom(t *testing.T, conf string, args ...string) *Server {
	t.Helper()
	if conf != "" {
		args = append([]string{conf}, args...)
	}
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("REQUIRE_REDIS") == "1" {
			t.Fatalf("REQUIRE_REDIS=1 but redis-server is not on PATH: %v", err)
		}
		t.Skipf("SKIPPED (no redis-server on PATH): %v", err)
	}
	var last string
	for range 5 { // another process may take the port in between
		s, out, ok := tryServer(t, path, args)
		if ok {
			return s
		}
		last = out
	}
	t.Fatalf("redis-server did not come up: %s", last)
	return nil
}

func tryServer(t *testing.T, path string, args []string) (*Server, string, bool) {
	t.Helper()
	s := &Server{Addr: "127.0.0.1:" + strconv.Itoa(freePort(t))}
	_, port, _ := net.SplitHostPort(s.Addr)
	var out bytes.Buffer
	args = append(slices.Clone(args), "--bind", "127.0.0.1", "--port", port, "--dir", t.TempDir())
	s.cmd = exec.Command(path, args...) //nolint:gosec // a test's own process
	s.cmd.Stdout, s.cmd.Stderr = &out, &out
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	died := make(chan struct{})
	go func() {
		_ = s.cmd.Wait()
		close(died)
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-died
	})
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1, Protocol: 2})
	defer func() { _ = rdb.Close() }()
	deadline := time.After(20 * time.Second)
	for {
		if err := rdb.Ping(context.Background()).Err(); err == nil || strings.HasPrefix(err.Error(), "NOAUTH") {
			return s, "", true
		}
		select {
		case <-died:
			return nil, out.String(), false
		case <-deadline:
			return nil, "no answer within 20 s", false
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// URL is what store.Config.URL wants.
func (s *Server) URL() string { return "redis://" + s.Addr }

// Kill ends the process at once.
func (s *Server) Kill() { _ = s.cmd.Process.Kill() }

// Freeze makes it accept connections and answer nothing, until Thaw.
func (s *Server) Freeze(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Thaw(t) })
}

// Thaw ends Freeze.
func (s *Server) Thaw(*testing.T) { _ = s.cmd.Process.Signal(syscall.SIGCONT) }

// StartCluster starts a Redis Cluster of three primaries and returns its URL. Skips and fails as
// StartServer does.
func StartCluster(t *testing.T) (url string, servers []*Server) {
	t.Helper()
	var addrs []string
	for range 3 {
		s := StartServer(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
		servers, addrs = append(servers, s), append(addrs, s.Addr)
	}
	cli := exec.Command("redis-cli", append(append([]string{"--cluster", "create"}, addrs...), "--cluster-yes")...)
	if out, err := cli.CombinedOutput(); err != nil {
		t.Fatalf("redis-cli --cluster create: %v\n%s", err, out)
	}
	for _, s := range servers {
		waitCluster(t, s.Addr)
	}
	return "redis+cluster://" + strings.Join(addrs, ","), servers
}

// StartSentinel starts a primary, a replica in step with it and a sentinel that watches them, and
// returns the URL and the primary. Skips and fails as StartServer does.
func StartSentinel(t *testing.T) (url string, primary *Server) {
	t.Helper()
	primary = StartServer(t)
	host, port, _ := net.SplitHostPort(primary.Addr)
	replica := StartServer(t, "--replicaof", host+" "+port, "--repl-diskless-sync-delay", "0")
	waitInfo(t, replica.Addr, "master_link_status:up")
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor hub %s %s 1\nsentinel down-after-milliseconds hub 500\nsentinel failover-timeout hub 5000\n", host, port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	watcher := startFrom(t, conf, "--sentinel")
	waitInfo(t, watcher.Addr, "status=ok,address="+primary.Addr+",slaves=1")
	return "redis+sentinel://" + watcher.Addr + "?master_name=hub", primary
}

// waitInfo waits until INFO of the server at addr holds text.
func waitInfo(t *testing.T, addr, text string) {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: addr, Protocol: 2})
	defer func() { _ = rdb.Close() }()
	WaitFor(t, text, func() bool {
		info, err := rdb.Info(context.Background()).Result()
		return err == nil && strings.Contains(info, text)
	})
}

// waitCluster waits until the member at addr says that every slot is served.
func waitCluster(t *testing.T, addr string) {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: addr, Protocol: 2})
	defer func() { _ = rdb.Close() }()
	WaitFor(t, "cluster state ok at "+addr, func() bool {
		info, err := rdb.ClusterInfo(context.Background()).Result()
		return err == nil && strings.Contains(info, "cluster_state:ok")
	})
}

// WaitFor polls cond until it holds, and fails the test after 20 s.
func WaitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("waited 20 s in vain for: %s", what)
		}
		time.Sleep(5 * time.Millisecond) // between two looks
	}
}

// freePort is a port that was free a moment ago, low enough for a cluster's bus (port + 10000).
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		_ = l.Close()
		if port < 55000 {
			return port
		}
	}
	t.Fatal(fmt.Errorf("no free port below 55000"))
	return 0
}
