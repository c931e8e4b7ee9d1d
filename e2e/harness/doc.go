// Package harness starts what the end-to-end tests and the benchmarks are made of: the real
// mcphub binary as coordinators and nodes, a real redis-server, a round-robin proxy without
// stickiness, MCP servers, and a small client that sees raw frames.
//
// Everything binds to 127.0.0.1 and lives in temporary folders. What is started belongs to
// one T and is gone when that test ends: each process is stopped by its own id, and a marker
// in the environment of everything started proves that no descendant is left behind.
// Nothing here sleeps to let time pass; Eventually polls against a deadline.
package harness
