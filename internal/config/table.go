package config

import "time"

// root is the table as a tree.
var root = newTree(table())

// variable is an environment variable that is read beside the file.
type variable struct {
	name string
	// path is the row that the variable wins over; empty when the file has no such key.
	path string
	def  string
	doc  string
}

// Names of the environment variables.
const (
	envPort       = "PORT"
	envSettings   = "MCPHUB_SETTINGS"
	envRedisURL   = "REDIS_URL"
	envSecret     = "MCPHUB_CLUSTER_SECRET"
	envAdminToken = "MCPHUB_ADMIN_TOKEN"
)

// defaultPort is the TCP port when PORT is not set.
const defaultPort = 3000

var variables = []variable{
	{name: envPort, def: "3000", doc: "TCP port to listen on, 1 to 65535."},
	{name: "HOST", doc: "Address to listen on, as `--host`. Without it: 127.0.0.1 in standalone mode, every address otherwise."},
	{name: "POD_IP", doc: "Address of this node in the cluster, where `cluster.node.url` is not set."},
	{name: envSettings, def: DefaultPath, doc: "The settings file, when none is named on the command line. A file named here must exist."},
	{name: envRedisURL, path: "systemConfig.cluster.redis.url", doc: "URL of Redis."},
	{name: envSecret, path: "systemConfig.cluster.secret", doc: "The secret of the cluster."},
	{name: envAdminToken, path: "systemConfig.cluster.adminToken", doc: "The token for management calls."},
}

// table lists every key, sections before what they hold and in the order of the reference.
func table() []key {
	rows := []key{
		{path: "$schema", kind: kindAny, doc: "Address of the JSON Schema, for editors. MCPHub does not read it."},
	}
	rows = append(rows, serverKeys()...)
	rows = append(rows, key{path: "systemConfig", kind: kindObject, lax: true, doc: "Settings of the hub itself."},
		key{path: "systemConfig.nameSeparator", kind: kindString, def: `"-"`,
			doc: "What stands between a server's name and a tool's where several servers are shown as one " +
				"(`files-read`): 1 to 8 letters, digits, dots, underscores and hyphens. When a name can be read in two ways, the longest server name wins.",
			pattern: `^[A-Za-z0-9_.-]{1,8}$`, check: matches(`^[A-Za-z0-9_.-]{1,8}$`, "must be 1 to 8 letters, digits, dots, underscores and hyphens"),
			read: into(func(t *target) *string { return &t.NameSeparator })},
	)
	rows = append(rows, clusterKeys()...)
	rows = append(rows, routingKeys()...)
	return append(rows, peopleKeys()...)
}

// serverKeys is mcpServers.
func serverKeys() []key {
	rows := []key{
		{path: "mcpServers", kind: kindEntries, checkName: checkServerName,
			doc: "The MCP servers that this process runs or reaches, by name."},
		{path: "mcpServers.*", kind: kindObject, begin: beginServer, end: endServer,
			doc: "One server. It has either `command` or `url`."},
		{path: "mcpServers.*.command", kind: kindString, check: checkCommand, pattern: `.`,
			doc:  "Program to start: a path, or a name found on `PATH`. It speaks MCP over its standard input and output.",
			read: into(func(t *target) *string { return &t.server.Command })},
		{path: "mcpServers.*.args", kind: kindStrings, def: `[]`, private: true, check: checkNoNUL,
			doc:  "Arguments of `command`. No shell is involved.",
			read: into(func(t *target) *[]string { return &t.server.Args })},
		{path: "mcpServers.*.env", kind: kindMap, def: `{}`, private: true, checkName: checkEnvName, check: checkNoNUL,
			doc:  "Environment variables of `command`. It gets these, `PATH`, `HOME` and the like, and nothing else of MCPHub's own environment.",
			read: into(func(t *target) *map[string]string { return &t.server.Env })},
		{path: "mcpServers.*.url", kind: kindString, private: true, check: checkServerURL, pattern: `^[Hh][Tt][Tt][Pp][Ss]?://[^#]+$`,
			doc:  "Address of a server elsewhere that speaks streamable HTTP: `http` or `https`, without user name and fragment.",
			read: into(func(t *target) *string { return &t.server.URL })},
		{path: "mcpServers.*.headers", kind: kindMap, def: `{}`, private: true, checkName: checkUpstreamHeader, check: checkHeaderValue,
			doc:  "Headers to send to `url`, such as `Authorization`. Those that MCP or HTTP itself sets are refused.",
			read: into(func(t *target) *map[string]string { return &t.server.Headers })},
		{path: "mcpServers.*.type", kind: kindString, enum: []string{Stdio, StreamableHTTP},
			meant: map[string]string{"http": StreamableHTTP, "streamableHttp": StreamableHTTP, "streamable_http": StreamableHTTP, "local": Stdio},
			laterValues: map[string]laterValue{
				`"sse"`:     {"A server that speaks the legacy SSE transport.", `servers over the legacy SSE transport cannot be reached; use the server's streamable HTTP address with "streamable-http"`},
				`"openapi"`: {"An API shown as a server.", "only MCP servers can be reached; put an MCP server in front of the API"},
			},
			doc:  "`stdio` goes with `command`, `streamable-http` with `url`; it need not be given.",
			read: into(func(t *target) *string { return &t.server.Type })},
		{path: "mcpServers.*.enabled", kind: kindBool, def: `true`,
			doc:  "With `false` the server is not started, and not offered to anyone. Its entry is checked all the same.",
			read: into(func(t *target) *bool { return &t.server.Enabled })},
	}
	return append(rows, laterServerKeys()...)
}

