package node

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/mcphub-go/mcphub/heartbeat"
)

// fakeMember is an agent reduced to what it is told.
type fakeMember struct {
	mu    sync.Mutex // guards the rest
	state heartbeat.JoinState
	told  []string
	err   error
}

func (f *fakeMember) Join(url string) (heartbeat.JoinState, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, url)
	if f.err == nil {
		f.state.State = heartbeat.JoinJoining
	}
	return f.state, f.err
}

func (f *fakeMember) JoinState() heartbeat.JoinState {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}

// joinRequest is one as curl on the node's own machine makes it.
func joinRequest(method, body string, header ...string) *http.Request {
	r := httptest.NewRequest(method, "/api/node/join", strings.NewReader(body))
	r.RemoteAddr, r.Host = "127.0.0.1:5000", "127.0.0.1:3001"
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		switch header[i] {
		case "Host":
			r.Host = header[i+1]
		case "From":
			r.RemoteAddr = header[i+1]
		default:
			r.Header.Set(header[i], header[i+1])
		}
	}
	return r
}

func joining(secret string) (*Node, *fakeMember) {
	m := &fakeMember{state: heartbeat.JoinState{NodeID: "n1", CoordinatorURL: "http://hub:3000", State: heartbeat.JoinWaiting, Since: 7}}
	return New(Config{ID: "n1", Instance: "i", Secret: secret, Member: m, Host: "node.example:3001"}, &fakeLease{}, discard()), m
}

func ask(n *Node, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	n.Handler().ServeHTTP(w, r)
	return w
}

func TestJoinTellsTheMember(t *testing.T) {
	for body, want := range map[string]string{
		"": "", "{}": "", " {} \n": "", `{"coordinatorUrl":null}`: "", `{"coordinatorUrl":"http://blue:3000"}`: "http://blue:3000",
	} {
		n, m := joining("")
		w := ask(n, joinRequest("POST", body))
		if w.Code != 200 || strings.TrimSpace(w.Body.String()) != `{"data":{"nodeId":"n1","coordinatorUrl":"http://hub:3000","state":"joining","since":7},"success":true}` {
			t.Errorf("%q: %d %s", body, w.Code, w.Body)
		}
		if len(m.told) != 1 || m.told[0] != want {
			t.Errorf("%q: told %q, want %q", body, m.told, want)
		}
	}
}

