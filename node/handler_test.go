package node

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/heartbeat"
	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

var _ heartbeat.Source = (*Node)(nil)

func TestCallersAreCheckedFirst(t *testing.T) {
	r := startRig(t, nil, fake("alpha"))
	for _, tc := range []struct {
		name    string
		change  func(*http.Request)
		status  int
		refused string
	}{
		{"no credential", func(q *http.Request) { q.Header.Del("Authorization") }, 401, wire.RefusedCredential},
		{"wrong credential", func(q *http.Request) { q.Header.Set("Authorization", "Bearer x") }, 401, wire.RefusedCredential},
		{"another epoch", func(q *http.Request) { q.Header.Set(wire.HeaderEpoch, "2") }, 409, wire.RefusedEpoch},
		{"no epoch", func(q *http.Request) { q.Header.Del(wire.HeaderEpoch) }, 409, wire.RefusedEpoch},
		{"unknown server", func(q *http.Request) { q.URL.Path = "/mcp/beta" }, 404, wire.RefusedServer},
		{"unknown session", func(*http.Request) {}, 404, wire.RefusedSession},
		{"no session id", func(q *http.Request) { q.Header.Del(wire.HeaderSession) }, 400, ""},
		{"two session ids", func(q *http.Request) { q.Header.Add(wire.HeaderSession, "b") }, 400, ""},
		{"session id with a space", func(q *http.Request) { q.Header.Set(wire.HeaderSession, "a b") }, 400, ""},
		{"long session id", func(q *http.Request) { q.Header.Set(wire.HeaderSession, strings.Repeat("a", 257)) }, 400, ""},
	} {
		for _, method := range []string{http.MethodPost, http.MethodDelete} {
			q := r.request(context.Background(), method, "alpha", "s1", tool("1", "echo", "x"))
			tc.change(q)
			a := do(t, q)
			if a.status != tc.status || a.header.Get(wire.HeaderRefused) != tc.refused {
				t.Errorf("%s %s: %d refused %q, want %d %q", method, tc.name, a.status, a.header.Get(wire.HeaderRefused), tc.status, tc.refused)
			}
			var m struct{ Message string }
			if json.Unmarshal([]byte(a.body), &m) != nil || m.Message == "" {
				t.Errorf("%s %s: body %q has no message", method, tc.name, a.body)
			}
		}
	}
	r.lease.stale.Store(true)
	if a := r.post("alpha", "s1", initBody("2025-11-25")); a.status != 503 || a.header.Get(wire.HeaderRefused) != wire.RefusedLease {
		t.Errorf("with a lapsed lease: %d refused %q, want 503 lease", a.status, a.header.Get(wire.HeaderRefused))
	}
}

func TestLeaseIsAskedAgainBeforeTheWrite(t *testing.T) {
	log := t.TempDir() + "/log"
	r := startRig(t, nil, fake("alpha", "FAKE_LOG="+log))
	r.open("alpha", "s1")
	before := len(lines(t, log))
	r.lease.lapseIn.Store(2) // fresh for the check of the caller, not for the write
	a := r.post("alpha", "s1", tool("1", "echo", "x"))
	if a.status != 503 || a.header.Get(wire.HeaderRefused) != wire.RefusedLease {
		t.Errorf("answered %d %s, want 503 refused lease", a.status, a.body)
	}
	r.lease.stale.Store(false)
	if got := textOf(t, r.post("alpha", "s1", tool("1", "echo", "y")).body); got != "y" {
		t.Errorf("echo = %q", got)
	}
	if got := len(lines(t, log)) - before; got != 1 {
		t.Errorf("the server has seen %d messages, want only the one under a fresh lease", got)
	}
}

