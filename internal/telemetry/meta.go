package telemetry

import "github.com/mcphub-go/mcphub/internal/wire"

// Keys of trace context in a message's params._meta, for servers that no HTTP header reaches
// (Model Context Protocol, SEP-414).
const (
	metaParent = "traceparent"
	metaState  = "tracestate"
)

// Meta returns the message with the span as params._meta.traceparent. What the client had put
// there is replaced: it has become the span's parent. A message that can hold none, and any
// message for a nil span, is returned as it is.
func (s *Span) Meta(f *wire.Frame) []byte {
	parent, state := s.Parent()
	if parent == "" || f.Kind == wire.Response {
		return f.Raw
	}
	own := append([]byte(`"`+metaParent+`":`), wire.Quote(parent)...)
	if state != "" {
		own = append(append(own, `,"`+metaState+`":`...), wire.Quote(state)...)
	}
	params, ok := f.Lookup("params")
	if !ok {
		return addMember(f.Raw, wire.Span{Start: 0, End: len(f.Raw)}, `"params":{"_meta":{`+string(own)+`}}`)
	}
	if f.Raw[params.Start] != '{' {
		return f.Raw
	}
	meta, ok := f.Lookup("params", "_meta")
	if !ok {
		return addMember(f.Raw, params, `"_meta":{`+string(own)+`}`)
	}
	if f.Raw[meta.Start] != '{' {
		return f.Raw
	}
	kept := []byte{'{'}
	for k, v := range wire.Members(f.Raw, meta) {
		if name, ok := wire.Unquote(k.Of(f.Raw)); ok && (name == metaParent || name == metaState) {
			continue
		}
		kept = append(append(append(append(kept, k.Of(f.Raw)...), ':'), v.Of(f.Raw)...), ',')
	}
	return wire.Splice(f.Raw, wire.Edit{Span: meta, New: append(append(kept, own...), '}')})
}

// addMember puts a member at the beginning of the object at a span.
func addMember(raw []byte, object wire.Span, member string) []byte {
	at := object.Start
	for raw[at] != '{' {
		at++ // spaces before a message
	}
	for range wire.Members(raw, wire.Span{Start: at, End: object.End}) {
		member += ","
		break
	}
	return wire.Splice(raw, wire.Edit{Span: wire.Span{Start: at, End: at + 1}, New: append([]byte{'{'}, member...)})
}
