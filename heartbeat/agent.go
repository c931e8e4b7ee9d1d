package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// Source is the node whose lease the agent keeps.
type Source interface {
	// Describe tells what the node is and has now. It must not block.
	Describe() Description
	// Catalog returns the bytes of a catalog that Describe named.
	Catalog(store.Digest) ([]byte, bool)
	// Started is closed when the first round of server starts has ended, well or badly.
	Started() <-chan struct{}
}

// AgentConfig is what an agent says of its node, and how it talks.
type AgentConfig struct {
	ID       store.NodeID
	Name     string // for people; empty means the id
	Instance store.Instance
	Version  string
	Weight   int       // the node's share of sessions; zero means 1. Setting: cluster.node.weight
	Started  time.Time // of the process; zero means now

	// CoordinatorURL is where to register: scheme, host, port, and a path if a balancer has
	// the hub under one. Setting: cluster.node.coordinatorUrl.
	CoordinatorURL string
	// Waiting keeps the agent from registering before Join tells it to. Setting:
	// cluster.node.registerOnStartup, turned round.
	Waiting bool
	// Secret is the cluster secret. With one the coordinator has to show that it knows it too.
	Secret string

	// URL is where coordinators reach the node. Where it is empty the address is PodIP, else
	// the local address of the connection to the coordinator, with Port.
	// Settings: cluster.node.url, POD_IP, PORT.
	URL   string
	PodIP string
	Port  int

	// Interval is the time between beats. Zero means what the coordinator suggests. It is cut
	// to a third of the coordinator's nodeTimeout. Setting: cluster.node.heartbeatInterval.
	Interval time.Duration
	// StartWait is the longest wait for Source.Started. Zero means 5 s.
	StartWait time.Duration
	// Patience is for how long after the start another live process under this id is
	// tolerated, since it may be this one's predecessor on its way out. Zero means 15 s.
	Patience time.Duration

	// Transport replaces the agent's own, in tests.
	Transport http.RoundTripper
}

// Bounds and defaults of an agent.
const (
	defaultInterval  = 5 * time.Second
	defaultStartWait = 5 * time.Second
	defaultTimeout   = 15 * time.Second // nodeTimeout, until a coordinator has told its own
	maxCall          = 5 * time.Second
	farewellTime     = 3 * time.Second
	firstRetry       = 250 * time.Millisecond
	maxRetry         = 5 * time.Second
	nudgeDelay       = 50 * time.Millisecond
	refusedFor       = 10 * time.Minute // a refused catalog is not sent again
	maxRecord        = 250 << 10        // bytes of a record, below the coordinator's limit
)

// Agent keeps a node registered. Make one with NewAgent and call Run once; the other methods
// are safe for concurrent use.
type Agent struct {
	cfg    AgentConfig
	source Source
	log    *slog.Logger
	lease  *Lease
	nudges chan struct{}
	member *membership

	refused *recent[store.Digest] // catalogs that the coordinators will not have

	// What follows belongs to Run.
	client  *client
	url     string // our address, once known
	told    string // the address that was found last and has been logged
	grant   Grant
	began   instant
	warned  bool // that Interval is cut
	fenced  bool // that the lease has lapsed has been logged
	failing int  // calls failed in a row

	otherVersions map[string]bool // of coordinators, that have been warned of
}

// NewAgent returns an agent that does nothing until Run.
func NewAgent(cfg AgentConfig, source Source, log *slog.Logger) (*Agent, error) {
	if err := wire.CheckName("node id", string(cfg.ID)); err != nil {
		return nil, err
	}
	if !isHex(string(cfg.Instance), 32) {
		return nil, errors.New("instance of the node: must be 32 lower-case hex digits")
	}
	if cfg.Started.IsZero() {
		cfg.Started = time.Now()
	}
	cfg.StartWait = orDefault(cfg.StartWait, defaultStartWait)
	cfg.Patience = orDefault(cfg.Patience, defaultTimeout)
	c, err := newClient(cfg.CoordinatorURL, cfg.Secret, cfg.Transport)
	if err != nil {
		return nil, err
	}
	return &Agent{
		cfg: cfg, source: source, lease: &Lease{}, nudges: make(chan struct{}, 1),
		log:     log.With("node", cfg.ID),
		client:  c,
		member:  newMembership(cfg.ID, c, cfg.Waiting),
		refused: newRecent[store.Digest](refusedFor, maxServers),
	}, nil
}