func TestBadMessagesGetA4xxAndTheServerNeverSeesThem(t *testing.T) {
	log := t.TempDir() + "/log"
	r := startRig(t, nil, fake("alpha", "FAKE_LOG="+log))
	r.open("alpha", "s1")
	before := len(lines(t, log))
	deep := `{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}}`
	for _, tc := range []struct {
		name, body string
		status     int
		code       int
	}{
		{"not JSON", `{"jsonrpc":`, 400, wire.CodeParse},
		{"empty", ``, 400, wire.CodeParse},
		{"trailing data", tool("1", "echo", "x") + `{}`, 400, wire.CodeParse},
		{"batch", `[` + tool("1", "echo", "x") + `]`, 400, wire.CodeInvalidRequest},
		{"duplicate id", `{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}`, 400, wire.CodeInvalidRequest},
		{"case variant", `{"jsonrpc":"2.0","id":1,"Method":"x","method":"ping"}`, 400, wire.CodeInvalidRequest},
		{"bad UTF-8", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\xff\"}", 400, wire.CodeParse},
		{"null id", `{"jsonrpc":"2.0","id":null,"method":"ping"}`, 400, wire.CodeInvalidRequest},
		{"a response", `{"jsonrpc":"2.0","id":1,"result":{}}`, 400, wire.CodeInvalidRequest},
		{"too deep", deep, 400, wire.CodeInvalidRequest},
		{"too large", tool("1", "echo", strings.Repeat("x", 4<<20)), 413, wire.CodeInvalidRequest},
		{"initialize without a version", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}`, 400, wire.CodeInvalidParams},
	} {
		a := r.post("alpha", "s1", tc.body)
		if a.status != tc.status || errorCode(t, a.body) != tc.code {
			t.Errorf("%s: %d %s, want %d with error %d", tc.name, a.status, a.body, tc.status, tc.code)
		}
		if a.header.Get(wire.HeaderRefused) != "" {
			t.Errorf("%s: refused %q, want an answer to be relayed", tc.name, a.header.Get(wire.HeaderRefused))
		}
	}
	if a := r.post("alpha", "s1", tool("1", "echo", "x")); textOf(t, a.body) != "x" {
		t.Errorf("afterwards: %s", a.body)
	}
	if got := len(lines(t, log)) - before; got != 1 {
		t.Errorf("the server has seen %d messages, want 1", got)
	}
}

func TestBodyWithoutALengthIsBounded(t *testing.T) {
	r := startRig(t, func(c *Config) { c.MaxBody = 1000 }, fake("alpha"))
	r.open("alpha", "s1")
	for n, want := range map[int]int{500: 200, 2000: 413} {
		q := r.request(context.Background(), http.MethodPost, "alpha", "s1", tool("1", "echo", strings.Repeat("x", n)))
		q.ContentLength = -1
		if a := do(t, q); a.status != want {
			t.Errorf("chunked body of %d: %d, want %d", n, a.status, want)
		}
	}
}

func TestInitializeIsTheServersOwnAnswer(t *testing.T) {
	r := startRig(t, nil, fake("alpha"))
	result := func(version string) string {
		return `{"protocolVersion" : "` + version + `","capabilities":{"tools":{"listChanged":true},"logging":{},"resources":{"subscribe":true}},"serverInfo":{"name":"fake","version":"1.0"},"odd":[1.0,2e3]}`
	}
	for asked, want := range map[string]string{
		"2024-11-05": "2024-11-05", "2025-06-18": "2025-06-18", "2025-11-25": "2025-11-25",
		"2026-07-28": "2025-11-25", "1999-01-01": "2025-11-25",
	} {
		a := r.post("alpha", "s-"+asked, initBody(asked))
		if want := `{"jsonrpc":"2.0","id":"init","result":` + result(want) + `}`; a.status != 200 || a.body != want {
			t.Errorf("initialize for %s:\n%s\nwant\n%s", asked, a.body, want)
		}
	}
	if got := r.open("alpha", "s-again").header.Get(wire.HeaderSessions); got != "6" {
		t.Errorf("sessions after the sixth initialize = %q, want 6", got)
	}
	if got := r.open("alpha", "s-again").header.Get(wire.HeaderSessions); got != "6" {
		t.Errorf("sessions after initialize of a known session = %q, want 6", got)
	}
	if s := r.server("alpha"); s.Sessions != 6 {
		t.Errorf("described with %d sessions, want 6", s.Sessions)
	}
}

func TestDeleteEndsASession(t *testing.T) {
	r := startRig(t, nil, fake("alpha"))
	r.open("alpha", "s1")
	del := func() *answer {
		return do(t, r.request(context.Background(), http.MethodDelete, "alpha", "s1", ""))
	}
	if a := del(); a.status != 204 {
		t.Errorf("DELETE: %d %s, want 204", a.status, a.body)
	}
	if a := del(); a.status != 404 || a.header.Get(wire.HeaderRefused) != wire.RefusedSession {
		t.Errorf("DELETE again: %d, want 404 refused session", a.status)
	}
	if a := r.post("alpha", "s1", tool("1", "echo", "x")); a.status != 404 {
		t.Errorf("a call after DELETE: %d, want 404", a.status)
	}
}

func TestIdleSessionsAreForgotten(t *testing.T) {
	r := startRig(t, func(c *Config) { c.SessionTimeout = 300 * time.Millisecond }, fake("alpha"))
	r.open("alpha", "idle")
	r.open("alpha", "busy")
	hanging := r.async("alpha", "busy", tool("1", "hang", ""))
	eventually(t, "idle session gone", func() bool { return r.server("alpha").Sessions == 1 })
	if a := r.post("alpha", "idle", tool("1", "echo", "x")); a.status != 404 {
		t.Errorf("the idle session: %d, want 404", a.status)
	}
	if a := r.post("alpha", "busy", tool("2", "echo", "x")); a.status != 200 {
		t.Errorf("the session with a call in flight: %d %s, want 200", a.status, a.body)
	}
	if n := r.node.Stats().ExpiredSessions; n != 1 {
		t.Errorf("ExpiredSessions = %d, want 1", n)
	}
	r.post("alpha", "busy", tool("3", "die", ""))
	within(t, 5*time.Second, hanging)
}

// The settings of a node that say less than the coordinators' must not end sessions early.
func TestTheFleetsSessionTimeoutHolds(t *testing.T) {
	r := startRig(t, func(c *Config) { c.SessionTimeout = 50 * time.Millisecond }, fake("alpha"))
	if got := r.node.idle(); got != 55*time.Millisecond {
		t.Errorf("before a grant: idle() = %v, want 55ms", got)
	}
	r.lease.idle.Store(int64(time.Hour))
	if got := r.node.idle(); got != 66*time.Minute {
		t.Errorf("after a grant of 1h: idle() = %v, want 66m", got)
	}
}

func TestBoundsAreRefusedWithoutMovingTheSession(t *testing.T) {
	r := startRig(t, func(c *Config) { c.MaxSessionCalls = 2; c.MaxSessions = 2 }, fake("alpha"))
	r.open("alpha", "s1")
	r.open("alpha", "s2")
	if a := r.post("alpha", "s3", initBody("2025-11-25")); a.status != 503 || a.header.Get(wire.HeaderRefused) != wire.RefusedDraining {
		t.Errorf("a session too many: %d refused %q, want 503 draining", a.status, a.header.Get(wire.HeaderRefused))
	}
	var hanging []<-chan *answer
	for i := range 2 {
		hanging = append(hanging, r.async("alpha", "s1", tool(fmt.Sprint(i), "hang", "")))
	}
	eventually(t, "2 in flight", func() bool { return r.server("alpha").InFlight == 2 })
	a := r.post("alpha", "s1", tool("9", "echo", "x"))
	if a.status != 503 || errorCode(t, a.body) != wire.CodeNotExecuted || a.header.Get(wire.HeaderRefused) != "" || a.header.Get("Retry-After") == "" {
		t.Errorf("a call too many: %d %s, want 503 with error 1002, Retry-After and no refusal", a.status, a.body)
	}
	if a := r.post("alpha", "s1", tool("1", "echo", "x")); a.status != 400 && a.status != 503 {
		t.Errorf("an id in flight: %d %s", a.status, a.body)
	}
	if a := r.post("alpha", "s2", tool("9", "echo", "x")); a.status != 200 {
		t.Errorf("another session: %d %s, want 200", a.status, a.body)
	}
	r.post("alpha", "s2", tool("10", "die", ""))
	for _, h := range hanging {
		within(t, 5*time.Second, h)
	}
}

func TestIDInFlightIsRefused(t *testing.T) {
	r := startRig(t, nil, fake("alpha"))
	r.open("alpha", "s1")
	hanging := r.async("alpha", "s1", tool(`"a"`, "hang", ""))
	eventually(t, "in flight", func() bool { return r.server("alpha").InFlight == 1 })
	a := r.post("alpha", "s1", tool(`"a"`, "echo", "x"))
	if a.status != 400 || errorCode(t, a.body) != wire.CodeInvalidRequest {
		t.Errorf("an id in flight: %d %s, want 400 with -32600", a.status, a.body)
	}
	r.post("alpha", "s1", tool("2", "die", ""))
	within(t, 5*time.Second, hanging)
}

func TestChallengeProvesTheAddress(t *testing.T) {
	const nonce = "00112233445566778899aabbccddeeff"
	for _, secret := range []string{"", "s3cret"} {
		r := startRig(t, func(c *Config) { c.Secret = secret })
		ask := func(body string) *answer {
			q, err := http.NewRequest(http.MethodPost, r.web.URL+"/api/node/challenge", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			return do(t, q)
		}
		a := ask(`{"nonce":"` + nonce + `","id":"n1"}`)
		var got struct {
			ID       store.NodeID
			Instance store.Instance
			MAC      string
		}
		if err := json.Unmarshal([]byte(a.body), &got); err != nil {
			t.Fatal(err)
		}
		want := heartbeat.ChallengeMAC(secret, nonce, "n1", "00112233445566778899aabbccddeeff")
		if got.ID != "n1" || got.MAC != want {
			t.Errorf("with secret %q: answered %s, want mac %s", secret, a.body, want)
		}
		// Without a secret the instance is the key, and anyone may ask.
		if named := got.Instance != ""; named != (secret != "") {
			t.Errorf("with secret %q: answered %s, want the instance %v", secret, a.body, secret != "")
		}
		for body, status := range map[string]int{
			`{"nonce":"` + nonce + `","id":"n2"}`:         404,
			`{"nonce":"short","id":"n1"}`:                 400,
			`{"nonce":"` + strings.Repeat("z", 32) + `"}`: 400,
			`nonsense`: 400,
			`{"nonce":"` + strings.Repeat("0", maxChallenge) + `"}`: 400,
		} {
			if a := ask(body); a.status != status || strings.Contains(a.body, "mac") {
				t.Errorf("challenge %.60s: %d %s, want %d", body, a.status, a.body, status)
			}
		}
		r.close()
	}
}

func TestHealthNamesTheNode(t *testing.T) {
	r := startRig(t, nil)
	q, err := http.NewRequest(http.MethodGet, r.web.URL+"/health", nil)
	if err != nil {
		t.Fatal(err)
	}
	if a := do(t, q); a.status != 200 || strings.TrimSpace(a.body) != `{"id":"n1","status":"ok"}` {
		t.Errorf("health: %d %s", a.status, a.body)
	}
	q.URL.Path = "/nothing"
	if a := do(t, q); a.status != 404 || !strings.Contains(a.body, `"success":false`) {
		t.Errorf("unknown path: %d %s", a.status, a.body)
	}
}

func TestConfigIsValidated(t *testing.T) {
	good := Config{ID: "n1", Instance: "i", Servers: []ServerConfig{fake("a"), {Name: "b", URL: "https://x/mcp"}, {Name: "o", URL: "http://x/", Type: TransportSSE}}}
	if err := good.Validate(); err != nil {
		t.Errorf("Validate() = %v, want nil", err)
	}
	for want, sc := range map[string]ServerConfig{
		"not a valid name":       {Name: "a b", Command: "x"},
		"exactly one":            {Name: "c"},
		"does not fit a server":  {Name: "c", Command: "x", Type: TransportSSE},
		"does not fit":           {Name: "c", Command: "x", Type: TransportHTTP},
		"must be http:// or":     {Name: "c", URL: "ftp://x/"},
		"the name is used twice": {Name: "a", Command: "x"},
	} {
		bad := good
		bad.Servers = append([]ServerConfig{sc}, good.Servers...)
		if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate() with %+v = %v, want %q", sc, err, want)
		}
	}
	if err := (Config{}).Validate(); err == nil || !strings.Contains(err.Error(), "node id") || !strings.Contains(err.Error(), "instance") {
		t.Errorf("Validate() of nothing = %v, want both problems", err)
	}
}
