package store

import "time"

// CoordinatorID names one coordinator process: host name and a random part, drawn at start.
type CoordinatorID string

// Coordinator is what a replica says of itself, kept under a short TTL for people to read.
type Coordinator struct {
	ID       CoordinatorID
	Address  string // host:port it listens on
	Version  string
	Started  time.Time // its own clock, for display
	Sessions int       // sessions in its cache
	InFlight int       // requests it is carrying
}
