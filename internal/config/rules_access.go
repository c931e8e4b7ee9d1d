package config

import (
	"fmt"
	"slices"
	"strings"
)

func beginGroup(t *target, _ string) { t.group = &Group{} }

// endGroup holds that names and ids are unique.
func endGroup(d *decoder, s section) {
	g := d.t.group
	d.unique(s, "group", "name", g.Name)
	d.unique(s, "group", "id", g.ID)
	d.t.Groups = append(d.t.Groups, *g)
	if m, ok := s.has("name"); ok && g.Name != "" {
		d.groups = append(d.groups, refer(m.value, s.path, g.Name))
	}
}

// unique refuses a value that another entry has; what says of which kind the entries are.
func (d *decoder) unique(s section, what, key, value string) {
	if m, ok := s.has(key); ok && value != "" && !d.first(what, key, value) {
		d.fail(m.value.at, join(s.path, key), "another "+what+" has this "+key)
	}
}

// first reports whether these words have not been seen together before.
func (d *decoder) first(a, b, c string) bool {
	words := [3]string{a, b, c}
	seen := d.seen[words]
	d.seen[words] = true
	return !seen
}

func beginMember(t *target, _ string) { t.member = &GroupServer{} }

// endMember holds that a group has a server once.
func endMember(d *decoder, s section) {
	name := d.t.member.Name
	m, ok := s.has("name")
	if !ok || name == "" {
		return
	}
	if !d.first("member", fmt.Sprint(len(d.t.Groups)), name) {
		d.fail(m.value.at, s.path, "the group has this server already")
		return
	}
	d.t.group.Servers = append(d.t.group.Servers, *d.t.member)
	d.servers = append(d.servers, refer(m.value, s.path, name))
}

func beginBearer(t *target, _ string) { t.bearer = &BearerKey{} }

// endBearer settles what a key may use, and holds that keys can be told apart.
func endBearer(d *decoder, s section) {
	b := d.t.bearer
	d.unique(s, "key", "name", b.Name)
	d.unique(s, "key", "id", b.ID)
	d.unique(s, "key", "token", b.Key.Reveal())
	if _, given := s.has("accessType"); !given {
		b.AccessType = accessOf(len(b.Groups) > 0, len(b.Servers) > 0)
	}
	b.Groups = d.allowed(s, "allowedGroups", b.Groups, AccessGroups, &d.keyGroups)
	b.Servers = d.allowed(s, "allowedServers", b.Servers, AccessServers, &d.servers)
	if b.Enabled && b.AccessType != AccessAll && len(b.Groups)+len(b.Servers) == 0 {
		d.warn(s.e.at, s.path, "opens nothing: no group and no server is allowed to it")
	}
	d.t.BearerKeys = append(d.t.BearerKeys, *b)
}

// accessOf is the access that follows from the lists that are given.
func accessOf(groups, servers bool) Access {
	switch {
	case groups && servers:
		return AccessCustom
	case groups:
		return AccessGroups
	case servers:
		return AccessServers
	}
	return AccessAll
}

// allowed is a list of a key as it holds: each name once, and none where the key's access is not
// by this list, which is said. The names are noted, to be looked up at the end.
func (d *decoder) allowed(s section, name string, list []string, by Access, noted *[]reference) []string {
	m, ok := s.has(name)
	if !ok || len(list) == 0 {
		return nil
	}
	if access := d.t.bearer.AccessType; access != by && access != AccessCustom {
		d.warn(m.at, join(s.path, name), fmt.Sprintf("is not used, because accessType is %q", access))
		return nil
	}
	var out []string
	for i, value := range list {
		if !d.first(s.path, name, value) {
			continue
		}
		out = append(out, value)
		*noted = append(*noted, refer(m.value.items[i], fmt.Sprintf("%s[%d]", join(s.path, name), i), value))
	}
	return out
}

func beginUser(t *target, _ string) { t.user = &User{} }

// endUser holds that usernames are unique.
func endUser(d *decoder, s section) {
	if m, ok := s.has("username"); ok && d.t.user.Username != "" && !d.first("user", "username", d.t.user.Username) {
		d.fail(m.value.at, join(s.path, "username"), "another user has this name")
	}
	d.t.Users = append(d.t.Users, *d.t.user)
}

// endFile holds what can only be told from the whole file e.
func (d *decoder) endFile(e *element) {
	d.endAuth(e)
	d.endGroups(e)
	if d.t.Mode == Node {
		for _, name := range []string{"groups", "bearerKeys"} {
			if m, ok := e.find(name); ok && len(m.value.items)+len(m.value.members) > 0 {
				d.warn(m.at, name, "is not used in mode node: clients come in at the coordinators")
			}
		}
		return
	}
	servers, groups := names{}, names{}
	if m, ok := e.find("mcpServers"); ok {
		for _, s := range m.value.members {
			servers[s.name] = true
		}
	}
	for _, g := range d.groups {
		groups[g.name] = g.shown
	}
	d.groupNames(servers)
	d.known(d.servers, servers, d.t.Mode == Standalone, "no server of mcpServers has this name", "not in mcpServers, so they must be on nodes: ")
	for _, g := range d.t.Groups {
		if _, taken := groups[g.ID]; !taken && g.ID != "" {
			groups[g.ID] = false
		}
	}
	embedded := d.t.Cluster.Redis.URL == "" && d.getenv(envRedisURL) == ""
	d.known(d.keyGroups, groups, d.t.Mode == Standalone && embedded, "no group has this name or id",
		"not in groups, so they must be made by REST before their keys are of use: ")
}

// names are those of the file, each with whether it may be shown to someone who misspelt it.
type names map[string]bool

