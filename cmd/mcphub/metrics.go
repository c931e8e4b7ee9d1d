package main

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mcphub-go/mcphub/heartbeat"
	"github.com/mcphub-go/mcphub/internal/telemetry"
	"github.com/mcphub-go/mcphub/node"
	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/store"
)

// countLimit bounds counting the sessions for a scrape.
const countLimit = time.Second

// fleetGauges tells Prometheus what a coordinator knows.
type fleetGauges struct {
	fleet interface {
		Snapshot() *store.Snapshot
		Ready() (ok bool, reason string)
	}
	store interface {
		Health() store.Health
		CountSessions(ctx context.Context) (int, error)
	}
	stats func() router.Stats

	counted atomic.Int64 // sessions, the last time that Redis told
}

// facts is asked at each scrape.
func (g *fleetGauges) facts() telemetry.FrontFacts {
	ctx, cancel := context.WithTimeout(context.Background(), countLimit)
	defer cancel()
	if n, err := g.store.CountSessions(ctx); err == nil {
		g.counted.Store(int64(n))
	}
	s, h := g.stats(), g.store.Health()
	ready, _ := g.fleet.Ready()
	f := telemetry.FrontFacts{
		Sessions: int(g.counted.Load()), Ready: ready,
		Started: s.Started, Ended: s.Ended, Lost: s.Lost, Recovered: s.Recovered, Moved: map[string]int64{"failed": s.Moved},
		Retried: s.Retried, OutcomeUnknown: s.OutcomeUnknown, NotExecuted: s.NotExecuted, CacheMisses: s.StoreReads,
		InFlight: s.InFlight, CachedSessions: s.CachedSessions, Suspects: s.Suspects, Streams: map[string]int{"post": s.Streams, "get": s.OpenStreams},
		RedisUp: h.OK, BreakerOpen: h.Refusing, RedisState: h.State,
	}
	f.Nodes, f.Servers, f.Replicas = countReplicas(g.fleet.Snapshot())
	return f
}

// countReplicas counts nodes by state, servers by status and replicas by both, as docs/metrics.md
// names them.
func countReplicas(snap *store.Snapshot) (nodes, servers map[string]int, replicas []telemetry.ReplicaCount) {
	nodes, servers = map[string]int{}, map[string]int{}
	if snap == nil {
		return nodes, servers, nil
	}
	count := map[telemetry.ReplicaCount]int{}
	best := map[store.ServerID]string{}
	for i := range snap.Nodes {
		n := &snap.Nodes[i]
		nodes[string(n.State)]++
		for _, s := range n.Servers {
			if s.Status == store.ServerDisabled {
				continue
			}
			status := replicaStatus(n, s)
			count[telemetry.ReplicaCount{Server: string(s.ID), Status: status}]++
			switch {
			case status == "ready", status == "full" && best[s.ID] != "ready":
				best[s.ID] = status
			case best[s.ID] == "":
				best[s.ID] = "down"
			}
		}
	}
	for _, status := range best {
		servers[status]++
	}
	for r, n := range count {
		r.Count = n
		replicas = append(replicas, r)
	}
	slices.SortFunc(replicas, func(a, b telemetry.ReplicaCount) int {
		return strings.Compare(a.Server+"\x00"+a.Status, b.Server+"\x00"+b.Status)
	})
	return nodes, servers, replicas
}

func replicaStatus(n *store.Node, s store.Server) string {
	switch {
	case n.State != store.NodeActive:
		return "away"
	case s.Status == store.ServerReady && s.Full:
		return "full"
	}
	return string(s.Status)
}

// nodeGauges tells Prometheus what a node knows.
type nodeGauges struct {
	source interface{ Describe() heartbeat.Description }
	lease  *heartbeat.Lease
}

// facts is asked at each scrape.
func (g nodeGauges) facts() telemetry.WorkerFacts {
	f := telemetry.WorkerFacts{Lease: g.lease.Left()}
	for _, s := range g.source.Describe().Servers {
		if s.Status == store.ServerDisabled {
			continue
		}
		if s.Transport == node.TransportStdio && s.Isolation == "" && s.Status == store.ServerReady {
			s.Processes = 1
		}
		f.Servers = append(f.Servers, telemetry.ServerFacts{
			Server: string(s.ID), Up: s.Status == store.ServerReady, Restarts: s.Restarts,
			Processes: s.Processes, Spares: s.Spares, Sessions: s.Sessions,
		})
	}
	return f
}
