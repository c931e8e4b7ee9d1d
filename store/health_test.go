package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/alicebob/miniredis/v2"
)

func TestClassifyErrorsThatAreNoReply(t *testing.T) {
	for _, c := range []struct {
		err  error
		want verdict
	}{
		{context.DeadlineExceeded, verdict{HealthSlow, true, false}},
		{fmt.Errorf("read: %w", os.ErrDeadlineExceeded), verdict{HealthSlow, true, false}},
		{redis.ErrPoolTimeout, verdict{HealthSlow, true, false}},
		{io.EOF, verdict{HealthDown, true, false}},
		{syscall.ECONNREFUSED, verdict{HealthDown, true, false}},
		{errors.New("redis: client is closed"), verdict{HealthDown, true, false}},
		{errDamaged, verdict{HealthError, false, false}},
	} {
		if got := classify(c.err); got != c.want {
			t.Errorf("classify(%v) = %+v, want %+v", c.err, got, c.want)
		}
	}
}

// A server that refuses says so in a reply; each is named in Health, and only those that mean
// "nothing works" open the breaker.
func TestRefusalsAreNamed(t *testing.T) {
	for _, c := range []struct {
		reply, state string
		opens        bool
	}{
		{"LOADING Redis is loading the dataset in memory", HealthLoading, true},
		{"MASTERDOWN Link with MASTER is down", HealthDown, true},
		{"BUSY Redis is busy running a script.", HealthBusy, true},
		{"CLUSTERDOWN Hash slot not served", HealthCluster, true},
		{"NOAUTH Authentication required.", HealthAuth, true},
		{"WRONGPASS invalid username-password pair", HealthAuth, true},
		{"NOPERM this user has no permissions to run the 'evalsha' command", HealthAuth, false},
		{"ERR max number of clients reached", HealthMaxClients, true},
		{"READONLY You can't write against a read only replica.", HealthReadOnly, false},
		{"OOM command not allowed when used memory > 'maxmemory'.", HealthMemory, false},
		{"ERR Error running script: OOM command not allowed when used memory > 'maxmemory'.", HealthMemory, false},
		{"MISCONF Redis is configured to save RDB snapshots", HealthDisk, false},
		{"NOREPLICAS Not enough good replicas to write.", HealthReplicas, false},
		{"ERR something nobody thought of", HealthError, false},
	} {
		t.Run(c.reply, func(t *testing.T) {
			m := miniredis.RunT(t)
			s := openTest(t, "redis://"+m.Addr())
			m.SetError(c.reply)
			for range breakAfter {
				if err := s.DeregisterNode(t.Context(), "n", 1); !errors.Is(err, ErrUnavailable) {
					t.Fatalf("DeregisterNode = %v, want ErrUnavailable", err)
				}
			}
			if h := s.Health(); h.OK || h.State != c.state || h.Err == "" || h.Since.IsZero() {
				t.Fatalf("Health = %+v, want %s", h, c.state)
			}
			m.SetError("")
			if err := s.Ping(t.Context()); (err != nil) != c.opens {
				t.Fatalf("Ping right afterwards = %v, want refused: %v", err, c.opens)
			}
		})
	}
}

func TestARefusedWriteStaysInHealthUntilAWriteSucceeds(t *testing.T) {
	m := miniredis.RunT(t)
	s := openTest(t, "redis://"+m.Addr())
	m.SetError("OOM command not allowed when used memory > 'maxmemory'.")
	if err := s.AppendEvent(t.Context(), Event{Kind: "x"}); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("AppendEvent = %v", err)
	}
	m.SetError("")
	if _, err := s.Snapshot(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if h := s.Health(); h.State != HealthMemory {
		t.Fatalf("Health after a read = %+v, want %s", h, HealthMemory)
	}
	if err := s.AppendEvent(t.Context(), Event{Kind: "x"}); err != nil {
		t.Fatal(err)
	}
	if h := s.Health(); !h.OK || h.State != HealthOK || h.Latency <= 0 {
		t.Fatalf("Health after a write = %+v", h)
	}
}

// openTest opens a store for tests inside the package.
func openTest(t *testing.T, url string, opts ...Option) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{URL: url, Timeout: 5 * time.Second, Schema: 1}, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}
