package node

import (
	"bytes"
	"context"
	"fmt"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// builtin is a server in this process. It learns which session a message is of.
type builtin struct {
	link   *link
	server Builtin
}

func (b *builtin) send(_ context.Context, m message) error {
	ctx, cancel := context.WithCancel(context.Background())
	if m.call != nil {
		m.call.onAbort(cancel) // before it may begin, so that a link that is lost finds it
	}
	err := m.clear()
	if err == nil && !b.link.spawn(func() { defer cancel(); b.run(ctx, &m) }) {
		err = errNotWritten
	}
	if err != nil {
		cancel()
	}
	return err
}

// run lets the server handle a message, and gives a call its outcome whatever happens.
func (b *builtin) run(ctx context.Context, m *message) {
	defer b.rescue(m.call)
	session := ""
	if m.ses != nil {
		session = m.ses.id
	}
	answer := b.server.Handle(ctx, session, bytes.TrimSuffix(m.frame, []byte("\n")), func(note []byte) {
		b.link.receive(note, m.call)
	})
	if m.call == nil {
		return
	}
	if answer != nil {
		b.link.receive(answer, m.call)
	}
	b.link.giveUp(m.call, "bad_answer") // unless that was its answer
	b.link.release(m.call)
}

// rescue keeps a panic of the server's from taking the node with it.
func (b *builtin) rescue(c *call) {
	p := recover()
	if p == nil {
		return
	}
	b.link.log.Error("builtin server panicked", "err", fmt.Sprint(p))
	if c != nil {
		b.link.settle(c, wire.Error(c.id, wire.CodeInternal, "internal error of the server", nil), nil)
		b.link.release(c)
	}
}

// apart says that the ids of its requests are each session's own.
func (b *builtin) apart() bool { return true }

// cancels says that ending a call's context is how this upstream is told of a cancellation.
func (b *builtin) cancels() bool { return true }

func (b *builtin) forget(session string) { b.server.Forget(session) }
func (b *builtin) close()                {} // the link's calls are ended by its loss
func (b *builtin) stderr() []string      { return nil }
