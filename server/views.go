package server

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/store"
)

// The shapes of REST answers. The guide's fields come first, ours after them. Times are
// milliseconds; what is not known is absent.

type healthView struct {
	Status string `json:"status"`
	ID     string `json:"id"`
	Mode   string `json:"mode"`
}

type readyView struct {
	Status  string   `json:"status"` // ready, degraded, not ready
	Reasons []string `json:"reasons"`
}

type statusView struct {
	Enabled bool      `json:"enabled"`
	Mode    string    `json:"mode"`
	NodeID  string    `json:"nodeId"`
	Stats   statsView `json:"stats"`

	CoordinatorID string    `json:"coordinatorId"`
	Version       string    `json:"version"`
	InFlight      int       `json:"inFlight"`
	Redis         redisView `json:"redis"`
	Warnings      []string  `json:"warnings" doc:"What is odd about the fleet: different releases, different keys. Sentences for people."`
}

type statsView struct {
	Nodes       int `json:"nodes"`
	ActiveNodes int `json:"activeNodes"`
	Servers     int `json:"servers"` // names that can be called somewhere
	Sessions    int `json:"sessions"`
}

type redisView struct {
	OK        bool    `json:"ok"`
	State     string  `json:"state"`
	Since     int64   `json:"since,omitempty"`
	Error     string  `json:"error,omitempty"`
	LatencyMS float64 `json:"latencyMs"`
	Embedded  bool    `json:"embedded"`
}

type nodeView struct {
	ID            string   `json:"id"`
	Name          string   `json:"name"`
	Host          string   `json:"host"`
	Port          int      `json:"port"`
	URL           string   `json:"url"`
	Status        string   `json:"status"`
	LastHeartbeat int64    `json:"lastHeartbeat"`
	Servers       []string `json:"servers"` // that can be called

	Version       string         `json:"version"`
	Epoch         int64          `json:"epoch"`
	Weight        int            `json:"weight"`
	Sessions      int            `json:"sessions"`
	InFlight      int            `json:"inFlight"`
	StartedAt     int64          `json:"startedAt,omitempty"`
	RegisteredAt  int64          `json:"registeredAt,omitempty"`
	ServerDetails []store.Server `json:"serverDetails"`
}

type serverView struct {
	ServerID string        `json:"serverId"`
	Name     string        `json:"name"`
	Status   string        `json:"status"` // active if it can be called anywhere, else the best of its replicas
	Active   int           `json:"activeReplicas"`
	Tools    int           `json:"tools"`
	Sessions int           `json:"sessions"`
	Replicas []replicaView `json:"replicas"`
}

type replicaView struct {
	ServerID string `json:"serverId"`
	NodeID   string `json:"nodeId"`
	NodeURL  string `json:"nodeUrl"`
	Status   string `json:"status"` // active, draining, unhealthy, starting, failed, disabled
	Weight   int    `json:"weight"`

	Transport string   `json:"transport,omitempty"`
	Tools     int      `json:"tools"`
	Prompts   int      `json:"prompts,omitempty"`
	Resources int      `json:"resources,omitempty"`
	Templates int      `json:"templates,omitempty"`
	Sessions  int      `json:"sessions"`
	InFlight  int      `json:"inFlight"`
	Restarts  int      `json:"restarts"`
	Error     string   `json:"error,omitempty"`
	Stderr    []string `json:"stderr,omitempty"`

	Isolation    string `json:"isolation,omitempty" doc:"session: a process for each session; absent where sessions share one."`
	Processes    int    `json:"processes,omitempty" doc:"That run, spares included."`
	Spares       int    `json:"spares,omitempty" doc:"Processes that wait for a session."`
	MaxProcesses int    `json:"maxProcesses,omitempty"`
	Full         bool   `json:"full,omitempty" doc:"Every process it may have is taken: no new session fits now."`
}

type sessionView struct {
	SessionID    store.SessionID `json:"sessionId"`
	NodeID       store.NodeID    `json:"nodeId"`
	ServerID     store.ServerID  `json:"serverId"`
	CreatedAt    int64           `json:"createdAt"`
	LastAccessed int64           `json:"lastAccessed"`
	ExpiresAt    int64           `json:"expiresAt"`

	Scope    string        `json:"scope"`
	Era      string        `json:"protocolVersion"`
	Bindings []bindingView `json:"bindings"`
}

type bindingView struct {
	ServerID store.ServerID `json:"serverId"`
	NodeID   store.NodeID   `json:"nodeId"`
	Epoch    store.Epoch    `json:"epoch"`
}

type sessionsView struct {
	Sessions   []sessionView `json:"sessions"`
	NextCursor string        `json:"nextCursor"`
}

type endedView struct {
	SessionID store.SessionID `json:"sessionId"`
}

