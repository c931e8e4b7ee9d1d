package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// Run holds a backend to the contract of the store. It calls open once for each case.
func Run(t *testing.T, open func(*testing.T) Env) {
	t.Helper()
	for _, group := range []struct {
		name  string
		cases []testCase
	}{
		{"nodes", nodeCases}, {"lapses", lapseCases}, {"snapshot", snapshotCases},
		{"sessions", sessionCases}, {"claims", claimCases}, {"inits", initCases}, {"subscriptions", subscriptionCases}, {"binding", bindCases}, {"listing", listingCases}, {"rest", restCases}, {"coordinators", coordinatorCases}, {"groups", groupCases}, {"inboxes", inboxCases},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, c := range group.cases {
				t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
					c.run(t, open(t))
				})
			}
		})
	}
}

// testCase is one rule; its name says it.
type testCase struct {
	name string
	run  func(*testing.T, Env)
}

// nodeTimeout is the lease of the nodes under test.
const nodeTimeout = 15 * time.Second

// ttl is the life of sessions and catalogs under test.
const ttl = time.Hour

// node is a node as it describes itself.
func node(id store.NodeID, instance store.Instance) store.Node {
	return store.Node{
		ID: id, Name: "Worker " + string(id), Host: "10.0.0.1", Port: 3001, URL: "http://10.0.0.1:3001",
		Instance: instance, Version: "1.0.0", Weight: 2, State: store.NodeActive,
		Started: time.UnixMilli(1767261600123).UTC(),
		Servers: []store.Server{
			{
				ID: "time", Status: store.ServerReady, Transport: "stdio", Catalog: store.DigestOf([]byte("time")), Tools: 2, Sessions: 3, InFlight: 1, Weight: 1,
				Prompts: 4, Resources: 5, Templates: 6, Isolation: "session", MaxProcesses: 16, StartSeconds: 30, Processes: 4, Spares: 1, Full: true,
			},
			{ID: "db", Status: store.ServerFailed, Transport: "stdio", Error: "exit status 1", Stderr: []string{"no such host", "bye \"x\""}, Weight: 1},
		},
	}
}

// register must succeed.
func register(t *testing.T, s *store.Store, n store.Node) store.Node {
	t.Helper()
	got, err := s.RegisterNode(t.Context(), n, nodeTimeout, false)
	if err != nil {
		t.Fatalf("RegisterNode(%s) = %v", n.ID, err)
	}
	return got
}

// beat must succeed.
func beat(t *testing.T, s *store.Store, n store.Node) store.Beat {
	t.Helper()
	got, err := s.BeatNode(t.Context(), n, nodeTimeout)
	if err != nil {
		t.Fatalf("BeatNode(%s) = %v", n.ID, err)
	}
	return got
}

// snapshot must succeed.
func snapshot(t *testing.T, s *store.Store, prev *store.Snapshot) *store.Snapshot {
	t.Helper()
	snap, err := s.Snapshot(t.Context(), prev)
	if err != nil {
		t.Fatalf("Snapshot = %v", err)
	}
	return snap
}

// wantErr fails unless err is want (nil included).
func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s = %v, want %v", what, err, want)
	}
}

// ids are the ids of nodes, joined.
func ids(nodes []store.Node) string {
	var b strings.Builder
	for _, n := range nodes {
		fmt.Fprintf(&b, "%s ", n.ID)
	}
	return strings.TrimSpace(b.String())
}

// newSID draws a session id.
func newSID() store.SessionID {
	return store.SessionID(fmt.Sprintf("%016x%016x", rand.Uint64(), rand.Uint64())) //nolint:gosec // a test's
}

// create writes a session with a fresh id.
func create(t *testing.T, s *store.Store) store.SessionID {
	t.Helper()
	id := newSID()
	if err := s.CreateSession(t.Context(), store.Session{ID: id, Scope: store.ScopeAll, Era: "2025-11-25"}, ttl); err != nil {
		t.Fatalf("CreateSession = %v", err)
	}
	return id
}

// together runs n calls of f at once and waits for them.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			<-start
			f(i)
		}()
	}
	close(start)
	wg.Wait()
}

// must fails the test on an error of a raw command.
func must(t *testing.T, v any, err error) any {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// hash reads a hash with a raw command.
func hash(t *testing.T, e Env, key string) map[string]string {
	t.Helper()
	v, err := e.Do("HGETALL", key)
	list, ok := must(t, v, err).([]any)
	if !ok {
		t.Fatalf("HGETALL %s = %T", key, v)
	}
	m := map[string]string{}
	for i := 0; i+1 < len(list); i += 2 {
		m[fmt.Sprint(list[i])] = fmt.Sprint(list[i+1])
	}
	return m
}

// ctxOf is a context that has ended.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
