package node

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/labstack/echo/v4"

	"github.com/mcphub-go/mcphub/heartbeat"
	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

const (
	maxSessionID = 256
	maxChallenge = 4 << 10
)

// newHandler lays out the routes for coordinators.
func newHandler(n *Node) http.Handler {
	e := echo.New()
	e.HTTPErrorHandler = func(err error, c echo.Context) {
		status, msg := http.StatusInternalServerError, "internal error"
		var he *echo.HTTPError
		if errors.As(err, &he) {
			status, msg = he.Code, http.StatusText(he.Code)
		}
		_ = fail(c.Response(), status, msg) // the caller may have gone
	}
	e.POST("/mcp/:server", n.serveMessage)
	e.DELETE("/mcp/:server", n.serveEnd)
	e.GET("/mcp/:server", n.serveStream)
	e.POST("/api/node/challenge", n.serveChallenge)
	e.Any("/api/node/join", n.serveJoin)
	e.GET("/health", n.serveHealth)
	e.GET("/ready", n.serveReady)
	e.GET("/metrics", n.serveMetrics)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if why := n.outsider(r); why != "" {
			_ = fail(w, http.StatusForbidden, why) // the caller may have gone
			return
		}
		e.ServeHTTP(w, r)
	})
}

func (n *Node) serveHealth(c echo.Context) error {
	health := map[string]string{"status": "ok", "id": string(n.cfg.ID)}
	if n.cfg.Member != nil {
		health["state"] = n.cfg.Member.JoinState().State
	}
	return c.JSON(http.StatusOK, health)
}

// serveChallenge proves to a coordinator that this address is this instance of the node. The
// instance is named only where a secret is the key: without one it is the key itself, and
// anyone may ask.
func (n *Node) serveChallenge(c echo.Context) error {
	var q struct {
		Nonce string       `json:"nonce"`
		ID    store.NodeID `json:"id"`
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Response(), c.Request().Body, maxChallenge))
	if err != nil || json.Unmarshal(body, &q) != nil {
		return fail(c.Response(), http.StatusBadRequest, "the body must be a small JSON object with nonce and id")
	}
	if !isNonce(q.Nonce) {
		return fail(c.Response(), http.StatusBadRequest, "nonce must be 32 hex digits")
	}
	if q.ID != n.cfg.ID {
		return fail(c.Response(), http.StatusNotFound, "another node lives at this address: "+string(n.cfg.ID))
	}
	answer := map[string]string{
		"id":  string(n.cfg.ID),
		"mac": heartbeat.ChallengeMAC(n.cfg.Secret, q.Nonce, q.ID, n.cfg.Instance),
	}
	if n.cfg.Secret != "" {
		answer["instance"] = string(n.cfg.Instance)
	}
	return c.JSON(http.StatusOK, answer)
}

func isNonce(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return len(s) == 32
}

// admit checks who calls and finds the server and the session id. After an error the answer
// has been written.
func (n *Node) admit(w http.ResponseWriter, r *http.Request, name string) (*server, string, bool) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	epoch, _ := strconv.ParseInt(r.Header.Get(wire.HeaderEpoch), 10, 64)
	err := n.lease.Check(r.Context(), store.Epoch(epoch), token)
	switch {
	case err == nil:
	case errors.Is(err, heartbeat.ErrCredential):
		_ = refuse(w, http.StatusUnauthorized, wire.RefusedCredential, err.Error())
		return nil, "", false
	case errors.Is(err, store.ErrEpoch):
		_ = refuse(w, http.StatusConflict, wire.RefusedEpoch, err.Error())
		return nil, "", false
	default:
		_ = refuse(w, http.StatusServiceUnavailable, wire.RefusedLease, err.Error())
		return nil, "", false
	}
	s := n.named(name)
	if s == nil {
		_ = refuse(w, http.StatusNotFound, wire.RefusedServer, "this node has no such server")
		return nil, "", false
	}
	ids := r.Header[wire.HeaderSession]
	if len(ids) != 1 || !isSessionID(ids[0]) {
		_ = fail(w, http.StatusBadRequest, "exactly one "+wire.HeaderSession+" header of 1 to 256 visible ASCII characters is needed")
		return nil, "", false
	}
	return s, ids[0], true
}

