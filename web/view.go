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

// The view structs hold only what the templates print, already worded.

type pageView struct {
	Version, CoordinatorID, Mode string
	CSS, JS, Icon                string // addresses of the assets, with their digests
	Live                         liveView
}

type liveView struct {
	Redis     redisView
	Problems  []string
	Learned   bool // false until the coordinator has seen the fleet once
	Tiles     []tileView
	Nodes     []nodeView
	Servers   []serverView
	Sessions  []sessionView
	SessionsN string // "50 of 1200"
	SessErr   string
	Events    []eventView
	EventsErr string
}

type redisView struct {
	Class, Text, Detail string
}

type tileView struct {
	Label, Value, Of string
	Class            string
}

type stateView struct {
	Class, Text string
	Callable    bool // of a server: on some node
}

type nodeView struct {
	ID, Name, URL, Version string
	Epoch                  int64
	State                  stateView
	Beat, BeatAt           string
	Sessions, InFlight     int
	Servers                []chipView
}

type chipView struct {
	Name  string
	State stateView
}

type serverView struct {
	ID       string
	State    stateView
	Tools    int
	Sessions int
	Replicas []replicaView
}

type replicaView struct {
	Node, Transport    string
	State              stateView
	Tools, Sessions    int
	InFlight, Restarts int
	Weight             int
	Error              string
	Stderr             string
}

type sessionView struct {
	Short, ID, Scope, Era string
	Bindings              []bindingView
	Age, Created          string
	Seen, SeenAt          string
}

type bindingView struct {
	Server, Node string
}

type eventView struct {
	Class, Kind, Text, Age, At string
}

// look is one reading of the fleet; the errors say which parts are missing.
type look struct {
	snapshot    *store.Snapshot
	fresh       time.Time // when this snapshot was first seen, by this process's clock
	redis       Redis
	sessions    []store.Session
	sessTotal   int
	sessionsErr error
	events      []store.Event
	eventsErr   error
	at          time.Time // this process's clock
}

// newLiveView words one look. Ages of what Redis dated are counted on Redis's clock: the
// snapshot carries it, and this process's clock says only how old the snapshot is. Without a
// snapshot there is nothing better than this process's clock.
func newLiveView(l look) liveView {
	now := l.at
	v := liveView{Redis: newRedisView(l.redis, l.at), Learned: l.snapshot != nil}
	var nodes []store.Node
	if l.snapshot != nil {
		now, nodes = l.snapshot.Taken.Add(l.at.Sub(l.fresh)), l.snapshot.Nodes
	}
	for i := range nodes {
		v.Nodes = append(v.Nodes, newNodeView(&nodes[i], now))
	}
	v.Servers = newServerViews(nodes)
	v.Sessions = newSessionViews(l.sessions, now)
	v.SessionsN = counted(len(v.Sessions), l.sessTotal)
	v.Events = newEventViews(l.events, now)
	if l.sessionsErr != nil {
		v.SessionsN, v.SessErr = "", l.sessionsErr.Error()
	}
	if l.eventsErr != nil {
		v.EventsErr = l.eventsErr.Error()
	}
	v.Tiles = tiles(nodes, v.Servers, l)
	v.Problems = problems(nodes, v.Servers, l.redis)
	return v
}

func newRedisView(r Redis, now time.Time) redisView {
	v := redisView{Class: "bad", Text: "Redis " + r.State, Detail: r.Err}
	if r.OK {
		v.Class = "good"
	}
	if r.Embedded {
		v.Text += ", embedded"
		v.Detail = strings.TrimSpace("runs inside this process and is gone with it. " + r.Err)
	}
	if !r.OK && !r.Since.IsZero() {
		v.Text += " for " + strings.Replace(age(now, r.Since), "now", "a moment", 1)
	}
	return v
}

func newNodeView(n *store.Node, now time.Time) nodeView {
	v := nodeView{
		ID: string(n.ID), Name: n.Name, URL: n.URL, Version: n.Version, Epoch: int64(n.Epoch),
		State: nodeState(n.State), Beat: age(now, n.LastHeartbeat), BeatAt: stamp(n.LastHeartbeat),
	}
	for _, s := range n.Servers {
		v.Sessions += s.Sessions
		v.InFlight += s.InFlight
		v.Servers = append(v.Servers, chipView{string(s.ID), replicaState(n, s)})
	}
	slices.SortFunc(v.Servers, func(a, b chipView) int { return cmp.Compare(a.Name, b.Name) })
	return v
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
func replicaState(n *store.Node, s store.Server) stateView {
	if n.State == store.NodeUnhealthy && s.Status != store.ServerDisabled {
		return stateView{Class: "bad", Text: "node unhealthy"}
	}
	switch s.Status {
	case store.ServerReady:
		return stateView{Class: "good", Text: "ready"}
	case store.ServerStarting:
		return stateView{Class: "warn", Text: "starting"}
	case store.ServerDisabled:
		return stateView{Class: "off", Text: "disabled"}
	default:
		return stateView{Class: "bad", Text: string(s.Status)}
	}
}

func newServerViews(nodes []store.Node) []serverView {
	byID := map[store.ServerID]*serverView{}
	for i := range nodes {
		for _, s := range nodes[i].Servers {
			v := byID[s.ID]
			if v == nil {
				v = &serverView{ID: string(s.ID)}
				byID[s.ID] = v
			}
			v.Sessions += s.Sessions
			v.Tools = max(v.Tools, s.Tools)
			v.Replicas = append(v.Replicas, replicaView{
				Node: string(nodes[i].ID), Transport: s.Transport, State: replicaState(&nodes[i], s),
				Tools: s.Tools, Sessions: s.Sessions, InFlight: s.InFlight, Restarts: s.Restarts,
				Weight: s.Weight, Error: s.Error, Stderr: strings.Join(s.Stderr, "\n"),
			})
		}
	}
	out := make([]serverView, 0, len(byID))
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		v := byID[id]
		v.State = serverState(v.Replicas)
		out = append(out, *v)
	}
	return out
}

