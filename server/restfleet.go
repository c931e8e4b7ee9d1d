package server

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/mcphub-go/mcphub/store"
)

type coordinatorView struct {
	ID        store.CoordinatorID `json:"id"`
	Address   string              `json:"address" doc:"Where it listens."`
	Version   string              `json:"version"`
	Mode      string              `json:"mode" enum:"standalone,coordinator,demo"`
	StartedAt int64               `json:"startedAt" doc:"Its own clock, in milliseconds."`
	Sessions  int                 `json:"sessions" doc:"Sessions that it remembers; the same one may be remembered by several."`
	InFlight  int                 `json:"inFlight"`
	Ready     bool                `json:"ready" doc:"What its /ready says."`
	Self      bool                `json:"self" doc:"It is the one that answers."`
	LastSeen  int64               `json:"lastSeen,omitempty" doc:"When it last wrote this, by the clock of Redis, in milliseconds."`
}

func (s *Server) coordinatorOf(c store.Coordinator) coordinatorView {
	return coordinatorView{
		ID: c.ID, Address: c.Address, Version: c.Version, Mode: c.Mode, StartedAt: millis(c.Started), Sessions: c.Sessions,
		InFlight: c.InFlight, Ready: c.Ready, Self: c.ID == s.cfg.Coordinator, LastSeen: millis(c.Seen),
	}
}

func (s *Server) listCoordinators(c echo.Context) error {
	fleet, err := s.deps.Store.Coordinators(c.Request().Context())
	if err != nil {
		return err
	}
	views := make([]coordinatorView, len(fleet))
	for i := range fleet {
		views[i] = s.coordinatorOf(fleet[i])
	}
	slices.SortFunc(views, func(a, b coordinatorView) int { return cmp.Compare(a.ID, b.ID) })
	return succeed(c, views)
}

// warnings are what is odd about the fleet; without Redis, of what is known.
func (s *Server) warnings(c echo.Context) []string {
	fleet, err := s.deps.Store.Coordinators(c.Request().Context())
	if err != nil {
		fleet = nil // redis.ok says it
	}
	return append(keyWarnings(fleet), versionWarnings(s.cfg.Version, fleet, s.deps.Fleet.Snapshot())...)
}

// keyWarnings tells of coordinators that do not understand each other's session ids.
func keyWarnings(fleet []store.Coordinator) []string {
	by := map[string][]string{}
	for _, c := range fleet {
		if c.KeyPrint != "" {
			by[c.KeyPrint] = append(by[c.KeyPrint], string(c.ID))
		}
	}
	if len(by) < 2 {
		return []string{}
	}
	return []string{"the coordinators have different keys, so sessions of one are unknown to another: they need the same cluster.secret: " + grouping(by)}
}

// versionWarnings tells of different releases in one fleet.
func versionWarnings(ours string, fleet []store.Coordinator, snap *store.Snapshot) []string {
	coordinators, nodes := map[string][]string{}, map[string][]string{}
	for _, c := range fleet {
		coordinators[c.Version] = append(coordinators[c.Version], string(c.ID))
	}
	for _, n := range snap.Nodes {
		nodes[n.Version] = append(nodes[n.Version], string(n.ID))
	}
	var out []string
	if len(coordinators) > 1 {
		out = append(out, "the coordinators run different releases: "+grouping(coordinators))
	}
	delete(nodes, ours)
	if len(nodes) > 0 {
		out = append(out, fmt.Sprintf("nodes run other releases than this coordinator, which runs %s: %s", cmp.Or(ours, "an unnamed one"), grouping(nodes)))
	}
	return out
}

// maxListed bounds the names in one part of a warning.
const maxListed = 5

// grouping names who has what: "v1 (a, b); v2 (c)".
func grouping(by map[string][]string) string {
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(by)) {
		who := slices.Sorted(slices.Values(by[what]))
		more := ""
		if n := len(who) - maxListed; n > 0 {
			who, more = who[:maxListed], fmt.Sprintf(" and %d more", n)
		}
		parts = append(parts, cmp.Or(what, "unnamed")+" ("+strings.Join(who, ", ")+more+")")
	}
	return strings.Join(parts, "; ")
}
