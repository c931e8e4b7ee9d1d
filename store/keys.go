package store

import (
	"fmt"
	"strings"
)

// Every key of the store, below Config.KeyPrefix. Braces are hash tags: keys that meet in one
// script share them, so that they lie in one slot of a Redis Cluster. Times are milliseconds
// of the Redis server's clock; "ttl" is what the caller gave.
//
//	key                          type    ttl          holds
//	<p>:schema                   string  none         number of the last migration (migrations writes it)
//	<p>:{nodes}:index            zset    none         node id → last heartbeat
//	<p>:{nodes}:node:<id>        hash    none         the record: id, instance, epoch, name, host, port, url, version, weight,
//	                                                  state, servers (JSON array of callable names), details (JSON array),
//	                                                  started, registered; lapsed, once unhealthy
//	<p>:{nodes}:lease:<id>       hash    nodeTimeout  instance, epoch. Gone = unhealthy
//	<p>:{nodes}:gone:<id>        string  1 min        epoch under which the node was deregistered, so that a beat still under way
//	                                                  does not bring it back
//	<p>:{nodes}:rev              int     none         grows with every change of a record; the clock in microseconds, so that it is
//	                                                  another number even when Redis was emptied or has lost its last second
//	<p>:{nodes}:epoch            int     none         the last epoch given
//	<p>:{nodes}:load             hash    none         node id → {"<server>":{"sessions":n,"inFlight":n}}, and processes, spares
//	                                                  and full of a server with a process for each session: what changes with every
//	                                                  beat and must not move rev
//	<p>:catalog:<digest>         string  ttl          one server's catalog; digest = hex SHA-256 of it
//	<p>:session:{<sid>}          hash    ttl          id, subject, scope, era, level, created, seen, bind:<server> = node#epoch,
//	                                                  and initDigest, or init where the params are large; subs, which changes with
//	                                                  each change of the subscriptions; or a tombstone: id, ended
//	<p>:session:{<sid>}:subs     set     1.25 ttl     subscriptions to resources: "<server> <uri>"
//	<p>:init:<digest>            string  1.25 ttl     params of initialize, shared by the sessions of one kind of client;
//	                                                  digest = 32 hex digits of the SHA-256 of it
//	<p>:sessions:<00..3f>        zset    longest ttl  sid → expiry; the shard is the id's first byte & 3f
//	<p>:subject:{<digest>}       zset    longest ttl  sid → expiry, of the sessions of one subject, and of those that are begun
//	<p>:coordinator:<id>         hash    ttl          id, address, version, mode, keyPrint, ready, started, sessions, inFlight,
//	                                                  joined, seen
//	<p>:coordinators             zset    longest ttl  coordinator id → expiry
//	<p>:sse:{<id>}:<sid>         hash    ttl          a stream of HTTP+SSE at a coordinator: coordinator; waiting and bytes of
//	                                                  what lies in the inbox for it
//	<p>:inbox:{<id>}             stream  5 min        session, id, body: messages for streams of a coordinator
//	<p>:inboxsize:{<id>}         int     5 min        bytes in it
//	<p>:{groups}:all             hash    none         group → JSON: name, description, servers, updated
//	<p>:{groups}:rev             int     none         grows with every change of a group, as {nodes}:rev does; absent = never had one
//	<p>:events                   stream  none         kind, node, server, session, coordinator, text; about 1000 entries
//	<p>:fleetkey                 string  none         hex of the key that the fleet agreed on
//	<p>:notify                   pub/sub              "rev", "groups" or "session:<sid>"
//
// The migrations package spells <p>:schema and a lease of its own.
type keys struct{ prefix string }

// shards is how many zsets the session index is spread over.
const shards = 64

func (k keys) schema() string                      { return k.prefix + ":schema" }
func (k keys) nodeIndex() string                   { return k.prefix + ":{nodes}:index" }
func (k keys) nodeStem() string                    { return k.prefix + ":{nodes}:node:" }
func (k keys) node(id NodeID) string               { return k.nodeStem() + string(id) }
func (k keys) leaseStem() string                   { return k.prefix + ":{nodes}:lease:" }
func (k keys) lease(id NodeID) string              { return k.leaseStem() + string(id) }
func (k keys) gone(id NodeID) string               { return k.prefix + ":{nodes}:gone:" + string(id) }
func (k keys) rev() string                         { return k.prefix + ":{nodes}:rev" }
func (k keys) epoch() string                       { return k.prefix + ":{nodes}:epoch" }
func (k keys) load() string                        { return k.prefix + ":{nodes}:load" }
func (k keys) catalog(d Digest) string             { return k.prefix + ":catalog:" + string(d) }
func (k keys) session(id SessionID) string         { return k.prefix + ":session:{" + string(id) + "}" }
func (k keys) subs(id SessionID) string            { return k.session(id) + ":subs" }
func (k keys) init(d initDigest) string            { return k.prefix + ":init:" + string(d) }
func (k keys) sessionIndex(shard int) string       { return fmt.Sprintf("%s:sessions:%02x", k.prefix, shard) }
func (k keys) subject(digest string) string        { return k.prefix + ":subject:{" + digest + "}" }
func (k keys) coordinator(id CoordinatorID) string { return k.prefix + ":coordinator:" + string(id) }
func (k keys) coordinators() string                { return k.prefix + ":coordinators" }
func (k keys) inbox(id CoordinatorID) string       { return k.prefix + ":inbox:{" + string(id) + "}" }
func (k keys) inboxSize(id CoordinatorID) string   { return k.prefix + ":inboxsize:{" + string(id) + "}" }
func (k keys) groups() string                      { return k.prefix + ":{groups}:all" }
func (k keys) groupsRev() string                   { return k.prefix + ":{groups}:rev" }
func (k keys) events() string                      { return k.prefix + ":events" }
func (k keys) fleetKey() string                    { return k.prefix + ":fleetkey" }
func (k keys) notify() string                      { return k.prefix + ":notify" }

func (k keys) stream(at CoordinatorID, id SessionID) string {
	return k.prefix + ":sse:{" + string(at) + "}:" + string(id)
}

// checkPrefix refuses a prefix that would break the hash tags or the reading by people.
func checkPrefix(p string) error {
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-"
	bad := func(r rune) bool { return !strings.ContainsRune(allowed, r) }
	if p == "" || len(p) > 63 || strings.ContainsFunc(p, bad) {
		return invalid("key prefix %q: use 1 to 63 letters, digits and . _ : -", p)
	}
	return nil
}
