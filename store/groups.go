package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// PutGroup writes a group: one that is new where create is true, and otherwise another content
// for one that stands. Updated is Redis's to give. It moves the revision of the groups.
//
// It returns ErrExists or ErrNotFound, after which nothing has changed; ErrTooMany when there are
// as many groups as there may be; ErrInvalid for a content that cannot be (see [Group.Check]);
// or ErrUnavailable, after which it may stand: look, or write it again.
func (s *Store) PutGroup(ctx context.Context, g Group, create bool) error {
	op := "change group " + printable(g.Name)
	mode := "0"
	if create {
		op, mode = "create group "+printable(g.Name), "1"
	}
	if err := g.Check(); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	raw, err := groupJSON(shown(g))
	if err != nil {
		return fmt.Errorf("%s: %w", op, invalid("%w", err))
	}
	r, err := s.evalFor(ctx, writes, op, g.Name, scriptCall{
		script: groupPut,
		keys:   []string{s.keys.groups(), s.keys.groupsRev()},
		args:   []any{g.Name, raw, mode, maxGroups},
	})
	if err != nil {
		return err
	}
	switch r.num(1) {
	case 0:
		return fmt.Errorf("%s: %w", op, ErrNotFound)
	case -1:
		return fmt.Errorf("%s: %w", op, ErrExists)
	case -2:
		return fmt.Errorf("%s: %w: there are %d groups already", op, ErrTooMany, maxGroups)
	}
	return nil
}

// DeleteGroup forgets a group and moves the revision of the groups. It returns ErrNotFound if there
// is none of that name, ErrInvalid for a name that cannot be one, or ErrUnavailable, after which
// it may be gone.
func (s *Store) DeleteGroup(ctx context.Context, name string) error {
	op := "delete group " + printable(name)
	if err := checkGroupName(name); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	r, err := s.evalFor(ctx, writes, op, name, scriptCall{
		script: groupDelete,
		keys:   []string{s.keys.groups(), s.keys.groupsRev()},
		args:   []any{name},
	})
	if err != nil {
		return err
	}
	if r.num(1) == 0 {
		return fmt.Errorf("%s: %w", op, ErrNotFound)
	}
	return nil
}

// Groups reads the groups, sorted by name, and the revision that they have. While that is since, which
// the caller got with the groups it has, list is nil; a negative since gets the list in any case.
// A damaged group is left out, with a warning. One round trip.
//
// A Redis that holds no groups and never did has revision 0. So a caller that had another one
// before knows that Redis was emptied, and may put the groups back with RestoreGroups.
//
// It returns ErrUnavailable; the caller's groups then stay good to use.
func (s *Store) Groups(ctx context.Context, since int64) (list []Group, rev int64, err error) {
	r, err := s.eval(ctx, reads, "read groups", scriptCall{
		script: groupList,
		keys:   []string{s.keys.groups(), s.keys.groupsRev()},
		args:   []any{strconv.FormatInt(since, 10)},
	})
	if err != nil {
		return nil, 0, err
	}
	rev = r.num(0)
	if len(r) < 2 || r[1] == nil {
		return nil, rev, nil
	}
	list = []Group{}
	for name, raw := range r.list(1).fields() {
		g, err := groupFrom(name, raw)
		if err != nil {
			s.log.WarnContext(ctx, "damaged group left out", "err", err)
			continue
		}
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b Group) int { return cmp.Compare(a.Name, b.Name) })
	return list, rev, nil
}

// RestoreGroups puts groups back into a Redis that was emptied, each with its Updated, all at
// once or none. Where there is a revision, nothing is written: of several callers the first wins,
// and a change made since is newer than what anybody remembers. It returns ErrInvalid or
// ErrUnavailable, after which they may stand: read them again.
func (s *Store) RestoreGroups(ctx context.Context, list []Group) error {
	const op = "restore groups"
	args := make([]any, 0, 2*len(list))
	for _, g := range list {
		if err := g.Check(); err != nil {
			return fmt.Errorf("%s: %s: %w", op, printable(g.Name), err)
		}
		raw, err := groupJSON(storedGroup{shown(g), millis(g.Updated)})
		if err != nil {
			return fmt.Errorf("%s: %w", op, invalid("%w", err))
		}
		args = append(args, g.Name, raw)
	}
	if len(list) > maxGroups {
		return fmt.Errorf("%s: %w: %d, at most %d", op, ErrTooMany, len(list), maxGroups)
	}
	_, err := s.evalFor(ctx, writes, op, "groups", scriptCall{
		script: groupRestore,
		keys:   []string{s.keys.groups(), s.keys.groupsRev()},
		args:   args,
	})
	return err
}

// storedGroup is a group as Redis has it.
type storedGroup struct {
	Group
	Updated int64 `json:"updated"` // milliseconds
}

// shown is g with a list of servers, if an empty one.
func shown(g Group) Group {
	if g.Servers == nil {
		g.Servers = []GroupServer{}
	}
	return g
}

// groupFrom reads a stored group. It must carry the name it was found under.
func groupFrom(name, raw string) (Group, error) {
	var stored storedGroup
	if err := json.Unmarshal([]byte(raw), &stored); err != nil {
		return Group{}, fmt.Errorf("group %s: %w: %w", printable(name), errDamaged, err)
	}
	g := stored.Group
	if g.Name != name {
		return Group{}, fmt.Errorf("group %s: %w: it has the name %s", printable(name), errDamaged, printable(g.Name))
	}
	if err := g.Check(); err != nil {
		return Group{}, fmt.Errorf("group %s: %w: %w", printable(name), errDamaged, err)
	}
	g.Updated = fromMillis(stored.Updated)
	return shown(g), nil
}

// groupJSON is encoding/json without what only HTML needs, so that redis-cli shows it plainly.
func groupJSON(v any) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return string(bytes.TrimRight(b.Bytes(), "\n")), err
}
