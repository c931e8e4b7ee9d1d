package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/mcphub-go/mcphub/heartbeat"
	"github.com/mcphub-go/mcphub/internal/telemetry"
	"github.com/mcphub-go/mcphub/node"
	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/store"
)

func TestCountReplicas(t *testing.T) {
	server := func(id store.ServerID, s store.ServerStatus) store.Server { return store.Server{ID: id, Status: s} }
	full := server("tight", store.ServerReady)
	full.Full = true
	nodes, servers, replicas := countReplicas(&store.Snapshot{Nodes: []store.Node{
		{State: store.NodeActive, Servers: []store.Server{server("a", store.ServerReady), server("b", store.ServerFailed), full, server("off", store.ServerDisabled)}},
		{State: store.NodeActive, Servers: []store.Server{server("a", store.ServerReady), server("c", store.ServerStarting)}},
		{State: store.NodeUnhealthy, Servers: []store.Server{server("b", store.ServerReady), server("tight", store.ServerReady)}},
	}})
	if want := map[string]int{"active": 2, "unhealthy": 1}; !maps.Equal(nodes, want) {
		t.Errorf("nodes = %v, want %v", nodes, want)
	}
	if want := map[string]int{"ready": 1, "full": 1, "down": 2}; !maps.Equal(servers, want) {
		t.Errorf("servers = %v, want %v", servers, want)
	}
	want := []telemetry.ReplicaCount{
		{Server: "a", Status: "ready", Count: 2}, {Server: "b", Status: "away", Count: 1}, {Server: "b", Status: "failed", Count: 1},
		{Server: "c", Status: "starting", Count: 1}, {Server: "tight", Status: "away", Count: 1}, {Server: "tight", Status: "full", Count: 1},
	}
	if !slices.Equal(replicas, want) {
		t.Errorf("replicas = %v, want %v", replicas, want)
	}
	if nodes, servers, replicas := countReplicas(nil); len(nodes)+len(servers)+len(replicas) != 0 {
		t.Error("something was counted before there was a snapshot")
	}
}

// gaugedStore counts sessions until it is away.
type gaugedStore struct{ away bool }

func (s *gaugedStore) Health() store.Health { return store.Health{OK: !s.away, State: store.HealthOK} }
func (s *gaugedStore) CountSessions(context.Context) (int, error) {
	if s.away {
		return 0, errors.New("away")
	}
	return 7, nil
}

type gaugedFleet struct{}

func (gaugedFleet) Snapshot() *store.Snapshot { return nil }
func (gaugedFleet) Ready() (bool, string)     { return true, "" }

func TestSessionsKeepTheirCountWhileRedisIsAway(t *testing.T) {
	st := &gaugedStore{}
	g := &fleetGauges{fleet: gaugedFleet{}, store: st, stats: func() router.Stats { return router.Stats{Moved: 2} }}
	if f := g.facts(); f.Sessions != 7 || !f.RedisUp || f.Moved["failed"] != 2 || !f.Ready {
		t.Errorf("facts = %+v", f)
	}
	st.away = true
	if f := g.facts(); f.Sessions != 7 || f.RedisUp {
		t.Errorf("facts without Redis = %+v, want the last count", f)
	}
}

type described []store.Server

func (d described) Describe() heartbeat.Description { return heartbeat.Description{Servers: d} }

func TestNodeFacts(t *testing.T) {
	f := nodeGauges{described{
		{ID: "shared", Status: store.ServerReady, Transport: node.TransportStdio, Sessions: 3},
		{ID: "own", Status: store.ServerReady, Transport: node.TransportStdio, Isolation: "session", Processes: 4, Spares: 1},
		{ID: "off", Status: store.ServerDisabled},
		{ID: "away", Status: store.ServerFailed, Transport: node.TransportHTTP, Restarts: 2},
	}, &heartbeat.Lease{}}.facts()
	want := []telemetry.ServerFacts{
		{Server: "shared", Up: true, Processes: 1, Sessions: 3}, {Server: "own", Up: true, Processes: 4, Spares: 1}, {Server: "away", Restarts: 2},
	}
	if !slices.Equal(f.Servers, want) || f.Lease != 0 {
		t.Errorf("facts = %+v, want %+v", f, want)
	}
}