// laterServerKeys are the options of a server whose features come later, or that the
// TypeScript MCPHub has.
func laterServerKeys() []key {
	const shared = "all sessions share one connection to the server"
	later := []struct{ name, doc, instead string }{
		{"isolation", "One connection for all sessions, or one for each.", shared},
		{"perSessionClient", "A connection for each session.", shared},
		{"maxProcesses", "Most processes of one server.", "each server is one process"},
		{"warm", "Spare processes started ahead.", "each server is one process, started with the node"},
		{"startOnDemand", "Start at the first call.", "each server is started with the node"},
		{"idleTimeoutMs", "Stop after a time without calls.", "servers run as long as the node"},
		{"startTimeout", "Longest wait for a server to start.", "a fixed time holds for all servers"},
		{"callTimeout", "Longest time for a call.", "the client's own timeout holds"},
		{"options", "Timeouts of requests.", "the client's own timeouts hold"},
		{"state", "What a session loses with its node.", "every session is replayable"},
		{"retry", "Which calls may be sent twice.", "no call is ever sent twice"},
		{"bridge", "Translation between the eras of MCP.", "servers are spoken to as their clients speak"},
		{"enableKeepAlive", "Health checks of a server.", "servers are supervised always"},
		{"keepAliveInterval", "Time between health checks.", "servers are supervised always"},
		{"tools", "Choice and descriptions of tools.", "all of a server's tools are offered as they are"},
		{"prompts", "Choice and descriptions of prompts.", "all of a server's prompts are offered as they are"},
		{"resources", "Choice and descriptions of resources.", "all of a server's resources are offered as they are"},
		{"passthroughHeaders", "Headers passed on from the client.", `only the headers in "headers" are sent`},
		{"oauth", "OAuth towards the server.", `put a token into "headers"`},
		{"openapi", "An API shown as a server.", "only MCP servers can be reached"},
		{"proxy", "A proxy for the server.", "servers are reached directly"},
		{"description", "A note.", "write it as a comment"},
		{"owner", "The user whose server it is.", "servers belong to everyone"},
		{"visibility", "Who may see the server.", "every client sees all servers"},
	}
	rows := make([]key, 0, len(later))
	for _, l := range later {
		rows = append(rows, key{path: "mcpServers.*." + l.name, kind: kindAny, doc: l.doc, later: l.instead})
	}
	return rows
}

