package node

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mcphub-go/mcphub/internal/wire"
)

const (
	rootsChange = `{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`
	rootsAsked  = `{"jsonrpc":"2.0","id":5,"method":"roots/list"}`
)

// rootless is a server that gets no roots.
func rootless(sc ServerConfig) ServerConfig {
	sc.NoRoots = true
	return sc
}

// The first client of a shared server must not choose the directories of all that come later: it is
// asked for its roots as a part of its calls only.
func TestSharedServersAskForRootsInCallsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, nil)
		a := p.user("a", everything)
		p.says(rootsAsked)
		want(t, "the only session so far", a.heard())
		want(t, "the server", p.got(), `{"jsonrpc":"2.0","id":5,"error":{"code":-32603,"message":"clients are asked for the roots of a server that they share only as a part of their calls; run it with isolation: session"}}`)
		_, rd := a.call("1", "")
		p.got()
		p.says(rootsAsked)
		want(t, "the server", p.got())
		want(t, "the call", heard(a.session, rd), `{"jsonrpc":"2.0","id":"`)
	})
}

func TestRootsAreKeptFromServersThatGetNone(t *testing.T) {
	for name, alone := range map[string]bool{"shared": false, "isolated": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t, func(l *link) { l.alone, l.rootless = alone, true })
				a := p.user("a", everything)
				_, rd := a.call("1", "")
				p.got()
				p.says(rootsAsked)
				want(t, "the server", p.got(), `{"jsonrpc":"2.0","id":5,"error":{"code":-32601,"message":"the hub's settings keep clients' roots from this server (roots: false)"}}`)
				want(t, "the client", append(a.heard(), heard(a.session, rd)...))
				p.says(elicitation, "6")
				want(t, "the call", heard(a.session, rd), `{"jsonrpc":"2.0", "id" : "`)
				if p.link.speaksFor(a.session, scan(t, rootsChange)) {
					t.Error("the client may tell the server that its roots have changed")
				}
			})
		})
	}
}

// A spare hears that there are roots now when it is given to a client that has some, but not where
// the server gets none.
func TestSparesWithoutRootsHearOfNone(t *testing.T) {
	for name, none := range map[string]bool{"with roots": false, "without": true} {
		t.Run(name, func(t *testing.T) {
			log := t.TempDir() + "/log"
			sc := isolatedFake("iso", 3, 1, "FAKE_LOG="+log)
			sc.NoRoots = none
			r := startRig(t, nil, sc)
			eventually(t, "a spare", func() bool { return r.server("iso").Spares == 1 })
			r.openAs("iso", "s1", `{"roots":{"listChanged":true}}`)
			r.post("iso", "s1", rootsChange)
			r.post("iso", "s1", tool("1", "echo", "x")) // after all that came before
			n := strings.Count(strings.Join(lines(t, log), ""), "notifications/roots/list_changed")
			if none && n != 0 || !none && n != 2 {
				t.Errorf("the server heard %d times that roots have changed", n)
			}
		})
	}
}

func TestCapabilitiesWithoutRoots(t *testing.T) {
	for caps, want := range map[string]string{
		`{}`:                               `{}`,
		`{"roots":{}}`:                     `{}`,
		`{ "roots" : null , "x" : [1.0] }`: `{"x":[1.0]}`,
		`{"a":{"roots":{}},"roots":{"listChanged":true},"é":"\u00e9"}`: `{"a":{"roots":{}},"é":"\u00e9"}`,
		`{"\u0072oots":{}}`: `{}`,
	} {
		got := string(withoutRoots([]byte(caps)))
		if got != want {
			t.Errorf("withoutRoots(%s) = %s, want %s", caps, got, want)
		}
		if _, err := wire.Scan([]byte(`{"jsonrpc":"2.0","method":"x","params":`+got+`}`), wire.ClientLimits); err != nil {
			t.Errorf("%s: %v", got, err)
		}
	}
	if rootless := string(withoutRoots([]byte(anyCapabilities))); rootless != rootlessCapabilities {
		t.Errorf("rootlessCapabilities differs from %s", rootless)
	}
}
