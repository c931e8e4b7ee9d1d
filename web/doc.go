// Package web is the status page of a coordinator: what the fleet looks like right now,
// rendered on the server, for people with a browser.
//
// It shows nodes, servers with their replicas and catalogs, sessions, groups, coordinators and
// the last events, answers where a session would go and why, and changes nothing. Who may look
// at it is the caller's business (server guards it like the other management calls); what it
// shows is asked of a [Reader], so that the package knows neither Redis nor the rest of the
// coordinator.
//
// Invariants:
//
//   - Everything shown passes through html/template: names, descriptions, errors and stderr
//     lines of MCP servers are text of strangers.
//   - The page works without JavaScript and under a policy that allows nothing inline and
//     nothing from another host. Its script only puts what the server rendered into place.
//   - A part that cannot be read is shown as missing, with the reason; the rest stays.
//   - However many browsers look, the fleet is read at most once per second. What a person
//     opens (a page of sessions, a catalog, an explanation) is read when it is opened, and bounded.
//   - No credential is shown or kept in an address: sessions have the ids of REST, and a whole
//     Mcp-Session-Id that somebody enters is replaced by one.
package web
