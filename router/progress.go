package router

import (
	"strings"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// A server's request may ask for progress, under a token that only has to be another one for each
// request of that server (MCP 2025-11-25, Progress). Clients of an endpoint over several servers get
// one that names the server: "<server>~<the server's token, as JSON>".

// progressEdits give the token of a server's request the form that clients get.
func progressEdits(server store.ServerID, f *wire.Frame) []wire.Edit {
	at, ok := f.Lookup("params", "_meta", "progressToken")
	if !ok || !isRequestID(at.Of(f.Raw)) {
		return nil
	}
	return []wire.Edit{{Span: at, New: wire.Quote(string(server) + "~" + string(at.Of(f.Raw)))}}
}

// progressFrom is a client's word of progress as its server gets it, and that server. It is false if it
// is about nothing that a client was asked for.
func progressFrom(f *wire.Frame) (server store.ServerID, body []byte, ok bool) {
	at, ok := f.Lookup("params", "progressToken")
	text, isText := wire.Unquote(at.Of(f.Raw))
	name, token, named := strings.Cut(text, "~")
	if !ok || !isText || !named || wire.CheckName("server", name) != nil || !isRequestID([]byte(token)) {
		return "", nil, false
	}
	return store.ServerID(name), wire.Splice(f.Raw, wire.Edit{Span: at, New: []byte(token)}), true
}
