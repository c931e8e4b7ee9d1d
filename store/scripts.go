package store

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"
)

//go:embed lua/*.lua
var luaFiles embed.FS

// The scripts. Each is called by one method, named in the comment. EVALSHA, and EVAL while the
// server's cache is cold.
var (
	nodeRegister        = script("node_register")        // RegisterNode
	nodeBeat            = script("node_beat")            // BeatNode
	nodeDeregister      = script("node_deregister")      // DeregisterNode
	nodeSweep           = script("node_sweep")           // SweepNodes
	nodeRemove          = script("node_remove")          // RemoveNodes
	nodeSnapshot        = script("node_snapshot")        // readNodes, for Snapshot
	sessionCreate       = script("session_create")       // CreateSession
	sessionClaim        = script("session_claim")        // ClaimSession
	sessionBind         = script("session_bind")         // Bind
	sessionLevel        = script("session_level")        // SetSessionLevel
	sessionEnd          = script("session_end")          // EndSession
	sessionSubscription = script("session_subscription") // AddSubscription, DropSubscription
	sessionPage         = script("session_page")         // shardPages, for Sessions
	initKeep            = script("init_keep")            // CreateSession
	coordinatorPut      = script("coordinator_put")      // PutCoordinator
	coordinatorList     = script("coordinator_list")     // PutCoordinator
	inboxPush           = script("inbox_push")           // PushInbox
	inboxAck            = script("inbox_ack")            // AckInbox
	groupPut            = script("group_put")            // PutGroup
	groupDelete         = script("group_delete")         // DeleteGroup
	groupRestore        = script("group_restore")        // RestoreGroups
	groupList           = script("group_list")           // Groups
)

func script(name string) *redis.Script {
	src, err := luaFiles.ReadFile("lua/" + name + ".lua")
	if err != nil {
		panic(err) // cannot happen: the file is part of the build
	}
	return redis.NewScript(string(src))
}

// errDamaged is an answer that does not have the form it should, or belongs to another key.
var errDamaged = errors.New("damaged answer")

// scriptCall is one run of a script.
type scriptCall struct {
	script *redis.Script
	keys   []string
	args   []any
}

// eval runs one script: one round trip once the server knows it.
func (s *Store) eval(ctx context.Context, a access, op string, c scriptCall) (reply, error) {
	var out any
	err := s.call(ctx, a, op, func(ctx context.Context) (err error) {
		out, err = c.script.Run(ctx, s.rdb, c.keys, c.args...).Result()
		return err
	})
	if err != nil {
		return nil, err
	}
	return asReply(op, out)
}

// evalFor is eval for the scripts that answer {id, code, …}: the id must come back.
func (s *Store) evalFor(ctx context.Context, a access, op, id string, c scriptCall) (reply, error) {
	r, err := s.eval(ctx, a, op, c)
	if err != nil {
		return nil, err
	}
	return r, r.belongs(op, id)
}

// evalMany runs scripts in one pipeline; a second one follows for those that a server did not
// know yet. On success the answers stand in the order of calls. Half of them may have
// run when it fails.
func (s *Store) evalMany(ctx context.Context, a access, op string, calls []scriptCall) ([]any, error) {
	if len(calls) == 0 {
		return nil, nil
	}
	out := make([]any, len(calls))
	err := s.call(ctx, a, op, func(ctx context.Context) error {
		cmds := make([]*redis.Cmd, len(calls))
		run := func(eval func(redis.Pipeliner, scriptCall) *redis.Cmd, which []int) error {
			_, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
				for _, i := range which {
					cmds[i] = eval(p, calls[i])
				}
				return nil
			})
			return err
		}
		all := make([]int, len(calls))
		for i := range all {
			all[i] = i
		}
		// The error of the pipeline is that of its first command that failed; each is looked
		// at below.
		_ = run(func(p redis.Pipeliner, c scriptCall) *redis.Cmd { return c.script.EvalSha(ctx, p, c.keys, c.args...) }, all)
		var cold []int
		for i, c := range cmds {
			if redis.HasErrorPrefix(c.Err(), "NOSCRIPT") {
				cold = append(cold, i)
			}
		}
		if len(cold) > 0 {
			_ = run(func(p redis.Pipeliner, c scriptCall) *redis.Cmd { return c.script.Eval(ctx, p, c.keys, c.args...) }, cold)
		}
		for i, c := range cmds {
			if err := c.Err(); err != nil && !errors.Is(err, redis.Nil) {
				return err
			}
			out[i] = c.Val()
		}
		return nil
	})
	return out, err
}

// pipe sends commands in one round trip (one for each server of a cluster). An error reply
// that is about one key of the wrong type is left to the caller, in that command.
func (s *Store) pipe(ctx context.Context, a access, op string, fill func(context.Context, redis.Pipeliner)) error {
	return s.call(ctx, a, op, func(ctx context.Context) error {
		cmds, _ := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			fill(ctx, p)
			return nil
		})
		for _, c := range cmds {
			if err := c.Err(); err != nil && !errors.Is(err, redis.Nil) && !redis.HasErrorPrefix(err, "WRONGTYPE") {
				return err
			}
		}
		return nil
	})
}

// reply is an answer of a script.
type reply []any

func asReply(op string, v any) (reply, error) {
	r, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("%s: %w: %w: %T", op, ErrUnavailable, errDamaged, v)
	}
	return r, nil
}

// belongs checks the id that a script hands back.
func (r reply) belongs(op, id string) error {
	if r.str(0) != id || len(r) < 2 {
		return fmt.Errorf("%s: %w: %w: it belongs to another key", op, ErrUnavailable, errDamaged)
	}
	return nil
}

func (r reply) str(i int) string {
	if i >= len(r) {
		return ""
	}
	switch v := r[i].(type) {
	case string:
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	}
	return ""
}

// num reads an integer, however Redis wrote it; 0 when it is none.
func (r reply) num(i int) int64 {
	if i >= len(r) {
		return 0
	}
	switch v := r[i].(type) {
	case int64:
		return v
	case string:
		return parseNum(v)
	}
	return 0
}

func (r reply) list(i int) reply {
	if i >= len(r) {
		return nil
	}
	l, _ := r[i].([]any)
	return l
}

// fields reads a flat list of field and value.
func (r reply) fields() map[string]string {
	m := make(map[string]string, len(r)/2)
	for i := 0; i+1 < len(r); i += 2 {
		m[r.str(i)] = r.str(i + 1)
	}
	return m
}

// parseNum reads an integer or a score; 0 when it is none.
func parseNum(s string) int64 {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f < -1<<53 || f > 1<<53 {
		return 0
	}
	return int64(f)
}
