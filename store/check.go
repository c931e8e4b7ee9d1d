package store

import (
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// What goes into a key or a script is checked here first: a name can then never reach another
// key, another field or another hash slot than its own.

func checkNode(id NodeID) error {
	if err := wire.CheckName("node id", string(id)); err != nil {
		return invalid("%w", err)
	}
	return nil
}

func checkServer(id ServerID) error {
	if err := wire.CheckName("server name", string(id)); err != nil {
		return invalid("%w", err)
	}
	return nil
}

func checkGroupName(name string) error {
	if err := wire.CheckName("group name", name); err != nil {
		return invalid("%w", err)
	}
	return nil
}

func checkCoordinator(id CoordinatorID) error {
	if err := wire.CheckName("coordinator id", string(id)); err != nil {
		return invalid("%w", err)
	}
	return nil
}

// checkSession wants 32 lower-case hex digits. The id is not repeated: it works like a password.
func checkSession(id SessionID) error {
	if len(id) != 32 || !isHex(string(id)) {
		return invalid("session id: want 32 lower-case hex digits")
	}
	return nil
}

func checkDigest(d Digest) error {
	if len(d) != 64 || !isHex(string(d)) {
		return invalid("digest: want 64 lower-case hex digits")
	}
	return nil
}

func checkTTL(ttl time.Duration) error {
	if ttl < time.Millisecond {
		return invalid("time to live %v: want at least 1ms", ttl)
	}
	return nil
}

func checkBinding(what string, b Binding) error {
	if b == (Binding{}) {
		return nil
	}
	if err := checkNode(b.Node); err != nil {
		return invalid("%s binding: %w", what, err)
	}
	if b.Epoch < 1 {
		return invalid("%s binding: epoch %d is below 1", what, b.Epoch)
	}
	return nil
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
