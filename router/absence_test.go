package router

import (
	"strings"
	"testing"

	"github.com/mcphub-go/mcphub/store"
)

func TestWhyAway(t *testing.T) {
	w := newWorld(t, 5, 1)
	r := w.rs[0]
	at := func(id store.NodeID, edit func(n *store.Node, s *store.Server)) {
		w.fleet.change(id, func(n *store.Node) { edit(n, &n.Servers[0]) })
	}
	if got := r.whyAway(testServer); got != "" {
		t.Errorf("of a server that is well: %q", got)
	}
	at("node-1", func(_ *store.Node, s *store.Server) {
		s.Status, s.Error = store.ServerFailed, "exit 1\n\tat x\x1b[31m"+strings.Repeat("y", 300)
	})
	if got := r.whyAway(testServer); got != "" {
		t.Errorf("with nodes on which it is well: %q", got)
	}
	at("node-2", func(_ *store.Node, s *store.Server) { s.Status = store.ServerStarting })
	at("node-3", func(n *store.Node, _ *store.Server) { n.State = store.NodeUnhealthy })
	at("node-4", func(n *store.Node, _ *store.Server) { n.State = store.NodeDraining })
	r.suspects.add(w.fleet.Snapshot().Node("node-5"), "no connection")
	want := "failed on node-1: exit 1 at x [31m" + strings.Repeat("y", 200-len("exit 1 at x [31m")) + "…; starting on node-2; node-3 does not answer; and on 2 more"
	if got := r.whyAway(testServer); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	at("node-1", func(_ *store.Node, s *store.Server) { s.ID = "other" })
	at("node-2", func(_ *store.Node, s *store.Server) { s.ID = "other" })
	if got, want := r.whyAway(testServer), "node-3 does not answer; node-4 is draining; node-5 cannot be reached"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := r.whyAway("nowhere"); got != "" {
		t.Errorf("of a server that no node has: %q", got)
	}
}
