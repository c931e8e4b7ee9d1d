package wire

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// Error composes an error response. id is raw JSON; nil means null, for a message whose id is not
// known. data is left out when it is nil or cannot be encoded.
func Error(id []byte, code int, msg string, data any) []byte {
	out := appendHead(make([]byte, 0, 96+len(id)+len(msg)), id)
	out = append(out, `,"error":{"code":`...)
	out = strconv.AppendInt(out, int64(code), 10)
	out = append(out, `,"message":`...)
	out = appendQuote(out, msg)
	if data != nil {
		if enc, err := marshal(data); err == nil {
			out = append(append(out, `,"data":`...), enc...)
		}
	}
	return append(out, "}}"...)
}

// Result composes a response. id and result are raw JSON; nil means null.
func Result(id, result []byte) []byte {
	if result == nil {
		result = []byte("null")
	}
	out := appendHead(make([]byte, 0, 40+len(id)+len(result)), id)
	out = append(append(out, `,"result":`...), result...)
	return append(out, '}')
}

func appendHead(dst, id []byte) []byte {
	if id == nil {
		id = []byte("null")
	}
	return append(append(dst, `{"jsonrpc":"2.0","id":`...), id...)
}

// marshal encodes without the HTML escapes of json.Marshal, and on one line.
func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}
