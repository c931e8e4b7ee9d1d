// Package heartbeat keeps the leases of nodes, from both ends.
//
// On a node, an [Agent] registers with a coordinator, beats, and owns the node's [Lease]: the
// epoch and credentials it may be called under, and whether it may still run anything at all.
// On a coordinator, a [Registrar] answers the agents and a [Watcher] keeps the last known
// picture of the fleet, marks nodes whose lease has lapsed, and forgets old ones.
//
// It decides who is alive. Who is placed where is the router's business; the leases themselves
// are kept by the store, on the Redis server's clock.
//
// Invariants:
//
//   - A node becomes routable only after a coordinator has called its URL with a nonce and the
//     process there has shown to be the one that registers.
//   - A node whose last acknowledged beat was sent longer ago than nodeTimeout, by its own
//     clock, is not [Lease.Fresh], whatever anyone else believes.
//   - What is announced (registered, unhealthy, removed) is announced by one replica of the
//     fleet: the one whose call to the store made the change.
//   - A coordinator with another key than the one that was here first is not ready.
//   - [Watcher.Snapshot] never blocks and never forgets a fleet because Redis is away or empty.
package heartbeat
