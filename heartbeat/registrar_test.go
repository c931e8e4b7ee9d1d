package heartbeat

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// picture is a Fleet that shows what it is given.
type picture struct{ snap *store.Snapshot }

func (p picture) Snapshot() *store.Snapshot { return p.snap }

// looking is a Fleet that shows what is in the store now.
type looking struct{ m *memStore }

func (l looking) Snapshot() *store.Snapshot {
	s, err := l.m.Snapshot(context.Background(), nil)
	if err != nil {
		return nil
	}
	return s
}

func registering() Record {
	r := goodRecord()
	r.Epoch, r.Status = 0, ""
	return r
}

func TestRegisterAnnouncesInTheGuidesWords(t *testing.T) {
	m, j := newMemStore(), &journal{}
	m.hints = make(chan store.Hint, 10)
	poked := 0
	r := testRegistrar(m, nil, j)
	r.cfg.Changed = func() { poked++ }
	g, err := r.Register(t.Context(), registering())
	if err != nil {
		t.Fatal(err)
	}
	if g.Epoch != 1 || g.NodeTimeout != 15000 || g.HeartbeatInterval != 5000 || g.SessionTimeout != 3600000 || g.MissingCatalogs == nil {
		t.Errorf("grant %+v", g)
	}
	if g.Credential != FleetCredential([]byte("fleet key")) || g.Proof != "" {
		t.Errorf("grant %+v, want the fleet credential and, without a secret, no proof", g)
	}
	if j.count("Node registered: Worker Node 1 (node-1) with 2 servers") != 1 {
		t.Errorf("log %q", j.lines)
	}
	if m.count(store.EventNodeRegistered) != 1 || poked != 1 || len(m.hints) != 1 {
		t.Errorf("%d events, poked %d times, %d hints, want 1, 1, 1", m.count(store.EventNodeRegistered), poked, len(m.hints))
	}
}

func TestNothingIsStoredBeforeTheChallenge(t *testing.T) {
	m, j := newMemStore(), &journal{}
	r := testRegistrar(m, nil, j)
	r.challenge = func(context.Context, store.Node) error { return ErrUnproven }
	if _, err := r.Register(t.Context(), registering()); !errors.Is(err, ErrUnproven) {
		t.Errorf("Register() = %v, want ErrUnproven", err)
	}
	rec := registering()
	rec.Epoch = 4
	if _, err := r.Beat(t.Context(), rec); !errors.Is(err, ErrUnproven) {
		t.Errorf("Beat() of an unknown node = %v, want ErrUnproven", err)
	}
	if m.written() != 0 || len(m.events) != 0 {
		t.Errorf("%d writes, %d events, want none", m.written(), len(m.events))
	}
}

func TestDuplicate(t *testing.T) {
	tests := []struct {
		name        string
		url         string // of the newcomer
		holderLives bool
		want        bool // taken over
	}{
		{"holder answers", "http://10.0.0.6:3001", true, false},
		{"holder is silent", "http://10.0.0.6:3001", false, true},
		{"same address", "http://10.0.0.5:3001", true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, j := newMemStore(), &journal{}
			r := testRegistrar(m, looking{m}, j)
			if _, err := r.Register(t.Context(), registering()); err != nil {
				t.Fatal(err)
			}
			r.challenge = func(_ context.Context, n store.Node) error {
				if n.Instance == instanceA && !tt.holderLives {
					return ErrUnproven
				}
				return nil
			}
			second := registering()
			second.Instance, second.URL = instanceB, tt.url
			g, err := r.Register(t.Context(), second)
			n, _ := m.node("node-1")
			if !tt.want {
				var dup *store.DuplicateNodeError
				if !errors.As(err, &dup) || !strings.Contains(err.Error(), "http://10.0.0.5:3001") || n.Instance != instanceA {
					t.Errorf("Register() = %v with %s stored, want a duplicate that names the holder's address", err, n.Instance)
				}
				return
			}
			if err != nil || g.Epoch != 2 || n.Instance != instanceB {
				t.Errorf("Register() = %+v, %v with %s stored, want epoch 2 for the newcomer", g, err, n.Instance)
			}
			old := registering()
			old.Epoch = 1
			if _, err := r.Beat(t.Context(), old); !errors.Is(err, store.ErrEpoch) {
				t.Errorf("Beat() of the predecessor = %v, want ErrEpoch", err)
			}
		})
	}
}

