package wire

import (
	"errors"
	"fmt"
)

// FrameError says why a message was refused. Msg is a sentence for whoever sent it and holds
// no text of the message; Offset is the byte at which the trouble was seen.
type FrameError struct {
	Code   int // CodeParse or CodeInvalidRequest
	Msg    string
	Offset int
}

func (e *FrameError) Error() string {
	return fmt.Sprintf("%s (at byte %d)", e.Msg, e.Offset)
}

// Errors of event streams. Test with errors.Is.
var (
	// ErrEventTooLarge says that one event is longer than the reader's limit. The stream
	// cannot be read further.
	ErrEventTooLarge = errors.New("event larger than the limit")

	// ErrEventField says that an id or a name holds CR, LF or NUL. Nothing was written.
	ErrEventField = errors.New("event id or name holds a line break or NUL")
)
