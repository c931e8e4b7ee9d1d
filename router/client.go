package router

import (
	"net/http"
	"time"
)

// maxPiece is how much of an answer a client must accept within Config.ClientStall.
const maxPiece = 64 << 10

// client is the writer of one answer. A client that stops reading loses its connection, and does
// not hold on to the request and the node's connection behind it. The deadline moves with each
// piece that was accepted, so it bounds no answer as a whole; net/http clears it once it has
// sent the rest of the answer. It belongs to the goroutine of its request.
type client struct {
	http.ResponseWriter
	ctl   http.ResponseController
	stall time.Duration
	set   time.Time // when the deadline was last moved; zero if nothing was written
}

func newClient(w http.ResponseWriter, stall time.Duration) *client {
	return &client{ResponseWriter: w, ctl: *http.NewResponseController(w), stall: stall}
}

// bound gives the client another while for what comes next.
func (c *client) bound() {
	c.set = time.Now()
	_ = c.ctl.SetWriteDeadline(c.set.Add(c.stall)) // not every writer has deadlines
}

func (c *client) Write(b []byte) (n int, err error) {
	for {
		c.bound()
		k, err := c.ResponseWriter.Write(b[n:min(len(b), n+maxPiece)])
		if n += k; err != nil || n == len(b) {
			return n, err
		}
	}
}

// FlushError is what http.ResponseController flushes with.
func (c *client) FlushError() error {
	c.bound()
	return c.ctl.Flush()
}

// Unwrap is for http.ResponseController.
func (c *client) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// done leaves enough time for what net/http still has to send.
func (c *client) done() {
	if !c.set.IsZero() && time.Since(c.set) > c.stall/2 {
		c.bound()
	}
}
