package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// stdio is a server behind the pipes of a child process: one message to a line (MCP
// 2025-11-25, Transports, stdio).
type stdio struct {
	link  *link
	child *child
}

func openStdio(l *link, cfg *ServerConfig) (*stdio, error) {
	s := &stdio{link: l}
	c, err := startChild(childSpec{
		command: cfg.Command, args: cfg.Args, env: childEnv(l.lim.Environ, cfg.Env),
		writeTimeout: l.lim.WriteTimeout, grace: l.lim.StopGrace, tails: &l.stats.tails,
	}, func(line []byte) { l.receive(line, nil) }, s.ended)
	if err != nil {
		return nil, err
	}
	s.child = c
	return s, nil
}

func (s *stdio) ended(reason error) {
	s.link.lose(fmt.Errorf("%w: the process %w", errLost, reason))
}

func (s *stdio) send(_ context.Context, m message) error {
	if i := bytes.IndexByte(m.frame, '\n'); i != len(m.frame)-1 || bytes.IndexByte(m.frame, '\r') >= 0 {
		m.frame = append(wire.OneLine(m.frame[:len(m.frame)-1]), '\n')
	}
	err := s.child.write(m.frame, m.clear)
	if err == nil || errors.Is(err, errFenced) {
		return err
	}
	if m.call != nil && errors.Is(err, errNotWritten) {
		s.link.refuse(m.call, err) // before the loss, which knows less about it
	}
	// First the reason, then the end, which would give a lesser one.
	if s.link.lose(fmt.Errorf("%w: the process %w", errLost, err)) {
		s.child.kill()
	}
	if m.call != nil && !errors.Is(err, errNotWritten) {
		return nil // part of it was written; the call has its outcome with all the others
	}
	return err
}

func (s *stdio) close()           { s.child.close() }
func (s *stdio) stderr() []string { return s.child.tail.last(ringLines) }