// clusterKeys is systemConfig.cluster.
func clusterKeys() []key {
	rows := []key{
		{path: "systemConfig.cluster", kind: kindObject, end: endCluster, doc: "The part that this process plays among others."},
		{path: "systemConfig.cluster.enabled", kind: kindBool, def: `false`,
			doc:  "With `false` the process is standalone, whatever `mode` says.",
			read: into(func(t *target) *bool { return &t.Cluster.Enabled })},
		{path: "systemConfig.cluster.mode", kind: kindString, def: `"standalone"`,
			enum:  []string{string(Standalone), string(Coordinator), string(Node)},
			meant: map[string]string{"worker": string(Node), "master": string(Coordinator), "single": string(Standalone)},
			doc: "`standalone`: coordinator and node in one process. `coordinator`: the front door for clients; it also runs the servers in " +
				"`mcpServers`, if there are any. `node`: runs servers and registers with `node.coordinatorUrl`.",
			read: func(t *target, v any) { t.mode = Mode(v.(string)) }},
		{path: "systemConfig.cluster.secret", kind: kindSecret, check: checkCredential, pattern: `^[!-~]+$`,
			doc: "Shared by all coordinators and nodes, which prove it to each other; 32 random characters are good, fewer than 16 draw a warning. " +
				"Without it nodes are accepted from private addresses only.",
			read: into(func(t *target) *Secret { return &t.Cluster.Secret })},
		{path: "systemConfig.cluster.adminToken", kind: kindSecret, check: checkCredential, pattern: `^[!-~]+$`,
			doc: "What management calls and the status page ask for, as `Authorization: Bearer …`; fewer than 16 characters draw a warning. " +
				"Without it, and without `users`, they answer to loopback and private addresses only.",
			read: into(func(t *target) *Secret { return &t.Cluster.AdminToken })},
		{path: "systemConfig.cluster.redis", kind: kindObject, doc: "Where coordinators keep what they share. Nodes need no Redis."},
		{path: "systemConfig.cluster.redis.url", kind: kindSecret, check: checkRedisURL, pattern: `^rediss?://.+$`,
			doc: "`redis://[user:password@]host:6379/0`, or `rediss://` for TLS, with the query parameters of go-redis for Sentinel and Cluster. " +
				"Without it an embedded Redis lives in the process, which other coordinators cannot share.",
			read: into(func(t *target) *Secret { return &t.Cluster.Redis.URL })},
		{path: "systemConfig.cluster.redis.keyPrefix", kind: kindString, def: `"mcphub"`, pattern: keyPrefixPattern,
			check: matches(keyPrefixPattern, "must begin with a letter or digit and have up to 63 letters, digits, dots, underscores, colons and hyphens"),
			doc:   "Beginning of every key, so that several clusters can share a Redis.",
			read:  into(func(t *target) *string { return &t.Cluster.Redis.KeyPrefix })},
		{path: "systemConfig.cluster.coordinator", kind: kindObject, doc: "Times kept by coordinators. All coordinators of a cluster should have the same."},
		{path: "systemConfig.cluster.coordinator.nodeTimeout", kind: kindMillis, def: `15000`,
			doc:  "A node that has not been heard of for this long is unhealthy and gets no new sessions.",
			read: into(func(t *target) *time.Duration { return &t.Cluster.Coordinator.NodeTimeout })},
		{path: "systemConfig.cluster.coordinator.cleanupInterval", kind: kindMillis, def: `30000`,
			doc:  "Time between removals of the records of nodes that are gone.",
			read: into(func(t *target) *time.Duration { return &t.Cluster.Coordinator.CleanupInterval })},
		{path: "systemConfig.cluster.coordinator.stickySessionTimeout", kind: kindMillis, def: `3600000`,
			doc:  "A session ends when it has not been used for this long.",
			read: into(func(t *target) *time.Duration { return &t.Cluster.Coordinator.StickySessionTimeout })},
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
			doc:         "A session stays on its node.",
			laterValues: map[string]laterValue{`false`: {"Each call to any node.", "every session stays on its node; remove this key"}},
			read:        into(func(t *target) *bool { return &t.Cluster.Sticky.Enabled })},
		{path: path + ".strategy", kind: kindString, def: `"consistent-hash"`, enum: []string{"consistent-hash"},
			doc: "How the node of a new session is chosen: by a hash of its id, weighted and with bounded load.",
			laterValues: map[string]laterValue{
				`"cookie"`: {"A cookie that names the node.", `the only strategy is "consistent-hash", which needs nothing from the client`},
				`"header"`: {"A header that names the node.", `the only strategy is "consistent-hash", which needs nothing from the client`},
			},
			read: into(func(t *target) *string { return &t.Cluster.Sticky.Strategy })},
		{path: path + ".cookieName", kind: kindString, def: `"MCPHUB_NODE"`, check: checkToken, pattern: tokenPattern,
			doc:  "Name of the cookie that the strategy `cookie` will use. Not used by `consistent-hash`.",
			read: into(func(t *target) *string { return &t.Cluster.Sticky.CookieName })},
		{path: path + ".headerName", kind: kindString, def: `"X-MCPHub-Node"`, check: checkToken, pattern: tokenPattern,
			doc:  "Name of the header that the strategy `header` will use. Not used by `consistent-hash`.",
			read: into(func(t *target) *string { return &t.Cluster.Sticky.HeaderName })},
	}
}

