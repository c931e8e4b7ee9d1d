package router

import "github.com/mcphub-go/mcphub/store"

// Strategy says how a new session finds its node for a server. An existing binding always
// stands. See docs/decisions/0009-what-a-cookie-decides.md.
type Strategy string

// The strategies, as the settings spell them.
const (
	// StrategyHash is the weighted rendezvous hash of the session id with bounded load. It needs
	// nothing of the client.
	StrategyHash Strategy = "consistent-hash"
	// StrategyCookie takes the node that a cookie names, if it may be chosen, else the hash.
	StrategyCookie Strategy = "cookie"
	// StrategyHeader takes the node that a header names, if it may be chosen, else the hash.
	StrategyHeader Strategy = "header"
)

func (s Strategy) known() bool {
	return s == StrategyHash || s == StrategyCookie || s == StrategyHeader
}

// preferred is the node that a request's cookie or header may decide on; empty for none.
func (r *Router) preferred(req *Request) store.NodeID {
	if r.cfg.NoSticky || r.cfg.Strategy == StrategyHash {
		return ""
	}
	return req.Prefer
}

// pick takes the candidate for the session: the one that the client named, if it may be chosen,
// else the hash's. With the store away nobody's word counts and no load does: every replica is
// to make the same choice, and what a client says may change from one request to the next.
func (m *mover) pick(list []Candidate) *Candidate {
	if m.r.cfg.NoSticky {
		return m.r.any(list, m.server)
	}
	if m.plain {
		return choose(list, false)
	}
	if c := named(list, m.prefer); c != nil {
		return c
	}
	return choose(list, true)
}

// named is the candidate of a name if it may be chosen, whatever its load.
func named(list []Candidate, node store.NodeID) *Candidate {
	for i := range list {
		if c := &list[i]; node != "" && c.Node == node && c.eligible() {
			return c
		}
	}
	return nil
}

// any draws a candidate for a session without affinity.
func (r *Router) any(list []Candidate, server store.ServerID) *Candidate {
	var stakes []stake
	var of []*Candidate
	for i := range list {
		if c := &list[i]; c.eligible() {
			stakes, of = append(stakes, stake{c.node, c.Weight}), append(of, c)
		}
	}
	if i := r.lot(stakes, server); i >= 0 {
		return of[i]
	}
	return choose(list, false) // one that is thought full, if there is one
}
