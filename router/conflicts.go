package router

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// Conflict is a resource that more than one server offers. Clients of an endpoint over several
// servers see the owner's; the others' can be read on the servers' own endpoints.
type Conflict struct {
	// URI is what is offered twice, or Template, if it is a template that others' match too. The
	// other one is empty.
	URI      string `json:"uri,omitempty"`
	Template string `json:"uriTemplate,omitempty"`
	// Owner answers for it. See docs/decisions for the rule.
	Owner store.ServerID `json:"owner"`
	// Others offer it too, in the order of their names: they list the same URI or template, or
	// have a template that could mean it.
	Others []store.ServerID `json:"others"`
}

// maxConflicts bounds what Conflicts returns and works out: it is meant for people.
const maxConflicts = 1000

// conflictTime bounds the work: servers decide how many resources and templates they have.
const conflictTime = 2 * time.Second

// Conflicts are the resources that more than one server offers, URIs first, in their order. At
// most 1000 are returned. scope is a Request's: empty for all servers, or store.ScopeGroup and
// the name of a group; one server has no conflicts with others. It returns an *Error with
// ErrUnknownServer for a group that is not known, and with ErrNoReplica while the catalogs
// cannot be read, or with ErrUnavailable if there is too much to compare within two seconds.
func (r *Router) Conflicts(ctx context.Context, scope string) ([]Conflict, error) {
	req := &Request{Scope: scope}
	if !req.wide() {
		return []Conflict{}, nil
	}
	v, err := r.viewOf(req, nil)
	if err != nil {
		return nil, err
	}
	have := r.stock(ctx, v)
	if server := have.blind(); server != "" {
		return nil, r.noCatalog(req, nil, server)
	}
	ctx, cancel := context.WithTimeout(ctx, conflictTime)
	defer cancel()
	out := have.uriConflicts(ctx)
	if len(out) < maxConflicts {
		out = append(out, have.templateConflicts(ctx, maxConflicts-len(out))...)
	}
	if ctx.Err() != nil {
		return nil, &Error{Err: ErrUnavailable, Code: wire.CodeInternal, Message: "there are too many resources and templates to compare; ask for a group of servers"}
	}
	return out, nil
}

// uriConflicts are the URIs that one server lists and another one lists or has a template for.
func (s stock) uriConflicts(ctx context.Context) []Conflict {
	out := []Conflict{} // an empty list in JSON, not null
	seen := map[string]bool{}
	for o := range s.some(false) {
		for i := range o.cat.resources {
			uri := o.cat.resources[i].key
			if seen[uri] || len(out) == maxConflicts || ctx.Err() != nil {
				continue
			}
			seen[uri] = true
			if others := s.claims(uri, o); len(others) > 0 {
				out = append(out, Conflict{URI: uri, Owner: o.server, Others: others})
			}
		}
	}
	slices.SortFunc(out, func(a, b Conflict) int { return cmp.Compare(a.URI, b.URI) })
	return out
}

// claims are the servers but one that offer a URI.
func (s stock) claims(uri string, but *served) (out []store.ServerID) {
	u := exactly(uri)
	for o := range s.some(false) {
		if o == but {
			continue
		}
		left := matchBudget
		matches := func(p *pattern) bool { ok, _ := p.match(u, &left); return ok }
		if o.cat.uris[uri] || slices.ContainsFunc(o.cat.patterns, matches) {
			out = append(out, o.server)
		}
	}
	return out
}

// templateConflicts are the templates that another server's template could mean too. Of two such,
// the one that wins is reported, with its owner.
func (s stock) templateConflicts(ctx context.Context, limit int) []Conflict {
	found := map[string]*Conflict{}
	for a := range s.some(false) {
		for b := range s.some(false) {
			if a.server >= b.server {
				continue
			}
			for _, p := range a.cat.patterns {
				for _, q := range b.cat.patterns {
					if len(found) < limit && ctx.Err() == nil && p.overlaps(q) {
						note(found, a, p, b, q)
					}
				}
			}
		}
	}
	out := make([]Conflict, 0, len(found))
	for _, c := range found {
		slices.Sort(c.Others)
		c.Others = slices.Compact(c.Others)
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b Conflict) int { return cmp.Compare(a.Template, b.Template) })
	return out
}

// note records that template p of server a overlaps with q of b; a's name comes first.
func note(found map[string]*Conflict, a *served, p *pattern, b *served, q *pattern) {
	if q.moreSpecific(p) {
		a, p, b = b, q, a
	}
	c := found[p.text]
	if c == nil {
		c = &Conflict{Template: p.text, Owner: a.server}
		found[p.text] = c
	}
	// The same template of a third server: whose name comes first owns it.
	if a.server < c.Owner {
		a, c.Owner = &served{server: c.Owner}, a.server
	}
	for _, other := range []store.ServerID{a.server, b.server} {
		if other != c.Owner {
			c.Others = append(c.Others, other)
		}
	}
}
