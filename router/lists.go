package router

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// listing is one of the lists of MCP.
type listing struct {
	key  string // of the list in the result
	code byte   // in cursors
}

// listings are the lists that an endpoint over several servers merges, by method.
var listings = map[string]listing{
	"tools/list":               {"tools", 't'},
	"prompts/list":             {"prompts", 'p'},
	"resources/list":           {"resources", 'r'},
	"resources/templates/list": {"resourceTemplates", 'm'},
}

// maxLists bounds the merged lists that are kept. They share the items, so one costs little, and
// little is lost when it has to be made again.
const maxLists = 64

// listKey says what a merged list was made from.
type listKey struct {
	names *names
	list  byte
	// content names each server with its catalog, and with the tools that are offered of it.
	content string
}

// merged is a list over the servers of a view: those that can be called, in the order of their
// names, and within a server its own order.
func (r *Router) merged(v view, l listing, have stock) []item {
	key := listKey{v.names, l.code, contentOf(v, l, have)}
	if items, ok := r.lists.Get(key); ok {
		return items
	}
	var out []item
	seen := map[string]bool{} // URIs and templates: the first server that has one owns it
	for i := range have {
		s := &have[i]
		if s.cat == nil || s.away {
			continue
		}
		switch l.code {
		case 't':
			out = append(out, chosen(r.library.offer(s, v.names, r.log).tools, v.only(s.server))...)
		case 'p':
			out = append(out, r.library.offer(s, v.names, r.log).prompts...)
		case 'r':
			out = appendOwned(out, s.server, s.cat.resources, seen)
		case 'm':
			out = appendOwned(out, s.server, s.cat.templates, seen)
		}
	}
	r.lists.Add(key, out)
	return out
}

// contentOf spells what a merged list depends on beside the names. A digest holds no line break
// and a tool's name is preceded by its length, so that no two contents are spelt alike.
func contentOf(v view, l listing, have stock) string {
	var b strings.Builder
	b.Grow(96 * len(have))
	for i := range have {
		s := &have[i]
		if s.cat == nil || s.away {
			continue
		}
		b.WriteString(string(s.server))
		b.WriteByte('=')
		b.WriteString(string(s.digest))
		if only := v.only(s.server); only != nil && l.code == 't' {
			b.WriteByte('!')
			for _, tool := range only {
				b.WriteString(strconv.Itoa(len(tool)) + ":" + tool)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// chosen are the items that a group offers; nil means all.
func chosen(items []item, only []string) []item {
	if only == nil {
		return items
	}
	wanted := make(map[string]bool, len(only))
	for _, name := range only {
		wanted[name] = true
	}
	var out []item
	for _, i := range items {
		if wanted[i.key] {
			out = append(out, i)
		}
	}
	return out
}

// appendOwned appends those of a server's resources or templates that no server before it has.
func appendOwned(out []item, server store.ServerID, entries []entry, seen map[string]bool) []item {
	for i := range entries {
		if e := &entries[i]; !seen[e.key] {
			seen[e.key] = true
			out = append(out, item{server: server, key: e.key, raw: e.raw})
		}
	}
	return out
}

// list answers a request for one of the lists.
func (r *Router) list(ctx context.Context, w http.ResponseWriter, req *Request, f *wire.Frame) error {
	l, id := listings[f.Method], f.IDBytes()
	v, err := r.viewOf(req, id)
	if err != nil {
		return err
	}
	after, ok := r.cursorOf(req, f, l)
	if !ok {
		return refuseParams(w, id, "unknown cursor: start again without one")
	}
	have := r.stock(ctx, v)
	if server := have.blind(); server != "" {
		return r.noCatalog(req, id, server)
	}
	items, from := r.merged(v, l, have), 0
	if after != nil {
		from = after.next(items)
	}
	to := min(from+r.cfg.PageSize, len(items))
	next := ""
	if to < len(items) {
		next = r.cfg.Keys.cursor(l.code, req.scope(), positionOf(items, to-1))
	}
	return writePage(w, id, l.key, items[from:to], next)
}

// cursorOf is the place that a request for a list asks to go on from; nil for the beginning.
func (r *Router) cursorOf(req *Request, f *wire.Frame, l listing) (*position, bool) {
	at, ok := f.Lookup("params", "cursor")
	if !ok || bytes.Equal(at.Of(f.Raw), []byte("null")) {
		return nil, true
	}
	text, ok := wire.Unquote(at.Of(f.Raw))
	if !ok {
		return nil, false
	}
	p, ok := r.cfg.Keys.parseCursor(l.code, req.scope(), text)
	return &p, ok
}

// pages are buffers for lists, up to maxPage each.
var pages = sync.Pool{New: func() any { b := make([]byte, 0, 64<<10); return &b }}

const maxPage = 1 << 20

// writePage answers with one page of a list.
func writePage(w http.ResponseWriter, id []byte, key string, items []item, next string) error {
	buf := pages.Get().(*[]byte)
	b := append((*buf)[:0], `{"jsonrpc":"2.0","id":`...)
	b = append(append(append(append(b, id...), `,"result":{"`...), key...), `":[`...)
	for i := range items {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, items[i].raw...)
	}
	b = append(b, ']')
	if next != "" {
		b = append(append(append(b, `,"nextCursor":"`...), next...), '"')
	}
	b = append(b, "}}"...)
	err := writeJSON(w, http.StatusOK, b)
	if *buf = b[:0]; cap(b) <= maxPage {
		pages.Put(buf)
	}
	return err
}
