package config

import "time"

// serverKeys is mcpServers.
func serverKeys() []key {
	rows := []key{
		{path: "mcpServers", kind: kindEntries, checkName: checkServerName,
			doc: "The MCP servers that this process runs or reaches, by name."},
		{path: "mcpServers.*", kind: kindObject, begin: beginServer, end: endServer,
			doc: "One server. It has either `command` or `url`."},
		{path: "mcpServers.*.command", kind: kindString, check: checkCommand, pattern: `.`,
			doc:   "Program to start: a path, or a name found on `PATH`. It speaks MCP over its standard input and output.",
			field: into(func(t *target) *string { return &t.server.Command })},
		{path: "mcpServers.*.args", kind: kindStrings, def: `[]`, private: true, check: checkNoNUL,
			doc:   "Arguments of `command`. No shell is involved.",
			field: into(func(t *target) *[]string { return &t.server.Args })},
		{path: "mcpServers.*.env", kind: kindMap, def: `{}`, private: true, checkName: checkEnvName, check: checkNoNUL,
			doc:   "Environment variables of `command`. It gets these, `PATH`, `HOME` and the like, and nothing else of MCPHub's own environment.",
			field: into(func(t *target) *map[string]string { return &t.server.Env })},
		{path: "mcpServers.*.url", kind: kindString, private: true, check: checkServerURL, pattern: `^[Hh][Tt][Tt][Pp][Ss]?://[^#]+$`,
			doc:   "Address of a server elsewhere that speaks MCP over HTTP: `http` or `https`, without user name and fragment.",
			field: into(func(t *target) *string { return &t.server.URL })},
		{path: "mcpServers.*.headers", kind: kindMap, def: `{}`, private: true, checkName: checkUpstreamHeader, check: checkHeaderValue,
			doc:   "Headers to send to `url`, such as `Authorization`. Those that MCP or HTTP itself sets are refused.",
			field: into(func(t *target) *map[string]string { return &t.server.Headers })},
		{path: "mcpServers.*.type", kind: kindString, enum: []string{Stdio, StreamableHTTP, SSE},
			meant: map[string]string{"http": StreamableHTTP, "streamableHttp": StreamableHTTP, "streamable_http": StreamableHTTP, "local": Stdio},
			laterValues: map[string]laterValue{
				`"openapi"`: {"An API shown as a server.", "only MCP servers can be reached; put an MCP server in front of the API"},
			},
			doc: "`stdio` goes with `command` and need not be given. `streamable-http` and `sse`, the transport of MCP 2024-11-05, go with `url`; " +
				"without `type` the first is tried and then the other.",
			field: into(func(t *target) *string { return &t.server.Type })},
		{path: "mcpServers.*.enabled", kind: kindBool, def: `true`,
			doc:   "With `false` the server is not started, and not offered to anyone. Its entry is checked all the same.",
			field: into(func(t *target) *bool { return &t.server.Enabled })},
		{path: "mcpServers.*.startTimeout", kind: kindMillis, def: `30000`,
			doc:   "Longest time for one attempt to start the server, or to connect to it, until it has told what it offers.",
			field: into(func(t *target) *time.Duration { return &t.server.StartTimeout })},
		{path: "mcpServers.*.callTimeout", kind: kindMillis, def: `600000`,
			doc:   "Longest time that a request may go without an answer and without progress.",
			field: into(func(t *target) *time.Duration { return &t.server.CallTimeout })},
		{path: "mcpServers.*.roots", kind: kindBool, def: `true`,
			doc: "With `false` the server does not get the roots of its clients: it is not told that they have any, and refused when it asks. For servers that " +
				"take roots for directories of the node, such as `server-filesystem`.",
			field: field{
				read: func(t *target, v any) { t.server.NoRoots = !v.(bool) },
				get:  func(t *target) any { return !t.server.NoRoots },
			}},
		{path: "mcpServers.*.weight", kind: kindCount, def: `1`, min: 1, max: maxWeight,
			doc:   "Share of new sessions that this replica gets, 1 to 100, where several nodes have the server. The node's own `weight` multiplies it.",
			field: into(func(t *target) *int { return &t.server.Weight })},
	}
	rows = append(rows, isolationKeys()...)
	return append(rows, laterServerKeys()...)
}

