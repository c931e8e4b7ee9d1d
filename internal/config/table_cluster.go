package config

import "time"

// clusterKeys is systemConfig.cluster.
func clusterKeys() []key {
	rows := []key{
		{path: "systemConfig.cluster", kind: kindObject, end: endCluster, doc: "The part that this process plays among others."},
		{path: "systemConfig.cluster.enabled", kind: kindBool, def: `false`,
			doc:   "With `false` the process is standalone, whatever `mode` says.",
			field: into(func(t *target) *bool { return &t.Cluster.Enabled })},
		{path: "systemConfig.cluster.mode", kind: kindString, def: `"standalone"`,
			enum:  []string{string(Standalone), string(Coordinator), string(Node)},
			meant: map[string]string{"worker": string(Node), "master": string(Coordinator), "single": string(Standalone)},
			doc: "`standalone`: coordinator and node in one process. `coordinator`: the front door for clients; it also runs the servers in " +
				"`mcpServers`, if there are any. `node`: runs servers and registers with `node.coordinatorUrl`.",
			field: as(func(t *target) *Mode { return &t.mode }, func(s string) Mode { return Mode(s) })},
		{path: "systemConfig.cluster.secret", kind: kindSecret, check: checkCredential, pattern: `^[!-~]+$`,
			doc: "Shared by all coordinators and nodes, which prove it to each other; 32 random characters are good, fewer than 16 draw a warning. " +
				"Without it nodes are accepted from private addresses only.",
			field: into(func(t *target) *Secret { return &t.Cluster.Secret })},
		{path: "systemConfig.cluster.adminToken", kind: kindSecret, check: checkCredential, pattern: `^[!-~]+$`,
			doc: "What management calls and the status page ask for, as `Authorization: Bearer …`; fewer than 16 characters draw a warning. " +
				"Without it, and without `users`, they answer to loopback and private addresses only.",
			field: into(func(t *target) *Secret { return &t.Cluster.AdminToken })},
		{path: "systemConfig.cluster.redis", kind: kindObject, doc: "Where coordinators keep what they share. Nodes need no Redis."},
		{path: "systemConfig.cluster.redis.url", kind: kindSecret, check: checkRedisURL, pattern: `^rediss?://.+$`,
			doc: "`redis://[user:password@]host:6379/0`, or `rediss://` for TLS, with the query parameters of go-redis for Sentinel and Cluster. " +
				"Without it an embedded Redis lives in the process, which other coordinators cannot share.",
			field: into(func(t *target) *Secret { return &t.Cluster.Redis.URL })},
		{path: "systemConfig.cluster.redis.keyPrefix", kind: kindString, def: `"mcphub"`, pattern: keyPrefixPattern,
			check: matches(keyPrefixPattern, "must begin with a letter or digit and have up to 63 letters, digits, dots, underscores, colons and hyphens"),
			doc:   "Beginning of every key, so that several clusters can share a Redis.",
			field: into(func(t *target) *string { return &t.Cluster.Redis.KeyPrefix })},
		{path: "systemConfig.cluster.coordinator", kind: kindObject, doc: "Times kept by coordinators. All coordinators of a cluster should have the same."},
		{path: "systemConfig.cluster.coordinator.nodeTimeout", kind: kindMillis, def: `15000`,
			doc:   "A node that has not been heard of for this long is unhealthy and gets no new sessions.",
			field: into(func(t *target) *time.Duration { return &t.Cluster.Coordinator.NodeTimeout })},
		{path: "systemConfig.cluster.coordinator.cleanupInterval", kind: kindMillis, def: `30000`,
			doc:   "Time between removals of the records of nodes that are gone.",
			field: into(func(t *target) *time.Duration { return &t.Cluster.Coordinator.CleanupInterval })},
		{path: "systemConfig.cluster.coordinator.stickySessionTimeout", kind: kindMillis, def: `3600000`,
			doc:   "A session ends when it has not been used for this long.",
			field: into(func(t *target) *time.Duration { return &t.Cluster.Coordinator.StickySessionTimeout })},
		{path: "systemConfig.cluster.coordinator.drainTimeout", kind: kindMillis, def: `10000`,
			doc:   "How long requests in hand may take once the coordinator is told to stop.",
			field: into(func(t *target) *time.Duration { return &t.Cluster.Coordinator.DrainTimeout })},
	}
	rows = append(rows, stickyKeys()...)
	return append(rows, nodeKeys()...)
}

