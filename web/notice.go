package web

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mcphub-go/mcphub/store"
)

// noticeView is one sentence at the top of the page.
type noticeView struct {
	Class string // bad or warn
	Text  string
}

// notices say, in words, what a person should look at first.
func notices(l *look, servers []serverView, self Config) []noticeView {
	var out []noticeView
	bad := func(format string, args ...any) { out = append(out, noticeView{"bad", fmt.Sprintf(format, args...)}) }
	warn := func(format string, args ...any) { out = append(out, noticeView{"warn", fmt.Sprintf(format, args...)}) }
	if !l.redis.OK {
		bad("Redis is %s: what you see is the last that was known. Existing sessions go on.", l.redis.State)
	}
	for _, text := range keyNotices(l.coordinators) {
		bad("%s", text)
	}
	nodes := l.nodes()
	for i := range nodes {
		if nodes[i].State == store.NodeUnhealthy {
			bad("Node %s has stopped sending heartbeats.", nodes[i].ID)
		}
	}
	for i := range servers {
		switch s := &servers[i]; {
		case s.State.Class == "bad":
			bad("Server %s is callable on no node.", s.ID)
		case s.Full:
			warn("Server %s takes no new session now: every process it may have is taken.", s.ID)
		}
	}
	for i := range l.coordinators {
		if !l.coordinators[i].Ready {
			warn("Coordinator %s is not ready.", l.coordinators[i].ID)
		}
	}
	for _, text := range versionNotices(l.coordinators, nodes, self.Version) {
		warn("%s", text)
	}
	return bounded(out)
}

// bounded orders notices by weight and cuts the list.
func bounded(all []noticeView) []noticeView {
	slices.SortStableFunc(all, func(a, b noticeView) int { return cmp.Compare(a.Class, b.Class) }) // bad comes before warn
	if more := len(all) - noticesShown; more > 0 {
		all = append(all[:noticesShown:noticesShown], noticeView{"warn", fmt.Sprintf("And %d more of this kind, below.", more)})
	}
	return all
}

// keyNotices tell of coordinators that do not understand each other's session ids.
func keyNotices(fleet []store.Coordinator) []string {
	by := map[string][]string{}
	for i := range fleet {
		if c := &fleet[i]; c.KeyPrint != "" {
			by[c.KeyPrint] = append(by[c.KeyPrint], string(c.ID))
		}
	}
	if len(by) < 2 {
		return nil
	}
	return []string{"The coordinators have different keys, so that sessions of one are unknown to another: give them the same cluster.secret. " + grouping(by) + "."}
}

// versionNotices tell of different releases in one fleet.
func versionNotices(fleet []store.Coordinator, nodes []store.Node, ours string) []string {
	coordinators, others := map[string][]string{}, map[string][]string{}
	for i := range fleet {
		coordinators[fleet[i].Version] = append(coordinators[fleet[i].Version], string(fleet[i].ID))
	}
	for i := range nodes {
		if nodes[i].Version != ours {
			others[nodes[i].Version] = append(others[nodes[i].Version], string(nodes[i].ID))
		}
	}
	var out []string
	if len(coordinators) > 1 {
		out = append(out, "The coordinators run different releases: "+grouping(coordinators)+".")
	}
	if len(others) > 0 {
		out = append(out, fmt.Sprintf("Nodes run other releases than this coordinator, which runs %s: %s.", cmp.Or(ours, "an unnamed one"), grouping(others)))
	}
	return out
}

// grouping names who has what: "v1 (a, b); v2 (c)".
func grouping(by map[string][]string) string {
	const most = 5
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(by)) {
		who, more := slices.Sorted(slices.Values(by[what])), ""
		if n := len(who) - most; n > 0 {
			who, more = who[:most], fmt.Sprintf(" and %d more", n)
		}
		parts = append(parts, cmp.Or(what, "unnamed")+" ("+strings.Join(who, ", ")+more+")")
	}
	return strings.Join(parts, "; ")
}
