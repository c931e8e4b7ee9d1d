// Package storetest is the contract of the store: what each method promises, each error it can
// return, and the races it must stand. Run holds any backend to it: the embedded miniredis
// always, a redis-server process and a Redis Cluster where they are installed, a container
// where an engine answers.
package storetest
