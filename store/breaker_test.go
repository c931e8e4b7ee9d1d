package store

import (
	"testing"
	"time"
)

func TestBreakerOpensAfterThreeFailuresInARow(t *testing.T) {
	var b breaker
	now := time.Unix(1000, 0)
	for i, step := range []struct {
		fail bool
		open bool
	}{{true, false}, {true, false}, {false, false}, {true, false}, {true, false}, {true, true}, {true, false}} {
		opened := false
		if step.fail {
			opened = b.failure(now)
		} else {
			b.success()
		}
		if opened != step.open {
			t.Fatalf("step %d: opened = %v, want %v", i, opened, step.open)
		}
	}
	if b.allow(now) || b.allow(now.Add(999*time.Millisecond)) {
		t.Fatal("an open breaker let a call through within the second")
	}
}

func TestBreakerLetsOneProbeASecondThroughAndCloses(t *testing.T) {
	var b breaker
	now := time.Unix(1000, 0)
	for range 3 {
		b.failure(now)
	}
	for i := range 3 {
		now = now.Add(time.Second)
		if !b.allow(now) {
			t.Fatalf("second %d: no probe", i)
		}
		for range 10 {
			if b.allow(now.Add(500 * time.Millisecond)) {
				t.Fatalf("second %d: a second probe", i)
			}
		}
		b.failure(now)
	}
	now = now.Add(time.Second)
	if !b.allow(now) || !b.success() {
		t.Fatal("a probe that went well did not close the breaker")
	}
	for range 100 {
		if !b.allow(now) {
			t.Fatal("a closed breaker refused")
		}
	}
	if b.failure(now) {
		t.Fatal("one failure after closing opened it")
	}
}
