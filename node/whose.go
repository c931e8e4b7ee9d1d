package node

import "github.com/mcphub-go/mcphub/internal/wire"

// whose tells which session a message of the server's is meant for that is no answer and names
// no call: a request, a log message, a notification nobody knows. c is the call on whose stream
// it is best told, nil for none; ses is nil if it cannot be told. via is the call on whose own
// stream the message came, nil for a stream that all share. l.mu is held.
//
// It never guesses: what it goes by is either said by the server or leaves one session only.
//
//  1. A message about a task is for the session that was given the task, or whose client has made
//     it. About a task that nobody is known to have there is nothing to go by but 2, 3 and 5.
//  2. On a call's own stream everything is that call's; on that of a call of the node's, nobody's.
//  3. An isolated server has one session.
//  4. While the server works on calls of one session only, it speaks of those. A server that has
//     been heard to speak of calls after answering them may mean one of those instead, so from it
//     only a session gets anything that has always been the only one at work.
//  5. Where there has only ever been one session, there is no other it could mean. That does not
//     hold for roots: what a shared server makes of those, it makes of them for all that come later.
//
// The one hole is in the fourth: the first thing a server says after answering, of a call of
// another session than the one alone at work just then, cannot be told from what it says of that
// one's. MCP allows requests only as part of a call (SEP-2260), so a server that keeps to it asks
// no client amiss.
func (l *link) whose(f *wire.Frame, via *call) (ses *session, c *call) {
	ses, named := l.taskOf(f)
	switch {
	case ses != nil && (via == nil || via.ses != ses):
		return ses, newestOf(ses, "tasks/result")
	case ses != nil:
		return ses, via
	case via != nil:
		return via.ses, via
	case named && !l.sole(l.first):
		return nil, nil
	}
	if f.Method != rootsList { // which servers ask once they are initialized, some of them late: it is of no call
		l.unasked = l.unasked || l.worked != nil && len(l.calls) == 0
	}
	switch c := l.newest(); {
	case l.alone:
		return l.first, newestOf(l.first, "")
	case c != nil:
		return c.ses, c
	case !l.joined && l.first != nil && !l.first.ended && f.Method != rootsList:
		return l.first, nil
	}
	return nil, nil
}

// newest is the latest open call of the only session the server may be working for, or nil.
// l.mu is held.
func (l *link) newest() *call {
	if l.holders != 1 || l.own != 0 || l.blind {
		return nil
	}
	var c *call
	for _, other := range l.calls {
		if other.open && other.ses != nil && (c == nil || other.up > c.up) {
			c = other
		}
	}
	if c == nil {
		return nil
	}
	if l.unasked && (l.several || l.worked != nil && l.worked != c.ses) {
		return nil
	}
	return c
}

// newestOf is a session's latest open call of a method, or of any for the empty one, or nil. ses
// may be nil. The link's mu is held.
func newestOf(ses *session, method string) (c *call) {
	if ses == nil {
		return nil
	}
	for _, other := range ses.calls {
		if (method == "" || other.method == method) && (c == nil || other.up > c.up) {
			c = other
		}
	}
	return c
}

// meet notes a session that is new to the link. l.mu is held.
func (l *link) meet(ses *session) {
	if l.first != nil {
		l.joined = true
	}
	l.first = ses
}

// sole says that the server has never served another session than this one. l.mu is held.
func (l *link) sole(ses *session) bool { return ses != nil && (l.alone || l.first == ses && !l.joined) }

// speaksFor says whether a client may say what it does to a server that may have others: of its
// roots to none, of a task only whoever has made it.
func (l *link) speaksFor(ses *session, f *wire.Frame) bool {
	if f.Method == "notifications/roots/list_changed" {
		return l.alone && !l.rootless
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sole(ses) {
		return true
	}
	id, _ := textAt(f, "params", "taskId")
	maker, _ := l.clientTasks.owner(id)
	return maker == ses
}
