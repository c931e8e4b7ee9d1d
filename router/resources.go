package router

import (
	"strings"

	"github.com/mcphub-go/mcphub/store"
)

// owner is the server that answers for a URI on an endpoint over several servers; false if there
// is none. Every replica finds the same one:
//
//  1. the server that lists the URI; of several, the one whose name comes first;
//  2. the server with a template that the URI could be one of: a strict match before a loose
//     one, then the more specific template, then the server whose name comes first;
//  3. the only server whose resources or templates have the URI's scheme: what a server links to
//     in a result need not be in its lists (MCP 2025-11-25, Tools, Resource Links).
//
// Servers that can be called come first. One that cannot be called at the moment answers for what
// it offered last if no other does, so that its clients hear that it is away, and not that what
// they ask for does not exist.
func (s stock) owner(uri string) (*served, bool) {
	if o, ok := s.offering(uri); ok {
		return o, true
	}
	for _, away := range []bool{false, true} {
		if o := s.scheme(uri, away); o != nil {
			return o, true
		}
	}
	return nil, false
}

// offering is owner without the third rule.
func (s stock) offering(uri string) (*served, bool) {
	u := exactly(uri)
	for _, away := range []bool{false, true} {
		if o := s.lister(uri, away); o != nil {
			return o, true
		}
		if o := s.template(u, away); o != nil {
			return o, true
		}
	}
	return nil, false
}

// some are the servers of the stock that can be called, or those that cannot.
func (s stock) some(away bool) func(yield func(*served) bool) {
	return func(yield func(*served) bool) {
		for i := range s {
			if s[i].cat != nil && s[i].away == away && !yield(&s[i]) {
				return
			}
		}
	}
}

// lister is the first server that lists a URI, or nil.
func (s stock) lister(uri string, away bool) *served {
	for o := range s.some(away) {
		if o.cat.uris[uri] {
			return o
		}
	}
	return nil
}

// template is the server with the best template for a URI, or nil. The templates of each server
// may cost so much and no more, so that one whose templates are made to be slow loses by it what
// comes late in its list, and the others nothing.
func (s stock) template(uri *pattern, away bool) (best *served) {
	var by *pattern
	var byLoose bool
	for o := range s.some(away) {
		left := matchBudget
		for _, p := range o.cat.patterns {
			ok, loose := p.match(uri, &left)
			if ok && (best == nil || byLoose && !loose || byLoose == loose && p.moreSpecific(by)) {
				best, by, byLoose = o, p, loose
			}
		}
	}
	return best
}

// scheme is the only server with resources of a URI's scheme, or nil.
func (s stock) scheme(uri string, away bool) (only *served) {
	scheme, ok := schemeOf(uri)
	if !ok {
		return nil
	}
	for o := range s.some(away) {
		if !o.cat.schemes[scheme] {
			continue
		}
		if only != nil {
			return nil
		}
		only = o
	}
	return only
}

// schemeOf is the scheme of a URI, in lower case (RFC 3986, 3.1). A template may have none that
// can be told.
func schemeOf(uri string) (string, bool) {
	scheme, _, ok := strings.Cut(uri, ":")
	if !ok || scheme == "" {
		return "", false
	}
	for i := range len(scheme) {
		c := scheme[i] | 0x20
		if (c < 'a' || c > 'z') && (i == 0 || !strings.ContainsRune("0123456789+-.", rune(scheme[i]))) {
			return "", false
		}
	}
	return strings.ToLower(scheme), true
}

// templateOwner is the server that answers for a template, given as it is listed; false if none
// lists it.
func (s stock) templateOwner(text string) (*served, bool) {
	for _, away := range []bool{false, true} {
		for o := range s.some(away) {
			if o.cat.hasTemplate(text) {
				return o, true
			}
		}
	}
	return nil, false
}

func (c *catalog) hasTemplate(text string) bool {
	for i := range c.templates {
		if c.templates[i].key == text {
			return true
		}
	}
	return false
}

// away are the servers of a view that cannot be called at the moment, in the order of their
// names.
func (v view) away() (out []store.ServerID) {
	for server := range v.all() {
		if _, ok := v.digests[server]; !ok {
			out = append(out, server)
		}
	}
	return out
}
