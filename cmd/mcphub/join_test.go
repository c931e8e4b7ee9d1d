package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/mcphub-go/mcphub/heartbeat"
	"github.com/mcphub-go/mcphub/internal/config"
)

// fakeNode answers POST /api/node/join, and says joined from the given order on.
type fakeNode struct {
	*httptest.Server
	mu     sync.Mutex // guards orders
	orders []string   // credential and body
}

func newFakeNode(t *testing.T, answer func(order int) (status int, body string)) *fakeNode {
	t.Helper()
	f := &fakeNode{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.URL.Path != "/api/node/join" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s, %v", r.Method, r.URL.Path, err)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.orders = append(f.orders, r.Header.Get("Authorization")+" "+string(body))
		status, text := answer(len(f.orders))
		if status == http.StatusTemporaryRedirect {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, text)
	}))
	t.Cleanup(f.Close)
	return f
}

func joinAnswer(state string) (int, string) {
	return http.StatusOK, fmt.Sprintf(`{"success":true,"data":{"nodeId":"n1","coordinatorUrl":"http://hub:3000","state":%q,"since":%d,"error":"no\troute"}}`,
		state, noon.UnixMilli()-65_000)
}

func TestJoinWaitsUntilTheNodeHasJoined(t *testing.T) {
	f := newFakeNode(t, func(order int) (int, string) {
		if order < 3 {
			return joinAnswer("joining")
		}
		return joinAnswer("joined")
	})
	got := command(t, nil, "", "join", "--url", f.URL+"/", "--coordinator", "http://blue:3000")
	want := "NODE  STATE   FOR  COORDINATOR\nn1    joined  1m   http://hub:3000\n"
	if got.code != exitOK || got.stdout != want || got.stderr != "" {
		t.Errorf("join = %+v, want\n%s", got, want)
	}
	if len(f.orders) != 3 || f.orders[0] != ` {"coordinatorUrl":"http://blue:3000"}` {
		t.Errorf("orders %q", f.orders)
	}
}

func TestJoinOutcomes(t *testing.T) {
	for name, tc := range map[string]struct {
		args           []string
		answer         func(int) (int, string)
		code           int
		stdout, stderr string
	}{
		"only told": {[]string{"--wait", "0"}, func(int) (int, string) { return joinAnswer("joining") }, exitOK, "n1    joining  1m", ""},
		"as JSON":   {[]string{"-o", "json"}, func(int) (int, string) { return joinAnswer("joined") }, exitOK, `"state": "joined"`, ""},
		"not in time": {[]string{"--wait", "1ms"}, func(int) (int, string) { return joinAnswer("joining") }, exitFailed, "n1    joining",
			"node n1 has not joined http://hub:3000 in 1ms: no route"},
		"wrong secret": {nil, func(int) (int, string) { return 401, `{"success":false,"message":"another one"}` }, exitFailed, "",
			"refuses: another one (cluster secret: --secret-file"},
		"from elsewhere": {nil, func(int) (int, string) { return 403, `{"success":false,"message":"own machine"}` }, exitFailed, "", "own machine"},
		"elsewhere":      {nil, func(int) (int, string) { return 409, `{"success":false,"message":"at http://red"}` }, exitFailed, "", "says: at http://red"},
		"a coordinator":  {nil, func(int) (int, string) { return 404, `{"success":false,"message":"Not Found"}` }, exitFailed, "", "is that a node?"},
		"a page":         {nil, func(int) (int, string) { return 200, `<html>` }, exitFailed, "", "does not answer like a node"},
		"no state":       {nil, func(int) (int, string) { return 200, `{"success":true,"data":{}}` }, exitFailed, "", "does not answer like a node"},
		"redirect":       {nil, func(int) (int, string) { return 307, "" }, exitFailed, "", "307 Temporary Redirect"},
		"negative wait":  {[]string{"--wait", "-1s"}, nil, exitUsage, "", "want 0 or more"},
		"argument":       {[]string{"n1"}, nil, exitUsage, "", "unknown command"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeNode(t, tc.answer)
			got := command(t, []string{"MCPHUB_CLUSTER_SECRET=s3cret"}, "", append([]string{"join", "--url", f.URL}, tc.args...)...)
			if got.code != tc.code || !strings.Contains(got.stdout, tc.stdout) || !strings.Contains(got.stderr, tc.stderr) || strings.Contains(got.stderr, "s3cret") {
				t.Errorf("%+v, want exit %d, %q and %q", got, tc.code, tc.stdout, tc.stderr)
			}
		})
	}
	for _, args := range [][]string{{"--url", "127.0.0.1:3001"}, {"--url", "http://user:pw@h"}, {"--secret-file", "/none"}} {
		if got := command(t, nil, "", append([]string{"join"}, args...)...); got.code != exitUsage || strings.Contains(got.stderr, "pw") {
			t.Errorf("%v = %+v, want exit %d", args, got, exitUsage)
		}
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	if got := command(t, nil, "", "join", "--url", gone.URL); got.code != exitUnreachable || !strings.Contains(got.stderr, "cannot reach a node at "+gone.URL) {
		t.Errorf("nobody there: %+v", got)
	}
}

