package router

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// catalogs holds the servers' own lists, by content, and the list that was merged from them
// last. Safe for concurrent use.
type catalogs struct {
	mu     sync.Mutex
	raw    map[store.Digest][]byte
	last   map[store.ServerID]store.Digest // the last one that could be read, for each server
	failed map[store.Digest]time.Time      // when one could not be read
	merged []byte                          // result of tools/list
	key    string                          // what merged was made from
	snap   *store.Snapshot                 // the last snapshot with that key
}

// mergedTools is the result of tools/list over all servers that can be called somewhere. The
// order is that of the servers' names, and within a server its own. It is made anew only when
// a snapshot shows other servers or other catalogs.
func (r *Router) mergedTools(ctx context.Context) []byte {
	snap := r.fleet.Snapshot()
	if merged := r.catalogs.same(snap); merged != nil {
		return merged
	}
	digests := callable(snap)
	key := mergeKey(snap, digests)
	if merged := r.catalogs.find(key, snap); merged != nil {
		return merged
	}
	out := []byte(`{"tools":[`)
	whole := snap != nil
	for _, server := range slices.Sorted(maps.Keys(digests)) {
		raw, ok := r.catalog(ctx, server, digests[server])
		whole = whole && ok
		out = r.appendTools(out, snap, server, raw)
	}
	out = append(out, "]}"...)
	r.catalogs.forget(digests)
	if whole {
		r.catalogs.keep(key, snap, out)
	}
	return out
}

func (c *catalogs) same(snap *store.Snapshot) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if snap == nil || snap != c.snap {
		return nil
	}
	return c.merged
}

func (c *catalogs) find(key string, snap *store.Snapshot) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.merged == nil || key != c.key {
		return nil
	}
	c.snap = snap
	return c.merged
}

func (c *catalogs) keep(key string, snap *store.Snapshot, merged []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.key, c.snap, c.merged = key, snap, merged
}

// mergeKey spells what a merged list depends on: the names of all servers, which decide where a
// tool's name leads, and the catalogs of those that can be called. Names and digests hold
// neither '=' nor a line break.
func mergeKey(snap *store.Snapshot, digests map[store.ServerID]store.Digest) string {
	names := map[store.ServerID]bool{}
	if snap != nil {
		for i := range snap.Nodes {
			for _, s := range snap.Nodes[i].Servers {
				names[s.ID] = true
			}
		}
	}
	var key strings.Builder
	for _, name := range slices.Sorted(maps.Keys(names)) {
		key.WriteString(string(name) + "=" + string(digests[name]) + "\n")
	}
	return key.String()
}

// forget drops the catalogs that no server has any more, except the last of each server that
// could be read.
func (c *catalogs) forget(now map[store.ServerID]store.Digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	used := make(map[store.Digest]bool, len(now))
	for server, d := range now {
		used[d] = true
		used[c.last[server]] = true
	}
	maps.DeleteFunc(c.raw, func(d store.Digest, _ []byte) bool { return !used[d] })
	maps.DeleteFunc(c.last, func(s store.ServerID, _ store.Digest) bool { _, ok := now[s]; return !ok })
	maps.DeleteFunc(c.failed, func(d store.Digest, _ time.Time) bool { return !used[d] })
}

// callable is the catalog of each server that can be called somewhere: the one that most of its
// replicas have, and of equally many the lowest, so that every coordinator lists the same.
func callable(snap *store.Snapshot) map[store.ServerID]store.Digest {
	votes := map[store.ServerID]map[store.Digest]int{}
	if snap == nil {
		return nil
	}
	for i := range snap.Nodes {
		n := &snap.Nodes[i]
		if n.State == store.NodeUnhealthy {
			continue
		}
		for _, s := range n.Servers {
			if s.Status != store.ServerReady || s.Catalog == "" {
				continue
			}
			if votes[s.ID] == nil {
				votes[s.ID] = map[store.Digest]int{}
			}
			votes[s.ID][s.Catalog]++
		}
	}
	out := make(map[store.ServerID]store.Digest, len(votes))
	for server, count := range votes {
		var best store.Digest
		for _, d := range slices.Sorted(maps.Keys(count)) {
			if best == "" || count[d] > count[best] {
				best = d
			}
		}
		out[server] = best
	}
	return out
}

