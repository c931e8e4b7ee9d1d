package store_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// Questions are measured whether Redis answers or not; what is refused here is none.
func TestObserve(t *testing.T) {
	var asked atomic.Int64
	count := func(took time.Duration) {
		if took > 0 {
			asked.Add(1)
		}
	}
	e, err := store.StartEmbedded("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	s, err := store.Open(t.Context(), store.Config{URL: e.URL(), Observe: count})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	before := asked.Load()
	if _, err := s.CountSessions(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := asked.Load(); n <= before {
		t.Errorf("%d questions measured, as many as before", n)
	}
	if s.Health().Refusing {
		t.Error("it refuses although all went well")
	}

	e.Close()
	for range 3 {
		if err := s.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("Ping = %v", err)
		}
	}
	before = asked.Load()
	if before < 4 || !s.Health().Refusing {
		t.Errorf("%d questions measured, Health %+v: want the failed ones too, and an open breaker", before, s.Health())
	}
	if err := s.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) || asked.Load() != before {
		t.Errorf("Ping = %v, measured %d: a refused call asks nothing", err, asked.Load()-before)
	}
}
