package heartbeat

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// maxChallengeAnswer bounds what is read from a process that may be anything.
const maxChallengeAnswer = 4 << 10

// challenger asks the process at an address whether it is the node it is said to be.
type challenger struct {
	secret string
	policy AddressPolicy
	dialer *net.Dialer // of client
	client *http.Client
}

// newChallenger returns a challenger whose connections go to allowed addresses only, through
// no proxy, and whose requests follow no redirect.
func newChallenger(secret string, p AddressPolicy, timeout time.Duration) *challenger {
	dialer := &net.Dialer{Timeout: timeout, Control: p.Control}
	return &challenger{secret: secret, policy: p, dialer: dialer, client: &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: maxChallengeAnswer,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

type challengeRequest struct {
	Nonce string       `json:"nonce"`
	ID    store.NodeID `json:"id"`
}

// challengeAnswer names the instance only where the cluster has a secret: without one the
// instance is the key of the MAC, and whoever learns it can answer for the node.
type challengeAnswer struct {
	ID       store.NodeID   `json:"id"`
	Instance store.Instance `json:"instance"`
	MAC      string         `json:"mac"`
}

// challenge calls POST /api/node/challenge at the node's URL. It returns nil if the node's own
// process answers there, an error wrapping ErrAddress if the address is forbidden, and else
// one wrapping ErrUnproven. The errors tell no more than that: what else may live at an
// address is nobody's business.
func (c *challenger) challenge(ctx context.Context, n store.Node) error {
	if err := c.policy.CheckURL(n.URL); err != nil {
		return err
	}
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce) // never fails
	ask := challengeRequest{Nonce: hex.EncodeToString(nonce), ID: n.ID}
	answer, err := c.ask(ctx, n.URL, ask)
	switch {
	case errors.Is(err, ErrAddress):
		return err
	case err != nil:
		return fmt.Errorf("%w: %s did not answer POST /api/node/challenge as a node does", ErrUnproven, n.URL)
	case answer.ID == n.ID && equal(answer.MAC, ChallengeMAC(c.secret, ask.Nonce, n.ID, n.Instance)):
		return nil
	case answer.ID == n.ID && c.otherSecret(answer, n):
		return fmt.Errorf("%w: the process at %s has another cluster secret", ErrUnproven, n.URL)
	}
	return fmt.Errorf("%w: another process answers at %s", ErrUnproven, n.URL)
}

// otherSecret says whether an answer of the right id is wrong for its secret: an answer that
// names its instance was made with one, and one that does not was made without.
func (c *challenger) otherSecret(answer challengeAnswer, n store.Node) bool {
	if answer.Instance == "" {
		return c.secret != ""
	}
	return answer.Instance == n.Instance
}

func (c *challenger) ask(ctx context.Context, url string, ask challengeRequest) (challengeAnswer, error) {
	body, err := json.Marshal(ask)
	if err != nil {
		return challengeAnswer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/api/node/challenge", bytes.NewReader(body))
	if err != nil {
		return challengeAnswer{}, err
	}
	req.Header.Set("Content-Type", wire.TypeJSON)
	resp, err := c.client.Do(req)
	if err != nil {
		return challengeAnswer{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return challengeAnswer{}, fmt.Errorf("status %d", resp.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxChallengeAnswer))
	if err != nil {
		return challengeAnswer{}, err
	}
	return decodeChallenge(raw)
}

// decodeChallenge accepts the bare answer, and the same under "data" as REST answers have it.
func decodeChallenge(raw []byte) (challengeAnswer, error) {
	var a struct {
		challengeAnswer
		Data challengeAnswer `json:"data"`
	}
	if err := json.Unmarshal(raw, &a); err != nil {
		return challengeAnswer{}, err
	}
	if a.MAC == "" {
		return a.Data, nil
	}
	return a.challengeAnswer, nil
}
