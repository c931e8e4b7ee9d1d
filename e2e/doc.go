// Package e2e tests the whole program from outside: the real binary as coordinators and nodes,
// a real redis-server, the reference MCP servers from npm and a Go fixture behind the nodes,
// and in front, through a round robin without stickiness, clients of three SDKs and a client
// that sees raw frames. Package harness, below, starts all of it.
//
// The tests need redis-server on PATH and the npm packages of e2e/npm (make tools). What is
// missing is skipped with a line that says so, or fails under REQUIRE_REDIS=1 and REQUIRE_NPM=1.
package e2e
