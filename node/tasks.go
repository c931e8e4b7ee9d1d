package node

import (
	"maps"
	"slices"
	"strings"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// Tasks (MCP 2025-11-25): whose they are on a server that sessions share. A task that a server
// has made is the session's whose request was answered with it, and no other session hears of it;
// one that a client has made, as its answer to a request of the server's, is that client's.

const (
	// maxTasks bounds the tasks that are remembered for a session, and maxElicitations those of
	// its elicitations by URL that may be told complete; the oldest are forgotten.
	maxTasks        = 256
	maxElicitations = 64
	// maxTaskTokens bounds the progress tokens of tasks that a link remembers.
	maxTaskTokens = 4096
	// maxMadeUp bounds an id that a server or a client has made up, in bytes.
	maxMadeUp = 256

	relatedTask = "io.modelcontextprotocol/related-task"

	// codeURLNeeded says that a client is to open an address before it asks again (MCP 2025-11-25,
	// Elicitation, URLElicitationRequiredError).
	codeURLNeeded = -32042
)

// tokenOf is the progress token of a request that was answered with a task, which holds as long as
// the task does (Tasks, Progress).
type tokenOf struct {
	ses   *session
	token []byte
}

// textAt is a string in a frame, at most maxMadeUp long.
func textAt(f *wire.Frame, path ...string) (string, bool) {
	at, ok := f.Lookup(path...)
	if !ok || at.End-at.Start > maxMadeUp {
		return "", false
	}
	return wire.Unquote(at.Of(f.Raw))
}

// taskOf is the session that has the task which a server's message is about; named says that it is
// about one. l.mu is held.
func (l *link) taskOf(f *wire.Frame) (ses *session, named bool) {
	id, related := textAt(f, "params", "_meta", relatedTask, "taskId")
	if !related && !strings.HasPrefix(f.Method, "tasks/") && f.Method != "notifications/tasks/status" {
		return nil, false
	}
	if !related {
		if id, named = textAt(f, "params", "taskId"); !named {
			return nil, false
		}
	}
	if ses, known := l.tasks.owner(id); known {
		return ses, true
	}
	ses, _ = l.clientTasks.owner(id)
	return ses, true
}

// remember notes what an answer of the server's has given its session: a task, or elicitations
// that will be told complete.
func (l *link) remember(f *wire.Frame, c *call) {
	if c.ses == nil {
		return
	}
	if !f.Error.IsZero() {
		if newRPCError(f).code == codeURLNeeded {
			l.rememberElicitations(f, c.ses)
		}
		return
	}
	if h := l.hello.Load(); h == nil || !h.tasks {
		return
	}
	id, ok := textAt(f, "result", "task", "taskId")
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tasks.claim(id, c.ses)
	if c.token == nil {
		return
	}
	if len(l.taskTokens) >= maxTaskTokens {
		delete(l.taskTokens, slices.Min(slices.Collect(maps.Keys(l.taskTokens))))
	}
	if l.taskTokens == nil {
		l.taskTokens = map[int64]tokenOf{}
	}
	l.taskTokens[c.up] = tokenOf{ses: c.ses, token: c.token}
}

func (l *link) rememberElicitations(f *wire.Frame, ses *session) {
	all, ok := f.Lookup("error", "data", "elicitations")
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for at := range wire.Items(f.Raw, all) {
		if id, ok := wire.LookupIn(f.Raw, at, "elicitationId"); ok && id.End-id.Start <= maxMadeUp {
			if text, ok := wire.Unquote(id.Of(f.Raw)); ok {
				l.elicitations.claim(text, ses)
			}
		}
	}
}

// taskToken is the token, with its session, of a task's progress.
func (l *link) taskToken(ours []byte) (tokenOf, bool) {
	n, ok := ourID(ours)
	if !ok {
		return tokenOf{}, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := l.taskTokens[n]
	return t, ok && !t.ses.ended
}

// mayAsk refuses a client's request about a task that is not its session's, in the words for a
// task that there is not.
func (l *link) mayAsk(ses *session, f *wire.Frame) error {
	if !strings.HasPrefix(f.Method, "tasks/") || f.Method == "tasks/list" {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sole(ses) {
		return nil
	}
	if id, ok := textAt(f, "params", "taskId"); ok {
		if has, _ := l.tasks.owner(id); has == ses {
			return nil
		}
	}
	return &rpcError{code: wire.CodeInvalidParams, text: "Task not found", raw: []byte(`{"code":-32602,"message":"Task not found"}`)}
}

// ownTasks leaves of the list in an answer to tasks/list what is the session's. It returns nothing
// where all of it may be.
func (l *link) ownTasks(f *wire.Frame, c *call) []wire.Edit {
	if c.method != "tasks/list" || c.ses == nil {
		return nil
	}
	all, ok := f.Lookup("result", "tasks")
	l.mu.Lock()
	defer l.mu.Unlock()
	if !ok || l.sole(c.ses) {
		return nil
	}
	list := []byte("[")
	for at := range wire.Items(f.Raw, all) {
		id, ok := wire.LookupIn(f.Raw, at, "taskId")
		if !ok {
			continue
		}
		text, _ := wire.Unquote(id.Of(f.Raw))
		if has, _ := l.tasks.owner(text); has != c.ses {
			continue
		}
		if len(list) > 1 {
			list = append(list, ',')
		}
		list = append(list, at.Of(f.Raw)...)
	}
	return []wire.Edit{{Span: all, New: append(list, ']')}}
}

// disown forgets what ids are an ended session's. l.mu is held.
func (l *link) disown(ses *session) {
	l.tasks.leave(ses)
	l.clientTasks.leave(ses)
	l.elicitations.leave(ses)
	for up, t := range l.taskTokens {
		if t.ses == ses {
			delete(l.taskTokens, up)
		}
	}
}
