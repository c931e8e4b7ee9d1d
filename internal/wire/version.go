package wire

import "slices"

// MCP revisions. Those before 2026-07-28 have sessions and an initialize handshake.
const (
	Version20241105 = "2024-11-05"
	Version20250326 = "2025-03-26"
	Version20250618 = "2025-06-18"
	Version20251125 = "2025-11-25"
	Version20260728 = "2026-07-28"

	// LatestLegacy is the newest revision with sessions.
	LatestLegacy = Version20251125

	// AssumedVersion holds for a request without HeaderVersion whose session does not say
	// otherwise (MCP 2025-06-18 and 2025-11-25, Transports, Protocol Version Header).
	AssumedVersion = Version20250326
)

// Keys of params._meta that MCP 2026-07-28 requires on every request.
const (
	MetaVersion      = "io.modelcontextprotocol/protocolVersion"
	MetaCapabilities = "io.modelcontextprotocol/clientCapabilities"
)

// Legacy lists the revisions with sessions, oldest first.
func Legacy() []string {
	return []string{Version20241105, Version20250326, Version20250618, Version20251125}
}

// IsLegacy reports whether v is a published revision with sessions.
func IsLegacy(v string) bool { return slices.Contains(Legacy(), v) }

// IsModern reports whether v is written as a revision is (YYYY-MM-DD) and is 2026-07-28 or
// later. It says nothing about whether such a revision was ever published.
func IsModern(v string) bool {
	if len(v) != len(Version20260728) {
		return false
	}
	for i := range len(v) {
		if i == 4 || i == 7 {
			if v[i] != '-' {
				return false
			}
		} else if v[i] < '0' || v[i] > '9' {
			return false
		}
	}
	return v >= Version20260728
}
