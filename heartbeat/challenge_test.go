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
		_ = json.NewEncoder(w).Encode(challengeAnswer{ID: id, Instance: instance, MAC: ChallengeMAC(secret, ask.Nonce, id, instance)})
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
// differs from an earlier one opens nothing.
func TestChallengeDialsNoForbiddenAddress(t *testing.T) {
	srv := answering(t, "", "node-1", instanceA)
	c := newChallenger("", AddressPolicy{}, time.Second)
	dialer := &net.Dialer{Control: c.policy.Control, Timeout: time.Second}
	c.client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if strings.HasPrefix(addr, "rebound.test") {
			addr = "169.254.169.254:80"
		}
		return dialer.DialContext(ctx, network, addr)
	}
	n := store.Node{ID: "node-1", Instance: instanceA, URL: "http://rebound.test:3001"}
	if err := c.challenge(t.Context(), n); !errors.Is(err, ErrAddress) {
		t.Errorf("challenge() of a name that resolves to a metadata service = %v, want ErrAddress", err)
	}
	n.URL = strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)
	if err := c.challenge(t.Context(), n); err != nil {
		t.Errorf("challenge() of localhost = %v, want nil", err)
	}
}
