package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/mcphub-go/mcphub/heartbeat"
)

// registry is a coordinator reduced to what a node's agent calls.
type registry struct {
	*httptest.Server
	mu    sync.Mutex // guards calls
	calls []string   // last segments of the paths
	last  heartbeat.Record

	secret string // of the cluster, which its grants prove; empty for none
}

func newRegistry(t *testing.T) *registry {
	t.Helper()
	r := &registry{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		call := req.URL.Path[strings.LastIndexByte(req.URL.Path, '/')+1:]
		r.calls = append(r.calls, call)
		if call == "register" || call == "heartbeat" {
			if err := json.NewDecoder(req.Body).Decode(&r.last); err != nil {
				t.Errorf("%s: %v", call, err)
			}
		}
		proof := ""
		if r.secret != "" {
			proof = heartbeat.GrantProof(r.secret, r.last.Instance, 1, "c")
		}
		_, _ = fmt.Fprintf(w, `{"success":true,"data":{"epoch":1,"credential":"c","heartbeatInterval":1000,"nodeTimeout":15000,"sessionTimeout":1000000,"proof":%q}}`, proof)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *registry) saw(call string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.calls {
		if c == call {
			return true
		}
	}
	return false
}

func (r *registry) record() heartbeat.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

func nodeSettings(t *testing.T, coordinator, more string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return writeSettings(t, fmt.Sprintf(`{
		"mcpServers": {"child": {"command": %q, "env": {%q: "1"}}, "off": {"command": "x", "enabled": false}},
		"systemConfig": {"cluster": {"enabled": true, "mode": "node", "node": {"coordinatorUrl": %q %s}}}
	}`, self, childVariable, coordinator, more))
}

func TestNodeRegistersServesAndLeaves(t *testing.T) {
	reg := newRegistry(t)
	r := start(t, nil, "--config", nodeSettings(t, reg.URL, `, "id": "n1", "name": "Worker One"`), "--port", "0")
	url := r.url(t)
	r.until(t, "registering", func() bool { return reg.saw("register") })
	rec := reg.record()
	if rec.ID != "n1" || rec.Name != "Worker One" || rec.URL != url || len(rec.Servers) != 1 || rec.Servers[0] != "child" {
		t.Errorf("registered as %+v, want n1 at %s with its one server", rec, url)
	}
	if len(rec.ServerDetails) != 2 {
		t.Errorf("%d servers are described, want the disabled one too", len(rec.ServerDetails))
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/health", nil)
	if err != nil {
		t.Fatal(err)
	}
	if status, body := fetch(t, req); status != http.StatusOK || !strings.Contains(body, "n1") {
		t.Errorf("GET /health = %d %s", status, body)
	}
	if code := r.stop(t); code != exitOK {
		t.Errorf("a node that is told to stop exits %d", code)
	}
	if !reg.saw("deregister") {
		t.Error("the node left without deregistering")
	}
	if log := r.stderr.String(); !strings.Contains(log, "no cluster.secret") || !strings.Contains(log, "mode=node") {
		t.Errorf("the log does not say the mode and that there is no secret:\n%s", log)
	}
}

func TestNodeWithoutAnIDMakesOneUp(t *testing.T) {
	reg := newRegistry(t)
	r := start(t, nil, "--config", nodeSettings(t, reg.URL, ""), "--port", "0", "--host", "127.0.0.1", "--log-format", "json")
	r.until(t, "registering", func() bool { return reg.saw("register") })
	host, err := os.Hostname()
	if err != nil {
		t.Skip("SKIPPED (this machine has no name): ", err)
	}
	want := nameFrom(host, "")
	if id := string(reg.record().ID); !strings.HasPrefix(id, want) || len(id) != len(want)+6 {
		t.Errorf("id = %q, want %s and six digits", id, want)
	}
	if code := r.stop(t); code != exitOK {
		t.Errorf("exit %d", code)
	}
	for line := range strings.Lines(r.stderr.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("--log-format json logs %q", line)
		}
	}
}

func TestServingThatCannotStart(t *testing.T) {
	l, err := listen(t.Context(), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	file := nodeSettings(t, "http://127.0.0.1:1", "")
	for name, tc := range map[string]struct {
		args []string
		env  []string
		code int
		says string
	}{
		"port taken":     {[]string{"--config", file, "--port", fmt.Sprint(portOf(l))}, nil, exitFailed, "is taken by another program"},
		"port wrong":     {[]string{"--config", file, "--port", "70000"}, nil, exitUsage, "want 0 to 65535"},
		"PORT wrong":     {[]string{"--config", file}, []string{"PORT=many"}, exitUsage, "environment variable PORT"},
		"log level":      {[]string{"--log-level", "loud"}, nil, exitUsage, "want debug, info, warn or error"},
		"log format":     {[]string{"--log-format", "xml"}, nil, exitUsage, "want text or json"},
		"no settings":    {[]string{"--config", file + ".none"}, nil, exitUsage, "no such file"},
		"host elsewhere": {[]string{"--config", file, "--host", "192.0.2.1", "--port", "0"}, nil, exitFailed, "cannot listen on 192.0.2.1"},
		"argument":       {[]string{"serve"}, nil, exitUsage, `unknown command "serve"`},
	} {
		t.Run(name, func(t *testing.T) {
			got := command(t, tc.env, "", tc.args...)
			if got.code != tc.code || !strings.Contains(got.stderr, tc.says) {
				t.Errorf("%v = %+v, want exit %d and %q", tc.args, got, tc.code, tc.says)
			}
		})
	}
}
