package config

import "time"

// Limits is systemConfig.limits: what a client may ask of this process.
type Limits struct {
	// MaxBody bounds the body of a request, in bytes, 1 KiB to 4 MiB.
	MaxBody int
	// HeaderTimeout and BodyTimeout bound the time in which head and body must arrive.
	HeaderTimeout, BodyTimeout time.Duration
	// IdleTimeout closes a connection that carries no request for so long.
	IdleTimeout time.Duration
	// MaxBatch bounds the messages of a batch.
	MaxBatch int
	// MaxStreamsPerSession, MaxStreamsPerKey and MaxStreams bound the streams that are open at one
	// coordinator.
	MaxStreamsPerSession, MaxStreamsPerKey, MaxStreams int
	// MaxSessionsPerKey bounds the sessions that one bearer key has in the whole fleet. Zero means
	// that there is no bound.
	MaxSessionsPerKey int
}
