package server

import (
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/mcphub-go/mcphub/heartbeat"
	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/store"
)

// restRoutes are all calls of REST, of nodes and of probes. The examples are of one made-up fleet.
func restRoutes() []route {
	var all []route
	for _, some := range [][]route{probeRoutes(), fleetRoutes(), placementRoutes(), sessionRoutes(), groupRoutes(), nodeRoutes()} {
		all = append(all, some...)
	}
	return all
}

// Parameters that several calls take.
var (
	limitParam = param{name: "limit", about: "At most so many; 100 if absent.", schema: schema{"type": "integer", "minimum": 1, "maximum": 1000}}
	trueFalse  = schema{"type": "string", "enum": []string{"true", "false"}}
)

func probeRoutes() []route {
	return []route{
		{
			method: "GET", path: "/health", handle: (*Server).health, anyQuery: true, bare: true, tag: "Probes",
			id: "health", about: "Does the process live?", data: healthView{Status: "ok", ID: "c1", Mode: "coordinator"},
		},
		{
			method: "GET", path: "/ready", handle: (*Server).ready, anyQuery: true, bare: true, tag: "Probes",
			id: "ready", about: "Should a balancer send requests here?", fails: []int{http.StatusServiceUnavailable},
			more: "200 while requests can be served, also from what is remembered (degraded); 503 otherwise. The reasons are sentences for people.",
			data: readyView{Status: "degraded", Reasons: []string{"redis: down"}},
		},
		{
			method: "GET", path: "/metrics", door: forAdmins, handle: (*Server).metrics, anyQuery: true, tag: "Probes",
			id: "metrics", about: "What Prometheus reads", fails: []int{http.StatusNotFound},
			text: "# TYPE mcphub_ready gauge\nmcphub_ready 1\n",
		},
		{
			method: "GET", path: "/api/openapi.json", door: forAdmins, handle: (*Server).showAPI, bare: true, tag: "Probes",
			id: "openapi", about: "This document", data: map[string]json.RawMessage{"openapi": json.RawMessage(`"3.1.0"`)},
		},
	}
}

// exampleReplica and the like make up the fleet of the examples.
var (
	exampleReplica = replicaView{
		ServerID: "memory", NodeID: "node-1", NodeURL: "http://10.0.0.5:3001", Status: "active", Weight: 1, Transport: "stdio",
		Tools: 9, Sessions: 3, InFlight: 1,
	}
	exampleNode = nodeView{
		ID: "node-1", Name: "Worker Node 1", Host: "10.0.0.5", Port: 3001, URL: "http://10.0.0.5:3001", Status: "active",
		LastHeartbeat: 1767268800000, Servers: []string{"memory"}, Version: "v1.0.0", Epoch: 4, Weight: 1, Sessions: 3, InFlight: 1,
		StartedAt: 1767265200000, RegisteredAt: 1767265201000, ServerDetails: []store.Server{exampleServer},
	}
	exampleServer = store.Server{
		ID: "memory", Status: store.ServerReady, Transport: "stdio", Tools: 9, Sessions: 3, InFlight: 1, Weight: 1,
		Catalog: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
	}
	exampleEvent = eventView{
		ID: "1767268800000-0", Time: 1767268800000, Kind: store.EventNodeRegistered, Node: "node-1", Coordinator: "c1",
		Text: "Node registered: Worker Node 1 (node-1) with 1 servers",
	}
)

