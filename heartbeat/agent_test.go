package heartbeat

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// start runs the agent and returns a function that stops it and gives its error.
func start(t *testing.T, a *Agent) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	return func() error { cancel(); return <-done }
}

func TestAgentRegistersBeatsAndLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := newMemStore(), &journal{}
		f := &front{reg: testRegistrar(m, nil, j)}
		a := testAgent(t, "node-1", instanceA, f, newSource(ready("echo")), j)
		stop := start(t, a)
		time.Sleep(21 * time.Second)
		synctest.Wait()
		if got := f.count("/api/cluster/heartbeat"); got != 4 {
			t.Errorf("%d heartbeats in 21 s, want 4", got)
		}
		l := a.Lease()
		if !l.Fresh() || l.Epoch() != 1 {
			t.Errorf("Fresh() = %v, Epoch() = %d, want true, 1", l.Fresh(), l.Epoch())
		}
		n, ok := m.node("node-1")
		if !ok || n.URL != "http://10.0.0.1:3001" || n.Host != "10.0.0.1" || !n.Callable("echo") {
			t.Errorf("stored %+v, %v", n, ok)
		}
		if err := stop(); err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
		if _, ok := m.node("node-1"); ok {
			t.Error("still registered after Run returned")
		}
		if l.Fresh() {
			t.Error("lease is fresh after Run returned")
		}
	})
}

func TestAgentWaitsForServersButNotForever(t *testing.T) {
	for _, tt := range []struct {
		name       string
		ends, want time.Duration
	}{
		{"first round ends", 2 * time.Second, 2 * time.Second},
		{"a server hangs", time.Hour, 5 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, j := newMemStore(), &journal{}
				f := &front{reg: testRegistrar(m, nil, j)}
				src := newSource()
				src.started = make(chan struct{})
				stop := start(t, testAgent(t, "node-1", instanceA, f, src, j))
				go func() {
					select {
					case <-time.After(tt.ends):
						close(src.started)
					case <-t.Context().Done():
					}
				}()
				time.Sleep(tt.want - time.Millisecond)
				synctest.Wait()
				if f.count("/api/cluster/register") != 0 {
					t.Errorf("registered before %v", tt.want)
				}
				time.Sleep(2 * time.Millisecond)
				synctest.Wait()
				if f.count("/api/cluster/register") != 1 {
					t.Errorf("not registered after %v", tt.want)
				}
				_ = stop()
			})
		})
	}
}

func TestNudgesBeatAtOnceAndOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := newMemStore(), &journal{}
		f := &front{reg: testRegistrar(m, nil, j)}
		src := newSource()
		a := testAgent(t, "node-1", instanceA, f, src, j)
		stop := start(t, a)
		time.Sleep(time.Second)
		src.set(Description{Servers: []store.Server{ready("late")}, State: store.NodeDraining})
		for range 10 {
			a.Nudge()
		}
		time.Sleep(nudgeDelay + time.Millisecond)
		synctest.Wait()
		if got := f.count("/api/cluster/heartbeat"); got != 1 {
			t.Errorf("%d heartbeats after ten nudges, want 1", got)
		}
		if n, _ := m.node("node-1"); !n.Callable("late") || n.State != store.NodeDraining {
			t.Errorf("stored %+v, want the new description", n)
		}
		_ = stop()
	})
}

