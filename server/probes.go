package server

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/mcphub-go/mcphub/store"
)

// health says that the process lives, and nothing else: whoever restarts a process because
// Redis is away makes things worse.
func (s *Server) health(c echo.Context) error {
	return answer(c, http.StatusOK, healthView{Status: "ok", ID: string(s.cfg.Coordinator), Mode: s.cfg.Mode})
}

// metrics shows the figures of this process, to whoever may make management calls.
func (s *Server) metrics(c echo.Context) error {
	if s.deps.Metrics == nil {
		return refuse(http.StatusNotFound, "there are no metrics here")
	}
	s.deps.Metrics.ServeHTTP(c.Response(), c.Request())
	return nil
}

// ready says whether a balancer should send requests here. A replica that works from what it
// last knew is ready and says that it is degraded.
func (s *Server) ready(c echo.Context) error {
	view := readyView{Status: "ready", Reasons: []string{}}
	known, reason := s.deps.Fleet.Ready()
	if reason != "" {
		view.Reasons = append(view.Reasons, reason)
	}
	if !s.canCarry() {
		known = false
		view.Reasons = append(view.Reasons, "the keys of session ids are not known yet")
	}
	if h := s.deps.Store.Health(); !h.OK && h.State != store.HealthUnknown {
		view.Reasons = append(view.Reasons, "redis: "+h.State)
	}
	if len(view.Reasons) > 0 {
		view.Status = "degraded"
	}
	if s.draining.Load() {
		known = false
		view.Reasons = append(view.Reasons, "this replica is stopping")
	}
	if known {
		return answer(c, http.StatusOK, view)
	}
	view.Status = "not ready"
	c.Response().Header().Set("Retry-After", "1")
	return answer(c, http.StatusServiceUnavailable, view)
}