type eventView struct {
	ID          string          `json:"id"`
	Time        int64           `json:"time"`
	Kind        store.EventKind `json:"kind"`
	Node        store.NodeID    `json:"nodeId,omitempty"`
	Server      store.ServerID  `json:"serverId,omitempty"`
	Session     store.SessionID `json:"sessionId,omitempty"`
	Coordinator string          `json:"coordinatorId,omitempty"`
	Text        string          `json:"text"`
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func redisOf(h store.Health, embedded bool) redisView {
	return redisView{
		OK: h.OK, State: h.State, Since: millis(h.Since), Error: h.Err, Embedded: embedded,
		LatencyMS: float64(h.Latency.Microseconds()) / 1000,
	}
}

func statsOf(snap *store.Snapshot) statsView {
	v := statsView{Nodes: len(snap.Nodes)}
	callable := map[store.ServerID]bool{}
	for _, n := range snap.Nodes {
		if n.State == store.NodeActive {
			v.ActiveNodes++
		}
		for _, s := range n.Servers {
			if s.Status == store.ServerReady && n.State != store.NodeUnhealthy {
				callable[s.ID] = true
			}
		}
	}
	v.Servers = len(callable)
	return v
}

func nodeOf(n store.Node) nodeView {
	v := nodeView{
		ID: string(n.ID), Name: n.Name, Host: n.Host, Port: n.Port, URL: n.URL,
		Status: string(n.State), LastHeartbeat: millis(n.LastHeartbeat), Servers: []string{},
		Version: n.Version, Epoch: int64(n.Epoch), Weight: n.Weight,
		StartedAt: millis(n.Started), RegisteredAt: millis(n.Registered), ServerDetails: n.Servers,
	}
	if v.ServerDetails == nil {
		v.ServerDetails = []store.Server{}
	}
	for _, s := range n.Servers {
		v.Sessions += s.Sessions
		v.InFlight += s.InFlight
		if s.Status == store.ServerReady {
			v.Servers = append(v.Servers, string(s.ID))
		}
	}
	return v
}

// replicaStatus is the guide's active where the replica can take sessions, and else the
// reason why not.
func replicaStatus(n store.Node, s store.Server) string {
	switch {
	case n.State == store.NodeUnhealthy:
		return string(n.State)
	case s.Status != store.ServerReady:
		return string(s.Status)
	}
	return string(n.State)
}

func replicaOf(n store.Node, s store.Server) replicaView {
	return replicaView{
		ServerID: string(s.ID), NodeID: string(n.ID), NodeURL: n.URL, Status: replicaStatus(n, s), Weight: max(s.Weight, 1),
		Transport: s.Transport, Tools: s.Tools, Sessions: s.Sessions, InFlight: s.InFlight, Restarts: s.Restarts,
		Prompts: s.Prompts, Resources: s.Resources, Templates: s.Templates, Error: s.Error, Stderr: s.Stderr,
		Isolation: s.Isolation, Processes: s.Processes, Spares: s.Spares, MaxProcesses: s.MaxProcesses, Full: s.Full,
	}
}

func replicasOf(snap *store.Snapshot, id store.ServerID) []replicaView {
	var out []replicaView
	for _, n := range snap.Nodes {
		if s, ok := n.Server(id); ok {
			out = append(out, replicaOf(n, s))
		}
	}
	return out
}

// best orders what a replica can be, the most useful first.
var best = []string{"active", "draining", "starting", "failed", "unhealthy", "disabled"}

func serversOf(snap *store.Snapshot) []serverView {
	byID := map[store.ServerID]*serverView{}
	for _, n := range snap.Nodes {
		for _, s := range n.Servers {
			v := byID[s.ID]
			if v == nil {
				v = &serverView{ServerID: string(s.ID), Name: string(s.ID), Status: best[len(best)-1]}
				byID[s.ID] = v
			}
			r := replicaOf(n, s)
			v.Replicas = append(v.Replicas, r)
			v.Sessions += s.Sessions
			if slices.Index(best, r.Status) < slices.Index(best, v.Status) {
				v.Status = r.Status
			}
			if r.Status == string(store.NodeActive) {
				v.Active++
				v.Tools = max(v.Tools, s.Tools)
			}
		}
	}
	out := make([]serverView, 0, len(byID))
	for _, v := range byID {
		out = append(out, *v)
	}
	slices.SortFunc(out, func(a, b serverView) int { return cmp.Compare(a.ServerID, b.ServerID) })
	return out
}

// sessionOf shows a session; for one over several servers nodeId and serverId are those of the
// binding made under the highest epoch, the first by name if there are several.
func sessionOf(s store.Session) sessionView {
	v := sessionView{
		SessionID: s.ID, CreatedAt: millis(s.Created), LastAccessed: millis(s.Seen), ExpiresAt: millis(s.Expires),
		Scope: s.Scope, Era: s.Era, Bindings: []bindingView{},
	}
	if s.Scope != store.ScopeAll && !strings.HasPrefix(s.Scope, store.ScopeGroup) {
		v.ServerID = store.ServerID(s.Scope)
	}
	for id, b := range s.Bindings {
		v.Bindings = append(v.Bindings, bindingView{ServerID: id, NodeID: b.Node, Epoch: b.Epoch})
	}
	slices.SortFunc(v.Bindings, func(a, b bindingView) int { return cmp.Compare(a.ServerID, b.ServerID) })
	var latest store.Epoch
	for _, b := range v.Bindings {
		if b.Epoch > latest {
			latest, v.NodeID, v.ServerID = b.Epoch, b.NodeID, b.ServerID
		}
	}
	return v
}

func eventOf(e store.Event) eventView {
	return eventView{
		ID: e.ID, Time: millis(e.Time), Kind: e.Kind, Node: e.Node, Server: e.Server, Session: e.Session,
		Coordinator: e.Coordinator, Text: e.Text,
	}
}

// noSession words the absence of a session.
func noSession(err error) error {
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, router.ErrUnknownSession) {
		return refuse(http.StatusNotFound, "there is no such session; it may have ended or expired")
	}
	return err
}
