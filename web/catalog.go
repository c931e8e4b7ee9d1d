package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/singleflight"

	"github.com/mcphub-go/mcphub/store"
)

// Limits of what one catalog shows.
const (
	itemsShown  = 250 // of each list
	argsShown   = 40  // of each tool
	nameCut     = 200 // characters
	textCut     = 600
	instrCut    = 2000
	catalogKept = 32 // catalogs that are remembered as they are shown
)

// catalogView is what a server offers.
type catalogView struct {
	Digest       string
	Name         string // as the server calls itself
	Version      string
	Era          string
	Instructions string
	Lists        []listView
}

// listView is one of its lists.
type listView struct {
	Title string
	Total int
	Items []itemView
	More  int // that are not shown
}

// itemView is a tool, a prompt, a resource or a template of resources.
type itemView struct {
	Name, Title string
	Address     string // of a resource, or the pattern of addresses
	About       string
	Hints       []hintView
	Args        []argView
	MoreArgs    int
}

type hintView struct{ Class, Text string }

type argView struct {
	Name, Type, About string
	Required          bool
}

// catalogs remembers catalogs as they are shown. Their digest names their content, so that
// what was read once stays right. Safe for concurrent use.
type catalogs struct {
	read  func(ctx context.Context, d store.Digest) ([]byte, error)
	alone singleflight.Group

	mu   sync.Mutex // guards kept
	kept map[store.Digest]catalogView
}

// view shows a catalog, from memory or as it is read now. However many ask, it is read once.
func (c *catalogs) view(ctx context.Context, d store.Digest) (catalogView, error) {
	c.mu.Lock()
	v, ok := c.kept[d]
	c.mu.Unlock()
	if ok {
		return v, nil
	}
	got, err, _ := c.alone.Do(string(d), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ReadTimeout)
		defer cancel()
		raw, err := c.read(ctx, d)
		if err != nil {
			return nil, err
		}
		v, err := newCatalogView(d, raw)
		if err == nil {
			c.keep(d, v)
		}
		return v, err
	})
	if err != nil {
		return catalogView{}, err
	}
	v, _ = got.(catalogView)
	return v, nil
}

// keep remembers a catalog, and forgets any other if there are too many.
func (c *catalogs) keep(d store.Digest, v catalogView) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for old := range c.kept {
		if len(c.kept) < catalogKept {
			break
		}
		delete(c.kept, old)
	}
	if c.kept == nil {
		c.kept = map[store.Digest]catalogView{}
	}
	c.kept[d] = v
}

// newCatalogView reads a catalog. What a server got wrong in one item spoils only that item.
func newCatalogView(d store.Digest, raw []byte) (catalogView, error) {
	var cat struct {
		ProtocolVersion string            `json:"protocolVersion"`
		ServerInfo      json.RawMessage   `json:"serverInfo"`
		Instructions    json.RawMessage   `json:"instructions"`
		Tools           []json.RawMessage `json:"tools"`
		Prompts         []json.RawMessage `json:"prompts"`
		Resources       []json.RawMessage `json:"resources"`
		Templates       []json.RawMessage `json:"resourceTemplates"`
	}
	if err := json.Unmarshal(raw, &cat); err != nil {
		return catalogView{}, errors.New("this catalog is damaged")
	}
	v := catalogView{Digest: string(d), Era: cut(cat.ProtocolVersion, nameCut)}
	var info struct{ Name, Title, Version string }
	_ = json.Unmarshal(cat.ServerInfo, &info) // a server without a name of its own has none shown
	v.Name, v.Version = cut(info.Name, nameCut), cut(info.Version, nameCut)
	if info.Title != "" {
		v.Name = cut(info.Title, nameCut)
	}
	var instructions string
	_ = json.Unmarshal(cat.Instructions, &instructions) // {} stands for none
	v.Instructions = cut(instructions, instrCut)
	for _, l := range []struct {
		title string
		items []json.RawMessage
		read  func(json.RawMessage) (itemView, error)
	}{
		{"Tools", cat.Tools, newTool}, {"Prompts", cat.Prompts, newPrompt},
		{"Resources", cat.Resources, newResource}, {"Resource templates", cat.Templates, newResource},
	} {
		if len(l.items) > 0 {
			v.Lists = append(v.Lists, newListView(l.title, l.items, l.read))
		}
	}
	return v, nil
}

func newListView(title string, items []json.RawMessage, read func(json.RawMessage) (itemView, error)) listView {
	shown := items[:min(len(items), itemsShown)]
	v := listView{Title: title, Total: len(items), More: len(items) - len(shown), Items: make([]itemView, len(shown))}
	for i, raw := range shown {
		item, err := read(raw)
		if err != nil {
			item = itemView{Name: fmt.Sprintf("item %d", i+1), About: "cannot be read: it is not what the protocol asks for"}
		}
		v.Items[i] = item
	}
	return v
}

// cut shortens text to at most so many characters.
func cut(s string, most int) string {
	n := 0
	for at := range s {
		if n == most {
			return s[:at] + "…"
		}
		n++
	}
	return s
}
