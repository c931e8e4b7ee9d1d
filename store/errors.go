package store

import (
	"errors"
	"fmt"
)

// Errors a caller may do something about. Test with errors.Is.
var (
	// ErrNotFound says that the store works and holds no such thing.
	ErrNotFound = errors.New("not found")

	// ErrEnded says that the session existed and was ended on purpose; it must not be revived.
	ErrEnded = errors.New("session ended")

	// ErrEpoch says that the caller acts under an epoch that is no longer the node's: another
	// process has registered under the id since. Register again, or stop.
	ErrEpoch = errors.New("epoch is over")

	// ErrUnavailable says that Redis could not be asked: away, hung, slow, refusing, or the
	// breaker is open. It is unknown whether a write took effect.
	ErrUnavailable = errors.New("redis unavailable")

	// ErrSchema says that the data in Redis was written by a newer release than this one.
	ErrSchema = errors.New("data in Redis is newer than this release knows")
)

// DuplicateNodeError says that another live process holds the node id. Nothing was changed.
type DuplicateNodeError struct {
	// Holder is the record of the process that holds the id.
	Holder Node
}

func (e *DuplicateNodeError) Error() string {
	return fmt.Sprintf("node id %s is held by another live process at %s", e.Holder.ID, e.Holder.URL)
}
