package heartbeat

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// waitingAgent is an agent that registers when it is told to.
func waitingAgent(t *testing.T, f http.RoundTripper, j *journal) *Agent {
	t.Helper()
	a, err := NewAgent(AgentConfig{
		ID: "node-1", Instance: instanceA, Version: "test", CoordinatorURL: "http://hub.test:3000/", URL: "http://10.0.0.1:3001",
		Port: 3001, Interval: 5 * time.Second, Waiting: true, Transport: f,
	}, newSource(ready("echo")), j.log())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// hosts remembers which hosts were called.
type hosts struct {
	front
	seen map[string]int
}

func (h *hosts) RoundTrip(req *http.Request) (*http.Response, error) {
	h.mu.Lock()
	h.seen[req.URL.Host+strings.TrimSuffix(req.URL.Path, "/api/cluster/register")]++
	h.mu.Unlock()
	return h.front.RoundTrip(req)
}

func TestWaitingAgentRegistersWhenItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := newMemStore(), &journal{}
		f := &front{reg: testRegistrar(m, nil, j)}
		a := waitingAgent(t, f, j)
		stop := start(t, a)
		time.Sleep(time.Hour)
		synctest.Wait()
		began := time.Now().Add(-time.Hour).UnixMilli()
		if s := a.JoinState(); s != (JoinState{NodeID: "node-1", CoordinatorURL: "http://hub.test:3000", State: JoinWaiting, Since: began}) {
			t.Errorf("JoinState() = %+v", s)
		}
		if len(f.calls) != 0 || a.Lease().Fresh() || !j.has("waiting to be told to join") {
			t.Errorf("an agent that waits made the calls %v", f.calls)
		}
		s, err := a.Join("")
		if err != nil || s.State != JoinJoining || s.Since != time.Now().UnixMilli() {
			t.Errorf("Join() = %+v, %v", s, err)
		}
		synctest.Wait()
		if s := a.JoinState(); s.State != JoinJoined || !a.Lease().Fresh() {
			t.Errorf("%+v after it was told", s)
		}
		time.Sleep(time.Minute)
		joined := a.JoinState()
		if again, err := a.Join("http://hub.test:3000"); err != nil || again != joined || again.Since != began+time.Hour.Milliseconds() {
			t.Errorf("Join() again = %+v, %v, want %+v", again, err, joined)
		}
		if s, err := a.Join("http://other.test:3000"); !errors.Is(err, ErrJoinedElsewhere) || !strings.Contains(err.Error(), "http://hub.test:3000") || s != joined {
			t.Errorf("Join(another) = %+v, %v, want ErrJoinedElsewhere", s, err)
		}
		if n := f.count("/api/cluster/register"); n != 1 {
			t.Errorf("registered %d times", n)
		}
		if err := stop(); err != nil {
			t.Errorf("Run() = %v", err)
		}
		if _, ok := m.node("node-1"); ok {
			t.Error("still registered after Run returned")
		}
	})
}

func TestWaitingAgentThatIsNeverToldLeavesQuietly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &front{}
		stop := start(t, waitingAgent(t, f, &journal{}))
		synctest.Wait()
		if err := stop(); err != nil || len(f.calls) != 0 {
			t.Errorf("Run() = %v after the calls %v, want nil and none", err, f.calls)
		}
	})
}

func TestJoinMayNameAnotherCoordinator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		f := &hosts{front: front{reg: testRegistrar(newMemStore(), nil, j)}, seen: map[string]int{}}
		a := waitingAgent(t, f, j)
		stop := start(t, a)
		synctest.Wait()
		s, err := a.Join("https://blue.test/hub/")
		if err != nil || s.CoordinatorURL != "https://blue.test/hub" {
			t.Errorf("Join() = %+v, %v", s, err)
		}
		synctest.Wait()
		if f.seen["blue.test/hub"] != 1 || len(f.seen) != 1 {
			t.Errorf("called %v, want only the one it was told", f.seen)
		}
		_ = stop()
	})
}

func TestJoinRefusesBadCoordinatorURLs(t *testing.T) {
	a := waitingAgent(t, &front{}, &journal{})
	for _, raw := range []string{
		"hub.test:3000", "ftp://hub.test", "http://", "http:///x", "http://user:pa55word@hub.test", "http://hub.test?x=1", "http://hub.test?",
		"http://hub.test#f", "http://hub.test:0", "http://hub.test:65536", "http://hub.test:x", "http://a b", "\x00",
		"http://hub.test/" + strings.Repeat("x", maxCoordinatorURL),
	} {
		if s, err := a.Join(raw); !errors.Is(err, ErrCoordinatorURL) || s.State != JoinWaiting || strings.Contains(err.Error(), "pa55word") {
			t.Errorf("Join(%.40q) = %+v, %v, want it refused", raw, s, err)
		}
		cfg := a.cfg
		cfg.CoordinatorURL = raw
		if _, err := NewAgent(cfg, a.source, (&journal{}).log()); !errors.Is(err, ErrCoordinatorURL) {
			t.Errorf("NewAgent with %.40q = %v, want the same refusal", raw, err)
		}
	}
}

