package node

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/mcphub-go/mcphub/internal/wire"
)

const (
	// maxEventID bounds an event id, in bytes, all of them visible ASCII.
	maxEventID = 128
	// maxNamedID bounds the id of a request that is part of the event ids of its answer, as JSON.
	maxNamedID = 48
	// maxNumber bounds the digits of a number in an event id.
	maxNumber = 18
)

// Kinds of streams.
const (
	callStream = 'c' // the answer to a request
	ownStream  = 'g' // of the session, by GET
)

// streamKey names a stream of a session.
type streamKey struct {
	kind byte
	n    uint64
}

// eventID names an event of a session, and with it the place in a stream right behind it
// (MCP 2025-11-25, Transports, Resumability and Redelivery). It is written <inc>.<kind><n>.<seq>,
// and for the answer to a request with a short id also .<that id>, so that whoever has lost the
// stream can still be told which request it was.
type eventID struct {
	inc     string // of the session
	stream  streamKey
	seq     uint64
	request []byte // the id of the request, as JSON; nil for none
}

// tailOf is what the event ids of the answer to a request end in; it may be empty.
func tailOf(id []byte) string {
	if len(id) == 0 || len(id) > maxNamedID {
		return ""
	}
	return "." + base64.RawURLEncoding.EncodeToString(id)
}

// appendEventID writes the id of an event of a stream.
func appendEventID(dst []byte, inc string, st *stream, seq uint64) []byte {
	dst = append(append(dst, inc...), '.', st.key.kind)
	dst = append(strconv.AppendUint(dst, st.key.n, 10), '.')
	return append(strconv.AppendUint(dst, seq, 10), st.tail...)
}

// parseEventID reads what a client says was the id of the last event it got. It accepts only
// what appendEventID writes.
func parseEventID(s string) (eventID, bool) {
	if len(s) > maxEventID {
		return eventID{}, false
	}
	inc, rest, _ := strings.Cut(s, ".")
	name, rest, _ := strings.Cut(rest, ".")
	seq, request, tail := strings.Cut(rest, ".")
	if !isInc(inc) || name == "" {
		return eventID{}, false
	}
	id := eventID{inc: inc, stream: streamKey{kind: name[0]}}
	var ok bool
	if id.stream.n, ok = number(name[1:]); !ok {
		return eventID{}, false
	}
	if id.seq, ok = number(seq); !ok {
		return eventID{}, false
	}
	switch {
	case id.stream.kind != callStream && id.stream.kind != ownStream, tail && id.stream.kind == ownStream:
		return eventID{}, false
	case !tail:
		return id, true
	}
	id.request, ok = requestIn(request)
	return id, ok
}

// requestIn reads the id of a request, which must be one that a request can have.
func requestIn(s string) ([]byte, bool) {
	id, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(id) == 0 || len(id) > maxNamedID || strings.ContainsAny(s, "\r\n") {
		return nil, false
	}
	f, err := wire.Scan(append(append([]byte(`{"jsonrpc":"2.0","id":`), id...), `,"method":"m"}`...), wire.ClientLimits)
	if err != nil || f.Kind != wire.Request || string(f.IDBytes()) != string(id) {
		return nil, false
	}
	return id, true
}

// isInc says whether s may be the inc of a session.
func isInc(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return len(s) == incLen
}

// number reads a number in the one way in which it is written.
func number(s string) (uint64, bool) {
	if len(s) > maxNumber {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && (s[0] != '0' || len(s) == 1) && s[0] != '+'
}
