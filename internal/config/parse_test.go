package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// env makes a getenv of name, value pairs.
func env(pairs ...string) func(string) string {
	m := map[string]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return m[name] }
}

// in puts the body of a section into a whole file, on line 2, from column 3 on.
func in(section, body string) string {
	switch section {
	case "":
		return "{\n  " + body + "\n}"
	case "server":
		return "{ \"mcpServers\": { \"s\": {\n  " + body + "\n} } }"
	}
	open, closing := "{", "}"
	for name := range strings.SplitSeq(section, ".") {
		open += ` "` + name + `": {`
		closing += "}"
	}
	return open + "\n  " + body + "\n" + closing
}

func TestParseRefuses(t *testing.T) {
	const (
		cluster = "systemConfig.cluster"
		times   = "systemConfig.cluster.coordinator"
		sticky  = "systemConfig.cluster.stickySession"
		node    = "systemConfig.cluster.node"
		routing = "systemConfig.routing"
	)
	for _, c := range []struct {
		name, section, body string
		want                string // the lines of the error, without the file's name
	}{
		// Names of keys.
		{"misspelt", cluster, `"moed": "node"`, `2:3: systemConfig.cluster: unknown key "moed"; did you mean "mode"?`},
		{"case", cluster, `"Enabled": true`, `2:3: systemConfig.cluster: unknown key "Enabled"; keys are case-sensitive, did you mean "enabled"?`},
		{"snake case", times, `"node_timeout": 500`, `2:3: systemConfig.cluster.coordinator: unknown key "node_timeout"; keys are case-sensitive, did you mean "nodeTimeout"?`},
		{"wrong section", cluster, `"nodeTimeout": 500`, `2:3: systemConfig.cluster: unknown key "nodeTimeout"; it belongs at systemConfig.cluster.coordinator.nodeTimeout`},
		{"section at the top", "", `"cluster": {}`, `2:3: unknown key "cluster"; it belongs at systemConfig.cluster`},
		{"users in systemConfig", "systemConfig", `"users": []`, `2:3: systemConfig: unknown key "users"; it belongs at users`},
		{"two places", cluster, `"url": "x"`, `2:3: systemConfig.cluster: unknown key "url"; it belongs at systemConfig.cluster.redis.url or systemConfig.cluster.node.url`},
		{"nothing near", sticky, `"qqqqqqqqqq": 1`, `2:3: systemConfig.cluster.stickySession: unknown key "qqqqqqqqqq"; the keys here are enabled, strategy, cookieName, headerName`},
		{"near a top-level key", "", `"mcpServer": {}`, `2:3: unknown key "mcpServer"; did you mean "mcpServers"?`},
		{"case at the top", "", `"SystemConfig": {}`, `2:3: unknown key "SystemConfig"; keys are case-sensitive, did you mean "systemConfig"?`},
		{"routing", routing, `"enableGlobalRout": true`, `2:3: systemConfig.routing: unknown key "enableGlobalRout"; did you mean "enableGlobalRoute"?`},
		{"server", "server", `"command": "x", "disabled": true`, `2:19: mcpServers.s: unknown key "disabled"; did you mean "enabled"?`},
		{"server, case only", "server", `"Command": "x"`, `2:3: mcpServers.s: unknown key "Command"; keys are case-sensitive, did you mean "command"?`},
		{"user", "", `"users": [{"username": "a", "password": "$2b$10$Vt7krIvjNgyN67LXqly0uOcTpN0LI55cYRbcKC71pUDAP0nJ7RPa.", "admin": true}]`,
			`2:107: users[0]: unknown key "admin"; did you mean "isAdmin"?`},
		{"group", "", `"groups": [{"nme": "a"}]`,
			"2:14: groups[0]: the key \"name\" is missing\n" +
				`2:15: groups[0]: unknown key "nme"; did you mean "name"?`},
		{"characters, not bytes", "", `"çé": [], "mcpServer": {}`, `2:13: unknown key "mcpServer"; did you mean "mcpServers"?`},
		{"twice", cluster, `"mode": "node", "mode": "node"`, `2:19: systemConfig.cluster: the key "mode" is here twice: remove one`},
		{"twice, spelt differently", cluster, `"enabled": true, "en\u0061bled": false`, `2:20: systemConfig.cluster: the key "enabled" is here twice: remove one`},
		{"twice in a section of no use", "", `"oauthClients": {"a": 1, "a": 2}`, `2:28: oauthClients: the key "a" is here twice: remove one`},

		// Types.
		{"string for boolean", cluster, `"enabled": "true"`, `2:14: systemConfig.cluster.enabled: want true or false, found a string; remove the quotes`},
		{"number for boolean", cluster, `"enabled": 1`, `2:14: systemConfig.cluster.enabled: want true or false, found a number`},
		{"null", cluster, `"secret": null`, `2:13: systemConfig.cluster.secret: want a string, found null; leave the key out instead`},
		{"list for object", "systemConfig", `"cluster": []`, `2:14: systemConfig.cluster: want an object, found a list`},
		{"object for list", "", `"users": {}`, `2:12: users: want a list of objects, found an object`},
		{"string for object", "", `"mcpServers": "x"`, `2:17: mcpServers: want an object with an entry for each name, found a string`},
		{"string for a server", "", `"mcpServers": {"a": "npx"}`, `2:23: mcpServers.a: want an object, found a string`},
		{"string for list", "server", `"command": "x", "args": "-y"`, `2:27: mcpServers.s.args: want a list of strings, found a string; put it in [ ]`},
		{"number in list", "server", `"command": "x", "args": ["-p", 80]`, `2:34: mcpServers.s.args[1]: want a string, found a number; put it in quotes`},
		{"number in map", "server", `"command": "x", "env": {"P": 80}`, `2:32: mcpServers.s.env.P: want a string, found a number; put it in quotes`},
		{"list for map", "server", `"command": "x", "env": ["A=b"]`, `2:26: mcpServers.s.env: want an object whose values are strings, found a list`},
		{"string in users", "", `"users": ["bob"]`, `2:13: users[0]: want an object, found a string`},
		{"number for string", node, `"id": 7`, `2:9: systemConfig.cluster.node.id: want a string, found a number; put it in quotes`},

		// Times.
		{"quoted number", times, `"nodeTimeout": "500"`, `2:18: systemConfig.cluster.coordinator.nodeTimeout: want a whole number of milliseconds, found a string; remove the quotes`},
		{"Go duration", times, `"nodeTimeout": "1m30s"`, `2:18: systemConfig.cluster.coordinator.nodeTimeout: want a whole number of milliseconds, found a string; write 90000`},
		{"too short", times, `"cleanupInterval": 99`, `2:22: systemConfig.cluster.coordinator.cleanupInterval: 99 is not a whole number of milliseconds from 100 to 31536000000`},
		{"too long", times, `"stickySessionTimeout": 31536000001`, `2:27: systemConfig.cluster.coordinator.stickySessionTimeout: 31536000001 is not a whole number of milliseconds from 100 to 31536000000`},
		{"fraction", node, `"heartbeatInterval": 500.5`, `2:24: systemConfig.cluster.node.heartbeatInterval: 500.5 is not a whole number of milliseconds from 100 to 31536000000`},
		{"beyond floats", node, `"heartbeatInterval": 1e999`, `2:24: systemConfig.cluster.node.heartbeatInterval: 1e999 is not a whole number of milliseconds from 100 to 31536000000`},
		{"negative", node, `"heartbeatInterval": -5000`, `2:24: systemConfig.cluster.node.heartbeatInterval: -5000 is not a whole number of milliseconds from 100 to 31536000000`},
		{"beats against timeout", cluster, `"coordinator": {"nodeTimeout": 1000}, "node": {"heartbeatInterval": 500}`,
			`2:71: systemConfig.cluster.node.heartbeatInterval: two heartbeats (2 × 500 ms) must fit into nodeTimeout (1000 ms)`},

		// Values.
		{"mode", cluster, `"mode": "coordinater"`, `2:11: systemConfig.cluster.mode: "coordinater" is not one of standalone, coordinator, node; did you mean "coordinator"?`},
		{"mode, other word", cluster, `"mode": "worker"`, `2:11: systemConfig.cluster.mode: "worker" is not one of standalone, coordinator, node; did you mean "node"?`},
		{"mode, far", cluster, `"mode": "primary-replica"`, `2:11: systemConfig.cluster.mode: "primary-replica" is not one of standalone, coordinator, node`},
		{"node id", node, `"id": "node/1"`, `2:9: systemConfig.cluster.node.id: "node/1" is not a valid name: '/' at position 5 is not allowed; use ASCII letters, digits, '.', '_' and '-'`},
		{"node name", node, `"name": "a\tb"`, `2:11: systemConfig.cluster.node.name: "a\tb" has a control character`},
		{"base URL, scheme", node, `"coordinatorUrl": "coordinator:3000"`, `2:21: systemConfig.cluster.node.coordinatorUrl: the value must be an absolute URL that begins with http:// or https://`},
		{"base URL, host", node, `"url": "http://:3000"`, `2:10: systemConfig.cluster.node.url: the value names no host`},
		{"base URL, user", node, `"url": "http://u:p@h"`, `2:10: systemConfig.cluster.node.url: the value must not hold a user name or password`},
		{"base URL, fragment", node, `"url": "http://h/#a"`, `2:10: systemConfig.cluster.node.url: the value must not have a fragment (#…)`},
		{"base URL, query", node, `"url": "http://h/?a"`, `2:10: systemConfig.cluster.node.url: the value must not have a query (?…)`},
		{"base URL, port", node, `"url": "http://h:70000"`, `2:10: systemConfig.cluster.node.url: the value has a port that is not 1 to 65535`},
		{"base URL, not one", node, `"url": "http://h:x"`, `2:10: systemConfig.cluster.node.url: the value is not a URL: want http://host[:port] or https://host[:port]`},
		{"redis scheme", cluster, `"redis": {"url": "http://h:6379"}`, `2:20: systemConfig.cluster.redis.url: the value must begin with redis:// or rediss://`},
		{"redis empty", cluster, `"redis": {"url": ""}`, `2:20: systemConfig.cluster.redis.url: the value must not be empty: remove the key to use the embedded Redis`},
		{"redis prefix", cluster, `"redis": {"keyPrefix": "a{b}"}`, `2:26: systemConfig.cluster.redis.keyPrefix: "a{b}" must begin with a letter or digit and have up to 63 letters, digits, dots, underscores, colons and hyphens`},
		{"cookie name", sticky, `"cookieName": "a b"`, "2:17: systemConfig.cluster.stickySession.cookieName: \"a b\" must be an HTTP token: letters, digits and !#$%&'*+.^_`|~- only"},
		{"separator", "systemConfig", `"nameSeparator": "::"`, `2:20: systemConfig.nameSeparator: "::" must be 1 to 8 letters, digits, dots, underscores and hyphens`},
		{"separator, empty", "systemConfig", `"nameSeparator": ""`, `2:20: systemConfig.nameSeparator: "" must be 1 to 8 letters, digits, dots, underscores and hyphens`},
		{"header name", sticky, `"headerName": "MCP-Session-Id"`, `2:17: systemConfig.cluster.stickySession.headerName: "MCP-Session-Id" has another meaning already: take a name that begins with X-`},
		{"strategy", sticky, `"strategy": "cookies"`, `2:15: systemConfig.cluster.stickySession.strategy: "cookies" is not one of consistent-hash, cookie, header; did you mean "cookie"?`},
		{"body", "systemConfig.limits", `"maxBody": 4194305`, `2:14: systemConfig.limits.maxBody: 4194305 is not a whole number from 1024 to 4194304`},
		{"ratio", "systemConfig.tracing", `"sampleRatio": 1.5`, `2:18: systemConfig.tracing.sampleRatio: 1.5 is not a number from 0 to 1`},
		{"endpoint", "systemConfig.tracing", `"endpoint": "localhost:4317"`, `2:15: systemConfig.tracing.endpoint: the value must be an absolute URL that begins with http:// or https://`},
		{"export header", "systemConfig.tracing", `"headers": {"Content-Type": "x"}`, `2:15: systemConfig.tracing.headers: the header Content-Type is set by MCPHub itself: remove it`},
		{"secret, empty", cluster, `"secret": ""`, `2:13: systemConfig.cluster.secret: the value must not be empty: remove the key, or give it a value`},
		{"token, space", cluster, `"adminToken": "a b"`, `2:17: systemConfig.cluster.adminToken: the value may have only visible ASCII characters and no spaces, as it is sent in a header`},
		{"host", routing, `"allowedHosts": ["ok.example", "http://no"]`, `2:34: systemConfig.routing.allowedHosts[1]: "http://no" must be a host name or address, with or without a port: no scheme, no path, no wildcard`},
		{"host, wildcard", routing, `"allowedHosts": ["*"]`, `2:20: systemConfig.routing.allowedHosts[0]: "*" must be a host name or address, with or without a port: no scheme, no path, no wildcard`},
		{"origin", routing, `"allowedOrigins": ["null"]`, `2:22: systemConfig.routing.allowedOrigins[0]: "null" must be an origin: scheme://host[:port], with no path, no trailing slash and no wildcard`},
		{"origins", routing, `"allowedOrigins": ["https://a/", "https://u@a", "a.example", "https://a:0", "https://*.a", "https://a?b"]`, strings.Join([]string{
			origins(0, 22, "https://a/"), origins(1, 36, "https://u@a"), origins(2, 51, "a.example"), origins(3, 64, "https://a:0"),
			origins(4, 79, "https://*.a"), origins(5, 94, "https://a?b")}, "\n")},
		{"bearer auth without a key", routing, `"enableBearerAuth": true`, `2:23: systemConfig.routing.enableBearerAuth: is true and needs "bearerAuthKey", or keys in "bearerKeys"`},
		{"node without a coordinator", cluster, `"enabled": true, "mode": "node"`, `2:28: systemConfig.cluster.node: mode node needs "coordinatorUrl": the coordinator, or the load balancer before several`},
		{"node without a coordinator, section given", cluster, `"enabled": true, "mode": "node", "node": {}`, `2:44: systemConfig.cluster.node: mode node needs "coordinatorUrl": the coordinator, or the load balancer before several`},

		// Servers.
		{"server name", "", `"mcpServers": {"a b": {"command": "x"}}`, `2:18: mcpServers: "a b" is not a valid name: ' ' at position 2 is not allowed; use ASCII letters, digits, '.', '_' and '-'`},
		{"server, neither", "server", `"enabled": true`, `1:24: mcpServers.s: has neither "command" nor "url": give one`},
		{"server, both", "server", `"url": "http://h", "command": "x"`, `2:22: mcpServers.s: has both "command" and "url": a server is started here or reached elsewhere, keep one`},
		{"server, empty command", "server", `"command": " "`, `2:14: mcpServers.s.command: " " must not be empty`},
		{"server, NUL", "server", `"command": "x", "args": ["a\u0000b"]`, `2:28: mcpServers.s.args[0]: the value has a NUL character, which no program can be given`},
		{"server, args with url", "server", `"url": "http://h", "args": ["x"]`, `2:22: mcpServers.s.args: does not go with "url"`},
		{"server, env with url", "server", `"url": "http://h", "env": {"A": "b"}`, `2:22: mcpServers.s.env: does not go with "url"`},
		{"server, headers with command", "server", `"command": "x", "headers": {"A": "b"}`, `2:19: mcpServers.s.headers: does not go with "command"`},
		{"server, type against command", "server", `"command": "x", "type": "streamable-http"`, `2:27: mcpServers.s.type: "streamable-http" does not go with "command", which means stdio`},
		{"server, type against url", "server", `"url": "http://h", "type": "stdio"`, `2:30: mcpServers.s.type: "stdio" does not go with "url", which means streamable-http or sse`},
		{"server, type of others", "server", `"url": "http://h", "type": "http"`, `2:30: mcpServers.s.type: "http" is not one of stdio, streamable-http, sse; did you mean "streamable-http"?`},
		{"server, url", "server", `"url": "ws://h"`, `2:10: mcpServers.s.url: the value must be an absolute URL that begins with http:// or https://`},
		{"server, sse against command", "server", `"command": "x", "type": "sse"`, `2:27: mcpServers.s.type: "sse" does not go with "command", which means stdio`},
		{"server, args with sse", "server", `"url": "http://h", "type": "sse", "args": ["x"]`, `2:37: mcpServers.s.args: does not go with "url"`},
		{"isolation", "server", `"command": "x", "isolation": "isolated"`, `2:32: mcpServers.s.isolation: "isolated" is not one of shared, session; did you mean "session"?`},
		{"isolation and its options wrong", "server", `"command": "x", "isolation": "x", "warm": 1`, `2:32: mcpServers.s.isolation: "x" is not one of shared, session`},
		{"isolation with url", "server", `"url": "http://h", "isolation": "session"`,
			`2:22: mcpServers.s.isolation: does not go with "url": a process for each session is started here, and all sessions share one connection to a server elsewhere`},
		{"isolation with url, MCPHub's word", "server", `"url": "http://h", "perSessionClient": true`,
			`2:22: mcpServers.s.perSessionClient: does not go with "url": a process for each session is started here, and all sessions share one connection to a server elsewhere`},
		{"isolation said twice", "server", `"command": "x", "isolation": "session", "perSessionClient": true`, `2:43: mcpServers.s.perSessionClient: means the same as "isolation": remove one`},
		{"processes of a shared server", "server", `"command": "x", "maxProcesses": 4, "warm": 1, "idleTimeoutMs": 1000`,
			"2:19: mcpServers.s.maxProcesses: needs \"isolation\": \"session\"; without it all sessions share one process\n" +
				"2:38: mcpServers.s.warm: needs \"isolation\": \"session\"; without it all sessions share one process\n" +
				"2:49: mcpServers.s.idleTimeoutMs: needs \"isolation\": \"session\"; without it all sessions share one process"},
		{"more spares than processes", "server", `"command": "x", "isolation": "session", "maxProcesses": 2, "warm": 3`, `2:70: mcpServers.s.warm: 3 spares do not fit into maxProcesses, which is 2`},
		{"more spares than the default", "server", `"command": "x", "isolation": "session", "warm": 17`, `2:51: mcpServers.s.warm: 17 spares do not fit into maxProcesses, which is 16`},
		{"no processes", "server", `"command": "x", "isolation": "session", "maxProcesses": 0`, `2:59: mcpServers.s.maxProcesses: 0 is not a whole number from 1 to 10000`},
		{"half a process", "server", `"command": "x", "isolation": "session", "warm": 0.5`, `2:51: mcpServers.s.warm: 0.5 is not a whole number from 0 to 10000`},
		{"a quoted count", "server", `"command": "x", "weight": "2"`, `2:29: mcpServers.s.weight: want a whole number, found a string; remove the quotes`},
		{"idle for too short", "server", `"command": "x", "isolation": "session", "idleTimeoutMs": 99`, `2:60: mcpServers.s.idleTimeoutMs: 99 is not a whole number of milliseconds from 100 to 31536000000, or 0`},
		{"weight", "server", `"command": "x", "weight": 0`, `2:29: mcpServers.s.weight: 0 is not a whole number from 1 to 100`},
		{"weight of a node", node, `"weight": 101`, `2:13: systemConfig.cluster.node.weight: 101 is not a whole number from 1 to 100`},
		{"server, header name", "server", `"url": "http://h", "headers": {"A b": "c"}`, "2:34: mcpServers.s.headers: a header's name is an HTTP token: letters, digits and !#$%&'*+.^_`|~- only"},
		{"server, own header", "server", `"url": "http://h", "headers": {"mcp-session-id": "c"}`, `2:34: mcpServers.s.headers: the header mcp-session-id is set by MCPHub itself: remove it`},
		{"server, header value", "server", `"url": "http://h", "headers": {"A": "b\r\nC: d"}`, `2:39: mcpServers.s.headers.A: the value has a line break or control character, which no header can carry`},
		{"server, header twice", "server", `"url": "http://h", "headers": {"X-A": "b", "x-a": "c"}`, `2:46: mcpServers.s.headers: "X-A" and "x-a" are the same header: remove one`},
		{"server, variable name", "server", `"command": "x", "env": {"A=secret": "b"}`, `2:27: mcpServers.s.env: an environment variable's name is not empty and has no = or NUL`},

		// Groups.
		{"group, name", "", `"groups": [{"name": "Web Tools"}]`, `2:23: groups[0].name: "Web Tools" is not a valid name: ' ' at position 4 is not allowed; use ASCII letters, digits, '.', '_' and '-'`},
		{"group, name of the short form", "", `"groups": {"Web Tools": []}`, `2:14: groups: "Web Tools" is not a valid name: ' ' at position 4 is not allowed; use ASCII letters, digits, '.', '_' and '-'`},
		{"group, twice", "", `"groups": [{"name": "a"}, {"name": "a"}]`, `2:38: groups[1].name: another group has this name`},
		{"group, id twice", "", `"groups": [{"name": "a", "id": "1"}, {"name": "b", "id": "1"}]`, `2:60: groups[1].id: another group has this id`},
		{"group, neither list nor object", "", `"groups": "a"`, `2:13: groups: want a list of objects, found a string`},
		{"group, string in the short form", "", `"groups": {"a": "s"}`, `2:19: groups.a: want an object, found a string`},
		{"group, server twice", "", `"mcpServers": {"s": {"command": "x"}}, "groups": [{"name": "a", "servers": ["s", {"name": "s", "tools": []}]}]`,
			`2:93: groups[0].servers[1]: the group has this server already`},
		{"group, tools", "", `"mcpServers": {"s": {"command": "x"}}, "groups": [{"name": "a", "servers": [{"name": "s", "tools": "some"}]}]`,
			`2:102: groups[0].servers[0].tools: "some" is not "all" or a list of strings; put it in [ ]`},
		{"group, empty tool", "", `"mcpServers": {"s": {"command": "x"}}, "groups": [{"name": "a", "servers": [{"name": "s", "tools": ["b", ""]}]}]`,
			`2:108: groups[0].servers[0].tools[1]: "" must not be empty`},
		{"group, prompts", "", `"mcpServers": {"s": {"command": "x"}}, "groups": [{"name": "a", "servers": [{"name": "s", "prompts": ["p"]}]}]`,
			`2:104: groups[0].servers[0].prompts: a list is known, but not yet supported: all prompts of the server are offered; write "all"`},
		{"group, alias", "", `"mcpServers": {"s": {"command": "x"}}, "groups": [{"name": "a", "servers": [{"name": "s", "alias": "t"}]}]`,
			`2:93: groups[0].servers[0].alias: known, but not yet supported: a server has one name everywhere; remove this key`},
		{"group, name of a server", "", `"mcpServers": {"s": {"command": "x"}}, "groups": {"s": []}`,
			`2:53: groups.s: "s" is a server too, and /mcp/<name> can be only one of them: rename the group`},
		{"group, unknown servers", "", `"mcpServers": {"files": {"command": "x"}}, "groups": [{"name": "a", "servers": ["fiels", {"name": "nowhere"}]}]`,
			"2:83: groups[0].servers[0]: \"fiels\": no server of mcpServers has this name; did you mean \"files\"?\n" +
				`2:101: groups[0].servers[1]: "nowhere": no server of mcpServers has this name`},
		{"group, unknown server by a variable", "", `"groups": [{"name": "a", "servers": ["${A_NAME}"]}]`, `2:40: groups[0].servers[0]: the name: no server of mcpServers has this name`},

		// Keys.
		{"key, nothing", "", `"bearerKeys": [{}]`, "2:18: bearerKeys[0]: the key \"name\" is missing\n2:18: bearerKeys[0]: the key \"token\" is missing"},
		{"key, a string", "", `"bearerKeys": ["0123456789abcdef"]`, `2:18: bearerKeys[0]: want an object, found a string`},
		{"key, empty", "", `"bearerKeys": [{"name": "a", "token": ""}]`, `2:41: bearerKeys[0].token: the value must not be empty: remove the key, or give it a value`},
		{"key, empty name", "", `"bearerKeys": [{"name": " ", "token": "0123456789abcdef"}]`, `2:27: bearerKeys[0].name: " " must not be empty`},
		{"key, twice", "", `"bearerKeys": [{"name": "a", "token": "x"}, {"name": "b", "token": "x"}]`, `2:70: bearerKeys[1].token: another key has this token`},
		{"key, name twice", "", `"bearerKeys": [{"name": "a", "token": "x"}, {"name": "a", "token": "y"}]`, `2:56: bearerKeys[1].name: another key has this name`},
		{"key, access", "", `"bearerKeys": [{"name": "a", "token": "x", "accessType": "server"}]`, `2:60: bearerKeys[0].accessType: "server" is not one of all, groups, servers, custom; did you mean "servers"?`},
		{"key, of a user", "", `"bearerKeys": [{"name": "a", "token": "x", "kind": "user", "owner": "u"}]`,
			`2:54: bearerKeys[0].kind: "user" is known, but not yet supported: a key may use what its "accessType" says`},
		{"key, unknown names", "", `"mcpServers": {"files": {"command": "x"}}, "groups": [{"name": "all"}], "bearerKeys": [{"name": "a", "token": "x", "allowedGroups": ["al"], "allowedServers": ["file"]}]`,
			"2:136: bearerKeys[0].allowedGroups[0]: \"al\": no group has this name or id; did you mean \"all\"?\n" +
				`2:162: bearerKeys[0].allowedServers[0]: "file": no server of mcpServers has this name; did you mean "files"?`},

		// Users.
		{"user, plain password", "", `"users": [{"username": "a", "password": "admin123"}]`,
			`2:43: users[0].password: the value is not a bcrypt hash: it must begin with $2a$, $2b$ or $2y$; a plain password is not accepted (htpasswd -nBC 10 "" makes a hash)`},
		{"user, nothing", "", `"users": [{}]`, "2:13: users[0]: the key \"username\" is missing\n2:13: users[0]: the key \"password\" is missing"},
		{"user, twice", "", `"users": [` + user("a") + `, ` + user("a") + `]`, `2:121: users[1].username: another user has this name`},

		// Known, but not there yet.
		{"later: openapi", "server", `"url": "http://h", "type": "openapi"`, `2:30: mcpServers.s.type: "openapi" is known, but not yet supported: only MCP servers can be reached; put an MCP server in front of the API`},
		{"later: state", "server", `"command": "x", "state": "pinned"`, `2:19: mcpServers.s.state: known, but not yet supported: every session is replayable; remove this key`},
		{"later: a boolean", routing, `"skipAuth": true`, `2:15: systemConfig.routing.skipAuth: true is known, but not yet supported: the status page is open to private addresses while no admin is configured`},

		// Variables.
		{"unset", "server", `"command": "x", "args": ["--key=${NO_SUCH}"]`, `2:35: mcpServers.s.args[0]: environment variable NO_SUCH is not set, or empty`},
		{"unset, after an escape", "server", `"command": "x", "args": ["\t${NO_SUCH}"]`, `2:28: mcpServers.s.args[0]: environment variable NO_SUCH is not set, or empty`},
		{"two in one string", "server", `"command": "${A}/${B}"`,
			"2:15: mcpServers.s.command: environment variable A is not set, or empty\n2:20: mcpServers.s.command: environment variable B is not set, or empty"},
		{"with a default", "server", `"command": "${A:-b}"`, `2:15: mcpServers.s.command: this is not a variable: write ${NAME} with letters, digits and _, or $${ for a plain ${`},
		{"not closed", "server", `"command": "${A"`, `2:15: mcpServers.s.command: this is not a variable: write ${NAME} with letters, digits and _, or $${ for a plain ${`},
		{"wrong by its variable", cluster, `"mode": "${VALUE}"`, `2:11: systemConfig.cluster.mode: the value is not one of standalone, coordinator, node`},
		{"wrong by its variable, name", node, `"id": "${VALUE}"`, `2:9: systemConfig.cluster.node.id: the value is not a valid name: ' ' at position 4 is not allowed; use ASCII letters, digits, '.', '_' and '-'`},

		{"a rule over the section comes before its keys", "server", `"env": 1`,
			"1:24: mcpServers.s: has neither \"command\" nor \"url\": give one\n" +
				"2:10: mcpServers.s.env: want an object whose values are strings, found a number"},

		// Several at once come in the order of the file.
		{"all", cluster, `"node": {"id": ""}, "mode": "x", "enabled": 0`,
			"2:18: systemConfig.cluster.node.id: \"\" is not a valid name: it is empty\n" +
				"2:31: systemConfig.cluster.mode: \"x\" is not one of standalone, coordinator, node\n" +
				"2:47: systemConfig.cluster.enabled: want true or false, found a number"},
	} {
		t.Run(c.name, func(t *testing.T) {
			refuses(t, in(c.section, c.body), c.want)
		})
	}
}