// The agent may be told before it runs, and by many at once.
func TestJoinMayComeFirstAndFromManySides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		f := &front{reg: testRegistrar(newMemStore(), nil, j)}
		a := waitingAgent(t, f, j)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if s, err := a.Join(""); err != nil || s.State != JoinJoining {
					t.Errorf("Join() = %+v, %v", s, err)
				}
			})
		}
		all.Wait()
		stop := start(t, a)
		synctest.Wait()
		if s := a.JoinState(); s.State != JoinJoined || f.count("/api/cluster/register") != 1 {
			t.Errorf("%+v, registered %d times", s, f.count("/api/cluster/register"))
		}
		_ = stop()
	})
}

func TestJoinStateSaysWhyItTakesSoLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		f := &front{reg: testRegistrar(newMemStore(), nil, j)}
		f.fail(errors.New("no route\nto host"))
		a := waitingAgent(t, f, j)
		stop := start(t, a)
		if _, err := a.Join(""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if s := a.JoinState(); s.State != JoinJoining || !strings.Contains(s.Error, "no route to host") {
			t.Errorf("%+v, want why it has not joined", s)
		}
		f.fail(nil)
		time.Sleep(10 * time.Second)
		if s := a.JoinState(); s.State != JoinJoined || s.Error != "" {
			t.Errorf("%+v, want it joined and nothing to complain of", s)
		}
		_ = stop()
	})
}

// Patience with a predecessor counts from the moment at which the node is told to join.
func TestWaitingUsesUpNoPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := newMemStore(), &journal{}
		if _, err := m.RegisterNode(t.Context(), store.Node{ID: "node-1", Instance: instanceB, URL: "http://10.0.0.2:3001"}, 5*time.Second+time.Hour, false); err != nil {
			t.Fatal(err)
		}
		a := waitingAgent(t, &front{reg: testRegistrar(m, nil, j)}, j)
		stop := start(t, a)
		time.Sleep(time.Hour)
		if _, err := a.Join(""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(14 * time.Second)
		if s := a.JoinState(); s.State != JoinJoined {
			t.Errorf("%+v 14 s after it was told, when its predecessor is gone", s)
		}
		if err := stop(); err != nil {
			t.Errorf("Run() = %v", err)
		}
	})
}

// A node may be reached through a proxy that ends TLS and knows it by a path.
func TestChallengeThroughATLSProxyByPath(t *testing.T) {
	n := store.Node{ID: "node-1", Instance: instanceA}
	inner := answering(t, "s3cret", n.ID, n.Instance)
	proxy := httptest.NewUnstartedServer(http.StripPrefix("/nodes/n1", inner.Config.Handler))
	proxy.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	proxy.StartTLS()
	t.Cleanup(proxy.Close)
	n.URL = proxy.URL + "/nodes/n1"
	c := newChallenger("s3cret", AddressPolicy{Authenticated: true}, 2*time.Second)
	if err := c.challenge(t.Context(), n); !errors.Is(err, ErrUnproven) {
		t.Errorf("a certificate that nobody vouches for: %v, want ErrUnproven", err)
	}
	c.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: proxy.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	if err := c.challenge(t.Context(), n); err != nil {
		t.Errorf("challenge() = %v, want nil", err)
	}
	strict := newChallenger("", AddressPolicy{}, 2*time.Second)
	if err := strict.challenge(t.Context(), n); !errors.Is(err, ErrAddress) {
		t.Errorf("without a secret: %v, want ErrAddress", err)
	}
}

func TestPlaceOfANodeBehindAProxy(t *testing.T) {
	for raw, want := range map[string]int{"https://n1.test/x": 443, "http://n1.test": 80, "https://n1.test:8443": 8443} {
		a := &Agent{cfg: AgentConfig{URL: raw, Port: 3001}}
		if err := a.findURL(context.Background()); err != nil {
			t.Fatal(err)
		}
		if host, port := a.place(); host != "n1.test" || port != want {
			t.Errorf("place() of %s = %s, %d, want n1.test, %d", raw, host, port, want)
		}
	}
}
