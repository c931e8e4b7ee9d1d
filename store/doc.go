// Package store is the shared state of a fleet of coordinators, kept in Redis.
//
// It holds what any coordinator must be able to pick up from any other: the nodes and their
// leases, the sessions and their bindings, the catalogs and the groups of the servers, the
// coordinators themselves, and a capped stream of what happened. It decides nothing: who is
// placed where is the router's business, who is alive is the heartbeat's.
//
// Invariants:
//
//   - Every key is spelled in keys.go, every script is a file in lua/ called by one method.
//   - Time is the Redis server's. A time that leaves this package came from TIME or from an
//     expiry there; times of two machines are never compared.
//   - A call ends within Config.Timeout (250 ms) or with ctx, whichever comes first; while the
//     breaker is open it ends at once with ErrUnavailable. Methods that must ask in several
//     steps (Sessions, TouchSessions) spend that much for each step.
//   - Nothing is re-sent by this package, and on one Redis or behind Sentinel by nobody. The
//     client of a Redis Cluster follows redirections (MOVED, ASK) and may repeat a command
//     after a lost connection; every script leaves the same state when it runs twice, and an
//     event may then stand in the stream twice.
//   - A value carries the key or id it belongs to (a record its id, a catalog its digest, a
//     script's reply the id it was asked about) and is checked when read, so that a reply
//     gone astray on a connection is never taken for another's.
//   - Everything here can be rebuilt: nodes send their whole record with each beat, and
//     coordinators write back the sessions that they have cached and the groups that they know.
//   - Releases may run side by side on one Redis: keys and fields are added, never given another
//     meaning, and what a release does not know it leaves alone. Only what cannot be done so needs
//     a migration.
//
// The contract that every backend must meet is the suite in storetest.
package store