// serverState sums up the replicas: every enabled one ready is good, one at least ready or on
// its way is a warning, none is bad.
func serverState(replicas []replicaView) stateView {
	ready, enabled, starting := 0, 0, 0
	for _, r := range replicas {
		if r.State.Class == "warn" {
			starting++
		}
		if r.State.Class != "off" {
			enabled++
		}
		if r.State.Class == "good" {
			ready++
		}
	}
	v := stateView{Class: "warn", Text: fmt.Sprintf("%d of %d ready", ready, enabled)}
	switch {
	case enabled == 0:
		return stateView{Class: "off", Text: "disabled"}
	case ready == enabled:
		v.Class = "good"
	case ready == 0 && starting == 0:
		v.Class = "bad"
	}
	v.Callable = ready > 0
	return v
}

func newSessionViews(all []store.Session, now time.Time) []sessionView {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b store.Session) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID))
	})
	out := make([]sessionView, 0, sessionsShown)
	for _, s := range all[:min(len(all), sessionsShown)] {
		v := sessionView{
			Short: short(string(s.ID)), ID: string(s.ID), Scope: "server " + s.Scope, Era: s.Era,
			Age: age(now, s.Created), Created: stamp(s.Created), Seen: age(now, s.Seen), SeenAt: stamp(s.Seen),
		}
		if s.Scope == store.ScopeAll {
			v.Scope = "all servers"
		}
		for _, id := range slices.Sorted(maps.Keys(s.Bindings)) {
			v.Bindings = append(v.Bindings, bindingView{string(id), string(s.Bindings[id].Node)})
		}
		out = append(out, v)
	}
	return out
}

func short(id string) string {
	if len(id) > 8 {
		return id[:8]
	}
	return id
}

func counted(shown, total int) string {
	if total <= shown {
		return fmt.Sprint(shown)
	}
	return fmt.Sprintf("%d of %d", shown, total)
}

var eventClass = map[store.EventKind]string{
	store.EventNodeRegistered: "good", store.EventNodeRecovered: "good", store.EventServerReady: "good",
	store.EventNodeUnhealthy: "bad", store.EventServerFailed: "bad", store.EventSessionLost: "bad",
	store.EventNodeRemoved: "warn", store.EventSessionMoved: "warn",
}

func newEventViews(events []store.Event, now time.Time) []eventView {
	out := make([]eventView, 0, len(events))
	for _, e := range events[:min(len(events), eventsShown)] {
		out = append(out, eventView{
			Class: cmp.Or(eventClass[e.Kind], "off"), Kind: strings.ReplaceAll(string(e.Kind), "_", " "),
			Text: e.Text, Age: age(now, e.Time), At: stamp(e.Time),
		})
	}
	return out
}

func tiles(nodes []store.Node, servers []serverView, l look) []tileView {
	active, inFlight := 0, 0
	for i := range nodes {
		if nodes[i].State == store.NodeActive {
			active++
		}
		for _, s := range nodes[i].Servers {
			inFlight += s.InFlight
		}
	}
	callable, enabled := 0, 0
	for _, s := range servers {
		if s.State.Class != "off" {
			enabled++
		}
		if s.State.Callable {
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
	}
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

// problems lists, in words, what a person should look at first.
func problems(nodes []store.Node, servers []serverView, redis Redis) []string {
	var out []string
	if !redis.OK {
		out = append(out, "Redis is "+redis.State+": what you see is the last that was known. Existing sessions go on.")
	}
	for i := range nodes {
		if nodes[i].State == store.NodeUnhealthy {
			out = append(out, fmt.Sprintf("Node %s has stopped sending heartbeats.", nodes[i].ID))
		}
	}
	for _, s := range servers {
		if s.State.Class == "bad" {
			out = append(out, fmt.Sprintf("Server %s is callable on no node.", s.ID))
		}
	}
	return out
}
