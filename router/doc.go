// Package router decides which node serves a session and carries its traffic there.
//
// A [Router] is one coordinator's share of that work. It mints and checks session ids
// ([Token]), places new sessions by weighted rendezvous hash with bounded load, keeps a bounded
// cache of who sits where, speaks HTTP/1.1 to the nodes over its own pooled connections, and
// moves a session whose node is gone, replaying the client's own initialize. Over all servers
// at once it merges the tool lists and sends each call to the server that its name asks for.
//
// What it leaves to others: who is alive (heartbeat, seen through [Fleet]), what is remembered
// (store, seen through [Sessions]), who the client is and how an error becomes an HTTP answer
// (server).
//
// Invariants:
//
//   - A request in a known session sends no command to Redis. Time to live is renewed in
//     batches by [Router.Run].
//   - No session id is looked up before its MAC was verified.
//   - A message is sent to a second node only while no byte of it can have been received by the
//     first, or the first provably refused it, or the message is safe to repeat; and never more
//     than once. See [Dispatch].
//   - A tools/call that may have run is answered with error 1001, never in silence.
//   - A session younger than its time to live is not called unknown, which is final, before
//     those who may have it cached had time to write it back.
//   - Half an event is never delivered.
//   - Only listed headers cross, in either direction.
package router
