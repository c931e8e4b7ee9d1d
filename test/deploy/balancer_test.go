package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Both balancers' own check of their configuration.
func TestHAProxy(t *testing.T) {
	file := inRepo(composeDir, "haproxy", "haproxy.cfg")
	o := run(t, ".", nil, program(t, "haproxy"), "-c", "-f", file)
	if o.err != nil {
		t.Errorf("haproxy -c: %v\n%s%s", o.err, o.stdout, o.stderr)
	}
	for line := range strings.Lines(o.stderr) {
		if strings.Contains(line, "WARNING") && !strings.Contains(line, "could not resolve address 'coordinator-") {
			t.Errorf("haproxy warns: %s", line)
		}
	}
	text := readFile(t, composeDir, "haproxy", "haproxy.cfg")
	var servers []string
	for _, m := range regexp.MustCompile(`(?m)^\s+server (\S+) (\S+)$`).FindAllStringSubmatch(text, -1) {
		if m[2] != m[1]+":3000" {
			t.Errorf("server %s is at %s", m[1], m[2])
		}
		servers = append(servers, m[1])
	}
	for name := range composeProject(t).Services {
		if strings.HasPrefix(name, "coordinator-") != slices.Contains(servers, name) {
			t.Errorf("%s is a coordinator of the compose file or a server of haproxy.cfg (%v), and not both", name, servers)
		}
	}
	if strings.Contains(text, "cookie") || strings.Contains(text, "stick") && !strings.Contains(text, "no stickiness") {
		t.Error("there is stickiness in it, which the hub does not need")
	}
}

func TestNginx(t *testing.T) {
	nginx := program(t, "nginx")
	dir := t.TempDir()
	for _, words := range [][]string{{"openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=hub.example.com",
		"-keyout", filepath.Join(dir, "hub.key"), "-out", filepath.Join(dir, "hub.crt")}} {
		must(t, words...)
	}
	site := strings.ReplaceAll(readFile(t, "deploy", "nginx", "mcphub.conf"), "/etc/nginx/tls", dir)
	conf := "pid nginx.pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n"
	for _, temp := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		conf += temp + "_temp_path " + filepath.Join(dir, temp) + ";\n"
	}
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf+site+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := run(t, ".", nil, nginx, "-t", "-p", dir, "-c", file)
	if o.err != nil || strings.Contains(o.stderr, "[warn]") {
		t.Errorf("nginx -t: %v\n%s", o.err, o.stderr)
	}
	for _, want := range []string{"proxy_buffering off;", "proxy_request_buffering off;", "proxy_read_timeout 1h;"} {
		if !strings.Contains(site, want) {
			t.Errorf("%s is missing: answers are streams", want)
		}
	}
}
