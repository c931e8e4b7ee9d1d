//go:build unix

package router

import "syscall"

// alive asks the kernel whether an idle connection still stands: no end of stream, no error,
// and nothing that the node said without being asked. It takes no byte.
func (c *conn) alive() bool {
	if c.br.Buffered() > 0 || c.raw == nil {
		return false
	}
	if c.peek == nil {
		c.peek = c.peekAt
	}
	return c.raw.Read(c.peek) == nil && c.quiet
}

// peekAt sets quiet by what the kernel has to say of a socket.
func (c *conn) peekAt(fd uintptr) bool {
	var b [1]byte
	_, _, errno := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT) //nolint:gosec // a descriptor
	c.quiet = errno == syscall.EAGAIN || errno == syscall.EWOULDBLOCK
	return true
}

// await waits until there is something to read, or an end, for as long as a read may. It takes no
// byte.
func (c *conn) await() error {
	return c.raw.Read(func(fd uintptr) bool {
		c.peekAt(fd)
		return !c.quiet
	})
}
