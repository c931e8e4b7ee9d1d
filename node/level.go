package node

// logLevel orders the severities of notifications/message (MCP 2025-11-25, Logging), debug
// lowest. The zero level is none.
type logLevel uint8

const levelUnset logLevel = 0

var levelNames = [...]string{"", "debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}

const levelInfo logLevel = 2

func parseLevel(name string) (logLevel, bool) {
	for i, n := range levelNames {
		if i > 0 && n == name {
			return logLevel(i), true
		}
	}
	return levelUnset, false
}

func (v logLevel) String() string { return levelNames[v] }

// levelCount counts the sessions that asked for each level.
type levelCount [len(levelNames)]int

// move counts a session that goes from one level to another; either may be unset.
func (n *levelCount) move(from, to logLevel) {
	n[from]--
	n[to]++
	n[levelUnset] = 0
}

// lowest is the lowest level any session asked for, or unset.
func (n *levelCount) lowest() logLevel {
	for v := levelUnset + 1; int(v) < len(n); v++ {
		if n[v] > 0 {
			return v
		}
	}
	return levelUnset
}
