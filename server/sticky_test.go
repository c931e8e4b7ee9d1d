package server

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/store"
)

// answerFrom is a carrier that places every request on node-1.
func answerFrom(_ context.Context, w http.ResponseWriter, req router.Request) error {
	if req.Placed != nil {
		req.Placed(w.Header(), "node-1")
	}
	_, err := w.Write([]byte("{}"))
	return err
}

func sticky(t *testing.T, s router.Strategy) *rig {
	t.Helper()
	cfg := global
	cfg.Strategy = s
	r := newServer(t, cfg, nil)
	r.carrier.carry = answerFrom
	return r.run(t)
}

func TestCookieNamesTheNode(t *testing.T) {
	r := sticky(t, router.StrategyCookie)
	const set = "MCPHUB_NODE=node-1; Path=/; HttpOnly; SameSite=Lax"
	for _, tt := range []struct {
		cookies, prefer, set string
		headers              []string
	}{
		{cookies: "", set: set},
		{cookies: "MCPHUB_NODE=node-1", prefer: "node-1"},
		{cookies: "a=b; MCPHUB_NODE=node-1; c=d", prefer: "node-1"},
		{cookies: "MCPHUB_NODE=node-2", prefer: "node-2", set: set},
		{cookies: "MCPHUB_NODE=10.0.0.5:80", set: set},
		{cookies: "MCPHUB_NODE=../../etc", set: set},
		{cookies: "MCPHUB_NODE=" + strings.Repeat("x", 64), set: set},
		{cookies: "MCPHUB_NODE=node-1; MCPHUB_NODE=node-2", set: set},
		{cookies: "MCPHUB_NODE=", set: set},
		{cookies: "mcphub_node=node-1", set: set},
		{set: set + "; Secure", headers: []string{"X-Forwarded-Proto", "https"}},
		{set: set + "; Secure", headers: []string{"X-Forwarded-Proto", "HTTPS, http"}},
		{set: set + "; Secure", headers: []string{"Forwarded", `for=1.2.3.4;proto="https", proto=http`}},
		{set: set, headers: []string{"X-Forwarded-Proto", "http", "Forwarded", "proto=https"}},
		{set: set, headers: []string{"X-MCPHub-Node", "node-2"}},
	} {
		if tt.cookies != "" {
			tt.headers = append(tt.headers, "Cookie", tt.cookies)
		}
		p := r.do(t, "POST", "/mcp/everything", ping, tt.headers...)
		got := strings.Replace(p.header.Get("Set-Cookie"), "; Secure", "", 1)
		want := strings.Replace(tt.set, "; Secure", "", 1)
		if p.status != 200 || got != want || strings.Contains(p.header.Get("Set-Cookie"), "Secure") != strings.Contains(tt.set, "Secure") || r.carrier.last().Prefer != store.NodeID(tt.prefer) {
			t.Errorf("with %q: %d, Set-Cookie %q, preferring %q; want %q and %q", tt.headers, p.status, p.header.Get("Set-Cookie"), r.carrier.last().Prefer, tt.set, tt.prefer)
		}
		if p.header.Get("X-Mcphub-Node") != "" {
			t.Error("the header is set as well")
		}
	}
}

func TestHeaderNamesTheNode(t *testing.T) {
	r := sticky(t, router.StrategyHeader)
	for value, prefer := range map[string]string{"": "", "node-1": "node-1", "node-2": "node-2", "a b": "", "http://10.0.0.5": "", strings.Repeat("x", 64): ""} {
		var headers []string
		if value != "" {
			headers = []string{"x-mcphub-node", value}
		}
		p := r.do(t, "POST", "/mcp/everything", ping, headers...)
		if p.status != 200 || p.header.Get("X-MCPHub-Node") != "node-1" || r.carrier.last().Prefer != store.NodeID(prefer) {
			t.Errorf("with %q: %d, %q, preferring %q; want node-1 and %q", value, p.status, p.header.Get("X-MCPHub-Node"), r.carrier.last().Prefer, prefer)
		}
		if p.header.Get("Set-Cookie") != "" {
			t.Error("a cookie is set as well")
		}
	}
	if p := r.raw(t, post("/mcp/everything", ping, "X-Mcphub-Node: node-1", "X-Mcphub-Node: node-2")); p.status != 200 || r.carrier.last().Prefer != "" {
		t.Errorf("two values = %d, preferring %q, want none", p.status, r.carrier.last().Prefer)
	}
	p := r.do(t, "POST", "/mcp/everything", ping, "Origin", "http://localhost:6274")
	if !strings.Contains(p.header.Get("Access-Control-Expose-Headers"), "X-MCPHub-Node") {
		t.Errorf("pages may read %q", p.header.Get("Access-Control-Expose-Headers"))
	}
	p = r.do(t, "OPTIONS", "/mcp/everything", "", "Origin", "http://localhost:6274", "Access-Control-Request-Method", "POST")
	if !strings.Contains(p.header.Get("Access-Control-Allow-Headers"), "X-MCPHub-Node") {
		t.Errorf("pages may send %q", p.header.Get("Access-Control-Allow-Headers"))
	}
}

func TestHashReadsAndSetsNothing(t *testing.T) {
	for _, s := range []router.Strategy{"", router.StrategyHash} {
		r := sticky(t, s)
		p := r.do(t, "POST", "/mcp/everything", ping, "Cookie", "MCPHUB_NODE=node-1", "X-MCPHub-Node", "node-1", "Origin", "http://localhost:6274")
		if p.status != 200 || r.carrier.last().Prefer != "" || p.header.Get("Set-Cookie") != "" || p.header.Get("X-MCPHub-Node") != "" ||
			strings.Contains(p.header.Get("Access-Control-Expose-Headers"), "Node") {
			t.Errorf("strategy %q: %d %v, preferring %q", s, p.status, p.header, r.carrier.last().Prefer)
		}
	}
}

func TestStickySettingsAreJudged(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{Strategy: "ip-hash"}, "none of consistent-hash, cookie and header"},
		{Config{Strategy: router.StrategyCookie, CookieName: "a b"}, "name of a cookie"},
		{Config{Strategy: router.StrategyCookie, CookieName: "a;b"}, "name of a cookie"},
		{Config{Strategy: router.StrategyHeader, HeaderName: "a:b"}, "name of a header"},
		{Config{Strategy: router.StrategyHeader, HeaderName: "authorization"}, "has a meaning"},
		{Config{Strategy: router.StrategyHeader, HeaderName: "Mcp-Session-Id"}, "has a meaning"},
		{Config{Strategy: router.StrategyHeader, HeaderName: "x-mcphub-epoch"}, "has a meaning"},
		{Config{Strategy: router.StrategyHeader, HeaderName: "Content-Length"}, "has a meaning"},
		{Config{Strategy: router.StrategyHeader}, ""},
		{Config{Strategy: router.StrategyHeader, HeaderName: "X-MCPHub-Node"}, ""},
		{Config{Strategy: router.StrategyCookie, CookieName: "MCPHUB_NODE"}, ""},
		{Config{CookieName: "a b"}, ""}, // not looked at
	} {
		err := c.cfg.Validate()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("Validate(%s, %q, %q) = %v, want %q", c.cfg.Strategy, c.cfg.CookieName, c.cfg.HeaderName, err, c.want)
		}
	}
}
