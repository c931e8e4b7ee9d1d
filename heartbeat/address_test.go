package heartbeat

import (
	"errors"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

func TestCheckURL(t *testing.T) {
	const (
		never  = iota
		secret // only where the cluster has a secret
		always
	)
	tests := []struct {
		url  string
		want int
	}{
		{"http://127.0.0.1:3001", always},
		{"http://127.8.9.1:3001", always},
		{"http://[::1]:3001", always},
		{"http://10.0.0.5:3001", always},
		{"http://172.16.0.1:80", always},
		{"http://192.168.1.1", always},
		{"https://10.0.0.5:3001", always},
		{"http://[fd12:3456::1]:3001", always},
		{"http://localhost:3001", always}, // judged when dialled
		{"http://node_1.internal:3001", always},
		{"http://example.com:3001", always},

		{"http://8.8.8.8:3001", secret},
		{"http://100.64.0.1:3001", secret},
		{"http://172.32.0.1:3001", secret},
		{"https://[2606:4700::1111]:443", secret},

		{"", never},
		{"10.0.0.5:3001", never},
		{"//10.0.0.5:3001", never},
		{"ftp://10.0.0.5:3001", never},
		{"file:///etc/passwd", never},
		{"gopher://10.0.0.5:70", never},
		{"unix:///run/x.sock", never},
		{"HTTP://10.0.0.5:3001", never},
		{"http:10.0.0.5:3001", never},
		{"http:///x", never},
		{"http://", never},
		{"http://:3001", never},
		{"http://10.0.0.5:", never},
		{"http://10.0.0.5:0", never},
		{"http://10.0.0.5:00080", never},
		{"http://10.0.0.5:65536", never},
		{"http://10.0.0.5:+80", never},
		{"http://10.0.0.5:8o", never},
		{"http://user@10.0.0.5:3001", never},
		{"http://user:pw@10.0.0.5:3001", never},
		{"http://@10.0.0.5:3001", never},
		{"http://10.0.0.5:3001/", never},
		{"http://10.0.0.5:3001/nodes/n-1.a_b~c", secret},
		{"https://node.example/n1", secret},
		{"http://10.0.0.5:3001/" + strings.Repeat("x", maxPath-1), secret},
		{"http://10.0.0.5:3001/" + strings.Repeat("x", maxPath), never},
		{"http://10.0.0.5:3001/n1/", never},
		{"http://10.0.0.5:3001//n1", never},
		{"http://10.0.0.5:3001/n1/../n2", never},
		{"http://10.0.0.5:3001/.", never},
		{"http://10.0.0.5:3001/n%31", never},
		{"http://10.0.0.5:3001/n1%2f..", never},
		{"http://10.0.0.5:3001/n1;x", never},
		{"http://10.0.0.5:3001/n 1", never},
		{"http://10.0.0.5:3001/n\\1", never},
		{"http://10.0.0.5:3001/é", never},
		{"http://8.8.8.8:3001/n1", secret},
		{"http://169.254.169.254/latest", never},
		{"http://10.0.0.5:3001?", never},
		{"http://10.0.0.5:3001?x=1", never},
		{"http://10.0.0.5:3001#", never},
		{"http://10.0.0.5:3001#f", never},
		{"http://10.0.0.5:3001\n", never},
		{"http://10.0.0.5\t:3001", never},
		{" http://10.0.0.5:3001", never},
		{"http://10.0.0.5 :3001", never},
		{"http://10.0.0.5%00:3001", never},
		{"http://10.0.0.5\\@evil:80", never},
		{"http://%31%30.0.0.5:3001", never},
		{"http://a b:1", never},

		// Spellings that some resolver reads as an IPv4 address.
		{"http://2130706433:3001", never},
		{"http://0x7f000001:3001", never},
		{"http://0x7f.1:3001", never},
		{"http://0X7F.0.0.1:3001", never},
		{"http://017700000001:3001", never},
		{"http://0177.0.0.1:3001", never},
		{"http://127.1:3001", never},
		{"http://127.0.1:3001", never},
		{"http://10.0.0.05:3001", never},
		{"http://10.0.0.256:3001", never},
		{"http://10.0.0.5.:3001", never},
		{"http://1.2.3.4.5:3001", never},
		{"http://a.b.0x10:3001", never},
		{"http://evil.1:3001", never},
		{"http://evil.0x:3001", never},
		{"http://١٢٧.0.0.1:3001", never},
		{"http://①②⑦.0.0.1:3001", never},
		{"http://127。0。0。1:3001", never},

		// Addresses that never are a node's.
		{"http://0.0.0.0:3001", never},
		{"http://0.1.2.3:3001", never},
		{"http://169.254.169.254", never},
		{"http://169.254.1.1:3001", never},
		{"http://100.100.100.200", never},
		{"http://168.63.129.16", never},
		{"http://192.0.0.192", never},
		{"http://224.0.0.1:3001", never},
		{"http://239.255.255.250:1900", never},
		{"http://240.0.0.1:3001", never},
		{"http://255.255.255.255:3001", never},
		{"http://[::]:3001", never},
		{"http://[fe80::1]:3001", never},
		{"http://[fe80::1%25eth0]:3001", never},
		{"http://[fd12::1%25eth0]:3001", never},
		{"http://[fec0::1]:3001", never},
		{"http://[ff02::1]:3001", never},
		{"http://[fd00:ec2::254]", never},
		{"http://[fd20:ce::254]", never},

		// IPv4 in disguise.
		{"http://[::ffff:10.0.0.5]:3001", never},
		{"http://[::ffff:169.254.169.254]:80", never},
		{"http://[::ffff:a00:5]:3001", never},
		{"http://[::10.0.0.5]:3001", never},
		{"http://[::ffff:0:10.0.0.5]:3001", never},
		{"http://[64:ff9b::a9fe:a9fe]:80", never},
		{"http://[64:ff9b:1::a9fe:a9fe]:80", never},
		{"http://[2002:a9fe:a9fe::]:80", never},
		{"http://[2001:0:a9fe:a9fe::1]:80", never},
		{"http://[10.0.0.5]:3001", never},
		{"http://[node]:3001", never},
		{"http://[::1:3001", never},
		{"http://::1:3001", never},
		{"http://[::1]x:3001", never},

		{"http://-node:3001", never},
		{"http://node-:3001", never},
		{"http://no..de:3001", never},
		{"http://node.:3001", never},
		{"http://nöde:3001", never},
		{"http://no,de:3001", never},
		{"http://" + strings.Repeat("a", 64) + ":1", never},
		{"http://" + strings.Repeat("a.", 200) + "b:1", never},
	}
	for _, tt := range tests {
		for _, auth := range []bool{false, true} {
			err := AddressPolicy{Authenticated: auth}.CheckURL(tt.url)
			ok := tt.want == always || tt.want == secret && auth
			if ok && err != nil {
				t.Errorf("secret %v: CheckURL(%q) = %v, want nil", auth, tt.url, err)
			}
			if !ok && !errors.Is(err, ErrAddress) {
				t.Errorf("secret %v: CheckURL(%q) = %v, want ErrAddress", auth, tt.url, err)
			}
			if err != nil && len(err.Error()) > 300 {
				t.Errorf("CheckURL(%q): an error of %d bytes", tt.url, len(err.Error()))
			}
		}
	}
}

// What is dialled is judged again, whatever a name resolved to the first time.
func TestControlJudgesTheDialledAddress(t *testing.T) {
	tests := []struct {
		addr       string
		open, auth bool
	}{
		{"127.0.0.1:80", true, true},
		{"10.1.2.3:80", true, true},
		{"[::ffff:10.1.2.3]:80", true, true}, // how the kernel names an IPv4 peer
		{"[::1]:80", true, true},
		{"8.8.8.8:80", false, true},
		{"169.254.169.254:80", false, false},
		{"[::ffff:169.254.169.254]:80", false, false},
		{"[fe80::1%eth0]:80", false, false},
		{"0.0.0.0:80", false, false},
		{"[fd00:ec2::254]:80", false, false},
		{"not an address", false, false},
	}
	for _, tt := range tests {
		if err := (AddressPolicy{}).Control("tcp", tt.addr, nil); (err == nil) != tt.open {
			t.Errorf("without secret: Control(%s) = %v, want allowed %v", tt.addr, err, tt.open)
		}
		if err := (AddressPolicy{Authenticated: true}).Control("tcp", tt.addr, nil); (err == nil) != tt.auth {
			t.Errorf("with secret: Control(%s) = %v, want allowed %v", tt.addr, err, tt.auth)
		}
	}
}

// oddAddress is what resolvers read as an address in some other spelling: a last label that is
// a number, decimal, octal or hexadecimal. "X0" is a name like any other.
var oddAddress = regexp.MustCompile(`(^|\.)(0[xX][0-9a-fA-F]*|[0-9]+)\.?$`)

// Whatever passes is plain: the host that net/url sees in it is an address that passes by
// itself, or a name that no resolver takes for one.
func FuzzCheckURL(f *testing.F) {
	for _, s := range []string{"http://10.0.0.5:3001", "https://[fd12::1]:1", "http://0x7f.1", "http://a@b", "http://[::ffff:1.2.3.4]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if (AddressPolicy{}).CheckURL(raw) != nil {
			return
		}
		u, err := url.Parse(raw)
		if err != nil || u.String() != raw || u.Path != "" || u.User != nil || u.RawQuery != "" {
			t.Fatalf("CheckURL(%q) = nil for more than scheme, host and port", raw)
		}
		addr, err := netip.ParseAddr(u.Hostname())
		if err == nil && !addr.IsLoopback() && !addr.IsPrivate() {
			t.Fatalf("CheckURL(%q) = nil for a public address without a secret", raw)
		}
		if err != nil && oddAddress.MatchString(u.Hostname()) {
			t.Fatalf("CheckURL(%q) = nil for an odd spelling of an address", raw)
		}
	})
}