// Whoever registers a live id from an address where it does not answer hears of the holder.
func TestUnprovenDuplicate(t *testing.T) {
	m, j := newMemStore(), &journal{}
	r := testRegistrar(m, looking{m}, j)
	if _, err := r.Register(t.Context(), registering()); err != nil {
		t.Fatal(err)
	}
	r.challenge = func(_ context.Context, n store.Node) error {
		if n.Instance == instanceA {
			return nil
		}
		return ErrUnproven
	}
	second := registering()
	second.Instance, second.URL = instanceB, "http://127.0.0.1:9"
	var dup *store.DuplicateNodeError
	if _, err := r.Register(t.Context(), second); !errors.As(err, &dup) || dup.Holder.URL != "http://10.0.0.5:3001" {
		t.Errorf("Register() = %v, want a duplicate that names the holder", err)
	}
}

// Many processes under one id, through two coordinators, at once: one is left.
func TestDuplicateRace(t *testing.T) {
	m, j := newMemStore(), &journal{}
	regs := []*Registrar{testRegistrar(m, nil, j), testRegistrar(m, nil, j)}
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			rec := registering()
			rec.Instance = store.Instance(strings.Repeat(string(rune('0'+i)), 32))
			rec.URL = "http://10.0.0." + string(rune('1'+i)) + ":3001"
			_, errs[i] = regs[i%2].Register(context.Background(), rec)
		})
	}
	wg.Wait()
	granted := 0
	for _, err := range errs {
		var dup *store.DuplicateNodeError
		if err == nil {
			granted++
		} else if !errors.As(err, &dup) {
			t.Errorf("Register() = %v, want a duplicate", err)
		}
	}
	if granted != 1 {
		t.Errorf("%d processes were granted the id, want 1", granted)
	}
}

func TestBeatIsChallengedWhenTheAddressIsNew(t *testing.T) {
	m, j := newMemStore(), &journal{}
	asked, home := 0, registering().URL
	r := testRegistrar(m, looking{m}, j)
	r.challenge = func(_ context.Context, n store.Node) error {
		if asked++; n.URL != home {
			return ErrUnproven
		}
		return nil
	}
	if _, err := r.Register(t.Context(), registering()); err != nil {
		t.Fatal(err)
	}
	rec := registering()
	rec.Epoch = 1
	beat := func(want int, why string) {
		t.Helper()
		asked = 0
		if _, err := r.Beat(t.Context(), rec); err != nil {
			t.Fatal(err)
		}
		if asked != want {
			t.Errorf("%s: %d challenges, want %d", why, asked, want)
		}
	}
	beat(0, "a beat as ever")
	rec.URL, home = "http://10.0.0.7:3001", "http://10.0.0.7:3001"
	beat(2, "a new address, and none at the old one")
	beat(0, "the same address again")
	m.flush()
	beat(1, "a node that the fleet has forgotten")
	if !j.has("relearned") {
		t.Error("nothing in the log about a relearned node")
	}
	if n, ok := m.node("node-1"); !ok || n.Epoch != 1 {
		t.Errorf("stored %+v, %v, want the node back under epoch 1", n, ok)
	}
}

// Whoever knows a node's instance cannot draw it to another address while it lives.
func TestBeatFromAnotherAddressWhileTheNodeAnswersAtItsOwn(t *testing.T) {
	m, j := newMemStore(), &journal{}
	r := testRegistrar(m, looking{m}, j)
	if _, err := r.Register(t.Context(), registering()); err != nil {
		t.Fatal(err)
	}
	for e := store.Epoch(1); e < 4; e++ {
		rec := registering()
		rec.URL, rec.Epoch = "http://10.0.0.66:3001", e
		_, err := r.Beat(t.Context(), rec)
		n, _ := m.node("node-1")
		if !errors.Is(err, store.ErrEpoch) || n.URL != registering().URL {
			t.Errorf("Beat() under epoch %d = %v with %s stored, want ErrEpoch and the address as it was", e, err, n.URL)
		}
		if err != nil && strings.Contains(err.Error(), string(instanceA)) {
			t.Errorf("the refusal tells the instance: %v", err)
		}
	}
	if strings.Contains(strings.Join(j.lines, "\n"), string(instanceA)) {
		t.Errorf("the log tells the instance: %q", j.lines)
	}
}

// The store lost its last writes: the process that took the id over last is relearned, and
// the one before it, which is gone, does not stand in its way.
func TestBeatAboveTheStoresEpoch(t *testing.T) {
	m, j := newMemStore(), &journal{}
	r := testRegistrar(m, looking{m}, j)
	if _, err := r.Register(t.Context(), registering()); err != nil {
		t.Fatal(err)
	}
	r.challenge = func(_ context.Context, n store.Node) error {
		if n.Instance == instanceA {
			return ErrUnproven
		}
		return nil
	}
	rec := registering()
	rec.Epoch, rec.Instance, rec.URL = 2, instanceB, "http://10.0.0.6:3001"
	if g, err := r.Beat(t.Context(), rec); err != nil || g.Epoch != 2 {
		t.Errorf("Beat() = %+v, %v, want epoch 2", g, err)
	}
}

