package router

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// library keeps the servers' catalogs by content: a change of a server costs this replica one
// read of the store, however many clients ask. Safe for concurrent use.
type library struct {
	reading singleflight.Group // reads of the store, by digest

	mu     sync.Mutex
	known  map[store.Digest]*catalog
	last   map[store.ServerID]store.Digest // the last one that could be read, for each server
	failed map[store.Digest]failedRead
	offers map[store.ServerID]*offer
}

// failedRead is a catalog that could not be read.
type failedRead struct {
	when time.Time
	err  error
}

// served is one server of a view with what it offers.
type served struct {
	server store.ServerID
	digest store.Digest
	cat    *catalog // nil: not known here
	// away says that the server cannot be called at the moment: cat is what it offered last.
	away bool
	err  error // why cat is nil, or older than what the server offers now
}

// stock is what the servers of a view offer, in the order of their names.
type stock []served

// blind is a server that can be called, and of which nothing is known because the store is away;
// empty if there is none. A store that answers and does not have the catalog, or has a damaged
// one, blinds nobody: the server is then left out, since waiting would not help.
func (s stock) blind() store.ServerID {
	for i := range s {
		if s[i].cat == nil && !s[i].away && s[i].err != nil && !errors.Is(s[i].err, store.ErrNotFound) && !errors.Is(s[i].err, errBadCatalog) {
			return s[i].server
		}
	}
	return ""
}

// errBadCatalog says that what the store holds is no catalog.
var errBadCatalog = errors.New("the catalog is damaged")

// Bounds of reading catalogs.
const (
	// catalogRetry is how long a catalog that could not be read is not asked for again: lists are
	// asked for by every client, and each would wait for a store that is away.
	catalogRetry = time.Second
	// catalogReads is how many are read at one time.
	catalogReads = 16
)

// stock is what the servers of a view offer. What is not known yet is read from the store, all
// at once and within Config.StoreTimeout. A server whose catalog cannot be read is served with
// the last one that could.
func (r *Router) stock(ctx context.Context, v view) stock {
	out := r.library.look(v)
	var missing []*served
	for i := range out {
		if out[i].cat == nil && !out[i].away {
			missing = append(missing, &out[i])
		}
	}
	if len(missing) == 0 {
		return out
	}
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	var all errgroup.Group
	all.SetLimit(catalogReads)
	for _, s := range missing {
		all.Go(func() error {
			s.cat, s.err = r.catalog(ctx, s.server, s.digest)
			return nil
		})
	}
	_ = all.Wait() // each has its own error
	r.library.fallBack(missing)
	r.library.forget(v.roster)
	if slices.ContainsFunc(missing, func(s *served) bool { return s.err == nil }) {
		r.lists.Purge() // some are lists of what is no longer offered, and hold on to it
	}
	return out
}

// readCatalogs reads the catalogs that are new in the fleet before anybody asks for them, so that
// this replica can still list them when the store is away.
func (r *Router) readCatalogs(ctx context.Context) {
	if v, _ := r.view("", nil); v.snap != nil {
		r.stock(ctx, v)
	}
}

// Unread are the servers that can be called and that this replica leaves out of its lists, because
// the store does not answer or does not have what they offer (yet).
func (r *Router) Unread(ctx context.Context) (out []store.ServerID) {
	v, _ := r.view("", nil)
	have := r.stock(ctx, v)
	for i := range have {
		if have[i].cat == nil && !have[i].away {
			out = append(out, have[i].server)
		}
	}
	return out
}

// look finds what is known of a view's servers. One that cannot be called and never offered
// anything is left out.
func (l *library) look(v view) (out stock) {
	out = make(stock, 0, len(v.servers))
	l.mu.Lock()
	defer l.mu.Unlock()
	for server := range v.all() {
		d, callable := v.digests[server]
		if !callable {
			d = l.last[server]
		}
		s := served{server: server, digest: d, cat: l.known[d], away: !callable}
		if s.cat != nil && l.last[server] != d {
			l.last[server] = d
		}
		if callable || s.cat != nil {
			out = append(out, s)
		}
	}
	return out
}

// fallBack takes the last known catalog of servers whose present one could not be read.
func (l *library) fallBack(missing []*served) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range missing {
		if s.cat == nil {
			if old := l.last[s.server]; l.known[old] != nil {
				s.digest, s.cat = old, l.known[old]
			}
		}
	}
}

