package wire

import "testing"

func TestPrivateHost(t *testing.T) {
	for host, want := range map[string]bool{
		"127.0.0.1:3000": true, "[::1]:3000": true, "::1": true, "10.0.0.7": true, "203.0.113.7": true, "node-1": true, "node-1:3001": true,
		"localhost": true, "node.mcphub.svc": true, "box.LOCAL:80": true, "box.lan.": true,
		"": false, "evil.example": false, "evil.example:3001": false, "127.0.0.1.evil.example": false, "local.evil.example.": false,
	} {
		if got := PrivateHost(host); got != want {
			t.Errorf("PrivateHost(%q) = %v, want %v", host, got, want)
		}
	}
}

func TestLoopbackHost(t *testing.T) {
	for _, host := range []string{"localhost:3001", "LOCALHOST", "127.0.0.1", "127.8.9.1:1", "[::1]:3001", "[::1]", "::1", "[::ffff:127.0.0.1]:1"} {
		if !LoopbackHost(host) {
			t.Errorf("LoopbackHost(%q) = false", host)
		}
	}
	for _, host := range []string{"", "10.0.0.1:1", "localhost.evil.test", "127.0.0.1.evil.test:1", "0.0.0.0", "[::]:1", "2130706433", "127.1"} {
		if LoopbackHost(host) {
			t.Errorf("LoopbackHost(%q) = true", host)
		}
	}
}
