package store

import (
	"errors"
	"fmt"
)

// Errors a caller may do something about. Test with errors.Is.
var (
	// ErrNotFound says that the store works and holds no such thing.
	ErrNotFound = errors.New("not found")

	// ErrExists says that there is such a thing already; nothing was changed.
	ErrExists = errors.New("already exists")

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

	// ErrInvalid says that an argument breaks a rule that its doc comment states: a name, a
	// session id, a digest, a time to live. Nothing was changed.
	ErrInvalid = errors.New("invalid argument")

	// ErrTooMany says that a limit on the number of things is reached; nothing was changed. It is
	// also an ErrInvalid.
	ErrTooMany = fmt.Errorf("%w: too many", ErrInvalid)

	// ErrCursor says that a listing's cursor was not made by this release's Sessions. Start
	// again without one. It is also an ErrInvalid.
	ErrCursor = fmt.Errorf("%w: cursor not understood", ErrInvalid)
)

// DuplicateNodeError says that another live process holds the node id. Nothing was changed.
type DuplicateNodeError struct {
	// Holder is the record of the process that holds the id.
	Holder Node
}

func (e *DuplicateNodeError) Error() string {
	return fmt.Sprintf("node id %s is held by another live process at %s", e.Holder.ID, e.Holder.URL)
}

// MissingSessionsError says that some of the sessions given to TouchSessions could not be
// touched; the others were. It is an ErrNotFound.
type MissingSessionsError struct {
	// Missing are unknown to Redis, or have lost a part of what it knew. Whoever has one cached writes it back with CreateSession.
	Missing []SessionID
	// Ended were ended on purpose and must be forgotten.
	Ended []SessionID
}

func (e *MissingSessionsError) Error() string {
	return fmt.Sprintf("touch sessions: %d not found, %d ended", len(e.Missing), len(e.Ended))
}

// Is makes errors.Is(err, ErrNotFound) true.
func (e *MissingSessionsError) Is(target error) bool { return target == ErrNotFound }

// invalid makes an ErrInvalid out of a reason.
func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrInvalid, fmt.Errorf(format, args...))
}
