package node

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

func TestClientsGoBeforeSpares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStarts(1)
		if err := s.acquire(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []string
		var all sync.WaitGroup
		for _, w := range []struct {
			name   string
			urgent bool
		}{{"spare 1", false}, {"client 1", true}, {"spare 2", false}, {"client 2", true}} {
			all.Go(func() {
				if err := s.acquire(t.Context(), w.urgent); err != nil {
					t.Error(err)
				}
				mu.Lock()
				order = append(order, w.name)
				mu.Unlock()
				s.release()
			})
			synctest.Wait() // so that they come in this order
		}
		s.release()
		all.Wait()
		if want := []string{"client 1", "client 2", "spare 1", "spare 2"}; !slices.Equal(order, want) {
			t.Errorf("started %v, want %v", order, want)
		}
	})
}

func TestLeaveToStartIsNotLostWithThoseWhoStopWaiting(t *testing.T) {
	for range 200 {
		s := newStarts(1)
		if err := s.acquire(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan error, 1)
		go func() { got <- s.acquire(ctx, true) }()
		go cancel()
		s.release()
		if err := <-got; err == nil {
			s.release()
		} else if !errors.Is(err, context.Canceled) {
			t.Fatalf("acquire() = %v", err)
		}
		if err := s.acquire(t.Context(), false); err != nil { // blocks for good if leave was lost
			t.Fatal(err)
		}
		s.release()
		if s.free != 1 || len(s.urgent)+len(s.others) != 0 {
			t.Fatalf("%d free, %d waiting, want 1 and none", s.free, len(s.urgent)+len(s.others))
		}
	}
}