// groupNames refuses a name that is a group and a server: /mcp/<name> would be two things.
func (d *decoder) groupNames(servers names) {
	for _, g := range d.groups {
		if _, both := servers[g.name]; both {
			d.fail(g.at, g.path, g.quoted()+" is a server too, and /mcp/<name> can be only one of them: rename the group")
		}
	}
}

// known holds that the names in refs are there. Where they cannot be known, because others have
// some, it warns once; and where this file has none at all, there is nothing to compare.
func (d *decoder) known(refs []reference, all names, certain bool, problem, warning string) {
	refs = slices.DeleteFunc(refs, func(r reference) bool { _, there := all[r.name]; return there })
	switch {
	case len(refs) == 0:
	case certain:
		d.unknownNames(refs, all, problem)
	case len(all) > 0:
		missing := make([]string, 0, len(refs))
		for _, r := range refs {
			missing = append(missing, r.quoted())
		}
		slices.Sort(missing)
		missing = slices.Compact(missing)
		d.warn(refs[0].at, refs[0].path, warning+strings.Join(missing[:min(len(missing), maxUnused)], ", "))
	}
}

// unknownNames refuses names that nothing has, with what was probably meant.
func (d *decoder) unknownNames(refs []reference, all names, problem string) {
	var shown []string
	for name, show := range all {
		if show {
			shown = append(shown, name)
		}
	}
	slices.Sort(shown)
	for _, r := range refs {
		message := r.quoted() + ": " + problem
		if r.shown && len(d.problems) < maxProblems { // the rest is only counted
			if near := nearest(r.name, shown, maxEdits); near != "" {
				message += fmt.Sprintf("; did you mean %q?", near)
			}
		}
		d.fail(r.at, r.path, message)
	}
}

// endGroups says what about the groups may surprise, and names them in the lists of keys.
func (d *decoder) endGroups(e *element) {
	byID := map[string]string{}
	for _, g := range d.t.Groups {
		if g.ID != "" {
			byID[g.ID] = g.Name
		}
	}
	for _, g := range d.t.Groups {
		delete(byID, g.Name) // a name goes before an id
	}
	for i, b := range d.t.BearerKeys {
		for j, name := range b.Groups {
			if real := byID[name]; real != "" {
				d.t.BearerKeys[i].Groups[j] = real
			}
		}
		slices.Sort(d.t.BearerKeys[i].Groups)
		d.t.BearerKeys[i].Groups = slices.Compact(d.t.BearerKeys[i].Groups)
	}
	if m, ok := e.find("systemConfig", "routing", "enableGroupNameRoute"); ok && !d.t.Routing.EnableGroupNameRoute && len(d.t.Groups) > 0 {
		d.warn(m.value.at, "systemConfig.routing.enableGroupNameRoute", "is false, so nobody reaches the groups; they only limit keys")
	}
}

// endAuth settles who is asked for a key, and which keys there are.
func (d *decoder) endAuth(e *element) {
	const enableName, keyName = "systemConfig.routing.enableBearerAuth", "systemConfig.routing.bearerAuthKey"
	enable, given := e.find("systemConfig", "routing", "enableBearerAuth")
	single, hasKey := e.find("systemConfig", "routing", "bearerAuthKey")
	list, hasList := e.find("bearerKeys")
	r, keys := &d.t.Routing, d.t.BearerKeys
	if !given && len(keys) > 0 {
		r.EnableBearerAuth = true
	}
	switch {
	case r.EnableBearerAuth && !hasKey && !hasList:
		d.fail(enable.value.at, enableName, `is true and needs "bearerAuthKey", or keys in "bearerKeys"`)
	case !r.EnableBearerAuth && len(keys) > 0:
		d.warn(enable.value.at, enableName, "is false, so clients come in without a key, and bearerKeys limits nobody")
	case !r.EnableBearerAuth && r.BearerAuthKey != "":
		d.warn(single.at, keyName, "is not asked for, because enableBearerAuth is false")
	case r.EnableBearerAuth && r.BearerAuthKey != "" && hasList:
		d.oneKey(single.at, keyName)
	}
	enabled := slices.ContainsFunc(keys, func(b BearerKey) bool { return b.Enabled })
	if r.EnableBearerAuth && r.BearerAuthKey == "" && hasList && !enabled {
		d.warn(list.at, "bearerKeys", "has no enabled key, so no client can come in")
	}
}

// oneKey settles what the single key means beside the list. MCPHub once moved it into the list and
// has not read it since, so a key that was limited or taken away there may still stand here.
func (d *decoder) oneKey(at int, path string) {
	r := &d.t.Routing
	for i, b := range d.t.BearerKeys {
		if b.Key != r.BearerAuthKey {
			continue
		}
		if !b.Enabled || b.AccessType != AccessAll {
			d.warn(at, path, fmt.Sprintf("is the token of bearerKeys[%d] too, and what is said there holds", i))
		}
		r.BearerAuthKey = ""
		return
	}
	d.warn(at, path, "opens everything, beside bearerKeys; MCPHub itself does not read it where that list is: remove it if it is not wanted")
}

// minSecret is the length under which a secret draws a warning.
const minSecret = 16

// shortSecrets warns of secrets that can be guessed.
func shortSecrets(s *Settings, warn func(path string)) {
	type secret struct {
		path  string
		value Secret
	}
	all := []secret{
		{"systemConfig.cluster.secret", s.Cluster.Secret},
		{"systemConfig.cluster.adminToken", s.Cluster.AdminToken},
		{"systemConfig.routing.bearerAuthKey", s.Routing.BearerAuthKey},
	}
	for i, b := range s.BearerKeys {
		all = append(all, secret{fmt.Sprintf("bearerKeys[%d].token", i), b.Key})
	}
	for _, c := range all {
		if n := len(c.value); n > 0 && n < minSecret {
			warn(c.path)
		}
	}
}
