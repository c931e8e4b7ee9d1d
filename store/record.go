package store

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// How a Node is written to its hash, and read back.

// recordFields are the field, value pairs that a node describes itself with. The script adds
// id, instance, epoch and registered.
func recordFields(n Node) ([]any, error) {
	callable := []ServerID{}
	details := make([]detail, len(n.Servers))
	for i, srv := range n.Servers {
		if srv.Status == ServerReady {
			callable = append(callable, srv.ID)
		}
		details[i] = detail{Server: srv}
	}
	servers, err := json.Marshal(callable)
	if err != nil {
		return nil, err
	}
	full, err := json.Marshal(details)
	if err != nil {
		return nil, err
	}
	return []any{
		"name", n.Name, "host", n.Host, "port", strconv.Itoa(n.Port), "url", n.URL,
		"version", n.Version, "weight", strconv.Itoa(n.Weight), "state", string(n.State),
		"servers", string(servers), "details", string(full),
		"started", strconv.FormatInt(millis(n.Started), 10),
	}, nil
}

// detail is a Server without what a load says, which is kept in the load hash.
type detail struct {
	Server
	Sessions  *int  `json:"sessions,omitempty"`
	InFlight  *int  `json:"inFlight,omitempty"`
	Processes *int  `json:"processes,omitempty"`
	Spares    *int  `json:"spares,omitempty"`
	Full      *bool `json:"full,omitempty"`
}

// load is how busy a server is on one node.
type load struct {
	Sessions  int  `json:"sessions"`
	InFlight  int  `json:"inFlight"`
	Processes int  `json:"processes,omitempty"`
	Spares    int  `json:"spares,omitempty"`
	Full      bool `json:"full,omitempty"`
}

// loadOf is the node's field in the load hash: the servers that are not idle.
func loadOf(n Node) (string, error) {
	m := map[ServerID]load{}
	for _, srv := range n.Servers {
		if l := (load{srv.Sessions, srv.InFlight, srv.Processes, srv.Spares, srv.Full}); l != (load{}) {
			m[srv.ID] = l
		}
	}
	b, err := json.Marshal(m)
	return string(b), err
}

// nodeFrom reads a record. It must carry the id it was found under.
func nodeFrom(id NodeID, f map[string]string) (Node, error) {
	if f["id"] != string(id) {
		return Node{ID: id}, fmt.Errorf("record of node %s: %w: it has the id %q", id, errDamaged, f["id"])
	}
	n := Node{
		ID: id, Name: f["name"], Host: f["host"], Port: int(parseNum(f["port"])), URL: f["url"],
		Instance: Instance(f["instance"]), Version: f["version"], Weight: max(1, int(parseNum(f["weight"]))),
		State: NodeState(f["state"]), Epoch: Epoch(parseNum(f["epoch"])),
		Started: fromMillis(parseNum(f["started"])), Registered: fromMillis(parseNum(f["registered"])),
	}
	switch n.State {
	case NodeActive, NodeDraining, NodeUnhealthy:
	default:
		return n, fmt.Errorf("record of node %s: %w: state %q", id, errDamaged, f["state"])
	}
	if n.Epoch < 1 {
		return n, fmt.Errorf("record of node %s: %w: epoch %q", id, errDamaged, f["epoch"])
	}
	if err := json.Unmarshal([]byte(f["details"]), &n.Servers); err != nil {
		return n, fmt.Errorf("record of node %s: %w: details: %w", id, errDamaged, err)
	}
	return n, nil
}

// withLoad gives n the counts of raw, in a server list of its own.
func withLoad(n Node, raw string) Node {
	var m map[ServerID]load
	if raw != "" && raw != "{}" {
		_ = json.Unmarshal([]byte(raw), &m) // damaged counts are no counts
	}
	servers := make([]Server, len(n.Servers))
	for i, srv := range n.Servers {
		l := m[srv.ID]
		srv.Sessions, srv.InFlight, srv.Processes, srv.Spares, srv.Full = l.Sessions, l.InFlight, l.Processes, l.Spares, l.Full
		servers[i] = srv
	}
	n.Servers = servers
	return n
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
