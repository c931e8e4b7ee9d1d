package wire

import "bytes"

// Span is a range of bytes, [Start, End). The zero Span means absent.
type Span struct{ Start, End int }

// IsZero reports whether the span is absent.
func (s Span) IsZero() bool { return s == Span{} }

// Of returns the bytes of raw in the span, without copying, and nil for an absent span.
func (s Span) Of(raw []byte) []byte {
	if s.IsZero() {
		return nil
	}
	return raw[s.Start:s.End:s.End]
}

// Kind tells the three sorts of message apart.
type Kind uint8

// The kinds of message. A Frame from Scan has one of them; the zero Kind is none.
const (
	Request      Kind = iota + 1 // a method and an id
	Notification                 // a method without an id
	Response                     // a result or an error
)

func (k Kind) String() string {
	switch k {
	case Request:
		return "request"
	case Notification:
		return "notification"
	case Response:
		return "response"
	}
	return "invalid"
}

// Frame is one JSON-RPC message: its bytes as they came, and where its parts are. The spans
// are offsets into Raw and cover the whole value, quotes and braces included.
type Frame struct {
	Raw    []byte
	Kind   Kind
	Method string // unescaped; empty for a Response
	ID     Span   // absent for a Notification, and possibly for an error Response
	Params Span
	Result Span
	Error  Span
}

// IDBytes returns the id as written, a JSON string, number or null, or nil. It aliases Raw.
func (f *Frame) IDBytes() []byte { return f.ID.Of(f.Raw) }

// ParamsBytes returns the params as written, or nil. It aliases Raw.
func (f *Frame) ParamsBytes() []byte { return f.Params.Of(f.Raw) }

// ResultBytes returns the result as written, or nil. It aliases Raw.
func (f *Frame) ResultBytes() []byte { return f.Result.Of(f.Raw) }

// ErrorBytes returns the error object as written, or nil. It aliases Raw.
func (f *Frame) ErrorBytes() []byte { return f.Error.Of(f.Raw) }

// SameID reports whether two ids are the same bytes. 1 and 1.0, or two spellings of one
// string, are different ids: whoever made the id is answered in its own spelling.
func SameID(a, b []byte) bool { return a != nil && bytes.Equal(a, b) }

// Lookup finds a value inside the frame; see the function Lookup. A path that starts with
// params, result or error starts from the part already known.
func (f *Frame) Lookup(path ...string) (Span, bool) {
	if len(path) == 0 {
		return Span{}, false
	}
	switch path[0] {
	case "params":
		return LookupIn(f.Raw, f.Params, path[1:]...)
	case "result":
		return LookupIn(f.Raw, f.Result, path[1:]...)
	case "error":
		return LookupIn(f.Raw, f.Error, path[1:]...)
	case "id":
		return LookupIn(f.Raw, f.ID, path[1:]...)
	}
	return Lookup(f.Raw, path...)
}
