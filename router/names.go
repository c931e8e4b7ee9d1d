package router

import (
	"strings"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// names says what a name on an endpoint over several servers means: <server><separator><name>.
//
// The server is the longest one known that the name begins with. Known is every server that a
// node names, whether it can be called or not and whether the client may use it or not: a name
// does not change its meaning with the health of servers or with a client's key. It is never
// changed once made.
type names struct {
	sep   string
	known map[store.ServerID]bool
}

// join is the name of a server's tool or prompt. It need not lead back there: see leadsTo.
func (n *names) join(server store.ServerID, name string) string {
	return string(server) + n.sep + name
}

// resolve finds the server of a name, and what that server calls it.
func (n *names) resolve(full string) (server store.ServerID, name string, ok bool) {
	// A name needs at least one byte behind the separator.
	for i := min(len(full)-len(n.sep)-1, wire.MaxName); i > 0; i-- {
		if !strings.HasPrefix(full[i:], n.sep) {
			continue
		}
		if server = store.ServerID(full[:i]); n.known[server] {
			return server, full[i+len(n.sep):], true
		}
	}
	return "", "", false
}

// leadsTo says whether a server's name for something leads to it when it is joined.
func (n *names) leadsTo(server store.ServerID, name string) bool {
	s, t, ok := n.resolve(n.join(server, name))
	return ok && s == server && t == name
}
