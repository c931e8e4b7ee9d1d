package server

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/router"
	"github.com/mcphub-go/mcphub/store"
)

// succeed answers in the guide's shape.
func succeed(c echo.Context, data any) error { return succeedWith(c, http.StatusOK, data) }

func succeedWith(c echo.Context, status int, data any) error {
	return answer(c, status, struct {
		Success bool `json:"success"`
		Data    any  `json:"data"`
	}{true, data})
}

// answer writes JSON that no cache keeps and no browser takes for something else.
func answer(c echo.Context, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	h := c.Response().Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	return c.Blob(status, wire.TypeJSON, body)
}

// queryKey is where a route leaves its parameters for its handler.
const queryKey = "query"

func queryOf(c echo.Context) url.Values {
	q, _ := c.Get(queryKey).(url.Values)
	return q
}

// readQuery reads the parameters that a route lists and refuses all others: one that is not
// understood would change the answer the caller believes to get.
func readQuery(raw string, known []param) (url.Values, error) {
	if raw == "" {
		return nil, nil
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "the query is not well formed")
	}
	for name, v := range values {
		i := slices.IndexFunc(known, func(p param) bool { return p.name == name })
		if i < 0 {
			return nil, refuse(http.StatusBadRequest, "the query parameter "+name+" is not supported here"+listed(known))
		}
		if len(v) > 1 && !known[i].repeats {
			return nil, refuse(http.StatusBadRequest, "the query parameter "+name+" may come only once")
		}
	}
	return values, nil
}

func listed(known []param) string {
	if len(known) == 0 {
		return "; this call takes none"
	}
	names := make([]string, len(known))
	for i, p := range known {
		names[i] = p.name
	}
	return "; this call takes " + strings.Join(names, ", ")
}

// limitOf reads limit: 1 to 1000, and 100 if absent.
func limitOf(q url.Values) (int, error) {
	raw := q.Get("limit")
	if raw == "" {
		return 100, nil
	}
	n, err := strconv.Atoi(raw)
	if err != nil || n < 1 || n > 1000 {
		return 0, refuse(http.StatusBadRequest, "limit: must be a number from 1 to 1000")
	}
	return n, nil
}

func (s *Server) status(c echo.Context) error {
	st := statusView{
		Enabled: s.cfg.ClusterEnabled, Mode: s.cfg.Mode, NodeID: "coordinator",
		CoordinatorID: string(s.cfg.Coordinator), Version: s.cfg.Version, InFlight: s.InFlight(),
		Redis: redisOf(s.deps.Store.Health(), s.cfg.Embedded),
	}
	st.Stats = statsOf(s.deps.Fleet.Snapshot())
	st.Stats.Sessions = s.sessions(c)
	st.Warnings = s.warnings(c)
	return succeed(c, st)
}

// sessions counts them, or gives the last count while Redis is away; redis.ok tells which.
func (s *Server) sessions(c echo.Context) int {
	n, err := s.deps.Store.CountSessions(c.Request().Context())
	if err != nil {
		return int(s.counted.Load())
	}
	s.counted.Store(int64(n))
	return n
}

func (s *Server) listNodes(c echo.Context) error {
	q := queryOf(c)
	active := false
	switch q.Get("active") {
	case "", "false":
	case "true":
		active = true
	default:
		return refuse(http.StatusBadRequest, "active: must be true or false")
	}
	views := []nodeView{}
	for _, n := range s.deps.Fleet.Snapshot().Nodes {
		if !active || n.State == store.NodeActive {
			views = append(views, nodeOf(n))
		}
	}
	return succeed(c, views)
}

func (s *Server) showNode(c echo.Context) error {
	id := c.Param("id")
	if err := wire.CheckName("node id", id); err != nil {
		return refuse(http.StatusBadRequest, err.Error())
	}
	n := s.deps.Fleet.Snapshot().Node(store.NodeID(id))
	if n == nil {
		return refuse(http.StatusNotFound, "there is no node "+id)
	}
	return succeed(c, nodeOf(*n))
}

func (s *Server) listServers(c echo.Context) error {
	return succeed(c, serversOf(s.deps.Fleet.Snapshot()))
}

func (s *Server) listReplicas(c echo.Context) error {
	id := c.Param("id")
	if err := wire.CheckName("server", id); err != nil {
		return refuse(http.StatusBadRequest, err.Error())
	}
	replicas := replicasOf(s.deps.Fleet.Snapshot(), store.ServerID(id))
	if len(replicas) == 0 {
		return refuse(http.StatusNotFound, "no node has a server named "+id)
	}
	return succeed(c, replicas)
}

func (s *Server) listSessions(c echo.Context) error {
	q := queryOf(c)
	limit, err := limitOf(q)
	if err != nil {
		return err
	}
	page, next, err := s.deps.Store.Sessions(c.Request().Context(), q.Get("cursor"), limit)
	if err != nil {
		return err
	}
	view := sessionsView{Sessions: []sessionView{}, NextCursor: next}
	for _, sess := range page {
		view.Sessions = append(view.Sessions, sessionOf(sess))
	}
	return succeed(c, view)
}

// sessionID reads the id in the path: the random part as the list shows it, or the whole
// token. Anything else is the id of no session.
func (s *Server) sessionID(c echo.Context) (store.SessionID, error) {
	raw := c.Param("id")
	if isSessionID(raw) {
		return store.SessionID(raw), nil
	}
	tok, err := s.deps.Carrier.ParseToken(raw)
	if away, ok := errors.AsType[*router.Error](err); ok {
		return "", away // it cannot be judged at the moment
	}
	if err != nil {
		return "", refuse(http.StatusNotFound, "there is no such session; give the sessionId of the list, or the whole Mcp-Session-Id")
	}
	return tok.SessionID(), nil
}

func isSessionID(s string) bool {
	return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == ""
}

func (s *Server) showSession(c echo.Context) error {
	id, err := s.sessionID(c)
	if err != nil {
		return err
	}
	sess, err := s.deps.Store.Session(c.Request().Context(), id)
	if err != nil {
		return noSession(err)
	}
	return succeed(c, sessionOf(sess))
}

func (s *Server) endSession(c echo.Context) error {
	id, err := s.sessionID(c)
	if err != nil {
		return err
	}
	if err := s.deps.Carrier.EndSession(c.Request().Context(), id); err != nil {
		return noSession(err)
	}
	s.log.InfoContext(c.Request().Context(), "session ended by an admin", "session", id)
	return succeed(c, endedView{SessionID: id})
}
