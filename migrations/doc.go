// Package migrations changes data that is already in Redis when a release needs it in another
// form.
//
// A migration is a file NNNN_name.lua, numbered without gaps, forward only, safe to repeat, and
// frozen once released; so it spells the keys of its day itself. A line "-- Match: <pattern>"
// (below the key prefix) makes the runner walk SCAN and give the script one key at a time, in
// KEYS[1]; without it the script runs once, on the key of the schema number. It returns 1 if it
// changed something, else 0.
//
// The number of the last migration stands in <prefix>:schema. The store refuses data with a higher
// number than Latest. Rolling deploys run two releases at once: widen first, migrate, narrow a
// release later.
//
// One runner works at a time: it holds a lease, <prefix>:{<prefix>:schema}:lease, in the slot of
// the number, and the number moves only while the lease is held.
//
// The package imports nothing of ours. It takes a client from store.NewClient.
package migrations