// maxWeight is the greatest weight of a server and of a node.
const maxWeight = 100

// isolationKeys are the options of a server about its processes.
func isolationKeys() []key {
	return []key{
		{path: "mcpServers.*.isolation", kind: kindString, def: `"shared"`, enum: []string{Shared, PerSession},
			meant: map[string]string{"isolated": PerSession, "per-session": PerSession, "none": Shared},
			doc: "`shared`: one process for all sessions. `session`: a process for each session, for servers that keep state, such as browsers; " +
				"only with `command`.",
			field: into(func(t *target) *string { return &t.server.Isolation })},
		{path: "mcpServers.*.perSessionClient", kind: kindBool, def: `false`,
			doc:   "MCPHub's own word: `true` is `isolation` `session`. Give one of the two.",
			field: field{read: readPerSession, get: func(t *target) any { return t.server.Isolation == PerSession }}},
		{path: "mcpServers.*.maxProcesses", kind: kindCount, def: `16`, min: 1, max: 10_000,
			doc:   "With `isolation` `session`: how many processes may run at one time on this node, spares included. A new session past it gets 503.",
			field: into(func(t *target) *int { return &t.server.MaxProcesses })},
		{path: "mcpServers.*.warm", kind: kindCount, def: `0`, min: 0, max: 10_000,
			doc:   "With `isolation` `session`: how many spare processes wait, started and shaken hands with, for new sessions. At most `maxProcesses`.",
			field: into(func(t *target) *int { return &t.server.Warm })},
		{path: "mcpServers.*.idleTimeoutMs", kind: kindMillis, def: `600000`, zero: true,
			doc:   "With `isolation` `session`: a session's process ends when it has not been used for this long. 0 means never.",
			field: into(func(t *target) *time.Duration { return &t.server.IdleTimeout })},
		{path: "mcpServers.*.startOnDemand", kind: kindBool, def: `false`,
			laterValues: map[string]laterValue{`true`: {"Start at the first call.", "each server is started with the node"}},
			doc:         "Accepted as `false`: each server is started with the node.",
			field:       agreed()},
		{path: "mcpServers.*.visibility", kind: kindString, enum: []string{"public"},
			laterValues: map[string]laterValue{
				`"private"`: {"A server for its owner only.", seenByAll}, `"group"`: {"A server for some users only.", seenByAll},
			},
			doc: "Accepted as `public`: every client that may come in sees the server, unless its key is limited.", field: agreed()},
		{path: "mcpServers.*.sharedWithUsers", kind: kindAny, unused: true, doc: "The users who may see a server of visibility `group`. Not used."},
		{path: "mcpServers.*.description", kind: kindAny, unused: true, doc: "A note. Not used."},
		{path: "mcpServers.*.owner", kind: kindAny, unused: true, doc: "The user whose server it is. Not used: servers belong to everyone."},
	}
}

// readPerSession reads MCPHub's word for isolation.
func readPerSession(t *target, v any) {
	if v.(bool) {
		t.server.Isolation = PerSession
	}
}

// seenByAll is what holds instead of visibility.
const seenByAll = "every client that may come in sees it; limit the keys in bearerKeys instead"

// laterServerKeys are the options of a server whose features come later, or that the
// TypeScript MCPHub has.
func laterServerKeys() []key {
	later := []struct{ name, doc, instead string }{
		{"options", "Timeouts of requests.", `"callTimeout" bounds every call`},
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
	}
	rows := make([]key, 0, len(later))
	for _, l := range later {
		rows = append(rows, key{path: "mcpServers.*." + l.name, kind: kindAny, doc: l.doc, later: l.instead})
	}
	return rows
}
