package e2e

import (
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// A call in a known session asks Redis nothing. What the fleet asks anyway is measured over
// the same span without calls and taken off.
func TestCallsInKnownSessionsAskRedisNothing(t *testing.T) {
	long(t)
	c := fleet(t, 2, harness.Options{})
	cr := openCrowd(t, c.Front.URL+"/mcp/fixture", 12)
	wide := harness.MustOpen(t, c.Front.URL+"/mcp")
	calls := 0
	round := func() {
		cr.stays("known", 1)
		if _, err := wide.Call(t.Context(), "fixture-"+toolWhoami, nil); err != nil {
			t.Fatal(err)
		}
		calls += len(cr.ids) + 1
	}
	for range 6 { // every coordinator knows every session
		round()
	}

	before, began := c.Redis.Commands(), time.Now()
	calls = 0
	for calls < 1500 {
		round()
	}
	span := time.Since(began)
	between := c.Redis.Commands()
	select { // a measurement, not a wait for something to happen
	case <-time.After(span):
	case <-t.Context().Done():
	}
	after := c.Redis.Commands()

	busy, idle := total(between)-total(before), total(after)-total(between)
	perCall := float64(busy-idle) / float64(calls)
	t.Logf("%d calls in %v: %d commands, %d in the same span without calls: %.4f a call", calls, span.Round(time.Millisecond), busy, idle, perCall)
	// A batch of renewals, each half minute, may fall into the span: of 13 sessions by three
	// coordinators some 120 commands. If calls asked anything it would be a command of each.
	if perCall > 0.15 {
		t.Errorf("%.4f commands a call, want none on the path of a request:", perCall)
		for name, n := range between {
			t.Logf("%-12s %5d with calls, %5d without", name, n-before[name], after[name]-n)
		}
	}
}

func total(commands map[string]int) int {
	n := 0
	for _, v := range commands {
		n += v
	}
	return n
}
