package server

import (
	"errors"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// maxSwept is above the length of any queue that the kernel keeps (net.core.somaxconn).
const maxSwept = 1 << 16

// sweep takes everything out of l's queue and then closes it, with nothing in between but one
// call: what arrives in that microsecond is reset, and nothing else.
func sweep(l *net.TCPListener) []net.Conn {
	raw, err := l.SyscallConn()
	if err != nil {
		return nil
	}
	var taken []int
	err = raw.Control(func(fd uintptr) {
		listener := int(fd) //nolint:gosec // a descriptor fits an int
		for range maxSwept {
			c, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			switch {
			case err == nil:
				taken = append(taken, c)
			case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
			default:
				_ = unix.Shutdown(listener, unix.SHUT_RDWR) // it is closed next, whatever comes of this
				return
			}
		}
	})
	if err != nil {
		return nil
	}
	var conns []net.Conn
	for _, fd := range taken {
		f := os.NewFile(uintptr(fd), "")
		c, err := net.FileConn(f) // has a descriptor of its own
		_ = f.Close()
		if err == nil {
			conns = append(conns, c)
		}
	}
	return conns
}