func TestNodeFencesItselfWithoutAcknowledgement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := newMemStore(), &journal{}
		f := &front{reg: testRegistrar(m, nil, j)}
		a := testAgent(t, "node-1", instanceA, f, newSource(), j)
		stop := start(t, a)
		time.Sleep(10*time.Second + time.Millisecond) // the beat of second 10 is acknowledged
		f.fail(errors.New("no route"))
		cred := FleetCredential([]byte("fleet key"))
		time.Sleep(14*time.Second + 900*time.Millisecond)
		if err := a.Lease().Check(t.Context(), 1, cred); err != nil {
			t.Errorf("14.9 s after the last acknowledged beat: Check() = %v, want nil", err)
		}
		time.Sleep(200 * time.Millisecond)
		if err := a.Lease().Check(t.Context(), 1, cred); !errors.Is(err, ErrLapsed) {
			t.Errorf("15.1 s after the last acknowledged beat: Check() = %v, want ErrLapsed", err)
		}
		time.Sleep(10 * time.Second)
		if !j.has("lease has lapsed: refusing all calls") {
			t.Error("nothing in the log about the lapse")
		}
		f.fail(nil)
		time.Sleep(6 * time.Second)
		if err := a.Lease().Check(t.Context(), 1, cred); err != nil {
			t.Errorf("after the next acknowledged beat: Check() = %v, want nil", err)
		}
		_ = stop()
	})
}

func TestSlowAnswersRenewForLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := newMemStore(), &journal{}
		f := &front{reg: testRegistrar(m, nil, j), slow: 3 * time.Second}
		a := testAgent(t, "node-1", instanceA, f, newSource(), j)
		stop := start(t, a)
		time.Sleep(3*time.Second + time.Millisecond) // registered: sent at 0, answered at 3
		f.fail(errors.New("no route"))
		time.Sleep(11900 * time.Millisecond)
		if !a.Lease().Fresh() {
			t.Error("14.9 s after the sending: not fresh")
		}
		time.Sleep(200 * time.Millisecond)
		if a.Lease().Fresh() {
			t.Error("15.1 s after the sending, 12.1 s after the answer: still fresh")
		}
		_ = stop()
	})
}

// The lease counts from when a beat was sent: an answer that took long renews it by less.
func TestLeaseCountsFromTheSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Lease{}
		sent := now()
		time.Sleep(4 * time.Second)
		l.renew(Grant{Epoch: 1, Credential: "c", NodeTimeout: 5000}, sent)
		if left := l.Left(); left != time.Second {
			t.Errorf("Left() = %v, want the last second of five", left)
		}
		if !l.Fresh() {
			t.Fatal("Fresh() = false 4 s after the sending, want true for 5 s")
		}
		time.Sleep(1100 * time.Millisecond)
		if left := l.Left(); left != 0 {
			t.Errorf("Left() = %v after the end", left)
		}
		if l.Fresh() {
			t.Error("Fresh() = true 5.1 s after the sending")
		}
	})
}

func TestLeaseCheck(t *testing.T) { synctest.Test(t, testLeaseCheck) }

func testLeaseCheck(t *testing.T) {
	l := &Lease{}
	if err := l.Check(t.Context(), 0, ""); !errors.Is(err, ErrCredential) {
		t.Errorf("zero Lease: Check() = %v, want ErrCredential", err)
	}
	for _, c := range []string{"old", "mid", "new"} {
		l.renew(Grant{Epoch: 7, Credential: c, NodeTimeout: 60000}, now())
	}
	tests := []struct {
		epoch store.Epoch
		cred  string
		want  error
	}{
		{7, "new", nil},
		{7, "mid", nil}, // callers may not have heard yet
		{7, "old", ErrCredential},
		{7, "", ErrCredential},
		{6, "new", store.ErrEpoch},
		{8, "new", store.ErrEpoch},
		{6, "bad", ErrCredential}, // strangers learn no epoch
	}
	for _, tt := range tests {
		if err := l.Check(t.Context(), tt.epoch, tt.cred); !errors.Is(err, tt.want) {
			t.Errorf("Check(%d, %q) = %v, want %v", tt.epoch, tt.cred, err, tt.want)
		}
	}
	l.fence()
	if err := l.Check(t.Context(), 0, "new"); !errors.Is(err, ErrLapsed) {
		t.Errorf("after fence: Check(0) = %v, want ErrLapsed", err)
	}
}

