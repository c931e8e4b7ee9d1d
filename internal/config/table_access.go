package config

import "time"

// routingKeys is systemConfig.routing.
func routingKeys() []key {
	const path = "systemConfig.routing"
	return []key{
		{path: path, kind: kindObject, doc: "What is open to MCP clients."},
		{path: path + ".enableGlobalRoute", kind: kindBool, def: `true`,
			doc:   "Offer all servers together at `/mcp`.",
			field: into(func(t *target) *bool { return &t.Routing.EnableGlobalRoute })},
		{path: path + ".enableGroupNameRoute", kind: kindBool, def: `true`,
			doc:   "Offer each group at `/mcp/<group>`.",
			field: into(func(t *target) *bool { return &t.Routing.EnableGroupNameRoute })},
		{path: path + ".enableBearerAuth", kind: kindBool, def: `false`, reload: true,
			doc: "Ask MCP clients for `Authorization: Bearer …` with `bearerAuthKey` or an enabled key of `bearerKeys`. Where this key is left out and " +
				"`bearerKeys` has any, it is `true`.",
			field: into(func(t *target) *bool { return &t.Routing.EnableBearerAuth })},
		{path: path + ".bearerAuthKey", kind: kindSecret, check: checkCredential, pattern: `^[!-~]+$`, reload: true,
			doc:   "A key that may use everything. Where `bearerKeys` has the same key, what is said there holds.",
			field: into(func(t *target) *Secret { return &t.Routing.BearerAuthKey })},
		{path: path + ".allowedHosts", kind: kindStrings, def: `[]`, check: checkHost, pattern: `^[^/@?#\s]+$`,
			doc: "Further names to accept in the `Host` header: `hub.example.com` for every port, `hub.example.com:8443` for one. " +
				"Needed for names that anyone could register: on loopback always; elsewhere for browsers at MCP where no bearer key is asked for, " +
				"and for management calls and the page where no admin is configured.",
			field: as(func(t *target) *[]string { return &t.Routing.AllowedHosts }, lower)},
		{path: path + ".allowedOrigins", kind: kindStrings, def: `[]`, check: checkOrigin, pattern: `^[A-Za-z][A-Za-z0-9+.-]*://[^/@?#\s]+$`,
			doc:   "Further web origins to accept in the `Origin` header: `https://app.example.com`.",
			field: as(func(t *target) *[]string { return &t.Routing.AllowedOrigins }, lower)},
		{path: path + ".sseEndpoint", kind: kindString, def: `"relative"`, enum: []string{RelativeEndpoint, AbsoluteEndpoint},
			doc: "Where clients of the HTTP+SSE transport (`/sse`) are told to post. `relative`: a path, which they put behind the address they have. " +
				"`absolute`: a whole URL with the `Host` of their request, for clients that do not understand a path.",
			field: into(func(t *target) *string { return &t.Routing.SSEEndpoint })},
		{path: path + ".bearerAuthHeaderName", kind: kindString, enum: []string{"Authorization"}, field: agreed(),
			doc: "Accepted as `Authorization`: the key is read from no other header."},
		{path: path + ".jsonBodyLimit", kind: kindAny, doc: "Largest body.", later: `"maxBody" in systemConfig.limits bounds them`},
		{path: path + ".skipAuth", kind: kindBool, def: `false`, field: agreed(),
			laterValues: map[string]laterValue{`true`: {"Leave the dashboard open.", "the status page is open to private addresses while no admin is configured"}},
			doc:         "Accepted as `false`."},
	}
}

// limitKeys is systemConfig.limits.
func limitKeys() []key {
	const path = "systemConfig.limits"
	return []key{
		{path: path, kind: kindObject, doc: "What a coordinator bears from its clients."},
		{path: path + ".maxBody", kind: kindCount, def: `4194304`, min: 1024, max: 4 << 20,
			doc:   "Largest body of a request, in bytes, at most 4 MiB, which is what nodes take. A larger one gets 413.",
			field: into(func(t *target) *int { return &t.Limits.MaxBody })},
		{path: path + ".headerTimeout", kind: kindMillis, def: `10000`,
			doc:   "Longest time for the head of a request.",
			field: into(func(t *target) *time.Duration { return &t.Limits.HeaderTimeout })},
		{path: path + ".bodyTimeout", kind: kindMillis, def: `30000`,
			doc:   "Longest time for the body of a request.",
			field: into(func(t *target) *time.Duration { return &t.Limits.BodyTimeout })},
		{path: path + ".idleTimeout", kind: kindMillis, def: `120000`,
			doc:   "How long a connection is kept between two requests.",
			field: into(func(t *target) *time.Duration { return &t.Limits.IdleTimeout })},
		{path: path + ".maxBatch", kind: kindCount, def: `50`, min: 1, max: 1000,
			doc:   "Messages in one batch of MCP 2025-03-26. A larger one gets 400.",
			field: into(func(t *target) *int { return &t.Limits.MaxBatch })},
		{path: path + ".maxStreamsPerSession", kind: kindCount, def: `8`, min: 1, max: 1000,
			doc:   "Streams by GET that one session may have open at one coordinator. One more gets 429.",
			field: into(func(t *target) *int { return &t.Limits.MaxStreamsPerSession })},
		{path: path + ".maxStreamsPerKey", kind: kindCount, def: `10000`, min: 1, max: 1000000,
			doc: "Streams by GET, at `/mcp` and `/sse`, that one bearer key may have open at one coordinator. Clients without a key are told apart by the " +
				"address of their connection, which is the proxy's where there is one. One more gets 429.",
			field: into(func(t *target) *int { return &t.Limits.MaxStreamsPerKey })},
		{path: path + ".maxSessionsPerKey", kind: kindCount, def: `10000`, min: 0, max: 1000000,
			doc: "Sessions that one bearer key may have, at all coordinators together. One more gets 429 at `initialize`. 0 is no limit. " +
				"Clients without a key are nobody in particular and have none, and while Redis is away nobody has.",
			field: into(func(t *target) *int { return &t.Limits.MaxSessionsPerKey })},
		{path: path + ".maxStreams", kind: kindCount, def: `20000`, min: 1, max: 1000000,
			doc:   "Streams by GET that all clients together may have open at one coordinator. One more gets 503.",
			field: into(func(t *target) *int { return &t.Limits.MaxStreams })},
	}
}

