package config

import (
	"fmt"
	"slices"
	"strings"
)

// Rules between several keys. Each runs when its section has been read.

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
		d.endServerAs(s, "command", []string{Stdio}, "headers")
		d.t.server.Type = Stdio
	default:
		d.endServerAs(s, "url", []string{StreamableHTTP, SSE}, "args", "env")
	}
	d.endIsolation(s, hasURL)
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

// endServerAs holds that the type is one of those that key means, and refuses what does not go
// with it.
func (d *decoder) endServerAs(s section, key string, types []string, foreign ...string) {
	if typ := d.t.server.Type; typ != "" && !slices.Contains(types, typ) {
		m, _ := s.has("type")
		d.fail(m.value.at, join(s.path, "type"), fmt.Sprintf("%q does not go with %q, which means %s", typ, key, strings.Join(types, " or ")))
	}
	for _, name := range foreign {
		if m, ok := s.has(name); ok && len(m.value.members)+len(m.value.items) > 0 {
			d.fail(m.at, join(s.path, name), fmt.Sprintf("does not go with %q", key))
		}
	}
	d.foldedHeaders(s)
}

// endIsolation holds that the options of processes go together, and leaves none of them where
// there are no processes of sessions.
func (d *decoder) endIsolation(s section, hasURL bool) {
	srv := d.t.server
	isolation, given := s.has("isolation")
	if perSession, ok := s.has("perSessionClient"); ok && given {
		d.fail(perSession.at, join(s.path, "perSessionClient"), `means the same as "isolation": remove one`)
	} else if ok {
		isolation = perSession
	}
	if srv.Isolation == PerSession {
		if hasURL {
			d.fail(isolation.at, join(s.path, isolation.name), `does not go with "url": a process for each session is started here, `+
				"and all sessions share one connection to a server elsewhere")
		}
		if warm, ok := s.has("warm"); ok && srv.Warm > srv.MaxProcesses {
			d.fail(warm.value.at, join(s.path, "warm"), fmt.Sprintf("%d spares do not fit into maxProcesses, which is %d", srv.Warm, srv.MaxProcesses))
		}
		return
	}
	for _, name := range []string{"maxProcesses", "warm", "idleTimeoutMs"} {
		if m, ok := s.has(name); ok && !d.failed(s, "isolation") {
			d.fail(m.at, join(s.path, name), `needs "isolation": "session"; without it all sessions share one process`)
		}
	}
	srv.MaxProcesses, srv.Warm, srv.IdleTimeout = 0, 0, 0
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
	d.waiting(s)
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

// waiting says where not registering means nothing.
func (d *decoder) waiting(s section) {
	if m, ok := s.e.find("node", "registerOnStartup"); ok && !d.t.Cluster.Node.RegisterOnStartup && d.t.Mode != Node {
		d.warn(m.value.at, s.path+".node.registerOnStartup", "is false, but only a process in mode node can wait until it is told to join")
	}
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
	m, ok := s.e.find(sub, name)
	if !ok {
		return 0, false
	}
	return m.value.at, true
}

// endSticky says what is given and not used.
func endSticky(d *decoder, s section) {
	c := d.t.Cluster.Sticky
	reason := fmt.Sprintf("is not used by the strategy %q", c.Strategy)
	if !c.Enabled {
		reason = `is not used, because "enabled" is false: each call goes to any node`
	}
	for _, name := range []string{"strategy", "cookieName", "headerName"} {
		m, ok := s.has(name)
		usedBy := map[string]string{"strategy": c.Strategy, "cookieName": ByCookie, "headerName": ByHeader}[name]
		if k := s.key.child(name); ok && (!c.Enabled || c.Strategy != usedBy) && m.value.kind == '"' && `"`+m.value.text+`"` != k.def {
			d.warn(m.at, join(s.path, name), reason)
		}
	}
}

// endTracing says what is given and not used.
func endTracing(d *decoder, s section) {
	if d.t.Tracing.Endpoint != "" || d.getenv(envTracing) != "" {
		return
	}
	for _, name := range []string{"headers", "sampleRatio"} {
		if m, ok := s.has(name); ok {
			d.warn(m.at, join(s.path, name), `is not used without "endpoint"`)
		}
	}
}
