package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// initField is the field of a session's hash that names its initialize params.
const initField = "initDigest"

// bindField starts the fields of a session's hash that hold bindings.
const bindField = "bind:"

// touchBatch is how many sessions TouchSessions takes at a time, so that each step stays far
// below Config.Timeout on the embedded server too.
const touchBatch = 200

// maxLevel bounds the name of a log level. The longest in MCP is emergency.
const maxLevel = 16

// shardOf says which zset of the index a checked session id belongs to.
func shardOf(id SessionID) int {
	b, _ := strconv.ParseUint(string(id[:2]), 16, 8)
	return int(b & (shards - 1))
}

// CreateSession writes a session for ttl, or writes back one that Redis has forgotten. What
// stands there already is kept, so of several writers the first wins, binding by binding.
// The zero Created means now; Seen and Expires are not looked at.
//
// It returns ErrEnded if the session was ended, ErrInvalid, or ErrUnavailable, after which it
// may stand: create it again.
func (s *Store) CreateSession(ctx context.Context, sess Session, ttl time.Duration) error {
	const op = "create session"
	if err := errors.Join(checkSession(sess.ID), checkTTL(ttl)); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	args := []any{string(sess.ID), ttl.Milliseconds(), millis(sess.Created)}
	for _, f := range [][2]string{{"subject", sess.Subject}, {"scope", sess.Scope}, {"era", sess.Era}, {"level", sess.Level}} {
		if f[1] != "" {
			args = append(args, f[0], f[1])
		}
	}
	var calls []scriptCall // the params first, so that no session is without them
	switch n := len(sess.Init); {
	case n > sharedInit:
		args = append(args, "init", sess.Init)
	case n > 0:
		d, keep := s.keepInit(sess.Init, ttl)
		calls, args = append(calls, keep), append(args, initField, string(d))
	}
	for server, b := range sess.Bindings {
		if err := errors.Join(checkServer(server), checkBinding("session's", b)); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		if b != (Binding{}) {
			args = append(args, bindField+string(server), b.String())
		}
	}
	calls = append(calls, scriptCall{sessionCreate, []string{s.keys.session(sess.ID)}, args})
	out, err := s.evalMany(ctx, writes, op, calls)
	if err != nil {
		return err
	}
	r, err := asReply(op, out[len(out)-1])
	if err == nil {
		err = r.belongs(op, string(sess.ID))
	}
	if err != nil {
		return err
	}
	if r.num(1) < 0 {
		return fmt.Errorf("%s: %w", op, ErrEnded)
	}
	// The index lies in another slot, so it may lack the session for a moment, or for good if
	// this process dies now. Each touch writes it again.
	return s.pipe(ctx, writes, op, func(ctx context.Context, p redis.Pipeliner) {
		s.list(ctx, p, s.keys.sessionIndex(shardOf(sess.ID)), []SessionID{sess.ID}, r.num(2), ttl)
		if sess.Subject != "" {
			s.list(ctx, p, s.keys.subject(sess.Subject), []SessionID{sess.ID}, r.num(2), ttl)
		}
	})
}

// list notes in a shard of the index, or among the sessions of a subject, that sessions live for ttl
// from now (ms of Redis's clock), drops the entries that have expired, and lets the key itself
// expire with its last.
func (s *Store) list(ctx context.Context, p redis.Pipeliner, key string, ids []SessionID, now int64, ttl time.Duration) {
	members := make([]redis.Z, len(ids))
	for i, id := range ids {
		members[i] = redis.Z{Score: float64(now + ttl.Milliseconds()), Member: string(id)}
	}
	p.ZAdd(ctx, key, members...)
	p.ZRemRangeByScore(ctx, key, "-inf", strconv.FormatInt(now, 10))
	p.Do(ctx, "pexpire", key, ttl.Milliseconds(), "nx")
	p.Do(ctx, "pexpire", key, ttl.Milliseconds(), "gt")
}

