package heartbeat

import "time"

// instant is a moment by two clocks of this machine, neither of which is ever set: Go's
// monotonic clock, and one that also counts the time the machine was suspended.
type instant struct {
	mono time.Time
	boot time.Duration
}

func now() instant { return instant{mono: time.Now(), boot: sinceBoot()} }

// age is the time since, by the clock that says more.
func (i instant) age() time.Duration {
	if i.mono.IsZero() {
		return 1<<63 - 1
	}
	return max(time.Since(i.mono), sinceBoot()-i.boot)
}
