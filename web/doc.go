// Package web is the status page of a coordinator: what the fleet looks like right now,
// rendered on the server, for people with a browser.
//
// It shows nodes, servers with their replicas, sessions and the last events, and changes
// nothing. Who may look at it is the caller's business (server guards it like the other
// management calls); what it shows is asked of a [Reader], so that the package knows neither
// Redis nor the rest of the coordinator.
//
// Invariants:
//
//   - Everything shown passes through html/template: names, errors and stderr lines of MCP
//     servers are text of strangers.
//   - The page works without JavaScript and under the policy default-src 'self': no inline
//     script, no inline style, nothing from another host.
//   - A part that cannot be read is shown as missing, with the reason; the rest stays.
//   - However many browsers look, the Reader is asked at most once per second.
package web