// unlist takes a session from the index and from those of its subject, if it has one. It need not
// succeed: the entries expire.
func (s *Store) unlist(ctx context.Context, id SessionID, subject string) {
	_ = s.pipe(ctx, writes, "unlist session", func(ctx context.Context, p redis.Pipeliner) {
		p.ZRem(ctx, s.keys.sessionIndex(shardOf(id)), string(id))
		if subject != "" {
			p.ZRem(ctx, s.keys.subject(subject), string(id))
		}
	})
}

// Session reads one session; Init is not to be changed. One round trip, and a second one for params of
// initialize that this store has not seen lately. It returns ErrNotFound if Redis does not know it
// (it has expired, Redis was emptied, or has lost a part of it), ErrEnded, ErrInvalid for an id that cannot be one, or ErrUnavailable.
func (s *Store) Session(ctx context.Context, id SessionID) (Session, error) {
	const op = "read session"
	if err := checkSession(id); err != nil {
		return Session{}, fmt.Errorf("%s: %w", op, err)
	}
	loaded, err := s.loadSessions(ctx, op, []SessionID{id})
	if err != nil {
		return Session{}, err
	}
	if err := loaded[0].err; err != nil {
		return Session{}, fmt.Errorf("%s: %w", op, err)
	}
	sess := loaded[0].session
	if d := loaded[0].init; d != "" && len(sess.Init) == 0 {
		if sess.Init, err = s.readInit(ctx, op, d); errors.Is(err, ErrNotFound) {
			err = fmt.Errorf("%s: %w", op, err)
		}
	}
	if err != nil {
		return Session{}, err
	}
	return sess, nil
}

// loaded is one of loadSessions' answers.
type loaded struct {
	session Session
	init    initDigest // of params that are shared
	err     error      // ErrNotFound, ErrEnded or errDamaged
}

// loadSessions reads sessions in one pipeline, in the order of ids, but for params that are shared.
func (s *Store) loadSessions(ctx context.Context, op string, ids []SessionID) ([]loaded, error) {
	hashes := make([]*redis.MapStringStringCmd, len(ids))
	expiries := make([]*redis.DurationCmd, len(ids))
	err := s.pipe(ctx, reads, op, func(ctx context.Context, p redis.Pipeliner) {
		for i, id := range ids {
			hashes[i] = p.HGetAll(ctx, s.keys.session(id))
			expiries[i] = p.PExpireTime(ctx, s.keys.session(id))
		}
	})
	if err != nil {
		return nil, err
	}
	out := make([]loaded, len(ids))
	for i, id := range ids {
		if hashes[i].Err() != nil { // not a hash: somebody wrote over it
			out[i].err = fmt.Errorf("%w: %w", ErrNotFound, errDamaged)
			continue
		}
		out[i].init = initDigest(hashes[i].Val()[initField])
		out[i].session, out[i].err = sessionFrom(id, hashes[i].Val(), expiries[i].Val())
	}
	return out, nil
}

// sessionFrom reads a session's hash, which must carry the id it was found under.
func sessionFrom(id SessionID, f map[string]string, expires time.Duration) (Session, error) {
	switch {
	case f["id"] != "" && f["id"] != string(id):
		return Session{}, fmt.Errorf("%w: %w: it has another id", ErrNotFound, errDamaged)
	case f["ended"] != "":
		return Session{}, ErrEnded
	case f["id"] == "" || expires <= 0:
		return Session{}, ErrNotFound
	}
	sess := Session{
		ID: id, Subject: f["subject"], Scope: f["scope"], Era: f["era"], Init: []byte(f["init"]), Level: f["level"], Subs: f["subs"],
		Created: fromMillis(parseNum(f["created"])), Seen: fromMillis(parseNum(f["seen"])),
		Expires: fromMillis(expires.Milliseconds()), Bindings: map[ServerID]Binding{},
	}
	for name, text := range f {
		server, ok := strings.CutPrefix(name, bindField)
		if !ok {
			continue
		}
		if b, err := ParseBinding(text); err == nil && b != (Binding{}) { // a damaged one is none: the next Bind mends it
			sess.Bindings[ServerID(server)] = b
		}
	}
	return sess, nil
}

