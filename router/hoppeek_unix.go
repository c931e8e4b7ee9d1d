//go:build unix

package router

import "syscall"

// alive asks the kernel whether an idle connection still stands: no end of stream, no error,
// and nothing that the node said without being asked. It takes no byte.
func (c *conn) alive() bool {
	if c.br.Buffered() > 0 || c.raw == nil {
		return false
	}
	ok := false
	err := c.raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, errno := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT) //nolint:gosec // a descriptor
		ok = errno == syscall.EAGAIN || errno == syscall.EWOULDBLOCK
		return true
	})
	return err == nil && ok
}
