package web

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

type nodeView struct {
	ID, Name, URL      string
	Version            string
	OtherVersion       bool // than the coordinator that answers
	Epoch              int64
	Weight             int
	State              stateView
	Beat, BeatAt       string
	Started, StartedAt string
	Sessions, InFlight int
	Servers            []chipView
	MoreServers        string // "and 3 more"
}

// chipView is a small label with a colour.
type chipView struct {
	Name  string
	State stateView
	Title string
}

func newNodeView(n *store.Node, now time.Time, ours string) nodeView {
	v := nodeView{
		ID: string(n.ID), Name: n.Name, URL: n.URL, Version: n.Version, OtherVersion: n.Version != ours, Epoch: int64(n.Epoch),
		Weight: max(n.Weight, 1), State: nodeState(n.State), Beat: age(now, n.LastHeartbeat), BeatAt: stamp(n.LastHeartbeat),
		Started: age(now, n.Started), StartedAt: stamp(n.Started),
	}
	for i := range n.Servers {
		s := &n.Servers[i]
		v.Sessions += s.Sessions
		v.InFlight += s.InFlight
		state := replicaState(n, s)
		v.Servers = append(v.Servers, chipView{Name: string(s.ID), State: state, Title: state.Text})
	}
	slices.SortFunc(v.Servers, func(a, b chipView) int {
		return cmp.Or(cmp.Compare(weightOf(a.State.Class), weightOf(b.State.Class)), cmp.Compare(a.Name, b.Name))
	})
	if more := len(v.Servers) - chipsShown; more > 0 {
		v.Servers, v.MoreServers = v.Servers[:chipsShown], fmt.Sprintf("and %d more", more)
	}
	return v
}

// weightOf orders classes: what needs a look comes first.
func weightOf(class string) int {
	switch class {
	case "bad":
		return 0
	case "warn":
		return 1
	default:
		return 2
	}
}

func nodeState(s store.NodeState) stateView {
	switch s {
	case store.NodeActive:
		return stateView{Class: "good", Text: "active"}
	case store.NodeDraining:
		return stateView{Class: "warn", Text: "draining"}
	default:
		return stateView{Class: "bad", Text: string(s)}
	}
}

// replicaState is what can be done with a server on a node: a ready server of a node that is
// gone is not ready for anybody.
func replicaState(n *store.Node, s *store.Server) stateView {
	if n.State == store.NodeUnhealthy && s.Status != store.ServerDisabled {
		return stateView{Class: "bad", Text: "node unhealthy"}
	}
	switch s.Status {
	case store.ServerReady:
		switch {
		case n.State == store.NodeDraining:
			return stateView{Class: "warn", Text: "node draining", Callable: true}
		case s.Full:
			return stateView{Class: "warn", Text: "full", Callable: true}
		}
		return stateView{Class: "good", Text: "ready", Callable: true}
	case store.ServerStarting:
		return stateView{Class: "warn", Text: "starting"}
	case store.ServerDisabled:
		return stateView{Class: "off", Text: "disabled"}
	default:
		return stateView{Class: "bad", Text: string(s.Status)}
	}
}
