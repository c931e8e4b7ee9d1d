package main

import (
	"context"
	"fmt"
)

// part is a component that runs beside others: its Run in a goroutine, under a context of
// its own, so that parts can be stopped one after the other in the right order.
type part struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error // valid once done is closed
}

// launch starts run. The part goes on when ctx ends: only stop ends it, or its own failure.
func launch(ctx context.Context, name string, run func(context.Context) error) *part {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &part{name: name, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		defer cancel()
		if err := run(ctx); err != nil {
			p.err = fmt.Errorf("%s: %w", name, err)
		}
	}()
	return p
}

// stop ends the part and waits for it. It returns what the part failed with, if it did; it
// may be called on nil, and twice.
func (p *part) stop() error {
	if p == nil {
		return nil
	}
	p.cancel()
	<-p.done
	return p.err
}

// untilOver waits until ctx ends (nil) or one of the parts ends by itself.
func untilOver(ctx context.Context, parts ...*part) error {
	first := make(chan *part, len(parts))
	waiting, stopWaiting := context.WithCancel(ctx)
	defer stopWaiting()
	for _, p := range parts {
		go func() {
			select {
			case <-p.done:
				first <- p
			case <-waiting.Done():
			}
		}()
	}
	select {
	case <-ctx.Done():
		return nil
	case p := <-first:
		if p.err != nil {
			return p.err
		}
		return fmt.Errorf("%s ended by itself", p.name)
	}
}