// Bind makes next the session's binding for server if the present one is prev (the zero Binding
// is "none", for both), refreshes the session for ttl, and returns the binding that stands
// afterwards: next for the winner, for all others what the winner wrote. A next that stands
// already has won.
//
// It returns ErrNotFound if Redis does not know the session (write it back with CreateSession,
// then bind), ErrEnded, ErrInvalid, or ErrUnavailable, after which either may stand: bind again.
func (s *Store) Bind(ctx context.Context, id SessionID, server ServerID, prev, next Binding, ttl time.Duration) (Binding, error) {
	const op = "bind session"
	err := errors.Join(checkSession(id), checkServer(server), checkBinding("old", prev), checkBinding("new", next), checkTTL(ttl))
	if err != nil {
		return Binding{}, fmt.Errorf("%s: %w", op, err)
	}
	r, err := s.evalFor(ctx, writes, op, string(id), scriptCall{
		script: sessionBind,
		keys:   []string{s.keys.session(id)},
		args:   []any{string(id), ttl.Milliseconds(), bindField + string(server), prev.String(), next.String()},
	})
	if err != nil {
		return Binding{}, err
	}
	if err := sessionCode(r.num(1)); err != nil {
		return Binding{}, fmt.Errorf("%s: %w", op, err)
	}
	b, err := ParseBinding(r.str(2))
	if err != nil {
		return Binding{}, fmt.Errorf("%s: %w: %w", op, ErrUnavailable, err)
	}
	return b, nil
}