func TestJoinFindsTheSecret(t *testing.T) {
	f := newFakeNode(t, func(int) (int, string) { return joinAnswer("joined") })
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("of-the-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	settings := writeSettings(t, `{"systemConfig": {"cluster": {"secret": "of-the-settings"}}}`)
	env := []string{"MCPHUB_CLUSTER_SECRET=of-the-environment"}
	for _, tc := range []struct {
		env, args []string
		want      string
	}{
		{nil, nil, ""},
		{nil, []string{"--config", settings}, "Bearer of-the-settings"},
		{env, []string{"--config", settings}, "Bearer of-the-environment"},
		{env, []string{"--secret-file", file}, "Bearer of-the-file"},
	} {
		got := command(t, tc.env, "", append([]string{"join", "--url", f.URL}, tc.args...)...)
		if last := f.orders[len(f.orders)-1]; got.code != exitOK || last != tc.want+" {}" {
			t.Errorf("%v %v: sent %q, want %q: %+v", tc.env, tc.args, last, tc.want, got)
		}
	}
	for _, content := range []string{"", " \n", "two words", "bad\x00byte", strings.Repeat("x", maxSecretFile+1)} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := command(t, nil, "", "join", "--url", f.URL, "--secret-file", file); got.code != exitUsage {
			t.Errorf("a secret file with %.20q: %+v, want exit %d", content, got, exitUsage)
		}
	}
}

func TestNodeThatWaitsJoinsWhenItIsTold(t *testing.T) {
	reg := newRegistry(t)
	file := nodeSettings(t, reg.URL, `, "id": "n1", "weight": 3, "registerOnStartup": false`)
	reg.secret = "a-secret-of-the-cluster"
	env := []string{"MCPHUB_CLUSTER_SECRET=" + reg.secret}
	r := start(t, env, "--config", file, "--port", "0")
	url := r.url(t)
	health := func() string {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/health", nil)
		if err != nil {
			t.Fatal(err)
		}
		_, body := fetch(t, req)
		return strings.TrimSpace(body)
	}
	r.until(t, "its server", func() bool { return strings.Contains(r.stderr.String(), "server ready") })
	if got := health(); got != `{"id":"n1","state":"waiting to join","status":"ok"}` {
		t.Errorf("health of a node that waits: %s", got)
	}
	if got := command(t, nil, "", "join", "--url", url); got.code != exitFailed || !strings.Contains(got.stderr, "cluster secret is missing") {
		t.Errorf("join without the secret = %+v", got)
	}
	if got := command(t, env, "", "join", "--url", url, "--coordinator", "http://user:pw@hub"); got.code != exitFailed || !strings.Contains(got.stderr, "must not hold a user name") {
		t.Errorf("join of a bad coordinator = %+v", got)
	}
	if reg.saw("register") {
		t.Fatal("registered before it was told")
	}
	for range 2 {
		got := command(t, env, "", "join", "--url", url, "-o", "json")
		var s heartbeat.JoinState
		if err := json.Unmarshal([]byte(got.stdout), &s); err != nil || got.code != exitOK || s.State != "joined" || s.CoordinatorURL != reg.URL {
			t.Fatalf("join = %+v", got)
		}
	}
	if rec := reg.record(); rec.ID != "n1" || rec.Weight != 3 || len(rec.Servers) != 1 {
		t.Errorf("registered as %+v, want n1 of weight 3 with its server", rec)
	}
	if got := command(t, env, "", "join", "--url", url, "--coordinator", "http://127.0.0.1:1"); got.code != exitFailed || !strings.Contains(got.stderr, "another coordinator, at "+reg.URL) {
		t.Errorf("join of another coordinator = %+v", got)
	}
	if code := r.stop(t); code != exitOK || !reg.saw("deregister") {
		t.Errorf("exit %d, deregistered %v", code, reg.saw("deregister"))
	}
}

