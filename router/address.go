package router

import (
	"context"
	"net/http"
	"strings"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// question is a request on an endpoint over several servers that names what it is about, and so the
// server that it is for. It belongs to the goroutine of its request.
type question struct {
	r   *Router
	ctx context.Context
	w   http.ResponseWriter
	req *Request
	s   *session
	f   *wire.Frame
	v   view
}

// addressed are the methods that go to one server, with how it is found.
var addressed = map[string]func(*question) error{
	"tools/call":            (*question).callTool,
	"prompts/get":           (*question).getPrompt,
	"resources/read":        (*question).readResource,
	"completion/complete":   (*question).complete,
	"resources/subscribe":   (*question).subscribeResource,
	"resources/unsubscribe": (*question).unsubscribeResource,
	"tasks/get":             (*question).task,
	"tasks/result":          (*question).task,
	"tasks/cancel":          (*question).task,
	"tasks/list":            (*question).listTasks,
}

// address sends a request to the server that it is for.
func (r *Router) address(ctx context.Context, w http.ResponseWriter, req *Request, s *session, f *wire.Frame) error {
	v, err := r.viewOf(req, f.IDBytes())
	if err != nil {
		return err
	}
	return addressed[f.Method](&question{r: r, ctx: ctx, w: w, req: req, s: s, f: f, v: v})
}

// refuse answers a request that names nothing that there is.
func (q *question) refuse(msg string) error { return refuseParams(q.w, q.f.IDBytes(), msg) }

// forward sends the request to a server, with some of its bytes replaced.
func (q *question) forward(server store.ServerID, edits ...wire.Edit) error {
	c := q.r.newCall(q.ctx, q.w, q.req, q.s, server)
	body := q.f.Raw
	if len(edits) > 0 {
		body = wire.Splice(body, edits...)
	}
	c.out = outgoing{method: http.MethodPost, header: q.req.Header, merged: true, body: body}
	return c.run()
}

// text reads a string by which the request is routed: member key of the object at in, which is
// called path for people. A problem is a sentence for the client. A key that differs only in case
// is refused, since a server whose parser ignores case could go by that one.
func (q *question) text(in wire.Span, path, key string) (at wire.Span, text, problem string) {
	for k, v := range wire.Members(q.f.Raw, in) {
		name, ok := wire.Unquote(k.Of(q.f.Raw))
		switch {
		case ok && name == key:
			at = v
		case ok && strings.EqualFold(name, key):
			return at, "", path + " has a key that differs only in case from " + key + "; keys are case-sensitive"
		}
	}
	if at.IsZero() {
		return at, "", q.f.Method + " needs " + path + "." + key
	}
	text, ok := wire.Unquote(at.Of(q.f.Raw))
	if !ok {
		return at, "", path + "." + key + " is not a string"
	}
	return at, text, ""
}

// callTool sends a call to the server that its name asks for, with the name that the server
// knows. A wish for a task is left out for a server that has none: the call is answered with its
// result (MCP 2025-11-25, Tasks, Capabilities).
func (q *question) callTool() error {
	at, name, problem := q.text(q.f.Params, "params", "name")
	if problem != "" {
		return q.refuse(problem)
	}
	server, tool, ok := q.v.names.resolve(name)
	if !ok || !q.v.hasTool(server, tool) {
		return q.refuse("unknown tool: names here are <server>" + q.v.names.sep + "<tool>, as in tools/list")
	}
	edits := []wire.Edit{{Span: at, New: wire.Quote(tool)}}
	if task, ok := member(q.f.Raw, q.f.Params, "task"); ok {
		if q.takesTasks(server) {
			return q.forwardTask(server, edits...)
		}
		edits = append(edits, wire.Edit{Span: task})
	}
	return q.forward(server, edits...)
}

// member is what has to be cut out of an object for a member to be gone: the member with one of
// the commas beside it.
func member(raw []byte, in wire.Span, key string) (cut wire.Span, ok bool) {
	before := 0 // end of the member before
	for k, v := range wire.Members(raw, in) {
		if ok { // the first one behind it
			if before == 0 {
				cut.End = k.Start
			}
			return cut, true
		}
		if name, _ := wire.Unquote(k.Of(raw)); name == key {
			cut, ok = wire.Span{Start: k.Start, End: v.End}, true
			if before > 0 {
				cut.Start = before
			}
			continue
		}
		before = v.End
	}
	return cut, ok
}

// getPrompt sends a request for a prompt to the server that its name asks for.
func (q *question) getPrompt() error {
	at, name, problem := q.text(q.f.Params, "params", "name")
	if problem != "" {
		return q.refuse(problem)
	}
	server, prompt, ok := q.v.names.resolve(name)
	if !ok || !q.v.has(server) {
		return q.refuse(q.unknownPrompt())
	}
	return q.forward(server, wire.Edit{Span: at, New: wire.Quote(prompt)})
}

func (q *question) unknownPrompt() string {
	return "unknown prompt: names here are <server>" + q.v.names.sep + "<prompt>, as in prompts/list"
}

// noResource is the data of the error for a resource that is not there (MCP 2025-11-25, Resources,
// Error Handling).
type noResource struct {
	URI string `json:"uri"`
}

// readResource sends a request for a resource to the server that owns its URI, as it is.
func (q *question) readResource() error {
	_, uri, problem := q.text(q.f.Params, "params", "uri")
	if problem != "" {
		return q.refuse(problem)
	}
	server, err := q.ownerOf(uri)
	if server == "" {
		return err
	}
	return q.forward(server)
}

// ownerOf is the server that answers for a URI. If there is none it is empty, and the request is
// answered.
func (q *question) ownerOf(uri string) (store.ServerID, error) {
	have := q.r.stock(q.ctx, q.v)
	o, ok := have.owner(uri)
	if ok {
		return o.server, nil
	}
	if server := have.blind(); server != "" {
		return "", q.r.noCatalog(q.req, q.f.IDBytes(), server)
	}
	msg := "Resource not found"
	if away := q.missing(); away != "" {
		msg += "; it may be one of a server that is not available: " + away
	}
	return "", writeJSON(q.w, http.StatusOK, wire.Error(q.f.IDBytes(), wire.CodeResourceNotFound, msg, noResource{uri}))
}

// missing says which servers are away, and why, for people. A few are named.
func (q *question) missing() string {
	var out []string
	for _, server := range q.v.away() {
		if len(out) == maxReasons {
			out = append(out, "and others")
			break
		}
		text := string(server)
		if why := q.r.whyAway(server); why != "" {
			text += " (" + why + ")"
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

// complete sends a request for suggestions to the server of the prompt or resource that it is
// about. A server that suggests nothing is not asked.
func (q *question) complete() error {
	ref, ok := q.f.Lookup("params", "ref")
	if !ok || q.f.Raw[ref.Start] != '{' {
		return q.refuse("completion/complete needs params.ref, an object with type and name or uri")
	}
	_, kind, problem := q.text(ref, "params.ref", "type")
	if problem != "" {
		return q.refuse(problem)
	}
	switch kind {
	case "ref/prompt":
		return q.completePrompt(ref)
	case "ref/resource":
		return q.completeResource(ref)
	}
	return q.refuse("params.ref.type must be ref/prompt or ref/resource")
}

func (q *question) completePrompt(ref wire.Span) error {
	at, name, problem := q.text(ref, "params.ref", "name")
	if problem != "" {
		return q.refuse(problem)
	}
	server, prompt, ok := q.v.names.resolve(name)
	if !ok || !q.v.has(server) {
		return q.refuse(q.unknownPrompt())
	}
	have := q.r.stock(q.ctx, q.v)
	for i := range have {
		if have[i].server == server && have[i].silent() {
			return q.suggestNothing()
		}
	}
	return q.forward(server, wire.Edit{Span: at, New: wire.Quote(prompt)})
}

func (q *question) completeResource(ref wire.Span) error {
	_, uri, problem := q.text(ref, "params.ref", "uri")
	if problem != "" {
		return q.refuse(problem)
	}
	have := q.r.stock(q.ctx, q.v)
	o, ok := have.templateOwner(uri)
	if !ok {
		o, ok = have.offering(uri)
	}
	switch {
	case ok && o.silent():
		return q.suggestNothing()
	case ok:
		return q.forward(o.server)
	}
	if server := have.blind(); server != "" {
		return q.r.noCatalog(q.req, q.f.IDBytes(), server)
	}
	return q.refuse("unknown resource or template: params.ref.uri is none of resources/templates/list")
}

// silent says that a server is known to make no suggestions.
func (s *served) silent() bool { return s.cat != nil && !s.away && !s.cat.offersCompletions }

func (q *question) suggestNothing() error {
	return writeJSON(q.w, http.StatusOK, wire.Result(q.f.IDBytes(), []byte(`{"completion":{"values":[],"total":0,"hasMore":false}}`)))
}

// noCatalog is the answer of a replica that cannot know what a server offers while Redis is away.
func (r *Router) noCatalog(req *Request, id []byte, server store.ServerID) *Error {
	e := r.noFleet(req, id)
	e.Message = "Not executed: this part of the hub cannot read at the moment what server " + string(server) + " offers; try again shortly"
	return e
}