// tracingKeys is systemConfig.tracing.
func tracingKeys() []key {
	const path = "systemConfig.tracing"
	return []key{
		{path: path, kind: kindObject, end: endTracing, doc: "Traces, by OpenTelemetry."},
		{path: path + ".endpoint", kind: kindString, private: true, check: checkBaseURL, pattern: basePattern,
			doc:   "Collector that takes OTLP over HTTP: `http://localhost:4318`, to which `/v1/traces` is appended. Without it there are no traces.",
			field: as(func(t *target) *string { return &t.Tracing.Endpoint }, trimSlashes)},
		{path: path + ".headers", kind: kindMap, def: `{}`, private: true, checkName: checkTracingHeader, check: checkHeaderValue,
			doc:   "Headers to send with every export, such as `Authorization`.",
			field: as(func(t *target) *map[string]Secret { return &t.Tracing.Headers }, secrets)},
		{path: path + ".sampleRatio", kind: kindNumber, def: `1`, min: 0, max: 1,
			doc:   "Part of the traces to keep, 0 to 1, where the client has not decided.",
			field: into(func(t *target) *float64 { return &t.Tracing.SampleRatio })},
	}
}

// groupKeys is groups.
func groupKeys() []key {
	const servers = "groups[].servers[]"
	return []key{
		{path: "groups", kind: kindList, def: `[]`, keyed: "name",
			doc: "Choices of servers under one name, each shown to clients at `/mcp/<name>`. Others can be made by REST."},
		{path: "groups[]", kind: kindObject, begin: beginGroup, end: endGroup,
			doc: "One group. Instead of a list, `groups` may also be an object: `{\"<name>\": {\"servers\": […]}}`, or shorter `{\"<name>\": […]}`."},
		{path: "groups[].name", kind: kindString, required: true, check: checkGroupName, pattern: namePattern,
			doc:   "Unique, and the name of no server: a letter or digit, then at most 62 letters, digits, dots, underscores and hyphens.",
			field: into(func(t *target) *string { return &t.group.Name })},
		{path: "groups[].id", kind: kindString, check: checkID, pattern: idPattern,
			doc:   "MCPHub's own identifier. `allowedGroups` may use it; clients reach the group by its name.",
			field: into(func(t *target) *string { return &t.group.ID })},
		{path: "groups[].description", kind: kindString, check: checkNote,
			doc:   "A note for people, at most 1000 characters.",
			field: into(func(t *target) *string { return &t.group.Description })},
		{path: "groups[].servers", kind: kindList, def: `[]`,
			doc: "The servers of the group: names, or objects to choose tools."},
		{path: servers, kind: kindObject, plain: "name", begin: beginMember, end: endMember,
			doc: "One server of a group: its name, or an object. In a cluster the server may be on any node."},
		{path: servers + ".name", kind: kindString, required: true, check: checkServerName, pattern: namePattern,
			doc:   "Name of the server.",
			field: into(func(t *target) *string { return &t.member.Name })},
		{path: servers + ".tools", kind: kindChoice, def: `"all"`, check: checkTool, pattern: `.`,
			doc:   "`all`, or a list of the tools to offer, by the names that the server gives them.",
			field: into(func(t *target) *[]string { return &t.member.Tools })},
		{path: servers + ".prompts", kind: kindChoice, def: `"all"`, field: agreed(), laterItems: "all prompts of the server are offered",
			doc: "Accepted as `all`."},
		{path: servers + ".resources", kind: kindChoice, def: `"all"`, field: agreed(), laterItems: "all resources of the server are offered",
			doc: "Accepted as `all`."},
		{path: servers + ".alias", kind: kindAny, doc: "Another name for the server.", later: "a server has one name everywhere"},
		{path: "groups[].visibility", kind: kindString, enum: []string{"public"}, field: agreed(),
			laterValues: map[string]laterValue{
				`"private"`: {"A group for its owner only.", seenByAll}, `"group"`: {"A group for some users only.", seenByAll},
			},
			doc: "Accepted as `public`: every client that may come in sees the group, unless its key is limited."},
		{path: "groups[].sharedWithUsers", kind: kindAny, unused: true, doc: "The users who may see a group of visibility `group`. Not used."},
		{path: "groups[].owner", kind: kindAny, unused: true, doc: "The user whose group it is. Not used: groups belong to everyone."},
	}
}