// origins is the refusal of one of allowedOrigins.
func origins(i, column int, value string) string {
	return fmt.Sprintf(`2:%d: systemConfig.routing.allowedOrigins[%d]: %q must be an origin: scheme://host[:port], with no path, no trailing slash and no wildcard`,
		column, i, value)
}

// user is an entry of users.
func user(name string) string {
	return `{"username": "` + name + `", "password": "$2b$10$Vt7krIvjNgyN67LXqly0uOcTpN0LI55cYRbcKC71pUDAP0nJ7RPa."}`
}

func refuses(t *testing.T, text, want string) {
	t.Helper()
	s, err := Parse("f.json", []byte(text), env("VALUE", "not quoted", "A_NAME", "named"))
	if s != nil || err == nil {
		t.Fatalf("Parse(%s) = %v, %v; want an error", text, s, err)
	}
	want = "f.json:" + strings.ReplaceAll(want, "\n", "\nf.json:")
	if err.Error() != want {
		t.Errorf("Parse(%s)\n got %s\nwant %s", text, err, want)
	}
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != strings.Count(want, "\n")+1 {
		t.Errorf("errors.As: %d problems, want one for each line", len(problems))
	}
}

func TestParseRefusesText(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "1:1: the file is empty: it needs at least {}"},
		{"blank", " \n\n", "1:1: the file is empty: it needs at least {}"},
		{"comment only", "// nothing", "1:1: the file is empty: it needs at least {}"},
		{"comment not closed", "{} /* nothing", "1:4: the file ends too early: a quote, brace, bracket or comment is not closed"},
		{"not an object", "\n []", "2:2: want an object, found a list"},
		{"null", "null", "1:1: want an object, found null"},
		{"not closed", "{\n  \"a\": {\n", "3:1: the file ends too early: a quote, brace, bracket or comment is not closed"},
		{"string not closed", "{\"a\": \"b\n}", "2:2: the file ends too early: a quote, brace, bracket or comment is not closed"},
		{"no comma", "{\n  \"a\": 1\n  \"b\": 2}", `3:3: invalid character '"' after object value (expecting ',' or '}')`},
		{"single quotes", "{'a': 1}", `1:2: invalid character '\'' at start of value`},
		{"no quotes", "{\"a\": hunter2}", "1:7: this is not a value: want a string in quotes, a number, true, false, an object or a list"},
		{"line break in a string", "{\"a\": \"hun\nter2\"}", "1:7: this string is not valid JSON: it has a line break, a control character or an unknown \\ escape"},
		{"more after the end", "{}\n{}", "2:1: invalid character '{' after top-level value"},
		{"not UTF-8", "{\"é\": \"\xff\"}", "1:8: the file is not valid UTF-8 here"},
		{"deep", strings.Repeat("[", 65), "1:65: objects and lists are nested more than 64 deep"},
		{"large", "{}" + strings.Repeat(" ", maxBytes), "1:1: the file has 1048578 bytes and may have at most 1048576"},
	} {
		t.Run(c.name, func(t *testing.T) { refuses(t, c.text, c.want) })
	}
}

