package harness

import (
	"fmt"
	"net"
	"sync"
)

var (
	portMu   sync.Mutex
	usedPort = map[int]bool{} // guarded by portMu; ports given out in this run
)

// FreePort is a TCP port of 127.0.0.1 that nobody listens on and that was not given out
// before. Another process may still take it first; the failure then shows in that process's log.
func FreePort(t T) int {
	t.Helper()
	portMu.Lock()
	defer portMu.Unlock()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatalf("free port: %v", err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		_ = l.Close()
		if !usedPort[port] {
			usedPort[port] = true
			return port
		}
	}
	t.Fatalf("no free port found")
	return 0
}

// Loopback is the base URL of port on 127.0.0.1.
func Loopback(port int) string { return fmt.Sprintf("http://127.0.0.1:%d", port) }
