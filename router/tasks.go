package router

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// Tasks (MCP 2025-11-25) on an endpoint over several servers. A server's own id of a task reaches the
// client as <server>~<id>, in results, in notices of its status and wherever a message says that it
// belongs to one; '~' stands in no server's name. Whose session a task is, the nodes know. Tasks of
// clients are the other way round: their ids are the client's, and reach servers as they are.

const relatedTask = "io.modelcontextprotocol/related-task"

// Bounds of merging lists of tasks.
const (
	maxTaskPages  = 16
	maxTasksShown = 1000 // for each server
)

// taskCapabilities is what an endpoint over several servers says of tasks.
const taskCapabilities = `"tasks":{"cancel":{},"list":{},"requests":{"tools":{"call":{}}}},`

// wideCapabilitiesOf is wideCapabilities for a revision: tasks are of one only.
func wideCapabilitiesOf(era string) string {
	if era != wire.Version20251125 {
		return wideCapabilities
	}
	return strings.Replace(wideCapabilities, `"tools":`, taskCapabilities+`"tools":`, 1)
}

// taskToClient is the edit that gives a server's id of a task, at a path, the form that clients get.
func taskToClient(server store.ServerID, f *wire.Frame, path ...string) []wire.Edit {
	at, ok := f.Lookup(path...)
	id, isText := wire.Unquote(at.Of(f.Raw))
	if !ok || !isText {
		return nil
	}
	return []wire.Edit{{Span: at, New: wire.Quote(string(server) + "~" + id)}}
}

// tasksToClient are the edits that give the ids of tasks in a server's message the form that clients
// get.
func tasksToClient(server store.ServerID, f *wire.Frame) []wire.Edit {
	if f.Kind != wire.Response {
		edits := taskToClient(server, f, "params", "_meta", relatedTask, "taskId")
		if f.Method == "notifications/tasks/status" {
			edits = append(edits, taskToClient(server, f, "params", "taskId")...)
		}
		return edits
	}
	if f.Result.IsZero() {
		return nil
	}
	edits := append(taskToClient(server, f, "result", "_meta", relatedTask, "taskId"), taskToClient(server, f, "result", "task", "taskId")...)
	if _, isTask := f.Lookup("result", "createdAt"); isTask { // the answer to tasks/get and tasks/cancel
		edits = append(edits, taskToClient(server, f, "result", "taskId")...)
	}
	return edits
}

// taskFromClient is the answer of a client to a server with the server's own id of the task that it
// belongs to.
func taskFromClient(server store.ServerID, body []byte) []byte {
	at, ok := wire.Lookup(body, "result", "_meta", relatedTask, "taskId")
	if !ok {
		return body
	}
	text, _ := wire.Unquote(at.Of(body))
	id, ours := strings.CutPrefix(text, string(server)+"~")
	if !ours {
		return body // a task of the client's
	}
	return wire.Splice(body, wire.Edit{Span: at, New: wire.Quote(id)})
}

// forwardTask is forward for a request whose answer may name a task.
func (q *question) forwardTask(server store.ServerID, edits ...wire.Edit) error {
	c := q.r.newCall(q.ctx, q.w, q.req, q.s, server)
	c.out = outgoing{method: http.MethodPost, header: q.req.Header, merged: true, body: wire.Splice(q.f.Raw, edits...)}
	c.reform = func(body []byte) []byte {
		f, err := wire.Scan(body, wire.ServerLimits)
		if err != nil {
			return body // the client judges it
		}
		return wire.Splice(body, tasksToClient(server, &f)...)
	}
	return c.run()
}

// task sends a request about a task to the server that has it.
func (q *question) task() error {
	at, text, problem := q.text(q.f.Params, "params", "taskId")
	if problem != "" {
		return q.refuse(problem)
	}
	name, id, ok := strings.Cut(text, "~")
	if server := store.ServerID(name); ok && id != "" && q.v.has(server) {
		return q.forwardTask(server, wire.Edit{Span: at, New: wire.Quote(id)})
	}
	return q.refuse("Task not found: ids of tasks here are <server>~<id>, as in the answer to tools/call")
}

