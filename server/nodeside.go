package server

import (
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/mcphub-go/mcphub/heartbeat"
	"github.com/mcphub-go/mcphub/store"
)

// Limits of what nodes send, in bytes.
const (
	maxRecord  = 256 << 10
	maxCatalog = heartbeat.MaxCatalog + 1<<10
)

// receive reads a node's body into v.
func (s *Server) receive(c echo.Context, limit int64, v any) error {
	body, err := s.readJSON(c, limit)
	if err != nil {
		return err
	}
	if err := decodeStrict(body, v); err != nil {
		return refuse(http.StatusBadRequest, err.Error())
	}
	return nil
}

// readJSON reads the body of a REST call. That its Content-Type must be JSON keeps out the
// forms that a page of any origin may send.
func (s *Server) readJSON(c echo.Context, limit int64) ([]byte, error) {
	r := c.Request()
	if !isJSON(r.Header.Get("Content-Type")) {
		return nil, refuse(http.StatusUnsupportedMediaType, "the Content-Type must be application/json")
	}
	if r.Header.Get("Content-Encoding") != "" {
		return nil, refuse(http.StatusUnsupportedMediaType, "compressed bodies are not accepted")
	}
	body, p := s.read(c.Response(), r, limit)
	if p != nil {
		return nil, p
	}
	return body, nil
}

func (s *Server) register(c echo.Context) error {
	var rec heartbeat.Record
	if err := s.receive(c, maxRecord, &rec); err != nil {
		return err
	}
	grant, err := s.deps.Registrar.Register(c.Request().Context(), rec)
	if err != nil {
		s.log.WarnContext(c.Request().Context(), "registration refused", "node", tame(string(rec.ID)), "err", err)
		return err
	}
	return succeed(c, grant)
}

func (s *Server) heartbeat(c echo.Context) error {
	var rec heartbeat.Record
	if err := s.receive(c, maxRecord, &rec); err != nil {
		return err
	}
	grant, err := s.deps.Registrar.Beat(c.Request().Context(), rec)
	if err != nil {
		return err
	}
	return succeed(c, grant)
}

func (s *Server) deregister(c echo.Context) error {
	var f heartbeat.Farewell
	if err := s.receive(c, maxRecord, &f); err != nil {
		return err
	}
	if err := s.deps.Registrar.Deregister(c.Request().Context(), f); err != nil {
		return err
	}
	return succeed(c, struct{}{})
}

// catalogUpload carries the lists of one server; Catalog keeps the bytes as they came, for the
// digest is over bytes.
type catalogUpload struct {
	Digest  store.Digest    `json:"digest"`
	Catalog json.RawMessage `json:"catalog"`
}

func (s *Server) putCatalog(c echo.Context) error {
	var up catalogUpload
	if err := s.receive(c, maxCatalog, &up); err != nil {
		return err
	}
	if err := s.deps.Registrar.PutCatalog(c.Request().Context(), up.Digest, up.Catalog); err != nil {
		return err
	}
	return succeed(c, struct{}{})
}
