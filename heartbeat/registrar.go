package heartbeat

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// RegistrarStore is the part of the store that answering agents needs.
type RegistrarStore interface {
	RegisterNode(ctx context.Context, n store.Node, ttl time.Duration, takeOver bool) (store.Node, error)
	BeatNode(ctx context.Context, n store.Node, ttl time.Duration) (store.Beat, error)
	DeregisterNode(ctx context.Context, id store.NodeID, e store.Epoch) error
	PutCatalog(ctx context.Context, d store.Digest, raw []byte, ttl time.Duration) error
	TouchCatalogs(ctx context.Context, ds []store.Digest, ttl time.Duration) (missing []store.Digest, err error)
	Snapshot(ctx context.Context, prev *store.Snapshot) (*store.Snapshot, error)
	AppendEvent(ctx context.Context, e store.Event) error
	Notify(ctx context.Context, h store.Hint) error
}

// Fleet is what this replica knows of the nodes. It never blocks.
type Fleet interface {
	Snapshot() *store.Snapshot
}

// RegistrarConfig is how a coordinator answers agents.
type RegistrarConfig struct {
	// Coordinator is this replica, for events.
	Coordinator store.CoordinatorID
	// Version is this replica's release, told to nodes and compared with theirs. Empty means
	// that nothing is said of it.
	Version string
	// Secret is the cluster secret; empty means that there is none.
	Secret string
	// FleetKey returns the key from which the fleet credential is derived: the secret, or the
	// random key agreed through the store. It may ask the store. Required.
	FleetKey func(ctx context.Context) ([]byte, error)

	// NodeTimeout is how long a lease lasts. Zero means 15 s. Setting: nodeTimeout.
	NodeTimeout time.Duration
	// HeartbeatInterval is suggested to nodes that have no wish of their own, cut to a third
	// of NodeTimeout. Zero means 5 s.
	HeartbeatInterval time.Duration
	// SessionTimeout is how long an idle session lasts. Zero means 1 h. Setting:
	// stickySessionTimeout.
	SessionTimeout time.Duration
	// CatalogTTL is how long a catalog that no beat names is kept. Zero means 1 h.
	CatalogTTL time.Duration

	// Changed is called, if set, after this replica has changed a record, so that its own
	// snapshot can follow at once. It must not block.
	Changed func()
}

// MaxCatalog is the greatest size of one catalog, in bytes.
const MaxCatalog = 4 << 20

// Registrar answers the agents of nodes. It is safe for concurrent use.
type Registrar struct {
	cfg       RegistrarConfig
	store     RegistrarStore
	fleet     Fleet
	log       *slog.Logger
	policy    AddressPolicy
	challenge func(ctx context.Context, n store.Node) error
	touched   *recent[store.Digest]
	others    *recent[nodeVersion] // nodes of other versions, that have been warned of
}

// NewRegistrar returns a registrar over the store. fleet may be nil; then every beat of a node
// that this replica did not register itself is challenged.
func NewRegistrar(cfg RegistrarConfig, st RegistrarStore, fleet Fleet, log *slog.Logger) *Registrar {
	cfg.NodeTimeout = orDefault(cfg.NodeTimeout, defaultTimeout)
	cfg.HeartbeatInterval = min(orDefault(cfg.HeartbeatInterval, defaultInterval), cfg.NodeTimeout/3)
	cfg.SessionTimeout = orDefault(cfg.SessionTimeout, time.Hour)
	cfg.CatalogTTL = orDefault(cfg.CatalogTTL, time.Hour)
	policy := AddressPolicy{Authenticated: cfg.Secret != ""}
	r := &Registrar{
		cfg: cfg, store: st, fleet: fleet, policy: policy,
		log:     log.With("coordinator", cfg.Coordinator),
		touched: newRecent[store.Digest](min(time.Minute, cfg.CatalogTTL/4), 4*maxServers),
		others:  newRecent[nodeVersion](otherVersionFor, maxOthers),
	}
	// The agent waits a third of nodeTimeout at most, and two challenges may be needed.
	r.challenge = newChallenger(cfg.Secret, policy, min(2*time.Second, cfg.NodeTimeout/8)).challenge
	return r
}

