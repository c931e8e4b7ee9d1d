package heartbeat

import (
	"context"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// A fleet of two releases is one that is being upgraded, which works, or one in which a process
// was forgotten. Both ends say so, once for each other version they meet.

// maxVersions bounds the versions that an agent remembers.
const maxVersions = 16

// compareVersions warns of a coordinator of another release, once for each.
func (a *Agent) compareVersions(theirs string) {
	if theirs == "" || theirs == a.cfg.Version || a.otherVersions[theirs] {
		return
	}
	if len(a.otherVersions) >= maxVersions {
		clear(a.otherVersions)
	}
	if a.otherVersions == nil {
		a.otherVersions = make(map[string]bool)
	}
	a.otherVersions[theirs] = true
	a.log.Warn("coordinator is of another version than this node: "+cut(clean(theirs), maxLabel)+", not "+a.cfg.Version, "epoch", a.grant.Epoch)
}

// A registrar remembers the nodes that it has warned of for so long, and so many. A fleet that
// stays mixed is warned of again on the next day.
const (
	otherVersionFor = 24 * time.Hour
	maxOthers       = 4096
)

// nodeVersion is what a registrar has warned of.
type nodeVersion struct {
	node    store.NodeID
	version string
}

// compareVersions warns of a node of another release, once for each node and version.
func (r *Registrar) compareVersions(ctx context.Context, n store.Node) {
	if r.cfg.Version == "" || n.Version == "" || n.Version == r.cfg.Version {
		return
	}
	seen := nodeVersion{n.ID, n.Version}
	if r.others.has(seen) {
		return
	}
	r.others.mark(seen)
	r.log.WarnContext(ctx, "node is of another version than this coordinator: "+n.Version+", not "+r.cfg.Version, "node", n.ID, "epoch", n.Epoch)
}
