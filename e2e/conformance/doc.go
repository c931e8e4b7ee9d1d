// Package conformance runs the official MCP conformance suite against the same servers twice,
// reached directly and through the hub, over stdio and over HTTP, and compares the two check by
// check. What may differ is the list in expected.json, each entry with its reason;
// docs/conformance.md explains how to read it.
package conformance
