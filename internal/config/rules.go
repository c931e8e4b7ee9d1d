package config

import (
	"fmt"
	"strings"
)

// Rules between several keys. Each runs when its section has been read.

// minSecret is the length under which a secret draws a warning.
const minSecret = 16

func beginServer(t *target, name string) { t.server = &Server{Name: name} }

// endServer holds that a server is either a command or a URL, and nothing of the other.
func endServer(d *decoder, s section) {
	command, hasCommand := s.has("command")
	_, hasURL := s.has("url")
	switch {
	case hasCommand && hasURL:
		d.fail(command.at, s.path, `has both "command" and "url": a server is started here or reached elsewhere, keep one`)
		return
	case !hasCommand && !hasURL && s.misspelt("command", "url"):
		return
	case !hasCommand && !hasURL:
		d.fail(s.e.at, s.path, `has neither "command" nor "url": give one`)
		return
	case hasCommand:
		d.endServerAs(s, Stdio, "command", "headers")
	default:
		d.endServerAs(s, StreamableHTTP, "url", "args", "env")
	}
	d.t.Servers = append(d.t.Servers, *d.t.server)
}

// misspelt reports whether a key differs from one of names in case only; that has been
// reported, and saying that the key is missing would not help.
func (s section) misspelt(names ...string) bool {
	for _, m := range s.e.members {
		for _, name := range names {
			if m.name != name && sameLetters(m.name, name) {
				return true
			}
		}
	}
	return false
}

// endServerAs settles the type that follows from key, and refuses what does not go with it.
func (d *decoder) endServerAs(s section, typ, key string, foreign ...string) {
	srv := d.t.server
	if srv.Type != "" && srv.Type != typ {
		m, _ := s.has("type")
		d.fail(m.value.at, join(s.path, "type"), fmt.Sprintf("%q does not go with %q, which means %q", srv.Type, key, typ))
	}
	srv.Type = typ
	for _, name := range foreign {
		if m, ok := s.has(name); ok && len(m.value.members)+len(m.value.items) > 0 {
			d.fail(m.at, join(s.path, name), fmt.Sprintf("does not go with %q", key))
		}
	}
	d.foldedHeaders(s)
}

// foldedHeaders refuses headers that differ only in case: they are the same header.
func (d *decoder) foldedHeaders(s section) {
	m, ok := s.has("headers")
	if !ok {
		return
	}
	first := map[string]string{}
	for _, h := range m.value.members {
		folded := strings.ToLower(h.name)
		if other, twice := first[folded]; twice && checkUpstreamHeader(h.name) == nil {
			d.fail(h.at, join(s.path, "headers"), fmt.Sprintf("%s and %s are the same header: remove one", quote(other), quote(h.name)))
		}
		first[folded] = h.name
	}
}

func beginUser(t *target, _ string) { t.user = &User{} }

// endUser holds that usernames are unique.
func endUser(d *decoder, s section) {
	for _, u := range d.t.Users {
		if m, ok := s.has("username"); ok && u.Username == d.t.user.Username && u.Username != "" {
			d.fail(m.value.at, join(s.path, "username"), "another user has this name")
		}
	}
	d.t.Users = append(d.t.Users, *d.t.user)
}

// endCluster settles the mode and what it needs.
func endCluster(d *decoder, s section) {
	mode, hasMode := s.has("mode")
	enabled, hasEnabled := s.has("enabled")
	c := &d.t.Cluster
	switch {
	case !c.Enabled && hasMode && d.t.mode != Standalone:
		at, why := mode.value.at, `"enabled" is not given`
		if hasEnabled {
			why = `"enabled" is false`
		}
		d.warn(at, join(s.path, "mode"), fmt.Sprintf("is %s, but the process is standalone, because %s", d.t.mode, why))
	case c.Enabled && !hasMode:
		d.warn(enabled.value.at, join(s.path, "enabled"), `is true, but the process is standalone, because "mode" is not given`)
	}
	if c.Enabled {
		d.t.Mode = d.t.mode
	}
	d.needCoordinator(s, mode)
	d.heartbeats(s)
}

// needCoordinator holds that a node knows where to register.
func (d *decoder) needCoordinator(s section, mode member) {
	if d.t.Mode != Node {
		return
	}
	at := mode.value.at
	if node, ok := s.has("node"); ok {
		if _, ok := (section{e: node.value}).has("coordinatorUrl"); ok || node.value.kind != '{' {
			return
		}
		at = node.value.at
	}
	d.fail(at, join(s.path, "node"), `mode node needs "coordinatorUrl": the coordinator, or the load balancer before several`)
}

// heartbeats holds that a beat may be lost without the node being given up. Where only one
// of the two times is in this file the other may be set elsewhere, so that is a warning.
func (d *decoder) heartbeats(s section) {
	beat, hasBeat := s.time("node", "heartbeatInterval")
	timeout, hasTimeout := s.time("coordinator", "nodeTimeout")
	interval, limit := d.t.Cluster.Node.HeartbeatInterval, d.t.Cluster.Coordinator.NodeTimeout
	if 2*interval < limit {
		return
	}
	message := fmt.Sprintf("two heartbeats (2 × %d ms) must fit into nodeTimeout (%d ms)", interval.Milliseconds(), limit.Milliseconds())
	const here = "node.heartbeatInterval"
	switch {
	case hasBeat && hasTimeout:
		d.fail(beat, s.path+"."+here, message)
	case hasBeat:
		d.warn(beat, s.path+"."+here, message+" of the coordinators, which is the default here")
	case hasTimeout && d.t.Mode != Node:
		d.warn(timeout, s.path+".coordinator.nodeTimeout", message+"; heartbeatInterval is the default here")
	}
}

// time returns the offset of a number two levels down.
func (s section) time(sub, name string) (at int, ok bool) {
	outer, ok := s.has(sub)
	if !ok {
		return 0, false
	}
	m, ok := (section{e: outer.value}).has(name)
	if !ok {
		return 0, false
	}
	return m.value.at, true
}

// endSticky says that names are given for what is not done.
func endSticky(d *decoder, s section) {
	for _, name := range []string{"cookieName", "headerName"} {
		m, ok := s.has(name)
		if k := s.key.child(name); ok && m.value.kind == '"' && `"`+m.value.text+`"` != k.def {
			d.warn(m.at, join(s.path, name), `is not used by the strategy "consistent-hash"`)
		}
	}
}

// endRouting holds that a key is there when it is asked for.
func endRouting(d *decoder, s section) {
	enable, _ := s.has("enableBearerAuth")
	bearer, hasKey := s.has("bearerAuthKey")
	switch r := d.t.Routing; {
	case r.EnableBearerAuth && !hasKey:
		d.fail(enable.value.at, join(s.path, "enableBearerAuth"), `is true and needs "bearerAuthKey"`)
	case !r.EnableBearerAuth && r.BearerAuthKey != "":
		d.warn(bearer.at, join(s.path, "bearerAuthKey"), "is not asked for, because enableBearerAuth is false")
	}
}

// shortSecrets warns of secrets that can be guessed.
func shortSecrets(s *Settings, warn func(path string)) {
	for _, c := range []struct {
		path  string
		value Secret
	}{
		{"systemConfig.cluster.secret", s.Cluster.Secret},
		{"systemConfig.cluster.adminToken", s.Cluster.AdminToken},
		{"systemConfig.routing.bearerAuthKey", s.Routing.BearerAuthKey},
	} {
		if n := len(c.value); n > 0 && n < minSecret {
			warn(c.path)
		}
	}
}
