// Package router decides which node serves a session and carries its traffic there.
//
// A [Router] is one coordinator's share of that work. It mints and checks session ids
// ([Token]), places new sessions by weighted rendezvous hash with bounded load or as a cookie or
// header says ([Strategy]), or spreads every call where there is no affinity, keeps a bounded
// cache of who sits where, speaks HTTP/1.1 to the nodes over its own pooled connections, and
// moves a session whose node is gone, replaying the client's own initialize.
//
// On endpoints over all servers or a group of them it merges what the servers offer, from their
// catalogs in the store, and sends each request to the server that its name or URI asks for:
// [names] says what a name means, stock.owner who answers for a URI, and view what a client may
// see of it all.
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
//   - A tools/call that may have run is answered with error 1001, never in silence; or its client was
//     given an event id with which any replica takes the answer up, and knows that it may.
//   - A stream is remembered by its node alone. Here it is followed: a break on the way to the node is
//     healed where the last event left off, and a stream that its node has ended is let go, since it
//     then belongs to somebody else. See tap.
//   - An answer of a client goes to the node whose server asked, or nowhere.
//   - A session younger than its time to live is not called unknown, which is final, before
//     those who may have it cached had time to write it back.
//   - Half an event is never delivered.
//   - Every item of a merged list leads back to exactly the server that offers it, on every
//     replica. A name does not change its meaning with the health of servers or with a client's
//     key; what lies outside of a group or a key is answered as what does not exist.
//   - A list costs no request to a node, and each change of a server one read of the store.
//   - Only listed headers cross, in either direction.
package router