// nodeKeys is systemConfig.cluster.node.
func nodeKeys() []key {
	const path = "systemConfig.cluster.node"
	return []key{
		{path: path, kind: kindObject, doc: "What a node says of itself, and to whom."},
		{path: path + ".id", kind: kindString, check: checkNodeID, pattern: namePattern,
			doc:  "Unique in the cluster: a letter or digit, then at most 62 letters, digits, dots, underscores and hyphens. Without it the node makes one up.",
			read: into(func(t *target) *string { return &t.Cluster.Node.ID })},
		{path: path + ".name", kind: kindString, check: checkDisplayName, pattern: displayPattern,
			doc:  "Name for people, at most 128 characters. Without it the id is shown.",
			read: into(func(t *target) *string { return &t.Cluster.Node.Name })},
		{path: path + ".url", kind: kindString, private: true, check: checkBaseURL, pattern: basePattern,
			doc:  "Where coordinators reach this node. Without it: the address in `POD_IP`, else the one from which the node reached the coordinator, and `PORT`.",
			read: func(t *target, v any) { t.Cluster.Node.URL = trimSlashes(v.(string)) }},
		{path: path + ".coordinatorUrl", kind: kindString, private: true, check: checkBaseURL, pattern: basePattern,
			doc:  "Where the node registers: a coordinator, or the load balancer before several. Mode `node` needs it.",
			read: func(t *target, v any) { t.Cluster.Node.CoordinatorURL = trimSlashes(v.(string)) }},
		{path: path + ".heartbeatInterval", kind: kindMillis, def: `5000`,
			doc:  "Time between heartbeats. Less than half of `nodeTimeout`, so that one may be lost.",
			read: into(func(t *target) *time.Duration { return &t.Cluster.Node.HeartbeatInterval })},
		{path: path + ".registerOnStartup", kind: kindBool, def: `true`,
			doc:         "The node registers as soon as its servers are up.",
			laterValues: map[string]laterValue{`false`: {"A node that waits to be told.", "a node always registers when it starts; remove this key"}},
			read:        into(func(t *target) *bool { return &t.Cluster.Node.RegisterOnStartup })},
	}
}

