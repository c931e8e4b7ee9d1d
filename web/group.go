package web

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

type groupView struct {
	Name, Description string
	Fixed             bool // it stands in the settings file
	Changed, At       string
	Servers           []groupServerView
	More              string // "and 3 more"
}

// groupServerView is a server of a group, whole or in part.
type groupServerView struct {
	chipView
	Tools string // which of its tools; empty for all
}

// newGroupViews shows groups over servers, which are sorted by name.
func newGroupViews(all []store.Group, servers []serverView, now time.Time) []groupView {
	out := make([]groupView, len(all))
	for i := range all {
		g := &all[i]
		out[i] = groupView{
			Name: g.Name, Description: g.Description, Fixed: g.Updated.IsZero(), Changed: age(now, g.Updated), At: stamp(g.Updated),
		}
		for _, s := range g.Servers[:min(len(g.Servers), chipsShown)] {
			out[i].Servers = append(out[i].Servers, newGroupServerView(s, servers))
		}
		if more := len(g.Servers) - chipsShown; more > 0 {
			out[i].More = fmt.Sprintf("and %d more", more)
		}
	}
	return out
}

func newGroupServerView(s store.GroupServer, servers []serverView) groupServerView {
	v := groupServerView{chipView: chipView{Name: string(s.Name), State: stateView{Class: "off", Text: "unknown"}, Title: "no node has a server of that name"}}
	at, ok := slices.BinarySearchFunc(servers, string(s.Name), func(have serverView, name string) int { return strings.Compare(have.ID, name) })
	if ok {
		v.State, v.Title = servers[at].State, servers[at].State.Text
	}
	if s.Tools != nil {
		v.Tools = toolsOf(s.Tools)
	}
	return v
}

// toolsOf names the tools that a group has of a server.
func toolsOf(names []string) string {
	const most = 4
	switch n := len(names) - most; {
	case len(names) == 0:
		return "no tools"
	case n > 0:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), n)
	}
	return strings.Join(names, ", ")
}