// bearerKeys is bearerKeys.
func bearerKeys() []key {
	return []key{
		{path: "bearerKeys", kind: kindList, def: `[]`,
			doc: "Keys that MCP clients may show, each with what it may use."},
		{path: "bearerKeys[]", kind: kindObject, begin: beginBearer, end: endBearer,
			doc: "One key. With a limited key a client sees, at every endpoint, only what the key may use."},
		{path: "bearerKeys[].name", kind: kindString, required: true, check: checkDisplayName, pattern: displayPattern,
			doc:   "Name for people and for the log, unique, at most 128 characters.",
			field: into(func(t *target) *string { return &t.bearer.Name })},
		{path: "bearerKeys[].id", kind: kindString, check: checkID, pattern: idPattern,
			doc:   "MCPHub's own identifier, unique.",
			field: into(func(t *target) *string { return &t.bearer.ID })},
		{path: "bearerKeys[].token", kind: kindSecret, required: true, check: checkCredential, pattern: `^[!-~]+$`,
			doc:   "The key itself, unique; 32 random characters are good, fewer than 16 draw a warning.",
			field: into(func(t *target) *Secret { return &t.bearer.Key })},
		{path: "bearerKeys[].enabled", kind: kindBool, def: `true`,
			doc:   "With `false` the key opens nothing.",
			field: into(func(t *target) *bool { return &t.bearer.Enabled })},
		{path: "bearerKeys[].accessType", kind: kindString,
			enum: []string{string(AccessAll), string(AccessGroups), string(AccessServers), string(AccessCustom)},
			doc: "`all`: everything. `groups`: what `allowedGroups` names. `servers`: what `allowedServers` names. `custom`: both. Where it is left out, it " +
				"follows from which of the two lists are given.",
			field: as(func(t *target) *Access { return &t.bearer.AccessType }, func(s string) Access { return Access(s) })},
		{path: "bearerKeys[].allowedGroups", kind: kindStrings, def: `[]`, check: checkGroupName, pattern: namePattern,
			doc:   "Groups that the key may use, by name or by `id`.",
			field: into(func(t *target) *[]string { return &t.bearer.Groups })},
		{path: "bearerKeys[].allowedServers", kind: kindStrings, def: `[]`, check: checkServerName, pattern: namePattern,
			doc:   "Servers that the key may use, by name.",
			field: into(func(t *target) *[]string { return &t.bearer.Servers })},
		{path: "bearerKeys[].kind", kind: kindString, enum: []string{"system"}, field: agreed(),
			laterValues: map[string]laterValue{`"user"`: {"A key with the rights of a user.", `a key may use what its "accessType" says`}},
			doc:         "Accepted as `system`: a key is no user's."},
		{path: "bearerKeys[].owner", kind: kindAny, unused: true, doc: "The user whose key it is. Not used: a key is no user's."},
	}
}

// userKeys is users.
func userKeys() []key {
	return []key{
		{path: "users", kind: kindList, def: `[]`, doc: "People who sign in to make management calls and to see the status page."},
		{path: "users[]", kind: kindObject, begin: beginUser, end: endUser, doc: "One person. They sign in by HTTP Basic authentication, in the browser or with `--url http://name:password@host`."},
		{path: "users[].username", kind: kindString, required: true, check: checkDisplayName, pattern: displayPattern,
			doc:   "Unique, at most 128 characters.",
			field: into(func(t *target) *string { return &t.user.Username })},
		{path: "users[].password", kind: kindSecret, required: true, check: matches(bcryptPattern, "is not a bcrypt hash: "+
			"it must begin with $2a$, $2b$ or $2y$; a plain password is not accepted (htpasswd -nBC 10 \"\" makes a hash)"), pattern: bcryptPattern,
			doc:   "bcrypt hash of the password (`$2a$`, `$2b$` or `$2y$`), never the password itself. `htpasswd -nBC 10 \"\"` makes one.",
			field: into(func(t *target) *Secret { return &t.user.PasswordHash })},
		{path: "users[].isAdmin", kind: kindBool, def: `false`,
			doc:   "The user may make management calls and see the status page. Others may not.",
			field: into(func(t *target) *bool { return &t.user.IsAdmin })},
		{path: "users[].email", kind: kindAny, unused: true, doc: "Mail address. Not used: users sign in with their username."},
		{path: "users[].ssoUserId", kind: kindAny, unused: true, doc: "Account of a single sign-on. Not used: users sign in with their username."},
	}
}
