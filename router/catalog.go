package router

import (
	"log/slog"
	"strings"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// catalog is what one server offers, as its node read it, taken apart. It is never changed once
// made, and its parts alias the bytes that it was made from.
type catalog struct {
	tools, prompts, resources, templates []entry

	uris     map[string]bool // of resources
	patterns []*pattern      // of templates that can be matched
	schemes  map[string]bool // of resources and templates

	instructions string
	// What the server said in its handshake that it can do.
	offersResources, offersCompletions, offersLogging, offersTasks bool
}

// entry is one item of a list.
type entry struct {
	// key is what the item is asked for by: the name of a tool or a prompt, the URI of a resource,
	// the text of a template.
	key string
	raw []byte
	at  wire.Span // of the key, in raw
}

// maxPatterns bounds the templates of one server that URIs are matched against. The others are
// listed all the same.
const maxPatterns = 256

// parseCatalog takes a catalog apart. raw must be valid JSON.
func parseCatalog(raw []byte, server store.ServerID, log *slog.Logger) *catalog {
	read := func(list, key string) []entry {
		entries, dropped := entriesOf(raw, list, key)
		if dropped > 0 {
			log.Warn("items of a server's list are left out: they have no name, or that of another one", "server", server, "list", list, "count", dropped)
		}
		return entries
	}
	c := &catalog{
		tools: read("tools", "name"), prompts: read("prompts", "name"),
		resources: read("resources", "uri"), templates: read("resourceTemplates", "uriTemplate"),
	}
	c.uris, c.schemes = make(map[string]bool, len(c.resources)), map[string]bool{}
	for _, e := range c.resources {
		c.uris[e.key] = true
		c.addScheme(e.key)
	}
	for _, e := range c.templates {
		c.addScheme(e.key)
		if p, err := parsePattern(e.key); err != nil {
			log.Warn("no URI is matched against a template of a server", "server", server, "template", clip(e.key, 200), "err", err)
		} else if len(c.patterns) < maxPatterns {
			c.patterns = append(c.patterns, p)
		}
	}
	if at, ok := wire.Lookup(raw, "instructions"); ok {
		c.instructions, _ = wire.Unquote(at.Of(raw))
	}
	has := func(capability string) bool {
		at, ok := wire.Lookup(raw, "capabilities", capability)
		return ok && raw[at.Start] == '{'
	}
	c.offersResources, c.offersCompletions, c.offersLogging = has("resources"), has("completions"), has("logging")
	_, c.offersTasks = wire.Lookup(raw, "capabilities", "tasks", "requests", "tools", "call")
	return c
}

func (c *catalog) addScheme(uri string) {
	if scheme, ok := schemeOf(uri); ok {
		c.schemes[scheme] = true
	}
}

// entriesOf reads one list of a catalog. Items without the key, or with one that an item before
// has, cannot be asked for and are dropped.
func entriesOf(raw []byte, list, key string) (out []entry, dropped int) {
	items, ok := wire.Lookup(raw, list)
	if !ok {
		return nil, 0
	}
	seen := map[string]bool{}
	for span := range wire.Items(raw, items) {
		e := entry{raw: span.Of(raw)}
		if at, ok := wire.Lookup(e.raw, key); ok {
			e.at = at
			e.key, _ = wire.Unquote(at.Of(e.raw))
		}
		if e.key == "" || seen[e.key] {
			dropped++
			continue
		}
		seen[e.key] = true
		out = append(out, e)
	}
	return out, dropped
}

// clip cuts a text to at most n bytes, for a log.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
