package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestURLForms(t *testing.T) {
	for _, c := range []struct {
		url      string
		topology topology
		addrs    string
		check    func(target) bool
	}{
		{"redis://127.0.0.1", standalone, "127.0.0.1:6379", func(t target) bool { return t.tls == nil && t.db == 0 }},
		{"redis://[::1]:7000/3", standalone, "[::1]:7000", func(t target) bool { return t.db == 3 }},
		{"redis://h?db=4", standalone, "h:6379", func(t target) bool { return t.db == 4 }},
		{"rediss://u:p%40%2F@h:1/", standalone, "h:1", func(t target) bool { return t.user == "u" && t.password == "p@/" && t.tls != nil }},
		{"redis://:pw@h", standalone, "h:6379", func(t target) bool { return t.user == "" && t.password == "pw" }},
		{"redis://a@b:c@h", standalone, "h:6379", func(t target) bool { return t.user == "a@b" && t.password == "c" }},
		{"redis+sentinel://u:p@h1,h2:5/2?master_name=m&sentinel_username=su&sentinel_password=sp", sentinel, "h1:26379 h2:5",
			func(t target) bool {
				return t.master == "m" && t.db == 2 && t.sentinelUser == "su" && t.sentinelPass == "sp"
			}},
		{"redis://h1?master_name=m&addr=h2:1", sentinel, "h1:26379 h2:1", func(t target) bool { return t.master == "m" }},
		{"redis+cluster://h1:1,h2:2", cluster, "h1:1 h2:2", func(target) bool { return true }},
		{"rediss://h1:1?addr=h2:2&addr=h3:3", cluster, "h1:1 h2:2 h3:3", func(t target) bool { return t.tls != nil }},
		{"rediss+cluster://h1:1?skip_verify=true&tls_server_name=x", cluster, "h1:1",
			func(t target) bool { return t.tls.InsecureSkipVerify && t.tls.ServerName == "x" }},
		{"unix:///run/redis.sock?db=1", standalone, "/run/redis.sock", func(t target) bool { return t.network == "unix" && t.db == 1 }},
		{"redis://h?pool_size=7&client_name=hub", standalone, "h:6379", func(t target) bool { return t.poolSize == 7 && t.clientName == "hub" }},
	} {
		got, err := parseURL(c.url)
		if err != nil || got.topology != c.topology || strings.Join(got.addrs, " ") != c.addrs || !c.check(got) {
			t.Errorf("%s: %+v, %v", c.url, got, err)
		}
	}
}

func TestWrongURLsAreRefusedWithoutTheirPassword(t *testing.T) {
	junk := filepath.Join(t.TempDir(), "junk.pem")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{
		"", "127.0.0.1:6379", "http://u:geheim@h", "redis+x://u:geheim@h", "redis://u:geheim@", "redis://u:geheim@h:x", "redis://u:geheim@h:70000",
		"redis://u:geheim@h:0", "redis://u:geheim@h/x", "redis://u:geheim@h/-1", "redis://u:geheim@h?db=x", "redis://u:geheim@h?dial_timeout=5s",
		"redis://u:geheim@h1,h2", "redis+sentinel://u:geheim@h", "redis+cluster://u:geheim@h/2", "redis://u:geheim@h?tls_ca_file=/x",
		"redis+cluster://u:geheim@h?master_name=m", "rediss://u:geheim@h?tls_ca_file=/does/not/exist", "rediss://u:geheim@h?tls_ca_file=" + junk,
		"rediss://u:geheim@h?tls_cert_file=" + junk + "&tls_key_file=" + junk, "rediss://u:geheim@h?skip_verify=1", "redis://u:ge%zzheim@h",
		"redis://u:geheim@h?%zz", "unix://h/geheim", "unix://", "redis://u:geheim@h ?x", "redis://u:geheim@a b:1", "redis://u:geheim@h?pool_size=-1",
		"unix+cluster:///x",
	} {
		_, err := parseURL(url)
		if err == nil {
			t.Errorf("%q was taken", url)
			continue
		}
		if strings.Contains(err.Error(), "geheim") && url != "unix://h/geheim" {
			t.Errorf("%q: the error tells the password: %v", url, err)
		}
		if _, err := Open(t.Context(), Config{URL: url}); err == nil {
			t.Errorf("Open(%q) succeeded", url)
		}
	}
	for _, prefix := range []string{"a{b}", "a b", "a\n", strings.Repeat("a", 64), "*"} {
		if _, err := Open(t.Context(), Config{URL: "redis://127.0.0.1:1", KeyPrefix: prefix}); !errors.Is(err, ErrInvalid) {
			t.Errorf("prefix %q: %v, want ErrInvalid", prefix, err)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	for _, s := range []string{"redis://u:p@h:1/2?db=3", "redis+sentinel://a,b?master_name=m", "unix:///x", "redis://[::1]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, url string) {
		got, err := parseURL(url)
		if err == nil && len(got.addrs) == 0 {
			t.Errorf("%q: no address and no error", url)
		}
		if err != nil && !errors.Is(err, ErrInvalid) && !strings.Contains(url, "tls_") {
			t.Errorf("%q: %v is not ErrInvalid", url, err)
		}
	})
}