// catalogRetry is how long a catalog that could not be read is not asked for again: lists are
// asked for by every client, and each would wait for a store that is away.
const catalogRetry = time.Second

// catalog is a server's catalog, from memory or the store. If it cannot be read now, the last
// one that could be is served, and ok is false.
func (r *Router) catalog(ctx context.Context, server store.ServerID, d store.Digest) (raw []byte, ok bool) {
	c := &r.catalogs
	c.mu.Lock()
	raw, ok = c.raw[d]
	if ok {
		c.last[server] = d
	}
	last, again := c.raw[c.last[server]], time.Since(c.failed[d]) > catalogRetry
	c.mu.Unlock()
	switch {
	case ok:
		return raw, true
	case !again:
		return last, false
	}
	sctx, cancel := r.bounded(ctx)
	defer cancel()
	raw, err := r.store.Catalog(sctx, d)
	if err == nil {
		_, err = wire.Scan(envelope(raw), wire.ServerLimits) // it came over the network
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		r.log.WarnContext(ctx, "catalog of a server cannot be read; its last known tools are listed", "server", server, "err", err)
		if c.failed == nil {
			c.failed = map[store.Digest]time.Time{}
		}
		c.failed[d] = time.Now()
		return c.raw[c.last[server]], false
	}
	if c.raw == nil {
		c.raw, c.last = map[store.Digest][]byte{}, map[store.ServerID]store.Digest{}
	}
	c.raw[d], c.last[server] = raw, d
	delete(c.failed, d)
	return raw, true
}

// envelope makes a message of a catalog, so that it can be checked like one.
func envelope(raw []byte) []byte { return wire.Result([]byte("0"), raw) }

// appendTools appends a server's tools, renamed. A tool whose new name would lead to another
// server is left out: it could not be called.
func (r *Router) appendTools(out []byte, snap *store.Snapshot, server store.ServerID, raw []byte) []byte {
	list, ok := wire.Lookup(raw, "tools")
	if !ok {
		return out
	}
	for at := range wire.Items(raw, list) {
		tool := at.Of(raw)
		name, ok := wire.Lookup(tool, "name")
		if !ok {
			continue
		}
		text, ok := wire.Unquote(name.Of(tool))
		if !ok {
			continue
		}
		full := string(server) + r.cfg.NameSeparator + text
		if s, t, ok := r.resolve(snap, full); !ok || s != server || t != text {
			r.log.Warn("tool is not listed: its name leads to another server", "server", server)
			continue
		}
		if out[len(out)-1] != '[' {
			out = append(out, ',')
		}
		out = append(out, wire.Splice(tool, wire.Edit{Span: name, New: wire.Quote(full)})...)
	}
	return out
}

// resolve finds the server and the tool of a name on an endpoint over several servers: of the
// servers whose name it begins with, the one with the longest name. Servers that cannot be
// called at the moment count too, so that a name does not change its meaning with their health.
func (r *Router) resolve(snap *store.Snapshot, name string) (server store.ServerID, tool string, ok bool) {
	if snap == nil {
		return "", "", false
	}
	for i := range snap.Nodes {
		for _, s := range snap.Nodes[i].Servers {
			rest, found := strings.CutPrefix(name, string(s.ID))
			if !found || (ok && len(s.ID) <= len(server)) {
				continue
			}
			if rest, found = strings.CutPrefix(rest, r.cfg.NameSeparator); found && rest != "" {
				server, tool, ok = s.ID, rest, true
			}
		}
	}
	return server, tool, ok
}
