package server

import (
	"net"
	"sync"
	"time"
)

// lastly is a listener that can be closed without losing a connection that the kernel has
// already taken: closing a socket resets those that wait in its queue, with a request in them.
type lastly struct {
	net.Listener
	closing chan struct{}
	once    sync.Once
	left    []net.Conn // belongs to the goroutine that calls Accept
	swept   bool
}

func newLastly(l net.Listener) *lastly { return &lastly{Listener: l, closing: make(chan struct{})} }

// Accept is for one goroutine. After end it gives what had been in the queue, and then
// net.ErrClosed.
func (l *lastly) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		return c, nil
	}
	select {
	case <-l.closing:
	default:
		return nil, err
	}
	if !l.swept {
		l.swept = true
		if tcp, ok := l.Listener.(*net.TCPListener); ok {
			l.left = sweep(tcp)
		}
		_ = l.Listener.Close() // nothing more is asked of it
	}
	if len(l.left) == 0 {
		return nil, net.ErrClosed
	}
	c, l.left = l.left[0], l.left[1:]
	return c, nil
}

// end makes Accept close the listener.
func (l *lastly) end() {
	l.once.Do(func() {
		close(l.closing)
		if tcp, ok := l.Listener.(*net.TCPListener); ok && tcp.SetDeadline(time.Unix(1, 0)) == nil {
			return // which wakes Accept
		}
		_ = l.Listener.Close() // wakes it, too
	})
}
