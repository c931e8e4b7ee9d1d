package node

import (
	"maps"
	"slices"
	"strings"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// notified routes a notification of the server's: to the call it names, to the sessions it
// concerns, or to the one session it can only be meant for.
func (l *link) notified(f *wire.Frame, via *call) {
	switch f.Method {
	case "notifications/progress":
		l.progressed(f, via)
	case "notifications/tools/list_changed", "notifications/prompts/list_changed", "notifications/resources/list_changed":
		l.changed()
		l.announce(f)
	case "notifications/resources/updated":
		uri, _ := wire.Unquote(valueAt(f, "params", "uri"))
		l.mu.Lock()
		all := l.subscribers(uri)
		l.mu.Unlock()
		if len(all) == 0 {
			l.stats.droppedNotifications.Add(1)
		}
		frame := append([]byte(nil), f.Raw...)
		for _, ses := range all {
			l.tellOrDrop(ses, nil, frame)
		}
	case "notifications/cancelled":
		l.takenBack(f, via)
	case "notifications/elicitation/complete":
		l.completed(f)
	default:
		l.attribute(f, via)
	}
}

// announce tells every session of a change. A session that has not been told of the one before,
// for want of a stream, is told of this one instead.
func (l *link) announce(f *wire.Frame) {
	frame := append([]byte(nil), f.Raw...)
	l.mu.Lock()
	before := l.announced[f.Method]
	l.announced[f.Method] = frame
	all := slices.Collect(maps.Values(l.sessions))
	l.mu.Unlock()
	for _, ses := range all {
		if before != nil {
			ses.streams.withdraw(before)
		}
		l.tellOrDrop(ses, nil, frame)
	}
}

func valueAt(f *wire.Frame, path ...string) []byte {
	at, _ := f.Lookup(path...)
	return at.Of(f.Raw)
}

// tellOrDrop is tell for what need not arrive.
func (l *link) tellOrDrop(ses *session, c *call, frame []byte) {
	if !l.tell(ses, c, frame) {
		l.stats.droppedNotifications.Add(1)
	}
}

// subscribers are the sessions subscribed to a resource, or to one that it is part of, which an
// update may name instead (MCP 2025-11-25, Resources, ResourceUpdatedNotification). l.mu is held.
func (l *link) subscribers(uri string) []*session {
	found := map[*session]struct{}{}
	for whole := uri; ; {
		for ses := range l.subs[whole] {
			found[ses] = struct{}{}
		}
		i := strings.LastIndexAny(whole, "/?#")
		if i < 0 {
			break
		}
		for ses := range l.subs[whole[:i+1]] { // "test://dir/" as well as "test://dir"
			found[ses] = struct{}{}
		}
		whole = whole[:i]
	}
	all := slices.Collect(maps.Keys(found))
	if len(all) == 0 && l.alone && l.first != nil && !l.first.ended {
		all = append(all, l.first)
	}
	return all
}

// progressed gives notifications/progress to the call that owns the token, or to the session
// whose task has taken it over.
func (l *link) progressed(f *wire.Frame, via *call) {
	at, ok := f.Lookup("params", "progressToken")
	if !ok {
		return
	}
	c := l.byID(at.Of(f.Raw))
	if c == nil {
		if t, ok := l.taskToken(at.Of(f.Raw)); ok {
			l.tellOrDrop(t.ses, nil, wire.Splice(f.Raw, wire.Edit{Span: at, New: t.token}))
			return
		}
	}
	if c == nil && via == nil {
		l.mu.Lock()
		l.unasked = true
		l.mu.Unlock()
	}
	if c == nil || c.token == nil || (via != nil && via != c) {
		l.stats.droppedNotifications.Add(1)
		return
	}
	c.touch(l.now())
	l.deliver(c, wire.Splice(f.Raw, wire.Edit{Span: at, New: c.token}))
}

// completed passes on that an elicitation by URL is complete: to the session that had it, or on a
// server of its own to the only one.
func (l *link) completed(f *wire.Frame) {
	id, _ := textAt(f, "params", "elicitationId")
	l.mu.Lock()
	ses, known := l.elicitations.owner(id)
	if !known && l.sole(l.first) {
		ses = l.first
	}
	gone := ses == nil || ses.ended
	l.mu.Unlock()
	if gone {
		l.stats.droppedNotifications.Add(1)
		return
	}
	l.tellOrDrop(ses, nil, append([]byte(nil), f.Raw...))
}

// attribute passes on a notification that names neither a call nor anything else we know of,
// such as a log message, to the session it can only be meant for.
func (l *link) attribute(f *wire.Frame, via *call) {
	l.mu.Lock()
	ses, c := l.whose(f, via)
	if ses == nil || ses.ended && c == nil || !l.wanted(ses, f) {
		l.mu.Unlock()
		l.stats.droppedNotifications.Add(1)
		return
	}
	l.mu.Unlock()
	l.tellOrDrop(ses, c, append([]byte(nil), f.Raw...))
}