// catalog reads a server's catalog from the store. Requests that want the same one share one
// read, which outlives the request that began it.
func (r *Router) catalog(ctx context.Context, server store.ServerID, d store.Digest) (*catalog, error) {
	if err := r.library.failure(d); err != nil {
		return nil, err
	}
	done := r.library.reading.DoChan(string(d), func() (any, error) {
		if c := r.library.get(d); c != nil {
			return c, nil // another request has read it meanwhile
		}
		sctx, cancel := r.bounded(context.WithoutCancel(ctx))
		defer cancel()
		raw, err := r.store.Catalog(sctx, d)
		if err == nil {
			if _, bad := wire.Scan(envelope(raw), wire.ServerLimits); bad != nil { // it came over the network
				err = errors.Join(errBadCatalog, bad)
			}
		}
		if err != nil {
			if r.library.fail(d, err) { // not again with every attempt
				r.log.WarnContext(ctx, "catalog of a server cannot be read; what is last known of it is listed", "server", server, "err", err)
			}
			return nil, err
		}
		c := parseCatalog(raw, server, r.log)
		r.library.add(server, d, c)
		return c, nil
	})
	select {
	case got := <-done:
		c, _ := got.Val.(*catalog)
		return c, got.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// envelope makes a message of a catalog, so that it can be checked like one.
func envelope(raw []byte) []byte { return wire.Result([]byte("0"), raw) }

// failure is why a catalog could not be read a moment ago, or nil.
func (l *library) failure(d store.Digest) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f, ok := l.failed[d]; ok && time.Since(f.when) <= catalogRetry {
		return f.err
	}
	return nil
}

// askAgain lets catalogs that the store did not have be asked for at once.
func (l *library) askAgain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for d, f := range l.failed {
		if errors.Is(f.err, store.ErrNotFound) {
			l.failed[d] = failedRead{err: f.err}
		}
	}
}

func (l *library) get(d store.Digest) *catalog {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.known[d]
}

// fail notes that a catalog could not be read. It says whether that is news.
func (l *library) fail(d store.Digest, err error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = map[store.Digest]failedRead{}
	}
	_, known := l.failed[d]
	l.failed[d] = failedRead{time.Now(), err}
	return !known
}

func (l *library) add(server store.ServerID, d store.Digest, c *catalog) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known == nil {
		l.known, l.last = map[store.Digest]*catalog{}, map[store.ServerID]store.Digest{}
	}
	l.known[d], l.last[server] = c, d
	delete(l.failed, d)
}

// forget drops what no server offers any more, except the last that is known of each server.
func (l *library) forget(now *roster) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := now.names.known
	maps.DeleteFunc(l.last, func(s store.ServerID, _ store.Digest) bool { return !known[s] })
	maps.DeleteFunc(l.offers, func(s store.ServerID, _ *offer) bool { return !known[s] })
	used := make(map[store.Digest]bool, len(known))
	for server := range known {
		used[now.digests[server]], used[l.last[server]] = true, true
	}
	maps.DeleteFunc(l.known, func(d store.Digest, _ *catalog) bool { return !used[d] })
	maps.DeleteFunc(l.failed, func(d store.Digest, _ failedRead) bool { return !used[d] })
}

// offer is what a server offers by name, as an endpoint over several servers shows it. It is
// never changed once made.
type offer struct {
	cat            *catalog
	names          *names
	tools, prompts []item
}

// item is one item of a merged list.
type item struct {
	server store.ServerID
	key    string // by which the server knows it; see entry
	raw    []byte
}

// offer renames what a server offers. It is done once for each content.
func (l *library) offer(s *served, n *names, log *slog.Logger) *offer {
	l.mu.Lock()
	o := l.offers[s.server]
	l.mu.Unlock()
	if o != nil && o.cat == s.cat && o.names == n {
		return o
	}
	o = &offer{cat: s.cat, names: n, tools: renamed(s.server, s.cat.tools, n, log), prompts: renamed(s.server, s.cat.prompts, n, log)}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.offers == nil {
		l.offers = map[store.ServerID]*offer{}
	}
	l.offers[s.server] = o
	return o
}

// renamed are a server's tools or prompts under the names that lead to them. One whose name leads
// to another server is left out: it could not be asked for.
func renamed(server store.ServerID, entries []entry, n *names, log *slog.Logger) []item {
	out := make([]item, 0, len(entries))
	for i := range entries {
		e := &entries[i]
		if !n.leadsTo(server, e.key) {
			log.Warn("a tool or prompt is not listed: its name leads to another server", "server", server, "name", clip(e.key, 200))
			continue
		}
		raw := wire.Splice(e.raw, wire.Edit{Span: e.at, New: wire.Quote(n.join(server, e.key))})
		out = append(out, item{server: server, key: e.key, raw: raw})
	}
	return out
}