func TestJoinRefusals(t *testing.T) {
	const secret = "the secret of the cluster"
	bearer := "Bearer " + secret
	for name, tc := range map[string]struct {
		secret string
		req    *http.Request
		err    error
		status int
		says   string
	}{
		"GET":               {"", joinRequest("GET", ""), nil, 405, "POST /api/node/join"},
		"PUT":               {secret, joinRequest("PUT", "{}"), nil, 405, "POST /api/node/join"},
		"no secret given":   {secret, joinRequest("POST", "{}"), nil, 401, "MCPHUB_CLUSTER_SECRET"},
		"another secret":    {secret, joinRequest("POST", "{}", "Authorization", bearer+"x"), nil, 401, "another one"},
		"part of it":        {secret, joinRequest("POST", "{}", "Authorization", bearer[:20]), nil, 401, "another one"},
		"Basic":             {secret, joinRequest("POST", "{}", "Authorization", "Basic "+secret), nil, 401, "Bearer"},
		"from elsewhere":    {"", joinRequest("POST", "{}", "From", "10.0.0.9:5000"), nil, 403, "set cluster.secret"},
		"by another name":   {"", joinRequest("POST", "{}", "Host", "evil.test:3001"), nil, 403, "node.url"},
		"by a page":         {"", joinRequest("POST", "{}", "Origin", "http://localhost:3001"), nil, 403, "no web page"},
		"by a page's image": {"", joinRequest("POST", "", "Sec-Fetch-Site", "cross-site"), nil, 403, "set cluster.secret"},
		"by a proxy":        {"", joinRequest("POST", "{}", "X-Forwarded-For", "127.0.0.1"), nil, 403, "set cluster.secret"},
		"a form":            {"", joinRequest("POST", "{}", "Content-Type", "text/plain"), nil, 415, "application/json"},
		"no JSON":           {"", joinRequest("POST", "{"), nil, 400, "the body is {}"},
		"a list":            {"", joinRequest("POST", "[]"), nil, 400, "the body is {}"},
		"null":              {"", joinRequest("POST", "null"), nil, 400, "the body is {}"},
		"two bodies":        {"", joinRequest("POST", "{}{}"), nil, 400, "the body is {}"},
		"a brace too many":  {"", joinRequest("POST", "{}}"), nil, 400, "the body is {}"},
		"other keys":        {"", joinRequest("POST", `{"coordinator":"http://x"}`), nil, 400, "the body is {}"},
		"a number":          {"", joinRequest("POST", `{"coordinatorUrl":7}`), nil, 400, "the body is {}"},
		"empty URL":         {"", joinRequest("POST", `{"coordinatorUrl":""}`), nil, 400, "leave it out"},
		"too large":         {"", joinRequest("POST", "{"+strings.Repeat(" ", maxJoin)+"}"), nil, 413, "too large"},
		"bad URL":           {"", joinRequest("POST", "{}"), fmt.Errorf("%w: must be so", heartbeat.ErrCoordinatorURL), 400, "must be so"},
		"elsewhere":         {"", joinRequest("POST", "{}"), fmt.Errorf("%w, at http://hub", heartbeat.ErrJoinedElsewhere), 409, "at http://hub"},
		"unforeseen":        {"", joinRequest("POST", "{}"), errors.New("hidden"), 500, "internal error"},
	} {
		t.Run(name, func(t *testing.T) {
			n, m := joining(tc.secret)
			m.err = tc.err
			w := ask(n, tc.req)
			if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.says) || !strings.Contains(w.Body.String(), `"success":false`) {
				t.Errorf("%d %s, want %d and %q", w.Code, w.Body, tc.status, tc.says)
			}
			if tc.err == nil && len(m.told) > 0 {
				t.Errorf("the member was told %q", m.told)
			}
			if strings.Contains(w.Body.String(), secret) {
				t.Error("the answer holds the secret")
			}
			if got := w.Header().Get("WWW-Authenticate"); (got != "") != (tc.status == 401) {
				t.Errorf("WWW-Authenticate: %q with %d", got, tc.status)
			}
			if got := w.Header().Get("Allow"); (got == "POST") != (tc.status == 405) {
				t.Errorf("Allow: %q with %d", got, tc.status)
			}
		})
	}
}

func TestJoinWithTheSecretMayComeFromAnywhere(t *testing.T) {
	n, m := joining("s3cret")
	w := ask(n, joinRequest("POST", "{}", "From", "203.0.113.9:1", "Host", "node.example", "Authorization", "bearer s3cret", "X-Forwarded-For", "1.2.3.4"))
	if w.Code != 200 || len(m.told) != 1 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestJoinOfANodeThatStopsOrBelongsToAProcess(t *testing.T) {
	n, m := joining("")
	n.Drain()
	if w := ask(n, joinRequest("POST", "{}")); w.Code != 503 || len(m.told) > 0 {
		t.Errorf("while stopping: %d %s", w.Code, w.Body)
	}
	alone := New(Config{ID: "n1", Instance: "i"}, &fakeLease{}, discard())
	if w := ask(alone, joinRequest("POST", "{}")); w.Code != 404 {
		t.Errorf("without a member: %d %s", w.Code, w.Body)
	}
}

func TestHealthSaysWhetherTheNodeHasJoined(t *testing.T) {
	n, _ := joining("s")
	health := func() string {
		return strings.TrimSpace(ask(n, httptest.NewRequest("GET", "http://node-1/health", nil)).Body.String())
	}
	if got := health(); got != `{"id":"n1","state":"waiting to join","status":"ok"}` {
		t.Errorf("health of a node that waits: %s", got)
	}
	ask(n, joinRequest("POST", "{}", "Authorization", "Bearer s"))
	if got := health(); got != `{"id":"n1","state":"joining","status":"ok"}` {
		t.Errorf("health of a node that was told: %s", got)
	}
}
