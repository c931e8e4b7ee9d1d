package web

import (
	"fmt"
	"strings"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// The view structs hold only what the templates print, already worded.

// liveView is the part of the first page that changes.
type liveView struct {
	Learned         bool // false until the coordinator has seen the fleet once
	Notices         []noticeView
	Tiles           []tileView
	Nodes           []nodeView
	NodesN          string // "200 of 340"
	Servers         []serverView
	ServersN        string
	Sessions        []sessionView
	SessionsN       string
	SessionsErr     string
	Events          []eventView
	EventsErr       string
	Groups          []groupView
	GroupsN         string
	Coordinators    []coordinatorView
	CoordinatorsErr string
	Conflicts       []Conflict
	ConflictsN      string
	ConflictsErr    string
}

type tileView struct {
	Label, Value, Of string
	Class, Title     string
	Word             bool // Value is a word and no number
}

type stateView struct {
	Class, Text string
	Callable    bool // of a server: sessions that it has are served
}

// newLiveView words one look, for the coordinator self of release version.
func newLiveView(l *look, self Config) liveView {
	now, nodes := l.now(), l.nodes()
	v := liveView{Learned: l.snapshot != nil}
	for i := range nodes[:min(len(nodes), nodesShown)] {
		v.Nodes = append(v.Nodes, newNodeView(&nodes[i], now, self.Version))
	}
	v.NodesN = counted(len(v.Nodes), len(nodes))
	all := newServerViews(nodes)
	v.Tiles = tiles(l, all)
	v.Notices = notices(l, all, self)
	v.Servers = all[:min(len(all), serversShown)]
	for i := range v.Servers {
		v.Servers[i].cut(replicasShown)
	}
	v.ServersN = counted(len(v.Servers), len(all))
	v.Sessions = newSessionViews(newest(l.sessions, sessionsShown), l.snapshot, now)
	v.SessionsN = counted(len(v.Sessions), l.sessTotal)
	if l.sessionsErr != nil {
		v.SessionsN, v.SessionsErr = "", l.sessionsErr.Error()
	}
	v.Events = newEventViews(l.events, now)
	v.EventsErr = text(l.eventsErr)
	v.Groups = newGroupViews(l.groups[:min(len(l.groups), groupsShown)], all, now)
	v.GroupsN = counted(len(v.Groups), len(l.groups))
	v.Coordinators = newCoordinatorViews(l.coordinators, self, now)
	v.CoordinatorsErr = text(l.coordinatorsErr)
	v.Conflicts = l.conflicts[:min(len(l.conflicts), conflictsShown)]
	v.ConflictsN, v.ConflictsErr = counted(len(v.Conflicts), len(l.conflicts)), text(l.conflictsErr)
	return v
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// counted says how many are shown and how many there are.
func counted(shown, total int) string {
	if total <= shown {
		return fmt.Sprint(shown)
	}
	return fmt.Sprintf("%d of %d", shown, total)
}

// tiles are the figures of the fleet.
func tiles(l *look, servers []serverView) []tileView {
	nodes, active, inFlight := l.nodes(), 0, 0
	for i := range nodes {
		if nodes[i].State == store.NodeActive {
			active++
		}
		for _, s := range nodes[i].Servers {
			inFlight += s.InFlight
		}
	}
	callable, enabled := 0, 0
	for i := range servers {
		if servers[i].State.Class != "off" {
			enabled++
		}
		if servers[i].State.Callable {
			callable++
		}
	}
	sessions := fmt.Sprint(l.sessTotal)
	if l.sessionsErr != nil {
		sessions = "?"
	}
	return []tileView{
		{Label: "nodes active", Value: fmt.Sprint(active), Of: fmt.Sprint(len(nodes)), Class: share(active, len(nodes))},
		{Label: "servers callable", Value: fmt.Sprint(callable), Of: fmt.Sprint(enabled), Class: share(callable, enabled)},
		{Label: "sessions", Value: sessions},
		{Label: "calls in flight", Value: fmt.Sprint(inFlight)},
		coordinatorsTile(l),
		redisTile(l.redis, l.at),
	}
}

func coordinatorsTile(l *look) tileView {
	if l.coordinatorsErr != nil {
		return tileView{Label: "coordinators ready", Value: "?"}
	}
	ready := 0
	for i := range l.coordinators {
		if l.coordinators[i].Ready {
			ready++
		}
	}
	n := len(l.coordinators)
	return tileView{Label: "coordinators ready", Value: fmt.Sprint(ready), Of: fmt.Sprint(n), Class: share(ready, n)}
}

func redisTile(r Redis, now time.Time) tileView {
	v := tileView{Label: "Redis", Value: r.State, Class: "bad", Title: r.Err, Word: true}
	if r.OK {
		v.Class = "good"
		if r.Latency > 0 {
			v.Of = fmt.Sprintf("%.1f ms", float64(r.Latency.Microseconds())/1000)
		}
	} else if !r.Since.IsZero() {
		v.Of = strings.Replace(age(now, r.Since), "now", "a moment", 1)
	}
	if r.Embedded {
		v.Label = "Redis, embedded"
		v.Title = strings.TrimSpace("It runs inside this process and is gone with it. " + r.Err)
	}
	return v
}

func share(part, whole int) string {
	switch {
	case part == whole:
		return "good"
	case part == 0:
		return "bad"
	default:
		return "warn"
	}
}
