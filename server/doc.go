// Package server is the front doors of a coordinator: MCP over HTTP, the REST interface for
// people, programs and nodes, the probes, and the status page's place.
//
// It decides who may come in and in what form, and turns every error into a status, a code and
// a sentence. Where a message goes is the router's business, who is alive the heartbeat's.
//
// Invariants:
//
//   - Every request passes the gate first: canonical path, no doubled or disguised headers, a
//     Host and an Origin that belong here. Nothing behind it looks at what the gate refuses.
//   - A body is read within a limit of bytes and of time before anything else happens to it.
//   - What a client is told comes from errors.go; anything unknown is "internal error" outside
//     and keeps its detail in the log.
//   - A panic ends its request, never the process.
//   - Management calls want an admin where one is configured, and else answer to loopback and
//     private addresses only.
//   - Every REST call stands in one table, of which the routes and the OpenAPI document are made.
//   - What a client's key may not use does not exist for it: servers, groups and the sessions of
//     others get the answers of those that there are none of, byte for byte.
package server
