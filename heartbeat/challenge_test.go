package heartbeat

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// answering is a process that answers challenges as a node would.
func answering(t *testing.T, secret string, id store.NodeID, instance store.Instance) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var ask challengeRequest
		if r.Method != http.MethodPost || r.URL.Path != "/api/node/challenge" || json.NewDecoder(r.Body).Decode(&ask) != nil {
			http.NotFound(w, r)
			return
		}
		if len(ask.Nonce) != 32 || ask.ID == "" {
			t.Errorf("challenge %+v", ask)
		}
		a := challengeAnswer{ID: id, MAC: ChallengeMAC(secret, ask.Nonce, id, instance)}
		if secret != "" {
			a.Instance = instance
		}
		_ = json.NewEncoder(w).Encode(a)
	}))
	t.Cleanup(srv.Close)
	return srv
}

func TestChallenge(t *testing.T) {
	node := store.Node{ID: "node-1", Instance: instanceA}
	tests := []struct {
		name         string
		ours, theirs string
		id           store.NodeID
		instance     store.Instance
		want         error
		says         string
	}{
		{"no secret", "", "", "node-1", instanceA, nil, ""},
		{"same secret", "s", "s", "node-1", instanceA, nil, ""},
		{"other secret", "s", "t", "node-1", instanceA, ErrUnproven, "secret"},
		{"node without secret", "s", "", "node-1", instanceA, ErrUnproven, "secret"},
		{"other node", "s", "s", "node-2", instanceA, ErrUnproven, "another process"},
		{"other instance, no secret", "", "", "node-1", instanceB, ErrUnproven, "another process"},
		{"coordinator without secret", "", "s", "node-1", instanceA, ErrUnproven, "secret"},
		{"other instance", "s", "s", "node-1", instanceB, ErrUnproven, "another process"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := node
			n.URL = answering(t, tt.theirs, tt.id, tt.instance).URL
			err := newChallenger(tt.ours, AddressPolicy{}, time.Second).challenge(t.Context(), n)
			if !errors.Is(err, tt.want) || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("challenge() = %v, want %v that mentions %q", err, tt.want, tt.says)
			}
		})
	}
}

// A captured answer is worth nothing for the next nonce.
func TestChallengeAnswerCannotBeReplayed(t *testing.T) {
	old := ChallengeMAC("s", strings.Repeat("0", 32), "node-1", instanceA)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(challengeAnswer{ID: "node-1", Instance: instanceA, MAC: old})
	}))
	defer srv.Close()
	n := store.Node{ID: "node-1", Instance: instanceA, URL: srv.URL}
	if err := newChallenger("s", AddressPolicy{}, time.Second).challenge(t.Context(), n); !errors.Is(err, ErrUnproven) {
		t.Errorf("challenge() = %v, want ErrUnproven", err)
	}
}

func TestChallengeFollowsNoRedirectAndReadsLittle(t *testing.T) {
	good := answering(t, "", "node-1", instanceA)
	var long atomic.Int64
	tests := map[string]http.HandlerFunc{
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, good.URL+r.URL.Path, http.StatusTemporaryRedirect)
		},
		"not JSON": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"endless": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				n, err := w.Write(make([]byte, 4096))
				if long.Add(int64(n)); err != nil {
					return
				}
			}
		},
		"silent": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // until then the server does not notice a hang-up
			<-r.Context().Done()
		},
	}
	for name, h := range tests {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(h)
			defer srv.Close()
			n := store.Node{ID: "node-1", Instance: instanceA, URL: srv.URL}
			begun := time.Now()
			err := newChallenger("", AddressPolicy{}, 300*time.Millisecond).challenge(t.Context(), n)
			if !errors.Is(err, ErrUnproven) {
				t.Errorf("challenge() = %v, want ErrUnproven", err)
			}
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
	if long.Load() > 64<<20 {
		t.Errorf("read on for %d bytes", long.Load())
	}
}

// A name is resolved by the dialer and the address judged there, so an answer of the DNS that
// differs from the one before opens nothing.
func TestChallengeSurvivesRebinding(t *testing.T) {
	srv := answering(t, "", "node-1", instanceA)
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(srv.URL, "http://"))
	n := store.Node{ID: "node-1", Instance: instanceA, URL: "http://node.test:" + port}
	c := newChallenger("", AddressPolicy{}, 2*time.Second)
	c.dialer.Resolver = resolver(t, [4]byte{127, 0, 0, 1}, [4]byte{169, 254, 169, 254}, [4]byte{93, 184, 216, 34})
	if err := c.challenge(t.Context(), n); err != nil {
		t.Errorf("while the name is loopback: challenge() = %v, want nil", err)
	}
	for _, now := range []string{"a metadata service", "a public address"} {
		if err := c.challenge(t.Context(), n); !errors.Is(err, ErrAddress) {
			t.Errorf("when the name is %s: challenge() = %v, want ErrAddress", now, err)
		}
	}
}

// resolver asks a name server that gives the addresses one after the other.
func resolver(t *testing.T, addrs ...[4]byte) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	t.Cleanup(func() { _ = conn.Close(); <-served })
	go func() {
		defer close(served)
		buf := make([]byte, 512)
		for next := 0; ; {
			size, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			// Header, then one question: labels up to a zero byte, type, class.
			end := 12 + strings.IndexByte(string(buf[12:size]), 0) + 5
			reply := append([]byte{buf[0], buf[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, buf[12:end]...)
			if isA := buf[end-3] == 1; isA && next < len(addrs) {
				reply[7] = 1
				reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
				reply = append(reply, addrs[next][:]...)
				next++
			}
			_, _ = conn.WriteTo(reply, from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}