// SetSessionLevel changes the session's Level; the last one who sets it wins. Its time to live
// stays as it is. It returns ErrNotFound if Redis does not know the session (write it back with
// CreateSession, then set it), ErrEnded, ErrInvalid, or ErrUnavailable, after which either may
// stand: set it again.
func (s *Store) SetSessionLevel(ctx context.Context, id SessionID, level string) error {
	const op = "set log level of session"
	if err := checkSession(id); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if level == "" || len(level) > maxLevel {
		return fmt.Errorf("%s: %w", op, invalid("level: want 1 to %d bytes", maxLevel))
	}
	r, err := s.evalFor(ctx, writes, op, string(id), scriptCall{
		script: sessionLevel, keys: []string{s.keys.session(id)}, args: []any{string(id), level},
	})
	if err != nil {
		return err
	}
	if err := sessionCode(r.num(1)); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

// sessionCode reads the second element of the session scripts' answers.
func sessionCode(code int64) error {
	switch code {
	case 0:
		return ErrNotFound
	case -1:
		return ErrEnded
	}
	return nil
}

// TouchSessions notes that the sessions are in use: each lives ttl from now, and its Seen is now.
// Two round trips for each 200. It returns *MissingSessionsError if some are unknown or ended
// (the others are touched), ErrInvalid (none is touched), or ErrUnavailable (some may be).
func (s *Store) TouchSessions(ctx context.Context, ids []SessionID, ttl time.Duration) error {
	const op = "touch sessions"
	if err := checkTTL(ttl); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	for _, id := range ids {
		if err := checkSession(id); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
	}
	var lost MissingSessionsError
	for len(ids) > 0 {
		n := min(len(ids), touchBatch)
		if err := s.touchSome(ctx, op, ids[:n], ttl, &lost); err != nil {
			return err
		}
		ids = ids[n:]
	}
	if len(lost.Missing)+len(lost.Ended) > 0 {
		return &lost
	}
	return nil
}

// alive are sessions that are to be touched, and what is to be touched with them.
type alive struct {
	ids, subscribed []SessionID
	byIndex         map[string][]SessionID // by the keys in which they are listed
	byInit          map[initDigest][]SessionID
}

// touchSome looks first and writes then; a script for each session would be atomic and cost the embedded
// server twenty times as much. What can slip in between heals: a session that
// expires leaves a stump without id, which reads as not found and expires; one that is
// ended keeps its tombstone, and is counted, never listed, until it would have expired.
func (s *Store) touchSome(ctx context.Context, op string, ids []SessionID, ttl time.Duration, lost *MissingSessionsError) error {
	var clock *redis.TimeCmd
	known := make([]*redis.SliceCmd, len(ids))
	err := s.pipe(ctx, reads, op, func(ctx context.Context, p redis.Pipeliner) {
		clock = p.Time(ctx)
		for i, id := range ids {
			known[i] = p.HMGet(ctx, s.keys.session(id), "id", "ended", initField, "subs", "subject")
		}
	})
	if err != nil {
		return err
	}
	live := alive{byIndex: map[string][]SessionID{}, byInit: map[initDigest][]SessionID{}}
	for i, id := range ids {
		switch f := known[i].Val(); {
		case len(f) == 5 && f[0] == string(id) && f[1] == nil:
			live.add(&s.keys, id, f)
		case len(f) == 5 && f[0] == string(id):
			lost.Ended = append(lost.Ended, id)
		default:
			lost.Missing = append(lost.Missing, id)
		}
	}
	if len(live.ids) == 0 {
		return nil
	}
	now := clock.Val().UnixMilli()
	inits := map[initDigest]*redis.IntCmd{}
	err = s.pipe(ctx, writes, op, func(ctx context.Context, p redis.Pipeliner) {
		for _, id := range live.ids {
			p.HSet(ctx, s.keys.session(id), "seen", strconv.FormatInt(now, 10))
			p.PExpire(ctx, s.keys.session(id), ttl)
		}
		for _, id := range live.subscribed {
			p.PExpire(ctx, s.keys.subs(id), subsLife(ttl))
		}
		for d := range live.byInit {
			inits[d] = p.Exists(ctx, s.keys.init(d))
			p.Do(ctx, "pexpire", s.keys.init(d), initLife(ttl).Milliseconds(), "gt")
		}
		for key, members := range live.byIndex {
			s.list(ctx, p, key, members, now, ttl)
		}
	})
	for d, cmd := range inits { // whoever has these sessions cached writes their params back
		if err == nil && cmd.Val() == 0 {
			lost.Missing = append(lost.Missing, live.byInit[d]...)
		}
	}
	return err
}

// add takes in a session of which touchSome has read the fields: id, ended, the digest of its
// params, subs, subject.
func (a *alive) add(k *keys, id SessionID, f []any) {
	a.ids = append(a.ids, id)
	list := func(key string) { a.byIndex[key] = append(a.byIndex[key], id) }
	list(k.sessionIndex(shardOf(id)))
	if subject, _ := f[4].(string); subject != "" {
		list(k.subject(subject))
	}
	if d, ok := f[2].(string); ok {
		a.byInit[initDigest(d)] = append(a.byInit[initDigest(d)], id)
	}
	if f[3] != nil {
		a.subscribed = append(a.subscribed, id)
	}
}

// EndSession ends a session on purpose: for ttl nobody can create, bind or touch it again.
// Ending one that is unknown or ended already is no error. After ErrUnavailable, end it again.
func (s *Store) EndSession(ctx context.Context, id SessionID, ttl time.Duration) error {
	const op = "end session"
	if err := errors.Join(checkSession(id), checkTTL(ttl)); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	r, err := s.evalFor(ctx, writes, op, string(id), scriptCall{
		script: sessionEnd,
		keys:   []string{s.keys.session(id), s.keys.subs(id)},
		args:   []any{string(id), ttl.Milliseconds()},
	})
	if err != nil {
		return err
	}
	s.unlist(ctx, id, r.str(2))
	return nil
}