// routingKeys is systemConfig.routing.
func routingKeys() []key {
	const path = "systemConfig.routing"
	return []key{
		{path: path, kind: kindObject, end: endRouting, doc: "What is open to MCP clients."},
		{path: path + ".enableGlobalRoute", kind: kindBool, def: `true`,
			doc:  "Offer all servers together at `/mcp`.",
			read: into(func(t *target) *bool { return &t.Routing.EnableGlobalRoute })},
		{path: path + ".enableGroupNameRoute", kind: kindBool, def: `true`,
			doc:  "Offer groups by name. As there are no groups yet, either value is accepted and changes nothing.",
			read: into(func(t *target) *bool { return &t.Routing.EnableGroupNameRoute })},
		{path: path + ".enableBearerAuth", kind: kindBool, def: `false`,
			doc:  "Ask MCP clients for `Authorization: Bearer <bearerAuthKey>`.",
			read: into(func(t *target) *bool { return &t.Routing.EnableBearerAuth })},
		{path: path + ".bearerAuthKey", kind: kindSecret, check: checkCredential, pattern: `^[!-~]+$`,
			doc:  "The key that clients must show. `enableBearerAuth` needs it.",
			read: into(func(t *target) *Secret { return &t.Routing.BearerAuthKey })},
		{path: path + ".allowedHosts", kind: kindStrings, def: `[]`, check: checkHost, pattern: `^[^/@?#\s]+$`,
			doc: "Further names to accept in the `Host` header: `hub.example.com` for every port, `hub.example.com:8443` for one. " +
				"Needed for names that anyone could register: on loopback always; elsewhere for browsers at MCP where no bearer key is asked for, " +
				"and for management calls and the page where no admin is configured.",
			read: func(t *target, v any) { t.Routing.AllowedHosts = lower(v.([]string)) }},
		{path: path + ".allowedOrigins", kind: kindStrings, def: `[]`, check: checkOrigin, pattern: `^[A-Za-z][A-Za-z0-9+.-]*://[^/@?#\s]+$`,
			doc:  "Further web origins to accept in the `Origin` header: `https://app.example.com`.",
			read: func(t *target, v any) { t.Routing.AllowedOrigins = lower(v.([]string)) }},
		{path: path + ".bearerAuthHeaderName", kind: kindAny, doc: "Another header for the key.", later: "the key is read from Authorization"},
		{path: path + ".jsonBodyLimit", kind: kindAny, doc: "Largest body.", later: "bodies may have up to 4 MiB"},
		{path: path + ".skipAuth", kind: kindAny, doc: "Leave the dashboard open.",
			later: "the status page is open to private addresses while no adminToken is set"},
	}
}

// peopleKeys is users and groups.
func peopleKeys() []key {
	return []key{
		{path: "users", kind: kindList, def: `[]`, doc: "People who sign in to make management calls and to see the status page."},
		{path: "users[]", kind: kindObject, begin: beginUser, end: endUser, doc: "One person. They sign in by HTTP Basic authentication, in the browser or with `--url http://name:password@host`."},
		{path: "users[].username", kind: kindString, required: true, check: checkDisplayName, pattern: displayPattern,
			doc:  "Unique, at most 128 characters.",
			read: into(func(t *target) *string { return &t.user.Username })},
		{path: "users[].password", kind: kindSecret, required: true, check: matches(bcryptPattern, "is not a bcrypt hash: "+
			"it must begin with $2a$, $2b$ or $2y$; a plain password is not accepted (htpasswd -nBC 10 \"\" makes a hash)"), pattern: bcryptPattern,
			doc:  "bcrypt hash of the password (`$2a$`, `$2b$` or `$2y$`), never the password itself. `htpasswd -nBC 10 \"\"` makes one.",
			read: into(func(t *target) *Secret { return &t.user.PasswordHash })},
		{path: "users[].isAdmin", kind: kindBool, def: `false`,
			doc:  "The user may make management calls and see the status page. Others may not.",
			read: into(func(t *target) *bool { return &t.user.IsAdmin })},
		{path: "users[].email", kind: kindAny, doc: "Mail address.", later: "users sign in with their username"},
		{path: "users[].ssoUserId", kind: kindAny, doc: "Account of a single sign-on.", later: "users sign in with their username"},
		{path: "groups", kind: kindList, def: `[]`, doc: "Sets of servers under a name.",
			laterItems: "clients reach all servers together at /mcp, and each at /mcp/<server>; leave the list empty"},
		{path: "groups[]", kind: kindObject, doc: "One group."},
		{path: "groups[].id", kind: kindAny, doc: "Identifier.", later: groupLater},
		{path: "groups[].name", kind: kindAny, doc: "Name.", later: groupLater},
		{path: "groups[].description", kind: kindAny, doc: "Note.", later: groupLater},
		{path: "groups[].servers", kind: kindAny, doc: "Names of servers, or objects with a name and the tools offered.", later: groupLater},
		{path: "groups[].owner", kind: kindAny, doc: "The user whose group it is.", later: groupLater},
	}
}

// groupLater marks the keys of a group: the whole group is refused, once.
const groupLater = "see groups"