// takesTasks says whether a server takes calls of tools as tasks, or is not known here.
func (q *question) takesTasks(server store.ServerID) bool {
	have := q.r.stock(q.ctx, q.v)
	i := slices.IndexFunc(have, func(s served) bool { return s.server == server })
	return i < 0 || have[i].cat == nil || have[i].cat.offersTasks
}

// listTasks answers with the tasks that the session has at each of its servers, in the order of the
// servers' names and all on one page.
func (q *question) listTasks() error {
	if at, ok := q.f.Lookup("params", "cursor"); ok && !bytes.Equal(at.Of(q.f.Raw), []byte("null")) {
		return q.refuse("unknown cursor: start again without one")
	}
	places := q.s.places
	if _, err := q.r.read(q.ctx, q.s); away(err) && len(places()) == 0 {
		places = func() []bound { return q.r.guesses(q.req, q.s) }
	}
	var at []bound
	for _, b := range places() {
		if q.v.has(b.server) && q.takesTasks(b.server) {
			at = append(at, b)
		}
	}
	var mu sync.Mutex
	found := map[store.ServerID][][]byte{}
	q.r.eachPlace(q.ctx, q.r.holders(at), func(ctx context.Context, n *store.Node, server store.ServerID) {
		tasks, err := q.r.tasksAt(ctx, q.s, n, server)
		if err != nil {
			q.r.log.DebugContext(ctx, "tasks not listed", "session", q.s.tok, "server", server, "node", n.ID, "err", err)
		}
		mu.Lock()
		defer mu.Unlock()
		found[server] = append(found[server], tasks...)
	})
	slices.SortFunc(at, func(a, b bound) int { return strings.Compare(string(a.server), string(b.server)) })
	all := [][]byte{}
	for _, b := range at {
		all = append(all, found[b.server]...)
	}
	result := append(append([]byte(`{"tasks":[`), bytes.Join(all, []byte(","))...), "]}"...)
	return writeJSON(q.w, http.StatusOK, wire.Result(q.f.IDBytes(), result))
}

// tasksAt are the tasks of a session at one server, as clients get them.
func (r *Router) tasksAt(ctx context.Context, s *session, n *store.Node, server store.ServerID) (tasks [][]byte, err error) {
	_, era, _ := s.origin()
	cursor := ""
	for range maxTaskPages {
		params := "{}"
		if cursor != "" {
			params = `{"cursor":` + cursor + "}"
		}
		a, err := r.hop.send(ctx, n.URL, &outgoing{
			method: http.MethodPost, server: server, token: s.tok.text, epoch: n.Epoch, version: era, timeout: closeTimeout,
			body: []byte(`{"jsonrpc":"2.0","id":"mcphub-tasks","method":"tasks/list","params":` + params + "}"),
		})
		if err != nil {
			return tasks, err
		}
		var f wire.Frame
		if a.status == http.StatusOK && a.refused == "" {
			_, f, err = readResponse(a)
		} else {
			err = fmt.Errorf("status %d %s", a.status, a.refused)
		}
		a.Close()
		if err != nil || f.Result.IsZero() {
			return tasks, err // an error says that the server has no such list
		}
		page, _ := f.Lookup("result", "tasks")
		for at := range wire.Items(f.Raw, page) {
			id, ok := wire.LookupIn(f.Raw, at, "taskId")
			text, isText := wire.Unquote(id.Of(f.Raw))
			if !ok || !isText {
				continue
			}
			raw := at.Of(f.Raw)
			id.Start, id.End = id.Start-at.Start, id.End-at.Start
			tasks = append(tasks, wire.Splice(raw, wire.Edit{Span: id, New: wire.Quote(string(server) + "~" + text)}))
			if len(tasks) == maxTasksShown {
				return tasks, nil
			}
		}
		next, ok := f.Lookup("result", "nextCursor")
		if !ok || f.Raw[next.Start] != '"' {
			return tasks, nil
		}
		cursor = string(next.Of(f.Raw))
	}
	return tasks, nil
}