// The counter of epochs cannot be used up by making one up.
func TestImplausibleEpochIsOver(t *testing.T) {
	m, j := newMemStore(), &journal{}
	r := testRegistrar(m, looking{m}, j)
	rec := registering()
	for _, e := range []store.Epoch{1<<32 + 1, 1 << 52, 1<<63 - 1} {
		rec.Epoch = e
		if _, err := r.Beat(t.Context(), rec); !errors.Is(err, store.ErrEpoch) {
			t.Errorf("Beat() under epoch %d = %v, want ErrEpoch", e, err)
		}
	}
	rec.Epoch = 1 << 32
	if _, err := r.Beat(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	rec.Epoch = 1<<32 + 5 // near one that is known
	if _, err := r.Beat(t.Context(), rec); err != nil {
		t.Errorf("Beat() a little above a known epoch = %v, want nil", err)
	}
}

func TestBeatOfAnImposter(t *testing.T) {
	m, j := newMemStore(), &journal{}
	r := testRegistrar(m, looking{m}, j)
	if _, err := r.Register(t.Context(), registering()); err != nil {
		t.Fatal(err)
	}
	rec := registering()
	rec.Epoch, rec.Instance, rec.URL = 1, instanceB, "http://10.0.0.66:3001"
	if _, err := r.Beat(t.Context(), rec); !errors.Is(err, store.ErrEpoch) {
		t.Errorf("Beat() with another instance under the holder's epoch = %v, want ErrEpoch", err)
	}
	// An epoch that was never given does not help.
	rec.Epoch = 99
	var dup *store.DuplicateNodeError
	if _, err := r.Beat(t.Context(), rec); !errors.As(err, &dup) {
		t.Errorf("Beat() with another instance under a higher epoch = %v, want a duplicate", err)
	}
	blind := testRegistrar(m, nil, j) // a replica that knows nothing yet
	if _, err := blind.Beat(t.Context(), rec); !errors.As(err, &dup) {
		t.Errorf("Beat() at a fresh replica = %v, want a duplicate", err)
	}
	for _, bye := range []Farewell{
		{ID: "node-1", Instance: instanceB, Epoch: 1},
		{ID: "node-1", Instance: instanceB, Epoch: 99},
		{ID: "node-1", Instance: instanceA, Epoch: 99},
	} {
		if err := r.Deregister(t.Context(), bye); !errors.Is(err, store.ErrEpoch) {
			t.Errorf("Deregister(%+v) = %v, want ErrEpoch", bye, err)
		}
	}
	if n, _ := m.node("node-1"); n.URL != "http://10.0.0.5:3001" {
		t.Errorf("the record was changed to %s", n.URL)
	}
	rec = registering() // epoch 0
	if _, err := r.Beat(t.Context(), rec); !errors.Is(err, ErrRecord) {
		t.Errorf("Beat() without an epoch = %v, want ErrRecord", err)
	}
}

// A fleet must not fence itself because Redis is away, and must not take anyone's word either.
func TestBeatsWithoutRedis(t *testing.T) {
	m, j := newMemStore(), &journal{}
	fleet := &picture{}
	r := testRegistrar(m, fleet, j)
	if _, err := r.Register(t.Context(), registering()); err != nil {
		t.Fatal(err)
	}
	fleet.snap, _ = m.Snapshot(t.Context(), nil)
	m.setDown(store.ErrUnavailable)
	rec := registering()
	rec.Epoch = 1
	if g, err := r.Beat(t.Context(), rec); err != nil || g.Epoch != 1 || g.MissingCatalogs == nil {
		t.Errorf("Beat() of a known node = %+v, %v, want a grant", g, err)
	}
	for name, spoil := range map[string]func(*Record){
		"other epoch":  func(r *Record) { r.Epoch = 2 },
		"other node":   func(r *Record) { r.ID = "node-2" },
		"other url":    func(r *Record) { r.URL = "http://10.0.0.9:3001" },
		"other holder": func(r *Record) { r.Instance = instanceB },
	} {
		rec := rec
		spoil(&rec)
		if _, err := r.Beat(t.Context(), rec); err == nil {
			t.Errorf("%s: Beat() was granted without Redis", name)
		}
	}
	// A Redis that is read but not written says nothing of who else may have registered.
	m.setDown(nil)
	m.readOnly = true
	rec.URL = "http://10.0.0.9:3001"
	r.challenge = func(_ context.Context, n store.Node) error {
		if n.URL != rec.URL {
			return ErrUnproven
		}
		return nil
	}
	if _, err := r.Beat(t.Context(), rec); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Beat() from a new address on a read-only Redis = %v, want ErrUnavailable", err)
	}
	m.setDown(store.ErrUnavailable)
	r.challenge = func(context.Context, store.Node) error { return nil }
	if _, err := r.Register(t.Context(), registering()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Register() = %v, want ErrUnavailable", err)
	}
}

