package web

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mcphub-go/mcphub/store"
)

// serverView is a server with its replicas.
type serverView struct {
	ID        string
	State     stateView
	Full      bool // on every replica that could be called
	Isolation string
	Offers    offersView
	Sessions  int
	InFlight  int
	Restarts  int
	Nodes     []chipView
	MoreNodes string // "and 3 more"
	Error     string // of the first replica that has one, with its node
	Catalogs  []catalogRef
	Replicas  []replicaView
	More      string // replicas that are not shown here
}

// offersView counts what a server offers.
type offersView struct {
	Tools, Prompts, Resources, Templates int
}

// catalogRef is one catalog and the nodes where the server offers it.
type catalogRef struct {
	Digest, Short, Nodes string
	replicas             int
}

type replicaView struct {
	Node, Transport    string
	State              stateView
	Isolated           bool
	Processes          string // "3 of 16"
	Spares             int
	Sessions, InFlight int
	Restarts, Weight   int
	Offers             offersView
	Digest, Catalog    string // the digest, and a short form of it
	OtherCatalog       bool   // than most replicas
	Error              string
	Stderr             string
}

// newServerViews are all servers by name, each with its replicas by node.
func newServerViews(nodes []store.Node) []serverView {
	byID := map[store.ServerID]*serverView{}
	for i := range nodes {
		for j := range nodes[i].Servers {
			s := &nodes[i].Servers[j]
			v := byID[s.ID]
			if v == nil {
				v = &serverView{ID: string(s.ID)}
				byID[s.ID] = v
			}
			v.add(newReplicaView(&nodes[i], s))
		}
	}
	out := make([]serverView, 0, len(byID))
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		v := byID[id]
		v.finish()
		out = append(out, *v)
	}
	return out
}

func newReplicaView(n *store.Node, s *store.Server) replicaView {
	v := replicaView{
		Node: string(n.ID), Transport: s.Transport, State: replicaState(n, s), Isolated: s.Isolation != "",
		Spares: s.Spares, Sessions: s.Sessions, InFlight: s.InFlight, Restarts: s.Restarts, Weight: max(s.Weight, 1),
		Offers: offersView{s.Tools, s.Prompts, s.Resources, s.Templates},
		Digest: string(s.Catalog), Catalog: short(string(s.Catalog)),
		Error: s.Error, Stderr: strings.Join(s.Stderr, "\n"),
	}
	if v.Isolated {
		v.Processes = fmt.Sprintf("%d of %d", s.Processes, s.MaxProcesses)
	}
	return v
}

func (v *serverView) add(r replicaView) {
	v.Replicas = append(v.Replicas, r)
	v.Sessions += r.Sessions
	v.InFlight += r.InFlight
	v.Restarts += r.Restarts
}

// finish sums up the replicas.
func (v *serverView) finish() {
	v.State = serverState(v.Replicas)
	v.Catalogs = catalogRefs(v.Replicas)
	v.Full = v.State.Callable
	for i := range v.Replicas {
		r := &v.Replicas[i]
		if r.State.Callable && r.State.Text != "full" {
			v.Full = false
		}
		if v.Error == "" && r.Error != "" {
			v.Error = r.Node + ": " + r.Error
		}
		r.OtherCatalog = r.State.Callable && len(v.Catalogs) > 0 && r.Digest != v.Catalogs[0].Digest
		if len(v.Catalogs) > 0 && r.Digest == v.Catalogs[0].Digest || len(v.Catalogs) == 0 && r.Offers != (offersView{}) {
			v.Offers = r.Offers
		}
		v.Nodes = append(v.Nodes, chipView{Name: r.Node, State: r.State, Title: r.State.Text})
	}
	v.Isolation = isolation(v.Replicas)
	if more := len(v.Nodes) - chipsShown; more > 0 {
		slices.SortStableFunc(v.Nodes, func(a, b chipView) int { return cmp.Compare(weightOf(a.State.Class), weightOf(b.State.Class)) })
		v.Nodes, v.MoreNodes = v.Nodes[:chipsShown], fmt.Sprintf("and %d more", more)
	}
}

// isolation says how processes and sessions go together on the replicas.
func isolation(replicas []replicaView) string {
	one, all := false, true
	for i := range replicas {
		one = one || replicas[i].Isolated
		all = all && replicas[i].Isolated
	}
	switch {
	case all:
		return "per session"
	case one:
		return "mixed"
	default:
		return "shared"
	}
}

// cut leaves at most so many replicas, those that need a look first.
func (v *serverView) cut(most int) {
	more := len(v.Replicas) - most
	if more <= 0 {
		return
	}
	all := slices.Clone(v.Replicas)
	slices.SortStableFunc(all, func(a, b replicaView) int { return cmp.Compare(weightOf(a.State.Class), weightOf(b.State.Class)) })
	v.Replicas, v.More = all[:most], fmt.Sprintf("%d more replicas", more)
}

// serverState sums up the replicas: every enabled one ready is good, one at least that serves
// or is on its way is a warning, none is bad.
func serverState(replicas []replicaView) stateView {
	ready, enabled, hope, callable := 0, 0, false, false
	for i := range replicas {
		switch replicas[i].State.Class {
		case "good":
			ready++
		case "warn":
			hope = true
		case "off":
			continue
		}
		enabled++
		callable = callable || replicas[i].State.Callable
	}
	v := stateView{Class: "warn", Text: fmt.Sprintf("%d of %d ready", ready, enabled), Callable: callable}
	switch {
	case enabled == 0:
		return stateView{Class: "off", Text: "disabled"}
	case ready == enabled:
		v.Class = "good"
	case ready == 0 && !hope:
		v.Class = "bad"
	}
	return v
}

// catalogRefs are the catalogs that can be called now, the one that most replicas have first,
// and of equally many the lowest, as the lists over several servers choose.
func catalogRefs(replicas []replicaView) []catalogRef {
	nodes := map[string][]string{}
	for i := range replicas {
		if r := &replicas[i]; r.State.Callable && r.Digest != "" {
			nodes[r.Digest] = append(nodes[r.Digest], r.Node)
		}
	}
	var out []catalogRef
	for _, d := range slices.Sorted(maps.Keys(nodes)) {
		who, more := nodes[d], ""
		if n := len(who) - chipsShown; n > 0 {
			who, more = who[:chipsShown], fmt.Sprintf(" and %d more", n)
		}
		out = append(out, catalogRef{Digest: d, Short: short(d), Nodes: strings.Join(who, ", ") + more, replicas: len(nodes[d])})
	}
	slices.SortStableFunc(out, func(a, b catalogRef) int { return cmp.Compare(b.replicas, a.replicas) })
	return out
}

// short is the beginning of a long id.
func short(id string) string {
	if len(id) > 8 {
		return id[:8]
	}
	return id
}
