package wire

import (
	"fmt"
	"strings"
	"sync"
)

// Scan reads raw as exactly one JSON-RPC message and says where its parts are. Nothing is
// decoded or copied: the frame's Raw is raw itself, which must not change while it is in use.
//
// Every refusal is a *FrameError. Refused are: what is not JSON (RFC 8259) or not UTF-8,
// with a byte order mark, or followed by more than white space; arrays, for batches are taken
// apart before; what exceeds lim; duplicate keys, at every level unless lim.Lenient, then
// only in the envelope; an envelope key that another parser could take for jsonrpc, id,
// method, params, result or error (other case, escapes, NUL); a jsonrpc other than "2.0"; an id that
// is not a string or number (MCP allows no null, except in an error response, where it may
// also be missing: MCP 2025-11-25, JSONRPCErrorResponse); a method that is not a non-empty
// string; params or error that are not objects (MCP, narrower than JSON-RPC); and anything
// but exactly one of method, result and error. Other keys of the envelope pass.
func Scan(raw []byte, lim Limits) (Frame, error) {
	lim = lim.withDefaults()
	if len(raw) > lim.MaxBytes {
		return Frame{}, refuse(lim.MaxBytes, fmt.Sprintf("the message is larger than %d bytes", lim.MaxBytes))
	}
	s := getScanner(raw, lim)
	defer s.release()
	if err := s.message(); err != nil {
		return Frame{}, err
	}
	if err := s.judge(); err != nil {
		return Frame{}, err
	}
	return s.frame, nil
}

// scanner walks one message. It is pooled; nothing of it outlives a call of Scan.
type scanner struct {
	b       []byte
	pos     int
	depth   int
	tokens  int
	lim     Limits
	frame   Frame
	version bool // jsonrpc was seen and is "2.0"
	method  bool // method was seen

	keys    []key  // keys of the open objects, innermost last
	decoded []byte // text of those keys that are written with escapes
}

// key is one key of an open object. Its text lies in b, or in decoded if it has escapes.
type key struct {
	start, end int
	at         int // offset of its opening quote
	escaped    bool
}

var scanners = sync.Pool{New: func() any { return new(scanner) }}

func getScanner(raw []byte, lim Limits) *scanner {
	s := scanners.Get().(*scanner) //nolint:forcetypeassert // the pool holds nothing else
	*s = scanner{b: raw, lim: lim, keys: s.keys[:0], decoded: s.decoded[:0]}
	s.frame.Raw = raw
	return s
}

// release returns the scanner, but keeps no caller's bytes and no unusually large buffer.
func (s *scanner) release() {
	s.b, s.frame = nil, Frame{}
	if cap(s.keys) > 1<<14 {
		s.keys = nil
	}
	if cap(s.decoded) > 1<<16 {
		s.decoded = nil
	}
	scanners.Put(s)
}

func malformed(at int, msg string) *FrameError {
	return &FrameError{Code: CodeParse, Msg: "the message is not valid JSON: " + msg, Offset: at}
}

func refuse(at int, msg string) *FrameError {
	return &FrameError{Code: CodeInvalidRequest, Msg: msg, Offset: at}
}

// message reads the whole input as one envelope. Errors are typed nil-able, not error, inside
// the scanner; Scan converts them.
func (s *scanner) message() error {
	if strings.HasPrefix(string(s.b[:min(len(s.b), 3)]), "\ufeff") {
		return malformed(0, "it starts with a byte order mark")
	}
	s.space()
	if s.pos == len(s.b) {
		return malformed(s.pos, "it is empty")
	}
	switch s.b[s.pos] {
	case '{':
	case '[':
		return refuse(s.pos, "want one message: an object, not a batch")
	default:
		if err := s.value(); err != nil {
			return err
		}
		return refuse(0, "the message is not a JSON object")
	}
	s.depth, s.tokens = 1, 1
	if err := s.envelope(); err != nil {
		return err
	}
	s.space()
	if s.pos != len(s.b) {
		return malformed(s.pos, "there is more after the end of the message; send one message at a time")
	}
	return nil
}

// envelope reads the outermost object and records its members.
func (s *scanner) envelope() *FrameError {
	return s.members(true, func(k key) *FrameError {
		name, err := s.envelopeKey(k)
		if err != nil {
			return err
		}
		start := s.pos
		if err := s.value(); err != nil {
			return err
		}
		return s.member(name, Span{start, s.pos})
	})
}