// Register gives a node a new epoch, once the process at its URL has shown to be this one.
//
// A holder of the id that has another instance is asked whether it still lives: if it does,
// the error is a *store.DuplicateNodeError that names it; if not, or if it had the same
// address, the id changes hands. Other errors wrap ErrRecord, ErrAddress, ErrUnproven or
// store.ErrUnavailable; after the last it is unknown whether an epoch was given.
func (r *Registrar) Register(ctx context.Context, rec Record) (Grant, error) {
	n, err := rec.ToNode(r.policy)
	if err != nil {
		return Grant{}, err
	}
	if err := r.challenge(ctx, n); err != nil {
		return Grant{}, r.moreThan(ctx, err, n)
	}
	key, err := r.cfg.FleetKey(ctx)
	if err != nil {
		return Grant{}, fmt.Errorf("key of the fleet: %w", err)
	}
	n.Epoch = 0
	got, err := r.claim(ctx, n)
	if err != nil {
		return Grant{}, err
	}
	r.changed(ctx)
	// The guide's line, to the letter.
	r.log.InfoContext(ctx, fmt.Sprintf("Node registered: %s (%s) with %d servers", got.Name, got.ID, len(rec.Servers)),
		"node", got.ID, "epoch", got.Epoch)
	r.compareVersions(ctx, got)
	r.event(ctx, store.EventNodeRegistered, got.ID, "", fmt.Sprintf("%s registered at %s with %d servers", got.Name, got.URL, len(rec.Servers)))
	return r.grant(got, key, r.missing(ctx, got, true)), nil
}

// moreThan says of a process that does not answer at its address that its id is taken, too, if
// another one answers under it: that is the more likely mistake.
func (r *Registrar) moreThan(ctx context.Context, err error, n store.Node) error {
	holder := r.known(n.ID)
	if holder == nil || holder.Instance == n.Instance || r.challenge(ctx, *holder) != nil {
		return err
	}
	return &store.DuplicateNodeError{Holder: *holder}
}

// claim registers the node, taking the id over from a process that no longer answers.
func (r *Registrar) claim(ctx context.Context, n store.Node) (store.Node, error) {
	got, err := r.store.RegisterNode(ctx, n, r.cfg.NodeTimeout, false)
	var dup *store.DuplicateNodeError
	if !errors.As(err, &dup) {
		return got, err
	}
	// A process that answers at the holder's own address is its successor there. Elsewhere
	// the holder itself is asked; at a forbidden address nobody is. Where its record cannot
	// be read, its lease is what counts.
	if dup.Holder.URL == "" || dup.Holder.URL != n.URL && r.challenge(ctx, dup.Holder) == nil {
		return store.Node{}, err
	}
	r.log.WarnContext(ctx, "taking the node id over from a process that no longer answers", "node", n.ID, "epoch", dup.Holder.Epoch)
	return r.store.RegisterNode(ctx, n, r.cfg.NodeTimeout, true)
}

// Beat renews a lease and stores what the node says of itself now.
//
// Its errors are those of Register, and store.ErrEpoch: another process has registered under
// the id since, the epoch was never given, or the address is new and the node still answers at
// the one before. While Redis is away a node that this replica knows under
// the same epoch, instance and address is granted its lease again without it: nobody else can
// have registered meanwhile, and a fleet must not fence itself because its store is gone.
func (r *Registrar) Beat(ctx context.Context, rec Record) (Grant, error) {
	n, err := rec.ToNode(r.policy)
	if err != nil {
		return Grant{}, err
	}
	if n.Epoch < 1 {
		return Grant{}, badRecord("epoch: missing; register first")
	}
	before := r.known(n.ID)
	proven := before != nil && before.Epoch == n.Epoch && before.Instance == n.Instance && before.URL == n.URL
	if !proven {
		if before, err = r.prove(ctx, n); err != nil {
			return Grant{}, err
		}
	}
	key, err := r.cfg.FleetKey(ctx)
	if err != nil {
		return Grant{}, fmt.Errorf("key of the fleet: %w", err)
	}
	beat, err := r.store.BeatNode(ctx, n, r.cfg.NodeTimeout)
	if err != nil {
		if proven && errors.Is(err, store.ErrUnavailable) {
			r.log.DebugContext(ctx, "heartbeat acknowledged without Redis", "node", n.ID, "epoch", n.Epoch, "err", err)
			return r.grant(n, key, nil), nil
		}
		return Grant{}, err
	}
	r.notice(ctx, before, n, beat)
	r.compareVersions(ctx, n)
	return r.grant(n, key, r.missing(ctx, n, beat.Relearned)), nil
}

