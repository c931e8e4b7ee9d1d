package router

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/mcphub-go/mcphub/store"
)

// Bounds of what is told of a server that is away.
const (
	maxReasons   = 3   // nodes that are named
	maxErrorText = 200 // bytes of what a node says went wrong
)

// whyAway says for people why a server cannot be called, node by node: "failed on node-1: spawn
// npx ENOENT". It is empty if a node that has it looks well, or none has it.
func (r *Router) whyAway(server store.ServerID) string {
	snap := r.fleet.Snapshot()
	if snap == nil {
		return ""
	}
	var why []string
	more := 0
	for i := range snap.Nodes {
		n := &snap.Nodes[i]
		s, ok := n.Server(server)
		if !ok {
			continue
		}
		reason := r.absent(n, s)
		switch {
		case reason == "":
			return "" // something else went wrong there
		case len(why) < maxReasons:
			why = append(why, reason)
		default:
			more++
		}
	}
	if more > 0 {
		why = append(why, fmt.Sprintf("and on %d more", more))
	}
	return strings.Join(why, "; ")
}

// absent says why a server cannot be called on one node; empty if it looks well there.
func (r *Router) absent(n *store.Node, s store.Server) string {
	where := " on " + string(n.ID)
	switch {
	case n.State == store.NodeUnhealthy:
		return string(n.ID) + " does not answer"
	case s.Status == store.ServerReady && n.State == store.NodeDraining:
		return string(n.ID) + " is draining"
	case s.Status == store.ServerReady && r.suspects.of(n) != "":
		return string(n.ID) + " cannot be reached"
	case s.Status == store.ServerReady:
		return ""
	case s.Error == "":
		return string(s.Status) + where
	}
	return string(s.Status) + where + ": " + oneLine(s.Error)
}

// oneLine makes what a server or a node said fit to stand in a sentence.
func oneLine(text string) string {
	text = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, text)
	return clip(strings.Join(strings.Fields(text), " "), maxErrorText)
}
