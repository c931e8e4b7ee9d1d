package node

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/mcphub-go/mcphub/heartbeat"
)

// serveReady says whether this node gets sessions: once it has joined its fleet and the first
// round of starts has ended, until it stops. Coordinators go by its lease and its description;
// this is for who starts nodes one after the other. That coordinators are away later changes
// nothing: the answer is about this process, and restarting it would not bring them back.
func (n *Node) serveReady(c echo.Context) error {
	status, view := http.StatusOK, readiness{Status: "ready", Reasons: n.unready()}
	if len(view.Reasons) > 0 {
		status, view.Status = http.StatusServiceUnavailable, "not ready"
		c.Response().Header().Set("Retry-After", "1")
	}
	return c.JSON(status, view)
}

// readiness is the body of GET /ready, shaped as a coordinator's.
type readiness struct {
	Status  string   `json:"status"`
	Reasons []string `json:"reasons"`
}

// unready is why the node is not ready; an empty list says that it is.
func (n *Node) unready() []string {
	reasons := []string{}
	select {
	case <-n.started:
	default:
		reasons = append(reasons, "the servers are being started")
	}
	if m := n.cfg.Member; m != nil {
		switch state := m.JoinState(); {
		case state.State == heartbeat.JoinWaiting:
			reasons = append(reasons, "waiting to be told to join, by 'mcphub join' or POST /api/node/join")
		case state.State != heartbeat.JoinJoined && state.Error != "":
			reasons = append(reasons, "joining: "+state.Error)
		case state.State != heartbeat.JoinJoined:
			reasons = append(reasons, "joining")
		}
	}
	if n.draining.Load() {
		reasons = append(reasons, "this node is stopping")
	}
	return reasons
}