func fleetRoutes() []route {
	return []route{
		{
			method: "GET", path: "/api/cluster/status", door: forAdmins, handle: (*Server).status, tag: "Fleet",
			id: "status", about: "How the fleet is",
			data: statusView{
				Enabled: true, Mode: "coordinator", NodeID: "coordinator", Stats: statsView{Nodes: 3, ActiveNodes: 3, Servers: 7, Sessions: 41},
				CoordinatorID: "c1", Version: "v1.0.0", InFlight: 1, Redis: redisView{OK: true, State: store.HealthOK, LatencyMS: 0.4}, Warnings: []string{},
			},
		},
		{
			method: "GET", path: "/api/cluster/nodes", door: forAdmins, handle: (*Server).listNodes, tag: "Fleet",
			id: "listNodes", about: "The nodes", data: []nodeView{exampleNode},
			query: []param{{name: "active", about: "true leaves out those that take no new sessions.", schema: trueFalse}},
		},
		{
			method: "GET", path: "/api/cluster/nodes/:id", door: forAdmins, handle: (*Server).showNode, tag: "Fleet",
			id: "showNode", about: "One node", data: exampleNode, fails: []int{http.StatusNotFound},
		},
		{
			method: "GET", path: "/api/cluster/servers", door: forAdmins, handle: (*Server).listServers, tag: "Fleet",
			id: "listServers", about: "The servers and where their replicas run",
			data: []serverView{{
				ServerID: "memory", Name: "memory", Status: "active", Active: 1, Tools: 9, Sessions: 3, Replicas: []replicaView{exampleReplica},
			}},
		},
		{
			method: "GET", path: "/api/cluster/servers/:id/replicas", door: forAdmins, handle: (*Server).listReplicas, tag: "Fleet",
			id: "listReplicas", about: "Where the replicas of a server run", data: []replicaView{exampleReplica}, fails: []int{http.StatusNotFound},
		},
		{
			method: "GET", path: "/api/cluster/coordinators", door: forAdmins, handle: (*Server).listCoordinators, tag: "Fleet",
			id: "listCoordinators", about: "The coordinators", fails: []int{http.StatusServiceUnavailable},
			data: []coordinatorView{{
				ID: "c1", Address: "10.0.0.2:3000", Version: "v1.0.0", Mode: "coordinator", StartedAt: 1767265200000, Sessions: 41, InFlight: 1,
				Ready: true, Self: true, LastSeen: 1767268800000,
			}},
		},
		{
			method: "GET", path: "/api/cluster/events", door: forAdmins, handle: (*Server).events, tag: "Fleet",
			id: "listEvents", about: "What has happened, newest first; or what happens, as it does",
			more: "With Accept: text/event-stream the answer is a stream of new events, each with its id and the event as data. " +
				"It ends when the replica stops or the client falls behind; ask again, with Last-Event-ID, to miss nothing. The last 1000 or so are kept.",
			query: []param{limitParam}, header: []param{{name: "Last-Event-ID", about: "In a stream: go on after this event."}},
			data: []eventView{exampleEvent}, stream: "id: 1767268800000-0\ndata: {\"id\":\"1767268800000-0\", …}\n\n: keep-alive\n\n",
			fails: []int{http.StatusServiceUnavailable},
		},
	}
}

func placementRoutes() []route {
	name := schema{"type": "string", "maxLength": wire.MaxName}
	return []route{
		{
			method: "GET", path: "/api/cluster/explain", door: forAdmins, handle: (*Server).explain, tag: "Fleet",
			id: "explain", about: "Where would a session go, and why?", fails: []int{http.StatusNotFound, http.StatusServiceUnavailable},
			more: "Tells the choice, the rule that made it, the candidates with their scores, and what one node less or more would change. Nothing is placed or moved.",
			query: []param{
				{name: "session", about: "The sessionId of the list, or the whole Mcp-Session-Id."},
				{name: "key", about: "Any text, for a session that does not exist; equal texts are equal sessions."},
				{name: "server", about: "Name of a server; may be absent for a session with one server.", schema: name},
				{name: "prefer", about: "The node that a cookie or header of the client would name.", schema: name},
				{name: "without", about: "A node to think away.", repeats: true, schema: name},
				{name: "with", about: "A node to think there.", repeats: true, schema: name},
			},
			data: router.Explanation{
				Server: "memory", Existing: true, Rule: router.RuleBinding, Choice: "node-1",
				Candidates: []router.Candidate{{Node: "node-1", Score: 1.7, Load: 3, Limit: 4, Weight: 1, State: store.NodeActive}},
				Moves:      []router.Move{{Node: "node-1", Change: "without", Moves: true, To: "node-2", Rule: "consistent-hash", Share: 0.33}},
			},
		},
		{
			method: "GET", path: "/api/cluster/conflicts", door: forAdmins, handle: (*Server).conflicts, tag: "Fleet",
			id: "conflicts", about: "Resources that several servers offer, and which of them answers for each",
			fails: []int{http.StatusNotFound, http.StatusServiceUnavailable},
			query: []param{{name: "scope", about: "* for all servers, which it is if absent, or group/<name>."}},
			data:  []router.Conflict{{URI: "file:///notes.txt", Owner: "files", Others: []store.ServerID{"notes"}}},
		},
	}
}

func sessionRoutes() []route {
	session := sessionView{
		SessionID: "00112233445566778899aabbccddeeff", NodeID: "node-1", ServerID: "memory", CreatedAt: 1767265200000, LastAccessed: 1767268800000,
		ExpiresAt: 1767272400000, Scope: "memory", Era: "2025-11-25", Bindings: []bindingView{{ServerID: "memory", NodeID: "node-1", Epoch: 4}},
	}
	lost := []int{http.StatusNotFound, http.StatusServiceUnavailable}
	return []route{
		{
			method: "GET", path: "/api/cluster/sessions", door: forAdmins, handle: (*Server).listSessions, tag: "Sessions",
			id: "listSessions", about: "The sessions of clients, a page at a time", fails: []int{http.StatusServiceUnavailable},
			query: []param{{name: "cursor", about: "The nextCursor of the page before."}, limitParam},
			data:  sessionsView{Sessions: []sessionView{session}, NextCursor: ""},
		},
		{
			method: "GET", path: "/api/cluster/sessions/:id", door: forAdmins, handle: (*Server).showSession, tag: "Sessions",
			id: "showSession", about: "One session", data: session, fails: lost,
		},
		{
			method: "DELETE", path: "/api/cluster/sessions/:id", door: forAdmins, handle: (*Server).endSession, tag: "Sessions",
			id: "endSession", about: "End a session; its client is told at its next request",
			data: endedView{SessionID: session.SessionID}, fails: lost,
		},
	}
}

