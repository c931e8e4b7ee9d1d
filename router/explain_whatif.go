package router

import (
	"slices"

	"github.com/mcphub-go/mcphub/store"
)

// thinkAway is what would change without a node.
func (r *Router) thinkAway(snap *store.Snapshot, all []located, id store.NodeID, q subject, now Explanation) Move {
	m := Move{Node: id, Change: "without", To: now.Choice, Rule: now.Rule}
	at := slices.IndexFunc(all, func(l located) bool { return l.node.ID == id })
	if at < 0 {
		m.Reason = "no node of that name has the server: nothing would change"
		return m
	}
	m.Share = share(now.Candidates, id)
	if now.Choice != id && now.Rule == RuleBinding {
		m.Reason = "the session sits elsewhere"
		return m
	}
	rest := slices.Delete(slices.Clone(all), at, at+1)
	if q.place.Node == id {
		q.place, q.existing = store.Binding{}, false // it has used the server, so decide shall not say otherwise
	}
	m.Rule, m.To, m.Reason = r.decide(snap, r.weigh(rest, q), q)
	m.Moves = m.To != now.Choice && m.To != "" && now.Choice != "" && !r.cfg.NoSticky
	return m
}

// thinkThere is what would change with a node.
func (r *Router) thinkThere(snap *store.Snapshot, all []located, id store.NodeID, q subject, now Explanation) Move {
	m := Move{Node: id, Change: "with", To: now.Choice, Rule: now.Rule}
	if m.Share = share(now.Candidates, id); m.Share > 0 {
		m.Reason = "the node is there already: nothing would change"
		return m
	}
	more := slices.DeleteFunc(slices.Clone(all), func(l located) bool { return l.node.ID == id })
	list := r.weigh(append(more, imagined(snap, id, q.server)), q)
	m.Share = share(list, id)
	if now.Rule == RuleBinding {
		m.Reason = "a session that exists does not move when a node joins"
		return m
	}
	m.Rule, m.To, m.Reason = r.decide(snap, list, q)
	m.Moves = m.To != now.Choice && now.Choice != "" && !r.cfg.NoSticky
	return m
}

// imagined is a node as it would be if it could take sessions of a server.
func imagined(snap *store.Snapshot, id store.NodeID, server store.ServerID) located {
	n := &store.Node{ID: id, Epoch: 1, Weight: 1}
	if real := snap.Node(id); real != nil {
		own := *real
		n = &own
	}
	s, ok := n.Server(server)
	if !ok {
		s = store.Server{ID: server, Weight: 1}
	}
	n.State, s.Status, s.Full = store.NodeActive, store.ServerReady, false
	return located{node: n, server: &s, weight: weightOf(n, &s), imagined: true}
}

// share is a node's part of what is placed, by the weights of those that may be chosen.
func share(list []Candidate, id store.NodeID) float64 {
	total, own := 0, 0
	for i := range list {
		if c := &list[i]; c.eligible() {
			total += c.Weight
			if c.Node == id {
				own = c.Weight
			}
		}
	}
	if total == 0 {
		return 0
	}
	return float64(own) / float64(total)
}