func TestDepthCountsOnlyBrackets(t *testing.T) {
	brackets := strings.Repeat("[", 200)
	text := "{ // " + brackets + "\n/* " + brackets + " */ \"a\": \"\\\"" + brackets + "\" }"
	if _, err := Parse("f.json", []byte(text), env()); err != nil {
		t.Errorf("Parse(%s): %v", text, err)
	}
}

func TestProblemsAreCountedPastFifty(t *testing.T) {
	_, err := Parse("f.json", []byte(`{"mcpServers": {`+strings.Repeat(`"a b": 1, "a b": 2,`, 1)+manyServers(60)+`}}`), env())
	if got := err.Error(); strings.Count(got, "\n") != maxProblems || !strings.HasSuffix(got, "\nand 13 more") {
		t.Errorf("error ends %q after %d lines", got[max(0, len(got)-40):], strings.Count(got, "\n"))
	}
}

// TestParseIsQuickWithManyMistakes holds that neither the search for what was meant nor the
// search for columns grows with the square of the file: one of the greatest size, on one
// line, once took 25 s and now takes a third of one.
func TestParseIsQuickWithManyMistakes(t *testing.T) {
	many := func(size int, before, each, after string) []byte {
		var b strings.Builder
		b.WriteString(before)
		for i := 0; b.Len() < size-100; i++ {
			b.WriteString(strings.ReplaceAll(each, "N", fmt.Sprint(i)))
		}
		return []byte(b.String() + after)
	}
	for name, text := range map[string][]byte{
		"unknown keys":             many(maxBytes, `{"mcpServers": {"s": {"command": "x", `, `"commN": 1,`, `}}}`),
		"unknown servers":          many(maxBytes/10, `{"mcpServers": {"server": {"command": "x"}}, "groups": {"g": [`, `"serveN",`, `]}}`),
		"groups with one name":     many(maxBytes/10, `{"groups": [`, `{"name": "g", "id": "N"},`, `]}`),
		"keys that are one":        many(maxBytes/10, `{"bearerKeys": [`, `{"name": "kN", "token": "x"},`, `]}`),
		"unknown groups of a key":  many(maxBytes/10, `{"groups": [{"name": "group"}], "bearerKeys": [{"name": "k", "token": "x", "allowedGroups": [`, `"grouN",`, `]}]}`),
		"processes without reason": many(maxBytes/10, `{"mcpServers": {`, `"sN": {"command": "x", "isolation": 1, "warm": 1},`, `}}`),
	} {
		start := time.Now()
		_, err := Parse("f.json", text, env())
		if took := time.Since(start); err == nil || took > 8*time.Second {
			t.Errorf("%s: took %v, error: %v", name, took, err)
		}
	}
}

func TestUnusedSectionsAreNamedUpToALimit(t *testing.T) {
	var b strings.Builder
	for i := range 30 {
		fmt.Fprintf(&b, `"section %d": {},`, i)
	}
	s, err := Parse("f.json", []byte("{"+b.String()+"}"), env())
	if err != nil {
		t.Fatal(err)
	}
	if w := s.Warnings; len(w) != 1 || !strings.HasSuffix(w[0], `["section 18"], ["section 19"] and 10 more`) {
		t.Errorf("warnings: %q", w)
	}
}

// manyServers is n wrong entries.
func manyServers(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`"s` + strings.Repeat("x", i) + `": 1,`)
	}
	return b.String()
}

// replaceOnce is text with from, which must stand there, replaced by to.
func replaceOnce(t *testing.T, text, from, to string) string {
	t.Helper()
	if !strings.Contains(text, from) {
		t.Fatalf("%q is not in %s", from, text)
	}
	return strings.Replace(text, from, to, 1)
}
