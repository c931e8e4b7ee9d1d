package router

import (
	"errors"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// Errors that Carry and EndSession return; test with errors.Is. Nothing was written to the
// client when one is returned. Each comes inside an *Error with what there is to tell. The
// status in a comment is the one that MCP or HTTP gives the case; package server decides.
var (
	// ErrUnknownSession says that the session id is made up, or the session was ended, has
	// expired, lives under another endpoint or belongs to someone else; which, is not told.
	// 404: the client must initialize anew (MCP 2025-11-25, Transports, Session Management).
	ErrUnknownSession = errors.New("unknown session")

	// ErrMissingSession says that a request that needs a session came without a session id. 400.
	ErrMissingSession = errors.New("missing session id")

	// ErrBadRequest says that the message cannot be understood or carried. 400.
	ErrBadRequest = errors.New("bad request")

	// ErrUnknownServer says that no node has ever named such a server. 404.
	ErrUnknownServer = errors.New("unknown server")

	// ErrNoReplica says that the server exists and can be called nowhere at the moment; the
	// message has certainly not run. 503, with Error.RetryAfter.
	ErrNoReplica = errors.New("no replica can take the request")

	// ErrTooManySessions says that the client has as many sessions as it may. 429, with
	// Error.RetryAfter.
	ErrTooManySessions = errors.New("too many sessions")

	// ErrUnavailable says that something that needs Redis could not be done. 503.
	ErrUnavailable = errors.New("shared state is unavailable")

	// ErrBadGateway says that a node gave an answer that must not be passed on. 502.
	ErrBadGateway = errors.New("bad answer from a node")

	// ErrMethod says that the HTTP method is not one that Carry knows. 405.
	ErrMethod = errors.New("method not allowed")
)

// Error is a request that was not carried. It holds everything that the client may be told.
type Error struct {
	// Err is one of the sentinels above.
	Err error
	// ID is the id of the JSON-RPC message, raw, or nil where it is not known or has none.
	ID []byte
	// Code, Message and Data make the JSON-RPC error.
	Code    int
	Message string
	Data    any
	// RetryAfter is when it is worth trying again; zero means not said.
	RetryAfter time.Duration
	// Cause is for the log: it may name addresses.
	Cause error
}

func (e *Error) Error() string {
	if e.Cause != nil {
		return e.Message + ": " + e.Cause.Error()
	}
	return e.Message
}

// Unwrap gives the sentinel and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Err}
	}
	return []error{e.Err, e.Cause}
}

// Frame is the JSON-RPC error to answer with.
func (e *Error) Frame() []byte { return wire.Error(e.ID, e.Code, e.Message, e.Data) }

func unknownSession(id []byte) *Error {
	return &Error{
		Err: ErrUnknownSession, ID: id, Code: wire.CodeInvalidRequest,
		Message: "unknown session: it has ended or expired, or was never here; send initialize without Mcp-Session-Id to start a new one",
	}
}

func missingSession(id []byte) *Error {
	return &Error{
		Err: ErrMissingSession, ID: id, Code: wire.CodeInvalidRequest,
		Message: "missing Mcp-Session-Id: send initialize first, and its answer's Mcp-Session-Id with every later request",
	}
}

func unknownServer(id []byte) *Error {
	return &Error{
		Err: ErrUnknownServer, ID: id, Code: wire.CodeInvalidRequest,
		Message: "unknown server: no node of this hub has a server of that name",
	}
}

func badFrame(err error) *Error {
	e := &Error{Err: ErrBadRequest, Code: wire.CodeParse, Message: "the body is not one JSON-RPC message", Cause: err}
	if f, ok := errors.AsType[*wire.FrameError](err); ok {
		e.Code, e.Message, e.Cause = f.Code, f.Error(), nil
	}
	return e
}

func badRequest(id []byte, msg string) *Error {
	return &Error{Err: ErrBadRequest, ID: id, Code: wire.CodeInvalidRequest, Message: msg}
}

// versions is the data of an UnsupportedProtocolVersion error (MCP 2026-07-28, Versioning).
type versions struct {
	Supported []string `json:"supported"`
	Requested string   `json:"requested"`
}

func unsupportedVersion(id []byte, requested string) *Error {
	return &Error{
		Err: ErrBadRequest, ID: id, Code: wire.CodeUnsupportedVersion,
		Message: "unsupported protocol version: this hub serves the revisions with sessions; send initialize with one of them",
		Data:    versions{Supported: wire.Legacy(), Requested: requested},
	}
}
