package router

import (
	"bytes"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// toClient is a message of a server as a client of an endpoint over several servers gets it. The
// ids of requests, and of requests that are cancelled, say which server asks; that a server's lists
// have changed is dropped, since the coordinator announces what that changes for the client. What
// needs no change is returned as it is. A message that nobody could answer is dropped too.
func (r *Router) toClient(s *session, server store.ServerID, data []byte) (out []byte, drop bool) {
	f, err := wire.Scan(data, wire.ServerLimits)
	if err != nil {
		return data, false // the client judges it as it would the server's own
	}
	switch f.Kind {
	case wire.Request:
		id := r.cfg.Keys.signRequestID(s.tok.random, server, f.IDBytes())
		if id == nil {
			r.log.Warn("a request of a server has an id that no node gives", "server", server, "method", f.Method)
			return nil, true
		}
		return wire.Splice(f.Raw, append(append(tasksToClient(server, &f), progressEdits(server, &f)...), wire.Edit{Span: f.ID, New: id})...), false
	case wire.Notification:
		switch f.Method {
		case "notifications/tools/list_changed", "notifications/prompts/list_changed", "notifications/resources/list_changed":
			return nil, true
		case "notifications/cancelled":
			return r.cancelled(s, server, &f), false
		}
	}
	if edits := tasksToClient(server, &f); len(edits) > 0 {
		return wire.Splice(data, edits...), false
	}
	return data, false
}

// cancelled is a server's notice that it does not wait for an answer any longer.
func (r *Router) cancelled(s *session, server store.ServerID, f *wire.Frame) []byte {
	at, ok := f.Lookup("params", "requestId")
	if !ok {
		return f.Raw
	}
	id := r.cfg.Keys.signRequestID(s.tok.random, server, at.Of(f.Raw))
	if id == nil {
		return f.Raw
	}
	return wire.Splice(f.Raw, wire.Edit{Span: at, New: id})
}

// wideEvent is a block of the answer to a call as a client of an endpoint over several servers gets
// it: nil if it is dropped. The block's own bytes are given back where nothing of it changes.
func (r *Router) wideEvent(s *session, server store.ServerID, ev wire.Event) []byte {
	data := ev.Data
	if len(data) > 0 {
		out, drop := r.toClient(s, server, data)
		if drop {
			return nil
		}
		data = out
	}
	if !ev.HasID && sameBytes(data, ev.Data) {
		return ev.Raw
	}
	to := wire.Event{Name: ev.Name, Data: data, Retry: ev.Retry}
	if e, ok := parseNodeEvent(ev.ID); ok && e.call { // any other could not be taken up
		to.ID = callEventID(server, ev.ID)
	}
	var b bytes.Buffer
	if wire.WriteEvent(&b, to) != nil {
		return nil // only for a name or an id that no block has
	}
	return b.Bytes()
}

// sameBytes says whether two slices are the same memory.
func sameBytes(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}