// A coordinator that serves a registration may send a call before the node has read the grant.
func TestLeaseCheckWaitsForTheGrantOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Lease{}
		grant := func(after time.Duration, e store.Epoch) {
			go func() {
				time.Sleep(after)
				l.renew(Grant{Epoch: e, Credential: "cred", NodeTimeout: 60000}, now())
			}()
		}
		began := time.Now()
		grant(time.Second, 7)
		if err := l.Check(t.Context(), 7, "cred"); err != nil || time.Since(began) != time.Second {
			t.Errorf("first grant: Check(7) = %v after %v, want nil after 1s", err, time.Since(began))
		}
		began = time.Now()
		grant(time.Second, 8)
		if err := l.Check(t.Context(), 8, "cred"); err != nil || time.Since(began) != time.Second {
			t.Errorf("next grant: Check(8) = %v after %v, want nil after 1s", err, time.Since(began))
		}
		began = time.Now()
		if err := l.Check(t.Context(), 9, "cred"); !errors.Is(err, store.ErrEpoch) || time.Since(began) != grantWait {
			t.Errorf("no grant: Check(9) = %v after %v, want ErrEpoch after %v", err, time.Since(began), grantWait)
		}
		began = time.Now()
		if err := l.Check(t.Context(), 9, "guess"); !errors.Is(err, ErrCredential) || time.Since(began) != 0 {
			t.Errorf("stranger: Check(9) = %v after %v, want ErrCredential at once", err, time.Since(began))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.Check(ctx, 9, "cred"); !errors.Is(err, store.ErrEpoch) || time.Since(began) != 0 {
			t.Errorf("caller gone: Check(9) = %v after %v, want ErrEpoch at once", err, time.Since(began))
		}
	})
}

func TestSecondLiveProcessGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := newMemStore(), &journal{}
		f := &front{reg: testRegistrar(m, nil, j)}
		first := testAgent(t, "node-1", instanceA, f, newSource(), j)
		stop := start(t, first)
		time.Sleep(time.Second)
		second := testAgent(t, "node-1", instanceB, f, newSource(), j)
		second.cfg.URL = "http://10.0.0.2:3001"
		begun := time.Now()
		err := second.Run(t.Context())
		var dup *DuplicateError
		if !errors.As(err, &dup) || !strings.Contains(err.Error(), "http://10.0.0.1:3001") {
			t.Errorf("Run() = %v, want a *DuplicateError that names the other's address", err)
		}
		if took := time.Since(begun); took < 15*time.Second || took > 25*time.Second {
			t.Errorf("gave up after %v, want soon after 15 s", took)
		}
		if second.Lease().Fresh() {
			t.Error("the refused process has a fresh lease")
		}
		if !first.Lease().Fresh() {
			t.Error("the holder lost its lease")
		}
		_ = stop()
	})
}

func TestRestartedProcessWaitsForItsPredecessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := newMemStore(), &journal{}
		f := &front{reg: testRegistrar(m, nil, j)}
		stop := start(t, testAgent(t, "node-1", instanceA, f, newSource(), j))
		time.Sleep(time.Second)
		second := testAgent(t, "node-1", instanceB, f, newSource(), j)
		second.cfg.URL = "http://10.0.0.2:3001"
		stop2 := start(t, second)
		time.Sleep(5 * time.Second)
		_ = stop() // the predecessor ends its drain
		time.Sleep(6 * time.Second)
		if !second.Lease().Fresh() || second.Lease().Epoch() != 2 {
			t.Errorf("successor: Fresh() = %v, Epoch() = %d, want true, 2", second.Lease().Fresh(), second.Lease().Epoch())
		}
		_ = stop2()
	})
}

func TestOverriddenProcessFencesAndStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := newMemStore(), &journal{}
		f := &front{reg: testRegistrar(m, nil, j)}
		a := testAgent(t, "node-1", instanceA, f, newSource(), j)
		done := make(chan error, 1)
		go func() { done <- a.Run(t.Context()) }()
		time.Sleep(20 * time.Second) // well past its patience
		other := store.Node{ID: "node-1", Instance: instanceB, URL: "http://10.0.0.9:3001", State: store.NodeActive}
		if _, err := m.RegisterNode(t.Context(), other, time.Hour, true); err != nil {
			t.Fatal(err)
		}
		var dup *DuplicateError
		if err := <-done; !errors.As(err, &dup) {
			t.Errorf("Run() = %v, want *DuplicateError", err)
		}
		if a.Lease().Fresh() || a.Lease().Epoch() != 0 {
			t.Error("lease is not fenced")
		}
		if n, _ := m.node("node-1"); n.Instance != instanceB {
			t.Error("the new holder's record was touched")
		}
	})
}

// An epoch that is over because the store restarted its counting is no duplicate: the process
// registers again and goes on.
func TestEpochOverWithoutAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := newMemStore(), &journal{}
		f := &front{reg: testRegistrar(m, nil, j)}
		a := testAgent(t, "node-1", instanceA, f, newSource(), j)
		stop := start(t, a)
		time.Sleep(time.Second)
		m.mu.Lock()
		m.epoch["node-1"] = 9
		m.mu.Unlock()
		time.Sleep(6 * time.Second)
		if !a.Lease().Fresh() || a.Lease().Epoch() != 10 {
			t.Errorf("Fresh() = %v, Epoch() = %d, want true, 10", a.Lease().Fresh(), a.Lease().Epoch())
		}
		_ = stop()
	})
}

func TestAgentWantsProofOfTheSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := newMemStore(), &journal{}
		f := &front{reg: testRegistrar(m, nil, j)} // a coordinator without a secret
		a := testAgent(t, "node-1", instanceA, f, newSource(), j)
		a.cfg.Secret = "s3cret"
		stop := start(t, a)
		time.Sleep(3 * time.Second)
		if a.Lease().Fresh() || !j.has("not registered yet") {
			t.Error("took a grant without proof")
		}
		knows := testRegistrar(m, nil, j)
		knows.cfg.Secret = "s3cret"
		f.answerBy(knows)
		time.Sleep(6 * time.Second)
		if !a.Lease().Fresh() {
			t.Error("did not take a grant with proof")
		}
		_ = stop()
	})
}

func TestLongIntervalIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := newMemStore(), &journal{}
		reg := testRegistrar(m, nil, j)
		reg.cfg.NodeTimeout = 3 * time.Second
		f := &front{reg: reg}
		stop := start(t, testAgent(t, "node-1", instanceA, f, newSource(), j))
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		if got := f.count("/api/cluster/heartbeat"); got != 10 {
			t.Errorf("%d heartbeats in 10 s, want 10", got)
		}
		if j.count("heartbeatInterval is more than a third of the coordinator's nodeTimeout and is cut to that") != 1 {
			t.Error("want one warning that the interval is cut")
		}
		_ = stop()
	})
}

func TestMissingCatalogsAreSentAsTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := newMemStore(), &journal{}
		f := &front{reg: testRegistrar(m, nil, j)}
		raw := []byte(`{"tools":[ {"name":"<&>","n":1.0} ]}`) // encoding/json would rewrite all of it
		sum := sha256.Sum256(raw)
		digest := store.Digest(hex.EncodeToString(sum[:]))
		src := newSource(store.Server{ID: "echo", Status: store.ServerReady, Catalog: digest, Weight: 1})
		src.catalogs[digest] = raw
		stop := start(t, testAgent(t, "node-1", instanceA, f, src, j))
		time.Sleep(time.Second)
		if got := string(m.catalog(digest)); got != string(raw) {
			t.Errorf("stored catalog %q, want %q", got, raw)
		}
		time.Sleep(30 * time.Second)
		if got := f.count("/api/cluster/catalogs"); got != 1 {
			t.Errorf("catalog sent %d times, want once", got)
		}
		if got := m.touched(); got > 2 {
			t.Errorf("catalogs touched %d times in half a minute, want at most twice", got)
		}
		m.flush()
		time.Sleep(6 * time.Second)
		if m.catalog(digest) == nil {
			t.Error("catalog not sent again after the store was emptied")
		}
		_ = stop()
	})
}

