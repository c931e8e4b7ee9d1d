package store_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/mcphub-go/mcphub/store"
)

func TestNewerDataIsRefused(t *testing.T) {
	m := miniredis.RunT(t)
	if err := m.Set("mcphub:schema", "2"); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), store.Config{URL: "redis://" + m.Addr(), Schema: 1})
	if !errors.Is(err, store.ErrSchema) || s != nil || !strings.Contains(err.Error(), "2") {
		t.Fatalf("Open = %v, %v; want ErrSchema with the number", s, err)
	}
	s, err = store.Open(t.Context(), store.Config{URL: "redis://" + m.Addr(), Schema: 2})
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
}

// The data may turn out newer only when Redis is first reached, and be mended later.
func TestNewerDataThatShowsLater(t *testing.T) {
	m := miniredis.RunT(t)
	addr := m.Addr()
	if err := m.Set("mcphub:schema", "9"); err != nil {
		t.Fatal(err)
	}
	m.SetError("LOADING Redis is loading the dataset in memory")
	s := open(t, "redis://"+addr, tickingClock())
	m.SetError("")
	for name, call := range everyCall(s) {
		err := call(t.Context())
		switch name {
		case "Ping", "SchemaVersion":
			if err != nil {
				t.Errorf("%s = %v", name, err)
			}
		default:
			if !errors.Is(err, store.ErrSchema) {
				t.Errorf("%s = %v, want ErrSchema", name, err)
			}
			if h := s.Health(); h.OK || h.State != store.HealthSchema {
				t.Errorf("after %s: Health = %+v", name, h)
			}
		}
	}
	if keys := m.Keys(); len(keys) != 1 {
		t.Errorf("something was written: %v", keys)
	}
	if n, err := s.SchemaVersion(t.Context()); n != 9 || err != nil {
		t.Errorf("SchemaVersion = %d, %v", n, err)
	}
	m.FlushAll()
	if _, err := s.CountSessions(t.Context()); err != nil {
		t.Fatalf("after the data is gone: %v", err)
	}
	if h := s.Health(); !h.OK {
		t.Fatalf("Health = %+v", h)
	}
}

// A Redis that comes back may be another one, or have been migrated meanwhile.
func TestTheSchemaIsCheckedAgainAfterAnOutage(t *testing.T) {
	m := miniredis.RunT(t)
	s := open(t, "redis://"+m.Addr(), tickingClock())
	if _, err := s.CountSessions(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.SetError("LOADING Redis is loading the dataset in memory")
	for range 3 {
		if err := s.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("Ping = %v", err)
		}
	}
	m.SetError("")
	if err := m.Set("mcphub:schema", "9"); err != nil {
		t.Fatal(err)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CountSessions(t.Context()); !errors.Is(err, store.ErrSchema) {
		t.Fatalf("CountSessions = %v, want ErrSchema", err)
	}
}

func TestADamagedSchemaNumberIsUnavailable(t *testing.T) {
	m := miniredis.RunT(t)
	if err := m.Set("mcphub:schema", "banana"); err != nil {
		t.Fatal(err)
	}
	s := open(t, "redis://"+m.Addr())
	if _, err := s.CountSessions(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("CountSessions = %v", err)
	}
}

func TestCallsAfterClose(t *testing.T) {
	m := miniredis.RunT(t)
	s := open(t, "redis://"+m.Addr())
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for name, call := range everyCall(s) {
		start := time.Now()
		if err := call(t.Context()); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s = %v", name, err)
		}
		if took := time.Since(start); took > timeout {
			t.Errorf("%s took %v", name, took)
		}
	}
}
