package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// How far a node is with joining its fleet, as in JoinState.
const (
	// JoinWaiting says that the node serves, and registers once it is told to.
	JoinWaiting = "waiting to join"
	// JoinJoining says that it tries to register.
	JoinJoining = "joining"
	// JoinJoined says that a coordinator has granted it an epoch, which has not been taken away.
	JoinJoined = "joined"
)

// JoinState is how far a node is with joining its fleet.
type JoinState struct {
	NodeID store.NodeID `json:"nodeId"`
	// CoordinatorURL is where it registers, without a trailing slash.
	CoordinatorURL string `json:"coordinatorUrl"`
	// State is JoinWaiting, JoinJoining or JoinJoined.
	State string `json:"state"`
	// Since is when it came to that state, by the node's clock, in milliseconds.
	Since int64 `json:"since"`
	// Error is why it has not joined yet, as far as it has tried.
	Error string `json:"error,omitempty"`
}

// Errors of Join. Test with errors.Is.
var (
	// ErrCoordinatorURL is wrapped by every refusal of a coordinator's URL; the text says what
	// to mend. Nothing has changed.
	ErrCoordinatorURL = errors.New("URL of the coordinator")

	// ErrJoinedElsewhere says that the node already registers with another coordinator. Nothing
	// has changed.
	ErrJoinedElsewhere = errors.New("this node already belongs to another coordinator")
)

// maxCoordinatorURL is longer than any address that people write.
const maxCoordinatorURL = 2048

// parseCoordinatorURL holds the rules of cluster.node.coordinatorUrl. Its errors wrap
// ErrCoordinatorURL and do not repeat the address, which may hold what should not be shown.
func parseCoordinatorURL(raw string) (*url.URL, error) {
	bad := func(what string) (*url.URL, error) { return nil, fmt.Errorf("%w: %s", ErrCoordinatorURL, what) }
	u, err := url.Parse(raw)
	switch {
	case err != nil || len(raw) > maxCoordinatorURL || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return bad("must be like http://hub.example:3000")
	case u.User != nil:
		return bad("must not hold a user name or password")
	case strings.ContainsAny(raw, "?#"):
		return bad("must not have a query (?…) or a fragment (#…)")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return bad("has a port that is not 1 to 65535")
		}
	}
	return u, nil
}

// membership is how far an agent is, and what it was told. It is safe for concurrent use.
type membership struct {
	mu     sync.Mutex // guards the rest
	state  JoinState
	client *client       // for the coordinator; Run reads it once told is closed
	told   chan struct{} // closed when the node is to join
}

func newMembership(id store.NodeID, c *client, waiting bool) *membership {
	m := &membership{client: c, told: make(chan struct{}), state: JoinState{NodeID: id, CoordinatorURL: c.base}}
	m.enter(JoinWaiting)
	if !waiting {
		m.enter(JoinJoining)
		close(m.told)
	}
	return m
}

// enter changes the state. m.mu is held, or nobody else has m yet.
func (m *membership) enter(state string) {
	if m.state.State != state {
		m.state.State, m.state.Since = state, time.Now().UnixMilli()
	}
	m.state.Error = ""
}

func (m *membership) set(state string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.enter(state)
}

// failed notes why the node has not joined yet.
func (m *membership) failed(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state.State == JoinJoining {
		m.state.Error = cut(clean(err.Error()), maxError)
	}
}

// JoinState tells how far the node is. It does not block.
func (a *Agent) JoinState() JoinState {
	a.member.mu.Lock()
	defer a.member.mu.Unlock()
	return a.member.state
}

// Join has an agent that waits register, with the coordinator at the URL if one is given and
// else with that of its settings. It does not wait for that: the state it returns tells how far
// the node is. To an agent that registers already it changes nothing.
//
// Its errors wrap ErrCoordinatorURL, or ErrJoinedElsewhere if the agent registers already and
// the URL is another one.
func (a *Agent) Join(coordinatorURL string) (JoinState, error) {
	var c *client
	if coordinatorURL != "" {
		var err error
		if c, err = newClient(coordinatorURL, a.cfg.Secret, a.cfg.Transport); err != nil {
			return a.JoinState(), err
		}
	}
	m := a.member
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state.State != JoinWaiting {
		if c != nil && c.base != m.state.CoordinatorURL {
			return m.state, fmt.Errorf("%w, at %s; stop it first, or leave the URL out", ErrJoinedElsewhere, m.state.CoordinatorURL)
		}
		return m.state, nil
	}
	if c != nil {
		m.client, m.state.CoordinatorURL = c, c.base
	}
	m.enter(JoinJoining)
	close(m.told)
	a.log.Info("told to join", "coordinator", m.state.CoordinatorURL)
	return m.state, nil
}

// waitToBeTold reports false if ctx ended before the agent was told to join.
func (a *Agent) waitToBeTold(ctx context.Context) bool {
	select {
	case <-a.member.told:
	default:
		a.log.Info("waiting to be told to join, by 'mcphub join' or POST /api/node/join", "coordinator", a.JoinState().CoordinatorURL)
	}
	select {
	case <-a.member.told:
		a.member.mu.Lock()
		defer a.member.mu.Unlock()
		a.client = a.member.client
		return true
	case <-ctx.Done():
		return false
	}
}
