package server

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/store"
)

// Subjects that sessions are bound to. The key of routing.bearerAuthKey, which has no name, is
// the one that all keys were before they had names: its sessions outlive an upgrade.
const (
	subjectKey   = "bearer-key"
	subjectNamed = "key/" // and the key's name
)

// subjectNobody is the subject of no session, so that a session that must not be used from here
// gets just the answer of one that does not exist.
const subjectNobody = "\x00nobody"

// clientKey is what an MCP client may use. Safe for concurrent use.
type clientKey struct {
	subject string
	all     bool
	groups  map[string]bool
	servers map[store.ServerID]bool

	cut atomic.Pointer[cut]
}

// cut is the limit that followed from one revision of the groups.
type cut struct {
	rev   int64
	limit *router.Limit
}

// anyone is the client that need not say who it is.
var anyone = &clientKey{all: true}

func newClientKey(k Key) *clientKey {
	subject := subjectKey
	if k.Name != "" {
		subject = subjectNamed + k.Name
	}
	return &clientKey{subject: subject, all: k.All, groups: setOf(k.Groups), servers: setOf(serverIDs(k.Servers))}
}

// mayServer says whether /mcp/<server> is open to the key.
func (k *clientKey) mayServer(id store.ServerID) bool { return k.all || k.servers[id] }

// mayGroup says whether /mcp/<group> is open to the key: it names the group, or every server in
// it. A key that names some of them must not get the rest by way of the group.
func (k *clientKey) mayGroup(g store.Group) bool {
	if k.all || k.groups[g.Name] {
		return true
	}
	return len(g.Servers) > 0 && !slices.ContainsFunc(g.Servers, func(s store.GroupServer) bool { return !k.servers[s.Name] })
}

// limit is what the key may use of all servers; nil is everything. It changes with the groups.
func (k *clientKey) limit(groups Groups) *router.Limit {
	if k.all {
		return nil
	}
	rev := groups.Revision()
	if c := k.cut.Load(); c != nil && c.rev == rev {
		return c.limit
	}
	c := &cut{rev: rev, limit: k.compute(groups)}
	k.cut.Store(c)
	return c.limit
}

// compute adds to the servers that the key names those that its groups offer whole. One that a
// group offers in part is left out: a limit knows no tools, and the group's endpoint does.
func (k *clientKey) compute(groups Groups) *router.Limit {
	ids := make([]store.ServerID, 0, len(k.servers))
	for id := range k.servers {
		ids = append(ids, id)
	}
	for name := range k.groups {
		g, _ := groups.Group(name) // one that is not there offers nothing
		for _, s := range g.Servers {
			if s.Tools == nil {
				ids = append(ids, s.Name)
			}
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	return &router.Limit{Name: nameOf(ids), Servers: setOf(ids)}
}

// nameOf is the name that a limit to these servers has, whosever it is.
func nameOf(ids []store.ServerID) string {
	h := sha256.New()
	for _, id := range ids {
		_, _ = h.Write([]byte(string(id) + "\n")) // a name holds no line break
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:16])
}
