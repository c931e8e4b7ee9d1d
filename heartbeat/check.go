package heartbeat

import (
	"math"
	"unicode"
	"unicode/utf8"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// Limits of a record. An agent keeps to them by itself (see trim).
const (
	maxServers = 500
	maxLabel   = 128  // bytes of a name for people, a version, a transport
	maxHost    = 253  // bytes of a host name
	maxError   = 1024 // bytes of a server's error
	maxLines   = 50   // last lines of a server's stderr
	maxLine    = 512  // bytes of one
	maxWeight  = 1000
	maxCount   = math.MaxInt32
	lastMillis = 253402300799999 // the end of the year 9999, as far as times are printed
)

// check looks at everything in the record but the URL.
func (r Record) check() error {
	if err := wire.CheckName("id", string(r.ID)); err != nil {
		return badRecord("%w", err)
	}
	if !isHex(string(r.Instance), 32) {
		return badRecord("instance: must be 32 lower-case hex digits, drawn at each start of the process")
	}
	if err := checkText("name", r.Name, maxLabel); err != nil {
		return err
	}
	if err := checkText("host", r.Host, maxHost); err != nil {
		return err
	}
	if err := checkText("version", r.Version, maxLabel); err != nil {
		return err
	}
	if err := r.checkNumbers(); err != nil {
		return err
	}
	switch r.Status {
	case "", store.NodeActive, store.NodeDraining:
	default:
		return badRecord("status: must be active or draining")
	}
	return r.checkServers()
}

func (r Record) checkNumbers() error {
	if r.Port < 0 || r.Port > 65535 {
		return badRecord("port: %d is not between 0 and 65535", r.Port)
	}
	if r.Epoch < 0 {
		return badRecord("epoch: %d is negative", r.Epoch)
	}
	if r.Weight < 0 || r.Weight > maxWeight {
		return badRecord("weight: %d is not between 1 and %d", r.Weight, maxWeight)
	}
	if r.StartedAt < 0 || r.StartedAt > lastMillis {
		return badRecord("startedAt: %d is not a time in milliseconds", r.StartedAt)
	}
	return nil
}

func (r Record) checkServers() error {
	if len(r.Servers) > maxServers || len(r.ServerDetails) > maxServers {
		return badRecord("servers: more than %d", maxServers)
	}
	named, err := distinct("servers", r.Servers)
	if err != nil || len(r.ServerDetails) == 0 {
		return err
	}
	ids := make([]store.ServerID, len(r.ServerDetails))
	ready := 0
	for i, s := range r.ServerDetails {
		ids[i] = s.ID
		if err := checkServer(s); err != nil {
			return err
		}
		if s.Status != store.ServerReady {
			continue
		}
		if ready++; !named[s.ID] {
			return badRecord("servers: %s is ready under serverDetails and is not named here", s.ID)
		}
	}
	if ready != len(named) {
		return badRecord("servers: names %d servers, of which %d are ready under serverDetails", len(named), ready)
	}
	_, err = distinct("serverDetails", ids)
	return err
}

// distinct checks names and refuses one that comes twice.
func distinct(what string, ids []store.ServerID) (map[store.ServerID]bool, error) {
	seen := make(map[store.ServerID]bool, len(ids))
	for _, id := range ids {
		if err := wire.CheckName(what, string(id)); err != nil {
			return nil, badRecord("%w", err)
		}
		if seen[id] {
			return nil, badRecord("%s: %s comes twice", what, id)
		}
		seen[id] = true
	}
	return seen, nil
}

func checkServer(s store.Server) error {
	switch s.Status {
	case store.ServerReady, store.ServerStarting, store.ServerFailed, store.ServerDisabled:
	default:
		return badRecord("status of server %s: must be ready, starting, failed or disabled", s.ID)
	}
	if err := checkText("transport of a server", s.Transport, maxLabel); err != nil {
		return err
	}
	if len(s.Error) > maxError || len(s.Stderr) > maxLines {
		return badRecord("server %s: error over %d bytes or more than %d lines of stderr", s.ID, maxError, maxLines)
	}
	for _, line := range s.Stderr {
		if len(line) > maxLine {
			return badRecord("server %s: a line of stderr is over %d bytes", s.ID, maxLine)
		}
	}
	if s.Catalog != "" && !isHex(string(s.Catalog), 64) {
		return badRecord("catalog of server %s: must be 64 lower-case hex digits", s.ID)
	}
	for _, n := range counts(&s) {
		if *n < 0 || *n > maxCount {
			return badRecord("server %s: the count %d is out of range", s.ID, *n)
		}
	}
	if s.Isolation != "" && s.Isolation != isolated {
		return badRecord("isolation of server %s: must be %s, or absent", s.ID, isolated)
	}
	if s.Weight < 0 || s.Weight > maxWeight {
		return badRecord("weight of server %s: %d is not between 1 and %d", s.ID, s.Weight, maxWeight)
	}
	return nil
}

// isolated is the isolation of a server with a process for each session.
const isolated = "session"

// counts are the numbers of a server that only have to be in range.
func counts(s *store.Server) []*int {
	return []*int{
		&s.Tools, &s.Prompts, &s.Resources, &s.Templates, &s.Sessions, &s.InFlight, &s.Restarts,
		&s.Processes, &s.Spares, &s.MaxProcesses, &s.StartSeconds,
	}
}

// checkText refuses what cannot be shown on one line.
func checkText(what, s string, limit int) error {
	if len(s) > limit {
		return badRecord("%s: %d bytes, at most %d", what, len(s), limit)
	}
	if !utf8.ValidString(s) {
		return badRecord("%s: not valid UTF-8", what)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return badRecord("%s: holds %U, which cannot be printed", what, r)
		}
	}
	return nil
}

func isHex(s string, length int) bool {
	if len(s) != length {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// trim makes a description fit the limits, so that a talkative server does not keep its node
// from registering. A second pass, brief, drops what only people read.
func trim(servers []store.Server, brief bool) []store.Server {
	out := make([]store.Server, len(servers))
	copy(out, servers)
	for i := range out {
		s := &out[i]
		s.Error = cut(s.Error, maxError)
		lines := s.Stderr[max(0, len(s.Stderr)-maxLines):]
		s.Stderr = nil
		s.Weight = min(max(s.Weight, 1), maxWeight)
		for _, n := range counts(s) {
			*n = min(max(*n, 0), maxCount)
		}
		if s.Isolation != isolated {
			s.Isolation = ""
		}
		if brief {
			s.Error = cut(s.Error, 80)
			continue
		}
		for _, line := range lines {
			s.Stderr = append(s.Stderr, cut(line, maxLine))
		}
	}
	return out
}

// cut shortens s to at most limit bytes of valid text.
func cut(s string, limit int) string {
	if len(s) > limit {
		for limit > 0 && !utf8.RuneStart(s[limit]) {
			limit--
		}
		s = s[:limit]
	}
	if utf8.ValidString(s) {
		return s
	}
	out := make([]rune, 0, len(s)/3)
	for _, r := range s {
		if len(out) == limit/3 {
			break
		}
		out = append(out, r)
	}
	return string(out)
}