func orDefault(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

// Lease is the node's lease. It is the same one for the agent's whole life.
func (a *Agent) Lease() *Lease { return a.lease }

// Nudge asks for a beat soon, because the description has changed. It never blocks; nudges
// that come together cause one beat.
func (a *Agent) Nudge() {
	select {
	case a.nudges <- struct{}{}:
	default:
	}
}

// Run waits for Join if it is to, registers the node and beats until ctx ends; then it
// deregisters and returns nil. It keeps trying whatever the coordinators answer, with one
// exception: it returns a *DuplicateError when another live process holds the id, and the
// lease is over for good.
func (a *Agent) Run(ctx context.Context) error {
	if !a.waitToBeTold(ctx) {
		return nil
	}
	a.began = now()
	if !a.waitForStarts(ctx) {
		return nil
	}
	err := a.keep(ctx)
	if a.lease.Epoch() != 0 && err == nil {
		a.leave(ctx)
	}
	a.lease.fence()
	a.client.close()
	return err
}

// waitForStarts reports false if ctx ended first.
func (a *Agent) waitForStarts(ctx context.Context) bool {
	timer := time.NewTimer(a.cfg.StartWait)
	defer timer.Stop()
	select {
	case <-a.source.Started():
	case <-timer.C:
		a.log.Info("registering before all servers have started")
	case <-ctx.Done():
		return false
	}
	return true
}

// keep registers, then beats, until ctx ends or a *DuplicateError.
func (a *Agent) keep(ctx context.Context) error {
	if err := a.register(ctx, a.cfg.Patience); err != nil || ctx.Err() != nil {
		return err
	}
	due := time.NewTimer(a.interval())
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.nudges:
			if !sleep(ctx, min(nudgeDelay, a.interval()/4)) {
				return nil
			}
			a.drainNudge()
		case <-due.C:
		}
		next, err := a.beat(ctx)
		if err != nil || ctx.Err() != nil {
			return err
		}
		due.Reset(next)
	}
}

// drainNudge takes back a nudge that the beat about to be sent answers.
func (a *Agent) drainNudge() {
	select {
	case <-a.nudges:
	default:
	}
}

// register tries until it is granted an epoch, ctx ends (nil), or the id has been taken by
// another live process for longer than patience since Run began.
func (a *Agent) register(ctx context.Context, patience time.Duration) error {
	for attempt := 1; ; attempt++ {
		a.drainNudge()
		err := a.call(ctx, "/api/cluster/register", 0)
		if err == nil {
			a.member.set(JoinJoined)
			a.log.Info("registered with coordinator", "epoch", a.grant.Epoch, "attempt", attempt)
			return nil
		}
		if ctx.Err() != nil {
			return nil
		}
		var refused *refusal
		if errors.As(err, &refused) && refused.status == http.StatusConflict && a.began.age() >= patience {
			a.lease.fence()
			return &DuplicateError{ID: a.cfg.ID, Answer: refused.message}
		}
		a.member.failed(err)
		a.complain("not registered yet", attempt, err)
		if !sleep(ctx, backoff(attempt, maxRetry)) {
			return nil
		}
	}
}

// beat sends one and returns when the next is due. Its error is a *DuplicateError.
func (a *Agent) beat(ctx context.Context) (next time.Duration, err error) {
	begun := now()
	err = a.call(ctx, "/api/cluster/heartbeat", a.lease.Epoch())
	if err == nil {
		if a.failing > 0 {
			a.log.Info("heartbeat acknowledged again", "attempt", a.failing+1)
		}
		a.failing, a.fenced = 0, false
		return max(a.interval()-begun.age(), 0), nil
	}
	if ctx.Err() != nil {
		return 0, nil
	}
	a.failing++
	var refused *refusal
	if errors.As(err, &refused) && refused.status == http.StatusConflict {
		a.log.Warn("epoch is over, registering again", "epoch", a.lease.Epoch(), "err", err)
		a.lease.fence()
		a.member.set(JoinJoining)
		if err := a.register(ctx, 0); err != nil {
			return 0, err
		}
		a.failing = 0
		return a.interval(), nil
	}
	a.complain("heartbeat not acknowledged", a.failing, err)
	if !a.lease.Fresh() && !a.fenced {
		a.fenced = true
		a.log.Error("lease has lapsed: refusing all calls until a heartbeat is acknowledged", "epoch", a.lease.Epoch())
	}
	return backoff(a.failing, a.interval()), nil
}

