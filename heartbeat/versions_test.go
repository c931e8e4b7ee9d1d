package heartbeat

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// mentions counts the lines of a log that hold a text.
func (j *journal) mentions(text string) (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, l := range j.lines {
		if strings.Contains(l, text) {
			n++
		}
	}
	return n
}

func TestOtherVersionsAreWarnedOfOnceByBothEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemStore()
		nodes, hubs := &journal{}, &journal{}
		same, other, third := testRegistrar(m, nil, hubs), testRegistrar(m, nil, hubs), testRegistrar(m, nil, hubs)
		same.cfg.Version, other.cfg.Version, third.cfg.Version = "test", "v2\x1b[0m", "v3"
		f := &front{reg: same}
		stop := start(t, testAgent(t, "node-1", instanceA, f, newSource(ready("echo")), nodes))
		time.Sleep(11 * time.Second)
		if nodes.mentions("another version") != 0 || hubs.mentions("another version") != 0 {
			t.Errorf("warnings of equal versions: %v %v", nodes.lines, hubs.lines)
		}
		for range 3 { // as a balancer does
			for _, r := range []*Registrar{other, third, same} {
				f.answerBy(r)
				time.Sleep(6 * time.Second)
			}
		}
		if n := nodes.mentions("coordinator is of another version than this node: v2 [0m, not test"); n != 1 {
			t.Errorf("the node warned of v2 %d times, want once: %v", n, nodes.lines)
		}
		if n := nodes.mentions("coordinator is of another version than this node: v3, not test"); n != 1 {
			t.Errorf("the node warned of v3 %d times, want once", n)
		}
		for want, times := range map[string]int{"than this coordinator: test, not v2": 1, "than this coordinator: test, not v3": 1, "than this coordinator": 2} {
			if n := hubs.mentions(want); n != times {
				t.Errorf("the coordinators warned %d times of %q, want %d: %v", n, want, times, hubs.lines)
			}
		}
		_ = stop()
	})
}

func TestOlderEndsSayNothingOfVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes, hubs := &journal{}, &journal{}
		f := &front{reg: testRegistrar(newMemStore(), nil, hubs)} // its grants name no version
		stop := start(t, testAgent(t, "node-1", instanceA, f, newSource(ready("echo")), nodes))
		time.Sleep(11 * time.Second)
		if nodes.mentions("another version")+hubs.mentions("another version") != 0 {
			t.Errorf("warned without knowing: %v %v", nodes.lines, hubs.lines)
		}
		_ = stop()
	})
}