func TestNodeThatIsNeverToldToJoinStopsWell(t *testing.T) {
	reg := newRegistry(t)
	r := start(t, nil, "--config", nodeSettings(t, reg.URL, `, "registerOnStartup": false`), "--port", "0")
	r.until(t, "waiting", func() bool { return strings.Contains(r.stderr.String(), "waiting to be told to join") })
	if code := r.stop(t); code != exitOK || reg.saw("register") || reg.saw("deregister") {
		t.Errorf("exit %d after the calls %v", code, reg.calls)
	}
}

// What a settings file may not say of a coordinator's address, an order to join may not either.
func TestJoinHoldsTheRulesOfTheSettings(t *testing.T) {
	reg := newRegistry(t)
	for _, raw := range []string{"hub:3000", "ftp://hub", "http://", "http://u:p@hub", "http://hub?x", "http://hub#x", "http://hub:0", "http://hub:99999"} {
		text := fmt.Sprintf(`{"systemConfig": {"cluster": {"enabled": true, "mode": "node", "node": {"coordinatorUrl": %q}}}}`, raw)
		if _, err := config.Load(writeSettings(t, text), environment(nil)); err == nil {
			t.Errorf("the settings take %q", raw)
		}
		cfg := heartbeat.AgentConfig{ID: "n1", Instance: "00112233445566778899aabbccddeeff", CoordinatorURL: reg.URL, Waiting: true}
		agent, err := heartbeat.NewAgent(cfg, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := agent.Join(raw); err == nil {
			t.Errorf("an order takes %q", raw)
		}
	}
}

func TestServersOfTheSettingsReachTheNodeWhole(t *testing.T) {
	s, err := config.Load(writeSettings(t, `{"mcpServers": {
		"a": {"command": "x", "isolation": "session", "maxProcesses": 5, "warm": 2, "idleTimeoutMs": 1000, "startTimeout": 2000, "callTimeout": 3000, "weight": 4, "roots": false},
		"b": {"url": "http://127.0.0.1:1/sse", "type": "sse", "headers": {"X-Key": "k"}},
		"c": {"command": "y"}}}`), environment(nil))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		"{Name:a Type:stdio Command:x Args:[] Env:map[] URL: Headers:map[] Builtin:<nil> Enabled:true Weight:4 Isolation:session MaxProcesses:5 Warm:2 IdleTimeout:1s NoRoots:true StartTimeout:2s CallTimeout:3s}",
		"{Name:b Type:sse Command: Args:[] Env:map[] URL:http://127.0.0.1:1/sse Headers:map[X-Key:k] Builtin:<nil> Enabled:true Weight:1 Isolation:shared MaxProcesses:0 Warm:0 IdleTimeout:0s NoRoots:false StartTimeout:30s CallTimeout:10m0s}",
		"{Name:c Type:stdio Command:y Args:[] Env:map[] URL: Headers:map[] Builtin:<nil> Enabled:true Weight:1 Isolation:shared MaxProcesses:0 Warm:0 IdleTimeout:0s NoRoots:false StartTimeout:30s CallTimeout:10m0s}",
	} {
		if got := fmt.Sprintf("%+v", serverConfigs(s.Servers)[i]); got != want {
			t.Errorf("server %d:\n%s, want\n%s", i, got, want)
		}
	}
}