func TestTalkativeServersDoNotKeepTheirNodeOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := newMemStore(), &journal{}
		f := &front{reg: testRegistrar(m, nil, j)}
		var servers []store.Server
		line := strings.Repeat("x", 5000) + "\xff"
		for i := range 100 {
			s := store.Server{ID: store.ServerID("s" + hex.EncodeToString([]byte{byte(i)})), Status: store.ServerFailed, Error: strings.Repeat("é", 4000)}
			for range 100 {
				s.Stderr = append(s.Stderr, line)
			}
			servers = append(servers, s)
		}
		a := testAgent(t, "node-1", instanceA, f, newSource(servers...), j)
		a.url = a.cfg.URL
		if body, err := a.record(0); err != nil || len(body) > maxRecord {
			t.Errorf("record has %d bytes, %v; want at most %d", len(body), err, maxRecord)
		}
		stop := start(t, a)
		time.Sleep(time.Second)
		if n, ok := m.node("node-1"); !ok || len(n.Servers) != 100 {
			t.Errorf("stored %d servers, %v, want 100", len(n.Servers), ok)
		}
		_ = stop()
	})
}

// A catalog that the coordinators will not have keeps no other one waiting, and is tried once.
// The bubble's clock stands still while the large one is worked on, however slow the machine.
func TestRefusedCatalogHoldsUpNoOther(t *testing.T) { synctest.Test(t, testRefusedCatalog) }

func testRefusedCatalog(t *testing.T) {
	m, j := newMemStore(), &journal{}
	f := &front{reg: testRegistrar(m, nil, j)}
	big, small := []byte(`{"x":"`+strings.Repeat("y", MaxCatalog)+`"}`), []byte(`{"tools":[]}`)
	src := newSource()
	a := testAgent(t, "node-1", instanceA, f, src, j)
	digests := []store.Digest{store.DigestOf(big), store.DigestOf(small)}
	src.catalogs[digests[0]], src.catalogs[digests[1]] = big, small
	a.sendCatalogs(t.Context(), digests)
	if string(m.catalogs[digests[1]]) != string(small) {
		t.Error("the second catalog was not stored")
	}
	a.sendCatalogs(t.Context(), digests[:1])
	if n := f.count("/api/cluster/catalogs"); n != 2 || len(m.catalogs) != 1 {
		t.Errorf("%d calls, %d catalogs stored, want 2 and 1", n, len(m.catalogs))
	}
	// What fails for another reason is tried with the next beat.
	f.fail(errors.New("connection refused"))
	a.sendCatalogs(t.Context(), digests[1:])
	f.fail(nil)
	a.sendCatalogs(t.Context(), digests[1:])
	if n := f.count("/api/cluster/catalogs"); n != 4 {
		t.Errorf("%d calls, want 4", n)
	}
}

func TestAddressIsToldOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	j := &journal{}
	a, err := NewAgent(AgentConfig{ID: "node-1", Instance: instanceA, CoordinatorURL: "http://" + l.Addr().String(), Port: 3001}, newSource(), j.log())
	if err != nil {
		t.Fatal(err)
	}
	const line = "coordinators are told to reach this node at http://127.0.0.1:3001"
	for range 3 { // as when three calls fail in a row
		if err := a.findURL(t.Context()); err != nil {
			t.Fatal(err)
		}
		a.forgetURL()
	}
	if n := j.count(line); n != 1 {
		t.Errorf("logged %d times, want once", n)
	}
	a.told = "http://127.0.0.2:3001" // the network was another one
	if err := a.findURL(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := j.count(line); n != 2 {
		t.Errorf("logged %d times after the address has changed, want twice", n)
	}
}