// stickyKeys is systemConfig.cluster.stickySession.
func stickyKeys() []key {
	const path = "systemConfig.cluster.stickySession"
	return []key{
		{path: path, kind: kindObject, end: endSticky, doc: "How sessions are kept on their nodes."},
		{path: path + ".enabled", kind: kindBool, def: `true`,
			doc: "A session stays on its node. With `false` each call goes to any node that has the server, the less busy of two: " +
				"for servers that keep nothing from call to call.",
			field: into(func(t *target) *bool { return &t.Cluster.Sticky.Enabled })},
		{path: path + ".strategy", kind: kindString, def: `"consistent-hash"`, enum: []string{ConsistentHash, ByCookie, ByHeader},
			meant: map[string]string{"hash": ConsistentHash, "consistent_hash": ConsistentHash},
			doc: "How the node of a new session is chosen. `consistent-hash`: by a hash of its id, weighted and with bounded load. `cookie`: by a cookie " +
				"that the coordinator sets. `header`: by a header that it returns. A cookie or header that names no healthy node with the server gives way to the hash.",
			field: into(func(t *target) *string { return &t.Cluster.Sticky.Strategy })},
		{path: path + ".cookieName", kind: kindString, def: `"MCPHUB_NODE"`, check: checkToken, pattern: tokenPattern,
			doc:   "Name of the cookie of the strategy `cookie`.",
			field: into(func(t *target) *string { return &t.Cluster.Sticky.CookieName })},
		{path: path + ".headerName", kind: kindString, def: `"X-MCPHub-Node"`, check: checkAffinityHeader, pattern: tokenPattern,
			doc:   "Name of the header of the strategy `header`. One that HTTP, MCP or MCPHub itself uses is refused.",
			field: into(func(t *target) *string { return &t.Cluster.Sticky.HeaderName })},
	}
}

// nodeKeys is systemConfig.cluster.node.
func nodeKeys() []key {
	const path = "systemConfig.cluster.node"
	return []key{
		{path: path, kind: kindObject, doc: "What a node says of itself, and to whom."},
		{path: path + ".id", kind: kindString, check: checkNodeID, pattern: namePattern,
			doc:   "Unique in the cluster: a letter or digit, then at most 62 letters, digits, dots, underscores and hyphens. Without it the node makes one up.",
			field: into(func(t *target) *string { return &t.Cluster.Node.ID })},
		{path: path + ".name", kind: kindString, check: checkDisplayName, pattern: displayPattern,
			doc:   "Name for people, at most 128 characters. Without it the id is shown.",
			field: into(func(t *target) *string { return &t.Cluster.Node.Name })},
		{path: path + ".url", kind: kindString, private: true, check: checkBaseURL, pattern: basePattern,
			doc:   "Where coordinators reach this node. Without it: the address in `POD_IP`, else the one from which the node reached the coordinator, and `PORT`.",
			field: as(func(t *target) *string { return &t.Cluster.Node.URL }, trimSlashes)},
		{path: path + ".coordinatorUrl", kind: kindString, private: true, check: checkBaseURL, pattern: basePattern,
			doc:   "Where the node registers: a coordinator, or the load balancer before several. Mode `node` needs it.",
			field: as(func(t *target) *string { return &t.Cluster.Node.CoordinatorURL }, trimSlashes)},
		{path: path + ".heartbeatInterval", kind: kindMillis, def: `5000`,
			doc:   "Time between heartbeats. Less than half of `nodeTimeout`, so that one may be lost.",
			field: into(func(t *target) *time.Duration { return &t.Cluster.Node.HeartbeatInterval })},
		{path: path + ".weight", kind: kindCount, def: `1`, min: 1, max: maxWeight,
			doc:   "Share of new sessions that this node gets against others, 1 to 100, for servers that several have.",
			field: into(func(t *target) *int { return &t.Cluster.Node.Weight })},
		{path: path + ".registerOnStartup", kind: kindBool, def: `true`,
			doc: "The node registers as soon as its servers are up. With `false` it serves, and joins only when it is told to: by `mcphub join`, or " +
				"`POST /api/node/join` on the node with the cluster's secret.",
			field: into(func(t *target) *bool { return &t.Cluster.Node.RegisterOnStartup })},
		{path: path + ".drainTimeout", kind: kindMillis, def: `10000`,
			doc:   "How long requests in hand may take once the node is told to stop.",
			field: into(func(t *target) *time.Duration { return &t.Cluster.Node.DrainTimeout })},
		{path: path + ".streams", kind: kindObject, doc: "What the node keeps of event streams, so that clients can take them up again with `Last-Event-ID`."},
		{path: path + ".streams.logBytes", kind: kindCount, def: `1048576`, min: 4096, max: 64 << 20,
			doc:   "Bytes that are kept for each session and server. A client that is further behind loses its stream.",
			field: into(func(t *target) *int { return &t.Cluster.Node.Streams.LogBytes })},
		{path: path + ".streams.logAgeMs", kind: kindMillis, def: `300000`,
			doc:   "How long a message is kept after it was written; the messages of a call, after its answer.",
			field: into(func(t *target) *time.Duration { return &t.Cluster.Node.Streams.LogAge })},
		{path: path + ".streams.maxPerSession", kind: kindCount, def: `8`, min: 1, max: 1000,
			doc:   "Streams by GET that one session may have open at one of the node's servers, whichever coordinators they go through. One more gets 409.",
			field: into(func(t *target) *int { return &t.Cluster.Node.Streams.MaxPerSession })},
		{path: path + ".streams.maxParked", kind: kindCount, def: `64`, min: 1, max: 10000,
			doc:   "Requests of a server (elicitation, sampling, roots) that one session's client may have left unanswered. One more is refused to the server.",
			field: into(func(t *target) *int { return &t.Cluster.Node.Streams.MaxParked })},
	}
}
