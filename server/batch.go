package server

import (
	"bytes"
	"fmt"
	"net/http"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// isBatch says whether a body is a JSON array.
func isBatch(body []byte) bool {
	body = bytes.TrimLeft(body, " \t\r\n")
	return len(body) > 0 && body[0] == '['
}

// splitBatch takes a batch apart into at most most messages (MCP 2025-03-26, Base Protocol,
// Batching). Each is held to the rules of one that comes alone. The frames alias body.
func splitBatch(body []byte, most int) ([]wire.Frame, *problem) {
	rest := bytes.Trim(body, " \t\r\n")
	if len(rest) < 2 || rest[0] != '[' || rest[len(rest)-1] != ']' {
		return nil, badBatch("a batch must be one JSON array")
	}
	rest = rest[1 : len(rest)-1]
	if len(bytes.Trim(rest, " \t\r\n")) == 0 {
		return nil, badBatch("a batch must not be empty")
	}
	var out []wire.Frame
	for more := true; more; {
		if len(out) == most {
			return nil, badBatch(fmt.Sprintf("a batch may have %d messages (systemConfig.limits.maxBatch); send the rest in another", most))
		}
		var element []byte
		element, rest, more = cutElement(rest)
		element = bytes.Trim(element, " \t\r\n")
		if len(element) > 0 && element[0] == '[' {
			return nil, badBatch(fmt.Sprintf("message %d of the batch is a batch itself", len(out)+1))
		}
		f, err := wire.Scan(element, wire.ClientLimits)
		switch {
		case err != nil:
			return nil, badBatch(fmt.Sprintf("message %d of the batch: %v", len(out)+1, err))
		case f.Kind == wire.Request && f.Method == "initialize":
			return nil, badBatch("initialize must not be part of a batch: send it alone, and first")
		}
		out = append(out, f)
	}
	return out, nil
}

func badBatch(message string) *problem { return refuse(http.StatusBadRequest, message) }

// cutElement cuts at the first comma that stands in no string, object or list. Whether the
// element is JSON it does not judge.
func cutElement(b []byte) (element, rest []byte, more bool) {
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{', c == '[':
			depth++
		case c == '}', c == ']':
			depth--
		case c == ',' && depth == 0:
			return b[:i], b[i+1:], true
		}
	}
	return b, nil, false
}
