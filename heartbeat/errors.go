package heartbeat

import (
	"errors"
	"fmt"

	"github.com/mcphub-go/mcphub/store"
)

// Errors of a node's own lease. Test with errors.Is.
var (
	// ErrCredential says that the caller did not present the fleet credential.
	ErrCredential = errors.New("fleet credential is missing or wrong")

	// ErrLapsed says that no beat has been acknowledged for too long, or never: the node must
	// not run anything until one is.
	ErrLapsed = errors.New("lease of this node has lapsed")
)

// Errors of the Registrar, beside those of the store. Test with errors.Is.
var (
	// ErrRecord is wrapped by every refusal of what a node says of itself; the text says what
	// to mend. Nothing was stored.
	ErrRecord = errors.New("record refused")

	// ErrAddress is wrapped by every refusal of a URL as such; the text gives the reason.
	// Nothing was stored.
	ErrAddress = errors.New("address refused")

	// ErrUnproven says that the process at the URL did not answer the challenge as the node
	// that registers. Nothing was stored.
	ErrUnproven = errors.New("node did not answer at its address")
)

// DuplicateError is why [Agent.Run] gave up: another live process holds the node's id. The
// lease is fenced, so that nothing more is run here.
type DuplicateError struct {
	ID store.NodeID
	// Answer is the coordinator's sentence, which names the other process's address.
	Answer string
}

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("node id %s is taken: %s; stop the other process or give this one another cluster.node.id", e.ID, e.Answer)
}

func badRecord(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrRecord, fmt.Errorf(format, args...))
}

func badAddress(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrAddress, fmt.Errorf(format, args...))
}
