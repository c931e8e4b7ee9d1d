package heartbeat

import (
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// Record is what a node sends of itself when it registers and with every beat: the guide's
// fields, and ours. A whole record travels each time, so that a fleet that forgot the node
// relearns it from one beat.
type Record struct {
	ID   store.NodeID `json:"id"`
	Name string       `json:"name"`
	Host string       `json:"host"`
	Port int          `json:"port"`
	// URL is where coordinators reach the node: scheme, host and port, and with a cluster secret
	// a path too.
	URL string `json:"url"`
	// Servers names the servers that can be called now.
	Servers []store.ServerID `json:"servers"`

	// Instance tells this run of the process from the next: 32 lower-case hex digits.
	Instance store.Instance `json:"instance"`
	// Epoch is the last one granted; absent when registering.
	Epoch   store.Epoch `json:"epoch,omitempty"`
	Version string      `json:"version,omitempty"`
	// Weight is the node's share of sessions relative to others; absent means 1.
	Weight int `json:"weight,omitempty"`
	// Status is active or draining; absent means active.
	Status store.NodeState `json:"status,omitempty"`
	// StartedAt is the node's own clock in milliseconds, for display.
	StartedAt int64 `json:"startedAt,omitempty"`
	// ServerDetails describes every server of the node, callable or not. Where it is absent
	// the names in Servers stand alone.
	ServerDetails []store.Server `json:"serverDetails,omitempty"`
}

// Grant is a coordinator's answer to a record it accepted.
type Grant struct {
	Epoch store.Epoch `json:"epoch"`
	// Credential is what coordinators present to the node.
	Credential string `json:"credential"`
	// The times are milliseconds. HeartbeatInterval is what the coordinator suggests to a node
	// that has no wish of its own.
	HeartbeatInterval int64 `json:"heartbeatInterval"`
	NodeTimeout       int64 `json:"nodeTimeout"`
	SessionTimeout    int64 `json:"sessionTimeout"`
	// MissingCatalogs are named in the record and not in the store: send them.
	MissingCatalogs []store.Digest `json:"missingCatalogs"`
	// Version is the coordinator's release; absent from those that are older than this field.
	Version string `json:"version,omitempty"`
	// Proof is [GrantProof], where the coordinator has a secret.
	Proof string `json:"proof,omitempty"`
}

func (g Grant) nodeTimeout() time.Duration { return time.Duration(g.NodeTimeout) * time.Millisecond }

// Farewell is what a node sends when it leaves on purpose.
type Farewell struct {
	ID       store.NodeID   `json:"id"`
	Instance store.Instance `json:"instance"`
	Epoch    store.Epoch    `json:"epoch"`
}

// Description is what a node says of its servers at one moment.
type Description struct {
	// State is NodeActive or NodeDraining; empty means active.
	State store.NodeState
	// Servers are all servers of the node, sorted by id, callable or not.
	Servers []store.Server
}

// RecordOf turns a stored node back into what it sends.
func RecordOf(n store.Node) Record {
	r := Record{
		ID: n.ID, Name: n.Name, Host: n.Host, Port: n.Port, URL: n.URL,
		Servers:  []store.ServerID{},
		Instance: n.Instance, Epoch: n.Epoch, Version: n.Version, Weight: n.Weight, Status: n.State,
		ServerDetails: n.Servers,
	}
	if !n.Started.IsZero() {
		r.StartedAt = n.Started.UnixMilli()
	}
	for _, s := range n.Servers {
		if s.Status == store.ServerReady {
			r.Servers = append(r.Servers, s.ID)
		}
	}
	return r
}

// ToNode checks everything a stranger may have written into the record and turns it into what
// is stored. Its errors wrap ErrRecord, and also wire.ErrName where a name is bad, or
// ErrAddress for the URL.
func (r Record) ToNode(p AddressPolicy) (store.Node, error) {
	if err := r.check(); err != nil {
		return store.Node{}, err
	}
	if err := p.CheckURL(r.URL); err != nil {
		return store.Node{}, err
	}
	n := store.Node{
		ID: r.ID, Name: r.Name, Host: r.Host, Port: r.Port, URL: r.URL,
		Instance: r.Instance, Epoch: r.Epoch, Version: r.Version,
		Weight: max(r.Weight, 1), State: r.Status, Servers: r.servers(),
	}
	if n.Name == "" {
		n.Name = string(n.ID)
	}
	if n.State == "" {
		n.State = store.NodeActive
	}
	if r.StartedAt > 0 {
		n.Started = time.UnixMilli(r.StartedAt)
	}
	return n, nil
}

func (r Record) servers() []store.Server {
	if len(r.ServerDetails) == 0 {
		out := make([]store.Server, 0, len(r.Servers))
		for _, id := range r.Servers {
			out = append(out, store.Server{ID: id, Status: store.ServerReady, Weight: 1})
		}
		return out
	}
	out := make([]store.Server, len(r.ServerDetails))
	copy(out, r.ServerDetails)
	for i := range out {
		out[i].Weight = max(out[i].Weight, 1)
	}
	return out
}
