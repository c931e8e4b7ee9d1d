package node

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/mcphub-go/mcphub/heartbeat"
	"github.com/mcphub-go/mcphub/internal/wire"
)

// Member is the node's place in its fleet, as its heartbeat agent knows it (*heartbeat.Agent).
// It must not block.
type Member interface {
	// Join has a node that waits register, see heartbeat.Agent.Join.
	Join(coordinatorURL string) (heartbeat.JoinState, error)
	JoinState() heartbeat.JoinState
}

// maxJoin bounds the body of POST /api/node/join.
const maxJoin = 4 << 10

const joinHelp = "POST /api/node/join tells this node to join its fleet; the body is {} or {\"coordinatorUrl\": \"http://…\"}"

// serveJoin tells a node that was started without registering to do so. It answers at once, and
// whoever asks again learns how far it is.
func (n *Node) serveJoin(c echo.Context) error {
	w, r := c.Response(), c.Request()
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return fail(w, http.StatusMethodNotAllowed, joinHelp)
	}
	if n.cfg.Member == nil {
		return fail(w, http.StatusNotFound, "this node belongs to the process that started it")
	}
	if status, msg := n.mayTell(r); msg != "" {
		if status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer realm="mcphub cluster"`)
		}
		return fail(w, status, msg)
	}
	coordinator, status, msg := readJoin(r)
	if msg != "" {
		return fail(w, status, msg)
	}
	if n.draining.Load() {
		return fail(w, http.StatusServiceUnavailable, "this node is stopping")
	}
	state, err := n.cfg.Member.Join(coordinator)
	switch {
	case errors.Is(err, heartbeat.ErrCoordinatorURL):
		return fail(w, http.StatusBadRequest, err.Error())
	case errors.Is(err, heartbeat.ErrJoinedElsewhere):
		return fail(w, http.StatusConflict, err.Error())
	case err != nil:
		return err
	}
	return c.JSON(http.StatusOK, map[string]any{"success": true, "data": state})
}

// mayTell says who may tell a node where to go: whoever knows the cluster secret, or, where
// there is none, a program of this machine. A page in a browser on this machine is none.
func (n *Node) mayTell(r *http.Request) (status int, refusal string) {
	if n.cfg.Secret == "" {
		if ofThisMachine(r) {
			return 0, ""
		}
		return http.StatusForbidden, "without a cluster secret only a program of its own machine may tell this node to join; " +
			"set cluster.secret here and on the coordinators, or call http://127.0.0.1 there"
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	given, ours := sha256.Sum256([]byte(strings.TrimSpace(token))), sha256.Sum256([]byte(n.cfg.Secret))
	if hmac.Equal(given[:], ours[:]) && strings.EqualFold(scheme, "Bearer") {
		return 0, ""
	}
	return http.StatusUnauthorized, "the cluster secret is missing or another one: send Authorization: Bearer with this node's (cluster.secret, MCPHUB_CLUSTER_SECRET)"
}

// ofThisMachine says whether a request was made by a program of this machine for itself: its
// connection and its Host are loopback, and no proxy and no browser has marked it.
func ofThisMachine(r *http.Request) bool {
	for _, mark := range []string{"Origin", "Sec-Fetch-Site", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via"} {
		if len(r.Header[mark]) > 0 {
			return false
		}
	}
	return wire.LoopbackHost(r.RemoteAddr) && wire.LoopbackHost(r.Host)
}

// readJoin reads the body: nothing, or an object with coordinatorUrl at most.
func readJoin(r *http.Request) (coordinator string, status int, refusal string) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxJoin+1))
	switch {
	case err != nil:
		return "", http.StatusBadRequest, "the body could not be read to its end"
	case len(body) > maxJoin:
		return "", http.StatusRequestEntityTooLarge, "the body is too large; " + joinHelp
	}
	body = bytes.TrimSpace(body)
	switch {
	case len(body) == 0:
		return "", 0, ""
	case !strings.HasPrefix(strings.ToLower(r.Header.Get("Content-Type")), wire.TypeJSON):
		return "", http.StatusUnsupportedMediaType, "the Content-Type must be application/json"
	}
	var q struct {
		CoordinatorURL *string `json:"coordinatorUrl"`
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if body[0] != '{' || d.Decode(&q) != nil || d.InputOffset() != int64(len(body)) {
		return "", http.StatusBadRequest, joinHelp
	}
	switch {
	case q.CoordinatorURL == nil:
		return "", 0, ""
	case *q.CoordinatorURL == "":
		return "", http.StatusBadRequest, "coordinatorUrl: it is empty; leave it out to join the coordinator of the settings"
	}
	return *q.CoordinatorURL, 0, ""
}