// complain logs the first failures and then one in ten, and says what a person can mend.
func (a *Agent) complain(msg string, attempt int, err error) {
	if attempt > 3 && attempt%10 != 0 {
		a.log.Debug(msg, "attempt", attempt, "err", err)
		return
	}
	var refused *refusal
	if errors.As(err, &refused) && refused.status == http.StatusUnauthorized {
		a.log.Error(msg+": the coordinator has another cluster secret (cluster.secret, MCPHUB_CLUSTER_SECRET)", "attempt", attempt, "err", err)
		return
	}
	a.log.Warn(msg, "attempt", attempt, "err", err)
}

// call sends the record and takes over the grant. After an error the lease is as it was.
func (a *Agent) call(ctx context.Context, path string, e store.Epoch) error {
	if err := a.findURL(ctx); err != nil {
		return err
	}
	body, err := a.record(e)
	if err != nil {
		return err
	}
	var g Grant
	sent := now()
	if err := a.client.post(ctx, path, body, a.bound(), &g); err != nil {
		a.forgetURL()
		return err
	}
	if err := a.checkGrant(g, e); err != nil {
		return err
	}
	a.lease.renew(g, sent)
	a.compareVersions(g.Version)
	a.grant = g
	a.sendCatalogs(ctx, g.MissingCatalogs)
	return nil
}

// checkGrant refuses an answer that a coordinator of this cluster would not give.
func (a *Agent) checkGrant(g Grant, asked store.Epoch) error {
	if g.Epoch < 1 || g.Credential == "" || g.NodeTimeout < 1 || time.Duration(g.NodeTimeout) > 24*time.Hour/time.Millisecond {
		return errors.New("the answer is not that of a coordinator: epoch, credential or nodeTimeout is missing")
	}
	if asked != 0 && g.Epoch != asked {
		return fmt.Errorf("the answer is for epoch %d, asked under %d", g.Epoch, asked)
	}
	if a.cfg.Secret != "" && !equal(g.Proof, GrantProof(a.cfg.Secret, a.cfg.Instance, g.Epoch, g.Credential)) {
		return errors.New("the coordinator did not show that it knows the cluster secret; set the same cluster.secret there")
	}
	return nil
}

// interval is the time between beats, never over a third of nodeTimeout, so that two in a row
// may fail unnoticed.
func (a *Agent) interval() time.Duration {
	d := a.cfg.Interval
	if d <= 0 {
		d = orDefault(time.Duration(a.grant.HeartbeatInterval)*time.Millisecond, defaultInterval)
	}
	most := orDefault(a.lease.Timeout(), defaultTimeout) / 3
	if d <= most {
		return d
	}
	if a.cfg.Interval > 0 && !a.warned {
		a.warned = true
		a.log.Warn("heartbeatInterval is more than a third of the coordinator's nodeTimeout and is cut to that", "dur", most)
	}
	return most
}

// bound is the longest that one call may take.
func (a *Agent) bound() time.Duration {
	return min(maxCall, orDefault(a.lease.Timeout(), defaultTimeout)/3)
}

// leave deregisters, though ctx has ended.
func (a *Agent) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewellTime)
	defer cancel()
	bye := Farewell{ID: a.cfg.ID, Instance: a.cfg.Instance, Epoch: a.lease.Epoch()}
	if err := a.client.postJSON(ctx, "/api/cluster/deregister", bye, farewellTime); err != nil {
		a.log.Warn("not deregistered; the coordinators will notice the lapse", "epoch", bye.Epoch, "err", err)
		return
	}
	a.log.Info("deregistered", "epoch", bye.Epoch)
}

// backoff doubles from firstRetry to at most limit, with jitter of a half, so that nodes that
// lost a coordinator together do not return together.
func backoff(attempt int, limit time.Duration) time.Duration {
	d := min(firstRetry<<min(attempt-1, 10), limit)
	return d/2 + rand.N(d/2+1) //nolint:gosec // jitter needs no secrecy
}

// sleep reports false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
