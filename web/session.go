package web

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

type sessionView struct {
	Short, ID, Scope, Era string
	Bindings              []bindingView
	MoreBindings          string // "and 3 more"
	Age, Created          string
	Seen, SeenAt          string
	Left, Expires         string
}

// bindingView says where a session has its state for one server.
type bindingView struct {
	Server, Node string
	Class, Title string // what is odd about the node, if anything
}

// newest are up to most sessions, those first that began last.
func newest(all []store.Session, most int) []store.Session {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b store.Session) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID))
	})
	return all[:min(len(all), most)]
}

func newSessionViews(all []store.Session, fleet *store.Snapshot, now time.Time) []sessionView {
	out := make([]sessionView, len(all))
	for i := range all {
		out[i] = newSessionView(&all[i], fleet, now)
	}
	return out
}

func newSessionView(s *store.Session, fleet *store.Snapshot, now time.Time) sessionView {
	v := sessionView{
		Short: short(string(s.ID)), ID: string(s.ID), Scope: scope(s.Scope), Era: s.Era,
		Age: age(now, s.Created), Created: stamp(s.Created), Seen: age(now, s.Seen), SeenAt: stamp(s.Seen),
		Left: left(now, s.Expires), Expires: stamp(s.Expires),
	}
	for _, id := range slices.Sorted(maps.Keys(s.Bindings)) {
		if len(v.Bindings) == bindingsShown {
			v.MoreBindings = fmt.Sprintf("and %d more", len(s.Bindings)-bindingsShown)
			break
		}
		v.Bindings = append(v.Bindings, newBindingView(id, s.Bindings[id], fleet))
	}
	return v
}

// scope words which servers a session may use.
func scope(s string) string {
	if s == store.ScopeAll {
		return "all servers"
	}
	if name, ok := strings.CutPrefix(s, store.ScopeGroup); ok {
		return "group " + name
	}
	return "server " + s
}

func newBindingView(id store.ServerID, b store.Binding, fleet *store.Snapshot) bindingView {
	v := bindingView{Server: string(id), Node: string(b.Node), Title: fmt.Sprintf("epoch %d", b.Epoch)}
	if fleet == nil {
		return v
	}
	switch n := fleet.Node(b.Node); {
	case n == nil:
		v.Class, v.Title = "bad", "this node is not known any more; the session moves with its next request"
	case n.State == store.NodeUnhealthy:
		v.Class, v.Title = "bad", "this node is unhealthy; the session moves when it does not answer"
	case n.Epoch != b.Epoch:
		v.Class, v.Title = "warn", fmt.Sprintf("bound under epoch %d, the node has %d by now: it began anew", b.Epoch, n.Epoch)
	case n.State == store.NodeDraining:
		v.Class, v.Title = "warn", "this node is draining"
	}
	return v
}