func isSessionID(s string) bool {
	for _, c := range []byte(s) {
		if c < 0x21 || c > 0x7e {
			return false
		}
	}
	return s != "" && len(s) <= maxSessionID
}

// serveEnd ends a session (MCP 2025-11-25, Transports, Session Management).
func (n *Node) serveEnd(c echo.Context) error {
	w := c.Response().Writer
	s, id, ok := n.admit(w, c.Request(), c.Param("server"))
	if !ok {
		return nil
	}
	if !s.end(id) {
		return refuse(w, http.StatusNotFound, wire.RefusedSession, "this node does not know the session")
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// serveMessage takes one message of a client.
func (n *Node) serveMessage(c echo.Context) error {
	w, r := c.Response().Writer, c.Request()
	s, id, ok := n.admit(w, r, c.Param("server"))
	if !ok {
		return nil
	}
	buf := bodies.Get().(*[]byte)
	defer putBody(buf)
	body, err := readBody(r, *buf, n.cfg.MaxBody)
	if err != nil {
		return badBody(w, err)
	}
	*buf = body
	f, err := wire.Scan(body, wire.ClientLimits)
	if err != nil {
		return badFrame(w, err)
	}
	x := exchange{n: n, s: s, w: w, r: r, f: &f, sid: id}
	switch f.Kind {
	case wire.Request:
		return x.request()
	case wire.Notification:
		return x.notification()
	default:
		return x.answered()
	}
}

// bodies are buffers for request bodies. What a request leaves behind is copied out of them.
var bodies = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

func putBody(b *[]byte) {
	if cap(*b) <= 64<<10 {
		*b = (*b)[:0]
		bodies.Put(b)
	}
}

var errBodyTooLarge = errors.New("body too large")

// readBody reads the whole body into buf, or into a larger buffer.
func readBody(r *http.Request, buf []byte, most int64) ([]byte, error) {
	if r.ContentLength > most {
		return nil, errBodyTooLarge
	}
	buf = buf[:0]
	if want := int(r.ContentLength) + 1; want > cap(buf) {
		buf = make([]byte, 0, want)
	}
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		k, err := r.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+k]
		if int64(len(buf)) > most {
			return nil, errBodyTooLarge
		}
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func badBody(w http.ResponseWriter, err error) error {
	if errors.Is(err, errBodyTooLarge) {
		w.Header().Set("Connection", "close")
		return writeJSON(w, http.StatusRequestEntityTooLarge,
			wire.Error(nil, wire.CodeInvalidRequest, "the message is larger than this hub accepts", nil))
	}
	return writeJSON(w, http.StatusBadRequest,
		wire.Error(nil, wire.CodeInvalidRequest, "the body could not be read to its end", nil))
}

func badFrame(w http.ResponseWriter, err error) error {
	code := wire.CodeInvalidRequest
	var fe *wire.FrameError
	if errors.As(err, &fe) {
		code = fe.Code
	}
	return writeJSON(w, http.StatusBadRequest, wire.Error(nil, code, err.Error(), nil))
}

// exchange is one message of a client and the answer to it.
type exchange struct {
	n   *Node
	s   *server
	w   http.ResponseWriter
	r   *http.Request
	f   *wire.Frame
	sid string
}

func (x *exchange) request() error {
	if x.f.Method == "initialize" {
		return x.initialize()
	}
	l, ses, err := x.s.find(x.r.Context(), x.sid)
	if err != nil {
		return x.refuse(err)
	}
	switch x.f.Method {
	case "logging/setLevel":
		if l.hello.Load().logging {
			return x.setLevel(l, ses)
		}
	case "resources/subscribe", "resources/unsubscribe":
		return x.subscribe(l, ses, x.f.Method == "resources/subscribe")
	}
	f, from := x.follow()
	c, err := l.dispatch(x.r.Context(), ses, f, from)
	if err != nil {
		return x.refuse(err)
	}
	return x.respond(l, c)
}

// answered takes a client's answer to a request of the server's.
func (x *exchange) answered() error {
	l, ses, err := x.s.find(x.r.Context(), x.sid)
	if err == nil {
		err = l.answer(x.r.Context(), ses, x.f)
	}
	var status *statusError
	switch {
	case errors.Is(err, errNotAsked):
		return writeJSON(x.w, http.StatusBadRequest, wire.Error(nil, wire.CodeInvalidRequest, err.Error(), nil))
	case errors.Is(err, errAskedElsewhere):
		return refuse(x.w, http.StatusNotFound, wire.RefusedAnswer, err.Error())
	case errors.As(err, &status):
		return fail(x.w, http.StatusBadGateway, err.Error())
	case err != nil:
		return x.refuse(err)
	}
	x.w.WriteHeader(http.StatusAccepted)
	return nil
}

// notification takes a client's notification. What concerns only the node's own handshake goes no
// further, nor what one of several clients must not say for all.
func (x *exchange) notification() error {
	l, ses, err := x.s.find(x.r.Context(), x.sid)
	if err != nil {
		return x.refuse(err)
	}
	switch x.f.Method {
	case "notifications/initialized":
	case "notifications/progress":
		err = l.progressFrom(x.r.Context(), ses, x.f)
	case "notifications/roots/list_changed", "notifications/tasks/status":
		if l.speaksFor(ses, x.f) {
			err = l.notify(x.r.Context(), ses, x.f)
		}
	case "notifications/cancelled":
		err = l.cancel(x.r.Context(), ses, x.f)
	default:
		err = l.notify(x.r.Context(), ses, x.f)
	}
	if err != nil {
		return x.refuse(err)
	}
	x.w.WriteHeader(http.StatusAccepted)
	return nil
}

// initialize opens the session and answers for the server, with which hands have been shaken
// long ago unless the session gets a process started for it.
func (x *exchange) initialize() error {
	if x.n.draining.Load() {
		return refuse(x.w, http.StatusServiceUnavailable, wire.RefusedDraining, "this node takes no new sessions")
	}
	at, _ := x.f.Lookup("params", "protocolVersion")
	version, ok := wire.Unquote(at.Of(x.f.Raw))
	if !ok {
		return writeJSON(x.w, http.StatusBadRequest, wire.Error(x.f.IDBytes(), wire.CodeInvalidParams,
			"params.protocolVersion must be a string", nil))
	}
	result, sessions, err := x.s.open(x.r.Context(), x.sid, x.f, version)
	switch {
	case errors.Is(err, errTooMany):
		return refuse(x.w, http.StatusServiceUnavailable, wire.RefusedDraining, "this node has all the sessions it can take")
	case err != nil:
		return x.refuse(err)
	}
	x.w.Header().Set(wire.HeaderSessions, strconv.Itoa(sessions))
	return x.write(wire.Result(x.f.IDBytes(), result))
}

func (x *exchange) setLevel(l *link, ses *session) error {
	at, _ := x.f.Lookup("params", "level")
	name, _ := wire.Unquote(at.Of(x.f.Raw))
	level, ok := parseLevel(name)
	if !ok {
		return x.write(wire.Error(x.f.IDBytes(), wire.CodeInvalidParams,
			"params.level must be one of debug, info, notice, warning, error, critical, alert and emergency", nil))
	}
	ctx, cancel := x.detached()
	defer cancel()
	if err := l.setLevel(ctx, ses, level); err != nil {
		return x.refuse(err)
	}
	return x.write(wire.Result(x.f.IDBytes(), []byte("{}")))
}

func (x *exchange) subscribe(l *link, ses *session, on bool) error {
	at, _ := x.f.Lookup("params", "uri")
	uri, ok := wire.Unquote(at.Of(x.f.Raw))
	if !ok {
		return x.write(wire.Error(x.f.IDBytes(), wire.CodeInvalidParams, "params.uri must be a string", nil))
	}
	ctx, cancel := x.detached()
	defer cancel()
	answer, err := l.subscribe(ctx, ses, x.f, uri, on)
	if err != nil {
		return x.refuse(err)
	}
	return x.write(answer)
}

// detached is the time for what goes on although the caller may be gone.
func (x *exchange) detached() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(x.r.Context()), x.s.lim.StartTimeout)
}