// prove checks a beat that does not go with what this replica knows of the node: the address is
// new, or the node, or the epoch. It returns the record that the store holds now, if any.
func (r *Registrar) prove(ctx context.Context, n store.Node) (*store.Node, error) {
	snap, err := r.store.Snapshot(ctx, nil)
	if err != nil {
		return nil, err
	}
	before, highest := snap.Node(n.ID), store.Epoch(0)
	for i := range snap.Nodes {
		highest = max(highest, snap.Nodes[i].Epoch)
	}
	taken := before != nil && (before.Epoch > n.Epoch || before.Epoch == n.Epoch && before.Instance != n.Instance)
	if taken || n.Epoch > max(plausible, highest+epochLeap) {
		return nil, fmt.Errorf("beat of node %s under epoch %d: %w", n.ID, n.Epoch, store.ErrEpoch)
	}
	if err := r.challenge(ctx, n); err != nil {
		return nil, err
	}
	// A node that has moved no longer answers where it was. One that can be reached in two
	// ways registers again, which anyone sees: a new epoch and a line in the log.
	if before != nil && before.Instance == n.Instance && before.URL != n.URL && r.challenge(ctx, *before) == nil {
		return nil, fmt.Errorf("beat of node %s from another address while it answers at %s: register again: %w", n.ID, before.URL, store.ErrEpoch)
	}
	// A higher epoch than the store's means that the store lost its last writes, or that
	// somebody made it up to take the id without registering.
	if before != nil && before.Instance != n.Instance && before.URL != n.URL && r.challenge(ctx, *before) == nil {
		return nil, &store.DuplicateNodeError{Holder: *before}
	}
	return before, nil
}

// Epochs are counted up by one for each registration. One far beyond those that are known was
// made up, and would use the counter up if it were believed; a node that really holds it is
// told that it is over, registers again, and is well.
const (
	plausible store.Epoch = 1 << 32
	epochLeap store.Epoch = 1 << 20
)

// known is the node as this replica last saw it, or nil.
func (r *Registrar) known(id store.NodeID) *store.Node {
	if r.fleet == nil {
		return nil
	}
	return r.fleet.Snapshot().Node(id)
}

// notice logs and records what a beat changed.
func (r *Registrar) notice(ctx context.Context, before *store.Node, n store.Node, beat store.Beat) {
	switch {
	case beat.Relearned:
		r.log.WarnContext(ctx, "node relearned from its heartbeat: Redis had forgotten it", "node", n.ID, "epoch", n.Epoch)
	case beat.Recovered:
		r.log.InfoContext(ctx, "node is active again", "node", n.ID, "epoch", n.Epoch)
		r.event(ctx, store.EventNodeRecovered, n.ID, "", n.Name+" is active again")
	}
	if before != nil && before.State != n.State && n.State == store.NodeDraining {
		r.event(ctx, store.EventNodeDraining, n.ID, "", n.Name+" is draining: it takes no new sessions")
	}
	changes := serverChanges(before, n)
	for _, s := range changes {
		if s.Status == store.ServerReady {
			r.event(ctx, store.EventServerReady, n.ID, s.ID, fmt.Sprintf("%s is ready on %s", s.ID, n.ID))
			continue
		}
		r.log.WarnContext(ctx, "server is not callable", "node", n.ID, "server", s.ID, "status", s.Status, "err", s.Error)
		r.event(ctx, store.EventServerFailed, n.ID, s.ID, fmt.Sprintf("%s failed on %s: %s", s.ID, n.ID, cut(s.Error, 200)))
	}
	if beat.Relearned || beat.Recovered || len(changes) > 0 || before == nil || before.State != n.State || before.URL != n.URL {
		r.changed(ctx)
	}
}

// serverChanges lists the servers that became ready or failed since this replica last looked.
func serverChanges(before *store.Node, n store.Node) []store.Server {
	if before == nil {
		return nil
	}
	var out []store.Server
	for _, s := range n.Servers {
		if s.Status != store.ServerReady && s.Status != store.ServerFailed {
			continue
		}
		if was, ok := before.Server(s.ID); !ok || was.Status != s.Status {
			out = append(out, s)
		}
	}
	return out
}

