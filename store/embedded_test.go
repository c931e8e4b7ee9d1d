package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/store"
	"github.com/mcphub-go/mcphub/store/storetest"
)

func embedded(t *testing.T) (*store.Embedded, *store.Store) {
	t.Helper()
	e, err := store.StartEmbedded("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	s, err := store.Open(t.Context(), store.Config{URL: e.URL(), Timeout: 5 * time.Second, Schema: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return e, s
}

// The embedded clock runs: nothing but time makes the lease lapse.
func TestALeaseLapsesInTheEmbeddedServer(t *testing.T) {
	_, s := embedded(t)
	n, err := s.RegisterNode(t.Context(), store.Node{ID: "n1", Instance: "a"}, 150*time.Millisecond, false)
	if err != nil {
		t.Fatal(err)
	}
	if swept, err := s.SweepNodes(t.Context()); err != nil || len(swept) != 0 {
		t.Fatalf("swept at once: %v, %v", swept, err)
	}
	start := time.Now()
	storetest.WaitFor(t, "the lease to lapse", func() bool {
		swept, err := s.SweepNodes(t.Context())
		return err == nil && len(swept) == 1 && swept[0].ID == "n1"
	})
	if took := time.Since(start); took < 40*time.Millisecond {
		t.Errorf("a lease of 150ms lapsed after %v", took)
	}
	snap, err := s.Snapshot(t.Context(), nil)
	if err != nil || !snap.Taken.After(n.Registered.Add(100*time.Millisecond)) {
		t.Fatalf("TIME stands: registered %v, now %v, %v", n.Registered, snap.Taken, err)
	}
}

func TestTheEmbeddedServerRefusesOtherAddresses(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "10.1.2.3:1", "example.com:1", "nonsense"} {
		if e, err := store.StartEmbedded(addr); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("StartEmbedded(%q) = %v, %v; want ErrInvalid", addr, e, err)
		}
	}
	e, _ := embedded(t)
	if _, err := store.StartEmbedded(e.Addr()); err == nil {
		t.Error("a taken port was taken again")
	}
	e.Close()
	e.Close()
}

// Any client that speaks Redis's protocol can look inside.
func TestTheEmbeddedServerIsReadable(t *testing.T) {
	e, s := embedded(t)
	n := store.Node{ID: "n1", Instance: "a", Name: "Worker Node 1", URL: "http://127.0.0.1:3001"}
	if _, err := s.RegisterNode(t.Context(), n, 15*time.Second, false); err != nil {
		t.Fatal(err)
	}
	t.Run("plain protocol", func(t *testing.T) {
		conn, err := net.Dial("tcp", e.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		ask := func(line string) string {
			t.Helper()
			if _, err := fmt.Fprintf(conn, "%s\r\n", respArray(line)); err != nil {
				t.Fatal(err)
			}
			return ""
		}
		ask("HGET mcphub:{nodes}:node:n1 name")
		r := bufio.NewReader(conn)
		head, _ := r.ReadString('\n')
		name, _ := r.ReadString('\n')
		if strings.TrimSpace(head) != "$13" || strings.TrimSpace(name) != "Worker Node 1" {
			t.Fatalf("HGET answers %q %q", head, name)
		}
		ask("PTTL mcphub:{nodes}:lease:n1")
		left, _ := r.ReadString('\n')
		if ms, err := strconv.Atoi(strings.Trim(left, ":\r\n")); err != nil || ms <= 0 || ms > 15000 {
			t.Fatalf("PTTL answers %q", left)
		}
	})
	t.Run("redis-cli", func(t *testing.T) {
		cli, err := exec.LookPath("redis-cli")
		if err != nil {
			t.Skip("SKIPPED (no redis-cli on PATH)")
		}
		_, port, _ := net.SplitHostPort(e.Addr())
		out, err := exec.CommandContext(context.Background(), cli, "-p", port, "HGETALL", "mcphub:{nodes}:node:n1").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "url\nhttp://127.0.0.1:3001\n") {
			t.Fatalf("redis-cli: %v\n%s", err, out)
		}
		out, err = exec.CommandContext(context.Background(), cli, "-p", port, "TTL", "mcphub:{nodes}:lease:n1").CombinedOutput()
		if ttl, aerr := strconv.Atoi(strings.TrimSpace(string(out))); err != nil || aerr != nil || ttl < 1 || ttl > 15 {
			t.Fatalf("redis-cli TTL: %v\n%s", err, out)
		}
	})
}

// respArray is a command as clients send it, without the last line end.
func respArray(line string) string {
	words := strings.Fields(line)
	var b strings.Builder
	fmt.Fprintf(&b, "*%d", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "\r\n$%d\r\n%s", len(w), w)
	}
	return b.String()
}

// Touching is done in batches, so that each stays below a coordinator's time limit here too.
func TestTouchingManySessionsOfTheEmbeddedServer(t *testing.T) {
	_, s := embedded(t)
	var ids []store.SessionID
	for i := range 500 {
		id := store.SessionID(fmt.Sprintf("%02x%030x", i%256, i))
		ids = append(ids, id)
		if err := s.CreateSession(t.Context(), store.Session{ID: id}, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	if err := s.TouchSessions(t.Context(), ids, time.Hour); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	if t.Logf("500 sessions touched in %v", took); took > 5*time.Second { // three batches
		t.Errorf("a batch takes %v on average", took/3)
	}
	if n, err := s.CountSessions(t.Context()); n != 500 || err != nil {
		t.Fatalf("CountSessions = %d, %v", n, err)
	}
}