// envelopeKey returns which of the six keys k is, or "" for any other key.
func (s *scanner) envelopeKey(k key) (string, *FrameError) {
	text := s.text(k)
	name := known(text)
	if name != "" {
		if k.escaped {
			return "", refuse(k.at, "a key of the message is written with escapes where it must be plain: "+name)
		}
		return name, nil
	}
	for _, n := range [...]string{"jsonrpc", "id", "method", "params", "result", "error"} {
		if len(text) <= 3*len(n) && strings.EqualFold(string(text), n) {
			return "", refuse(k.at, "a key of the message differs only in case from "+n+"; keys are case-sensitive")
		}
	}
	for _, c := range text {
		if c == 0 {
			return "", refuse(k.at, "a key of the message contains a NUL character")
		}
	}
	return "", nil
}

// known returns text as one of the six envelope keys, or "".
func known(text []byte) string {
	switch string(text) {
	case "jsonrpc":
		return "jsonrpc"
	case "id":
		return "id"
	case "method":
		return "method"
	case "params":
		return "params"
	case "result":
		return "result"
	case "error":
		return "error"
	}
	return ""
}

// member checks the type of an envelope member and records it.
func (s *scanner) member(name string, at Span) *FrameError {
	first := s.b[at.Start]
	switch name {
	case "jsonrpc":
		if string(at.Of(s.b)) != `"2.0"` {
			return refuse(at.Start, `jsonrpc must be "2.0"`)
		}
		s.version = true
	case "id":
		s.frame.ID = at
	case "method":
		if first != '"' || at.End-at.Start == 2 {
			return refuse(at.Start, "method must be a string that is not empty")
		}
		s.frame.Method = methodName(at.Of(s.b))
		s.method = true
	case "params":
		if first != '{' {
			return refuse(at.Start, "params must be an object; leave it out when there are none")
		}
		s.frame.Params = at
	case "result":
		s.frame.Result = at
	case "error":
		if first != '{' {
			return refuse(at.Start, "error must be an object")
		}
		s.frame.Error = at
	}
	return nil
}

// judge checks what only the whole message can show, and decides its kind.
func (s *scanner) judge() error {
	f := &s.frame
	if !s.version {
		return refuse(0, `jsonrpc is missing; it must be "2.0"`)
	}
	switch n := count(s.method, !f.Result.IsZero(), !f.Error.IsZero()); {
	case n == 0:
		return refuse(0, "the message has none of method, result and error")
	case n > 1:
		return refuse(0, "the message has more than one of method, result and error")
	}
	if !s.method && !f.Params.IsZero() {
		return refuse(f.Params.Start, "a response has no params")
	}
	switch {
	case !s.method:
		f.Kind = Response
	case f.ID.IsZero():
		f.Kind = Notification
	default:
		f.Kind = Request
	}
	return s.judgeID()
}

func (s *scanner) judgeID() error {
	f := &s.frame
	if f.ID.IsZero() {
		if !f.Result.IsZero() {
			return refuse(0, "a response needs the id of its request")
		}
		return nil
	}
	switch c := s.b[f.ID.Start]; {
	case c == '"', c == '-', '0' <= c && c <= '9':
		return nil
	case c == 'n' && !f.Error.IsZero():
		return nil
	case c == 'n':
		return refuse(f.ID.Start, "id must not be null; leave it out of a notification")
	}
	return refuse(f.ID.Start, "id must be a string or a number")
}

func count(bs ...bool) (n int) {
	for _, b := range bs {
		if b {
			n++
		}
	}
	return n
}

// methodName returns the text of a method without allocating for the usual ones.
func methodName(quoted []byte) string {
	switch string(quoted) {
	case `"tools/call"`:
		return "tools/call"
	case `"tools/list"`:
		return "tools/list"
	case `"ping"`:
		return "ping"
	case `"initialize"`:
		return "initialize"
	case `"notifications/initialized"`:
		return "notifications/initialized"
	case `"notifications/cancelled"`:
		return "notifications/cancelled"
	case `"notifications/progress"`:
		return "notifications/progress"
	case `"notifications/message"`:
		return "notifications/message"
	case `"resources/read"`:
		return "resources/read"
	case `"prompts/get"`:
		return "prompts/get"
	}
	text, _ := Unquote(quoted) // scanned already, so it is a string
	return text
}
