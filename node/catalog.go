package node

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/mcphub-go/mcphub/heartbeat"
	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

const (
	maxPages = 1000
	// maxCatalog is what coordinators take, so that a server whose lists are larger says so
	// itself instead of being ready without them.
	maxCatalog = heartbeat.MaxCatalog
)

// catalog is what one server offers: its handshake and all pages of its lists, as one JSON
// object whose keys stand in a fixed order and whose items are the server's own bytes, so that
// equal servers have equal digests.
type catalog struct {
	digest store.Digest
	bytes  []byte
	// The number of items in each list.
	tools, prompts, resources, templates int
}

// listing is one list of a server.
type listing struct {
	method, key string
	has         bool
	must        bool // without it the server is of no use
	count       *int
}

// list reads all the lists the server advertises.
func (l *link) list(ctx context.Context) (*catalog, error) {
	h := l.hello.Load()
	out := catalogHead(h)
	cat := &catalog{}
	for _, li := range []listing{
		{"tools/list", "tools", h.tools, true, &cat.tools},
		{"prompts/list", "prompts", h.prompts, false, &cat.prompts},
		{"resources/list", "resources", h.resources, false, &cat.resources},
		{"resources/templates/list", "resourceTemplates", h.resources, false, &cat.templates},
	} {
		out = append(append(append(out, `,"`...), li.key...), `":[`...)
		size := len(out)
		if li.has {
			var err error
			if out, *li.count, err = l.pages(ctx, out, li); err != nil {
				var refused *rpcError
				if li.must || !errors.As(err, &refused) {
					return nil, err
				}
				l.log.Info("server does not list what it offers", "method", li.method, "err", err)
				out, *li.count = out[:size], 0
			}
		}
		out = append(out, ']')
	}
	cat.bytes = append(out, '}')
	if len(cat.bytes) > maxCatalog {
		return nil, fmt.Errorf("the lists are over %d MiB", maxCatalog>>20)
	}
	sum := sha256.Sum256(cat.bytes)
	cat.digest = store.Digest(hex.EncodeToString(sum[:]))
	return cat, nil
}

func catalogHead(h *hello) []byte {
	out := append([]byte(`{"protocolVersion":`), wire.Quote(h.version)...)
	for _, key := range []string{"serverInfo", "capabilities", "instructions"} {
		value := []byte("{}")
		if at, ok := wire.Lookup(h.result, key); ok {
			value = at.Of(h.result)
		} else if key == "instructions" {
			continue
		}
		out = append(append(append(out, `,"`...), key...), `":`...)
		out = append(out, value...)
	}
	return out
}

// pages appends the items of every page of a list, separated by commas.
func (l *link) pages(ctx context.Context, out []byte, li listing) ([]byte, int, error) {
	count, cursor := 0, []byte(nil)
	for range maxPages {
		var params []byte
		if cursor != nil {
			params = append(append([]byte(`{"cursor":`), cursor...), '}')
		}
		f, err := l.ask(ctx, li.method, params)
		if err != nil {
			return out, 0, err
		}
		items, ok := f.Lookup("result", li.key)
		if !ok || f.Raw[items.Start] != '[' {
			return out, 0, fmt.Errorf("%s: the answer has no list %q", li.method, li.key)
		}
		for at := range wire.Items(f.Raw, items) {
			if count++; count > 1 {
				out = append(out, ',')
			}
			out = append(out, at.Of(f.Raw)...)
		}
		if len(out) > maxCatalog {
			return out, 0, fmt.Errorf("%s: the lists are over %d MiB", li.method, maxCatalog>>20)
		}
		next, ok := f.Lookup("result", "nextCursor")
		if !ok || string(next.Of(f.Raw)) == "null" {
			return out, count, nil
		}
		if string(next.Of(f.Raw)) == string(cursor) {
			return out, 0, fmt.Errorf("%s: the server gives the same cursor again", li.method)
		}
		cursor = next.Of(f.Raw)
	}
	return out, 0, fmt.Errorf("%s: over %d pages", li.method, maxPages)
}
