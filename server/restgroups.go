package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// maxGroup is the greatest body of a group, in bytes: a group may have 64 KiB, and its body be
// written with more blanks than that.
const maxGroup = 128 << 10

// Where a group stands.
const (
	sourceSettings = "settings"
	sourceRedis    = "redis"
)

type groupView struct {
	Name        string              `json:"name"`
	Description string              `json:"description"`
	Servers     []store.GroupServer `json:"servers" doc:"A server whole, by its name, or some of its tools."`
	Source      string              `json:"source" doc:"settings: it stands in the settings file and is changed there only. redis: it was made here." enum:"settings,redis"`
	UpdatedAt   int64               `json:"updatedAt,omitempty" doc:"Last change, in milliseconds; absent for one of the settings file."`
	Unknown     []store.ServerID    `json:"unknown,omitempty" doc:"Servers of the group that no node has named so far."`
	Conflict    bool                `json:"conflict,omitempty" doc:"A node has registered a server of this name since: new sessions at /mcp/{name} are refused."`
}

type deletedView struct {
	Name string `json:"name"`
}

func (s *Server) groupOf(g store.Group) groupView {
	v := groupView{
		Name: g.Name, Description: g.Description, Servers: g.Servers, Source: sourceRedis,
		UpdatedAt: millis(g.Updated), Conflict: s.knows(store.ServerID(g.Name)),
	}
	if g.Updated.IsZero() {
		v.Source = sourceSettings
	}
	if v.Servers == nil {
		v.Servers = []store.GroupServer{}
	}
	for _, srv := range g.Servers {
		if !s.knows(srv.Name) {
			v.Unknown = append(v.Unknown, srv.Name)
		}
	}
	return v
}

func (s *Server) listGroups(c echo.Context) error {
	views := []groupView{}
	for _, g := range s.deps.Groups.List() {
		views = append(views, s.groupOf(g))
	}
	return succeed(c, views)
}

func (s *Server) showGroup(c echo.Context) error {
	name, err := groupParam(c)
	if err != nil {
		return err
	}
	g, ok := s.deps.Groups.Group(name)
	if !ok {
		return s.noGroup(name)
	}
	return succeed(c, s.groupOf(g))
}

// noGroup says that there is no group, if that is known.
func (s *Server) noGroup(name string) error {
	if !s.deps.Groups.Loaded() {
		return refuse(http.StatusServiceUnavailable, "this replica has not read yet which groups there are; try again")
	}
	return refuse(http.StatusNotFound, "there is no group "+name)
}

func groupParam(c echo.Context) (string, error) {
	name := c.Param("name")
	if err := wire.CheckName("group", name); err != nil {
		return "", refuse(http.StatusBadRequest, err.Error())
	}
	return name, nil
}

func (s *Server) createGroup(c echo.Context) error {
	g, err := s.readGroup(c)
	if err != nil {
		return err
	}
	if err := wire.CheckName("name", g.Name); err != nil {
		return refuse(http.StatusBadRequest, err.Error())
	}
	if err := s.putGroup(c, g, true); err != nil {
		return err
	}
	c.Response().Header().Set("Location", "/api/groups/"+g.Name)
	return succeedWith(c, http.StatusCreated, s.groupOf(s.asStored(g)))
}

func (s *Server) replaceGroup(c echo.Context) error {
	name, err := groupParam(c)
	if err != nil {
		return err
	}
	g, err := s.readGroup(c)
	if err != nil {
		return err
	}
	if g.Name != "" && g.Name != name {
		return refuse(http.StatusBadRequest, "name: groups cannot be renamed; make a new one and delete this one")
	}
	g.Name = name
	if err := s.putGroup(c, g, false); err != nil {
		return err
	}
	return succeed(c, s.groupOf(s.asStored(g)))
}

func (s *Server) putGroup(c echo.Context, g store.Group, create bool) error {
	err := s.deps.Groups.Put(c.Request().Context(), g, create, s.deps.Fleet.Snapshot())
	switch {
	case errors.Is(err, store.ErrExists):
		return refuse(http.StatusConflict, "there is a group "+g.Name+" already; change it with PUT /api/groups/"+g.Name)
	case errors.Is(err, store.ErrNotFound):
		return refuse(http.StatusNotFound, "there is no group "+g.Name+"; make it with POST /api/groups")
	}
	return err
}

// asStored is the group as the book has it by now, with the time of the change.
func (s *Server) asStored(g store.Group) store.Group {
	if now, ok := s.deps.Groups.Group(g.Name); ok {
		return now
	}
	return g // somebody was quick to delete it
}

func (s *Server) deleteGroup(c echo.Context) error {
	name, err := groupParam(c)
	if err != nil {
		return err
	}
	err = s.deps.Groups.Delete(c.Request().Context(), name)
	if errors.Is(err, store.ErrNotFound) {
		return refuse(http.StatusNotFound, "there is no group "+name)
	}
	if err != nil {
		return err
	}
	return succeed(c, deletedView{Name: name})
}

// groupBody is a group as people send it.
type groupBody struct {
	Name        string            `json:"name" doc:"Letters, digits, dots, underscores and hyphens; the name of no server. With PUT it may be absent."`
	Description string            `json:"description,omitempty"`
	Servers     []json.RawMessage `json:"servers" doc:"A server whole, by its name, or an object with name and tools."`
}

// groupServerBody is a server of it as an object.
type groupServerBody struct {
	Name  string          `json:"name"`
	Tools json.RawMessage `json:"tools" doc:"Names of tools, or \"all\"."`
}

// readGroup reads the body of a change.
func (s *Server) readGroup(c echo.Context) (store.Group, error) {
	raw, err := s.readJSON(c, maxGroup)
	if err != nil {
		return store.Group{}, err
	}
	var body groupBody
	if err := decodeExact(raw, &body); err != nil {
		return store.Group{}, refuse(http.StatusBadRequest, err.Error())
	}
	if body.Servers == nil {
		return store.Group{}, refuse(http.StatusBadRequest, `servers: a list is needed, as in ["memory", {"name": "github", "tools": ["search"]}]; it may be empty`)
	}
	g := store.Group{Name: body.Name, Description: body.Description, Servers: make([]store.GroupServer, len(body.Servers))}
	for i, raw := range body.Servers {
		if g.Servers[i], err = groupServerOf(raw); err != nil {
			return store.Group{}, refuse(http.StatusBadRequest, fmt.Sprintf("servers, entry %d: %v", i+1, err))
		}
	}
	return g, nil
}

// groupServerOf reads a server of a group: a name, or an object.
func groupServerOf(raw json.RawMessage) (srv store.GroupServer, err error) {
	raw = bytes.TrimSpace(raw)
	if json.Unmarshal(raw, &srv.Name) == nil && raw[0] == '"' {
		return srv, wire.CheckName("server", string(srv.Name))
	}
	if raw[0] != '{' {
		return srv, errors.New("a server is a name, or an object with name and tools")
	}
	var body groupServerBody
	if err := decodeExact(raw, &body); err != nil {
		return srv, err
	}
	srv.Name = store.ServerID(body.Name)
	if err := wire.CheckName("server", body.Name); err != nil {
		return srv, err
	}
	switch tools := strings.TrimSpace(string(body.Tools)); {
	case tools == "" || tools == `"all"`:
		return srv, nil
	case tools[0] != '[' || json.Unmarshal(body.Tools, &srv.Tools) != nil || srv.Tools == nil:
		return srv, fmt.Errorf(`tools of %s: want a list of names, or "all"`, srv.Name)
	}
	return srv, nil
}