func groupRoutes() []route {
	group := groupView{
		Name: "team", Description: "What the team works with", Source: sourceRedis, UpdatedAt: 1767268800000,
		Servers: []store.GroupServer{{Name: "memory"}, {Name: "github", Tools: []string{"search_code"}}}, Unknown: []store.ServerID{"github"},
	}
	body := groupBody{Name: "team", Description: group.Description, Servers: []json.RawMessage{
		json.RawMessage(`"memory"`), json.RawMessage(`{"name":"github","tools":["search_code"]}`),
	}}
	const fixed = "Groups of the settings file cannot be changed here (409). "
	gone, away := http.StatusNotFound, http.StatusServiceUnavailable
	return []route{
		{
			method: "GET", path: "/api/groups", door: forAdmins, handle: (*Server).listGroups, tag: "Groups",
			id: "listGroups", about: "The groups, those of the settings file included", data: []groupView{group},
		},
		{
			method: "POST", path: "/api/groups", door: forAdmins, handle: (*Server).createGroup, tag: "Groups",
			id: "createGroup", about: "Make a group", status: http.StatusCreated, body: body, data: group, fails: []int{http.StatusConflict, away},
			more: "Its name must be no other group's and no server's (409). It may hold servers that no node has named so far, which the answer lists as unknown. Every coordinator knows the group within a second.",
		},
		{
			method: "GET", path: "/api/groups/:name", door: forAdmins, handle: (*Server).showGroup, tag: "Groups",
			id: "showGroup", about: "One group", data: group, fails: []int{gone, away},
		},
		{
			method: "PUT", path: "/api/groups/:name", door: forAdmins, handle: (*Server).replaceGroup, tag: "Groups",
			id: "replaceGroup", about: "Give a group another content", body: body, data: group, fails: []int{gone, http.StatusConflict, away},
			more: fixed + "What the body leaves out is gone. Sessions over the group go on, with the new content.",
		},
		{
			method: "DELETE", path: "/api/groups/:name", door: forAdmins, handle: (*Server).deleteGroup, tag: "Groups",
			id: "deleteGroup", about: "Delete a group", data: deletedView{Name: "team"}, fails: []int{gone, http.StatusConflict, away},
			more: fixed + "Sessions over it are unknown from then on.",
		},
	}
}

func nodeRoutes() []route {
	record := heartbeat.Record{
		ID: "node-1", Name: "Worker Node 1", Host: "10.0.0.5", Port: 3001, URL: "http://10.0.0.5:3001", Servers: []store.ServerID{"memory"},
		Instance: "0123456789abcdef0123456789abcdef", Version: "v1.0.0", Weight: 1, Status: store.NodeActive, StartedAt: 1767265200000,
		ServerDetails: []store.Server{exampleServer},
	}
	beat := record
	beat.Epoch = 4
	grant := heartbeat.Grant{
		Epoch: 4, Credential: "…", HeartbeatInterval: 5000, NodeTimeout: 15000, SessionTimeout: 3600000, MissingCatalogs: []store.Digest{},
	}
	catalog := catalogUpload{Digest: exampleServer.Catalog, Catalog: json.RawMessage(`{"tools":[]}`)}
	call := func(id, about string, handle func(*Server, echo.Context) error, body, data any, fails ...int) route {
		return route{
			method: "POST", path: "/api/cluster/" + id, door: forNodes, handle: handle, anyQuery: true, tag: "Nodes",
			id: id, about: about, body: body, data: data, fails: append(fails, http.StatusServiceUnavailable),
		}
	}
	return []route{
		call("register", "A node begins, and gets an epoch and the fleet's credential", (*Server).register, record, grant, http.StatusConflict),
		call("heartbeat", "A node lives; the whole record travels each time", (*Server).heartbeat, beat, grant, http.StatusConflict),
		call("deregister", "A node leaves", (*Server).deregister, heartbeat.Farewell{ID: "node-1", Instance: record.Instance, Epoch: 4}, struct{}{}, http.StatusConflict),
		call("catalogs", "What a server offers, by its digest", (*Server).putCatalog, catalog, struct{}{}),
	}
}