func TestServerChangesAreRecordedOnce(t *testing.T) {
	m, j := newMemStore(), &journal{}
	r := testRegistrar(m, looking{m}, j)
	if _, err := r.Register(t.Context(), registering()); err != nil {
		t.Fatal(err)
	}
	rec := registering()
	rec.Epoch = 1
	rec.Servers = rec.Servers[:1]
	rec.ServerDetails[1].Status, rec.ServerDetails[1].Error = store.ServerFailed, "exit status 2"
	for range 3 {
		if _, err := r.Beat(t.Context(), rec); err != nil {
			t.Fatal(err)
		}
	}
	if got := m.count(store.EventServerFailed); got != 1 {
		t.Errorf("%d failures recorded, want 1", got)
	}
	back := registering()
	back.Epoch = 1
	if _, err := r.Beat(t.Context(), back); err != nil {
		t.Fatal(err)
	}
	if got := m.count(store.EventServerReady); got != 1 {
		t.Errorf("%d recoveries recorded, want 1", got)
	}
	back.Status = store.NodeDraining
	for range 3 {
		if _, err := r.Beat(t.Context(), back); err != nil {
			t.Fatal(err)
		}
	}
	if got := m.count(store.EventNodeDraining); got != 1 {
		t.Errorf("%d drains recorded, want 1", got)
	}
}

func TestPutCatalog(t *testing.T) {
	digest := func(s string) store.Digest {
		sum := sha256.Sum256([]byte(s))
		return store.Digest(hex.EncodeToString(sum[:]))
	}
	const good = `{"tools":[]}`
	big := `{"x":"` + strings.Repeat("a", MaxCatalog) + `"}`
	tests := []struct {
		name   string
		digest store.Digest
		raw    string
		ok     bool
	}{
		{"good", digest(good), good, true},
		{"other bytes", digest(good), `{"tools": []}`, false},
		{"no digest", "", good, false},
		{"upper case", store.Digest(strings.ToUpper(string(digest(good)))), good, false},
		{"key injection", "a}:b", good, false},
		{"not JSON", digest("{oops"), "{oops", false},
		{"not an object", digest("[]"), "[]", false},
		{"empty", digest(""), "", false},
		{"too large", digest(big), big, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, j := newMemStore(), &journal{}
			err := testRegistrar(m, nil, j).PutCatalog(t.Context(), tt.digest, []byte(tt.raw))
			if tt.ok != (err == nil) || !tt.ok && !errors.Is(err, ErrRecord) {
				t.Errorf("PutCatalog() = %v, want accepted %v", err, tt.ok)
			}
			if stored := len(m.catalogs) > 0; stored != tt.ok {
				t.Errorf("stored %v, want %v", stored, tt.ok)
			}
		})
	}
}

func TestDeregisterRefusals(t *testing.T) {
	m, j := newMemStore(), &journal{}
	r := testRegistrar(m, nil, j)
	if _, err := r.Register(t.Context(), registering()); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		f    Farewell
		want error
	}{
		{Farewell{ID: "a b", Epoch: 1}, ErrRecord},
		{Farewell{ID: "node-1"}, ErrRecord},
		{Farewell{ID: "node-1", Epoch: 7}, store.ErrEpoch},
		{Farewell{ID: "node-2", Epoch: 1}, store.ErrNotFound},
	}
	for _, tt := range tests {
		if err := r.Deregister(t.Context(), tt.f); !errors.Is(err, tt.want) {
			t.Errorf("Deregister(%+v) = %v, want %v", tt.f, err, tt.want)
		}
	}
	if m.count(store.EventNodeDeregistered) != 0 {
		t.Error("a refused farewell was recorded")
	}
}

func TestRecentIsBounded(t *testing.T) {
	r := newRecent[int](time.Hour, 10)
	for i := range 1000 {
		r.mark(i)
		if !r.has(i) {
			t.Fatalf("has(%d) = false right after mark", i)
		}
	}
	if len(r.at) > 10 {
		t.Errorf("%d remembered, want at most 10", len(r.at))
	}
}