// Deregister ends a lease on purpose. It returns an error wrapping store.ErrEpoch if the id
// has another holder by now, and ErrRecord, store.ErrNotFound or store.ErrUnavailable.
func (r *Registrar) Deregister(ctx context.Context, f Farewell) error {
	if err := wire.CheckName("id", string(f.ID)); err != nil {
		return badRecord("%w", err)
	}
	if f.Epoch < 1 {
		return badRecord("epoch: missing")
	}
	snap, err := r.store.Snapshot(ctx, nil)
	if err != nil {
		return err
	}
	switch n := snap.Node(f.ID); {
	case n == nil:
		return fmt.Errorf("deregister node %s: %w", f.ID, store.ErrNotFound)
	case n.Epoch != f.Epoch || n.Instance != f.Instance:
		return fmt.Errorf("deregister node %s: not the process that holds the id: %w", f.ID, store.ErrEpoch)
	}
	if err := r.store.DeregisterNode(ctx, f.ID, f.Epoch); err != nil {
		return err
	}
	// A replica that finds the node gone looks for this event, to tell a farewell from a
	// store that was emptied.
	r.event(ctx, store.EventNodeDeregistered, f.ID, "", string(f.ID)+" left")
	r.log.InfoContext(ctx, "Node deregistered: "+string(f.ID), "node", f.ID, "epoch", f.Epoch)
	r.changed(ctx)
	return nil
}

// PutCatalog keeps the lists of one server under their digest. The errors wrap ErrRecord if
// the bytes are too many, are not a JSON object, or do not have that digest.
func (r *Registrar) PutCatalog(ctx context.Context, d store.Digest, raw []byte) error {
	if !isHex(string(d), 64) {
		return badRecord("digest: must be 64 lower-case hex digits")
	}
	if len(raw) > MaxCatalog {
		return badRecord("catalog: %d bytes, at most %d", len(raw), MaxCatalog)
	}
	sum := sha256.Sum256(raw)
	if hex.EncodeToString(sum[:]) != string(d) {
		return badRecord("digest: the SHA-256 of the catalog's bytes is another")
	}
	if !bytes.HasPrefix(raw, []byte("{")) || !json.Valid(raw) {
		return badRecord("catalog: must be a JSON object")
	}
	if err := r.store.PutCatalog(ctx, d, raw, r.cfg.CatalogTTL); err != nil {
		return err
	}
	r.touched.mark(d)
	r.changed(ctx)
	return nil
}

// grant answers an accepted record.
func (r *Registrar) grant(n store.Node, key []byte, missing []store.Digest) Grant {
	if missing == nil {
		missing = []store.Digest{} // a list in JSON, always
	}
	g := Grant{
		Epoch:             n.Epoch,
		Credential:        FleetCredential(key),
		HeartbeatInterval: r.cfg.HeartbeatInterval.Milliseconds(),
		NodeTimeout:       r.cfg.NodeTimeout.Milliseconds(),
		SessionTimeout:    r.cfg.SessionTimeout.Milliseconds(),
		MissingCatalogs:   missing,
		Version:           r.cfg.Version,
	}
	if r.cfg.Secret != "" {
		g.Proof = GrantProof(r.cfg.Secret, n.Instance, g.Epoch, g.Credential)
	}
	return g
}

// missing lists the node's catalogs that the store lacks, and lets the others live on. Each is
// asked about at most once a minute, unless all may have been lost.
func (r *Registrar) missing(ctx context.Context, n store.Node, all bool) []store.Digest {
	var due []store.Digest
	seen := make(map[store.Digest]bool, len(n.Servers))
	for _, s := range n.Servers {
		if s.Catalog == "" || seen[s.Catalog] || !all && r.touched.has(s.Catalog) {
			continue
		}
		seen[s.Catalog] = true
		due = append(due, s.Catalog)
	}
	if len(due) == 0 {
		return nil
	}
	missing, err := r.store.TouchCatalogs(ctx, due, r.cfg.CatalogTTL)
	if err != nil { // asked again with the next beat
		r.log.DebugContext(ctx, "catalogs not refreshed", "node", n.ID, "err", err)
		return nil
	}
	absent := make(map[store.Digest]bool, len(missing))
	for _, d := range missing {
		absent[d] = true
	}
	for _, d := range due {
		if !absent[d] {
			r.touched.mark(d)
		}
	}
	return missing
}

// changed lets this replica and the others look at the nodes at once.
func (r *Registrar) changed(ctx context.Context) {
	if r.cfg.Changed != nil {
		r.cfg.Changed()
	}
	if err := r.store.Notify(ctx, store.Hint{Kind: store.HintRev}); err != nil { // they look by themselves
		r.log.DebugContext(ctx, "hint not sent", "err", err)
	}
}

// event writes to the events stream. It is for people; its loss is absorbed.
func (r *Registrar) event(ctx context.Context, kind store.EventKind, node store.NodeID, server store.ServerID, text string) {
	e := store.Event{Kind: kind, Node: node, Server: server, Coordinator: string(r.cfg.Coordinator), Text: text}
	if err := r.store.AppendEvent(ctx, e); err != nil {
		r.log.WarnContext(ctx, "event not recorded", "node", node, "err", err)
	}
}
