package main

import (
	"context"

	"github.com/mcphub-go/mcphub/internal/config"
)

// beside is the node in the process of a coordinator, which may come later than the coordinator:
// with the first server of the settings. Its methods but life's are called one after the other.
type beside struct {
	start  func([]config.Server) (*worker, error)
	worker *worker      // nil until it has been started
	came   chan *worker // of 1: tells life
	life   *part        // ends by itself when a part of the worker does
}

// newBeside returns a place for a node that start starts.
func newBeside(ctx context.Context, start func([]config.Server) (*worker, error)) *beside {
	b := &beside{start: start, came: make(chan *worker, 1)}
	b.life = launch(ctx, "this process", func(ctx context.Context) error {
		select {
		case w := <-b.came:
			return untilOver(ctx, w.parts()...)
		case <-ctx.Done():
			return nil
		}
	})
	return b
}

// begin starts the node, with servers or without. After an error there is none.
func (b *beside) begin(servers []config.Server) (err error) {
	if b.worker, err = b.start(servers); err == nil {
		b.came <- b.worker
	}
	return err
}

// setServers makes the node run what new settings say, see worker.setServers; the first servers
// start the node. After an error nothing has changed.
func (b *beside) setServers(servers []config.Server) error {
	switch {
	case b.worker != nil:
		return b.worker.setServers(servers)
	case len(servers) > 0:
		return b.begin(servers)
	}
	return nil
}

// stop stops the node, if there is one, see worker.stop.
func (b *beside) stop() error {
	_ = b.life.stop() // what it could fail with is the worker's
	return b.worker.stop()
}
