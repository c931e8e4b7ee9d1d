package web

import (
	"fmt"
	"time"
)

// age says how long ago t was at now, in at most two units: "now", "12 s", "5 min", "3 h 12 min",
// "4 d 2 h". A time in the future is "now": the two may come from readings a moment apart.
// The zero time has no age.
func age(now, t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return span(now.Sub(t))
}

// left says how long it is from now until t, in the same words; what is over is "now".
func left(now, t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return span(t.Sub(now))
}

func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 24*time.Hour:
		return two(int(d.Hours()), "h", int(d.Minutes())%60, "min")
	default:
		return two(int(d.Hours())/24, "d", int(d.Hours())%24, "h")
	}
}

func two(big int, bigUnit string, small int, smallUnit string) string {
	if small == 0 {
		return fmt.Sprintf("%d %s", big, bigUnit)
	}
	return fmt.Sprintf("%d %s %d %s", big, bigUnit, small, smallUnit)
}

// stamp is the instant in full, for a title attribute.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}
